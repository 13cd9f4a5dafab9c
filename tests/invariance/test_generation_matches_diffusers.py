"""Every image of a batch equals what plain diffusers makes of its prompt and seed alone (DESIGN section 6)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import AutoPipelineForText2Image
from tiny_models import tiny_sdxl, tiny_stable_diffusion

from seedml.config import ModelConfig, NoiseConfig, SamplerConfig, StudyConfig
from seedml.models.quiet import quiet_libraries
from seedml.models.text_to_image import load_text_to_image
from seedml.noise import cell_noise

PROMPTS = ["a red ball on grass", "", "two blue boxes on the sand, at night", "a red ball on grass"]
ROWS = [(469, 0), (7, 2), (7, 0), (0, 1), (2**63 - 1, 3), (469, 2), (469, 2)]  # (seed, prompt); the last is padding
LEVELS = 2  # of 255: the rounding of another batch size


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "sd": tiny_stable_diffusion(root / "sd"),
        "sdxl": tiny_sdxl(root / "sdxl"),
        "turbo": tiny_sdxl(root / "turbo", turbo=True),
    }


def plain_image(
    folder: Path, sampler: SamplerConfig, options: dict[str, object], prompt: str, seed: int, dtype: torch.dtype
) -> np.ndarray:
    """What a diffusers user would write; nothing of ours."""
    with quiet_libraries():
        pipeline = AutoPipelineForText2Image.from_pretrained(folder, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    if sampler.scheduler or options:
        scheduler = getattr(diffusers, sampler.scheduler or type(pipeline.scheduler).__name__)
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **options)
    image = pipeline(
        prompt, num_inference_steps=sampler.steps, guidance_scale=sampler.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(seed),
    ).images[0]  # fmt: skip
    return np.asarray(image).astype(int)


# diffusers' own, on numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SDE = {"algorithm_type": "sde-dpmsolver++"}
CASES = [
    # model, steps, guidance, scheduler (None = the folder's), its options
    ("sd", 1, 0.0, None, {"timestep_spacing": "trailing"}),
    ("sd", 4, 7.5, None, {}),
    ("sd", 4, 1.0, "PNDMScheduler", {"skip_prk_steps": True}),
    ("sd", 3, 3.0, "EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}),
    ("sd", 4, 0.0, "LCMScheduler", {}),
    ("sd", 4, 3.0, "DPMSolverMultistepScheduler", SDE),
    ("sd", 3, 3.0, "HeunDiscreteScheduler", {}),
    ("sdxl", 4, 5.0, None, {}),
    ("sdxl", 3, 5.0, "DDPMScheduler", {}),
    ("turbo", 1, 0.0, None, {}),
    ("turbo", 4, 0.0, None, {}),
]


@pytest.mark.parametrize(("name", "steps", "guidance", "scheduler", "options"), CASES)
def test_every_row_of_a_batch_equals_plain_diffusers(
    folders: dict[str, Path], name: str, steps: int, guidance: float, scheduler: str | None, options: dict[str, object]
) -> None:
    config = StudyConfig(
        model=ModelConfig(path=str(folders[name]), scheduler_options=options),
        sampler=SamplerConfig(steps=steps, guidance_scale=guidance, scheduler=scheduler),
    )
    images = seedml_images(config)
    for image, (seed, prompt) in zip(images, ROWS, strict=True):
        alone = plain_image(folders[name], config.sampler, options, PROMPTS[prompt], seed, torch.float32)
        assert np.abs(image - alone).max() <= LEVELS, f"seed {seed}, prompt {prompt}"
    assert np.abs(images[0] - images[2]).max() > 20, "another seed must give another image"
    assert np.abs(images[0] - images[5]).max() > 2 * LEVELS, "another prompt must give another image"


def seedml_images(config: StudyConfig) -> np.ndarray:
    """One batch of all ``ROWS``: N × H × W × 3, as integers."""
    model = load_text_to_image(config)
    noise, generators = cell_noise([seed for seed, _ in ROWS], model.latent_shape, NoiseConfig())
    embeddings = model.embed(PROMPTS)[[prompt for _, prompt in ROWS]]
    return model.images(embeddings, noise, generators).permute(0, 2, 3, 1).numpy().astype(int)


def test_half_precision_follows_plain_diffusers(folders: dict[str, Path]) -> None:
    """bfloat16 has 8 bits of mantissa, and plain diffusers draws its noise in it: close, but not to two levels."""
    config = StudyConfig(
        model=ModelConfig(path=str(folders["sd"])), sampler=SamplerConfig(steps=2, guidance_scale=3.0, dtype="bfloat16")
    )
    images = seedml_images(config)
    for image, (seed, prompt) in zip(images, ROWS, strict=True):
        alone = plain_image(folders["sd"], config.sampler, {}, PROMPTS[prompt], seed, torch.bfloat16)
        assert np.abs(image - alone).mean() <= LEVELS, f"seed {seed}, prompt {prompt}"


def test_companions_do_not_change_a_single_bit(folders: dict[str, Path]) -> None:
    """In a batch of the same shape, an image's bytes depend neither on its place nor on its neighbours."""
    config = StudyConfig(
        model=ModelConfig(path=str(folders["sd"])),
        sampler=SamplerConfig(steps=3, guidance_scale=3.0, scheduler="EulerAncestralDiscreteScheduler"),
    )
    model = load_text_to_image(config)
    rows = model.embed(PROMPTS)

    def made(order: list[int]) -> dict[int, torch.Tensor]:
        noise, generators = cell_noise([ROWS[i][0] for i in order], model.latent_shape, NoiseConfig())
        images = model.images(rows[[ROWS[i][1] for i in order]], noise, generators)
        return dict(zip(order, images, strict=True))

    forwards, backwards = made([0, 1, 2, 3]), made([5, 3, 2, 0])
    for i in (0, 2, 3):
        assert torch.equal(forwards[i], backwards[i])


def test_noise_of_other_seeds_reaches_the_sampler(folders: dict[str, Path]) -> None:
    """``noise.initial_seed`` and ``noise.step_seed`` each change the image of a stochastic sampler."""
    config = StudyConfig(
        model=ModelConfig(path=str(folders["sd"])),
        sampler=SamplerConfig(steps=3, guidance_scale=0.0, scheduler="EulerAncestralDiscreteScheduler"),
    )
    model = load_text_to_image(config)
    rows = model.embed(["a red ball"])

    def made(noise: NoiseConfig) -> torch.Tensor:
        return model.images(rows, *cell_noise([5], model.latent_shape, noise)).int()

    own = made(NoiseConfig())
    assert torch.equal(own, made(NoiseConfig(initial_seed=5, step_seed=5)))
    variants = [made(NoiseConfig(**{key: 6})) for key in ("initial_seed", "step_seed")]
    assert all((own - variant).abs().max() > 20 for variant in variants)
    assert torch.equal(made(dataclasses.replace(NoiseConfig(), initial_seed=6, step_seed=6)),
                       model.images(rows, *cell_noise([6], model.latent_shape, NoiseConfig())).int())  # fmt: skip
