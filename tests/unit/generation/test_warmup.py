"""A few images made to see what a study takes: real cells, the study's own batches, true bytes, nothing left behind."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from tiny_models import tiny_sdxl, tiny_stable_diffusion, tiny_study

from seedml.config import ModelConfig, PromptsConfig, SamplerConfig, ShardsConfig, StudyConfig, TrainerConfig
from seedml.errors import UserError
from seedml.generation import warmup
from seedml.generation.module import EmbeddingCache
from seedml.generation.step import generate
from seedml.generation.warmup import NotHereError, Warmup, sample_cells, warm_up
from seedml.grid import Grid, build_grid
from seedml.models.text_to_image import ImageBatch, TextToImage, load_text_to_image
from seedml.noise import cell_noise
from seedml.prompts import load_prompts
from seedml.shards.dataset import complete_dataset
from seedml.shards.reader import read_marker
from seedml.tracking import NullTracker

# diffusers' own, on numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")


def warmed(config: StudyConfig) -> Warmup:
    prompts = load_prompts(config.prompts)
    return warm_up(config, build_grid(config, prompts), prompts, cpu_threads=config.trainer.threads)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The seeds of each batch that was begun."""
    begun: list[list[int]] = []
    sample = TextToImage.sample

    def seen(self: TextToImage, embeddings: Any, noise: Any, generators: Any) -> ImageBatch:
        begun.append([generator.initial_seed() for generator in generators])
        return sample(self, embeddings, noise, generators)

    monkeypatch.setattr(TextToImage, "sample", seen)
    return begun


@pytest.mark.parametrize("image_format", ["png", "webp", "jpg"])
def test_bytes_are_those_of_the_shards_to_come(model: Path, tmp_path: Path, image_format: str) -> None:
    """All cells as one sample, so that there is nothing to estimate: what is left is the arithmetic of the tar."""
    sampler = SamplerConfig(steps=2, guidance_scale=3.0, batch_size=45)
    shards = ShardsConfig(root=str(tmp_path / "shards"), tile_seeds=5, tile_prompts=9, format=image_format)
    prompts = PromptsConfig(limit=9, splits={"train": 9})
    config = tiny_study(tmp_path, model, sampler=sampler, shards=shards, prompts=prompts)
    measured = warmed(config)
    assert measured.images == 45
    assert measured.bytes_per_image is not None
    generate(config, NullTracker())
    dataset, tiles = complete_dataset(config)
    (marker,) = (read_marker(dataset.shard(tile)) for tile in tiles)
    padding = marker.bytes - 45 * measured.bytes_per_image
    assert 1024 <= padding < 1024 + 10240, "zeros at the end, up to a whole record"


def test_a_few_samples_are_near_the_average_of_all(model: Path, tmp_path: Path) -> None:
    config = tiny_study(tmp_path, model)
    measured = warmed(config)
    assert measured.images == 8, "two batches of 4"
    assert measured.bytes_per_image is not None
    generate(config, NullTracker())
    dataset, tiles = complete_dataset(config)
    real = sum(read_marker(dataset.shard(tile)).bytes - 5120 for tile in tiles) / 45  # half a record a tar is padding
    assert measured.bytes_per_image == pytest.approx(real, rel=0.1)


def test_batches_are_the_study_s_own_and_cells_real(model: Path, tmp_path: Path, calls: list[list[int]]) -> None:
    config = tiny_study(tmp_path, model, seeds="[3, 7, 469, 1000, 4294967296]")
    before = torch.get_num_threads()
    measured = warmed(config)
    assert [len(batch) for batch in calls] == [1, 4, 4, 4], "a call for one image, one for a batch, two whole batches"
    assert {seed for batch in calls for seed in batch} == set(config.seed_list)
    assert measured.whole
    assert (measured.batch_size, measured.threads, measured.device) == (4, 1, "cpu, 1 thread")
    assert measured.seconds_per_batch > 0
    assert measured.seconds_per_prompt > 0
    assert measured.seconds_per_file > 0
    assert torch.get_num_threads() == before


def test_a_study_of_a_single_image_and_step_is_measured_too(
    model: Path, tmp_path: Path, calls: list[list[int]]
) -> None:
    sampler = SamplerConfig(steps=1, guidance_scale=1.0, batch_size=3, scheduler="EulerDiscreteScheduler")
    config = tiny_study(tmp_path, model, seeds="7:8", prompts=PromptsConfig(limit=1, splits={"test": 1}),
                        sampler=sampler)  # fmt: skip
    measured = warmed(config)
    assert set(map(tuple, calls)) == {(7,), (7, 7, 7)}, "padded as the tile's batch will be"
    assert (measured.images, measured.whole) == (1, True)
    assert measured.bytes_for_all_prompts == 0, "no guidance, no unconditional text"


@pytest.mark.parametrize("make", [tiny_stable_diffusion, tiny_sdxl])
def test_memory_is_that_of_the_tensors(tmp_path: Path, make: Any) -> None:
    config = tiny_study(tmp_path, make(tmp_path / "model"), sampler=SamplerConfig(steps=1, batch_size=6))
    measured = warmed(config)
    loaded = load_text_to_image(config)
    prompts = load_prompts(config.prompts)
    grid = build_grid(config, prompts)
    tile = max(grid.tiles_for(config.shards), key=lambda tile: len(tile.prompt_ids))
    texts = {prompt.prompt_id: prompt.text for prompt in prompts}
    held = EmbeddingCache().rows(loaded, texts, tile, tile.prompt_ids)
    tensors = [held.prompt, held.pooled, held.negative, held.negative_pooled]
    assert measured.embedding_bytes(2) == sum(tensor.nbytes for tensor in tensors if tensor is not None)
    assert len(held) == 2
    assert measured.noise_bytes == cell_noise([0] * 6, loaded.latent_shape, config.noise)[0].nbytes


def test_a_batch_that_would_take_too_long_is_not_made(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[list[int]]
) -> None:
    monkeypatch.setattr(warmup, "_call_seconds", _counting(monkeypatch))
    config = tiny_study(tmp_path, model)
    whole = warmed(config)
    monkeypatch.setattr(warmup, "LIMIT_SECONDS", 1e-9)
    calls.clear()
    cut = warmed(config)
    assert [len(batch) for batch in calls] == [1], "a single image, and of it two calls of the denoiser"
    assert (whole.whole, cut.whole) == (True, False)
    assert (cut.images, cut.failed, cut.bytes_per_image) == (0, 0, None)
    assert cut.seconds_per_batch > 0
    assert cut.embedding_bytes(7) == whole.embedding_bytes(7)


def _counting(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The real function, which must have cut its batch short: two calls of the denoiser and no decoding."""
    measure = warmup._call_seconds

    def counted(study: Any, batch: Any) -> float:
        vae, counts = study.module.model.pipeline.vae, {"denoised": 0, "decoded": 0}
        decode = vae.decode
        hook = study.module.model.pipeline.unet.register_forward_hook(
            lambda *_: counts.update(denoised=counts["denoised"] + 1), prepend=True
        )

        def decoding(*arguments: Any, **options: Any) -> Any:
            counts["decoded"] += 1
            return decode(*arguments, **options)

        monkeypatch.setattr(vae, "decode", decoding)
        seconds = measure(study, batch)
        monkeypatch.setattr(vae, "decode", decode)
        hook.remove()
        assert counts == {"denoised": 2, "decoded": 0}
        return seconds

    return counted


def test_images_that_are_none_are_counted(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = TextToImage.sample

    def faulty(self: TextToImage, embeddings: Any, noise: Any, generators: Any) -> ImageBatch:
        batch = sample(self, embeddings, noise, generators)
        seeds = torch.tensor([generator.initial_seed() for generator in generators])
        return ImageBatch(batch.images, batch.finite & (seeds % 2 == 0))

    monkeypatch.setattr(TextToImage, "sample", faulty)
    config = tiny_study(tmp_path, model)
    odd = [cell for cell in sample_cells(build_grid(config, load_prompts(config.prompts)), 8) if cell.seed % 2]
    measured = warmed(config)
    assert 0 < len(odd) < 8
    assert (measured.failed, measured.images) == (len(odd), 8 - len(odd))
    all_bad = warmed(tiny_study(tmp_path, model, seeds="[1, 3, 5]"))
    assert (all_bad.failed, all_bad.images, all_bad.bytes_per_image) == (8, 0, None)


def test_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def offline(name: str, **options: Any) -> str:
        asked.append(options["local_files_only"])
        raise OSError("not in the cache")

    monkeypatch.setattr(DiffusionPipeline, "download", offline)
    config = tiny_study(tmp_path, Path("nobody/no-such-model"))
    with pytest.raises(NotHereError, match=r"the model nobody/no-such-model is not on this machine"):
        warmed(config)
    assert asked == [True]


def test_a_model_in_the_hub_s_cache_is_loaded_from_there(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by its hub id, a newer one might be downloaded."""

    def cached(name: str, **options: Any) -> str:
        assert options["local_files_only"] is True
        return str(model)

    monkeypatch.setattr(DiffusionPipeline, "download", cached)
    assert warmed(tiny_study(tmp_path, Path("somebody/a-model"))).images == 8


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU here")
def test_without_the_device_nothing_is_measured(model: Path, tmp_path: Path) -> None:
    config = tiny_study(tmp_path, model, trainer=TrainerConfig(accelerator="gpu", devices=8, num_nodes=4))
    with pytest.raises(NotHereError, match=r"trainer\.accelerator=gpu: there is no such device here"):
        warmed(config)


def test_a_batch_too_large_for_the_device_says_so(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TextToImage, "sample", too_large)
    with pytest.raises(NotHereError, match=r"a batch of 4 does not fit .* lower sampler\.batch_size"):
        warmed(tiny_study(tmp_path, model))


def test_a_model_that_is_here_and_no_good_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no diffusers pipeline"):
        warmed(tiny_study(tmp_path, tmp_path))
    with pytest.raises(UserError, match="bundled model"):
        warmed(dataclasses.replace(tiny_study(tmp_path, model), model=ModelConfig(path="bundled:nobody")))
    sampler = SamplerConfig(scheduler="NoSuchScheduler")
    with pytest.raises(UserError, match=r"sampler\.scheduler"):
        warmed(tiny_study(tmp_path, model, sampler=sampler))


@pytest.mark.parametrize("seeds", [1, 2, 5, 64, 1024])
@pytest.mark.parametrize("prompts", [1, 3, 160])
@pytest.mark.parametrize("count", [1, 8, 32, 200])
def test_sample_cells_are_distinct_and_all_over_the_grid(seeds: int, prompts: int, count: int) -> None:
    grid = Grid(tuple(range(100, 100 + seeds)), {"train": tuple(range(1, prompts)), "test": (prompts,)})
    if prompts == 1:
        grid = Grid(grid.seeds, {"test": (1,)})
    cells = sample_cells(grid, count)
    assert len(set(cells)) == len(cells) == min(count, seeds * prompts)
    assert {cell.seed for cell in cells} <= set(grid.seeds)
    assert {cell.prompt_id for cell in cells} <= set(range(1, prompts + 1))
    assert cells == sample_cells(grid, 10**6)[:count]
    if len(cells) == count:
        thirds = {3 * (cell.seed - 100) // seeds for cell in cells}
        assert len(thirds) >= min(3, seeds, count), "no third of the seeds is left out"


def by_hand(**changes: Any) -> Warmup:
    values: dict[str, Any] = {
        "device": "cpu", "accelerated": False, "devices_here": 1, "threads": 2, "batch_size": 4,
        "seconds_per_batch": 10.0, "whole": True, "seconds_per_prompt": 0.5, "images": 8, "failed": 0,
        "seconds_per_file": 0.1, "bytes_per_image": 5000.0, "bytes_per_prompt": 100, "bytes_for_all_prompts": 7,
        "noise_bytes": 64,
    }  # fmt: skip
    return Warmup(**(values | changes))


def test_time_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmup, "_cores", lambda: 8)
    work = {"images": 400, "batches": 110, "prompts": 20}
    assert by_hand().seconds(**work) == pytest.approx(1100 + 10 + 400 * 0.1 / 2)
    beside = by_hand(accelerated=True, threads=None)
    assert beside.seconds(**work) == pytest.approx(1100 + 10), "eight cores encode meanwhile"
    assert dataclasses.replace(beside, seconds_per_file=40.0).seconds(**work) == pytest.approx(400 * 40 / 8)
    assert by_hand().embedding_bytes(3) == 307


@pytest.mark.parametrize(
    ("threads", "processes", "nodes", "times"),
    [(2, 1, 1, 1), (2, 4, 1, 4), (2, 8, 1, 4), (2, 8, 3, 12), (8, 2, 1, 1), (16, 2, 2, 2), (None, 16, 4, 64)],
)
def test_processes_on_one_cpu_share_its_cores(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, processes: int, nodes: int, times: int
) -> None:
    monkeypatch.setattr(warmup, "_cores", lambda: 8)
    assert by_hand(threads=threads).at_once(processes, nodes) == times


@pytest.mark.gpu
def test_a_gpu_is_named_and_measured(model: Path, tmp_path: Path) -> None:
    measured = warmed(tiny_study(tmp_path, model, trainer=TrainerConfig(accelerator="gpu")))
    assert measured.device == torch.cuda.get_device_name(0)
    assert (measured.accelerated, measured.threads, measured.images) == (True, None, 8)
    assert measured.devices_here == torch.cuda.device_count()
