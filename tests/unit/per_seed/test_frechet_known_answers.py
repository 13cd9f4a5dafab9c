"""Known answers. Agreement with other libraries is in tests/reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seedml.per_seed.frechet import (
    Reference,
    frechet_distances,
    frechet_distances_of_samples,
    symmetric_root,
)
from seedml.per_seed.moments import Moments


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def _gaussian(d: int, rank: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    factor = _normal(d, rank, seed=seed)
    return _normal(d, seed=seed + 100), factor @ factor.mT


def test_two_gaussians_in_one_dimension() -> None:
    reference = Reference.of_gaussian(torch.tensor([1.0]), torch.tensor([[4.0]]), 10)
    means = torch.tensor([[1.0], [3.0], [1.0], [-2.0]], dtype=torch.float64)
    covariances = torch.tensor([4.0, 4.0, 9.0, 0.0], dtype=torch.float64)[:, None, None]
    # (m − m')² + (s − s')²
    expected = torch.tensor([0.0, 4.0, 1.0, 9.0 + 4.0], dtype=torch.float64)
    torch.testing.assert_close(frechet_distances(means, covariances, reference), expected, rtol=1e-12, atol=1e-12)


def test_axes_of_a_diagonal_covariance_add_up() -> None:
    ours, theirs = _normal(9, seed=1).abs() + 0.1, _normal(9, seed=2).abs() + 0.1
    reference = Reference.of_gaussian(torch.zeros(9), torch.diag(theirs**2), 10)
    distance = frechet_distances(torch.zeros(9, dtype=torch.float64), torch.diag(ours**2), reference)
    torch.testing.assert_close(distance, ((ours - theirs) ** 2).sum(), rtol=1e-11, atol=0)


@pytest.mark.parametrize(("n", "d"), [(500, 16), (20, 64), (64, 64), (3, 200)])
def test_a_set_has_no_distance_from_itself(n: int, d: int) -> None:
    x = _normal(n, d) * torch.logspace(-3, 2, d)
    reference = Reference.of_samples(x)
    assert float(frechet_distances_of_samples(x, reference)) == 0
    centred = x - x.mean(0)
    full = frechet_distances(x.mean(0), centred.mT @ centred / (n - 1), reference)
    assert float(full) == 0


@pytest.mark.parametrize(("n", "d"), [(300, 12), (12, 60)])
def test_a_shift_costs_its_squared_length(n: int, d: int) -> None:
    x, shift = _normal(n, d), _normal(d, seed=3)
    distance = frechet_distances_of_samples(x + shift, Reference.of_samples(x))
    torch.testing.assert_close(distance, shift.square().sum(), rtol=1e-8, atol=1e-8)


def test_a_scaled_copy_costs_the_squared_difference_of_its_deviations() -> None:
    x = _normal(80, 10)
    x = x - x.mean(0)
    reference = Reference.of_samples(x)
    for factor in (0.0, 0.5, 3.0):
        distance = frechet_distances_of_samples(factor * x, reference)
        torch.testing.assert_close(
            distance, torch.tensor((factor - 1) ** 2 * reference.trace, dtype=torch.float64), rtol=1e-7, atol=0
        )


def test_it_does_not_matter_which_of_two_is_the_reference() -> None:
    for ranks in ((20, 20), (5, 20), (5, 3)):
        (m1, c1), (m2, c2) = (_gaussian(20, rank, seed=rank) for rank in ranks)
        there = frechet_distances(m1, c1, Reference.of_gaussian(m2, c2, 9))
        back = frechet_distances(m2, c2, Reference.of_gaussian(m1, c1, 9))
        torch.testing.assert_close(there, back, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("n", [5, 20, 39])
def test_fewer_images_than_dimensions_give_what_the_full_matrix_gives(n: int) -> None:
    x, reference = _normal(3, n, 40, seed=4) + 0.3, Reference.of_samples(_normal(400, 40, seed=5))
    thin = frechet_distances_of_samples(x, reference)
    centred = x - x.mean(1, keepdim=True)
    full = frechet_distances(x.mean(1), centred.mT @ centred / (n - 1), reference)
    torch.testing.assert_close(thin, full, rtol=1e-7, atol=0)


def test_every_row_of_a_batch_is_what_it_is_alone() -> None:
    x, reference = _normal(6, 50, 8, seed=6), Reference.of_samples(_normal(300, 8, seed=7))
    together = frechet_distances_of_samples(x, reference)
    alone = torch.stack([frechet_distances_of_samples(row, reference) for row in x])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    assert len(set(together.tolist())) == 6


def test_dead_features_cost_nothing_and_break_nothing() -> None:
    x, y = _normal(50, 6, seed=8), _normal(70, 6, seed=9)
    dead = torch.zeros(1, 4, dtype=torch.float64)
    alive = frechet_distances_of_samples(x, Reference.of_samples(y))
    padded = frechet_distances_of_samples(
        torch.cat([x, dead.expand(50, -1)], 1), Reference.of_samples(torch.cat([y, dead.expand(70, -1)], 1))
    )
    torch.testing.assert_close(padded, alive, rtol=1e-9, atol=1e-9)


def test_a_root_squared_is_the_covariance() -> None:
    _, covariance = _gaussian(12, 7, seed=10)
    root = symmetric_root(covariance)
    torch.testing.assert_close(root @ root, covariance, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(root, root.mT, rtol=0, atol=1e-12)


def test_what_is_no_covariance_raises() -> None:
    reference = Reference.of_samples(_normal(50, 3))
    indefinite = torch.diag(torch.tensor([1.0, 1.0, -0.01], dtype=torch.float64))
    with pytest.raises(ArithmeticError, match=r"-0\.0"):
        frechet_distances(torch.zeros(3, dtype=torch.float64), indefinite, reference)
    with pytest.raises(ArithmeticError, match="positive semidefinite"):
        symmetric_root(indefinite)
    rounding = torch.diag(torch.tensor([1.0, 1.0, -1e-16], dtype=torch.float64))
    assert torch.isfinite(symmetric_root(rounding)).all()


def test_not_a_number_raises_and_does_not_become_a_distance() -> None:
    x = _normal(50, 3)
    x[7, 1] = torch.nan
    with pytest.raises((ArithmeticError, RuntimeError)):
        frechet_distances_of_samples(x, Reference.of_samples(_normal(50, 3)))
    with pytest.raises(ValueError, match="two images or more, given: 1"):
        frechet_distances_of_samples(_normal(1, 3), Reference.of_samples(_normal(50, 3)))


def test_a_tight_cluster_far_from_the_reference_is_its_squared_offset_away() -> None:
    """Sums about the reference's mean keep few digits of such a covariance; that must neither raise nor show."""
    rng = np.random.default_rng(0)
    reference = Reference.of_samples(torch.from_numpy(rng.normal(size=(500, 8))))
    direction = torch.from_numpy(rng.normal(size=8))
    for offset, width in ((1e3, 1e-4), (1e4, 1e-6), (1e5, 0.0)):
        cluster = reference.mean + offset * direction + width * torch.from_numpy(rng.normal(size=(40, 8)))
        sums = Moments.of(cluster, origin=reference.mean)
        distance = float(frechet_distances(*sums.gaussian(), reference))
        expected = offset**2 * float(direction.square().sum()) + reference.trace
        assert distance == pytest.approx(expected, rel=1e-6)
