"""A few real images of a study, made as ``generate`` makes them and thrown away: what do they take here?

Uses what is on this machine only, and writes no file. Knows nothing of plans.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd, prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from seedml.errors import UserError
from seedml.generation.batches import CellBatch, work_batches
from seedml.generation.module import GeneratedBatch, GenerationModule
from seedml.generation.plan import ASSUMED_BATCH
from seedml.generation.work import Work
from seedml.grid import Cell, Grid, Tile
from seedml.lightning import quiet_lightning, threads
from seedml.models.folder import BUNDLED, local_model
from seedml.models.text_to_image import PromptEmbeddings, TextToImage, load_text_to_image
from seedml.shards.format import Record, encode_image

if TYPE_CHECKING:
    from seedml.config import ModelConfig, StudyConfig, TrainerConfig
    from seedml.prompts import Prompt

LIMIT_SECONDS = 60.0
"""A batch that would take longer is not made: its time is told from single calls of the denoiser."""
SAMPLES = 8
"""Images that are made at least, so that their size on disk means something; more where a batch has more."""
EMBEDDED = 8
"""Prompts whose encoding is timed."""
_BLOCK = 512
"""Bytes; members of a tar are padded to it."""


class NotHereError(Exception):
    """The model or the device is not on this machine, or a batch does not fit into it. Says so in a few words."""


class _EnoughError(Exception):
    """The denoiser was called often enough."""


@dataclass(frozen=True)
class Warmup:
    """What a few images of a study took."""

    device: str
    """For people."""
    accelerated: bool
    """Whether images are made beside the CPU, which encodes them meanwhile."""
    devices_here: int
    """Devices of that kind on this machine that ``trainer.devices=auto`` would take."""
    threads: int | None
    """CPU threads that computed the images; ``None`` where another device did."""
    batch_size: int
    seconds_per_batch: float
    """From cells to pixels, without encoding them as files."""
    whole: bool
    """Whether whole batches were timed; else a few calls of the denoiser, and the decoder is not in the time."""
    seconds_per_prompt: float
    """To embed it; once for each prompt."""
    images: int
    """Images that were encoded as files."""
    failed: int
    """Further ones that were no images."""
    seconds_per_file: float
    """To encode one image, in one thread."""
    bytes_per_image: float | None
    """In the tar, with its headers, the prompt and the description; ``None`` where no image was made."""
    bytes_per_prompt: int
    """Of a text embedding."""
    bytes_for_all_prompts: int
    """Of the unconditional text, which all prompts share."""
    noise_bytes: int
    """Of one batch, in float32."""

    def embedding_bytes(self, prompts: int) -> int:
        """Memory for the text embeddings of so many prompts."""
        return self.bytes_per_prompt * prompts + self.bytes_for_all_prompts

    def seconds(self, *, images: int, batches: int, prompts: int) -> float:
        """For so much work on this one device, without loading the model."""
        encoding = images * self.seconds_per_file / (self.threads or _cores())
        sampling = batches * self.seconds_per_batch + prompts * self.seconds_per_prompt
        # threads that encode take their time from those that compute, unless an accelerator computes
        return max(sampling, encoding) if self.accelerated else sampling + encoding

    def at_once(self, processes: int, nodes: int) -> int:
        """How many times as fast so many processes on each of the nodes are; those on one CPU share its cores."""
        if self.threads is not None:
            processes = min(processes, max(1, _cores() // self.threads))
        return processes * nodes


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def warm_up(config: StudyConfig, grid: Grid, prompts: Sequence[Prompt], *, cpu_threads: int | None = None) -> Warmup:
    """Make a few images as ``generate`` would: same device, threads, batch size, code.

    Args:
        config: the study.
        grid: its cells; some from all over it are made.
        prompts: its prompts.
        cpu_threads: CPU threads to compute with; ``None`` = as they are.

    Raises:
        NotHereError: nothing can be measured on this machine.
        UserError: the model is here and cannot be used as configured.

    """
    local = replace(config, model=_local(config.model))
    device, devices_here = first_device(config.trainer)
    texts = {prompt.prompt_id: prompt.text for prompt in prompts}
    module = GenerationModule(lambda _: load_text_to_image(local, device), texts, config.noise)
    with threads(cpu_threads if device.type == "cpu" else None), torch.inference_mode():
        try:
            return _measure(_Study(config, grid, texts, module, device), devices_here)
        except torch.OutOfMemoryError as error:
            raise NotHereError(
                f"a batch of {config.sampler.batch_size or ASSUMED_BATCH} does not fit into the memory of"
                f" {_device_name(device)}; lower sampler.batch_size"
            ) from error


def _local(model: ModelConfig) -> ModelConfig:
    """The model by its place on this machine: the hub would be asked for a newer one."""
    try:
        return local_model(model)
    except UserError as error:
        if model.path.startswith(BUNDLED) or Path(model.path).expanduser().exists():
            raise  # it is here, and no good
        raise NotHereError(f"the model {model.path} is not on this machine") from error


def first_device(config: TrainerConfig) -> tuple[torch.device, int]:
    """The first device that the study's Trainer would use, and how many of its kind Lightning would find here.

    Raises:
        NotHereError: there is no such device here.

    """
    import pytorch_lightning as pl
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    first = str(config.devices).split(",")[0] if "," in str(config.devices) else None
    try:
        with quiet_lightning():
            trainer = pl.Trainer(
                accelerator=config.accelerator, devices=[int(first)] if first else 1, logger=False,
                plugins=[LightningEnvironment()],  # this one process, also below Slurm or torchrun
                enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            )  # fmt: skip
    except MisconfigurationException as error:
        raise NotHereError(f"trainer.accelerator={config.accelerator}: there is no such device here") from error
    return trainer.strategy.root_device, max(1, trainer.accelerator.auto_device_count())


def _device_name(device: torch.device) -> str:
    """For people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    count = torch.get_num_threads()
    return f"cpu, {count} thread{'' if count == 1 else 's'}" if device.type == "cpu" else str(device)


class _Study(NamedTuple):
    """What is measured."""

    config: StudyConfig
    grid: Grid
    texts: Mapping[int, str]
    module: GenerationModule
    device: torch.device

    def batch(self, cells: Sequence[Cell], size: int) -> CellBatch:
        """The cells as one forward pass of ``size``, padded as the last one of a tile is."""
        tile = Tile("train", 0, tuple({cell.seed for cell in cells}), tuple({cell.prompt_id for cell in cells}))
        return next(work_batches(Work(tile, tuple(cells)), size))

    def make(self, batch: CellBatch) -> GeneratedBatch:
        """The batch as ``generate`` makes it; done when this returns."""
        made = self.module.predict_step(batch)
        assert made is not None, "a batch gives a batch"
        return made.wait()

    def wait(self) -> None:
        """Until the device has done what it was asked for."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)


def sample_cells(grid: Grid, count: int) -> list[Cell]:
    """So many distinct cells spread over all seeds and prompts; all of them where there are fewer."""
    prompt_ids = sorted(prompt_id for ids in grid.splits.values() for prompt_id in ids)
    total = len(grid.seeds) * len(prompt_ids)
    # multiples of the golden section, the most evenly spread of all; without a common divisor none comes twice
    stride = next(n for n in range(max(1, round(0.618 * total)), 2 * total + 2) if gcd(n, total) == 1)
    numbers = (k * stride % total for k in range(min(count, total)))
    return [Cell(grid.seeds[n // len(prompt_ids)], prompt_ids[n % len(prompt_ids)]) for n in numbers]


def _measure(study: _Study, devices_here: int) -> Warmup:
    size = study.config.sampler.batch_size or ASSUMED_BATCH
    count = -(-SAMPLES // size)
    cells = sample_cells(study.grid, size * count)
    batches = [study.batch(cells[start : start + size], size) for start in range(0, len(cells), size)]
    model = study.module.model
    embeddings, seconds_per_prompt = _embed(study, model)
    seconds_per_batch, made = _sample(study, batches)
    files = [_file(study, made_batch, row) for made_batch in made for row in range(len(made_batch.cells))]
    encoded = [file for file in files if file is not None]
    on_cpu = study.device.type == "cpu"
    return Warmup(
        device=_device_name(study.device), accelerated=not on_cpu, devices_here=devices_here,
        threads=torch.get_num_threads() if on_cpu else None, batch_size=size,
        seconds_per_batch=seconds_per_batch, whole=bool(made), seconds_per_prompt=seconds_per_prompt,
        images=len(encoded), failed=len(files) - len(encoded),
        seconds_per_file=_mean([file.seconds for file in encoded]) or 0.0,
        bytes_per_image=_mean([file.bytes for file in encoded]),
        bytes_per_prompt=_bytes(embeddings.prompt, embeddings.pooled) // len(embeddings),
        bytes_for_all_prompts=_bytes(embeddings.negative, embeddings.negative_pooled),
        noise_bytes=4 * prod(model.latent_shape) * size,
    )  # fmt: skip


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _bytes(*tensors: Tensor | None) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)


def _embed(study: _Study, model: TextToImage) -> tuple[PromptEmbeddings, float]:
    """The text embeddings of a few prompts, and seconds for one; the first, which also sets up, is not timed."""
    texts = list(study.texts.values())[:EMBEDDED]
    model.embed(texts[:1])
    study.wait()
    started = time.perf_counter()
    embeddings = model.embed(texts)
    study.wait()
    return embeddings, (time.perf_counter() - started) / len(texts)


def _sample(study: _Study, batches: Sequence[CellBatch]) -> tuple[float, list[GeneratedBatch]]:
    """Seconds for a batch, and the batches that were timed whole: none where one would take too long.

    Nothing but whole calls of the denoiser can be cut short, so a call with one image comes first, then one with a
    whole batch, then a whole batch: each only if the one before says that it is short.
    """
    size = study.config.sampler.batch_size or ASSUMED_BATCH
    first = batches[0]
    call = _call_seconds(study, study.batch(first.cells[:1], 1)) * size
    if 2 * call <= LIMIT_SECONDS:
        call = _call_seconds(study, first)
    expected = call * len(study.module.model.pipeline.scheduler.timesteps)
    if expected > LIMIT_SECONDS:
        return expected, []
    made: list[GeneratedBatch] = []
    started = time.perf_counter()
    for batch in batches:
        made.append(study.make(batch))
        spent = time.perf_counter() - started
        if spent + spent / len(made) > LIMIT_SECONDS:
            break
    return spent / len(made), made


def _call_seconds(study: _Study, batch: CellBatch) -> float:
    """Seconds from one call of the denoiser to the next while it works on the batch; the first one sets things up."""
    ends: list[float] = []

    def after_call(*_: object) -> None:
        study.wait()
        ends.append(time.perf_counter())
        if len(ends) == 2:
            raise _EnoughError

    hook = study.module.model.denoiser.register_forward_hook(after_call)
    try:
        while len(ends) < 2:  # again where one step is all
            study.module.predict_step(batch)
    except _EnoughError:
        pass
    finally:
        hook.remove()
    return ends[1] - ends[0]


class _File(NamedTuple):
    seconds: float
    """To encode the image."""
    bytes: int
    """Of the sample in the tar."""


def _file(study: _Study, made: GeneratedBatch, row: int) -> _File | None:
    """One image of a batch as the shard would hold it; ``None`` where it is none."""
    if made.reason(row):
        return None
    image_format = study.config.shards.format
    pixels = made.pixels(row)
    started = time.perf_counter()
    encoded = encode_image(pixels, image_format)
    seconds = time.perf_counter() - started
    cell, (height, width) = made.cells[row], made.images.shape[2:]
    record = Record(
        cell=cell, prompt=study.texts[cell.prompt_id], split=made.work.tile.split, noise_sha256=made.noise_sha256[row],
        height=height, width=width, image=encoded,
    )  # fmt: skip
    return _File(seconds, sum(_BLOCK + -(-len(data) // _BLOCK) * _BLOCK for _, data in record.members(image_format)))
