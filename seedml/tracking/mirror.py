"""The step's side of the mirror: starts the process that sends the journal to W&B, and waits for it a bounded time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import seedml
from seedml.tracking.server import Mode

WAIT_SECONDS = 15.0
"""How long a study waits in all for a server that is away or dies."""
_MARGIN = 2.0
"""Of that, for the mirroring process to say that it gave up."""
_OFFLINE_SECONDS = 60.0
"""How long the end of a step waits for the mirror's files to be written where no server has a part in it."""


class Patience:
    """How long the steps of one study wait for a server, all together. Share one among them.

    Attributes:
        left: seconds.
        away: whether the server was waited for in vain; from then on runs are kept offline.
        told: whether the user knows how to send what is kept offline.

    """

    def __init__(self, seconds: float = WAIT_SECONDS) -> None:
        self.left, self.away, self.told = seconds, False, False

    def in_vain(self, seconds: float) -> None:
        """So long a wait led to nothing."""
        self.left, self.away = max(0.0, self.left - seconds), True


class MirrorProcess:
    """A process that sends one journal. What it says is kept in the attributes.

    Args:
        job: see :mod:`seedml.tracking.mirroring`.
        log: where what it prints goes.

    Attributes:
        opened: mode, url, folder and why, once the run is open.
        finished: whether all was sent.
        new: how many events it sent that W&B did not have.
        lacking: what could not be sent because it is there no more.
        fault: what went wrong; empty if nothing.

    """

    def __init__(self, job: Mapping[str, Any], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.opened: dict[str, str] = {}
        self.finished, self.fault = False, ""
        self.new = 0
        self.lacking: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "seedml.tracking.mirroring"], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, env=_environment(Path(job["run_dir"])), start_new_session=True,
            )  # fmt: skip
        self._tell(dict(job))
        threading.Thread(target=self._listen, daemon=True).start()

    def wait(self, condition: Callable[[], object], seconds: float | None) -> bool:
        """Wait until ``condition`` holds or the process has ended; returns whether it holds."""
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._ended, seconds)
            return bool(condition())

    def close(self, seconds: float | None) -> None:
        """Say that the step has ended, and how long the process may take for uploads."""
        self._tell({"close": seconds})

    def end(self) -> None:
        """Make sure that the process is gone."""
        try:
            self._process.wait(5.0 if self.finished or self._ended else 0.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def _tell(self, message: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            for line in answers:
                self._hear(json.loads(line))
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _hear(self, said: Mapping[str, Any]) -> None:
        with self._changed:
            if "mode" in said:
                self.opened = dict(said)
            self.finished, self.lacking = said.get("finished", False), said.get("lacking", [])
            self.fault, self.new = said.get("fault", ""), said.get("new", 0)
            self._changed.notify_all()


class Mirror:
    """One step's W&B run. It never raises: a fault ends the mirroring with one line, not the step.

    Args:
        run_dir: everything wandb writes goes to its ``wandb`` folder.
        mode: ``online`` or ``offline``.
        patience: how long to wait, in all.

    """

    def __init__(self, run_dir: Path, mode: Mode, patience: Patience) -> None:
        self._folder, self._patience = run_dir.resolve(), patience
        self._shown = run_dir
        self._mode: Mode = "offline" if patience.away else mode
        self._asked = self._mode
        self._process: MirrorProcess | None = None
        self._waited = 0.0

    def start(self, journal: Path, session: int) -> None:
        """Begin, once there is something to send of that session of a journal."""
        if self._process is None:
            job = {"run_dir": str(self._folder), "journal": str(journal.resolve()), "mode": self._mode, "about": {},
                   "watched": os.getpid(), "session": session}  # fmt: skip
            self._process = MirrorProcess(job, self._folder / "wandb" / f"{journal.stem}.log")

    @property
    def mode(self) -> Mode:
        """Where rows go. Waits until that is known."""
        process = self._process
        if process is not None and self._asked == "online":
            self._wait(lambda: process.opened, self._patience.left - self._waited)
            self._mode = process.opened.get("mode", "offline")  # type: ignore[assignment]
        return self._mode

    @property
    def sync_hint(self) -> str:
        """The command that sends what W&B does not have; empty when it has all or there is nothing."""
        process = self._process
        if process is None or (process.finished and process.opened.get("mode") == "online"):
            return ""
        return f"seedml track {self._shown}"

    def finish(self, announce: bool) -> None:
        """Wait until all is sent, as long as there is patience; say how that went.

        Args:
            announce: say also what is no warning: the run's address, or how to send it.

        """
        process = self._process
        if process is None:
            return
        limit = max(self._patience.left - self._waited, 0.0) if self._asked == "online" else _OFFLINE_SECONDS
        process.close(max(limit - _MARGIN, 1.0))
        self._wait(lambda: process.finished or process.fault, limit)
        if self._asked == "online":
            self._mode = process.opened.get("mode", "offline")  # type: ignore[assignment]
            if self._mode == "offline" or not process.finished:
                self._patience.in_vain(self._waited)
        process.end()
        self._conclude(process, announce)

    def _wait(self, condition: Callable[[], object], seconds: float) -> None:
        assert self._process is not None
        begun = time.monotonic()
        self._process.wait(condition, seconds)
        self._waited += time.monotonic() - begun

    def _conclude(self, process: MirrorProcess, announce: bool) -> None:
        """At most one line; the study's first one about an offline run is the last."""
        opened, why = process.opened, process.fault or process.opened.get("why", "")
        if process.lacking:
            why = ", ".join(process.lacking)
        elif not process.finished and not why:
            why = f"not all was sent in time (see {process.log})"
        if process.finished and opened["mode"] == "online" and not why:
            if announce:
                print(f"W&B run: {opened['url']}", file=sys.stderr)
            return
        if self._patience.told or not (announce or why):
            return
        self._patience.told = True
        sync = f", or wandb sync {opened['folder']}" if process.finished and opened["mode"] == "offline" else ""
        goes_on = (
            "the run is kept offline, the study goes on" if opened.get("mode") == "offline" else "the study goes on"
        )
        what = f"W&B: {why}; {goes_on}" if why else "W&B run kept offline"
        print(f"{what}; to send it: {self.sync_hint or f'seedml track {self._shown}'}{sync}", file=sys.stderr)


def _environment(folder: Path) -> dict[str, str]:
    """The environment of this process, with everything that wandb keeps in ``folder/wandb``, and this package found."""
    places = {"WANDB_DIR": folder, "WANDB_DATA_DIR": folder / "wandb" / "data"}
    places |= {"WANDB_CACHE_DIR": folder / "wandb" / "cache", "WANDB_ARTIFACT_DIR": folder / "wandb" / "artifacts"}
    own = str(Path(seedml.__file__).parent.parent)
    searched = os.pathsep.join([own, *filter(None, [os.environ.get("PYTHONPATH")])])
    inherited = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    inherited.setdefault("WANDB_ERROR_REPORTING", "false")  # which would call the server even where a run is offline
    return {**inherited, **{name: str(path) for name, path in places.items()}, "PYTHONPATH": searched}
