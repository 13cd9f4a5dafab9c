"""FID∞: Gaussians with a known distance, and each step by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seedml.errors import UserError
from seedml.per_seed.extrapolation import extrapolated_distances, subset_sizes
from seedml.per_seed.folds import deviations
from seedml.per_seed.frechet import Reference, frechet_distances_of_samples

D = 6


def _known(seeds: int, n: int, shift: float = 1.0) -> tuple[torch.Tensor, Reference, float]:
    """Sets from N(shift, diag(scale²)), the reference N(0, 1) itself, and their true distance."""
    rng = np.random.default_rng(0)
    scale = np.linspace(0.7, 1.4, D)
    features = torch.from_numpy(rng.normal(size=(seeds, n, D)) * scale + shift)
    reference = Reference.of_gaussian(torch.zeros(D), torch.eye(D), 10**9)
    return features, reference, float(D * shift**2 + ((scale - 1) ** 2).sum())


def test_the_limit_is_the_true_distance_where_the_distance_itself_is_not() -> None:
    features, reference, truth = _known(400, 100)
    found = extrapolated_distances(features, reference, subset_sizes(100), np.random.default_rng(1))
    assert found.sizes.tolist() == [100, 50, 33, 25]
    error = found.limit.std() / 400**0.5
    assert abs(found.limit.mean() - truth) < 3 * error
    assert found.distances[0].mean() - truth > 6 * error
    assert found.slope.mean() == pytest.approx((found.distances[0].mean() - truth) * 100, rel=0.25)


def test_its_error_is_the_spread_of_repeated_studies() -> None:
    features, reference, _ = _known(400, 100)
    found = extrapolated_distances(features, reference, subset_sizes(100), np.random.default_rng(1))
    errors = found.folds().jackknife().error
    assert np.sqrt((errors**2).mean()) == pytest.approx(found.limit.std(), rel=0.15)


def test_points_are_means_over_disjoint_subsets_and_the_line_is_least_squares() -> None:
    features, reference, _ = _known(3, 43)
    sizes = np.array([43, 20, 12])
    found = extrapolated_distances(features, reference, sizes, np.random.default_rng(5))
    again = np.random.default_rng(5)
    for k, size in enumerate(sizes):
        order = again.permutation(43)
        parts = [order[i * size : (i + 1) * size] for i in range(43 // size)]
        expected = torch.stack([frechet_distances_of_samples(features[:, part], reference) for part in parts]).mean(0)
        np.testing.assert_allclose(found.distances[k], expected, rtol=1e-9)
    for s in range(3):
        slope, limit = np.polyfit(1 / sizes, found.distances[:, s], 1)
        assert found.limit[s] == pytest.approx(limit, rel=1e-9)
        assert found.slope[s] == pytest.approx(slope, rel=1e-9)


def test_influences_are_the_derivative_of_the_limit() -> None:
    """A prompt that is moved along a line moves the limit as the influences' own change says: they are consistent."""
    features, reference, _ = _known(2, 30)
    sizes = np.array([30, 15, 10])
    found = extrapolated_distances(features, reference, sizes, np.random.default_rng(2))
    np.testing.assert_allclose(found.influences.sum(1), 0, atol=1e-9 * np.abs(found.influences).max())
    line = np.linalg.pinv(np.stack([np.ones(3), 1 / sizes], 1))[0]
    for prompt in (0, 7, 29):
        kept = np.delete(np.arange(30), prompt)
        change, again = 0.0, np.random.default_rng(2)
        for k, size in enumerate(sizes):
            parts = again.permutation(30).reshape(-1, size)
            for part in parts[(parts == prompt).any(1)]:
                before, after = (
                    float(frechet_distances_of_samples(features[0, torch.from_numpy(p)], reference))
                    for p in (part, np.intersect1d(part, kept))
                )
                change += line[k] * (after - before) / len(parts)
        # first order against the true deletion: the bias of the smaller subsets is what differs
        assert -found.influences[0, prompt] / 29 == pytest.approx(
            change, abs=0.35 * np.abs(found.influences[0]).max() / 29
        )


def test_it_follows_from_its_generator_and_seeds_stay_paired() -> None:
    features, reference, _ = _known(4, 40)
    first, again, other = (
        extrapolated_distances(features, reference, subset_sizes(40), np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert (first.limit == again.limit).all()
    assert (first.limit != other.limit).all()
    twins = features[:1].expand(3, -1, -1) + torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)[:, None, None]
    paired = extrapolated_distances(twins, reference, subset_sizes(40), np.random.default_rng(3)).folds()
    own, against = paired.jackknife().error, paired.jackknife(deviations).error
    assert against[1] < 1e-6 * own[1]  # the middle twin's distance moves with the mean of the three


@pytest.mark.parametrize("sizes", [[40], [40, 40], [41, 20], [40, 1]])
def test_sizes_that_give_no_line_are_refused(sizes: list[int]) -> None:
    features, reference, _ = _known(2, 40)
    with pytest.raises(UserError, match=r"given: \[.*legal: two different numbers or more, from 2 to 40"):
        extrapolated_distances(features, reference, np.array(sizes), np.random.default_rng(0))
