"""Filled masks equal what plain diffusers fills, row by row; masks of whole cells; what is refused."""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import AutoPipelineForInpainting
from PIL import Image
from tiny_inpainting import tiny_inpainting
from tiny_models import LATENT, SIZE, tiny_sdxl, tiny_stable_diffusion

from seedml.config import ModelConfig, SamplerConfig, StudyConfig
from seedml.errors import UserError
from seedml.models.inpainting import Inpainter, load_inpainter, whole_cells
from seedml.models.quiet import quiet_libraries
from seedml.models.text_to_image import load_text_to_image
from seedml.noise import initial_noise

# diffusers' own, on numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PROMPTS = ["grass", "a red ball on grass", "two blue boxes on the sand"]
ROWS = [(469, 0), (7, 1), (7, 2), (2**63 - 1, 1), (469, 1)]  # (seed, picture)
LEVELS = 2  # of 255: the rounding of another batch size
STOCHASTIC, DETERMINISTIC = "EulerAncestralDiscreteScheduler", "DDIMScheduler"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "plain": tiny_stable_diffusion(root / "plain"), "masks": tiny_inpainting(root / "masks"),
        "sdxl": tiny_sdxl(root / "sdxl"),
    }  # fmt: skip


def load(folder: Path, scheduler: str) -> Inpainter:
    sampler = SamplerConfig(steps=2, guidance_scale=3.0, scheduler=scheduler)
    return load_inpainter(StudyConfig(model=ModelConfig(path=str(folder)), sampler=sampler))


def pictures_and_masks() -> tuple[torch.Tensor, torch.Tensor]:
    """Three pictures of 32 × 32 pixels and another mask for each, of whole cells of 2 pixels."""
    generator = np.random.default_rng(3)
    pictures = torch.from_numpy(generator.integers(0, 256, (3, 3, SIZE, SIZE), dtype=np.uint8))
    masks = torch.zeros(3, SIZE, SIZE, dtype=torch.bool)
    masks[0, 8:20, 4:12] = True
    masks[1] = True
    masks[1, 8:24, 8:24] = False
    masks[2, :, :16] = True
    return pictures, masks


def plain_fill(folder: Path, scheduler: str, picture: torch.Tensor, mask: torch.Tensor, prompt: str, seed: int):
    """What the module's docstring tells a diffusers user to write; nothing of ours."""
    with quiet_libraries():
        pipeline = AutoPipelineForInpainting.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
    generator = torch.Generator("cpu").manual_seed(seed)
    latents = torch.randn((1, 4, LATENT, LATENT), generator=generator)
    image = pipeline(
        prompt, image=Image.fromarray(picture.permute(1, 2, 0).numpy()), height=SIZE, width=SIZE,
        mask_image=Image.fromarray((mask.numpy() * 255).astype(np.uint8)), strength=1.0, latents=latents,
        generator=generator, num_inference_steps=2, guidance_scale=3.0,
    ).images[0]  # fmt: skip
    return np.asarray(image).astype(int).transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [("plain", STOCHASTIC), ("plain", DETERMINISTIC), ("masks", STOCHASTIC), ("masks", DETERMINISTIC),
     ("sdxl", STOCHASTIC)],
)  # fmt: skip
def test_every_row_is_what_plain_diffusers_fills(folders: dict[str, Path], name: str, scheduler: str) -> None:
    model, (pictures, masks) = load(folders[name], scheduler), pictures_and_masks()
    assert model.knows_masks == (name == "masks")
    holes = [model.hole(picture, mask) for picture, mask in zip(pictures, masks, strict=True)]
    rows = [picture for _, picture in ROWS]
    noise, generators = initial_noise([seed for seed, _ in ROWS], model.latent_shape)
    made = model.fill(model.embed(PROMPTS)[rows], [holes[row] for row in rows], noise, generators).images
    plain = [plain_fill(folders[name], scheduler, pictures[p], masks[p], PROMPTS[p], seed) for seed, p in ROWS]
    for row, wanted in enumerate(plain):
        assert np.abs(made[row].numpy().astype(int) - wanted).max() <= LEVELS, ROWS[row]
    for a in range(len(ROWS)):
        for b in range(a):  # the rows differ by far more than that
            assert np.abs(plain[a] - plain[b]).max() > 10 * LEVELS


def test_an_inpainting_checkpoint_starts_from_the_seeds_noise_without_latents(folders: dict[str, Path]) -> None:
    """With 9 channels the seed's noise is drawn first (so seeds mean the same); with 4 it is not."""
    picture, mask = (part[0] for part in pictures_and_masks())
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    hidden = Image.fromarray((mask.numpy() * 255).astype(np.uint8))
    for name, same in (("masks", True), ("plain", False)):
        with quiet_libraries():
            pipeline = AutoPipelineForInpainting.from_pretrained(folders[name])
        pipeline.set_progress_bar_config(disable=True)
        made = pipeline(
            PROMPTS[0], image=image, mask_image=hidden, height=SIZE, width=SIZE, strength=1.0, guidance_scale=3.0,
            num_inference_steps=2, generator=torch.Generator("cpu").manual_seed(469),
        ).images[0]  # fmt: skip
        wanted = plain_fill(folders[name], DETERMINISTIC, picture, mask, PROMPTS[0], 469)
        difference = np.abs(np.asarray(made).astype(int).transpose(2, 0, 1) - wanted).max()
        assert (difference <= LEVELS) == same, name


def test_masks_grow_to_whole_cells() -> None:
    mask = torch.zeros(8, 12, dtype=torch.bool)
    mask[3, 4] = mask[7, 11] = True
    grown = whole_cells(mask, 4)
    wanted = torch.zeros(8, 12, dtype=torch.bool)
    wanted[:4, 4:8] = wanted[4:, 8:] = True
    assert torch.equal(grown, wanted)
    assert torch.equal(whole_cells(grown, 4), grown)
    assert not whole_cells(torch.zeros(8, 8, dtype=torch.bool), 4).any()


def test_an_inpainting_checkpoint_makes_no_pictures_from_text(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="StableDiffusionInpaintPipeline, which is not supported yet"):
        load_text_to_image(StudyConfig(model=ModelConfig(path=str(folders["masks"]))))
