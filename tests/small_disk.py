"""A real disk of a given size to fill: a tmpfs, where this process may mount one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

INODES = 1000
"""Files on it, at most."""


class SmallDisk:
    """A mounted tmpfs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, size: int) -> None:
        """Make space, or take it away."""
        _run("mount", "-o", f"remount,size={size}", str(self.folder))


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    """A disk of so many bytes at ``folder``; skips the test, with the reason, where none can be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform != "linux":
        pytest.skip("a tmpfs is mounted on Linux only")
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes={INODES}", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no tmpfs can be mounted: {getattr(error, 'stderr', None) or error}".strip())
    try:
        yield SmallDisk(folder)
    finally:
        _run("umount", "-l", str(folder))
