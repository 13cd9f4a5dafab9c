"""Rows of images -> a cube seeds × prompts, the same prompts for every seed.

A comparison of seeds is only fair on the same prompts, each once per seed: a prompt that one seed lacks is left out for
all. Does not know what the rows' values mean.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seedml.errors import UserError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class UnequalSamplesError(UserError):
    """Seeds would be compared on different images."""


class Cube(NamedTuple):
    """One vector a cell of a complete grid.

    Attributes:
        values: ``S × P × D``, dtype of the rows.
        seeds: ``S`` int64, ascending.
        prompt_ids: ``P`` int64, ascending: prompts that every seed has.
        dropped: prompts left out because a seed lacks them.

    """

    values: NDArray[np.floating]
    seeds: Ints
    prompt_ids: Ints
    dropped: tuple[int, ...]


def balanced_cube(rows: NDArray[np.floating], seeds: Ints, prompt_ids: Ints, expected: Ints | None = None) -> Cube:
    """Arrange rows ``N × D`` with their ``seeds`` ``N`` and ``prompt_ids`` ``N`` (any order) as a cube.

    Args:
        rows: values, one row an image.
        seeds: the row's seed.
        prompt_ids: the row's prompt.
        expected: the seeds the study has; a seed of them without any row raises.

    Raises:
        UnequalSamplesError: a cell occurs twice, a seed has no row, or fewer than two prompts are left.

    """
    seed_list, seed_index = np.unique(seeds, return_inverse=True)
    prompt_list, prompt_index = np.unique(prompt_ids, return_inverse=True)
    missing = np.setdiff1d(expected, seed_list) if expected is not None else np.empty(0, np.int64)
    if len(missing):
        raise UnequalSamplesError(
            f"{len(missing)} seeds have no image, the first is {missing[0]}",
            remedy="make the images again (repair=true), or leave these seeds out",
        )
    position = np.full((len(seed_list), len(prompt_list)), -1, dtype=np.int64)
    position[seed_index, prompt_index] = np.arange(len(rows))
    if (position >= 0).sum() != len(rows):
        raise UnequalSamplesError(
            "an image (seed, prompt) occurs twice", remedy="delete the run's folder and measure again"
        )
    complete = (position >= 0).all(axis=0)
    if complete.sum() < 2:
        raise UnequalSamplesError(
            f"only {int(complete.sum())} of {len(prompt_list)} prompts have an image of every seed",
            legal="two or more",
            remedy="make the missing images again (repair=true), or leave out the seeds that lack most",
        )
    dropped = tuple(int(p) for p in prompt_list[~complete])
    return Cube(rows[position[:, complete]], seed_list, prompt_list[complete], dropped)


def table(column: Floats, seeds: Ints, prompt_ids: Ints, seed_list: Ints, prompt_list: Ints) -> Floats:
    """One column ``N`` as a table ``S × P`` of the given seeds and prompts (ascending); NaN where there is no row."""
    values = np.full((len(seed_list), len(prompt_list)), np.nan)
    inside = np.isin(seeds, seed_list) & np.isin(prompt_ids, prompt_list)
    rows, columns = np.searchsorted(seed_list, seeds[inside]), np.searchsorted(prompt_list, prompt_ids[inside])
    values[rows, columns] = column[inside]
    return values


def complete_prompts(table: Floats) -> Floats:
    """The prompts of a table ``S × P`` (or ``S × P × C``) at which no seed has NaN: ``S × P' [× C]``."""
    axes = (0,) if table.ndim == 2 else (0, 2)
    return table[:, ~np.isnan(table).any(axis=axes)]


def prompt_blocks(n_prompts: int, blocks: int) -> Ints:
    """The block of each prompt, ``n_prompts`` int64 in 0 … blocks − 1: sizes that differ by one at most.

    Neighbours go to different blocks, so that a set that is sorted by topic gives blocks that are alike.
    """
    return np.arange(n_prompts, dtype=np.int64) % min(blocks, n_prompts)


def require_equal_samples(counts: Ints) -> int:
    """The number of images that every seed has.

    Raises:
        UnequalSamplesError: they differ, so that distances differ by their sample-size bias alone.

    """
    low, high = int(np.min(counts)), int(np.max(counts))
    if low != high:
        raise UnequalSamplesError(
            f"seeds have between {low} and {high} images: a Fréchet distance falls with n, they cannot be compared",
            remedy="keep the prompts that every seed has (seedml.per_seed.balance.balanced_cube)",
        )
    return low
