"""Temporary files: whose they are, and that only dead writers' are removed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seedml.shards.commit import QUIET_SECONDS, PendingFile, pending_path, remove_leftovers


def dead_pid() -> int:
    """The number of a process that has just ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_a_dead_writer_s_files_are_removed(tmp_path: Path) -> None:
    ours = PendingFile(tmp_path / "train-000000.tar").temporary
    host = ours.name.split(".")[-3]
    alive, dead, init = (tmp_path / f".train-000001.tar.{host}.{pid}.tmp" for pid in (os.getppid(), dead_pid(), 1))
    elsewhere_new, elsewhere_old = (tmp_path / f".train-00000{i}.tar.other-host.1.tmp" for i in (2, 3))
    not_ours = tmp_path / ".swp.tmp"
    shard = tmp_path / "train-000004.tar"
    for path in (alive, dead, init, elsewhere_new, elsewhere_old, not_ours, shard):
        path.write_text("x")
    os.utime(elsewhere_old, (time.time() - QUIET_SECONDS - 60,) * 2)
    assert set(remove_leftovers(tmp_path)) == {dead, elsewhere_old}
    assert set(tmp_path.iterdir()) == {alive, init, elsewhere_new, not_ours, shard}


def test_a_number_used_anew_is_not_mistaken_for_a_live_writer(tmp_path: Path) -> None:
    """Containers give the same process number and host name again; at the start nothing of ours is being written."""
    leftover = PendingFile(tmp_path / "train-000000.tar").temporary
    leftover.write_text("x")
    assert remove_leftovers(tmp_path) == [leftover]


def test_readers_see_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    with pending_path(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), pending_path(path) as temporary:  # noqa: PT012
        temporary.write_text("ne")
        assert path.read_text() == "old"
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
