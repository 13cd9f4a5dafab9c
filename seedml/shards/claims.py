"""Which process makes which tile: claim files, for any number of processes that start, stop and die at will.

``.claims/<tile>.<n>`` holds the name of the process that makes the tile; the highest n counts. To claim is to create
the file, which only one process can, on network file systems too. A process touches ``.claims/<its name>.alive`` again
and again; when it is known dead, or has not done so for long, the next one creates the claim n + 1. Two processes may
still come to make one tile (the first was only very slow): a waste, but they make the same bytes.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from seedml.shards.commit import QUIET_SECONDS
from seedml.shards.process import NAME, has_died, this_process

FOLDER = ".claims"
BEAT_SECONDS = 5.0
"""Between two signs of life."""
STALE_SECONDS = 180.0
"""Without a sign of life a process counts as dead. Network file systems show a time stamp up to a minute late."""
LEAVE_SECONDS, LEAVE_TRIES = 10.0, 50
"""How long the first process to see all tiles done waits for the others, and how often it looks."""

_CLAIM = re.compile(r"(?P<tile>.+)\.(?P<number>\d+)")
_ALIVE = re.compile(rf"(?P<process>{NAME})\.alive")


class Claims:
    """The claims of this process in one data set's folder. A context manager: leaving it gives up what is held.

    Args:
        folder: the data set's.
        is_done: whether the tile of that name is finished.
        stale_after: seconds without a sign of life after which another machine's process counts as dead.

    """

    def __init__(self, folder: Path, is_done: Callable[[str], bool], *, stale_after: float = STALE_SECONDS) -> None:
        self._folder = folder / FOLDER
        self._is_done, self._stale_after = is_done, stale_after
        self._held: set[str] = set()
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)

    def __enter__(self) -> Claims:
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._beat()
        except OSError:  # a full disk
            sweep(self._folder.parent)
            raise
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._heart.join()
        for tile in sorted(self._held):
            self.release(tile)
        self._alive().unlink(missing_ok=True)
        sweep(self._folder.parent)

    def take(self, tile: str) -> bool:
        """Claim a tile; ``False`` where another process makes it, or it is done already."""
        number = max((number for number, _ in _claims_of(self._folder, tile)), default=0)
        if number and not self._is_stale(self._folder / f"{tile}.{number}"):
            return False
        try:
            descriptor = os.open(self._folder / f"{tile}.{number + 1}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        self._held.add(tile)  # first, for a full disk may have room for the file but not for what is in it
        with os.fdopen(descriptor, "w") as stream:
            stream.write(this_process())
        if self._is_done(tile):  # it was finished, and its claim given up, while we looked
            self.release(tile)
            return False
        return True

    def release(self, tile: str) -> None:
        """Give a tile up: it is finished, or dropped."""
        for _, path in _claims_of(self._folder, tile):
            path.unlink(missing_ok=True)
        self._held.discard(tile)

    def _is_stale(self, claim: Path) -> bool:
        try:
            owner = claim.read_text()
            seen = claim.stat().st_mtime
        except FileNotFoundError:
            return True  # given up this moment
        if re.fullmatch(NAME, owner):
            if has_died(owner):
                return True
            seen = max(seen, _modified(self._folder / f"{owner}.alive"))
        self._beat()
        return _modified(self._alive()) - seen > self._stale_after  # the file system's clock, not this machine's

    def _alive(self) -> Path:
        return self._folder / f"{this_process()}.alive"

    def _beat(self) -> None:
        self._alive().touch()

    def _beat_on(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            self._beat()


def leave_together(folder: Path) -> None:
    """Wait a little for the other processes, which have nothing to do any more either, and tidy up.

    Call it when all tiles are done; whoever looks afterwards finds shards only.
    """
    for _ in range(LEAVE_TRIES):
        sweep(folder)
        if not (folder / FOLDER).exists():
            return
        time.sleep(LEAVE_SECONDS / LEAVE_TRIES)


def sweep(folder: Path) -> None:
    """Remove what dead processes left in the claims' folder, and the folder itself where no process lives.

    Call it where no tile waits to be claimed: a dead process's claims would otherwise still say who is next.
    """
    claims = folder / FOLDER
    if not claims.is_dir():
        return
    for path in sorted(claims.iterdir()):
        alive = _ALIVE.fullmatch(path.name)
        try:
            owner = alive["process"] if alive else path.read_text()
            silent = time.time() - path.stat().st_mtime
        except FileNotFoundError:
            continue  # its owner has just removed it
        died = has_died(owner) if re.fullmatch(NAME, owner) else None
        if died or (died is None and silent > QUIET_SECONDS):
            path.unlink(missing_ok=True)
    try:
        claims.rmdir()
    except OSError:
        return  # another process is at work


def _claims_of(folder: Path, tile: str) -> list[tuple[int, Path]]:
    """The claims on a tile, by number."""
    found = []
    for path in folder.glob(f"{tile}.*"):
        match = _CLAIM.fullmatch(path.name)
        if match and match["tile"] == tile:
            found.append((int(match["number"]), path))
    return sorted(found)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
