"""The machine: its devices, their memory against what the study needs, and the disks.

What a batch needs is an estimate from the model's own numbers: the weights as they are stored, and the widest
activation of the decoder. It tells "fits" from "does not fit by far"; `seedml plan` tries a batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from seedml.doctor.findings import MISSING, NOTE, OK, Finding, of_error
from seedml.doctor.weights import weight_files
from seedml.errors import UserError
from seedml.files import read_json
from seedml.generation.disk import free_bytes, human_bytes
from seedml.models.bundled import draws_scenes
from seedml.models.folder import model_facts

if TYPE_CHECKING:
    import torch

    from seedml.config import StudyConfig
    from seedml.generation.plan import Plan

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_ALIVE = 6
"""Activations of the decoder's full size that are held at once: input, two of a convolution, a residual, workspace."""
_RUN_BYTES_PER_IMAGE = 4 * 4096
"""Of a run's folder: features and tables."""


def look_at_device(config: StudyConfig) -> Iterator[Finding]:
    """The device that the study would run on, and its memory."""
    try:
        device = _device(config)
    except UserError as error:
        yield of_error("device", error)
        return
    yield from _noise(config, device)
    name, memory = _name(device), _memory(device)
    if device.type == "cpu" and not draws_scenes(config.model.path):
        yield Finding("device", NOTE, "no accelerator: real models take minutes an image", f"seedml plan {config.name}")
    need = _needed(config)
    if need is None:
        yield Finding("device", OK, f"{name}, {human_bytes(memory)} of memory; what the model needs is not known")
        return
    fixed, per_image = need
    at_once = _decoded_at_once(config)
    told = (
        f"{name}, {human_bytes(memory)} of memory; about {human_bytes(fixed + at_once * per_image)} needed "
        f"(weights {human_bytes(fixed)}, {human_bytes(per_image)} an image × {at_once})"
    )
    fitting = int((memory - fixed) / per_image)
    if fitting >= at_once:
        yield Finding("device", OK, told)
    elif fitting >= 1:
        remedy = f"sampler.batch_size={fitting}, or sampler.decode=sliced"
        yield Finding("device", NOTE, f"{told}: may be too small", remedy)
    else:
        yield Finding("device", MISSING, f"{told}: too small", "a device with more memory, or sampler.dtype=float16")


def _decoded_at_once(config: StudyConfig) -> int:
    """Images that the decoder has in memory; a batch size that is found by itself fits by itself."""
    whole = model_facts(config, download=False).sampling.decode == "whole"
    return max(1, config.sampler.batch_size) if whole else 1


def _device(config: StudyConfig) -> torch.device:
    """The first device of the study's Trainer."""
    from seedml.generation.warmup import NotHereError, first_device

    try:
        return first_device(config.trainer)[0]
    except NotHereError as error:
        raise UserError(str(error), remedy="trainer.accelerator=auto, or run this where the device is") from error


def _noise(config: StudyConfig, device: torch.device) -> Iterator[Finding]:
    if config.noise.generator_device == "cuda" and device.type != "cuda":
        yield Finding("noise", MISSING, f"noise.generator_device=cuda, and the device is {device.type}",
                      "run this on a machine with an NVIDIA GPU, or noise.generator_device=cpu")  # fmt: skip


def _name(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return (
        f"{device.type} ({len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores)"
    )


def _memory(device: torch.device) -> int:
    """Bytes: of the device, or of the machine."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _needed(config: StudyConfig) -> tuple[int, int] | None:
    """Bytes for the weights, and further ones for each image of a batch; ``None`` where the model is not here."""
    try:
        facts = model_facts(config, download=False)
        stored = sum(file.bytes for file in weight_files(config.model))
    except UserError:
        return None
    dtype = _BYTES[facts.sampling.dtype]
    stored_as = 2 if config.model.variant in ("fp16", "bf16") else 4
    height, width = facts.sampling.height, facts.sampling.width
    activation = height * width * _decoder_width(facts.folder) * dtype
    return stored * dtype // stored_as, _ALIVE * activation


def _decoder_width(folder: Path) -> int:
    """Most channels of the decoder at full size: those that come out of the last enlargement."""
    path = folder / "vae" / "config.json"
    blocks = read_json(path).get("block_out_channels") if path.is_file() else None
    return max(int(channels) for channels in blocks[:2]) if isinstance(blocks, list) and blocks else 256


def look_at_disks(config: StudyConfig, planned: Plan | None) -> Iterator[Finding]:
    """Room for shards and results, and whether they may be written."""
    about, at_least = (planned.bytes_left, planned.bytes_left_at_least) if planned else (None, None)
    of_run = planned.images * _RUN_BYTES_PER_IMAGE if planned else None
    yield from _folder("shards", config.shard_dir, about, at_least)
    yield from _folder("runs", config.run_dir, of_run, None)


def _folder(subject: str, folder: Path, about: int | None, at_least: int | None) -> Iterator[Finding]:
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        yield Finding(subject, MISSING, f"{existing} may not be written", f"{subject}.root=<a folder that may>")
        return
    free = free_bytes(folder)
    told = f"{folder}: {human_bytes(free)} free"
    if about is None:
        yield Finding(subject, OK, told)
        return
    told += f", about {human_bytes(about)} needed"
    remedy = f"make space, or {subject}.root=<a larger disk>"
    if at_least is not None and at_least > free:
        yield Finding(subject, MISSING, told, f"{remedy}, or shards.format=webp")
    elif about > free:
        yield Finding(subject, NOTE, told, remedy)
    else:
        yield Finding(subject, OK, told)
