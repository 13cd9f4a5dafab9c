"""``batch_size: 0``: what fits is found, whatever runs out of memory first; then it is kept."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_stable_diffusion, tiny_study

from seedml.config import SamplerConfig, StudyConfig
from seedml.errors import UserError
from seedml.generation import largest_batch
from seedml.generation.largest_batch import FILE, ON_CPU, find_batch, fix_batch_size, largest
from seedml.generation.step import generate
from seedml.models.loading import set_decoding
from seedml.models.text_to_image import TextToImage, load_text_to_image
from seedml.noise import initial_noise
from seedml.shards.dataset import complete_dataset
from seedml.shards.process import this_process
from seedml.tracking import NullTracker

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture
def model(folder: Path, tmp_path: Path) -> TextToImage:
    return load_text_to_image(tiny_study(tmp_path, folder, sampler=SamplerConfig(steps=2, guidance_scale=3.0)))


@pytest.mark.parametrize("room", [0, 1, 2, 3, 7, 8, 9, 37, 100])
def test_what_is_found_fits_and_an_eighth_more_does_not(room: int) -> None:
    asked: list[int] = []

    def fits(size: int) -> bool:
        asked.append(size)
        return size <= room

    found = largest(fits, 64)
    assert found <= min(room, 64)
    assert found + max(1, found // 8) >= min(room, 64)
    assert max(asked) <= 64
    assert len(asked) <= 16


def small_memory(model: TextToImage, *, denoiser: int, decoder: int) -> None:
    """Memory for so many rows in a call of each; the denoiser has two for an image, for its guidance."""

    def refuse(most: int) -> Any:
        def hook(module: object, inputs: tuple[torch.Tensor, ...]) -> None:
            if len(inputs[0]) > most:
                raise torch.OutOfMemoryError

        return hook

    model.denoiser.register_forward_pre_hook(refuse(2 * denoiser))
    model.pipeline.vae.decoder.register_forward_pre_hook(refuse(decoder))


@pytest.mark.parametrize(
    ("denoiser", "decoder", "wanted"),
    [(5, 9, (5, None)), (5, 1, (5, "sliced")), (3, 2, (3, "sliced")), (1, 1, (1, None))],
)
def test_decoding_is_sliced_only_where_that_is_needed(
    model: TextToImage, denoiser: int, decoder: int, wanted: tuple[int, str | None]
) -> None:
    small_memory(model, denoiser=denoiser, decoder=decoder)
    assert find_batch(model, ["whole", "sliced", "tiled"]) == wanted


def test_a_decoding_that_is_asked_for_is_not_changed(model: TextToImage) -> None:
    small_memory(model, denoiser=6, decoder=2)
    assert find_batch(model, ["whole"])[0] == 1  # 5 or 6, then half of it, until all of it can be decoded at a time


def test_memory_without_room_for_one_image_is_told(model: TextToImage) -> None:
    small_memory(model, denoiser=0, decoder=1)
    with pytest.raises(UserError, match=r"memory is too small.*32 × 32 px.*remedy"):
        find_batch(model, ["whole", "sliced", "tiled"])


def test_slices_are_the_same_images(model: TextToImage) -> None:
    embeddings = model.embed(["a red ball"])[[0] * 3]

    def made() -> torch.Tensor:
        return model.images(embeddings, *initial_noise((1, 2, 3), model.latent_shape)).int()

    whole = made()
    set_decoding(model.pipeline, "sliced")
    assert (made() - whole).abs().max() <= 1
    set_decoding(model.pipeline, "whole")
    assert torch.equal(made(), whole)


def open_study(root: Path, folder: Path) -> StudyConfig:
    return tiny_study(root, folder, sampler=SamplerConfig(steps=1, guidance_scale=1.0, batch_size=0))


def test_on_a_cpu_it_is_a_fixed_number_and_in_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    config = open_study(tmp_path, folder)
    generate(config, NullTracker())
    assert config.sampler.batch_size == ON_CPU
    again = open_study(tmp_path, folder)
    (config.run_dir / FILE).unlink()  # the images say it too
    dataset, _ = complete_dataset(again)
    assert again.sampler.batch_size == dataset.settings["sampler"]["batch_size"] == ON_CPU
    fixed = tiny_study(tmp_path, folder, sampler=SamplerConfig(steps=1, guidance_scale=1.0, batch_size=ON_CPU))
    assert complete_dataset(fixed)[0].fingerprint == dataset.fingerprint


def test_the_first_to_find_it_decides(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with several processes: one is faster, the others take what it wrote."""
    monkeypatch.setattr(largest_batch, "_device", lambda config: torch.device("meta"))

    def find(config: StudyConfig, device: torch.device) -> tuple[int, str]:
        (config.run_dir / FILE).parent.mkdir(parents=True, exist_ok=True)
        (config.run_dir / FILE).write_text(json.dumps({"batch_size": 3, "decode": "sliced"}))
        return 7, "tiled"

    monkeypatch.setattr(largest_batch, "_find", find)
    config = open_study(tmp_path, folder)
    fix_batch_size(config)
    assert (config.sampler.batch_size, config.sampler.decode) == (3, "sliced")
    assert not list(config.run_dir.glob(".*"))


def on_accelerator(monkeypatch: pytest.MonkeyPatch, *sizes: int) -> list[StudyConfig]:
    """Let searches find these sizes, one after another; returns for what they were made."""
    searches: list[StudyConfig] = []

    def find(config: StudyConfig, device: torch.device) -> tuple[int, str | None]:
        searches.append(config)
        return sizes[len(searches) - 1], None

    monkeypatch.setattr(largest_batch, "_device", lambda config: torch.device("meta"))
    monkeypatch.setattr(largest_batch, "_find", find)
    return searches


def fixed(config: StudyConfig) -> tuple[int, str | None]:
    fix_batch_size(config)
    return config.sampler.batch_size, config.sampler.decode


def test_it_is_searched_again_for_anything_that_takes_other_memory(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[dict[str, Any]] = [{"guidance_scale": 3.0}, {"dtype": "bfloat16"}, {"decode": "sliced"}]
    searches = on_accelerator(monkeypatch, *range(8, 16))
    assert [fixed(open_study(tmp_path, folder))[0] for _ in range(2)] == [8, 8]
    for number, change in enumerate(changes):
        config = open_study(tmp_path, folder)
        config.sampler = replace(config.sampler, **change)
        assert fixed(config)[0] == 9 + number
    config = open_study(tmp_path, folder)
    config.model.height = 64
    assert fixed(config)[0] == 12
    other = tiny_stable_diffusion(tmp_path / "other", seed=1)
    assert fixed(open_study(tmp_path, other))[0] == 13
    assert len(searches) == 6


def test_a_decoding_that_is_asked_for_stays(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_accelerator(monkeypatch, 8)
    for _ in range(2):
        config = open_study(tmp_path, folder)
        config.sampler.decode = "whole"
        assert fixed(config) == (8, "whole")


def claimed_by(owner: str, config: StudyConfig) -> Path:
    claim = config.run_dir / ".claims" / f"{FILE}.1"
    claim.parent.mkdir(parents=True)
    claim.write_text(owner)
    return claim


def test_the_others_wait_for_the_one_that_searches(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = on_accelerator(monkeypatch, 8, 9)
    first = open_study(tmp_path / "first", folder)
    assert fixed(first)[0] == 8
    config = open_study(tmp_path / "second", folder)
    claim = claimed_by(this_process(), config)  # which lives
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:  # now the other one has found it
            shutil.copy(first.run_dir / FILE, config.run_dir / FILE)
            claim.unlink()

    monkeypatch.setattr(largest_batch.time, "sleep", sleep)
    assert fixed(config)[0] == 8
    assert (len(looks), len(searches)) == (3, 1)


def test_a_search_that_was_killed_is_made_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searches = on_accelerator(monkeypatch, 8)
    config = open_study(tmp_path, folder)
    place, pid, started = this_process().split(".")
    claimed_by(f"{place}.{pid}.{int(started) + 1}", config)  # a process of that number that is no more
    assert fixed(config)[0] == 8
    assert len(searches) == 1
    assert not list(config.run_dir.glob(".*"))


def test_the_first_of_several_processes_has_a_start(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_accelerator(monkeypatch, 8)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "1")
    looks: list[float] = []
    monkeypatch.setattr(largest_batch.time, "sleep", looks.append)
    assert fixed(open_study(tmp_path, folder))[0] == 8
    assert sum(looks) == largest_batch.START_SECONDS


def test_without_hard_links_it_is_kept_too(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(largest_batch.os, "link", link)
    on_accelerator(monkeypatch, 8)
    assert [fixed(open_study(tmp_path, folder))[0] for _ in range(2)] == [8, 8]
    largest_batch._write_first(path := tmp_path / "kept.json", {"batch_size": 1})
    largest_batch._write_first(path, {"batch_size": 2})
    assert json.loads(path.read_text()) == {"batch_size": 1}
    assert [one.name for one in tmp_path.glob("*kept*")] == ["kept.json"]


def test_memory_that_has_become_too_small_is_not_answered_by_a_search(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sample(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    on_accelerator(monkeypatch, 8)
    monkeypatch.setattr(TextToImage, "sample", sample)
    with pytest.raises(UserError, match=r"batch of 8 images, which sampler\.batch_size=0 had found.*remedy: end what"):
        generate(open_study(tmp_path, folder), NullTracker())


def test_a_batch_that_does_not_fit_is_one_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sample(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(TextToImage, "sample", sample)
    with pytest.raises(UserError, match=r"batch of 4 images does not fit.*sampler\.batch_size=0"):
        generate(tiny_study(tmp_path, folder), NullTracker())


def test_a_model_that_does_not_fit_is_one_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import UNet2DConditionModel

    def to(self: object, *args: object, **kwargs: object) -> object:
        if args:
            raise torch.OutOfMemoryError
        return self

    monkeypatch.setattr(UNet2DConditionModel, "to", to)
    with pytest.raises(UserError, match=r"model does not fit into the memory.*remedy"):
        load_text_to_image(tiny_study(tmp_path, folder))


def test_compiling_is_asked_for_and_copies_what_graphs_overwrite(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a compiler that does nothing but write every result to the same memory, as CUDA graphs do."""
    asked: list[str] = []

    def compile_badly(forward: Any, *, mode: str) -> Any:
        asked.append(mode)
        kept: list[torch.Tensor] = []

        def again(*args: Any, **kwargs: Any) -> tuple[torch.Tensor]:
            (result,) = forward(*args, **kwargs)
            kept[:] = kept or [torch.empty_like(result)]
            return (kept[0].copy_(result),)

        return again

    monkeypatch.setattr(torch, "compile", compile_badly)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    sampler = SamplerConfig(steps=4, guidance_scale=3.0, scheduler="DPMSolverMultistepScheduler")
    plain = load_text_to_image(tiny_study(tmp_path, folder, sampler=sampler))
    assert not asked
    sampler.compile = "reduce-overhead"
    compiled = load_text_to_image(tiny_study(tmp_path, folder, sampler=sampler))
    assert asked == ["reduce-overhead"]
    wanted, made = (
        model.images(model.embed(["a red ball"])[[0, 0]], *initial_noise((1, 2), model.latent_shape))
        for model in (plain, compiled)
    )
    assert torch.equal(made, wanted)


def test_attention_is_torch_s_own_and_convolutions_have_channels_last(model: TextToImage) -> None:
    assert {type(part).__name__ for part in model.denoiser.attn_processors.values()} == {"AttnProcessor2_0"}
    assert model.denoiser.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert model.pipeline.vae.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
