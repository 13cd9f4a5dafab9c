"""Files that carry their writer's name while they are written, so that a dead writer's can be told from a live one's.

Knows nothing of what is in the files. ``.<file>.<process>.tmp`` is being written by that process.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seedml.shards.process import NAME, has_died, this_process

QUIET_SECONDS = 3600.0
"""A temporary file of another machine that nobody has written to for so long has lost its writer."""


class PendingFile:
    """A file that gets its name when it is whole and on disk. Write to ``temporary``, then commit or abort."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.temporary = path.with_name(f".{path.name}.{this_process()}.tmp")

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
    leftovers = [path for path in sorted(folder.glob(".*.tmp")) if is_orphan(path)]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return leftovers


def is_orphan(path: Path) -> bool:
    """Whether ``path`` is a temporary file whose writer is dead."""
    writer = re.fullmatch(rf"\..+\.({NAME})\.tmp", path.name)
    if writer is None:
        return False  # not one of ours
    died = has_died(writer[1])
    if died is not None:
        return died or writer[1] == this_process()  # a run of this very process that was broken off
    try:
        return time.time() - path.stat().st_mtime > QUIET_SECONDS
    except FileNotFoundError:
        return False  # its writer has just finished
