"""Influences against finite differences, brute-force deletion and the delete-a-block jackknife."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seedml.per_seed.balance import prompt_blocks
from seedml.per_seed.folds import block_moments, deviations, fold_distances, half_distances
from seedml.per_seed.frechet import Reference, frechet_distances, frechet_distances_of_samples
from seedml.per_seed.influence import (
    Gradient,
    block_sums,
    deletions_of_pairs,
    deletions_of_samples,
    first_order_folds,
    first_order_halves,
    influences_of_samples,
    random_pairs,
    spread_test,
)
from seedml.per_seed.intervals import sharpened
from seedml.per_seed.moments import Moments
from seedml.per_seed.permutation import label_permutations
from seedml.per_seed.reliability import random_halves

SHAPES = [(40, 7), (9, 8), (8, 8), (7, 8), (12, 30), (3, 5)]  # more, as many, fewer vectors than dimensions


def _study(n: int, d: int, sets: int = 3, seed: int = 0) -> tuple[torch.Tensor, Reference]:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(d, d)) / d**0.5 + np.eye(d)
    theirs = rng.normal(size=(400, d)) @ mixing + 30
    ours = rng.normal(size=(sets, n, d)) @ mixing * rng.uniform(0.7, 1.4, size=(sets, 1, d)) + 30.2
    return torch.from_numpy(ours), Reference.of_samples(torch.from_numpy(theirs))


def _weighted(x: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance (scaled as with divisor n − 1) of ``n × d`` under weights that sum to 1."""
    mean = weights @ x
    y = x - mean
    return mean, (y * weights[:, None]).mT @ y * len(x) / (len(x) - 1)


def _plain(x: torch.Tensor, reference: Reference) -> torch.Tensor:
    """Distances of ``… × n × d`` by singular values, which keep their digits where a covariance has no full rank."""
    centred = (x - x.mean(-2, keepdim=True)) / (x.shape[-2] - 1) ** 0.5
    overlap = torch.linalg.svdvals(centred @ reference.root).sum(-1)
    offset = (x.mean(-2) - reference.mean).square().sum(-1)
    return offset + centred.square().sum((-1, -2)) + reference.trace - 2 * overlap


def _without(x: torch.Tensor, reference: Reference, *dropped: int) -> torch.Tensor:
    return _plain(x[..., [i for i in range(x.shape[-2]) if i not in dropped], :], reference)


def _without_each(x: torch.Tensor, reference: Reference) -> torch.Tensor:
    return torch.stack([_without(x, reference, i) for i in range(x.shape[-2])], -1)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_an_influence_is_the_derivative_by_the_image_s_weight(n: int, d: int) -> None:
    features, reference = _study(n, d)
    found = influences_of_samples(features, reference)
    step = 1e-3  # rounding of a distance of rank-deficient Gaussians is 1e-7, a hundredth of what this step moves
    for x, influences in zip(features, found.value, strict=True):
        for i in range(n):
            sides = []
            for epsilon in (step, -step):
                weights = torch.full((n,), (1 - epsilon) / n, dtype=torch.float64)
                weights[i] += epsilon
                sides.append(float(frechet_distances(*_weighted(x, weights), reference)))
            scale = float(influences.abs().max())
            assert float(influences[i]) == pytest.approx((sides[0] - sides[1]) / (2 * step), abs=1e-4 * scale)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_distances_are_the_distances_and_influences_sum_to_nothing(n: int, d: int) -> None:
    features, reference = _study(n, d)
    found = influences_of_samples(features, reference)
    torch.testing.assert_close(found.distance, frechet_distances_of_samples(features, reference), rtol=1e-9, atol=1e-9)
    assert float(found.value.mean(-1).abs().max()) < 1e-12 * float(found.value.abs().max())


def test_known_answer_in_one_dimension() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(2, 3, size=(50, 1)))
    reference = Reference.of_gaussian(torch.tensor([1.0]), torch.tensor([[4.0]]), 10)
    y, variance = x[:, 0] - x.mean(), x[:, 0].var()
    expected = 2 * (x.mean() - 1) * y + (1 - 2 / variance.sqrt()) * (50 / 49 * y**2 - variance)
    torch.testing.assert_close(influences_of_samples(x, reference).value, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("n", "d"), [(60, 6), (6, 20)])
def test_a_set_that_is_the_reference_is_at_the_bottom_where_nothing_has_influence(n: int, d: int) -> None:
    x = _study(n, d)[0][0]
    found = influences_of_samples(x, Reference.of_samples(x))
    assert float(found.distance) == 0
    assert float(found.value.abs().max()) < 1e-6
    deleted = deletions_of_samples(x, Reference.of_samples(x))
    assert bool((deleted.value < 0).all())  # every deletion moves it away


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_the_gradient_at_the_set_s_own_gaussian_gives_the_same_influences(n: int, d: int) -> None:
    """The d × d path, with pseudo-inverse roots where n ≤ d, against the n × n one, and all in a batch."""
    features, reference = _study(n, d)
    moments = Moments.of(features, reference.mean)
    gradient = Gradient.at(*moments.gaussian(), reference)
    expected = influences_of_samples(features, reference)
    torch.testing.assert_close(gradient.distance, expected.distance, rtol=1e-7, atol=0)
    scale = float(expected.value.abs().max())
    torch.testing.assert_close(gradient.influences(features, n), expected.value, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_deletions_are_the_distances_without_each_image(n: int, d: int) -> None:
    features, reference = _study(n, d)
    found = deletions_of_samples(features, reference)
    expected = (n - 1) * (
        frechet_distances_of_samples(features, reference)[:, None] - _without_each(features, reference)
    )
    torch.testing.assert_close(found.value, expected, rtol=0, atol=1e-8 * float(expected.abs().max()))


@pytest.mark.parametrize(("n", "d"), [(40, 7), (9, 8), (8, 8), (7, 8), (12, 30), (4, 6)])
def test_second_differences_are_those_of_brute_force(n: int, d: int) -> None:
    features, reference = _study(n, d)
    pairs = random_pairs(n, 25, np.random.default_rng(0))
    found = deletions_of_pairs(features, reference, pairs)
    single, whole = _without_each(features, reference), _plain(features, reference)
    expected = torch.stack(
        [whole - single[:, i] - single[:, j] + _without(features, reference, i, j) for i, j in pairs], -1
    )
    torch.testing.assert_close(found.second, expected, rtol=0, atol=1e-7 * float(expected.abs().max()))
    alone = deletions_of_samples(features, reference)
    torch.testing.assert_close(found.value, alone.value, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.distance, alone.distance, rtol=1e-9, atol=1e-9)


def test_pairs_are_of_different_images_all_equally_often() -> None:
    pairs = random_pairs(5, 4000, np.random.default_rng(0))
    counts = np.zeros((5, 5), np.int64)
    np.add.at(counts, (pairs[:, 0], pairs[:, 1]), 1)
    assert (np.diag(counts) == 0).all()
    off = counts[~np.eye(5, dtype=bool)]
    assert abs(off - 200).max() < 5 * 200**0.5


def test_sharpened_errors_are_the_spread_of_repeated_studies_where_the_jackknife_s_are_too_large() -> None:
    """Seed and reference alike: what a distance is then is a square of noise, the worst case of the jackknife."""
    rng = np.random.default_rng(0)
    n, d = 80, 12
    reference = Reference.of_gaussian(torch.zeros(d), torch.eye(d), 10**9)
    features = torch.from_numpy(rng.normal(size=(240, n, d)))
    pairs = random_pairs(n, 300, rng)
    parts = [deletions_of_pairs(part, reference, pairs) for part in features.split(40)]
    distance, value, second = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
    plain = first_order_folds(distance, value, np.ones(n, np.int64)).jackknife()
    sharp = sharpened(plain, second, n)
    ratio = [np.sqrt((errors.error**2).mean()) / distance.std(ddof=1) for errors in (plain, sharp)]
    assert ratio[0] > 1.25
    assert 0.9 < ratio[1] < 1.15
    assert (sharp.error >= plain.error / 2**0.5 - 1e-12).all()
    assert (sharp.error <= plain.error).all()
    assert sharp.freedom == n - 1


def test_the_first_order_agrees_with_the_delete_a_block_jackknife() -> None:
    """In a study of the size that the bundled features give: 12 seeds × 320 prompts × 16 numbers, 20 blocks."""
    features, reference = _study(320, 16, sets=12)
    features = features + 0.7 * features[:1].roll(1, 1)  # prompts that all seeds share
    blocks = prompt_blocks(320, 20)
    exact = fold_distances(block_moments(features, blocks, reference.mean), reference)
    for table in (influences_of_samples, deletions_of_samples):
        found = table(features, reference)
        distances, values = found.distance.numpy(), found.value.numpy()
        by_block = first_order_folds(distances, *block_sums(values, blocks))
        by_prompt = first_order_folds(distances, values, np.ones(320, np.int64))
        for statistic in (lambda distances: distances, deviations):
            expected = exact.jackknife(statistic).error
            # the same blocks: only the second order differs. Prompts: so does the noise of an error from 19 degrees
            np.testing.assert_allclose(by_block.jackknife(statistic).error, expected, rtol=0.08)
            ratio = by_prompt.jackknife(statistic).error / expected
            assert 0.8 < np.sqrt((ratio**2).mean()) < 1.25


def test_first_order_halves_order_seeds_as_exact_halves_do() -> None:
    features, reference = _study(200, 8, sets=12)
    blocks = prompt_blocks(200, 10)
    halves = random_halves(10, 5, np.random.default_rng(0))
    exact = half_distances(block_moments(features, blocks, reference.mean), halves, reference)
    found = deletions_of_samples(features, reference)
    first = first_order_halves(found.distance.numpy(), *block_sums(found.value.numpy(), blocks), halves)
    for ours, theirs in zip(first, exact, strict=True):
        for k in range(5):
            away, expected = ours[k] - found.distance.numpy(), theirs[k] - found.distance.numpy()
            assert np.corrcoef(away, expected)[0, 1] > 0.95


@pytest.mark.parametrize(("n", "d"), [(40, 6), (12, 30)])
def test_dead_and_repeated_features_change_nothing(n: int, d: int) -> None:
    features, reference = _study(n, d)
    rng = np.random.default_rng(0)
    theirs = torch.from_numpy(rng.normal(size=(400, d)) + 30)
    padded = Reference.of_samples(torch.cat([theirs, torch.zeros(400, 5)], 1))
    reference = Reference.of_samples(theirs)
    dead = torch.zeros(*features.shape[:-1], 5, dtype=torch.float64)
    for table in (influences_of_samples, deletions_of_samples):
        alive, with_dead = table(features, reference), table(torch.cat([features, dead], -1), padded)
        torch.testing.assert_close(with_dead.value, alive.value, rtol=1e-6, atol=1e-6)
    constant = torch.full((n, d), 3.0, dtype=torch.float64)  # no variance at all
    found = deletions_of_samples(constant, reference)
    assert float(found.distance) == pytest.approx(float((3 - reference.mean).square().sum()) + reference.trace)
    assert float(found.value.abs().max()) < 1e-9
    assert float(influences_of_samples(constant, reference).value.abs().max()) < 1e-9


@pytest.mark.parametrize("table", [influences_of_samples, deletions_of_samples])
@pytest.mark.parametrize(("n", "d"), [(40, 7), (12, 30)])
def test_order_and_batch_do_not_matter(table, n: int, d: int) -> None:  # type: ignore[no-untyped-def]
    features, reference = _study(n, d)
    found = table(features, reference)
    order = torch.from_numpy(np.random.default_rng(0).permutation(n))
    shuffled = table(features[:, order], reference)
    torch.testing.assert_close(shuffled.value, found.value[:, order], rtol=1e-8, atol=1e-8)
    alone = torch.stack([table(x, reference).value for x in features])
    torch.testing.assert_close(alone, found.value, rtol=1e-8, atol=1e-8)
    assert len(np.unique(found.value.numpy().round(9))) == found.value.numel()


@pytest.mark.parametrize(("n", "d"), [(26, 6), (26, 40)])
def test_sums_over_blocks_need_only_the_blocks_moments(n: int, d: int) -> None:
    features, reference = _study(n, d)
    blocks = prompt_blocks(n, 4)
    moments = block_moments(features, blocks, reference.mean)
    gradient = Gradient.at(*moments.sum(1).gaussian(), reference)
    each = influences_of_samples(features, reference).value.numpy()
    sums, sizes = block_sums(each, blocks)
    assert sizes.tolist() == [7, 7, 6, 6]
    for block in range(4):
        np.testing.assert_allclose(sums[:, block], each[:, blocks == block].sum(1), rtol=1e-12)
    found = gradient.influences_of_sums(moments).numpy()
    np.testing.assert_allclose(found, sums, atol=1e-6 * np.abs(sums).max())
    np.testing.assert_allclose(found.sum(1), 0, atol=1e-12 * np.abs(sums).max())


def test_folds_and_halves_of_a_mean_are_exact() -> None:
    """A mean is its own first order, so that what is not exact for it is wrong."""
    values = np.random.default_rng(0).normal(size=(5, 26))
    means = values.mean(1)
    for blocks in (prompt_blocks(26, 26), prompt_blocks(26, 4)):
        sums, sizes = block_sums(values - means[:, None], blocks)
        folds = first_order_folds(means, sums, sizes)
        assert folds.n == 26
        for block in range(len(sizes)):
            np.testing.assert_allclose(folds.deleted[block], values[:, blocks != block].mean(1), rtol=1e-12)
        halves = random_halves(len(sizes), 3, np.random.default_rng(1))
        sides = first_order_halves(means, sums, sizes, halves)
        for side in (0, 1):
            for k, half in enumerate(halves):
                np.testing.assert_allclose(sides[side][k], values[:, half[blocks] == side].mean(1), rtol=1e-12)
    by_prompt = first_order_folds(means, values - means[:, None], np.ones(26, np.int64)).jackknife()
    np.testing.assert_allclose(by_prompt.error, values.std(1, ddof=1) / 26**0.5, rtol=1e-12)
    np.testing.assert_allclose(by_prompt.corrected, means, rtol=1e-12)
    assert by_prompt.freedom == 25


def test_deletions_of_single_images_make_the_exact_jackknife() -> None:
    features, reference = _study(20, 6)
    deletions = deletions_of_samples(features, reference)
    ours = first_order_folds(deletions.distance.numpy(), deletions.value.numpy(), np.ones(20, np.int64))
    theirs = fold_distances(block_moments(features, prompt_blocks(20, 20), reference.mean), reference)
    np.testing.assert_allclose(ours.deleted, theirs.deleted, rtol=1e-8)
    for statistic in (
        lambda distances: distances,
        deviations,
        lambda distances: distances[:2].mean() - distances.mean(),
    ):
        ours_of, theirs_of = ours.jackknife(statistic), theirs.jackknife(statistic)
        for name in ("value", "corrected", "error", "freedom"):
            np.testing.assert_allclose(getattr(ours_of, name), getattr(theirs_of, name), rtol=1e-7)


def test_too_few_prompts_have_folds_without_limits() -> None:
    folds = first_order_folds(np.ones(3), np.zeros((3, 2)), np.array([1, 1]))
    assert np.isnan(folds.intervals(0.95).low).all()


def test_the_spread_s_p_value_finds_planted_seeds_and_is_blind_without() -> None:
    rng = np.random.default_rng(0)
    reference = Reference.of_samples(torch.from_numpy(rng.normal(size=(500, 5)) + 0.5))
    p = {}
    for effect in (0.0, 0.6):
        features = torch.from_numpy(rng.normal(size=(8, 60, 5)) + effect * rng.normal(size=(8, 1, 5)))
        pooled = Moments.of(features.reshape(-1, 5))
        gradient = Gradient.at(*pooled.gaussian(), reference)
        table = torch.stack([gradient.influences(x, 60) for x in features]).numpy()
        assert abs(table.mean()) < 0.05 * np.abs(table).mean()
        spread, p[effect] = spread_test(table, label_permutations(8, 60, 199, np.random.default_rng(1)))
        assert spread == pytest.approx(table.mean(1).max() - table.mean(1).min())
    assert p[0.6] == 1 / 200
    assert p[0.0] > 0.05


def test_what_has_no_answer_raises() -> None:
    features, reference = _study(20, 6)
    with pytest.raises(ValueError, match="two images or more, given: 1"):
        influences_of_samples(features[:, :1], reference)
    with pytest.raises(ValueError, match="given: 2 images"):
        deletions_of_samples(features[:, :2], reference)
    with pytest.raises(ValueError, match="given: 3 images"):
        deletions_of_pairs(features[:, :3], reference, np.array([[0, 1]]))
    features[1, 3, 2] = torch.nan
    with pytest.raises((ArithmeticError, RuntimeError)):
        influences_of_samples(features, reference)
