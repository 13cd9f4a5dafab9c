"""A model's folder or file -> a diffusers pipeline that is ready to sample, or one line that says why not.

Every network is loaded by itself and looked at: diffusers and transformers fill weights that a file lacks with random
numbers, and only warn.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from seedml.errors import UserError, unknown_name
from seedml.models.folder import ModelFacts
from seedml.models.quiet import quiet_libraries
from seedml.models.schedulers import build_scheduler
from seedml.models.sources import CHECKER, components_of

if TYPE_CHECKING:
    from seedml.config import ModelConfig

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_OURS = (
    "prompt", "prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3", "height", "width",
    "num_inference_steps", "guidance_scale", "num_images_per_prompt", "generator", "latents", "output_type",
    "return_dict", "callback_on_step_end", "callback_on_step_end_tensor_inputs", "callback", "callback_steps", "eta",
    "use_resolution_binning", "image", "mask_image", "masked_image_latents", "strength", "timesteps", "sigmas",
)  # fmt: skip
"""Arguments of a pipeline's call that are given by other keys, or by what is made of seed and prompt."""
_MODULES = {
    "diffusers": "diffusers", "transformers": "transformers", "stable_diffusion": "diffusers.pipelines.stable_diffusion"
}  # fmt: skip
"""Library in a pipeline's index -> where its networks' classes are; safety checkers are in the last."""
UNREAD = (OSError, RuntimeError, ValueError, KeyError, TypeError, ImportError, AttributeError)
"""What diffusers, transformers and safetensors raise of files that are not what they should be."""


def load_pipeline(auto: str, facts: ModelFacts, model: ModelConfig, device: torch.device | str) -> Any:
    """The pipeline on ``device``, silent, with the configured scheduler; text encoders stay in main memory.

    The invisible watermark is left out, and the safety checker where ``model.safety_checker`` says so.

    Args:
        auto: the class of diffusers that finds the pipeline's class, such as ``AutoPipelineForInpainting``.
        facts: of the model.
        model: its configuration.
        device: where it is to run.

    Raises:
        UserError: weights that are missing, damaged, of another architecture or too large for the device; an unknown
            dtype, scheduler or option.

    """
    if facts.sampling.dtype not in DTYPES:
        raise unknown_name("sampler.dtype", facts.sampling.dtype, DTYPES)
    with quiet_libraries():
        pipeline = _loaded(auto, facts, model)
        _check_call_options(pipeline, facts)
        _fuse_loras(pipeline, facts)
        pipeline.scheduler = build_scheduler(pipeline.scheduler, facts)
        pipeline.set_progress_bar_config(disable=True)
        _place(pipeline, torch.device(device))
        set_decoding(pipeline, facts.sampling.decode)
        if facts.sampling.compile is not None:
            compile_denoiser(pipeline, facts.sampling.compile)
    return pipeline


def _loaded(auto: str, facts: ModelFacts, model: ModelConfig) -> Any:
    """From the folder, or from the single file that goes with it."""
    import diffusers

    dtype = DTYPES[facts.sampling.dtype]
    without: dict[str, Any] = {}
    if CHECKER in components_of(facts.folder) and not model.safety_checker:
        without = {CHECKER: None, "requires_safety_checker": False}
    parts = {} if facts.vae is None else {"vae": load_network("model.vae", facts.vae, "AutoModel", dtype)}
    loader: Any = getattr(diffusers, auto)
    if facts.single_file is not None:
        pipeline = _from_single_file(facts, dtype, {**parts, **without})
        pipeline = loader.from_pipe(pipeline) if "Inpaint" in auto else pipeline
    else:
        parts = {**_networks(facts, dtype, model.variant, skip=(*parts, *without)), **parts, **without}
        with _explained("model.path", facts.folder):
            pipeline = loader.from_pretrained(
                facts.folder, dtype=dtype, local_files_only=True, use_safetensors=True, **parts
            )  # fmt: skip
    if getattr(pipeline, "watermark", None) is not None:
        pipeline.watermark = None
    return pipeline


def _networks(facts: ModelFacts, dtype: torch.dtype, variant: str | None, skip: tuple[str, ...]) -> dict[str, Any]:
    """Name -> network of everything in the folder that has weights."""
    wanted = {
        name: str(kind) for name, (library, kind) in components_of(facts.folder).items()
        if library in _MODULES and (facts.folder / name / "config.json").is_file()
        and name not in skip
    }  # fmt: skip
    if variant and not any(_has_variant(facts.folder / name, variant) for name in wanted):
        raise _unusable("model.path", facts.folder, f"there are no files of variant {variant}")
    return {name: load_network("model.path", facts.folder / name, kind, dtype, variant)
            for name, kind in wanted.items()}  # fmt: skip


def load_network(key: str, folder: Path, kind: str, dtype: torch.dtype, variant: str | None = None) -> Any:
    """One network with all of its weights, on the CPU.

    Args:
        key: of the configuration, for errors.
        folder: with ``config.json`` and safetensors.
        kind: class of diffusers or transformers.
        dtype: of the weights.
        variant: of the files; where the folder has none of it, the ordinary ones are taken, as diffusers does.

    Raises:
        UserError: weights are missing, damaged or of another shape.

    """
    library = next((name for name, module in _MODULES.items() if hasattr(importlib.import_module(module), kind)), "")
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    if variant and _has_variant(folder, variant):
        options["variant"] = variant
    if library == "diffusers":
        options["low_cpu_mem_usage"] = find_spec("accelerate") is not None
    with _explained(key, folder):
        network_class = getattr(importlib.import_module(_MODULES.get(library, "transformers")), kind)
        if kind == "AutoModel":  # does not report; the class that it names does
            network_class = getattr(importlib.import_module(library), network_class.load_config(folder)["_class_name"])
        network, report = network_class.from_pretrained(folder, output_loading_info=True, **options)
    missing = sorted(report["missing_keys"])
    if missing:
        raise _unusable(key, folder, f"weights are missing: {', '.join(missing[:3])}")
    return network


def _has_variant(folder: Path, variant: str) -> bool:
    return any(f".{variant}." in path.name or f".{variant}-" in path.name for path in folder.glob("*.safetensors*"))


def _from_single_file(facts: ModelFacts, dtype: torch.dtype, parts: Mapping[str, Any]) -> Any:
    import diffusers

    assert facts.single_file is not None, "asked for a single file"
    with _explained("model.path", facts.single_file):
        pipeline = getattr(diffusers, facts.pipeline).from_single_file(
            str(facts.single_file), config=str(facts.folder), dtype=dtype, local_files_only=True, **parts
        )
    for name, part in pipeline.components.items():
        if isinstance(part, torch.nn.Module) and any(weight.is_meta for weight in part.parameters()):
            raise _unusable("model.path", facts.single_file, f"it lacks weights of the {name}")
    return pipeline


def _fuse_loras(pipeline: Any, facts: ModelFacts) -> None:
    """Add each LoRA to the weights, times its scale: nothing is left to be computed at each step."""
    if not facts.loras:
        return
    if find_spec("peft") is None:
        raise UserError("model.lora needs the package peft", remedy="pip install 'seedml[models]'")
    if not hasattr(pipeline, "load_lora_weights"):
        raise UserError(f"a {type(pipeline).__name__} takes no LoRA", given=[path.name for path in facts.loras],
                        remedy="leave model.lora out")  # fmt: skip
    for path, scale in facts.loras.items():
        with _explained("model.lora", path):
            pipeline.load_lora_weights(path.parent, weight_name=path.name, local_files_only=True)
            if not pipeline.get_active_adapters():
                raise ValueError("nothing in it fits this model")
            pipeline.fuse_lora(lora_scale=scale)
            pipeline.unload_lora_weights()


def _check_call_options(pipeline: Any, facts: ModelFacts) -> None:
    able = [name for name in inspect.signature(pipeline.__call__).parameters if _may_be_set(name)]
    for name in facts.sampling.call_options:
        if name not in able:
            raise unknown_name(f"model.call_options for {type(pipeline).__name__}", name, able)
    wants_cleaning = inspect.signature(pipeline.__call__).parameters.get("clean_caption")
    cleans = wants_cleaning is not None and facts.sampling.call_options.get("clean_caption", wants_cleaning.default)
    if cleans and not (find_spec("bs4") and find_spec("ftfy")):
        raise UserError(
            f"a {type(pipeline).__name__} cleans prompts, which needs packages that are not installed",
            remedy="pip install beautifulsoup4 ftfy, or set model.call_options.clean_caption=false",
        )


def _may_be_set(name: str) -> bool:
    return name not in _OURS and "embeds" not in name and "mask" not in name and name not in ("self", "kwargs")


def _place(pipeline: Any, device: torch.device) -> None:
    """Move what samples to the device; convolutions with channels last."""
    for name, part in pipeline.components.items():
        if not isinstance(part, torch.nn.Module):
            continue
        if device.type in ("cpu", "cuda") and name in ("unet", "vae"):
            # convolutions are faster so: 20 % of seedling's decoding on a CPU, at the price of rounding only
            part.to(memory_format=torch.channels_last)
        if not name.startswith("text_encoder"):
            _move(part, device)


def set_decoding(pipeline: Any, decoding: str) -> None:
    """Decode all latents of a batch at a time (``whole``), one by one (``sliced``), or in parts too (``tiled``)."""
    vae = pipeline.vae
    (vae.disable_slicing if decoding == "whole" else vae.enable_slicing)()
    (vae.enable_tiling if decoding == "tiled" else vae.disable_tiling)()


def compile_denoiser(pipeline: Any, mode: str) -> None:
    """Replace the denoiser's forward pass by a compiled one; what is compiled is kept for later runs.

    CUDA graphs write their results to the same memory every time, and schedulers remember results of earlier steps:
    so each result is copied.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path.home() / ".cache" / "seedml" / "torchinductor"))
    denoiser = pipeline.transformer if getattr(pipeline, "unet", None) is None else pipeline.unet
    compiled: Any = torch.compile(denoiser.forward, mode=mode)
    next_step: Any = torch.compiler.cudagraph_mark_step_begin

    @functools.wraps(denoiser.forward)
    def forward(*args: Any, **kwargs: Any) -> Any:
        next_step()
        return tuple(part.clone() for part in compiled(*args, **kwargs))

    denoiser.forward = forward


def _move(part: torch.nn.Module, device: torch.device) -> None:
    try:
        part.to(device)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the model does not fit into the memory of {device}", given=type(part).__name__,
            remedy="use a device with more memory, a smaller model, or sampler.dtype=bfloat16",
        ) from error  # fmt: skip


@contextmanager
def _explained(key: str, place: Path) -> Iterator[None]:
    """Errors of reading weights as a user's mistake, in one line."""
    from diffusers.loaders.single_file_utils import SingleFileComponentError
    from safetensors import SafetensorError

    try:
        yield
    except UserError:
        raise
    except (*UNREAD, SafetensorError, SingleFileComponentError) as error:
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        raise _unusable(key, place, lines[0] if lines else type(error).__name__) from error


def _unusable(key: str, place: Path, why: str) -> UserError:
    return UserError(
        f"the weights in {key} cannot be loaded ({why})", given=str(place),
        legal="whole safetensors weights of this architecture, and of the configured model.variant",
        remedy="set or drop model.variant, or download the model again",
    )  # fmt: skip
