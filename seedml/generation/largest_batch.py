"""The largest batch that fits into an accelerator (``batch_size: 0``): found before the first image, then kept.

The size of a batch changes pixels by rounding, so it is part of a study's fingerprint: the first process that finds it
writes it down, all others and all later runs take it from there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from seedml.config import DECODINGS
from seedml.errors import UserError
from seedml.files import read_json
from seedml.generation.warmup import NotHereError, first_device
from seedml.models.loading import set_decoding
from seedml.models.text_to_image import TextToImage, load_text_to_image
from seedml.noise import initial_noise
from seedml.shards.dataset import settle_batch_size
from seedml.shards.process import this_process

if TYPE_CHECKING:
    from seedml.config import StudyConfig

FILE = "largest_batch.json"
ON_CPU = 32
"""A batch for a CPU, where larger ones are no faster and memory ends in a crash rather than in an answer."""
MOST = 1024
"""Larger batches are not tried."""
SHARE = 0.9
"""Of the memory is used while trying; the rest is for what happens later, such as fragments."""


class _EnoughError(Exception):
    """The denoiser was called once."""


def fix_batch_size(config: StudyConfig) -> None:
    """Replace ``sampler.batch_size=0``, and ``sampler.decode`` if that is open, by what is kept from now on.

    Raises:
        UserError: not even one image fits.

    """
    settle_batch_size(config)
    if config.sampler.batch_size:
        return
    path = config.run_dir / FILE
    if not path.is_file():
        device = _device(config)
        found = (ON_CPU, config.sampler.decode) if device.type == "cpu" else _find(config, device)
        _write_first(path, {"batch_size": found[0], "decode": found[1], "device": str(device.type)})
    kept: Any = read_json(path)
    config.sampler.batch_size, config.sampler.decode = int(kept["batch_size"]), kept["decode"]


def _device(config: StudyConfig) -> torch.device:
    try:
        return first_device(config.trainer)[0]
    except NotHereError as error:
        raise UserError(str(error), remedy="choose another trainer.accelerator") from error


def _find(config: StudyConfig, device: torch.device) -> tuple[int, str | None]:
    """Batch size and decoding on this device; the model is loaded for it, and forgotten."""
    model = load_text_to_image(replace(config, sampler=replace(config.sampler, batch_size=1)), device)
    with _leaving_some_memory(device), torch.inference_mode():
        return find_batch(model, [config.sampler.decode] if config.sampler.decode else list(DECODINGS))


def find_batch(model: TextToImage, decodings: list[str]) -> tuple[int, str | None]:
    """The largest batch that the denoiser takes, and the least change in decoding with which its images fit too.

    Args:
        model: on its device.
        decodings: those that may be, in this order; ``whole`` is told as ``None``.

    Raises:
        UserError: not even one image fits.

    """
    size = largest(lambda count: _fits(lambda: _denoise_once(model, count)), MOST)
    while size:
        for decoding in decodings:
            set_decoding(model.pipeline, decoding)
            if _fits(lambda: _sample(model, size)):  # noqa: B023 (called at once)
                return size, None if decoding == "whole" else decoding
        size //= 2
    raise UserError(
        "the accelerator's memory is too small: not even one image fits beside the model",
        given=f"{model.sampling.height} × {model.sampling.width} px in {model.sampling.dtype}",
        remedy="use a device with more memory, smaller images, sampler.dtype=bfloat16 or another model",
    )  # fmt: skip


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number that fits, to an eighth of itself; 0 where not even 1 does. What fits is taken as monotonous.

    Args:
        fits: is asked for doubled numbers first, then for some in the gap.
        most: larger ones are not asked for.

    """
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > max(1, low // 8):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _fits(work: Callable[[], object]) -> bool:
    try:
        work()
    except torch.OutOfMemoryError:
        return False
    finally:
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()
    return True


def _sample(model: TextToImage, count: int) -> None:
    embeddings = model.embed([""])[[0] * count]
    model.sample(embeddings, *initial_noise(range(count), model.latent_shape))


def _denoise_once(model: TextToImage, count: int) -> None:
    """The first call of the denoiser takes as much memory as any."""

    def stop(*_: object) -> None:
        raise _EnoughError

    hook = model.denoiser.register_forward_hook(stop)
    try:
        _sample(model, count)
    except _EnoughError:
        pass
    finally:
        hook.remove()


@contextmanager
def _leaving_some_memory(device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_per_process_memory_fraction(SHARE, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def _write_first(path: Path, content: dict[str, object]) -> None:
    """Write the file unless another process was faster: then its content is what counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{this_process()}.tmp")
    temporary.write_text(json.dumps(content) + "\n")
    try:
        os.link(temporary, path)  # whole or not at all, and never over another one
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
