"""Which model fills masks: a name in ``configs/models/`` brings its own settings."""

from __future__ import annotations

from seedml.applications.inpainting import inpainting_config
from seedml.config import StudyConfig, load_config


def chosen(*words: str) -> StudyConfig:
    return inpainting_config(load_config("smoke", words))


def test_a_name_brings_its_own_revision_size_and_sampler() -> None:
    config = chosen("apply.inpaint_model=sdxl_inpainting")
    model, sampler = config.model, config.sampler
    assert (model.path, model.variant) == ("diffusers/stable-diffusion-xl-1.0-inpainting-0.1", "fp16")
    assert (model.height, sampler.steps, sampler.guidance_scale) == (1024, 30, 7.5)


def test_what_is_said_of_it_comes_first() -> None:
    config = chosen("apply.inpaint_model=sd2_inpainting", "apply.inpaint_steps=7", "apply.inpaint_guidance=2.0")
    assert (config.sampler.steps, config.sampler.guidance_scale) == (7, 2.0)
    assert config.sampler.scheduler == "DDIMScheduler"


def test_anything_else_is_a_folder_or_a_hub_id() -> None:
    config = chosen("apply.inpaint_model=owner/name", "apply.inpaint_revision=abc")
    assert (config.model.path, config.model.revision, config.sampler.steps) == ("owner/name", "abc", 50)
