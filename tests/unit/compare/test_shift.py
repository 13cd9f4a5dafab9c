"""Mean differences with limits for other seeds and prompts: exact where they can be, and right as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from seedml.compare.shift import paired_shift, unpaired_shift

SEEDS, PROMPTS, REPEATS = 12, 30, 400


def drawn(random: np.random.Generator, seeds: float, prompts: float, cells: float, columns: int = PROMPTS):
    """A table of seed effects + prompt effects + noise with these standard deviations."""
    table = random.normal(size=(SEEDS, 1)) * seeds + random.normal(size=(1, columns)) * prompts
    return table + random.normal(size=(SEEDS, columns)) * cells


def test_what_both_studies_share_cancels() -> None:
    random = np.random.default_rng(0)
    first = drawn(random, 1, 1, 1)
    moved = paired_shift(first, first + 0.25)
    assert moved[:4] == pytest.approx((0.25, 0.25, 0.25, 0.0))
    still = paired_shift(first, first)
    assert (still.value, still.low, still.high, still.p, still.cells) == (0, 0, 0, 1, SEEDS * PROMPTS)


def test_without_shared_effects_it_is_the_usual_test() -> None:
    """Noise alone: the variance is that of independent cells, up to what one table tells of it."""
    random = np.random.default_rng(1)
    difference = random.normal(size=(60, 80))
    found = paired_shift(np.zeros_like(difference), difference)
    width = (found.high - found.low) / 2
    assert width == pytest.approx(2.0 * difference.std() / difference.size**0.5, rel=0.25)


@pytest.mark.parametrize(("seeds", "prompts", "cells"), [(0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1), (0.3, 0.3, 1)])
def test_paired_limits_cover_as_often_as_they_say(seeds: float, prompts: float, cells: float) -> None:
    random = np.random.default_rng(2)
    covered = 0
    for _ in range(REPEATS):
        found = paired_shift(np.zeros((SEEDS, PROMPTS)), 0.5 + drawn(random, seeds, prompts, cells))
        covered += found.low <= 0.5 <= found.high
    assert 0.91 <= covered / REPEATS <= 0.995


def test_unpaired_limits_cover_although_prompts_differ() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(REPEATS):
        shared = random.normal(size=(SEEDS, 1))  # a seed does the same in both: it must not widen the limits
        first = shared + drawn(random, 0.3, 0.5, 1)
        second = shared + 0.5 + drawn(random, 0.3, 0.5, 1, columns=20)
        found = unpaired_shift(first, second)
        covered += found.low <= 0.5 <= found.high
    assert 0.91 <= covered / REPEATS <= 0.995


def test_missing_cells_count_in_neither() -> None:
    first, second = np.zeros((4, 5)), np.ones((4, 5))
    first[1, 2], second[1, 2] = 100.0, np.nan
    found = paired_shift(first, second)
    assert (found.value, found.cells) == (1.0, 19)


def test_too_little_to_tell_gives_no_limits() -> None:
    found = paired_shift(np.zeros((4, 1)), np.ones((4, 1)))
    assert found.value == 1
    assert np.isnan([found.low, found.high, found.p]).all()
