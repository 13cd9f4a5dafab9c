from __future__ import annotations

import numpy as np
import pytest

from seedml.per_seed.seed_map import FEWEST_SEEDS, METHODS, VectorSums, cluster_seeds, map_seeds, stability

BLOCKS, IMAGES = 8, 5


def _sums(groups: int, seeds: int, apart: float, draw: int = 0) -> tuple[VectorSums, np.ndarray]:
    """Seeds in ``groups`` groups, whose centres are ``apart`` within-image deviations from each other."""
    random = np.random.default_rng(draw)
    group = np.arange(seeds) % groups
    centres = random.normal(size=(groups, 12))
    centres *= apart / np.linalg.norm(centres, axis=1, keepdims=True)
    images = centres[group][:, None, None] + random.normal(size=(seeds, BLOCKS, IMAGES, 12))
    return VectorSums(np.arange(seeds), np.full((seeds, BLOCKS), IMAGES), images.sum(axis=2)), group


def _same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.array_equal(one[:, None] == one, other[:, None] == other))


def test_means_are_of_all_blocks_or_of_some() -> None:
    sums, _ = _sums(2, 6, 1.0)
    np.testing.assert_allclose(sums.means(), sums.total.sum(1) / 40)
    np.testing.assert_allclose(sums.means(np.array([2])), sums.total[:, 2] / 5)


@pytest.mark.parametrize("method", METHODS)
def test_planted_clusters_are_found_and_stable(method) -> None:
    sums, group = _sums(3, 30, 6.0)
    found = cluster_seeds(sums, method)
    assert found is not None
    assert found.number == 3
    assert _same_partition(found.label, group)
    assert found.stability == found.low == found.high == 1.0
    assert found.silhouette > 0.6


@pytest.mark.parametrize("method", METHODS)
def test_without_clusters_stability_is_what_chance_gives(method) -> None:
    scores = [stability(_sums(1, 40, 0.0, draw)[0], 3, method).mean() for draw in range(12)]
    assert abs(np.mean(scores)) < 0.04, scores


def test_equal_sums_give_equal_clusters_and_maps_and_order_does_not_matter() -> None:
    sums, _ = _sums(3, 24, 3.0)
    assert np.array_equal(cluster_seeds(sums).label, cluster_seeds(sums).label)
    assert np.array_equal(map_seeds(sums.means())[0], map_seeds(sums.means())[0])
    turned = VectorSums(sums.seeds, sums.images[::-1], sums.total[::-1])
    assert _same_partition(cluster_seeds(turned).label[::-1], cluster_seeds(sums).label)


def test_the_largest_cluster_is_number_0() -> None:
    random = np.random.default_rng(0)
    centres = np.array([[0.0, 0]] * 4 + [[9, 0]] * 9 + [[0, 9]] * 7)
    total = np.repeat((centres + 0.1 * random.normal(size=centres.shape))[:, None], BLOCKS, axis=1)
    found = cluster_seeds(VectorSums(np.arange(20), np.ones((20, BLOCKS), int), total))
    assert found.label.tolist() == [2] * 4 + [0] * 9 + [1] * 7


def test_neighbours_on_the_map_are_of_one_group() -> None:
    for seeds, how in ((30, "t-SNE"), (12, "PCA")):
        sums, group = _sums(3, seeds, 6.0)
        places, made = map_seeds(sums.means())
        assert made == how
        assert places.shape == (seeds, 2)
        distances = np.linalg.norm(places[:, None] - places, axis=2) + np.diag(np.full(seeds, np.inf))
        assert (group[distances.argmin(axis=1)] == group).all()


def test_few_or_equal_seeds_have_no_clusters_and_one_block_no_stability() -> None:
    few, _ = _sums(2, FEWEST_SEEDS - 1, 5.0)
    assert cluster_seeds(few) is None
    same = VectorSums(np.arange(8), np.ones((8, 4), int), np.ones((8, 4, 3)))
    assert cluster_seeds(same) is None
    sums, _ = _sums(2, 10, 8.0)
    one = cluster_seeds(VectorSums(sums.seeds, sums.images[:, :1], sums.total[:, :1]))
    assert np.isnan([one.stability, one.low, one.high]).all()
    assert map_seeds(np.ones((2, 1)))[0].shape == (2, 2)
