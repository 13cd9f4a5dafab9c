"""The wrapper around diffusers' pipelines: text embeddings, pixels, schedulers, silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from tiny_models import tiny_sdxl, tiny_stable_diffusion

from seedml.config import ModelConfig, SamplerConfig, StudyConfig
from seedml.errors import UserError
from seedml.models.text_to_image import TextToImage, _to_uint8, load_text_to_image
from seedml.noise import initial_noise

# diffusers' own, on numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PROMPTS = ["a red ball on grass", "", "two blue boxes on the sand"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {"sd": tiny_stable_diffusion(root / "sd"), "sdxl": tiny_sdxl(root / "sdxl")}


def load(folder: Path, guidance: float = 3.0, scheduler: str | None = None, **options: object) -> TextToImage:
    return load_text_to_image(
        StudyConfig(
            model=ModelConfig(path=str(folder), scheduler_options=options),
            sampler=SamplerConfig(steps=2, guidance_scale=guidance, scheduler=scheduler),
        )
    )


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_each_row_is_the_prompt_encoded_alone(folders: dict[str, Path], name: str) -> None:
    model = load(folders[name])
    embeddings = model.embed(PROMPTS)
    assert len(embeddings) == 3
    for row, prompt in enumerate(PROMPTS):
        alone = model.pipeline.encode_prompt(
            prompt, device=torch.device("cpu"), num_images_per_prompt=1, do_classifier_free_guidance=True
        )
        assert torch.equal(embeddings.prompt[row], alone[0][0])
        assert torch.equal(embeddings.negative, alone[1])
        if name == "sdxl":
            assert torch.equal(embeddings.pooled[row], alone[2][0])
            assert torch.equal(embeddings.negative_pooled, alone[3])
    assert not torch.equal(embeddings.prompt[0], embeddings.prompt[2])


def test_the_text_encoder_runs_once_a_prompt(folders: dict[str, Path]) -> None:
    model = load(folders["sd"], guidance=1.0)
    calls: list[int] = []
    model.pipeline.text_encoder.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs)))
    rows = model.embed(PROMPTS)
    model.images(rows[[0, 1, 2, 2]], *initial_noise([1, 2, 3, 4], model.latent_shape))
    assert len(calls) == len(PROMPTS)
    assert rows.negative is None


def test_rows_can_be_picked_repeated_and_joined(folders: dict[str, Path]) -> None:
    embeddings = load(folders["sdxl"]).embed(PROMPTS)
    picked = embeddings[[2, 0, 0]]
    assert torch.equal(picked.prompt, embeddings.prompt[[2, 0, 0]])
    assert torch.equal(picked.pooled, embeddings.pooled[[2, 0, 0]])
    joined = picked.join([picked, embeddings[[1]]])
    assert torch.equal(joined.prompt, embeddings.prompt[[2, 0, 0, 1]])
    assert torch.equal(joined.negative, embeddings.negative)


def test_pixels_are_rounded_as_diffusers_rounds_them() -> None:
    """Every value that matters, halves included, against diffusers' own way to PIL."""
    decoded = torch.linspace(-1.2, 1.2, 3 * 64 * 64).reshape(1, 3, 64, 64)
    processor = VaeImageProcessor()
    ours = _to_uint8(processor.postprocess(decoded, output_type="pt")).images
    theirs = np.asarray(processor.postprocess(decoded, output_type="pil")[0])
    assert np.array_equal(ours[0].permute(1, 2, 0).numpy(), theirs)
    halves = (torch.arange(255) + 0.5).div(255).reshape(1, 1, 1, 255)
    assert _to_uint8(halves).images.flatten().tolist() == np.round(halves.flatten().numpy() * 255).tolist()


def test_rows_with_nan_are_black_and_told() -> None:
    pixels = torch.full((3, 3, 4, 4), 0.5)
    pixels[1, 2, 0, 0] = float("nan")
    batch = _to_uint8(pixels)
    assert batch.finite.tolist() == [True, False, True]
    assert batch.images[1].unique().tolist() == [0]
    assert batch.images[2].unique().tolist() == [128]


def test_another_size_than_the_model_s_own(folders: dict[str, Path]) -> None:
    config = StudyConfig(
        model=ModelConfig(path=str(folders["sd"]), height=24, width=40), sampler=SamplerConfig(steps=1)
    )
    model = load_text_to_image(config)
    images = model.images(model.embed(["x"]), *initial_noise([1], model.latent_shape))
    assert images.shape == (1, 3, 24, 40)
    assert images.dtype == torch.uint8


@pytest.mark.parametrize(
    ("scheduler", "options", "message"),
    [
        ("DDINScheduler", {}, r"unknown sampler\.scheduler.*did you mean 'DDIMScheduler'"),
        ("FlowMatchEulerDiscreteScheduler", {}, r"unknown sampler\.scheduler"),
        ("DDIMScheduler", {"timestep_spacin": "trailing"}, r"did you mean 'timestep_spacing'"),
        ("DDIMScheduler", {"beta_schedule": "round"}, r"the scheduler cannot be used.*remedy"),
        ("DPMSolverSDEScheduler", {}, r"the scheduler cannot be used.*torchsde"),
        ("PNDMScheduler", {"skip_prk_steps": False}, r"the scheduler cannot be used.*2 steps.*remedy"),
    ],
)
def test_a_scheduler_that_cannot_be_is_refused(
    folders: dict[str, Path], scheduler: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load(folders["sd"], scheduler=scheduler, **options)


def test_options_alone_change_the_folder_s_own_scheduler(folders: dict[str, Path]) -> None:
    assert load(folders["sd"], timestep_spacing="trailing").pipeline.scheduler.config.timestep_spacing == "trailing"
    assert load(folders["sd"]).pipeline.scheduler.config.timestep_spacing == "leading"


def test_missing_weights_are_a_user_s_mistake(tmp_path: Path) -> None:
    folder = tiny_stable_diffusion(tmp_path / "sd")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"weights in model\.path cannot be loaded.*safetensors"):
        load(folder)


def test_pickled_weights_are_not_taken(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = tiny_stable_diffusion(tmp_path / "sd")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(UserError, match="safetensors"):
        load(folder)


def test_loading_and_sampling_are_silent(folders: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    model = load(folders["sdxl"])
    model.images(model.embed(PROMPTS[:1]), *initial_noise([1], model.latent_shape))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
