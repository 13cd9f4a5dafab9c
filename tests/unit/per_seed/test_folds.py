from __future__ import annotations

import numpy as np
import pytest
import torch

from seedml.per_seed.balance import UnequalSamplesError, prompt_blocks
from seedml.per_seed.folds import block_moments, deviations, fold_distances, half_distances
from seedml.per_seed.frechet import Reference, frechet_distances_of_samples
from seedml.per_seed.intervals import jackknife_of


def _study(seeds: int = 3, prompts: int = 26, d: int = 6) -> tuple[torch.Tensor, Reference]:
    generator = np.random.default_rng(0)
    shift = generator.normal(size=(seeds, 1, d)) * 0.5
    features = torch.from_numpy(generator.normal(size=(seeds, prompts, d)) + shift + 40)
    return features, Reference.of_samples(torch.from_numpy(generator.normal(size=(300, d)) + 40))


def test_folds_are_the_distances_of_the_images_that_are_left() -> None:
    features, reference = _study()
    blocks = prompt_blocks(26, 4)
    folds = fold_distances(block_moments(features, blocks, reference.mean), reference)
    assert folds.sizes.tolist() == [7, 7, 6, 6]
    assert folds.n == 26
    np.testing.assert_allclose(folds.full, frechet_distances_of_samples(features, reference), rtol=1e-10)
    for block in range(4):
        left = features[:, torch.from_numpy(blocks != block)]
        np.testing.assert_allclose(folds.deleted[block], frechet_distances_of_samples(left, reference), rtol=1e-9)


def test_the_jackknife_of_any_statistic_is_the_brute_force_one() -> None:
    features, reference = _study()
    blocks = prompt_blocks(26, 5)
    folds = fold_distances(block_moments(features, blocks, reference.mean), reference)

    def brute(prompts: np.ndarray) -> np.ndarray:
        return deviations(frechet_distances_of_samples(features[:, torch.from_numpy(prompts)], reference).numpy())

    ours, theirs = folds.jackknife(deviations), jackknife_of(brute, blocks)
    for name in ("value", "corrected", "error"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-7)
    assert ours.freedom == theirs.freedom == 4


def test_halves_are_the_distances_of_the_halves() -> None:
    features, reference = _study(prompts=24)
    blocks = prompt_blocks(24, 4)
    splits = np.array([[0, 0, 1, 1], [1, 0, 1, 0]])
    halves = half_distances(block_moments(features, blocks, reference.mean), splits, reference)
    for k, split in enumerate(splits):
        for side in (0, 1):
            chosen = features[:, torch.from_numpy(split[blocks] == side)]
            np.testing.assert_allclose(halves[side][k], frechet_distances_of_samples(chosen, reference), rtol=1e-9)


def test_too_few_prompts_have_a_distance_but_no_limits() -> None:
    features, reference = _study(prompts=2)
    folds = fold_distances(block_moments(features, prompt_blocks(2, 16), reference.mean), reference)
    assert np.isfinite(folds.full).all()
    assert np.isnan(folds.intervals(0.95).low).all()
    assert np.isnan(folds.jackknife(deviations).p_value()).all()


def test_limits_are_never_below_zero() -> None:
    features, reference = _study(seeds=20, prompts=8)
    folds = fold_distances(block_moments(features, prompt_blocks(8, 4), reference.mean), reference)
    assert (folds.jackknife().interval(0.999).low < 0).any()
    assert (folds.intervals(0.999).low >= 0).all()


def test_unequal_numbers_of_images_are_refused() -> None:
    features, reference = _study()
    moments = block_moments(features, prompt_blocks(26, 4), reference.mean)
    moments.count[1, 2] -= 1
    with pytest.raises(UnequalSamplesError, match="cannot be compared"):
        fold_distances(moments, reference)
