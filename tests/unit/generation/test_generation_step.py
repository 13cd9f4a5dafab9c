"""The step ``generate``, whole, on a tiny model: what it leaves on disk, what it says, what it refuses."""

from __future__ import annotations

import dataclasses
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tiny_models import tiny_stable_diffusion, tiny_study

from seedml.config import PromptsConfig, SamplerConfig, StudyConfig, TrainerConfig
from seedml.errors import UserError
from seedml.generation.plan import plan
from seedml.generation.step import generate
from seedml.models import text_to_image
from seedml.models.text_to_image import ImageBatch, PromptEmbeddings, TextToImage
from seedml.noise import initial_noise, noise_sha256
from seedml.prompts import load_prompts
from seedml.shards.dataset import complete_dataset
from seedml.shards.reader import read_shard
from seedml.tracking import NullTracker, Tracker

# diffusers' own, on numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class Recorder(Tracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[dict[str, Any], int]] = []
        self.totals: dict[str, Any] = {}
        self.images: dict[str, np.ndarray] = {}

    def log(self, values: Any, step: Any = None) -> None:
        self.rows.append((dict(values), step))

    def summary(self, values: Any) -> None:
        self.totals |= values

    def image(self, key: str, image: Any, caption: str = "") -> None:
        self.images[key] = image


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture(scope="module")
def made(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyConfig, Recorder]:
    """A finished study; tests leave it as it is."""
    config = tiny_study(tmp_path_factory.mktemp("study"), model)
    tracker = Recorder()
    generate(config, tracker)
    return config, tracker


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.rglob("*.*"))}


def test_every_cell_is_there_once_with_its_seed_s_noise(made: tuple[StudyConfig, Recorder]) -> None:
    config, _ = made
    dataset, tiles = complete_dataset(config)
    texts = {p.prompt_id: (p.text, p.split) for p in load_prompts(config.prompts)}
    samples = [sample for tile in tiles for sample in read_shard(dataset.shard(tile), check_hash=True)]
    assert sorted((s.seed, s.prompt_id) for s in samples) == [(s, p) for s in range(5) for p in range(9)]
    for sample in samples:
        assert (sample.prompt, sample.split) == texts[sample.prompt_id]
        noise, _ = initial_noise([sample.seed], tuple(dataset.model["latent_shape"]))
        assert sample.noise_sha256 == noise_sha256(noise[0])
    rows = pq.ParquetDataset(sorted(dataset.folder.glob("*.parquet"))).read().to_pylist()
    assert sorted((r["seed"], r["prompt_id"]) for r in rows) == [(s, p) for s in range(5) for p in range(9)]
    assert {(r["status"], r["height"], r["width"]) for r in rows} == {("ok", 32, 32)}


def test_images_are_those_of_the_model(made: tuple[StudyConfig, Recorder]) -> None:
    """Straight from the wrapper, in another batch: the same up to rounding, for every image of the study."""
    config, _ = made
    dataset, tiles = complete_dataset(config)
    model = text_to_image.load_text_to_image(config)
    rows = model.embed([prompt.text for prompt in dataset.prompts.values()])
    for sample in (sample for tile in tiles for sample in read_shard(dataset.shard(tile))):
        alone = model.images(rows[[sample.prompt_id]], *initial_noise([sample.seed], model.latent_shape))
        difference = np.abs(alone[0].permute(1, 2, 0).numpy().astype(int) - sample.pixels())
        assert difference.max() <= 2, f"seed {sample.seed}, prompt {sample.prompt_id}"


def test_the_second_run_touches_nothing_and_needs_no_model(
    made: tuple[StudyConfig, Recorder], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = made
    monkeypatch.setattr(text_to_image, "load_text_to_image", lambda *_: pytest.fail("the model was loaded"))
    before, tracker = files(config.shard_dir), Recorder()
    generate(config, tracker)
    assert files(config.shard_dir) == before
    assert tracker.rows == []
    assert "45 done, 0 to make" in capsys.readouterr().out


def test_the_summary_and_the_tracker_get_the_numbers(made: tuple[StudyConfig, Recorder]) -> None:
    config, tracker = made
    summary = json.loads((config.run_dir / "summary.json").read_text())
    assert summary["images"] == 45
    assert summary["images_failed"] == 0
    assert summary["seconds"]["generate"] > 0
    assert [step for _, step in tracker.rows] == sorted({step for _, step in tracker.rows})
    assert tracker.rows[-1][1] == 45
    assert all(row["generate/images_per_second"] > 0 for row, _ in tracker.rows)
    assert tracker.totals["images"] == 45
    dataset, tiles = complete_dataset(config)
    first = next(read_shard(dataset.shard(tiles[0])))
    sheet = tracker.images["generate/samples"]
    assert sheet.shape == (32 * 2, 32 * 4, 3), "2 prompts of the tile × 4 seeds"
    assert np.array_equal(sheet[:32, :32], first.pixels())


def test_the_plan_comes_first_and_counts(made: tuple[StudyConfig, Recorder]) -> None:
    config, _ = made
    done = plan(config)
    assert (done.images, done.images_done, done.tiles, done.tiles_done) == (45, 45, 5, 5)
    assert done.measured
    assert done.bytes_total == sum(path.stat().st_size for path in config.shard_dir.glob("*.tar"))
    assert "45 images of 32 × 32 px = 5 seeds × 9 prompts (train 5, val 2, test 2) in 5 shards" in done.text()


def test_a_plan_touches_nothing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_to_image, "load_text_to_image", lambda *_: pytest.fail("the model was loaded"))
    generate(tiny_study(tmp_path, model, dry_run=True), NullTracker())
    assert "0 done, 45 to make; about" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    unknown = plan(tiny_study(tmp_path, Path("nobody/no-such-model")))
    assert (unknown.size, unknown.bytes_total) == (None, None)
    assert "disk unknown" in unknown.text()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"sampler": SamplerConfig(steps=3, guidance_scale=3.0, batch_size=4)}, "sampler.scheduler, sampler.steps"),
        ({"prompts": PromptsConfig(limit=9, splits={"train": 7, "test": 2})}, "prompts"),
        ({"seeds": "1:6"}, "seeds"),
    ],
)
def test_other_settings_are_refused_before_anything_is_touched(
    made: tuple[StudyConfig, Recorder], changes: dict[str, Any], key: str
) -> None:
    config = dataclasses.replace(made[0], **changes)
    before = files(config.shard_dir)
    with pytest.raises(UserError, match=rf"made with other settings: {key}.*choose another name"):
        generate(config, NullTracker())
    assert files(config.shard_dir) == before


def test_other_weights_under_the_same_path_are_refused(model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    config = tiny_study(tmp_path, folder, seeds="0:1", prompts=PromptsConfig(limit=2, splits={"train": 1, "test": 1}))
    generate(config, NullTracker())
    shutil.rmtree(folder)
    tiny_stable_diffusion(folder, seed=1)
    with pytest.raises(UserError, match=r"other settings: weights\.sha256"):
        generate(config, NullTracker())


def test_a_resumed_study_keeps_its_number_of_threads(model: Path, tmp_path: Path) -> None:
    """Threads decide the last bit: unless told otherwise, go on with those of the images that are there."""
    prompts = PromptsConfig(limit=3, splits={"train": 2, "test": 1})
    trainer = TrainerConfig(accelerator="cpu", threads=2)
    config = tiny_study(tmp_path, model, seeds="0:2", prompts=prompts, trainer=trainer)
    before = torch.get_num_threads()
    generate(config, NullTracker())
    dataset, tiles = complete_dataset(config)
    whole = files(dataset.folder)
    for ending in ("json", "tar", "parquet"):
        dataset.shard(tiles[0]).with_suffix(f".{ending}").unlink()
    silent = dataclasses.replace(config, trainer=TrainerConfig(accelerator="cpu"))
    generate(silent, NullTracker())
    assert {name: data for name, (_, data) in files(dataset.folder).items()} == {n: d for n, (_, d) in whole.items()}
    dataset.shard(tiles[0]).with_suffix(".json").unlink()
    other = dataclasses.replace(config, trainer=TrainerConfig(accelerator="cpu", threads=1))
    with pytest.raises(UserError, match=r"other settings: trainer\.threads"):
        generate(other, NullTracker())
    assert torch.get_num_threads() == before


class Faulty(TextToImage):
    """A model that gives NaN for seed 2 and one colour for seed 4."""

    def sample(self, embeddings: PromptEmbeddings, noise: Any, generators: Any) -> ImageBatch:
        batch = super().sample(embeddings, noise, generators)
        seeds = torch.tensor([generator.initial_seed() for generator in generators])
        batch.images[seeds == 4] = 0
        return ImageBatch(batch.images, batch.finite & (seeds != 2))


def test_bad_images_are_recorded_and_kept_out(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = text_to_image.load_text_to_image

    def faulty(config: StudyConfig, device: Any) -> TextToImage:
        good = load(config, device)
        return Faulty(good.pipeline, good.sampling, good.latent_shape)

    monkeypatch.setattr(text_to_image, "load_text_to_image", faulty)
    config = tiny_study(tmp_path, model)
    tracker = Recorder()
    generate(config, tracker)
    dataset, tiles = complete_dataset(config)
    rows = [row for tile in tiles for row in pq.read_table(dataset.shard(tile).with_suffix(".parquet")).to_pylist()]
    assert len(rows) == 45
    reasons = {2: "non-finite pixels", 4: "flat: every pixel has one value"}
    assert all(row["reason"] == reasons.get(row["seed"], "") for row in rows)
    assert all(row["status"] == ("failed" if row["seed"] in reasons else "ok") for row in rows)
    assert {sample.seed for tile in tiles for sample in read_shard(dataset.shard(tile))} == {0, 1, 3}
    assert json.loads((config.run_dir / "summary.json").read_text())["images_failed"] == 18
    assert tracker.rows[-1][0]["generate/failed"] == 18


def test_a_run_says_its_plan_and_its_rate_and_nothing_else(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        generate(tiny_study(tmp_path, model), NullTracker())
    captured = capfd.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert captured.out.startswith("tiny: 45 images")
    assert len([line for line in captured.err.splitlines() if line.strip()]) == 1
    assert "images/s" in captured.err
