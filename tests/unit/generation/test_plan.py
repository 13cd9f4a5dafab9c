"""The plan of a study: counts, bytes, and what it takes on this machine. It touches nothing and downloads nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_stable_diffusion, tiny_study

from seedml import study
from seedml.config import PromptsConfig, SamplerConfig, ShardsConfig, StudyConfig, TrainerConfig
from seedml.errors import UserError
from seedml.generation import warmup
from seedml.generation.estimate import MeasuredPlan, human_seconds, measured_plan
from seedml.generation.plan import plan
from seedml.generation.step import generate
from seedml.models import text_to_image
from seedml.shards.dataset import complete_dataset
from seedml.tracking import NullTracker

# diffusers' own, on numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture(scope="module")
def finished(model: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    config = tiny_study(tmp_path_factory.mktemp("study"), model)
    generate(config, NullTracker())
    return config


def tars(config: StudyConfig) -> int:
    return sum(path.stat().st_size for path in config.shard_dir.glob("*.tar"))


def shortened(finished: StudyConfig, root: Path, tiles: int) -> StudyConfig:
    """The finished study with only its first tiles, in another place."""
    config = dataclasses.replace(finished, shards=dataclasses.replace(finished.shards, root=str(root / "shards")))
    config.shard_dir.mkdir(parents=True)
    dataset, all_tiles = complete_dataset(finished)
    names = [
        "dataset.json",
        *(f"{tile.name}.{end}" for tile in all_tiles[:tiles] for end in ("tar", "parquet", "json")),
    ]
    for name in names:
        (config.shard_dir / name).write_bytes((dataset.folder / name).read_bytes())
    return config


def lines(measured: MeasuredPlan) -> dict[str, str]:
    """What is printed: first word -> its line."""
    return {line.split()[0]: line for line in measured.text().splitlines()}


def test_counts_of_an_empty_folder(model: Path, tmp_path: Path) -> None:
    """Prompts: train 5, val 2, test 2, in tiles of at most 2: 2, 2, 1 | 2 | 2, each with all 5 seeds."""
    planned = plan(tiny_study(tmp_path, model))
    assert (planned.images, planned.images_done, planned.images_left) == (45, 0, 45)
    assert (planned.tiles, planned.tiles_done) == (5, 0)
    assert (planned.largest_tile, planned.widest_tile, planned.prompts_left) == ((5, 2), 2, 9)
    assert planned.batches_left == 4 * 3 + 2, "tiles of 10 in batches of 4, one of 5"
    assert not planned.measured
    assert planned.bytes_left == planned.bytes_total


def test_counts_of_a_folder_half_done(finished: StudyConfig, tmp_path: Path) -> None:
    config = shortened(finished, tmp_path, 2)
    planned = plan(config)
    assert (planned.images_done, planned.images_left, planned.tiles_done) == (20, 25, 2)
    assert (planned.batches_left, planned.prompts_left) == (2 * 3 + 2, 5)
    assert planned.measured
    assert planned.bytes_left == tars(config) * 25 // 20
    assert planned.bytes_total == tars(config) + planned.bytes_left
    assert planned.bytes_left == pytest.approx(tars(finished) - tars(config), rel=0.2)


@pytest.mark.parametrize(("image_format", "tiles"), [("png", 0), ("png", 1), ("png", 4), ("webp", 0), ("jpg", 0)])
def test_the_least_is_less_than_what_comes(
    finished: StudyConfig, model: Path, tmp_path: Path, image_format: str, tiles: int
) -> None:
    """A study that would fit must never be refused; one that is a tenth of the truth would refuse nobody."""
    shards = ShardsConfig(root=str(tmp_path / "shards"), tile_seeds=5, tile_prompts=2, format=image_format)
    config = tiny_study(tmp_path, model, shards=shards)
    if tiles:
        config = shortened(finished, tmp_path / "begun", tiles)
    planned = plan(config)
    generate(config, NullTracker())
    real = tars(config) * planned.images_left // 45
    assert planned.bytes_left_at_least is not None
    assert 0.2 * real < planned.bytes_left_at_least < real


def test_measured_bytes_are_those_of_the_shards(finished: StudyConfig, model: Path, tmp_path: Path) -> None:
    """All cells are samples, in batches of the shape in which they are made, so only the arithmetic is left."""
    sampler = SamplerConfig(
        steps=2, guidance_scale=3.0, batch_size=45, scheduler="EulerAncestralDiscreteScheduler"
    )  # fmt: skip
    measured = measured_plan(tiny_study(tmp_path, model, sampler=sampler))
    assert measured.warmup is not None
    assert measured.warmup.images == 45
    assert measured.bytes_total == pytest.approx(tars(finished), rel=0.02)
    assert "(measured on 45 samples)" in lines(measured)["disk"]


def test_the_plan_touches_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tiny_study(Path(), model)
    study.STEPS["plan"](config)
    assert list(tmp_path.iterdir()) == []
    captured = capfd.readouterr()
    assert captured.err == ""
    assert len(captured.out.splitlines()) == 6 + 4
    assert max(map(len, captured.out.splitlines())) < 130
    for part in ("45 images of 32 × 32 px = 5 seeds × 9 prompts (train 5, val 2, test 2)", "0 done, 45 to make",
                 "5 shards of up to 10 images (5 seeds × 2 prompts); 0 done", "free in shards/tiny",
                 "text embeddings", "2 prompts in a tile", "batches of 4", "on one device (cpu, 1 thread)",
                 "images/s, measured on whole batches", "later   classify: 36 images of seeds outside the study",
                 "apply: 230 images of 46 prompts that the study leaves unused", "apply: 24 images of 6 noise swaps",
                 "together 290 images beyond the grid, about"):  # fmt: skip
        assert part in captured.out


def test_the_plan_of_a_folder_half_done_leaves_it_as_it_is(finished: StudyConfig, tmp_path: Path) -> None:
    config = shortened(finished, tmp_path, 3)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*.*")}
    measured = measured_plan(config)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*.*")} == before
    assert measured.warmup is not None
    assert measured.bytes_total == plan(config).bytes_total, "finished images say more than eight samples"
    assert "(measured on 25 finished ones)" in lines(measured)["disk"]
    assert measured.seconds == measured.warmup.seconds(images=20, batches=6, prompts=4)


def test_a_finished_study_needs_no_model(finished: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_to_image, "load_text_to_image", lambda *_: pytest.fail("the model was loaded"))
    monkeypatch.setattr(warmup, "load_text_to_image", lambda *_: pytest.fail("the model was loaded"))
    measured = measured_plan(finished)
    assert measured.bytes_total == tars(finished)
    assert (measured.seconds, measured.seconds_together) == (None, None)
    assert set(lines(measured)) == {"tiny:", "images", "tiles", "disk"}
    assert "45 done, 0 to make" in lines(measured)["images"]


def test_without_the_model_the_rest_is_printed(tmp_path: Path) -> None:
    measured = measured_plan(tiny_study(tmp_path, Path("nobody/no-such-model")))
    assert measured.warmup is None
    printed = lines(measured)
    assert printed["tiny:"].startswith("tiny: 45 images = 5 seeds × 9 prompts")
    assert "5 shards of up to 10 images" in printed["tiles"]
    assert "unknown; " in printed["disk"]
    assert printed["time"].endswith("not measured: the model nobody/no-such-model is not on this machine")
    sized = tiny_study(tmp_path, Path("nobody/no-such-model"))
    sized.model.height = sized.model.width = 32
    assert "about 253 KB, about 5.63 KB an image (guessed)" in lines(measured_plan(sized))["disk"]


def test_time_is_shared_by_devices_and_nodes(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmup, "_cores", lambda: 2)
    trainer = TrainerConfig(accelerator="cpu", devices=8, num_nodes=3, threads=1)
    measured = measured_plan(tiny_study(tmp_path, model, trainer=trainer))
    assert measured.seconds is not None
    assert (measured.devices, measured.nodes) == (8, 3)
    assert measured.seconds_together == pytest.approx(measured.seconds / (2 * 3))
    assert "on 8 devices × 3 nodes: processes share the cores of a CPU" in measured.text()
    assert measured.warmup is not None
    measured = dataclasses.replace(measured, warmup=dataclasses.replace(measured.warmup, threads=None))
    assert measured.seconds_together == pytest.approx(measured.seconds / 24, rel=1e-2)
    assert measured.text().splitlines()[-1].endswith("on 8 devices × 3 nodes")
    one = dataclasses.replace(measured, devices=1, nodes=1)
    assert one.seconds_together == one.seconds
    assert "on 1 device" not in one.text()


@pytest.mark.parametrize(("devices", "count"), [("auto", 1), (-1, 1), ("0,2", 2), ("0,", 1), (3, 3)])
def test_devices_are_counted_as_lightning_counts_them(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: int | str, count: int
) -> None:
    real = warmup.first_device
    alone = TrainerConfig(accelerator="cpu")
    monkeypatch.setattr(warmup, "first_device", lambda _: real(alone))  # a list of numbers is for GPUs
    trainer = TrainerConfig(accelerator="cpu", devices=devices)
    assert measured_plan(tiny_study(tmp_path, model, trainer=trainer)).devices == count


def test_a_plan_that_does_not_fit_says_so(model: Path, tmp_path: Path) -> None:
    measured = measured_plan(tiny_study(tmp_path, model))
    assert "TOO MUCH" not in measured.text()
    small = dataclasses.replace(measured, bytes_free=1000)
    assert "TOO MUCH: only 1 KB free" in lines(small)["disk"]


def test_samples_that_are_no_images_are_spoken_of(model: Path, tmp_path: Path) -> None:
    measured = measured_plan(tiny_study(tmp_path, model))
    assert measured.warmup is not None
    assert "WARNING" not in measured.text()
    bad = dataclasses.replace(measured, warmup=dataclasses.replace(measured.warmup, failed=3, images=5))
    assert "WARNING: 3 of 8 sample images were none" in bad.text()


def test_what_cannot_be_carried_out_is_refused(finished: StudyConfig, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sampler\.scheduler"):
        measured_plan(tiny_study(tmp_path, model, sampler=SamplerConfig(scheduler="NoSuchScheduler")))
    other = dataclasses.replace(finished, prompts=PromptsConfig(limit=8, splits={"train": 8}))
    with pytest.raises(UserError, match="made with other settings: prompts"):
        measured_plan(other)


def test_threads_are_those_of_the_images_that_are_there(
    finished: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(warmup, "warm_up", lambda *_, cpu_threads: seen.append(cpu_threads))
    config = dataclasses.replace(shortened(finished, tmp_path, 1), trainer=TrainerConfig(accelerator="cpu"))
    measured_plan(config)
    measured_plan(dataclasses.replace(config, trainer=TrainerConfig(accelerator="cpu", threads=5)))
    measured_plan(dataclasses.replace(config, name="new"))
    assert seen == [1, 5, None]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.01, "1 s"), (99.4, "99 s"), (100, "2 min"), (5900, "98 min"), (6100, "1 h 42 min"),
     (47.9 * 3600, "47 h 54 min"), (75.2 * 3600, "3 days 3 h"), (1e8, "1,157 days 10 h")],
)  # fmt: skip
def test_time_for_people(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text
