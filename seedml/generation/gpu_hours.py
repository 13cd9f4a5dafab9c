"""What a large study takes on GPUs that are not here: from measured warm-ups in a file, else an estimate.

A warm-up is measured by ``seedml plan`` on the device itself; ``plan.warmups`` names a file that keeps them. Where
there is none, the network's arithmetic is divided by a part of what the GPU's maker says it can do. That is an estimate
within a factor of four, and says so.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedml.errors import UserError
from seedml.files import atomic_write_json, read_json

if TYPE_CHECKING:
    from seedml.config import StudyConfig
    from seedml.generation.warmup import Warmup

FORMAT = 1
BUSY = (0.1, 0.4)
"""Of its peak a GPU does at least and at most so much in the denoiser and the decoder of such models. Ours."""
PEAKS: Mapping[str, float] = {"H100 SXM": 989.0, "A100": 312.0, "L40S": 362.0, "RTX 4090": 165.0, "L4": 121.0}
"""GPU -> 10^12 operations a second in float16 and bfloat16, dense, accumulated in float32: NVIDIA's data sheets."""


@dataclass(frozen=True)
class Arithmetic:
    """10^12 operations (a multiplication and an addition are two) of a model's networks for one image."""

    denoiser: float
    """One call, one row."""
    decoder: float
    size: tuple[int, int]
    """Height and width in pixels that they were counted at."""

    def per_image(self, steps: int, guidance_scale: float, size: tuple[int, int]) -> float:
        """For one image; other sizes by their area, which is too little for the attention of larger ones."""
        area = size[0] * size[1] / (self.size[0] * self.size[1])
        return area * (steps * (2 if guidance_scale > 1 else 1) * self.denoiser + self.decoder)


ARITHMETIC: Mapping[str, Arithmetic] = {
    # counted by benchmarks/arithmetic.py on the architectures at full size
    "sd15": Arithmetic(0.803, 2.515, (512, 512)),
    "sd2": Arithmetic(0.804, 2.515, (512, 512)),
    "sd2_768": Arithmetic(2.149, 5.754, (768, 768)),
    "sdxl": Arithmetic(6.761, 10.470, (1024, 1024)),
    "sdxl_turbo": Arithmetic(1.589, 2.515, (512, 512)),
}
"""Name in ``configs/models/`` -> its arithmetic."""


@dataclass(frozen=True)
class GpuHours:
    """What the missing images take on one kind of device."""

    device: str
    hours: tuple[float, float]
    """At least and at most; the same where it was measured."""
    measured: str
    """When and how; empty where it is an estimate."""

    def text(self) -> str:
        """For people, one line."""
        low, high = self.hours
        hours = f"{_hours(high)} GPU hours" if self.measured else f"{_hours(low)} to {_hours(high)} GPU hours"
        return f"{self.device}: {hours}{f' ({self.measured})' if self.measured else ''}"


def _hours(hours: float) -> str:
    return f"{hours:.2g}" if hours < 10 else f"{hours:,.0f}" if hours < 1000 else f"{round(hours, -1):,.0f}"


def estimated(config: StudyConfig, images: int) -> list[GpuHours]:
    """An estimate for each GPU of the table; nothing where the model's arithmetic is not known.

    Args:
        config: the study.
        images: to be made.

    """
    counted = ARITHMETIC.get(config.model.name)
    if counted is None:
        return []
    size = (config.model.height or counted.size[0], config.model.width or counted.size[1])
    steps, guidance = config.sampler.steps or config.model.steps, config.sampler.guidance_scale
    work = images * counted.per_image(steps, config.model.guidance_scale if guidance is None else guidance, size)
    slow, fast = BUSY
    return [
        GpuHours(gpu, (work / (fast * peak) / 3600, work / (slow * peak) / 3600), "") for gpu, peak in PEAKS.items()
    ]


def measured(config: StudyConfig, images: int) -> list[GpuHours]:
    """What was measured for this study's model and sampler, by device; nothing without a file.

    Args:
        config: the study; ``plan.warmups`` names the file.
        images: to be made.

    Raises:
        UserError: the file holds something else.

    """
    wanted = sampled_as(config)
    rows = [row for row in _rows(config) if row["sampled"] == wanted]
    return [of_row(row, images) for row in sorted(rows, key=lambda row: str(row["device"]))]


def of_row(row: Mapping[str, Any], images: int) -> GpuHours:
    """The hours of one measurement."""
    hours = images * row["seconds_per_image"] / 3600
    how = "" if row["whole"] else ", from a few steps"
    told = f"measured {row['date']}: {1 / row['seconds_per_image']:,.3g} images/s, batches of {row['batch_size']}{how}"
    return GpuHours(row["device"], (hours, hours), told)


def row_of(config: StudyConfig, warmup: Warmup, images: int, prompts: int) -> dict[str, Any]:
    """A measurement as the file holds it.

    Args:
        config: what was measured.
        warmup: what it took.
        images: of the study; decides what share the text encoder's time has.
        prompts: of the study.

    """
    batches = -(-images // warmup.batch_size)
    seconds = warmup.seconds(images=images, batches=batches, prompts=prompts)
    return {
        "device": warmup.device, "sampled": sampled_as(config), "seconds_per_image": seconds / images,
        "batch_size": warmup.batch_size, "whole": warmup.whole, "bytes_per_image": warmup.bytes_per_image,
        "format": config.shards.format, "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }  # fmt: skip


def keep(config: StudyConfig, row: Mapping[str, Any]) -> None:
    """Put a measurement into the file of ``plan.warmups``, in place of an earlier one of the same kind."""
    assert config.plan.warmups is not None, "nothing is written that was not asked for"
    others = [
        old for old in _rows(config) if (old["device"], old["sampled"]) != (row["device"], row["sampled"])
    ]  # fmt: skip
    path = Path(config.plan.warmups).expanduser()
    atomic_write_json(path, {"format": FORMAT, "warmups": [*others, dict(row)]})


def sampled_as(config: StudyConfig) -> dict[str, Any]:
    """What decides how long an image takes, apart from the device and the size of a batch."""
    model = {key: asdict(config.model)[key] for key in ("path", "revision", "variant", "height", "width")}
    sampler = {key: asdict(config.sampler)[key] for key in ("steps", "guidance_scale", "scheduler", "dtype")}
    return {"model": model, "sampler": sampler}


_COLUMNS = ("device", "sampled", "seconds_per_image", "batch_size", "whole", "date")


def _rows(config: StudyConfig) -> list[dict[str, Any]]:
    if config.plan.warmups is None:
        return []
    path = Path(config.plan.warmups).expanduser()
    if not path.exists():
        return []
    rows = read_json(path).get("warmups")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and set(_COLUMNS) <= row.keys() for row in rows):
        raise UserError("plan.warmups holds no warm-ups as `seedml plan` writes them", given=str(path),
                        remedy="name another file, or delete it")  # fmt: skip
    return rows


def cluster_lines(config_name: str, hours: Sequence[GpuHours], tiles: int, largest_tile: int, images: int) -> list[str]:
    """How to divide the work: an array of jobs of four hours that are done within a day; nothing where one does it.

    Args:
        config_name: what the command names, or a placeholder.
        hours: by device; the first is planned for.
        tiles: to be made; more processes than that have nothing to do.
        largest_tile: images of the largest.
        images: to be made.

    """
    first = hours[0]
    jobs = max(1, min(tiles, 2 ** max(0, round(first.hours[1] / 24) - 1).bit_length()))
    if jobs == 1:
        return []
    low, high = (value / jobs for value in first.hours)
    minutes = first.hours[1] / images * largest_tile * 60
    days = f"{_hours(high)} h" if first.measured else f"{_hours(low)} to {_hours(high)} h"
    return [
        f"{jobs:,} × {first.device}: {days}; up to {tiles:,} processes have work; one that is killed loses at most a "
        f"shard, {largest_tile:,} images, {_hours(minutes)} minutes",
        f"sbatch --array=0-{jobs - 1} --gpus-per-node=1 --time=4:00:00 launch/slurm.sbatch generate {config_name}",
    ]
