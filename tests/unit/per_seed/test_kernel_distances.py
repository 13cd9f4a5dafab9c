"""KID and CMMD against other libraries' formulas, brute-force deletion and known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seedml.per_seed.balance import prompt_blocks
from seedml.per_seed.influence import block_sums, first_order_folds
from seedml.per_seed.kernel_distances import (
    CMMD,
    KID,
    Kernel,
    KernelReference,
    kernel_distances,
    random_subsets,
    subset_distances,
)

KERNELS = [KID, CMMD]


def _features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)) + 0.4


def _plain_kernel(kernel: Kernel, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """As the papers write them, one pair at a time in spirit: no chunks, no shifts."""
    if kernel is KID:
        return (x @ y.mT / x.shape[1] + 1) ** 3
    x, y = (v / v.norm(dim=1, keepdim=True) for v in (x, y))
    return torch.exp(-(x[:, None] - y[None]).square().sum(-1) / 200)


def _plain(kernel: Kernel, x: torch.Tensor, y: torch.Tensor) -> float:
    """The U-statistic: pairs of an image with itself left out."""
    n, m = len(x), len(y)
    own, theirs, across = (_plain_kernel(kernel, a, b) for a, b in ((x, x), (y, y), (x, y)))
    total = (own.sum() - own.trace()) / (n * (n - 1)) + (theirs.sum() - theirs.trace()) / (m * (m - 1))
    return kernel.scale * float(total - 2 * across.mean())


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("rows", [1, 5, 1000])
def test_every_distance_is_the_papers_whatever_the_chunks(kernel: Kernel, rows: int) -> None:
    x, y = _features(2, 3, 17, 6), _features(23, 6, seed=1)
    found = kernel_distances(x, KernelReference.of_samples(y, kernel, rows), rows)
    assert found.distance.shape == (2, 3)
    assert found.value.shape == (2, 3, 17)
    expected = [[_plain(kernel, s, y) for s in row] for row in x]
    np.testing.assert_allclose(found.distance, expected, rtol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("n", [3, 17])
def test_deletions_are_the_distances_without_each_image(kernel: Kernel, n: int) -> None:
    x, y = _features(2, n, 6), _features(23, 6, seed=1)
    found = kernel_distances(x, KernelReference.of_samples(y, kernel), rows=4)
    for s in range(2):
        for i in range(n):
            left = _plain(kernel, torch.cat([x[s, :i], x[s, i + 1 :]]), y)
            assert float(found.value[s, i]) == pytest.approx((n - 1) * (float(found.distance[s]) - left), abs=1e-9)
    np.testing.assert_allclose(found.value.sum(-1), 0, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_v_statistic_counts_an_image_with_itself(kernel: Kernel) -> None:
    """The mean over whole kernel matrices, as the code released with the CMMD paper has it."""
    x, y = _features(3, 17, 6), _features(23, 6, seed=1)
    found = kernel_distances(x, KernelReference.of_samples(y, kernel), biased=True)
    for s in range(3):
        own, theirs, across = (_plain_kernel(kernel, a, b).mean() for a, b in ((x[s], x[s]), (y, y), (x[s], y)))
        assert float(found.distance[s]) == pytest.approx(kernel.scale * float(own + theirs - 2 * across), rel=1e-9)
    same = kernel_distances(y, KernelReference.of_samples(y, kernel), biased=True)
    assert float(same.distance) == pytest.approx(0, abs=1e-9)
    assert float(kernel_distances(y, KernelReference.of_samples(y, kernel)).distance) < 0


def test_subsets_give_what_torch_fidelity_and_torchmetrics_give() -> None:
    fidelity = pytest.importorskip("torch_fidelity.metric_kid")
    from torchmetrics.image.kid import poly_mmd

    x, y = _features(2, 60, 8), _features(70, 8, seed=1) * 1.2
    rng = np.random.RandomState(2020)
    draws = [(rng.choice(60, 25, replace=False), rng.choice(70, 25, replace=False)) for _ in range(7)]
    own, theirs = (np.stack(side) for side in zip(*draws, strict=True))
    found = subset_distances(x, KernelReference.of_samples(y, KID), own, theirs).numpy()
    assert found.shape == (7, 2)
    for s in range(2):
        each = [float(poly_mmd(y[b], x[s][a])) for a, b in draws]
        np.testing.assert_allclose(found[:, s], each, rtol=1e-9)
        report = fidelity.kid_features_to_metric(
            x[s], y, kid_subsets=7, kid_subset_size=25, kid_kernel="poly", kid_kernel_poly_degree=3,
            kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1.0, rng_seed=2020, verbose=False,
        )  # fmt: skip
        assert found[:, s].mean() == pytest.approx(report[fidelity.KEY_METRIC_KID_MEAN], rel=1e-9)
        assert found[:, s].std() == pytest.approx(report[fidelity.KEY_METRIC_KID_STD], rel=1e-9)


def test_a_subset_of_everything_is_the_distance() -> None:
    x, y = _features(2, 20, 6), _features(23, 6, seed=1)
    subsets = random_subsets(20, 20, 2, np.random.default_rng(0)), random_subsets(23, 23, 2, np.random.default_rng(1))
    for kernel in KERNELS:
        reference = KernelReference.of_samples(y, kernel)
        whole = kernel_distances(x, reference).distance
        torch.testing.assert_close(subset_distances(x, reference, *subsets), whole.expand(2, -1), rtol=1e-9, atol=0)


def test_subsets_have_no_repeats_and_follow_from_their_generator() -> None:
    first, again = (random_subsets(30, 12, 5, np.random.default_rng(3)) for _ in range(2))
    assert (first == again).all()
    assert all(len(set(row)) == 12 for row in first)
    assert len({tuple(row) for row in first}) == 5
    with pytest.raises(ValueError, match="31 of 30"):
        random_subsets(30, 31, 1, np.random.default_rng(0))


def test_known_answer_of_kid_in_one_dimension() -> None:
    """E (xy + 1)³ = m₃m₃' + 3 m₂m₂' + 3 m₁m₁' + 1 from moments: N(0,1) has 0, 1, 0; N(1,1) has 1, 2, 4."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(1, 1, size=(200, 40, 1)))
    y = torch.from_numpy(rng.normal(0, 1, size=(4000, 1)))
    found = kernel_distances(x, KernelReference.of_samples(y, KID)).distance
    expected = (16 + 12 + 3 + 1) + (0 + 3 + 0 + 1) - 2 * (0 + 6 + 0 + 1)
    assert abs(float(found.mean()) - expected) < 3.5 * float(found.std()) / 200**0.5 + 0.5  # 0.5: the one reference


def test_the_distance_has_no_bias_at_any_n_and_the_jackknife_has_its_error() -> None:
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.normal(size=(3000, 8)))
    for kernel in KERNELS:
        reference = KernelReference.of_samples(y, kernel)
        for n in (8, 64):
            x = torch.from_numpy(rng.normal(size=(400, n, 8)) + 0.5)
            found = kernel_distances(x, reference)
            folds = first_order_folds(found.distance.numpy(), found.value.numpy(), np.ones(n, np.int64))
            jackknife = folds.jackknife()
            np.testing.assert_allclose(jackknife.corrected, found.distance, rtol=1e-9)
            if n == 64:
                assert np.sqrt((jackknife.error**2).mean()) == pytest.approx(float(found.distance.std()), rel=0.12)
        large = kernel_distances(torch.from_numpy(rng.normal(size=(5, 2000, 8)) + 0.5), reference).distance
        small = kernel_distances(torch.from_numpy(rng.normal(size=(3000, 5, 8)) + 0.5), reference).distance
        error = float(small.std()) / 3000**0.5 + float(large.std()) / 5**0.5
        assert abs(float(small.mean() - large.mean())) < 3 * error


def test_blocks_of_prompts_fold() -> None:
    x, y = _features(3, 40, 6), _features(60, 6, seed=1) + 0.3
    reference = KernelReference.of_samples(y, KID)
    found = kernel_distances(x, reference)
    sums, sizes = block_sums(found.value.numpy(), prompt_blocks(40, 8))
    folds = first_order_folds(found.distance.numpy(), sums, sizes)
    blocks = torch.from_numpy(prompt_blocks(40, 8))
    exact = np.stack([kernel_distances(x[:, blocks != b], reference).distance for b in range(8)])
    change = np.abs(exact - folds.full).mean()
    assert np.abs(exact - folds.deleted).mean() < 0.2 * change


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_has_no_answer_raises(kernel: Kernel) -> None:
    x, y = _features(1, 5, 6), _features(9, 6, seed=1)
    reference = KernelReference.of_samples(y, kernel)
    with pytest.raises(ValueError, match="given: 2 images"):
        kernel_distances(x[:, :2], reference)
    with pytest.raises(ValueError, match="given: 1"):
        KernelReference.of_samples(y[:1], kernel)
    x[0, 2, 1] = torch.nan
    with pytest.raises(ArithmeticError, match="finite"):
        kernel_distances(x, reference)
    with pytest.raises(ArithmeticError, match="length"):
        CMMD.prepared(torch.zeros(3, 6))
