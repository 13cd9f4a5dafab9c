"""Room on the disk: looked at before the first image, and explained when it runs out. Knows no plan and no shard."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from seedml.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)
"""No space left on the device; the user's or the project's quota is used up."""


def free_bytes(folder: Path) -> int:
    """What may still be written to the file system that holds ``folder``, or will hold it. Knows nothing of quotas."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(existing).free


def check_space(folder: Path, *, at_least: int | None, about: int | None, warn: bool = True) -> None:
    """Refuse what cannot fit; warn on stderr, in one line, of what may not.

    Files that another process is writing in ``folder`` at this moment are part of what is to come, so they count as
    room. Call this when those of dead processes have been removed.

    Args:
        folder: of the shards, there already or not.
        at_least: bytes that what is missing needs for sure; ``None`` = not known.
        about: bytes that it will need, roughly; ``None`` = not known.
        warn: whether to speak of what may not fit; one of many processes is enough.

    Raises:
        UserError: it surely does not fit. Says what is needed and what is free.

    """
    free = free_bytes(folder) + sum(_size(path) for path in folder.glob(".*.tmp"))
    if at_least is not None and at_least > free:
        raise UserError(
            f"the disk of {folder} is too small: the missing images need {human_bytes(about or at_least)}, at the very "
            f"least {human_bytes(at_least)}, and {human_bytes(free)} are free",
            remedy="make space, name another disk with shards.root=…, or choose shards.format=webp or fewer seeds=…",
        )
    if warn and about is not None and about > free:
        print(
            f"seedml: warning: the disk of {folder} may be too small: the missing images need about "
            f"{human_bytes(about)}, and {human_bytes(free)} are free. Finished shards are kept whatever happens.",
            file=sys.stderr,
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # its writer has just finished


def is_disk_full(error: BaseException) -> bool:
    """Whether ``error``, or one that led to it, says that the disk is full or the quota used up."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        if isinstance(current, OSError) and current.errno in _FULL:
            return True
        seen.add(id(current))
        waiting += [current.__cause__, current.__context__]
    return False


def disk_full_error(folder: Path, tiles_done: int, tiles_total: int) -> UserError:
    """What to tell a user whose disk is full, in one line.

    Args:
        folder: of the shards.
        tiles_done: shards that are whole.
        tiles_total: shards of the study.

    """
    return UserError(
        f"no space is left on the disk of {folder}; {tiles_done:,} of {tiles_total:,} shards are finished and whole",
        remedy="make space, or move the folder to a larger disk and set shards.root=…, then run the same command again",
    )


@contextmanager
def full_disk_explained(folder: Path, tiles_done: Callable[[], int], tiles_total: int) -> Iterator[None]:
    """Turn an error of the block that comes of a full disk into :func:`disk_full_error`; others pass.

    Args:
        folder: of the shards.
        tiles_done: counts the shards that are whole.
        tiles_total: shards of the study.

    """
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            raise disk_full_error(folder, tiles_done(), tiles_total) from error
        raise


def human_bytes(count: float) -> str:
    """A number of bytes in the unit that suits it, three digits: ``27.5 KB``, a thousand bytes each."""
    for unit in ("bytes", "KB", "MB", "GB", "TB"):
        if count < 999.5:  # else it would be rounded to 1e+03
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.0f} PB"
