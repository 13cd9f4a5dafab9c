"""Where a model is and what it says about itself, read from its JSON files. Loads no weights and needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seedml.errors import UserError
from seedml.files import fingerprint, read_json, sha256_of

if TYPE_CHECKING:
    from seedml.config import ModelConfig, StudyConfig

BUNDLED = "bundled:"
INDEX = "model_index.json"
PIPELINE_DEFAULTS = {
    # what plain diffusers takes when a call names no steps and no guidance
    "StableDiffusionPipeline": (50, 7.5),
    "StableDiffusionXLPipeline": (50, 5.0),
}
INPAINTING_DEFAULTS = {
    # the same of the inpainting pipelines; those above fill masks as well, with U-Nets that know of no mask
    **PIPELINE_DEFAULTS,
    "StableDiffusionInpaintPipeline": (50, 7.5),
    "StableDiffusionXLInpaintPipeline": (50, 7.5),
}


@dataclass(frozen=True)
class Sampling:
    """Everything beside the weights, the prompt and the noise that decides an image."""

    steps: int
    guidance_scale: float
    scheduler: str
    """A diffusers class name."""
    scheduler_options: dict[str, object]
    """What replaces the values in the folder's own ``scheduler_config.json``."""
    dtype: str
    height: int
    """Pixels."""
    width: int
    """Pixels."""


@dataclass(frozen=True)
class ModelFacts:
    """A model folder in short."""

    folder: Path
    pipeline: str
    """The diffusers class in ``model_index.json``."""
    latent_shape: tuple[int, int, int]
    """Channels, height and width of an image's latent."""
    sampling: Sampling


def find_model(model: ModelConfig, *, download: bool = True) -> Path:
    """The folder that holds the model's ``model_index.json``; fetched from the hub where ``model.path`` is a hub id.

    Args:
        model: ``path``, ``revision`` and ``variant`` are read.
        download: whether to use the network; else only what is on this machine already.

    Raises:
        UserError: no such folder, no pipeline in it, or the hub cannot be reached.

    """
    if model.path.startswith(BUNDLED):
        return _bundled(model.path.removeprefix(BUNDLED))
    folder = Path(model.path).expanduser()
    if folder.is_dir():
        if not (folder / INDEX).is_file():
            raise UserError("model.path is no diffusers pipeline", given=model.path, legal=f"a folder with {INDEX}")
        return folder.resolve()
    if model.path.startswith((".", "/", "~")) or model.path.count("/") != 1:
        raise UserError(
            "model.path: no such folder", given=model.path, legal="a pipeline folder, a hub id owner/name or "
            "bundled:seedling", remedy="correct the path, or download the model there",
        )  # fmt: skip
    return _from_hub(model, download=download)


def _bundled(name: str) -> Path:
    from seedml.models import bundled

    if name != "seedling":
        raise UserError("unknown bundled model", given=name, legal="seedling", remedy="model.path=bundled:seedling")
    return bundled.seedling_folder()


def _from_hub(model: ModelConfig, *, download: bool) -> Path:
    from diffusers import DiffusionPipeline

    from seedml.models.quiet import quiet_libraries

    try:
        with quiet_libraries():
            folder = DiffusionPipeline.download(
                model.path, revision=model.revision, variant=model.variant, use_safetensors=True,
                local_files_only=not download,
            )  # fmt: skip
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"model.path is no folder here and cannot be had from the hub ({first_line})", given=model.path,
            legal="a pipeline folder, or a hub id with safetensors weights",
            remedy="check the name, model.revision, model.variant and the network (a gated model needs "
            "`hf auth login`), or give the folder of a downloaded copy",
        ) from error  # fmt: skip
    return Path(folder)


def model_identity(model: ModelConfig) -> dict[str, object]:
    """What makes these weights these weights: a content hash of a folder, or a hub id with its commit.

    A moved folder keeps its identity; retrained weights under the old path do not.
    """
    folder = find_model(model)
    if not model.path.startswith(BUNDLED) and not Path(model.path).expanduser().is_dir():
        return {"path": model.path, "revision": folder.name, "variant": model.variant}
    components = [folder / name for name, value in read_json(folder / INDEX).items() if isinstance(value, list)]
    files = [path for component in components if component.is_dir() for path in component.rglob("*") if path.is_file()]
    hashes = {str(path.relative_to(folder)): sha256_of(path) for path in [folder / INDEX, *files]}
    return {"sha256": fingerprint(hashes), "variant": model.variant}


def model_facts(
    config: StudyConfig, *, download: bool = True, pipelines: Mapping[str, tuple[int, float]] = PIPELINE_DEFAULTS
) -> ModelFacts:
    """Latent shape and sampler settings of a study's model: ``sampler.*`` before ``model.*`` before the folder's own.

    Args:
        config: the study.
        download: whether to use the network.
        pipelines: the diffusers classes that will do, with the steps and the guidance that they take by default.

    Raises:
        UserError: see :func:`find_model`; an unsupported pipeline; a size that the model cannot make.

    """
    folder = find_model(config.model, download=download)
    pipeline = str(read_json(folder / INDEX).get("_class_name"))
    if pipeline not in pipelines:
        raise UserError(
            f"model.path holds a {pipeline}, which is not supported yet", given=config.model.path,
            legal=", ".join(pipelines), remedy="choose a Stable Diffusion or SDXL model",
        )  # fmt: skip
    unet, factor = _read(folder / "unet" / "config.json"), _vae_factor(folder)
    native = _pair(unet.get("sample_size"))
    height = config.model.height or native[0] * factor
    width = config.model.width or native[1] * factor
    for name, size in (("model.height", height), ("model.width", width)):
        if size % max(8, factor) or size <= 0:
            raise UserError(name, given=size, legal=f"a multiple of {max(8, factor)} pixels", remedy="round it")
    channels = unet.get("out_channels", 4)  # those of a latent; an inpainting U-Net is given further ones
    assert isinstance(channels, int), f"{folder}/unet/config.json: out_channels is {channels!r}"
    sampling = _sampling(config, pipelines[pipeline], folder, height, width)
    return ModelFacts(folder, pipeline, (channels, height // factor, width // factor), sampling)


def _sampling(config: StudyConfig, defaults: tuple[int, float], folder: Path, height: int, width: int) -> Sampling:
    sampler, model = config.sampler, config.model
    own = _read(folder / "scheduler" / "scheduler_config.json").get("_class_name")
    default_steps, default_guidance = defaults
    return Sampling(
        steps=int(_first(sampler.steps, model.steps, default_steps)),
        guidance_scale=float(_first(sampler.guidance_scale, model.guidance_scale, default_guidance)),
        scheduler=str(sampler.scheduler or model.scheduler or own),
        scheduler_options=dict(model.scheduler_options),
        dtype=str(sampler.dtype or model.dtype),
        height=height,
        width=width,
    )


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def _read(path: Path) -> dict[str, object]:
    """A component's configuration; comments are not JSON, so nothing but JSON is expected."""
    if not path.is_file():
        raise UserError(f"model folder lacks {path.name}", given=str(path), remedy="download the model again")
    value = json.loads(path.read_text())
    assert isinstance(value, dict), f"{path} holds no JSON object"
    return value


def _vae_factor(folder: Path) -> int:
    """Pixels per latent position along a side, as the pipelines compute it."""
    blocks = _read(folder / "vae" / "config.json").get("block_out_channels", (64, 64, 64, 64))
    assert isinstance(blocks, list | tuple), f"{folder}/vae/config.json: block_out_channels is {blocks!r}"
    return int(2 ** (len(blocks) - 1))


def _pair(size: object) -> tuple[int, int]:
    if isinstance(size, list | tuple):
        return int(size[0]), int(size[1])
    assert isinstance(size, int), f"unet/config.json: sample_size is {size!r}"
    return size, size
