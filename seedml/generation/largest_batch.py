"""The largest batch that fits into an accelerator (``batch_size: 0``): found before the first image, then kept.

The size of a batch changes pixels by rounding, so it is part of a study's fingerprint: the first process that finds it
writes it down, all others and all later runs take it from there.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from seedml.config import DECODINGS
from seedml.errors import UserError
from seedml.files import read_json
from seedml.generation.warmup import NotHereError, first_device
from seedml.models.folder import model_facts, model_identity
from seedml.models.loading import set_decoding
from seedml.models.sources import keeps_checker
from seedml.models.text_to_image import TextToImage, load_text_to_image
from seedml.noise import initial_noise
from seedml.shards.claims import Claims
from seedml.shards.dataset import settle_batch_size
from seedml.shards.process import this_process
from seedml.tracking import is_rank_zero

if TYPE_CHECKING:
    from seedml.config import StudyConfig

FILE = "largest_batch.json"
ON_CPU = 32
"""A batch for a CPU, where larger ones are no faster and memory ends in a crash rather than in an answer."""
MOST = 1024
"""Larger batches are not tried."""
SHARE = 0.9
"""Of the memory is used while trying; the rest is for what happens later, such as fragments."""


START_SECONDS = 20.0
"""That the first process of several has to begin the search before another one does."""
LOOK_SECONDS = 0.5
"""Between two looks whether it has been found."""


class _EnoughError(Exception):
    """The denoiser was called once."""


def fix_batch_size(config: StudyConfig) -> None:
    """Replace ``sampler.batch_size=0``, and ``sampler.decode`` if that is open, by what is kept from now on.

    One process searches, for two at a time would find what fits beside each other; the others wait for what it writes.

    Raises:
        UserError: not even one image fits.

    """
    settle_batch_size(config)
    if config.sampler.batch_size:
        return
    wanted = _found_for(config)
    kept = _kept(config, wanted)
    if kept is None:
        with Claims(config.run_dir, lambda _: _kept(config, wanted) is not None) as claims:
            kept = _found_by_one(config, wanted, claims)
    config.sampler.batch_size = int(kept["batch_size"])
    config.sampler.decode = config.sampler.decode or kept["decode"]


def was_found(config: StudyConfig) -> bool:
    """Whether the study's batch size is one that ``sampler.batch_size=0`` found."""
    path = config.run_dir / FILE
    return path.is_file() and read_json(path).get("batch_size") == config.sampler.batch_size


def _found_for(config: StudyConfig) -> dict[str, Any]:
    """What decides how much fits: another model, size … needs another search."""
    facts = model_facts(config)
    found: dict[str, Any] = json.loads(json.dumps({"model": model_identity(config.model)} | asdict(facts.sampling)))
    return found | {"decode": config.sampler.decode, "safety_checker": keeps_checker(config.model)}


def _kept(config: StudyConfig, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is written down, if it was found for this."""
    path = config.run_dir / FILE
    kept: Any = read_json(path) if path.is_file() else {}
    return kept if kept.get("found_for") == wanted else None


def _found_by_one(config: StudyConfig, wanted: Mapping[str, Any], claims: Claims) -> dict[str, Any]:
    """Search, or wait for the process that does; the first of several gets a start, for it is on the first device."""
    waited = START_SECONDS if is_rank_zero(os.environ) else 0.0
    while (kept := _kept(config, wanted)) is None:
        if waited >= START_SECONDS and claims.take(FILE):
            try:
                return _found(config, wanted)
            finally:
                claims.release(FILE)
        time.sleep(LOOK_SECONDS)
        waited += LOOK_SECONDS
    return kept


def _found(config: StudyConfig, wanted: Mapping[str, Any]) -> dict[str, Any]:
    path, device = config.run_dir / FILE, _device(config)
    path.unlink(missing_ok=True)  # found for something else
    size, decode = (ON_CPU, config.sampler.decode) if device.type == "cpu" else _find(config, device)
    found = {"batch_size": size, "decode": decode, "device": device.type, "found_for": wanted}
    _write_first(path, found)
    kept: Any = read_json(path)
    return dict(kept)


def _device(config: StudyConfig) -> torch.device:
    try:
        return first_device(config.trainer)[0]
    except NotHereError as error:
        raise UserError(str(error), remedy="choose another trainer.accelerator") from error


def _find(config: StudyConfig, device: torch.device) -> tuple[int, str | None]:
    """Batch size and decoding on this device; the model is loaded for it, and forgotten."""
    decodings = [config.sampler.decode] if config.sampler.decode else list(DECODINGS)
    one = replace(config, sampler=replace(config.sampler, batch_size=1))
    try:
        with _leaving_some_memory(device), torch.inference_mode():
            return find_batch(load_text_to_image(one, device), decodings)
    finally:
        gc.collect()  # the model, whose parts know of each other
        _give_back()


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
        _give_back()
    return True


def _give_back() -> None:
    """Memory that torch keeps for later."""
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()


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


def _write_first(path: Path, content: Mapping[str, object]) -> None:
    """Write the file unless another process was faster: then its content is what counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{this_process()}.tmp")
    temporary.write_text(json.dumps(content) + "\n")
    try:
        os.link(temporary, path)  # whole or not at all, and never over another one
    except FileExistsError:
        pass
    except OSError:  # no hard links here
        with suppress(FileExistsError), path.open("x") as stream:
            stream.write(temporary.read_text())
    finally:
        temporary.unlink()
