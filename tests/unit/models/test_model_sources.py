"""Models from single files, with LoRA, other autoencoders and safety checkers; and all that can be wrong with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from ldm_single_file import ldm_single_file
from safetensors.torch import load_file, save_file
from tiny_checker import with_checker
from tiny_families import tiny_flux, tiny_lora, tiny_pixart, tiny_sd3
from tiny_models import tiny_sdxl, tiny_stable_diffusion

from seedml.__main__ import main
from seedml.config import ModelConfig, SamplerConfig, StudyConfig
from seedml.errors import UserError
from seedml.files import sha256_of
from seedml.models.folder import local_model, model_identity
from seedml.models.quiet import quiet_libraries
from seedml.models.sources import find_single_file, hub_name
from seedml.models.text_to_image import TextToImage, load_text_to_image
from seedml.noise import initial_noise

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]
PROMPTS = ["a red ball on grass", "two blue boxes"]
UNET = Path("unet") / "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture(scope="module")
def single_file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ldm_single_file(folder, tmp_path_factory.mktemp("single") / "my-finetune.safetensors")


def load(path: Path | str, guidance: float = 3.0, **model: Any) -> TextToImage:
    return load_text_to_image(
        StudyConfig(model=ModelConfig(path=str(path), **model), sampler=SamplerConfig(steps=2, guidance_scale=guidance))
    )


def images(model: TextToImage, seeds: tuple[int, ...] = (1, 2)) -> torch.Tensor:
    return model.images(model.embed(PROMPTS), *initial_noise(seeds, model.latent_shape)).int()


def bare(folder: Path, target: Path) -> Path:
    """A pipeline's folder without any weights: what a hub id of ``model.config`` gives."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.safetensors"))
    return target


def test_a_single_file_gives_the_images_of_its_folder(folder: Path, single_file: Path, tmp_path: Path) -> None:
    config = bare(folder, tmp_path / "config")
    assert torch.equal(images(load(single_file, config=str(config))), images(load(folder)))
    assert ModelConfig(path=str(single_file)).name == "my-finetune"


def test_a_single_file_has_an_identity_of_its_own(folder: Path, single_file: Path, tmp_path: Path) -> None:
    model = ModelConfig(path=str(single_file), config=str(folder))
    first = model_identity(model)
    moved = tmp_path / "moved.safetensors"
    shutil.copy(single_file, moved)
    assert model_identity(ModelConfig(path=str(moved), config=str(folder))) == first
    save_file({"other": torch.zeros(1)}, moved)
    assert model_identity(ModelConfig(path=str(moved), config=str(folder))) != first
    assert (local_model(model).path, local_model(model).config) == (str(single_file.resolve()), str(folder.resolve()))


def test_a_single_file_without_a_configuration_is_told_what_it_needs(single_file: Path) -> None:
    with pytest.raises(UserError, match=r"single file.*legal: model\.config.*remedy: name the model"):
        load(single_file)


@pytest.mark.parametrize("wrong", ["nothing of it", "another network"])
def test_a_single_file_of_another_architecture_is_refused(folder: Path, tmp_path: Path, wrong: str) -> None:
    path, config = tmp_path / "other.safetensors", bare(folder, tmp_path / "config")
    other = load_file(tiny_sdxl(tmp_path / "sdxl") / UNET) if wrong == "another network" else {"a": torch.zeros(1)}
    save_file(other, path)
    with pytest.raises(UserError, match=r"weights in model\.path cannot be loaded.*other\.safetensors"):
        load(path, config=str(config))


def test_another_autoencoder_decodes(folder: Path, tmp_path: Path) -> None:
    other = tiny_stable_diffusion(tmp_path / "other", seed=1) / "vae"
    model = load(folder, vae=str(other))
    with quiet_libraries():
        plain = StableDiffusionPipeline.from_pretrained(folder, vae=AutoencoderKL.from_pretrained(other))
    plain.set_progress_bar_config(disable=True)
    for seed, prompt, image in zip((1, 2), PROMPTS, images(model), strict=True):
        generator = torch.Generator("cpu").manual_seed(seed)
        made = plain(prompt, num_inference_steps=2, guidance_scale=3.0, generator=generator, output_type="pt").images
        assert (image - (made[0] * 255).round().int()).abs().max() <= 2
    assert (images(model) - images(load(folder))).abs().max() > 20
    assert model_identity(ModelConfig(path=str(folder), vae=str(other))) != model_identity(ModelConfig(str(folder)))


def test_a_lora_s_scale_counts_and_is_part_of_the_identity(tmp_path: Path) -> None:
    folder = tiny_sdxl(tmp_path / "sdxl")
    lora = tiny_lora(folder, tmp_path / "lora")
    none, half, whole = (load(folder, lora=given) for given in ({}, {str(lora): 0.5}, {str(lora.parent): 1.0}))
    made = [images(model) for model in (none, half, whole)]
    assert all((made[a] - made[b]).abs().max() > 5 for a, b in ((0, 1), (1, 2), (0, 2)))
    identities = [model_identity(ModelConfig(path=str(folder), lora={str(lora): scale})) for scale in (0.5, 1.0)]
    assert identities[0] != identities[1]


def test_two_loras_are_added(tmp_path: Path) -> None:
    """Twice half of one is the whole of it."""
    folder = tiny_sdxl(tmp_path / "sdxl")
    lora = tiny_lora(folder, tmp_path / "lora")
    shutil.copy(lora, copy := tmp_path / "copy.safetensors")
    twice = images(load(folder, lora={str(lora): 0.5, str(copy): 0.5}))
    assert (twice - images(load(folder, lora={str(lora): 1.0}))).abs().max() <= 2


def test_the_safety_checker_goes_by_an_explicit_key_alone(folder: Path, tmp_path: Path) -> None:
    checked = with_checker(folder, tmp_path / "checked")
    assert images(load(checked)).unique().tolist() == [0]
    assert torch.equal(images(load(checked, safety_checker=False)), images(load(folder)))


def test_the_checker_is_loaded_as_all_networks_are(folder: Path, tmp_path: Path) -> None:
    """Its files may be of the variant alone; a pickle in their place is not read."""
    checked = with_checker(folder, tmp_path / "checked")
    for path in sorted(checked.rglob("*.safetensors")):
        path.rename(path.with_suffix(".fp16.safetensors"))
    assert images(load(checked, variant="fp16")).unique().tolist() == [0]
    (weights := checked / "safety_checker" / "model.fp16.safetensors").unlink()
    torch.save({}, weights.with_name("pytorch_model.bin"))
    with pytest.raises(UserError, match=r"weights in model\.path cannot be loaded.*safety_checker"):
        load(checked, variant="fp16")
    assert torch.equal(images(load(checked, variant="fp16", safety_checker=False)), images(load(folder)))


def linked(path: Path, blobs: Path) -> Path:
    """The file as it lies in the hub's cache: a link to one that is named after its hash."""
    blobs.mkdir(exist_ok=True)
    path.rename(blob := blobs / sha256_of(path))
    path.symlink_to(blob)
    return path


def test_files_of_the_hub_s_cache_keep_their_names(
    folder: Path, single_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = linked(Path(shutil.copy(single_file, tmp_path / "copy.safetensors")), tmp_path / "blobs")
    lora = tiny_lora(sdxl := tiny_sdxl(tmp_path / "sdxl"), tmp_path / "lora")
    wanted = images(load(sdxl, lora={str(lora): 1.0}))
    linked(lora, tmp_path / "blobs")
    model = local_model(ModelConfig(path=str(copy), config=str(folder)))
    assert torch.equal(images(load(model.path, config=model.config)), images(load(folder)))
    for given in (lora, lora.parent):
        found = local_model(ModelConfig(path=str(sdxl), lora={str(given): 1.0})).lora
        assert torch.equal(images(load(sdxl, lora=found)), wanted)
    monkeypatch.chdir(tmp_path)
    assert find_single_file(ModelConfig(path="copy.safetensors")) == copy


def test_text_encoders_are_away_while_images_are_made(tmp_path: Path) -> None:
    """As on an accelerator: they are in the pipeline for reading alone, and the images are the same."""
    for make in (tiny_stable_diffusion, tiny_sdxl, tiny_sd3, tiny_flux):
        path = make(tmp_path / make.__name__)
        here = load(path, height=32, width=32)
        away = TextToImage(here.pipeline, here.sampling, here.latent_shape)
        wanted = images(away)
        away = TextToImage(here.pipeline, here.sampling, here.latent_shape, encoders_leave=True)
        names = [name for name in away.pipeline.components if name.startswith("text_encoder")]
        assert all(getattr(away.pipeline, name) is None for name in names)
        embeddings = away.embed(PROMPTS)
        assert all(getattr(away.pipeline, name) is None for name in names)
        made = away.images(embeddings, *initial_noise((1, 2), away.latent_shape)).int()
        assert torch.equal(made, wanted), make.__name__
        assert torch.equal(away.embed(PROMPTS[1:]).prompt[0], embeddings.prompt[1])


def test_a_scheduler_that_plain_diffusers_gives_no_generator_is_reproducible_here(tmp_path: Path) -> None:
    folder = tiny_flux(tmp_path / "flux")
    model = load(folder, height=32, width=32, scheduler_options={"stochastic_sampling": True})
    first = images(model)
    torch.manual_seed(1)
    assert torch.equal(images(model), first)
    assert "step" not in vars(model.pipeline.scheduler)


# what is wrong -> how to make it so; each must be told in one line before any image is made


def missing_file(folder: Path) -> dict[str, Any]:
    (folder / UNET).unlink()
    return {}


def truncated_file(folder: Path) -> dict[str, Any]:
    (folder / UNET).write_bytes((folder / UNET).read_bytes()[:-1000])
    return {}


def missing_tensor(folder: Path) -> dict[str, Any]:
    weights = load_file(folder / UNET)
    del weights["conv_in.weight"]
    save_file(weights, folder / UNET, metadata={"format": "pt"})
    return {}


def missing_text_tensor(folder: Path) -> dict[str, Any]:
    path = folder / "text_encoder" / "model.safetensors"
    weights = load_file(path)
    del weights[next(name for name in weights if name.endswith("final_layer_norm.weight"))]
    save_file(weights, path, metadata={"format": "pt"})
    return {}


def wrong_network(folder: Path) -> dict[str, Any]:
    other = tiny_sdxl(folder.with_name("sdxl"))
    shutil.copy(other / UNET, folder / UNET)
    return {}


def wrong_shape(folder: Path) -> dict[str, Any]:
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"block_out_channels": [16, 32]}))
    return {}


def pickled(folder: Path) -> dict[str, Any]:
    torch.save(load_file(folder / UNET), (folder / UNET).with_suffix(".bin"))
    (folder / UNET).unlink()
    return {}


WRONG: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "a missing file": (missing_file, "cannot be loaded"),
    "a truncated file": (truncated_file, "cannot be loaded"),
    "a missing tensor": (missing_tensor, "weights are missing: conv_in.weight"),
    "a missing tensor of the text encoder": (missing_text_tensor, "weights are missing"),
    "weights of another network": (wrong_network, "cannot be loaded"),
    "weights of another size": (wrong_shape, "cannot be loaded"),
    "pickled weights": (pickled, "safetensors"),
    "no such variant": (lambda folder: {"variant": "fp16"}, "variant fp16"),
    "a pickle checkpoint": (lambda folder: {"path": "/models/v1-5.ckpt"}, "pickle"),
    "an unknown id": (lambda folder: {"path": "nobody/no-such-model"}, "cannot be had from the hub"),
    "no such single file": (lambda folder: {"path": "./no.safetensors"}, "no such file"),
    "an unknown LoRA": (lambda folder: {"lora": {"nobody/no-such-lora": 1.0}}, "model.lora"),
    "a pickled LoRA": (lambda folder: {"lora": {"/models/style.pt": 1.0}}, "pickle"),
    "a LoRA without a file": (lambda folder: {"lora": {str(folder): 1.0}}, "which file is it"),
    "no LoRA at all": (lambda folder: {"lora": {str(folder / UNET): 1.0}}, "model.lora"),
    "an unknown autoencoder": (lambda folder: {"vae": "nobody/no-such-vae"}, "model.vae"),
    "no autoencoder": (lambda folder: {"vae": str(folder)}, "no autoencoder in this folder"),
    "an unknown option": (lambda folder: {"call_options": {"max_sequence": 1}}, "model.call_options"),
    "an option that has a key": (lambda folder: {"call_options": {"latents": 1}}, "model.call_options"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_loaded_is_one_line_before_any_image(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], what: str
) -> None:
    spoil, message = WRONG[what]
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    file = tmp_path / "model.yaml"
    file.write_text(json.dumps({"path": str(broken), "steps": 1} | spoil(broken)))
    words = [f"model={file}", f"shards.root={tmp_path / 'shards'}", f"runs.root={tmp_path / 'runs'}"]
    words += ["seeds=0:2", "prompts.limit=4", "trainer.accelerator=cpu", "trainer.threads=1", "tracking.mode=disabled"]
    capfd.readouterr()
    assert main(["generate", "smoke", *words]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.strip() and not line.startswith("generate ")]
    assert len(lines) == 1, lines
    assert message in lines[0]
    assert not list((tmp_path / "shards").rglob("*.tar"))


def test_cleaning_prompts_is_not_left_to_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_pixart(tmp_path / "pixart")
    monkeypatch.setattr("seedml.models.loading.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"cleans prompts.*model\.call_options\.clean_caption=false"):
        load(folder, height=32, width=32)
    load(folder, height=32, width=32, call_options={"clean_caption": False})


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("owner/name", ("owner/name", None, "")),
        ("owner/name@v1", ("owner/name", "v1", "")),
        ("owner/name@v1/a/b.safetensors", ("owner/name", "v1", "a/b.safetensors")),
    ],
)
def test_names_on_the_hub(text: str, parts: tuple[str, str | None, str]) -> None:
    assert tuple(hub_name(text)) == parts
