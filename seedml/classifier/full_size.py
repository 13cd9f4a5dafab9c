"""Which pictures the controls read at their full size, and reading them. Knows no network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from seedml.shards.reader import Sample, read_chosen

MOST_IMAGES = 8192
"""That a control reads, at most: with all of them right, the lower limit of the share is 0.9995."""


def some_prompts(prompt_ids: Iterable[int], n_seeds: int, most: int = MOST_IMAGES, seed: int = 0) -> frozenset[int]:
    """All of these prompts, or as many, drawn at random, as make at most ``most`` images with every seed; at least one.

    Args:
        prompt_ids: to choose from.
        n_seeds: images of each prompt.
        most: images.
        seed: of the draw.

    """
    every = np.unique(list(prompt_ids))
    count = max(1, min(len(every), most // n_seeds))
    return frozenset(np.random.default_rng(seed).permutation(every)[:count].tolist())


def chosen_samples(shards: Iterable[Path], prompt_ids: frozenset[int], seeds: frozenset[int]) -> Iterator[Sample]:
    """The shards' samples of these prompts and seeds, in the shards' order; of the tars nothing else is read.

    Raises:
        UserError: a shard is damaged.

    """
    for shard in shards:
        yield from read_chosen(shard, prompt_ids, seeds)
