"""What a study will make, and how much of it is there already. Reads JSON files; touches nothing, loads no model.

What it takes on this machine is measured by ``warmup.py`` and told by ``estimate.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seedml.errors import UserError
from seedml.generation.disk import human_bytes
from seedml.grid import Grid, Tile, build_grid
from seedml.models.folder import model_facts
from seedml.prompts import Prompt, load_prompts
from seedml.shards.dataset import FILE, open_dataset, settle_batch_size, study_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seedml.config import StudyConfig
    from seedml.shards.format import Marker

ASSUMED_BATCH = 32
"""Where ``sampler.batch_size`` is still to be found."""
BYTES_PER_PIXEL = {"png": 1.5, "webp": 0.5, "jpg": 0.6}  # decoded images; drawings need less, noise more
BYTES_PER_SAMPLE = 4096  # tar headers, prompt, description
_SURELY_MEASURED = 0.8
"""Shards that are to come are at least so large as those that are there."""
_SURELY_GUESSED = 0.05
"""An image takes at least so much of the guess: plain drawings take a tenth of it."""
_LEAST_PER_SAMPLE = 3 * 1024
"""Three members in a tar, a header and a block of content each."""


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
    largest_tile: tuple[int, int]
    """Seeds and prompts of the tile with most images."""
    widest_tile: int
    """Prompts of the tile with most prompts: so many text embeddings are held."""
    batches_left: int
    """Forward passes of the missing tiles."""
    prompts_left: int
    """Prompts of the missing tiles."""
    size: tuple[int, int] | None
    """Height and width in pixels; ``None`` where the model is not on this machine."""
    bytes_total: int | None
    """Disk for all tiles: measured where tiles are done, else estimated; ``None`` without a size."""
    bytes_left: int | None
    """Disk for the missing tiles, estimated likewise."""
    bytes_left_at_least: int | None
    """Less the missing tiles cannot take."""
    measured: bool
    """Whether the bytes rest on finished tiles."""

    @property
    def images_left(self) -> int:
        """Images of the missing tiles."""
        return self.images - self.images_done

    def text(self) -> str:
        """For people, one line."""
        about = "" if self.measured else "about "
        disk = "disk unknown" if self.bytes_total is None else f"{about}{human_bytes(self.bytes_total)} on disk"
        return (
            f"{self.name}: {self.grid_text()} in {self.tiles:,} shards; {self.images_done:,} done,"
            f" {self.images_left:,} to make; {disk} in {self.folder}"
        )

    def grid_text(self) -> str:
        """How many images of what size, and why."""
        splits = ", ".join(f"{name} {count}" for name, count in self.prompts.items())
        size = f" of {self.size[1]} × {self.size[0]} px" if self.size else ""
        prompts = f"{sum(self.prompts.values()):,} prompts ({splits})"
        return f"{self.images:,} images{size} = {self.seeds:,} seeds × {prompts}"


def plan(config: StudyConfig, prompts: Sequence[Prompt] | None = None) -> Plan:
    """The plan of a study.

    Args:
        config: the study.
        prompts: its prompts; default those of the configuration.

    Raises:
        UserError: the prompts cannot be had, or the folder holds images made with other settings.

    """
    prompts = load_prompts(config.prompts) if prompts is None else prompts
    grid = build_grid(config, prompts)
    tiles = grid.tiles_for(config.shards)
    settle_batch_size(config)
    done = _done(config, grid, prompts, tiles)
    missing = [tile for tile in tiles if tile not in done]
    size = _size(config)
    largest = max(tiles, key=len)
    return Plan(
        name=config.name, folder=str(config.shard_dir), seeds=len(grid.seeds),
        prompts={split: len(ids) for split, ids in grid.splits.items()}, images=grid.n_images,
        images_done=sum(map(len, done)), tiles=len(tiles), tiles_done=len(done),
        largest_tile=(len(largest.seeds), len(largest.prompt_ids)),
        widest_tile=max(len(tile.prompt_ids) for tile in tiles),
        batches_left=sum(-(-len(tile) // (config.sampler.batch_size or ASSUMED_BATCH)) for tile in missing),
        prompts_left=len({prompt_id for tile in missing for prompt_id in tile.prompt_ids}),
        size=size, measured=bool(done), **_bytes(config, list(done.values()), missing, size),
    )  # fmt: skip


def _done(config: StudyConfig, grid: Grid, prompts: Sequence[Prompt], tiles: Sequence[Tile]) -> dict[Tile, Marker]:
    if not (config.shard_dir / FILE).is_file():
        return {}
    dataset = open_dataset(config.shard_dir)
    settings = study_settings(config, grid, prompts)
    dataset.guard(settings, only=list(settings))
    return dataset.markers(tiles)


def _bytes(
    config: StudyConfig, done: Sequence[Marker], missing: Sequence[Tile], size: tuple[int, int] | None
) -> dict[str, int | None]:
    """Disk in total, for what is missing, and at least for what is missing."""
    images, left = sum(marker.cells for marker in done), sum(map(len, missing))
    there = sum(marker.bytes for marker in done)
    if images:
        to_come = there * left // images
        return {
            "bytes_total": there + to_come, "bytes_left": to_come,
            "bytes_left_at_least": int(to_come * _SURELY_MEASURED),
        }  # fmt: skip
    if size is None:
        return dict.fromkeys(("bytes_total", "bytes_left", "bytes_left_at_least"))
    image = size[0] * size[1] * BYTES_PER_PIXEL[config.shards.format]
    guess = int(left * (image + BYTES_PER_SAMPLE))
    at_least = int(left * (image * _SURELY_GUESSED + _LEAST_PER_SAMPLE))
    return {"bytes_total": guess, "bytes_left": guess, "bytes_left_at_least": at_least}


def _size(config: StudyConfig) -> tuple[int, int] | None:
    """Height and width of an image, from the configuration or the model's folder; never from the network."""
    if config.model.height and config.model.width:
        return config.model.height, config.model.width
    try:
        sampling = model_facts(config, download=False).sampling
    except UserError:
        return None  # `generate` will say what is wrong; a plan is wanted on machines without the model, too
    return sampling.height, sampling.width
