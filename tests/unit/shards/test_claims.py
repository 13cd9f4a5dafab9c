"""Claims: one process a tile, takeover from the dead, no takeover from the living."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from seedml.shards import claims as claims_module
from seedml.shards.claims import FOLDER, STALE_SECONDS, Claims, leave_together, sweep
from seedml.shards.process import has_died, this_process

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
FORK = multiprocessing.get_context("fork")
ELSEWHERE = "other-host-4026531836.17.99"


def never(tile: str) -> bool:
    return False


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / FOLDER).iterdir()} if (folder / FOLDER).exists() else set()


def plant(folder: Path, tile: str, owner: str, *, silent: float = 0.0, number: int = 1) -> Path:
    """A claim of another process that last gave a sign of life ``silent`` seconds ago."""
    (folder / FOLDER).mkdir(exist_ok=True)
    claim = folder / FOLDER / f"{tile}.{number}"
    claim.write_text(owner)
    alive = folder / FOLDER / f"{owner}.alive"
    alive.touch()
    for path, age in ((claim, silent + 1000), (alive, silent)):
        os.utime(path, (time.time() - age,) * 2)
    return claim


def dead_process() -> str:
    """The name of a process that has just ended."""
    code = "from seedml.shards.process import this_process; print(this_process())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_tile_is_taken_once_and_free_again_after_release(tmp_path: Path) -> None:
    with Claims(tmp_path, never) as mine:
        assert mine.take("train-000000")
        assert not mine.take("train-000000")
        assert mine.take("train-000001")
        assert names(tmp_path) == {"train-000000.1", "train-000001.1", f"{this_process()}.alive"}
        mine.release("train-000000")
        assert mine.take("train-000000")
    assert not (tmp_path / FOLDER).exists(), "who leaves gives all up"


def test_a_tile_that_is_finished_meanwhile_is_not_taken(tmp_path: Path) -> None:
    with Claims(tmp_path, lambda tile: tile == "train-000003") as mine:
        assert not mine.take("train-000003")
        assert mine.take("train-000004")
        assert names(tmp_path) == {"train-000004.1", f"{this_process()}.alive"}


def test_a_dead_process_s_tile_is_taken_over_at_once(tmp_path: Path) -> None:
    dead = dead_process()
    assert has_died(dead)
    plant(tmp_path, "val-000000", dead)
    with Claims(tmp_path, never) as mine:
        assert mine.take("val-000000")
        assert {"val-000000.1", "val-000000.2"} <= names(tmp_path), "the highest number counts"
        assert not mine.take("val-000000")
    assert not (tmp_path / FOLDER).exists()


def test_a_pid_that_was_used_anew_is_not_taken_for_the_dead_process(tmp_path: Path) -> None:
    place, pid, _ = this_process().split(".")
    assert has_died(this_process()) is False
    assert has_died(f"{place}.{pid}.1") is True
    assert has_died(ELSEWHERE) is None


@pytest.mark.parametrize(("silent", "taken"), [(0, False), (STALE_SECONDS - 30, False), (STALE_SECONDS + 30, True)])
def test_another_machine_s_process_is_dead_when_it_is_silent_for_long(
    tmp_path: Path, silent: float, taken: bool
) -> None:
    plant(tmp_path, "train-000007", ELSEWHERE, silent=silent)
    with Claims(tmp_path, never) as mine:
        assert mine.take("train-000007") is taken


def test_a_claim_cut_short_by_death_is_stale_after_a_while(tmp_path: Path) -> None:
    """The name is written after the file is made; a process may die in between."""
    (tmp_path / FOLDER).mkdir()
    claim = tmp_path / FOLDER / "train-000000.1"
    claim.touch()
    with Claims(tmp_path, never) as mine:
        assert not mine.take("train-000000")
        os.utime(claim, (time.time() - STALE_SECONDS - 30,) * 2)
        assert mine.take("train-000000")


def test_a_process_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_module, "BEAT_SECONDS", 0.02)
    with Claims(tmp_path, never):
        alive = tmp_path / FOLDER / f"{this_process()}.alive"
        os.utime(alive, (0, 0))
        for _ in range(500):
            if alive.stat().st_mtime > 0:
                break
            time.sleep(0.01)
        assert alive.stat().st_mtime > time.time() - 60


def _take_all(folder: Path, tiles: list[str], go: Any, got: Any) -> None:
    with Claims(folder, never) as mine:
        go.wait()
        got.put([tile for tile in tiles if mine.take(tile)])
        go.wait()  # nobody gives a tile up before all have tried


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_processes_exactly_one_takes_each_tile(tmp_path: Path, stale: bool) -> None:
    tiles = [f"train-{i:06d}" for i in range(150)]
    dead = dead_process()
    for tile in tiles if stale else []:
        plant(tmp_path, tile, dead)
    go, got = FORK.Barrier(4), FORK.Queue()
    processes = [FORK.Process(target=_take_all, args=(tmp_path, tiles, go, got)) for _ in range(4)]
    for process in processes:
        process.start()
    taken = Counter(tile for _ in processes for tile in got.get(timeout=60))
    for process in processes:
        process.join(60)
    assert taken == Counter(tiles)
    assert not (tmp_path / FOLDER).exists()


def test_what_a_killed_process_leaves_is_swept_up(tmp_path: Path) -> None:
    def hold() -> None:
        with Claims(tmp_path, never) as mine:
            mine.take("train-000000")
            (tmp_path / "ready").touch()
            time.sleep(60)

    process = FORK.Process(target=hold)
    process.start()
    for _ in range(1000):
        if (tmp_path / "ready").exists():
            break
        time.sleep(0.01)
    sweep(tmp_path)
    assert len(names(tmp_path)) == 2, "it lives"
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    leave_together(tmp_path)
    assert not (tmp_path / FOLDER).exists()


def test_another_machine_s_claims_are_not_swept_up_while_it_lives(tmp_path: Path) -> None:
    plant(tmp_path, "train-000000", ELSEWHERE)
    os.utime(tmp_path / FOLDER / "train-000000.1")
    sweep(tmp_path)
    assert names(tmp_path) == {"train-000000.1", f"{ELSEWHERE}.alive"}
