"""The grid of a study: cells, splits, tiles and batches. Integers only, no torch.

The order of seeds, prompts, tiles, cells and batches follows from the configuration alone, never from process,
device or what is done already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from seedml.config import SPLITS, TARGET_IMAGES, ShardsConfig, StudyConfig
from seedml.prompts import Prompt


class Cell(NamedTuple):
    """One (seed, prompt_id): one image."""

    seed: int
    prompt_id: int

    @property
    def key(self) -> str:
        """The sample's key in its shard."""
        return f"s{self.seed:010d}_p{self.prompt_id:07d}"


@dataclass(frozen=True)
class Tile:
    """A block of seeds × a block of prompts of one split: one shard, the unit of work, failure and restart."""

    split: str
    index: int
    """Its number within its split, from 0."""
    seeds: tuple[int, ...]
    prompt_ids: tuple[int, ...]

    @property
    def name(self) -> str:
        """The shard's file name without its ending."""
        return f"{self.split}-{self.index:06d}"

    def __len__(self) -> int:
        return len(self.seeds) * len(self.prompt_ids)

    def cells(self) -> list[Cell]:
        """All cells, sorted by (seed, prompt_id)."""
        return [Cell(seed, prompt_id) for seed in sorted(self.seeds) for prompt_id in sorted(self.prompt_ids)]


@dataclass(frozen=True)
class Grid:
    """All cells of a study: seeds × prompts."""

    seeds: tuple[int, ...]
    """Ascending."""
    splits: Mapping[str, tuple[int, ...]]
    """Split -> its prompt_ids, ascending."""

    @property
    def n_prompts(self) -> int:
        """Prompts of all splits."""
        return sum(map(len, self.splits.values()))

    @property
    def n_images(self) -> int:
        """Cells of the grid."""
        return len(self.seeds) * self.n_prompts

    def tiles(self, tile_seeds: int, tile_prompts: int) -> list[Tile]:
        """The grid in tiles of at most ``tile_seeds`` × ``tile_prompts``, numbered within each split.

        Blocks are of nearly equal size (10 seeds in blocks of at most 4 are 4, 3, 3). Prompts are the outer loop.
        """
        return [
            Tile(split, index, seeds, prompt_ids)
            for split, all_ids in self.splits.items()
            for index, (prompt_ids, seeds) in enumerate(
                (prompt_ids, seeds)
                for prompt_ids in _blocks(all_ids, tile_prompts)
                for seeds in _blocks(self.seeds, tile_seeds)
            )
        ]

    def tiles_for(self, shards: ShardsConfig) -> list[Tile]:
        """:meth:`tiles` of the size that the configuration asks for, about ``target_images`` each by default."""
        return self.tiles(*self.tile_shape(shards))

    def tile_shape(self, shards: ShardsConfig) -> tuple[int, int]:
        """Most seeds and most prompts in a tile. By default all seeds and as many prompts as fit."""
        target = shards.target_images or TARGET_IMAGES
        prompts = shards.tile_prompts
        seeds = shards.tile_seeds or min(len(self.seeds), max(1, target // prompts) if prompts else target)
        return seeds, prompts or max(1, target // seeds)


def _blocks(items: Sequence[int], most: int) -> Iterator[tuple[int, ...]]:
    """``items`` in the fewest consecutive blocks of at most ``most``, their sizes at most one apart."""
    assert most >= 1, "a block holds at least one item"
    count = -(-len(items) // most)
    small, larger = divmod(len(items), count) if count else (0, 0)
    start = 0
    for block in range(count):
        stop = start + small + (block < larger)
        yield tuple(items[start:stop])
        start = stop


def build_grid(config: StudyConfig, prompts: Sequence[Prompt]) -> Grid:
    """The grid of a study; splits in the order train, val, test, those without prompts left out."""
    splits = {name: tuple(sorted(p.prompt_id for p in prompts if p.split == name)) for name in SPLITS}
    return Grid(config.seed_list, {name: ids for name, ids in splits.items() if ids})
