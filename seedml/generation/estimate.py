"""The plan of a study with what it takes on this machine: disk, memory and time, measured on a few of its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seedml.config import config_names
from seedml.generation import gpu_hours
from seedml.generation.disk import free_bytes, human_bytes
from seedml.generation.gpu_hours import GpuHours
from seedml.generation.plan import BYTES_PER_PIXEL, BYTES_PER_SAMPLE, Plan, plan
from seedml.generation.prompt_report import report_on_prompts
from seedml.grid import build_grid
from seedml.prompts import MissingFileError, Prompt, load_prompts, placeholder_prompts
from seedml.shards.dataset import FILE, open_dataset

if TYPE_CHECKING:
    from seedml.config import StudyConfig
    from seedml.generation.warmup import Warmup

LARGE_SECONDS = 24 * 3600.0
"""A study that takes longer on this machine's one device is told for GPUs and clusters as well."""
_TAR_END, _TAR_RECORD = 1024, 10240
"""A tar ends with so many zeros and is padded to whole records."""


@dataclass(frozen=True)
class MeasuredPlan:
    """A plan, and what a few images of it took on this machine."""

    plan: Plan
    warmup: Warmup | None
    """``None`` where nothing was measured."""
    why_not: str
    """Why nothing was measured; empty where it was."""
    bytes_total: int | None
    """As :attr:`Plan.bytes_total`, but from the sample images where no tile is done."""
    bytes_free: int
    """On the disk of the shards."""
    devices: int
    """On each node."""
    nodes: int
    image_format: str = "png"
    config_name: str = "<config>"
    """What a command would name."""
    hours: tuple[GpuHours, ...] = ()
    """What the missing images take on each kind of GPU, where the study is large."""
    notes: tuple[str, ...] = ()
    """About the prompts."""

    @property
    def seconds(self) -> float | None:
        """For the missing images on one device, without loading the model; ``None`` where nothing was measured."""
        if self.warmup is None:
            return None
        return _seconds(self.plan, self.warmup)

    @property
    def seconds_together(self) -> float | None:
        """On all devices of the configuration."""
        if self.warmup is None or self.seconds is None:
            return None
        return self.seconds / self.warmup.at_once(self.devices, self.nodes)

    def text(self) -> str:
        """For people: what a study takes, a thing a line."""
        rows = [
            ("images", f"{self.plan.images_done:,} done, {self.plan.images_left:,} to make"),
            ("tiles", self._tiles()),
            ("disk", self._disk()),
        ]
        if self.plan.images_left:
            rows += [("memory", self._memory()), ("time", self._time())]
            rows += [("", line) for line in (self._time_together(), self._remark()) if line]
        rows += [("prompts", note) for note in self.notes]
        if self.hours:
            rows += [("formats", self._formats()), *_titled("GPUs", self._gpus()), *_titled("cluster", self._cluster())]
        title = f"{self.plan.name}: {self.plan.grid_text()}"
        return "\n".join([title, *(f"  {name:<8}{value}" for name, value in rows)])

    def _tiles(self) -> str:
        seeds, prompts = self.plan.largest_tile
        most = f"of up to {seeds * prompts:,} images ({_many(seeds, 'seed')} × {_many(prompts, 'prompt')})"
        return f"{_many(self.plan.tiles, 'shard')} {most}; {self.plan.tiles_done:,} done"

    def _disk(self) -> str:
        free = f"{human_bytes(self.bytes_free)} free in {self.plan.folder}"
        if self.bytes_total is None:
            return f"unknown; {free}"
        if self.bytes_total * self.plan.images_left / self.plan.images > self.bytes_free:
            free = f"TOO MUCH: only {free}"
        source = self._source_of_bytes()
        about = "about " if source == "guessed" else ""
        image = human_bytes(self.bytes_total / self.plan.images)
        return f"{about}{human_bytes(self.bytes_total)}, {about}{image} an image ({source}); {free}"

    def _source_of_bytes(self) -> str:
        if self.plan.measured:
            return f"measured on {self.plan.images_done:,} finished ones"
        if self.warmup is not None and self.warmup.images:
            return f"measured on {self.warmup.images:,} samples"
        return "guessed"

    def _memory(self) -> str:
        if self.warmup is None:
            return "not measured"
        widest, size = self.plan.widest_tile, self.warmup.batch_size
        embeddings, noise = human_bytes(self.warmup.embedding_bytes(widest)), human_bytes(self.warmup.noise_bytes)
        held = f"{_many(widest, 'prompt')} in a tile"
        return f"text embeddings {embeddings} ({held}), noise {noise} (batches of {size:,})"

    def _time(self) -> str:
        if self.warmup is None or self.seconds is None:
            return f"not measured: {self.why_not}"
        rate = self.plan.images_left / self.seconds
        how = "measured on whole batches" if self.warmup.whole else "from a few steps: a batch would take long"
        return f"{human_seconds(self.seconds)} on one device ({self.warmup.device}): {rate:,.3g} images/s, {how}"

    def _time_together(self) -> str:
        if self.warmup is None or self.seconds_together is None or self.devices * self.nodes == 1:
            return ""
        shared = self.warmup.at_once(self.devices, self.nodes) < self.devices * self.nodes
        return (
            f"{human_seconds(self.seconds_together)} on {_many(self.devices, 'device')} × {_many(self.nodes, 'node')}"
            f"{': processes share the cores of a CPU' if shared else ''}"
        )

    def _formats(self) -> str:
        """Disk in every format: the study's own as above, the others guessed."""
        if self.plan.size is None:
            return "unknown: the model's size is not"
        pixels = self.plan.size[0] * self.plan.size[1]
        guesses = {
            name: self.plan.images * (pixels * each + BYTES_PER_SAMPLE) for name, each in BYTES_PER_PIXEL.items()
        }
        own = f", {self.image_format} {self._source_of_bytes()}"
        if self._source_of_bytes() == "guessed" or self.bytes_total is None:
            own = ""
        else:
            guesses[self.image_format] = float(self.bytes_total)
        told = ", ".join(f"{name} {human_bytes(count)}" for name, count in guesses.items())
        each = ", ".join(f"{value:g}" for value in BYTES_PER_PIXEL.values())
        return f"{told} (guessed: {each} bytes a pixel{own})"

    def _gpus(self) -> list[str]:
        if any(one.measured for one in self.hours):
            return [one.text() for one in self.hours]
        slow, fast = gpu_hours.BUSY
        return [
            f"ESTIMATE, nothing was measured: the networks' arithmetic at {slow:.0%} to {fast:.0%} of each GPU's peak",
            *(one.text() for one in self.hours),
            f"measure it: seedml plan {self.config_name} plan.warmups=warmups.json, on a machine with such a GPU",
        ]

    def _cluster(self) -> list[str]:
        seeds, prompts = self.plan.largest_tile
        tiles = self.plan.tiles - self.plan.tiles_done
        return gpu_hours.cluster_lines(self.config_name, self.hours, tiles, seeds * prompts, self.plan.images_left)

    def _remark(self) -> str:
        if self.warmup is None or not self.warmup.failed:
            return ""
        made = self.warmup.failed + self.warmup.images
        return f"WARNING: {self.warmup.failed} of {made} sample images were none: flat, or not a number"


def _titled(title: str, lines: Sequence[str]) -> list[tuple[str, str]]:
    """Rows of which only the first has a title."""
    return [(title if at == 0 else "", line) for at, line in enumerate(lines)]


def measured_plan(config: StudyConfig) -> MeasuredPlan:
    """The plan of a study, with a few of its images made and thrown away. Downloads nothing.

    Writes nothing but the file of ``plan.warmups``, where one is named and this machine has an accelerator.

    Raises:
        UserError: see :func:`~seedml.generation.plan.plan`; or the model is here and cannot be used as configured.

    """
    prompts, notes = _prompts(config)
    planned = plan(config, prompts)
    warmup, why_not = _warm_up(config, prompts) if planned.images_left else (None, "all images are there")
    bytes_total = planned.bytes_total
    if warmup is not None and warmup.bytes_per_image is not None and not planned.measured:
        bytes_total = _bytes(config, prompts, warmup.bytes_per_image)
    return MeasuredPlan(
        plan=planned, warmup=warmup, why_not=why_not, bytes_total=bytes_total,
        bytes_free=free_bytes(Path(planned.folder)), devices=_devices(config, warmup), nodes=config.trainer.num_nodes,
        image_format=config.shards.format, config_name=config.name if config.name in config_names() else "<config>",
        hours=_gpu_hours(config, planned, warmup), notes=tuple(notes) if planned.images_left else (),
    )  # fmt: skip


def _prompts(config: StudyConfig) -> tuple[list[Prompt], list[str]]:
    """The study's prompts and what is to be said of them; as many without text where their file is elsewhere."""
    try:
        prompts = load_prompts(config.prompts)
    except MissingFileError:
        stand_ins = placeholder_prompts(config.prompts)
        if stand_ins is None or (config.shard_dir / FILE).is_file():
            raise
        return stand_ins, [f"{config.prompts.file} is not here: planned for as many as prompts.splits names"]
    return prompts, report_on_prompts(config, prompts).lines()


def _warm_up(config: StudyConfig, prompts: Sequence[Prompt]) -> tuple[Warmup | None, str]:
    """What a few images take, or why none can be made here."""
    from seedml.generation.warmup import NotHereError, warm_up

    try:
        return warm_up(config, build_grid(config, prompts), prompts, cpu_threads=_threads(config)), ""
    except NotHereError as reason:
        return None, str(reason)


def _gpu_hours(config: StudyConfig, planned: Plan, warmup: Warmup | None) -> tuple[GpuHours, ...]:
    """By kind of GPU: what was measured here and before, else estimates; nothing for a study of hours."""
    images = planned.images_left
    if not images:
        return ()
    own = []
    if warmup is not None and warmup.accelerated:
        row = gpu_hours.row_of(config, warmup, images, planned.prompts_left)
        own = [gpu_hours.of_row(row, images)]
        if config.plan.warmups is not None:
            gpu_hours.keep(config, row)
    before = gpu_hours.measured(config, images)
    if before:
        return tuple(before)
    large = warmup is None or _seconds(planned, warmup) > LARGE_SECONDS
    return tuple(own or gpu_hours.estimated(config, images)) if large else ()


def _seconds(planned: Plan, warmup: Warmup) -> float:
    return warmup.seconds(images=planned.images_left, batches=planned.batches_left, prompts=planned.prompts_left)


def _threads(config: StudyConfig) -> int | None:
    """As ``generate``: those of the configuration, else of the images that are there already; ``None`` = torch's."""
    if config.trainer.threads or not (config.shard_dir / FILE).is_file():
        return config.trainer.threads
    threads = open_dataset(config.shard_dir).settings.get("trainer", {}).get("threads")
    return None if threads is None else int(threads)


def _bytes(config: StudyConfig, prompts: Sequence[Prompt], per_image: float) -> int:
    """All tars together."""
    tiles = build_grid(config, prompts).tiles_for(config.shards)
    ends = (len(tile) * per_image + _TAR_END for tile in tiles)
    return sum(-int(-end // _TAR_RECORD) * _TAR_RECORD for end in ends)


def _devices(config: StudyConfig, warmup: Warmup | None) -> int:
    """Processes on each node."""
    devices = config.trainer.devices
    if isinstance(devices, int) and devices > 0:
        return devices
    if "," in str(devices):
        return len([part for part in str(devices).split(",") if part])
    return 1 if warmup is None else warmup.devices_here


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def human_seconds(seconds: float) -> str:
    """A time in the unit that suits it: ``40 s``, ``12 min``, ``3 h 20 min``, ``5 days 3 h``."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days:,} days {hours} h"
