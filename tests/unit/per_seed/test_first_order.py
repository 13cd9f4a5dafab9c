"""Large studies: one decomposition a seed says what a decomposition a fold would have said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seedml.per_seed import first_order as module
from seedml.per_seed.balance import Cube, balanced_cube
from seedml.per_seed.first_order import EXACT, LINEAR, first_order, folds_of_cube, resampling_for
from seedml.per_seed.frechet import Reference, frechet_distances_of_samples

SEEDS, PROMPTS = 4, 15


def _study(d: int) -> tuple[Cube, Reference]:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(SEEDS, PROMPTS, d)) + 0.5 * generator.normal(size=(SEEDS, 1, d)) + 7
    seeds, prompts = (keys.ravel() for keys in np.meshgrid(np.arange(SEEDS), np.arange(PROMPTS), indexing="ij"))
    reference = Reference.of_samples(torch.from_numpy(generator.normal(size=(200, d)) + 7))
    return balanced_cube(features.reshape(-1, d).astype(np.float32), seeds, prompts), reference


@pytest.mark.parametrize("d", [5, 40])  # more images than dimensions, and fewer
def test_linear_folds_are_the_distances_without_each_prompt(d: int) -> None:
    cube, reference = _study(d)
    folds = folds_of_cube(cube, reference, np.arange(PROMPTS) % 4, LINEAR)
    everything = torch.from_numpy(cube.values)
    np.testing.assert_allclose(folds.full, frechet_distances_of_samples(everything, reference), rtol=1e-9)
    assert folds.sizes.tolist() == [1] * PROMPTS
    for prompt in range(PROMPTS):
        left = torch.from_numpy(np.delete(cube.values, prompt, axis=1))
        np.testing.assert_allclose(folds.deleted[prompt], frechet_distances_of_samples(left, reference), rtol=1e-7)


def test_both_ways_give_like_errors_and_the_same_distances() -> None:
    cube, reference = _study(5)
    blocks = np.arange(PROMPTS)  # one prompt a block: the same jackknife
    exact, linear = (folds_of_cube(cube, reference, blocks, how) for how in (EXACT, LINEAR))
    np.testing.assert_allclose(linear.full, exact.full, rtol=1e-9)
    np.testing.assert_allclose(linear.jackknife().error, exact.jackknife().error, rtol=1e-6)
    np.testing.assert_allclose(linear.jackknife().corrected, exact.jackknife().corrected, rtol=1e-6)


def test_an_interrupted_pass_goes_on_after_its_last_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cube, reference = _study(5)
    whole = first_order(cube, reference)
    original, calls = module.image_distances, []

    def interrupted(images: torch.Tensor, reference: Reference) -> np.ndarray:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return original(images, reference)

    monkeypatch.setattr(module, "image_distances", interrupted)
    with pytest.raises(KeyboardInterrupt):
        first_order(cube, reference, tmp_path)
    resumed: list[int] = []
    monkeypatch.setattr(module, "image_distances", lambda *given: (resumed.append(1), original(*given))[1])
    found = first_order(cube, reference, tmp_path)
    assert len(resumed) == SEEDS - 2
    for ours, theirs in ((found.folds, whole.folds), (found[1:], whole[1:])):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_pooled_influences_belong_to_the_gaussian_of_all_images() -> None:
    cube, reference = _study(5)
    found = first_order(cube, reference)
    everything = cube.values.reshape(-1, 5).astype(np.float64)
    step = 1e-5
    for seed, prompt in ((0, 0), (2, 7), (3, 14)):
        # the distance with one image weighed a little more, by brute force
        weights = np.full(len(everything), (1 - step) / len(everything))
        weights[seed * PROMPTS + prompt] += step
        moved = _weighted(everything, weights, reference) - _weighted(everything, weights * 0 + 1 / 60, reference)
        assert found.pooled[seed, prompt] == pytest.approx(moved / step, rel=0.02, abs=0.02)


def _weighted(x: np.ndarray, weights: np.ndarray, reference: Reference) -> float:
    mean = weights @ x
    covariance = (x - mean).T @ ((x - mean) * weights[:, None]) * len(x) / (len(x) - 1)
    gaussian = (torch.from_numpy(mean), torch.from_numpy(covariance))
    from seedml.per_seed.frechet import frechet_distances

    return float(frechet_distances(*gaussian, reference))


def test_small_studies_are_exact_and_large_ones_linear() -> None:
    def cube(seeds: int, prompts: int, d: int) -> Cube:
        none = np.empty(0, np.int64)
        return Cube(np.empty((0, d)), np.empty((seeds, prompts), np.int64), none, none, ())

    assert resampling_for("auto", cube(64, 160, 256)) == EXACT
    assert resampling_for("auto", cube(64, 160, 257)) == LINEAR
    assert resampling_for("auto", cube(1024, 10_000, 64)) == LINEAR  # 5 GB to be shuffled
    assert resampling_for("exact", cube(64, 160, 2048)) == EXACT
    assert resampling_for("linear", cube(64, 160, 64)) == LINEAR
