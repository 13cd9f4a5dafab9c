"""The truth of what a step told: one JSON object a line, each on disk before the call returns.

``<run_dir>/tracking/<step>.jsonl``, and beside it ``<run_dir>/tracking/<step>/`` for pictures, tables and versions of
files. A *session* is one run of a step: from ``start`` to ``finish``, or to a kill. Knows nothing of W&B, but each
session names the W&B run that mirrors it, so that whoever sends the journal later finds the same run.

A journal has one writer at a time. Processes that share a step without knowing of each other have one each: elements of
a job array ``<step>.element-<number>.jsonl``, others that find the journal in use ``….<host>-<process>.jsonl``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedml.files import atomic_path, sha256_of
from seedml.tracking.secrecy import strike

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Event = dict[str, Any]

ROWS = ("log", "image", "table", "histogram")
"""Events that are rows of the history, in the order of the journal: a row's number is its step in W&B."""
_COPIED_BYTES = 8 << 20
"""Versions of files up to this size are copied where the file system has no hard links."""


class Journal:
    """Events of one step.

    Args:
        run_dir: the run's folder.
        step: the step's name, which names the file.
        settings: resolved configuration, written once per session.
        about: project, entity, group and the like of the W&B run.
        made_with: tells versions, commit and device; asked when a session begins.
        secrets: strings that are struck out of everything.
        element: of a job array, whose elements have a journal each.

    Attributes:
        path: its file; settled when the session begins.
        session: how many sessions were before this one, once it has begun.

    """

    def __init__(
        self,
        run_dir: Path,
        step: str,
        settings: Mapping[str, object],
        about: Mapping[str, object] | None = None,
        made_with: Callable[[], Mapping[str, object]] | None = None,
        secrets: Sequence[str] = (),
        element: str | None = None,
    ) -> None:
        self._run_dir, self._settings, self._about, self._secrets = run_dir, settings, about or {}, secrets
        self._made_with = made_with
        name = f"{step}.element-{safe_name(element)}" if element else step
        self.path = run_dir / "tracking" / f"{name}.jsonl"
        self._stream: Any = None
        self._lock: Any = None
        self._logged: dict[str, int] = {}
        self.session = 0
        self._cost: dict[str, float] = {}

    @property
    def is_open(self) -> bool:
        """Whether this session has told anything yet."""
        return self._stream is not None

    def write(self, event: str, **fields: object) -> None:
        """Append one event with the time (Unix seconds); the first one of a session is preceded by ``start``."""
        self._begin()
        self._line({"time": time.time(), "event": event, **fields})

    def row(self, values: Mapping[str, Any]) -> None:
        """Append a row of numbers. One that a killed session logged already is marked ``again``, and not mirrored."""
        self._begin()
        self.write("log", values=values, **({"again": True} if self._is_again(values) else {}))

    def keep_image(self, key: str, image: Path | str | np.ndarray[Any, Any]) -> Path:
        """The image's file: its own, or a PNG made here of an array H×W×3 or H×W, uint8."""
        if isinstance(image, str | Path):
            return Path(image)
        from PIL import Image

        target = self._unused(key, "png")
        with atomic_path(target) as temporary:
            Image.fromarray(image).save(temporary, format="PNG")
        return target

    def keep_table(self, key: str, frame: pd.DataFrame) -> Path:
        """A Parquet file of the table, made here."""
        target = self._unused(key, "parquet")
        with atomic_path(target) as temporary:
            frame.to_parquet(temporary, index=False)
        return target

    def keep_version(self, path: Path) -> tuple[Path, str]:
        """Where this version of a file stays although the file may be replaced, and its SHA-256.

        A hard link costs nothing. A large file on a file system without them stays where it is.
        """
        self._begin()
        digest = sha256_of(path)
        target = self._media / f"{safe_name(path.stem)}-{digest[:12]}{path.suffix}"
        if target.exists():
            return target, digest
        self._media.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            os.link(path, target)
            return target, digest
        if path.stat().st_size > _COPIED_BYTES:
            return path, digest
        with atomic_path(target) as temporary:
            shutil.copyfile(path, temporary)
        return target, digest

    def relative(self, path: Path) -> str:
        """``path`` as seen from the run's folder, where it lies in there."""
        path, root = path.resolve(), self._run_dir.resolve()
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    def latest_artifact(self, name: str) -> Event | None:
        """The last artifact of that name that any step of this run told of."""
        found = [
            event
            for path in sorted(self.path.parent.glob("*.jsonl"))
            for event in read_journal(path)
            if event["event"] in ("file", "references") and event.get("name") == name
        ]
        return max(found, key=lambda event: float(event["time"]), default=None)

    def close(self, failed: bool, cost: Mapping[str, float] | None = None) -> None:
        """End the session, if one began; ``cost`` is added to what the sessions before cost."""
        if self._stream is not None:
            sums = {key: value + self._cost.get(key, 0.0) for key, value in (cost or {}).items()}
            self._line({"time": time.time(), "event": "finish", "failed": failed, "cost": sums})
            self._stream.close()
            self._lock.close()
            self._stream = None

    @property
    def _media(self) -> Path:
        return self.path.with_suffix("")

    def _begin(self) -> None:
        """Begin the session, if it has not begun."""
        if self._stream is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _writers_lock(self.path)
            if self._lock is None:
                self.path = self.path.with_suffix(f".{safe_name(platform.node())}-{os.getpid()}.jsonl")
                self._lock = _writers_lock(self.path)
            self._open()

    def _open(self) -> None:
        before = read_journal(self.path) if self.path.exists() else []
        torn = self.path.exists() and self.path.stat().st_size and self.path.read_bytes()[-1:] != b"\n"
        self._stream = self.path.open("a", encoding="utf-8", buffering=1)
        if torn:  # the last session was killed in mid-line: its rest must not swallow our first line
            self._stream.write("\n")
        starts = [event for event in before if event["event"] == "start"]
        self._logged, self._cost = _last_steps(before), _last_cost(before)
        origin = {"made_with": dict(self._made_with())} if self._made_with else {}
        self.session = len(starts)
        linked = {"resumed_from": run_of(starts[-1], self.path.stem)} if starts else {}
        self._line({
            "time": time.time(), "event": "start", "run": uuid.uuid4().hex[:10], "session": self.session, **linked,
            "about": self._about, "config": {**self._settings, **origin},
        })  # fmt: skip

    def _line(self, event: Mapping[str, object]) -> None:
        said = strike(event, self._secrets)
        self._stream.write(json.dumps(said, ensure_ascii=False, allow_nan=False) + "\n")

    def _is_again(self, values: Mapping[str, Any]) -> bool:
        keys = values.keys() - {"step"}
        if "step" not in values or not keys:
            return False
        again = all(values["step"] <= self._logged.get(key, -1) for key in keys)
        if not again:  # beyond where the killed session came: from here on every row is new
            for key in keys:
                self._logged.pop(key, None)
        return again

    def _unused(self, key: str, suffix: str) -> Path:
        self._begin()
        stem = safe_name(key)
        taken = len(list(self._media.glob(f"{stem}-*.{suffix}")))
        return self._media / f"{stem}-{taken:04d}.{suffix}"


def _writers_lock(journal: Path) -> Any:
    """A file that is locked while this process writes the journal; ``None`` where another process has it.

    Not the journal itself: whoever closes a file after reading it gives up all locks of its process on it.
    """
    lock = journal.with_name(f".{journal.stem}.writer").open("w")
    try:
        import fcntl

        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX leaves open which of them
        lock.close()
        return None
    except (ImportError, OSError):  # Windows, or a file system without locks
        pass
    return lock


def read_journal(path: Path) -> list[Event]:
    """The events in a journal, oldest first. A line that a kill has torn is left out."""
    return list(_events(path.read_text(encoding="utf-8", errors="replace").splitlines()))


def history(path: Path) -> list[dict[str, Any]]:
    """The rows logged in a journal, oldest first; those that a resumed step logged again are left out."""
    return [event["values"] for event in read_journal(path) if event["event"] == "log" and not event.get("again")]


class JournalReader:
    """Reads a journal while it is being written.

    Args:
        path: the journal.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._rest = b""

    def new_events(self) -> list[Event]:
        """The events of all lines that were finished since the last call."""
        with self._path.open("rb") as stream:
            stream.seek(self._read)
            data = stream.read()
        self._read += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return list(_events(line.decode(errors="replace") for line in lines))


def run_of(start: Mapping[str, Any], step: str) -> str:
    """The id of the W&B run of a session, told by its ``start``; made of its time where an old journal names none."""
    if "run" in start:
        return str(start["run"])
    return hashlib.sha256(f"{step} {start['time']}".encode()).hexdigest()[:10]


def _events(lines: Iterator[str] | Sequence[str]) -> Iterator[Event]:
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event


def _last_steps(before: Sequence[Event]) -> dict[str, int]:
    """Key -> the step of its last row, since the last session that ended well."""
    last: dict[str, int] = {}
    for event in before:
        if event["event"] == "finish" and not event["failed"]:
            last.clear()
        if event["event"] == "log" and "step" in event["values"]:
            last |= dict.fromkeys(event["values"].keys() - {"step"}, int(event["values"]["step"]))
    return last


def _last_cost(before: Sequence[Event]) -> dict[str, float]:
    """What the sessions so far cost in all, as the last one that ended summed it up."""
    sums = [event["cost"] for event in before if event["event"] == "finish" and event.get("cost")]
    return {key: float(value) for key, value in (sums[-1] if sums else {}).items()}


def plain(values: Mapping[str, object]) -> dict[str, Any]:
    """``values`` as JSON can hold them: numpy and torch scalars as numbers, NaN and infinities as W&B spells them."""
    return {str(key): _plain(value) for key, value in values.items()}


def cell(value: Any) -> Any:
    """A table's cell: like a row's value, but empty where there is no number, as W&B's columns have one type."""
    value = _plain(value)
    return None if value == "NaN" else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    elif hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def safe_name(text: str) -> str:
    """``text`` with only what file names and W&B names both allow."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in text).strip("-") or "unnamed"
