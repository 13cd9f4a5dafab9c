"""Every configuration in ``configs/models/`` through ``generate``: each image equals the plain diffusers call.

The weights are tiny and random, the classes are the real ones, the configuration is the real file with another path
and size. Nothing here says that a real model makes good images; it says that seedml makes the same ones as diffusers.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import numpy as np
import pytest
import torch
import yaml
from diffusers import AutoPipelineForInpainting, AutoPipelineForText2Image
from PIL import Image
from tiny_families import tiny_flux, tiny_lcm, tiny_lora, tiny_pixart, tiny_sana, tiny_sd3, tiny_sdxl_inpainting
from tiny_inpainting import tiny_inpainting
from tiny_models import SIZE, tiny_sdxl, tiny_stable_diffusion

from seedml.__main__ import main
from seedml.applications.noise_swap import Swap, swapped_pictures
from seedml.config import ModelConfig, SamplerConfig, StudyConfig, load_config
from seedml.models.inpainting import load_inpainter
from seedml.models.quiet import quiet_libraries
from seedml.models.text_to_image import load_text_to_image
from seedml.noise import initial_noise
from seedml.shards.dataset import complete_dataset
from seedml.shards.reader import read_shard

LEVELS = 2  # of 255: the rounding of another batch size, in float32
SEEDS = (7, 469, 2**40 + 1)
MODELS = Path(__file__).parents[2] / "configs" / "models"

# diffusers' own, on numpy 2; Lightning's own, on newer torch
pytestmark = [
    pytest.mark.slow,  # a minute and more together
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]

TINY: dict[str, Callable[[Path], Path]] = {
    "sd": tiny_stable_diffusion,
    "sdxl": tiny_sdxl,
    "turbo": functools.partial(tiny_sdxl, turbo=True),
    "lcm": tiny_lcm,
    "sd3": tiny_sd3,
    "schnell": tiny_flux,
    "dev": functools.partial(tiny_flux, guidance=True),
    "pixart": tiny_pixart,
    "alpha": functools.partial(tiny_pixart, alpha=True),
    "sana": tiny_sana,
    "sd inpainting": tiny_inpainting,
    "sdxl inpainting": tiny_sdxl_inpainting,
}


class Case(NamedTuple):
    config: str
    tiny: str
    steps: int = 2
    scheduler: str | None = None  # None = the configuration's
    options: dict[str, Any] = {}  # noqa: RUF012 (never changed)


ANCESTRAL, SDE = "EulerAncestralDiscreteScheduler", {"algorithm_type": "sde-dpmsolver++"}
EULER_FLOW, STOCHASTIC = "FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}
CASES = [
    Case("sd15", "sd"), Case("sd15", "sd", 2, ANCESTRAL),
    Case("sd2", "sd"), Case("sd2", "sd", 2, ANCESTRAL),
    Case("sd2_768", "sd"),
    Case("sdxl", "sdxl"), Case("sdxl", "sdxl", 2, ANCESTRAL),
    Case("sdxl_turbo", "turbo", 2, "EulerDiscreteScheduler"), Case("sdxl_turbo", "turbo", 2),
    Case("lcm_sd15", "lcm", 1), Case("lcm_sd15", "lcm", 3),
    Case("lcm_sdxl", "sdxl", 1), Case("lcm_sdxl", "sdxl", 3),
    Case("sdxl_lightning", "sdxl"), Case("sdxl_lightning", "sdxl", 2, ANCESTRAL),
    Case("sd35_medium", "sd3"), Case("sd35_medium", "sd3", 3, EULER_FLOW, STOCHASTIC),
    Case("sd35_large", "sd3", 3, "FlowMatchLCMScheduler"),
    Case("sd35_large_turbo", "sd3"),
    Case("flux_schnell", "schnell"), Case("flux_schnell", "schnell", 3, EULER_FLOW, STOCHASTIC),
    Case("flux_dev", "dev"), Case("flux_dev", "dev", 3, "FlowMatchLCMScheduler"),
    Case("pixart_sigma", "pixart"), Case("pixart_sigma", "pixart", 2, ANCESTRAL),
    Case("pixart_alpha", "alpha"), Case("pixart_alpha", "alpha", 2, "DPMSolverMultistepScheduler", SDE),
    Case("sana", "sana"), Case("sana", "sana", 3, "DPMSolverMultistepScheduler", SDE),
]  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("models")

    @functools.cache
    def make(name: str) -> Path:
        with quiet_libraries():
            return TINY[name](root / name.replace(" ", "_"))

    return make


def test_every_model_configuration_is_among_the_cases() -> None:
    tried = {case.config for case in CASES} | {"sd2_inpainting", "sdxl_inpainting"}
    assert {path.stem for path in MODELS.glob("*.yaml")} - tried == {"seedling"}


def settings(case: Case, folder: Path, tmp_path: Path) -> dict[str, Any]:
    """The configuration's file with the tiny model in place of the real one."""
    own: dict[str, Any] = yaml.safe_load((MODELS / f"{case.config}.yaml").read_text())
    own |= {"path": str(folder), "variant": None, "dtype": "float32", "height": SIZE, "width": SIZE}
    own |= {"steps": case.steps, "scheduler": case.scheduler or own["scheduler"]}
    own["scheduler_options"] = own.get("scheduler_options", {}) | case.options
    if own.get("lora"):
        file = tiny_lora(folder, tmp_path / "lora")
        own["lora"] = {str(file): scale for scale in own["lora"].values()}
    return own


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.config}-{case.steps}-{case.scheduler or 'own'}")
def test_each_image_is_the_plain_call_with_its_seed(tiny: Callable[[str], Path], tmp_path: Path, case: Case) -> None:
    own = settings(case, tiny(case.tiny), tmp_path)
    file = tmp_path / f"{case.config}.yaml"
    file.write_text(yaml.safe_dump(own))
    words = [
        "smoke", f"model={file}", f"seeds={list(SEEDS)}", "prompts.limit=3", "prompts.splits={train: 3}",
        "sampler.batch_size=4", "sampler.steps=null", f"shards.root={tmp_path / 'shards'}",
        f"runs.root={tmp_path / 'runs'}", "trainer.accelerator=cpu", "trainer.threads=1", "tracking.mode=disabled",
    ]  # fmt: skip
    assert main(["generate", *words]) == 0
    dataset, tiles = complete_dataset(load_config(words[0], words[1:]))
    samples = [sample for tile in tiles for sample in read_shard(dataset.shard(tile))]
    images = {(sample.seed, sample.prompt): sample.pixels().astype(int) for sample in samples}
    assert len(images) == 3 * 3
    plain = plain_call(own)
    for (seed, prompt), image in images.items():
        assert np.abs(image - plain(prompt, seed)).max() <= LEVELS, f"seed {seed}, {prompt!r}"
    prompts = sorted({prompt for _, prompt in images})
    seeds_apart = np.abs(images[SEEDS[0], prompts[0]] - images[SEEDS[1], prompts[0]]).max()
    prompts_apart = np.abs(images[SEEDS[0], prompts[0]] - images[SEEDS[0], prompts[1]]).max()
    assert min(seeds_apart, prompts_apart) > 2 * LEVELS, "other seeds and prompts must give other images"


def plain_call(own: dict[str, Any]) -> Callable[[str, int], np.ndarray]:
    """What a diffusers user would write; nothing of ours."""
    with quiet_libraries():
        pipeline = AutoPipelineForText2Image.from_pretrained(own["path"], dtype=torch.float32)
        for file, scale in own.get("lora", {}).items():
            pipeline.load_lora_weights(Path(file).parent, weight_name=Path(file).name, adapter_name="own")
            pipeline.set_adapters("own", scale)
    pipeline.set_progress_bar_config(disable=True)
    scheduler = getattr(diffusers, own["scheduler"] or type(pipeline.scheduler).__name__)
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **own["scheduler_options"])
    more = dict(own.get("call_options", {}))
    if "use_resolution_binning" in inspect.signature(pipeline.__call__).parameters:
        more["use_resolution_binning"] = False  # these pipelines would make 1024 px and scale them down

    def image(prompt: str, seed: int) -> np.ndarray:
        generator = torch.Generator("cpu").manual_seed(seed)
        if type(pipeline).__name__ in ("StableDiffusion3Pipeline", "FluxPipeline"):
            # they hand no generator to their scheduler: the one line more that a plain program needs
            pipeline.scheduler.step = functools.partial(pipeline.scheduler.step, generator=generator)
        made = pipeline(
            prompt, height=SIZE, width=SIZE, num_inference_steps=own["steps"], guidance_scale=own["guidance_scale"],
            generator=generator, **more,
        )  # fmt: skip
        return np.asarray(made.images[0]).astype(int)

    return image


@pytest.mark.parametrize(
    ("name", "scheduler", "options"),
    [("schnell", "FlowMatchLCMScheduler", {}), ("pixart", ANCESTRAL, {}),
     ("sana", "DPMSolverMultistepScheduler", SDE)],
)  # fmt: skip
def test_the_noise_swap_takes_over_step_by_step(
    tiny: Callable[[str], Path], name: str, scheduler: str, options: dict[str, Any]
) -> None:
    """Also where a pipeline tells its steps in the old way, or hands no generator to its scheduler."""
    own = ModelConfig(path=str(tiny(name)), height=SIZE, width=SIZE, scheduler_options=options,
                      call_options={"clean_caption": False} if name == "pixart" else {})  # fmt: skip
    model = load_text_to_image(
        StudyConfig(model=own, sampler=SamplerConfig(steps=3, guidance_scale=3.0, scheduler=scheduler))
    )
    embeddings = model.embed(["a red ball on grass"])
    swapped = dict(swapped_pictures(model, embeddings, [Swap(3, 7, 0, 0)], "cpu"))
    assert sorted(swapped) == [-1, 0, 1, 2, 3]
    for place, seed in ((-1, 7), (3, 3)):
        assert torch.equal(swapped[place], model.images(embeddings, *initial_noise([seed], model.latent_shape)))
    # the noise of later steps may be too small to be seen: Euler's are scaled by what is left to remove
    assert all((swapped[a].int() - swapped[a + 1].int()).abs().max() > 2 for a in (-1, 0))


@pytest.mark.parametrize(
    ("config", "name"), [("sd2_inpainting", "sd inpainting"), ("sdxl_inpainting", "sdxl inpainting")]
)
@pytest.mark.parametrize("scheduler", ["DDIMScheduler", ANCESTRAL])
def test_each_filled_picture_is_the_plain_call_with_its_seed(
    tiny: Callable[[str], Path], tmp_path: Path, config: str, name: str, scheduler: str
) -> None:
    own = settings(Case(config, name, 2, scheduler), tiny(name), tmp_path)
    model = load_inpainter(StudyConfig(model=ModelConfig(**own), sampler=SamplerConfig()))
    prompts = ["a red ball on grass", "", "two blue boxes"]
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, SIZE, SIZE), dtype=np.uint8))
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[8:24, 4:20] = True
    rows = [(seed, row) for seed in SEEDS for row in range(3)]
    noise, generators = initial_noise([seed for seed, _ in rows], model.latent_shape)
    holes = [model.hole(pictures[row], mask) for _, row in rows]
    made = model.fill(model.embed(prompts)[[row for _, row in rows]], holes, noise, generators).images
    plain = plain_fill(own)
    for (seed, row), image in zip(rows, made, strict=True):
        wanted = plain(prompts[row], pictures[row], mask, seed)
        assert np.abs(image.permute(1, 2, 0).numpy().astype(int) - wanted).max() <= LEVELS, f"seed {seed}, {row}"


def plain_fill(own: dict[str, Any]) -> Callable[[str, torch.Tensor, torch.Tensor, int], np.ndarray]:
    with quiet_libraries():
        pipeline = AutoPipelineForInpainting.from_pretrained(own["path"], dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = getattr(diffusers, own["scheduler"]).from_config(pipeline.scheduler.config)

    def image(prompt: str, picture: torch.Tensor, mask: torch.Tensor, seed: int) -> np.ndarray:
        generator = torch.Generator("cpu").manual_seed(seed)
        latents = torch.randn((1, 4, SIZE // 2, SIZE // 2), generator=generator)
        made = pipeline(
            prompt, image=Image.fromarray(picture.permute(1, 2, 0).numpy()), height=SIZE, width=SIZE,
            mask_image=Image.fromarray(mask.numpy().astype(np.uint8) * 255), strength=1.0, latents=latents,
            num_inference_steps=own["steps"], guidance_scale=own["guidance_scale"], generator=generator,
        )  # fmt: skip
        return np.asarray(made.images[0]).astype(int)

    return image
