"""Finding a model, telling it from others, and reading its facts without loading it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from diffusers import AutoPipelineForText2Image
from tiny_models import tiny_sdxl, tiny_stable_diffusion

from seedml.config import ModelConfig, SamplerConfig, StudyConfig
from seedml.errors import UserError
from seedml.models.folder import find_model, model_facts, model_identity
from seedml.models.quiet import quiet_libraries

# diffusers' own, on numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")


def study(folder: Path, sampler: SamplerConfig | None = None, **model: object) -> StudyConfig:
    return StudyConfig(model=ModelConfig(path=str(folder), **model), sampler=sampler or SamplerConfig())


@pytest.mark.parametrize("path", ["./nope", "/nope", "~/nope", "nope", "a/b/c"])
def test_a_missing_folder_is_not_taken_for_a_hub_id(path: str) -> None:
    with pytest.raises(UserError, match=r"no such folder.*given: '(.*nope|a/b/c)'.*hub id"):
        find_model(ModelConfig(path=path))


def test_a_hub_id_without_network_says_what_to_do() -> None:
    with pytest.raises(UserError, match=r"model\.path.*given: 'nobody/no-such-model'.*remedy: check the name.*network"):
        find_model(ModelConfig(path="nobody/no-such-model"))


def test_a_folder_without_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no diffusers pipeline.*model_index\.json"):
        find_model(ModelConfig(path=str(tmp_path)))


def test_an_unknown_bundled_model_is_refused() -> None:
    with pytest.raises(UserError, match="legal: seedling"):
        find_model(ModelConfig(path="bundled:sapling"))


def test_an_unsupported_pipeline_is_refused(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    index = json.loads((other / "model_index.json").read_text()) | {"_class_name": "WuerstchenPipeline"}
    (other / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(
        UserError, match=r"WuerstchenPipeline.*legal: StableDiffusionPipeline, StableDiffusionXLPipeline"
    ):
        model_facts(study(other))


@pytest.mark.parametrize("size", [8, 24, 40])
def test_a_size_of_multiples_of_eight_is_taken(folder: Path, size: int) -> None:
    assert model_facts(study(folder, height=size)).latent_shape == (4, size // 2, 16)


def test_facts_are_those_of_the_loaded_pipeline(folder: Path, tmp_path: Path) -> None:
    for path in (folder, tiny_sdxl(tmp_path / "sdxl"), tiny_sdxl(tmp_path / "turbo", turbo=True)):
        facts = model_facts(study(path))
        with quiet_libraries():
            pipeline = AutoPipelineForText2Image.from_pretrained(path)
        size = pipeline.unet.config.sample_size
        assert facts.pipeline == type(pipeline).__name__
        assert facts.latent_shape == (pipeline.unet.config.in_channels, size, size)
        assert facts.sampling.height == facts.sampling.width == size * pipeline.vae_scale_factor
        assert facts.sampling.scheduler == type(pipeline.scheduler).__name__


def test_sampler_values_come_before_the_model_s(folder: Path) -> None:
    model = {"steps": 7, "guidance_scale": 2.0, "scheduler": "LCMScheduler", "dtype": "bfloat16"}
    defaults = model_facts(study(folder, **model)).sampling
    assert (defaults.steps, defaults.guidance_scale, defaults.scheduler, defaults.dtype) == tuple(model.values())
    sampler = SamplerConfig(steps=3, guidance_scale=0.0, scheduler="DDPMScheduler", dtype="float16")
    given = model_facts(study(folder, sampler, **model)).sampling
    assert (given.steps, given.guidance_scale, given.scheduler, given.dtype) == (3, 0.0, "DDPMScheduler", "float16")


def test_identity_follows_the_weights_not_the_place(folder: Path, tmp_path: Path) -> None:
    first = model_identity(ModelConfig(path=str(folder)))
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    (moved / "README.md").write_text("a model card says nothing of the images")
    assert model_identity(ModelConfig(path=str(moved))) == first
    weights = moved / "unet" / "diffusion_pytorch_model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert model_identity(ModelConfig(path=str(moved))) != first


def test_identity_follows_the_scheduler_s_configuration(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    scheduler = copy / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace("0.012", "0.011"))
    assert model_identity(ModelConfig(path=str(copy))) != model_identity(ModelConfig(path=str(folder)))
