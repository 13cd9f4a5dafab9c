"""Any number of processes, killed at any moment, started in any way: the same bytes (DESIGN section 10)."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from tiny_models import tiny_stable_diffusion, tiny_study

from seedml import progress
from seedml.config import PromptsConfig, ShardsConfig, StudyConfig
from seedml.generation.step import generate
from seedml.models.text_to_image import ImageBatch, TextToImage
from seedml.shards.dataset import complete_dataset
from seedml.tracking import NullTracker

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' own, on numpy 2
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]
FORK = multiprocessing.get_context("fork")  # a real process to kill, without importing everything again
KILLS = 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")


def study(root: Path, model: Path, **changes: Any) -> StudyConfig:
    """12 seeds × 24 prompts in 72 tiles of 4 images: two batches of 3, the second padded."""
    values = {
        "seeds": "0:12", "prompts": PromptsConfig(limit=24, splits={"train": 16, "val": 4, "test": 4}),
        "shards": ShardsConfig(root=str(root / "shards"), tile_seeds=4, tile_prompts=1),
    }  # fmt: skip
    config = tiny_study(root, model, **(values | changes))
    config.sampler.batch_size = 3
    return config


@pytest.fixture(scope="module")
def uninterrupted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    config = study(tmp_path_factory.mktemp("whole"), model)
    generate(config, NullTracker())
    return contents(config.shard_dir)


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in the folder, hidden things too."""
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


def kill_all(processes: list[Any]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.005)


def markers(config: StudyConfig) -> int:
    return len(list(config.shard_dir.glob("*-*.json"))) if config.shard_dir.is_dir() else 0


def slow(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Give every batch a pause, so that a signal has a batch to fall into."""
    sample = TextToImage.sample

    def paused(self: TextToImage, *arguments: Any) -> Any:
        time.sleep(seconds)
        return sample(self, *arguments)

    monkeypatch.setattr(TextToImage, "sample", paused)


def test_one_two_and_three_processes_killed_twenty_times_end_with_the_same_bytes(
    model: Path, tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL at random moments, another number of processes each time; what is whole stays as it is."""
    slow(monkeypatch, 0.05)
    config = study(tmp_path, model)
    dice = random.Random(5)
    for kill in range(KILLS):
        processes = [start(config) for _ in range(1 + kill % 3)]
        before = markers(config)
        wait_for(lambda before=before, first=kill == 0: markers(config) > before or first, "work going on")
        time.sleep(dice.uniform(0.0, 0.3))
        assert all(process.is_alive() for process in processes), "the study is too small for so many kills"
        kill_all(processes)
        for name, data in contents(config.shard_dir).items() if config.shard_dir.is_dir() else ():
            if name.endswith(".json"):
                assert uninterrupted[name] == data, f"{name} appeared before it was whole"
    assert markers(config) < 72, "there was something left to resume"
    monkeypatch.undo()
    generate(config, NullTracker())
    assert contents(config.shard_dir) == uninterrupted


def test_three_processes_share_the_work_and_all_return_when_it_is_done(
    model: Path, tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every image is sampled once; nobody returns while another still works."""
    sample, counts = TextToImage.sample, FORK.Queue()

    def counted(self: TextToImage, *arguments: Any) -> Any:
        counts.put(os.getpid())
        time.sleep(0.02)
        return sample(self, *arguments)

    monkeypatch.setattr(TextToImage, "sample", counted)
    config = study(tmp_path, model)
    processes = [start(config) for _ in range(3)]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
        assert contents(config.shard_dir) == uninterrupted
    workers = [counts.get(timeout=10) for _ in range(2 * 72)]
    assert counts.empty(), "no batch was computed twice"
    assert len(set(workers)) == 3, "the work was shared"


def test_a_process_takes_over_what_a_killed_one_had_in_hand(
    model: Path, tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = study(tmp_path, model)
    slow(monkeypatch, 0.3)
    doomed = start(config)
    wait_for(lambda: markers(config) >= 1, "first tile")
    monkeypatch.undo()
    survivor = start(config)
    wait_for(lambda: markers(config) >= 30, "work of the second process")
    doomed.kill()
    survivor.join(120)
    assert survivor.exitcode == 0
    assert contents(config.shard_dir) == uninterrupted


class Faulty:
    """Makes seed 2 fail everywhere and seed 5 give flat pictures, as a broken device might."""

    def __init__(self) -> None:
        self.sampled: list[int] = []
        self._sample = TextToImage.sample

    def __call__(self, model: TextToImage, embeddings: Any, noise: Any, generators: Any) -> ImageBatch:
        batch = self._sample(model, embeddings, noise, generators)
        seeds = torch.tensor([generator.initial_seed() for generator in generators])
        batch.images[seeds == 5] = 0
        return ImageBatch(batch.images, batch.finite & (seeds != 2))


def test_failed_images_alone_are_made_again(
    model: Path, tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = Faulty()
    config = study(tmp_path, model)
    with monkeypatch.context() as patch:
        patch.setattr(TextToImage, "sample", lambda self, *arguments: faulty(self, *arguments))
        generate(config, NullTracker())
    summary = json.loads((config.run_dir / "summary.json").read_text())
    assert (summary["images"], summary["images_failed"]) == (240, 48)
    before = contents(config.shard_dir)
    generate(config, NullTracker())
    assert contents(config.shard_dir) == before, "without being asked nothing is made again"
    sampled: list[int] = []
    sample = TextToImage.sample

    def watched(self: TextToImage, embeddings: Any, noise: Any, generators: Any) -> ImageBatch:
        sampled.extend(generator.initial_seed() for generator in generators)
        return sample(self, embeddings, noise, generators)

    monkeypatch.setattr(TextToImage, "sample", watched)
    generate(study(tmp_path, model, retry_failed=True), NullTracker())
    assert set(sampled) == {2, 5}
    assert contents(config.shard_dir) == uninterrupted, "as if they had never failed"
    assert json.loads((config.run_dir / "summary.json").read_text())["images_failed"] == 0


def test_what_fails_again_stays_failed(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = Faulty()
    monkeypatch.setattr(TextToImage, "sample", lambda self, *arguments: faulty(self, *arguments))
    config = study(tmp_path, model, retry_failed=True)
    generate(config, NullTracker())
    before = contents(config.shard_dir)
    generate(config, NullTracker())
    assert contents(config.shard_dir) == before
    dataset, tiles = complete_dataset(config)
    rows = [row for tile in tiles for row in pq.read_table(dataset.shard(tile).with_suffix(".parquet")).to_pylist()]
    reasons = {2: "non-finite pixels", 5: "flat: every pixel has one value"}
    assert len(rows) == 288
    assert all(row["reason"] == reasons.get(row["seed"], "") for row in rows)


# --------------------------------------------------------------- real command lines: launchers, signals, orphans


@pytest.fixture
def command(model: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``python [launcher] -m seedml generate`` on the study of :func:`study`; ends what is left."""
    raw = {
        "name": "tiny", "seeds": "0:12", "model": {"path": str(model)},
        "prompts": {"limit": 24, "splits": {"train": 16, "val": 4, "test": 4}},
        "sampler": {"steps": 2, "guidance_scale": 3.0, "batch_size": 3, "scheduler": "EulerAncestralDiscreteScheduler"},
        "shards": {"root": str(tmp_path / "shards"), "tile_seeds": 4, "tile_prompts": 1},
        "runs": {"root": str(tmp_path / "runs")}, "trainer": {"accelerator": "cpu", "threads": 1},
        "tracking": {"mode": "disabled"},
    }  # fmt: skip
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(raw))
    started: list[subprocess.Popen[str]] = []

    def run(*words: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        line = [sys.executable, *launcher, "-m", "seedml", "generate", str(tmp_path / "tiny.yaml"), *words]
        process = subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it and its children have ended


LIGHTNING = ("trainer.devices=2", "trainer.strategy=ddp")
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0")


def processes_of(session: int) -> list[int]:
    """Living processes of the session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            found.append(int(path.parent.name))
    return sorted(found)


def wait_for_both_ranks(config: StudyConfig, process: subprocess.Popen[str]) -> None:
    """Until both are at work. Lightning's first rank starts the second; it might be done before that one has begun."""
    wait_for(lambda: markers(config) >= 1, "first tile")
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: len(list((config.shard_dir / ".claims").glob("*.alive"))) == 2, "two ranks at work")
    process.send_signal(signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [(), TORCHRUN], ids=["lightning", "torchrun"])
def test_two_ranks_killed_and_resumed_by_one_give_the_same_bytes(
    command: Any, tmp_path: Path, model: Path, uninterrupted: dict[str, bytes], launcher: tuple[str, ...]
) -> None:
    config = study(tmp_path, model)
    process = command(*LIGHTNING, launcher=launcher)
    wait_for_both_ranks(config, process)
    wait_for(lambda: markers(config) >= 5, "tiles")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not processes_of(process.pid), "end of all ranks")
    assert 5 <= markers(config) < 72
    again = command(*LIGHTNING, launcher=launcher)
    assert again.wait(180) == 0, again.stderr.read()
    assert contents(config.shard_dir) == uninterrupted


@pytest.mark.slow
def test_sigterm_ends_all_ranks_with_143(
    command: Any, tmp_path: Path, model: Path, uninterrupted: dict[str, bytes]
) -> None:
    config = study(tmp_path, model)
    process = command(*LIGHTNING)
    wait_for_both_ranks(config, process)
    wait_for(lambda: markers(config) >= 3, "tiles")
    process.terminate()
    assert process.wait(60) == 143
    assert "Run the same command to go on" in process.stderr.read()
    wait_for(lambda: not processes_of(process.pid), "end of the other rank")
    left = contents(config.shard_dir)
    assert {name for name, data in left.items() if uninterrupted.get(name) != data} == set(), "claims, partial files"
    assert len(left) < len(uninterrupted)
    generate(config, NullTracker())
    assert contents(config.shard_dir) == uninterrupted


@pytest.mark.parametrize("moment", ["before", "after"])
def test_sigterm_outside_lightning_s_loop_leaves_nothing_either(
    moment: str, model: Path, tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning listens in its loop only; the process holds claims before it and tidies up after it."""

    sample = TextToImage.sample

    def stop(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    @contextmanager
    def bar(*_: Any, **__: Any) -> Iterator[Any]:
        if moment == "before":
            stop()
        try:
            yield SimpleNamespace(advance=lambda *_: None)
        finally:
            stop()

    def stopped(*arguments: Any) -> Any:
        stop()
        return sample(*arguments)

    monkeypatch.setattr(progress, "progress_bar", bar)
    if moment == "after":
        monkeypatch.setattr(TextToImage, "sample", stopped)
    config = study(tmp_path, model)
    process = start(config)
    process.join(60)
    assert process.exitcode == 143
    left = contents(config.shard_dir)
    assert {name for name, data in left.items() if uninterrupted.get(name) != data} == set()
    assert len(left) < len(uninterrupted)


@pytest.mark.slow
def test_a_rank_whose_launcher_dies_stops_by_itself(command: Any, tmp_path: Path, model: Path) -> None:
    config = study(tmp_path, model)
    process = command(*LIGHTNING)
    wait_for_both_ranks(config, process)
    process.kill()  # the first rank only
    process.wait()
    wait_for(lambda: not processes_of(process.pid), "end of the orphan")
    assert markers(config) < 72, "it did not go on to the end"


@pytest.mark.slow
def test_devices_that_do_not_match_the_launched_processes_are_one_line(command: Any) -> None:
    process = command("trainer.devices=3", launcher=TORCHRUN)
    assert process.wait(120) != 0
    errors = [line for line in process.stderr.read().splitlines() if line.startswith("seedml: error:")]
    assert errors
    assert all("trainer.devices=3" in line for line in errors)
