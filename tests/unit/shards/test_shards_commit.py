"""Temporary files: whose they are, and that only dead writers' are removed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seedml.shards.commit import QUIET_SECONDS, PendingFile, pending_path, remove_leftovers
from seedml.shards.process import _start_time, this_process


def dead_pid() -> int:
    """The number of a process that has just ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_a_dead_writer_s_files_are_removed(tmp_path: Path) -> None:
    place = this_process().split(".")[0]
    parent, init = (
        f"{place}.{pid}.{started}" for pid, started in ((os.getppid(), _start_time(os.getppid())), (1, _start_time(1)))
    )
    names = (parent, init, f"{place}.{dead_pid()}.1", f"{place}.{os.getppid()}.1")
    alive, init_s, dead, reused = (tmp_path / f".train-000001.tar.{name}.tmp" for name in names)
    elsewhere_new, elsewhere_old = (tmp_path / f".train-00000{i}.tar.other-host-7.1.5.tmp" for i in (2, 3))
    not_ours = tmp_path / ".swp.tmp"
    shard = tmp_path / "train-000004.tar"
    for path in (alive, dead, reused, init_s, elsewhere_new, elsewhere_old, not_ours, shard):
        path.write_text("x")
    os.utime(elsewhere_old, (time.time() - QUIET_SECONDS - 60,) * 2)
    assert set(remove_leftovers(tmp_path)) == {dead, reused, elsewhere_old}
    assert set(tmp_path.iterdir()) == {alive, init_s, elsewhere_new, not_ours, shard}


def test_a_number_used_anew_is_not_mistaken_for_a_live_writer(tmp_path: Path) -> None:
    """At the start nothing of ours is being written: a file under our own name is of a run that was broken off."""
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
