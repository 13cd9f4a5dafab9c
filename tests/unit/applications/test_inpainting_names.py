"""Which model fills masks: a name in ``configs/models/`` brings its own settings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from seedml.applications.inpainting import inpainting_config
from seedml.applications.step import _settings
from seedml.config import ModelConfig, StudyConfig, load_config
from seedml.shards.dataset import ShardDataset


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


def test_a_name_s_revision_and_variant_can_be_replaced() -> None:
    words = ["apply.inpaint_model=sdxl_inpainting", "apply.inpaint_revision=abc", "apply.inpaint_variant=bf16"]
    model = chosen(*words).model
    assert (model.revision, model.variant, model.height) == ("abc", "bf16", 1024)
    assert (chosen(*words[:2]).model.variant, chosen(words[0]).model.revision) == ("fp16", None)


def test_a_result_stands_for_what_the_name_stood_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed file of ``configs/models`` is another model; markers of folders and hub ids stay as they were."""
    config = load_config("smoke", ["apply.inpaint_model=sd2_inpainting"])
    dataset = ShardDataset(tmp_path, {}, {}, {})
    settings = _settings(config, dataset, "inpainting")
    assert settings["inpaint_model"] == asdict(chosen("apply.inpaint_model=sd2_inpainting").model)
    monkeypatch.setattr("seedml.applications.inpainting.named_model", lambda name: ModelConfig(path="owner/other"))
    assert _settings(config, dataset, "inpainting") != settings
    for name, words in (("inpainting", ["apply.inpaint_model=owner/name"]), ("inpainting", []), ("noise_swap", [])):
        assert _settings(load_config("smoke", words), dataset, name).keys() == {"apply", "statistics", "dataset"}
