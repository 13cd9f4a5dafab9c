"""Records and shards for tests, made without any model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seedml.grid import Cell
from seedml.shards.format import Record, encode_image
from seedml.shards.writer import ShardWriter

SIZE = 8


def pixels(cell: Cell) -> np.ndarray:
    """8 × 8 × 3 noise that differs from cell to cell."""
    return np.random.default_rng([cell.seed, cell.prompt_id]).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def record(cell: Cell, *, split: str = "train", image_format: str = "png", reason: str = "") -> Record:
    return Record(
        cell=cell, prompt=f"prompt {cell.prompt_id}: café", split=split, noise_sha256=f"{cell.seed:064x}",
        height=SIZE, width=SIZE, image=None if reason else encode_image(pixels(cell), image_format), reason=reason,
    )  # fmt: skip


def cells(seeds: int = 3, prompts: int = 4, first_seed: int = 0) -> list[Cell]:
    return [Cell(seed, prompt) for seed in range(first_seed, first_seed + seeds) for prompt in range(prompts)]


def write(folder: Path, name: str = "train-000000", *, first_seed: int = 0, failed: tuple[int, ...] = ()) -> Path:
    """A shard of 12 cells; ``failed`` are places in it."""
    with ShardWriter(folder, name, "png", "f" * 64) as writer:
        for place, cell in enumerate(cells(first_seed=first_seed)):
            writer.add(record(cell, split=name.partition("-")[0], reason="flat" if place in failed else ""))
    return folder / f"{name}.tar"
