from __future__ import annotations

import numpy as np
import pytest
import torch

from seedml.applications.sets import picture_folds, random_sets, set_folds
from seedml.config import StatisticsConfig
from seedml.per_seed.balance import prompt_blocks
from seedml.per_seed.frechet import Reference, frechet_distances_of_samples


def test_random_sets_share_no_seed() -> None:
    sets = random_sets(np.arange(10, 33), 5, np.random.default_rng(0))
    taken = np.concatenate(sets)
    assert [len(one) for one in sets] == [5, 5, 5, 5]
    assert len(np.unique(taken)) == 20
    assert [len(one) for one in random_sets(np.arange(3), 5, np.random.default_rng(0))] == [3]


@pytest.mark.parametrize("resampling", ["exact", "linear"])
def test_distances_of_sets_are_those_of_their_pictures(resampling: str) -> None:
    generator = np.random.default_rng(4)
    features = generator.normal(size=(6, 96, 3)).astype(np.float32)
    reference = Reference.of_samples(torch.from_numpy(generator.normal(size=(200, 3))))
    blocks, statistics = prompt_blocks(96, 4), StatisticsConfig(resampling=resampling)
    folds = set_folds(features, [np.array([0, 2]), np.array([5, 1])], blocks, reference, statistics)
    tolerance = 1e-9 if resampling == "exact" else 0.1  # to first order
    for row, chosen in enumerate(([0, 2], [5, 1])):
        own = torch.from_numpy(features[chosen])
        assert folds.full[row] == pytest.approx(float(frechet_distances_of_samples(own.reshape(-1, 3), reference)))
        for block in range(4):
            kept = own[:, torch.from_numpy(blocks != block)].reshape(-1, 3)
            alone = float(frechet_distances_of_samples(kept, reference))
            assert folds.deleted[block, row] == pytest.approx(alone, rel=tolerance)
    assert folds.sizes.tolist() == [48] * 4


def test_pictures_of_other_seeds_at_every_prompt_make_a_set_too() -> None:
    features = np.random.default_rng(5).normal(size=(3, 8, 2)).astype(np.float32)
    reference = Reference.of_samples(
        torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )
    mixed = np.array([[prompt + 8 * (prompt % 3) for prompt in range(8)]])
    folds = picture_folds(features, mixed, prompt_blocks(8, 4), reference, StatisticsConfig())
    alone = frechet_distances_of_samples(torch.from_numpy(features.reshape(24, 2)[mixed[0]]), reference)
    assert folds.full[0] == pytest.approx(float(alone))
