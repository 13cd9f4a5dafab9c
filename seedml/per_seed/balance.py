"""Rows of images -> a cube seeds × prompts, the same prompts for every seed.

A comparison of seeds is only fair on the same prompts, each once per seed: a prompt that one seed lacks is left out for
all. Does not know what the rows' values mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seedml.errors import UserError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_CHUNK = 1 << 28
"""Bytes that are read ahead where a file is not in the order it is wanted."""


class UnequalSamplesError(UserError):
    """Seeds would be compared on different images."""


@dataclass(frozen=True)
class Cube:
    """One vector a cell of a complete grid, left where it is stored: a large study's vectors exceed main memory.

    Attributes:
        rows: ``N × D``, an array or a memory map of a file.
        position: ``S × P`` int64, the row of each cell.
        seeds: ``S`` int64, ascending.
        prompt_ids: ``P`` int64, ascending: prompts that every seed has.
        dropped: prompts left out because a seed lacks them.

    """

    rows: NDArray[np.floating]
    position: Ints
    seeds: Ints
    prompt_ids: Ints
    dropped: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Seeds, prompts, dimensions."""
        return (*self.position.shape, self.rows.shape[1])

    @property
    def values(self) -> NDArray[np.floating]:
        """All of it in memory, ``S × P × D``, dtype of the rows: for small studies."""
        values: NDArray[np.floating] = np.asarray(self.rows)[self.position]
        return values

    def of_seed(self, index: int) -> NDArray[np.floating]:
        """One seed's vectors, ``P × D``, read from the file where there is one."""
        position = self.position[index]
        first = int(position.min())
        vectors: NDArray[np.floating] = read_rows(self.rows, first, int(position.max()) + 1)[position - first]
        return vectors

    def by_seed(self) -> Iterator[NDArray[np.floating]]:
        """One ``P × D`` after another."""
        return (self.of_seed(index) for index in range(len(self.seeds)))

    def by_prompt(self, size: int = _CHUNK) -> Iterator[NDArray[np.floating]]:
        """All seeds' vectors of one prompt after another: ``S × D``; ``size`` bytes are read ahead."""
        seeds, prompts, dimension = self.shape
        step = max(1, size // (seeds * dimension * self.rows.itemsize))
        for start in range(0, prompts, step):
            some = replace(self, position=self.position[:, start : start + step])
            yield from np.stack(list(some.by_seed()), axis=1)


def read_rows(rows: NDArray[np.floating], start: int, stop: int) -> NDArray[np.floating]:
    """A copy of some rows of ``N × D``.

    Of a memory map they are read from its file: pages that a map once showed count as this process's memory for long.
    """
    if not isinstance(rows, np.memmap) or rows.filename is None:
        return np.array(rows[start:stop])
    width = rows.shape[1]
    offset = rows.offset + start * width * rows.itemsize
    return np.fromfile(rows.filename, rows.dtype, (stop - start) * width, offset=offset).reshape(-1, width)


def balanced_cube(
    rows: NDArray[np.floating], seeds: Ints, prompt_ids: Ints, expected: Ints | None = None, among: Ints | None = None
) -> Cube:
    """Arrange rows ``N × D`` with their ``seeds`` ``N`` and ``prompt_ids`` ``N`` (any order) as a cube.

    Args:
        rows: values, one row an image; none is copied.
        seeds: the row's seed.
        prompt_ids: the row's prompt.
        expected: the seeds the study has; a seed of them without any row raises.
        among: prompts to consider; ``None`` = all.

    Raises:
        UnequalSamplesError: a cell occurs twice, a seed has no row, or fewer than two prompts are left.

    """
    kept = np.arange(len(rows)) if among is None else np.flatnonzero(np.isin(prompt_ids, among))
    seed_list, seed_index = np.unique(seeds[kept], return_inverse=True)
    prompt_list, prompt_index = np.unique(prompt_ids[kept], return_inverse=True)
    missing = np.setdiff1d(expected, seed_list) if expected is not None else np.empty(0, np.int64)
    if len(missing):
        raise UnequalSamplesError(
            f"{len(missing)} seeds have no image, the first is {missing[0]}",
            remedy="make the images again (repair=true), or leave these seeds out",
        )
    position = np.full((len(seed_list), len(prompt_list)), -1, dtype=np.int64)
    position[seed_index, prompt_index] = kept
    if (position >= 0).sum() != len(kept):
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
    return Cube(rows, position if complete.all() else position[:, complete], seed_list, prompt_list[complete], dropped)


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
