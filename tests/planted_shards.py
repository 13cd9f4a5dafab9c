"""Real shards of a study whose pictures a test draws itself: no model, and the truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from seedml.config import StudyConfig
from seedml.grid import build_grid
from seedml.prompts import load_prompts
from seedml.shards.dataset import ShardDataset, study_settings
from seedml.shards.format import Record, encode_image
from seedml.shards.writer import ShardWriter

Draw = Callable[[int, int], NDArray[np.uint8] | None]
"""(seed, prompt_id) -> H × W × 3 uint8, or ``None`` for an image that failed."""


def plant_shards(config: StudyConfig, draw: Draw, digest: Callable[[int], str] = lambda seed: "0" * 64) -> ShardDataset:
    """Write the study's shards with the pictures that ``draw`` makes; ``digest``: a seed's recorded noise."""
    prompts = load_prompts(config.prompts)
    grid = build_grid(config, prompts)
    texts = {prompt.prompt_id: prompt for prompt in prompts}
    dataset = ShardDataset(config.shard_dir, study_settings(config, grid, prompts), {"height": 0, "width": 0}, texts)
    config.shard_dir.mkdir(parents=True, exist_ok=True)
    dataset.save(config)
    for tile in grid.tiles_for(config.shards):
        with ShardWriter(dataset.folder, tile.name, dataset.image_format, dataset.fingerprint) as writer:
            for cell in tile.cells():
                pixels = draw(cell.seed, cell.prompt_id)
                encoded = None if pixels is None else encode_image(pixels, dataset.image_format)
                height, width = (0, 0) if pixels is None else pixels.shape[:2]
                text, split = texts[cell.prompt_id].text, texts[cell.prompt_id].split
                reason = "planted failure" if encoded is None else ""
                writer.add(Record(cell, text, split, digest(cell.seed), height, width, encoded, reason))
    return dataset


def planted_picture(seed: int, prompt_id: int, side: int = 24) -> NDArray[np.uint8]:
    """A smooth layout that belongs to the seed, under an object and a tint that belong to the prompt, and noise."""
    own, prompted = np.random.default_rng([1, seed]), np.random.default_rng([2, prompt_id])
    y, x = np.mgrid[:side, :side] / side
    waves = [own.normal(size=3) * np.sin(2 * np.pi * (own.uniform(0.5, 2) * x + own.uniform(0.5, 2) * y
             + own.uniform()))[..., None] for _ in range(3)]  # fmt: skip
    picture = 128 + 30 * sum(waves) + 20 * prompted.normal(size=3)
    left, top = prompted.integers(0, side // 2, 2)
    picture[top : top + side // 4, left : left + side // 4] = prompted.uniform(0, 255, 3)
    picture = picture + np.random.default_rng([3, seed, prompt_id]).normal(size=picture.shape) * 10
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
