"""What a study will make, and how much of it is there already. Reads JSON files; touches nothing, loads no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seedml.errors import UserError
from seedml.grid import build_grid
from seedml.models.folder import model_facts
from seedml.prompts import load_prompts
from seedml.shards.dataset import FILE, open_dataset, study_settings

if TYPE_CHECKING:
    from seedml.config import StudyConfig

_BYTES_PER_PIXEL = {"png": 1.5, "webp": 0.5, "jpg": 0.6}  # decoded images; drawings need less, noise more
_BYTES_PER_SAMPLE = 4096  # tar headers, prompt, description


@dataclass(frozen=True)
class Plan:
    """A study's images in numbers."""

    name: str
    folder: str
    seeds: int
    prompts: dict[str, int]
    """Split -> prompts."""
    images: int
    images_done: int
    """In finished tiles, failed ones included."""
    tiles: int
    tiles_done: int
    size: tuple[int, int] | None
    """Height and width in pixels; ``None`` where the model is not on this machine."""
    bytes_total: int | None
    """Disk for all tiles: measured where tiles are done, else estimated; ``None`` without a size."""
    measured: bool
    """Whether ``bytes_total`` rests on finished tiles."""

    def text(self) -> str:
        """For people, one line."""
        splits = ", ".join(f"{name} {count}" for name, count in self.prompts.items())
        size = f" of {self.size[1]} × {self.size[0]} px" if self.size else ""
        about = "" if self.measured else "about "
        disk = "disk unknown" if self.bytes_total is None else f"{about}{_human(self.bytes_total)} on disk"
        return (
            f"{self.name}: {self.images:,} images{size} = {self.seeds:,} seeds × {sum(self.prompts.values()):,} prompts"
            f" ({splits}) in {self.tiles:,} shards; {self.images_done:,} done,"
            f" {self.images - self.images_done:,} to make; {disk} in {self.folder}"
        )


def plan(config: StudyConfig) -> Plan:
    """The plan of a study.

    Raises:
        UserError: the prompts cannot be had, or the folder holds images made with other settings.

    """
    prompts = load_prompts(config.prompts)
    grid = build_grid(config, prompts)
    tiles = grid.tiles_for(config.shards)
    done = {}
    if (config.shard_dir / FILE).is_file():
        dataset = open_dataset(config.shard_dir)
        settings = study_settings(config, grid, prompts)
        dataset.guard(settings, only=list(settings))
        done = dataset.markers(tiles)
    size = _size(config)
    images_done = sum(marker.cells for marker in done.values())
    if images_done:
        bytes_total: int | None = sum(marker.bytes for marker in done.values()) * grid.n_images // images_done
    else:
        bytes_total = None if size is None else int(grid.n_images * _image_bytes(size, config.shards.format))
    return Plan(
        name=config.name, folder=str(config.shard_dir), seeds=len(grid.seeds),
        prompts={split: len(ids) for split, ids in grid.splits.items()}, images=grid.n_images,
        images_done=images_done, tiles=len(tiles), tiles_done=len(done), size=size, bytes_total=bytes_total,
        measured=bool(images_done),
    )  # fmt: skip


def _image_bytes(size: tuple[int, int], image_format: str) -> float:
    return size[0] * size[1] * _BYTES_PER_PIXEL[image_format] + _BYTES_PER_SAMPLE


def _size(config: StudyConfig) -> tuple[int, int] | None:
    """Height and width of an image, from the configuration or the model's folder; never from the network."""
    if config.model.height and config.model.width:
        return config.model.height, config.model.width
    try:
        sampling = model_facts(config, download=False).sampling
    except UserError:
        return None  # `generate` will say what is wrong; a plan is wanted on machines without the model, too
    return sampling.height, sampling.width


def _human(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"
