"""An interrupted and resumed study ends with the bytes of an uninterrupted one (DESIGN section 10)."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import tiny_stable_diffusion, tiny_study

from seedml.config import SamplerConfig, ShardsConfig, StudyConfig
from seedml.generation.step import generate
from seedml.grid import Tile
from seedml.models import text_to_image
from seedml.models.text_to_image import TextToImage
from seedml.shards.dataset import ShardDataset, complete_dataset, open_dataset
from seedml.shards.reader import read_shard
from seedml.tracking import NullTracker

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' own, on numpy 2
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]
FORK = multiprocessing.get_context("fork")  # a real process to kill, without importing everything again


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture(scope="module")
def uninterrupted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    config = tiny_study(tmp_path_factory.mktemp("whole"), model)
    generate(config, NullTracker())
    return contents(config.shard_dir)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in the folder, hidden ones too."""
    found = {}
    for path in sorted(folder.rglob("*")):
        try:
            found[str(path.relative_to(folder))] = b"a folder" if path.is_dir() else path.read_bytes()
        except FileNotFoundError:
            continue  # another process has just given it its name, or removed it
    return found


def start(config: StudyConfig) -> Any:
    def run() -> None:
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (for the rest of the process)
        generate(config, NullTracker())

    process = FORK.Process(target=run)
    process.start()
    return process


def wait_for(condition: Callable[[], bool], process: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.is_alive(), f"generate ended too early, with status {process.exitcode}"
        assert time.monotonic() < deadline, "generate does not get on"
        time.sleep(0.002)


def markers(config: StudyConfig) -> int:
    return len(list(config.shard_dir.glob("*-*.json"))) if config.shard_dir.is_dir() else 0


def slow(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Give every batch a pause, so that a signal has a batch to fall into."""
    sample = TextToImage.sample

    def paused(self: TextToImage, *arguments: Any) -> Any:
        time.sleep(seconds)
        return sample(self, *arguments)

    monkeypatch.setattr(TextToImage, "sample", paused)


def test_killed_again_and_again_it_ends_with_the_same_bytes(
    model: Path, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    """SIGKILL at random moments, each after some more work; what is whole stays as it is, byte by byte."""
    config = tiny_study(tmp_path, model)
    dice = random.Random(11)
    for _ in range(6):
        process = start(config)
        before = markers(config)
        wait_for(lambda before=before: markers(config) > before or config.shard_dir.is_dir(), process)
        time.sleep(dice.uniform(0.0, 0.4))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break  # it was faster than the signal
        for name, data in contents(config.shard_dir).items() if config.shard_dir.is_dir() else ():
            if name.endswith(".json"):
                assert uninterrupted[name] == data, f"{name} appeared before it was whole"
    generate(config, NullTracker())
    assert contents(config.shard_dir) == uninterrupted


@pytest.mark.parametrize("at", range(3))
def test_killed_in_the_middle_of_a_commit_it_ends_with_the_same_bytes(
    model: Path, tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Death just before the tar, the table or the marker of the second tile gets its name."""
    config = tiny_study(tmp_path, model)
    replace = Path.replace

    def die(self: Path, target: Path) -> Path:
        if target.name == f"train-000001.{['tar', 'parquet', 'json'][at]}":
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        process = start(config)
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert any(name.startswith(".train-000001") for name in contents(config.shard_dir)), "a leftover to clear away"
    assert not (config.shard_dir / "train-000001.json").exists()
    generate(config, NullTracker())
    assert contents(config.shard_dir) == uninterrupted


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_within_a_batch_and_leaves_whole_tiles_only(
    model: Path, tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch,
    number: int, status: int,
) -> None:  # fmt: skip
    """Lightning's predict loop itself swallows SIGTERM and would run to the end."""
    slow(monkeypatch, 0.3)
    config = tiny_study(tmp_path, model)
    process = start(config)
    wait_for(lambda: markers(config) >= 1, process)
    os.kill(process.pid, number)
    sent = time.monotonic()
    process.join(30)
    assert process.exitcode == status
    assert time.monotonic() - sent < 3, "a batch takes 0.3 s"
    left = contents(config.shard_dir)
    assert all(uninterrupted[name] == data for name, data in left.items()), "only whole files, no temporary ones"
    assert len(left) < len(uninterrupted)
    monkeypatch.undo()
    generate(config, NullTracker())
    assert contents(config.shard_dir) == uninterrupted


def test_an_exception_in_the_middle_leaves_whole_tiles_only(
    model: Path, tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """webdataset's own ShardWriter would finish the partial shard here."""
    calls = 0
    sample = TextToImage.sample

    def breaks(self: TextToImage, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5:  # in the second tile: 10 images are three batches of 4
            raise RuntimeError("out of memory")
        return sample(self, *arguments)

    monkeypatch.setattr(text_to_image.TextToImage, "sample", breaks)
    config = tiny_study(tmp_path, model)
    with pytest.raises(RuntimeError, match="out of memory"):
        generate(config, NullTracker())
    left = contents(config.shard_dir)
    assert set(left) == {"dataset.json", *(f"train-000000.{ending}" for ending in ("tar", "parquet", "json"))}
    monkeypatch.undo()
    generate(config, NullTracker())
    assert contents(config.shard_dir) == uninterrupted


def test_the_order_of_tiles_changes_nothing(
    model: Path, tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = ShardDataset.missing

    def backwards(self: ShardDataset, tiles: list[Tile]) -> list[Tile]:
        return missing(self, tiles)[::-1]

    monkeypatch.setattr(ShardDataset, "missing", backwards)
    config = tiny_study(tmp_path, model)
    process = start(config)
    wait_for(lambda: markers(config) >= 1, process)  # dataset.json is there: the next run asks what is missing
    process.kill()
    process.join()
    generate(config, NullTracker())
    assert contents(config.shard_dir) == uninterrupted


def test_two_processes_on_one_folder_do_no_harm(model: Path, tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    """They do the same work twice, but neither spoils the other's files."""
    config = tiny_study(tmp_path, model)
    processes = [start(config), start(config)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert contents(config.shard_dir) == uninterrupted


def images(config: StudyConfig) -> dict[tuple[int, int], np.ndarray]:
    dataset, tiles = complete_dataset(config)
    return {
        (sample.seed, sample.prompt_id): sample.pixels().astype(int)
        for tile in tiles
        for sample in read_shard(dataset.shard(tile))
    }


def test_batch_size_and_tile_size_change_pixels_by_rounding_only(model: Path, tmp_path: Path) -> None:
    first = tiny_study(tmp_path / "a", model)
    sampler = SamplerConfig(steps=2, guidance_scale=3.0, batch_size=7, scheduler="EulerAncestralDiscreteScheduler")
    shards = ShardsConfig(root=str(tmp_path / "b" / "shards"), tile_seeds=2, tile_prompts=3)
    second = tiny_study(tmp_path / "b", model, sampler=sampler, shards=shards)
    for config in (first, second):
        generate(config, NullTracker())
    one, other = images(first), images(second)
    assert len(one) == 45
    assert one.keys() == other.keys()
    for cell, image in one.items():
        assert np.abs(image - other[cell]).max() <= 2, f"cell {cell}"


def test_a_folder_can_be_moved_and_its_study_go_on(
    model: Path, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    config = tiny_study(tmp_path / "a", model)
    process = start(config)
    wait_for(lambda: markers(config) >= 1, process)
    process.kill()
    process.join()
    moved = tiny_study(tmp_path / "b", model)
    moved.shard_dir.parent.mkdir(parents=True)
    config.shard_dir.rename(moved.shard_dir)
    generate(moved, NullTracker())
    assert contents(moved.shard_dir) == uninterrupted
    assert open_dataset(moved.shard_dir).settings["seeds"] == [0, 1, 2, 3, 4]
