"""What a model says about itself, read from its JSON files. Loads no weights and needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import lcm
from pathlib import Path
from typing import TYPE_CHECKING

from seedml.errors import UserError
from seedml.files import read_json
from seedml.models.families import INPAINTING as INPAINTING
from seedml.models.families import TEXT_TO_IMAGE, Family
from seedml.models.sources import BUNDLED as BUNDLED
from seedml.models.sources import INDEX as INDEX
from seedml.models.sources import find_loras, find_single_file, find_vae
from seedml.models.sources import find_model as find_model
from seedml.models.sources import local_model as local_model
from seedml.models.sources import model_identity as model_identity

if TYPE_CHECKING:
    from seedml.config import StudyConfig


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
    call_options: dict[str, object] = field(default_factory=dict)
    """Further arguments of the pipeline's call."""
    decode: str = "whole"
    """``whole``, ``sliced`` or ``tiled``."""
    compile: str | None = None
    """Mode of torch.compile; ``None`` = not compiled."""


@dataclass(frozen=True)
class ModelFacts:
    """A model in short."""

    folder: Path
    """With ``model_index.json``."""
    pipeline: str
    """The diffusers class in it."""
    latent_shape: tuple[int, int, int]
    """Channels, height and width of an image's latent, as its noise is drawn."""
    sampling: Sampling
    single_file: Path | None = None
    """All of the model's weights; ``None`` = they are in the folder."""
    vae: Path | None = None
    """Folder of an autoencoder from elsewhere."""
    loras: Mapping[Path, float] = field(default_factory=dict)
    """File -> scale."""


def model_facts(
    config: StudyConfig, *, download: bool = True, pipelines: Mapping[str, Family] = TEXT_TO_IMAGE
) -> ModelFacts:
    """Latent shape and sampler settings of a study's model: ``sampler.*`` before ``model.*`` before the folder's own.

    Args:
        config: the study.
        download: whether to use the network.
        pipelines: the diffusers classes that will do.

    Raises:
        UserError: see :func:`~seedml.models.sources.find_model`; an unsupported pipeline; a size that the model cannot
            make.

    """
    model = config.model
    folder, vae = find_model(model, download=download), find_vae(model, download=download)
    pipeline = str(read_json(folder / INDEX).get("_class_name"))
    if pipeline not in pipelines:
        raise UserError(
            f"model.path holds a {pipeline}, which is not supported yet", given=model.path,
            legal=", ".join(pipelines), remedy="choose a model with one of these pipelines",
        )  # fmt: skip
    family, denoiser = pipelines[pipeline], _denoiser(folder)
    factor = _vae_factor(folder / "vae" if vae is None else vae)
    native = (family.native, family.native) if family.native else _pair(denoiser.get("sample_size"))
    height, width = model.height or native[0] * factor, model.width or native[1] * factor
    multiple = lcm(family.multiple, factor * (2 if family.packed else _whole(denoiser.get("patch_size") or 1)))
    for name, size in (("model.height", height), ("model.width", width)):
        if size % multiple or size <= 0:
            raise UserError(name, given=size, legal=f"a multiple of {multiple} pixels", remedy="round it")
    return ModelFacts(
        folder, pipeline, (_channels(denoiser, family), height // factor, width // factor),
        _sampling(config, family, folder, height, width),
        find_single_file(model), vae, find_loras(model, download=download),
    )  # fmt: skip


def _sampling(config: StudyConfig, family: Family, folder: Path, height: int, width: int) -> Sampling:
    sampler, model = config.sampler, config.model
    own = _read(folder / "scheduler" / "scheduler_config.json").get("_class_name")
    return Sampling(
        steps=int(_first(sampler.steps, model.steps, family.steps)),
        guidance_scale=float(_first(sampler.guidance_scale, model.guidance_scale, family.guidance_scale)),
        scheduler=str(sampler.scheduler or model.scheduler or own),
        scheduler_options=dict(model.scheduler_options),
        dtype=str(sampler.dtype or model.dtype),
        height=height,
        width=width,
        call_options=dict(model.call_options),
        decode=sampler.decode or "whole",
        compile=sampler.compile,
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


def _denoiser(folder: Path) -> dict[str, object]:
    """Configuration of the network that is called once a step."""
    name = "transformer" if (folder / "transformer").is_dir() else "unet"
    return _read(folder / name / "config.json")


def _channels(denoiser: Mapping[str, object], family: Family) -> int:
    """Channels of a latent."""
    if family.packed:
        return _whole(denoiser.get("in_channels")) // 4
    if "patch_size" in denoiser:  # a transformer: some also give the variance
        return _whole(denoiser.get("in_channels"))
    return _whole(denoiser.get("out_channels", 4))  # an inpainting U-Net is given further ones


def _vae_factor(vae: Path) -> int:
    """Pixels per latent position along a side, as the pipelines compute it."""
    own = _read(vae / "config.json")
    blocks = own.get("block_out_channels") or own.get("encoder_block_out_channels") or (64, 64, 64, 64)
    assert isinstance(blocks, list | tuple), f"{vae}/config.json: block_out_channels is {blocks!r}"
    return int(2 ** (len(blocks) - 1))


def _pair(size: object) -> tuple[int, int]:
    if isinstance(size, list | tuple):
        return int(size[0]), int(size[1])
    return _whole(size), _whole(size)


def _whole(value: object) -> int:
    assert isinstance(value, int), f"the denoiser's config.json says {value!r} where a whole number is expected"
    return value
