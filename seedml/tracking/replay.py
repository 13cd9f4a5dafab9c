"""A journal sent to W&B, without repeating what is there.

The n-th row of a journal is the n-th step of its W&B run. So the server itself says which rows it has, and drops one
that comes twice. What else was sent (summaries, artifacts) is noted in ``tracking/<step>.sent.json`` once W&B has
taken all of it. A step that is run again goes on in the same W&B run; offline, each session is a run of its own,
linked to the one before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedml.files import atomic_write_json, read_json
from seedml.tracking.journal import ROWS, Event, run_of
from seedml.tracking.secrecy import secrets_in, strike

if TYPE_CHECKING:
    from seedml.tracking.wandb_run import WandbRun


_PAUSE = 0.1
"""Seconds between two looks at whether the journal is free."""


class Sent:
    """What of a journal W&B has for certain. No secret of a server's address is kept.

    Args:
        journal: the journal.

    """

    def __init__(self, journal: Path) -> None:
        self.path = journal.with_name(f"{journal.stem}.sent.json")
        self._noted = read_json(self.path) if self.path.exists() else {}

    def events(self, server: str, run: str) -> int:
        """How many events of the journal that run on that server has; 0 if nothing is known of it."""
        noted, server = self._noted, strike(server, secrets_in(os.environ))
        return int(str(noted["events"])) if (noted.get("server"), noted.get("run")) == (server, run) else 0

    @property
    def url(self) -> str:
        """Where the run is shown."""
        return str(self._noted.get("url", ""))

    def note(self, server: str, run: str, place: str, url: str, events: int) -> None:
        """Say that W&B has the first ``events`` events."""
        noted = {"server": server, "run": run, "project": place, "url": url, "events": events}
        self._noted = strike(noted, secrets_in(os.environ))
        atomic_write_json(self.path, self._noted)


class Replay:
    """Sends events of one journal to one W&B run, in their order.

    Args:
        run: the run.
        root: the study's run folder, which paths in the journal are relative to.
        only: the session whose events are sent; ``None`` = one run has all of them.
        sent: events that the run has, rows apart.

    Attributes:
        events: how many events were taken; ``new``: how many of them were sent.
        failed: whether the last session failed, or was killed.
        lacking: what could not be sent, in words.

    """

    def __init__(self, run: WandbRun, root: Path, only: int | None, sent: int) -> None:
        self._run, self._root, self._only, self._sent = run, root, only, sent
        self._rows, self._session = 0, -1
        self.events = self.new = 0
        self.failed = True
        self.lacking: list[str] = []
        self._aims: dict[str, str] = {}
        self._best: dict[str, float] = {}

    def take(self, events: Sequence[Event]) -> None:
        """Send the journal's next events."""
        for event in events:
            self._take(event)

    def conclude(self) -> None:
        """Say the best values of all rows, where this run was resumed: wandb knows only those that it was just told."""
        if self._run.first_row and self._best:
            self._run.summary({key: {self._aims[key]: value} for key, value in self._best.items()})

    def _take(self, event: Event) -> None:
        kind, number, row = event["event"], self.events, self._rows
        is_row = kind in ROWS and not event.get("again")
        self.events += 1
        self._rows += is_row
        self._session += kind == "start"
        if kind in ("start", "finish") and self._only in (None, self._session):
            self.failed = bool(event.get("failed", True))
        if kind == "log" and is_row:
            self._note_best(event["values"])
        if kind == "define":
            self._aims[event["key"]] = event["best"]
            self._run.define(event)
        elif self._only not in (None, self._session):
            return
        elif is_row:
            self._send_row(event, row)
        elif number >= self._sent:
            self._send_fact(event)

    def _note_best(self, values: Mapping[str, Any]) -> None:
        for key in values.keys() & self._aims.keys():
            if isinstance(values[key], int | float):
                better = min if self._aims[key] == "min" else max
                self._best[key] = better(self._best.get(key, values[key]), values[key])

    def _send_row(self, event: Event, row: int) -> None:
        if row < self._run.first_row:
            return
        if "path" in event and not (self._root / event["path"]).is_file():
            self.lacking.append(f"{event['path']} is gone")
            return
        self.new += 1
        getattr(self._run, event["event"])(event, row)  # a method for each of ROWS

    def _send_fact(self, event: Event) -> None:
        kind, self.new = event["event"], self.new + 1
        if kind == "summary":
            self._run.summary(event["values"])
        elif kind == "finish":
            self._run.summary(event.get("cost", {}))
        elif kind == "uses" and not self._run.uses(event):
            self.lacking.append(f"that {event['name']} was used could not be noted")
        elif kind in ("file", "references") and not self._run.made(event):
            self.lacking.append(f"{event.get('path', event['name'])} is gone or was replaced since")


def described(start: Event, step: str) -> Event:
    """A ``start`` with all that a W&B run wants to know, also where an old journal lacks it."""
    config = start["config"]
    tracking: Mapping[str, Any] = config.get("tracking") or {}
    name, model = config.get("name", "study"), (config.get("model") or {}).get("name")
    about = {
        "project": tracking.get("project", "seedml"), "entity": tracking.get("entity"), "job_type": step,
        "group": tracking.get("group") or name, "name": f"{name} {step}", "tags": [step, *([model] if model else [])],
    }  # fmt: skip
    return {**start, "run": run_of(start, step), "about": {**about, **start.get("about", {})}}


@contextmanager
def sole_sender(journal: Path, seconds: float = 0.0) -> Iterator[bool]:
    """Whether no other process is sending this journal, after waiting so long; none may begin while the block lasts."""
    lock = journal.with_name(f".{journal.stem}.lock")
    try:
        import fcntl
    except ImportError:  # Windows has none: there, do not run `seedml track` while the step runs
        yield True
        return
    end = time.monotonic() + seconds
    with lock.open("w") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < end:
                    time.sleep(_PAUSE)
                    continue
                yield False
                return
            except OSError:  # a file system without locks: there, as on Windows
                pass
            yield True
            return
