"""Files that carry their writer's name while they are written, so that a dead writer's can be told from a live one's.

Knows nothing of what is in the files. ``.<file>.<host>.<pid>.tmp`` is being written by that process.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

QUIET_SECONDS = 3600.0
"""A temporary file of another machine that nobody has written to for so long has lost its writer."""


def _this_host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())


class PendingFile:
    """A file that gets its name when it is whole and on disk. Write to ``temporary``, then commit or abort."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.temporary = path.with_name(f".{path.name}.{_this_host()}.{os.getpid()}.tmp")

    def commit(self) -> None:
        """Content to disk, then the name, then the folder's entry. A file of that name is replaced in one stroke."""
        _sync(self.temporary)
        self.temporary.chmod(0o644)
        self.temporary.replace(self.path)
        _sync(self.path.parent)

    def abort(self) -> None:
        """Forget the file; nothing is left of it."""
        self.temporary.unlink(missing_ok=True)


@contextmanager
def pending_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` when the block ends without an exception, and vanishes else."""
    pending = PendingFile(path)
    try:
        yield pending.temporary
        pending.commit()
    finally:
        pending.abort()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> list[Path]:
    """Delete temporary files in ``folder`` whose writer is dead; returns them. Files of live writers stay."""
    leftovers = [path for path in sorted(folder.glob(".*.tmp")) if _is_orphan(path)]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return leftovers


def _is_orphan(path: Path) -> bool:
    stem, _, pid = path.name.removesuffix(".tmp").rpartition(".")
    if not pid.isdecimal():
        return False  # not one of ours
    if stem.endswith(f".{_this_host()}"):
        return int(pid) == os.getpid() or not _is_alive(int(pid))  # a number of ours is used anew after a restart
    try:
        return time.time() - path.stat().st_mtime > QUIET_SECONDS
    except FileNotFoundError:
        return False  # its writer has just finished


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
