"""Sums do not depend on the order of images nor on how many seeds fit into memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seedml.per_seed.moments import Moments
from seedml.per_seed.stream import MomentStream, seeds_that_fit

SEEDS, BLOCKS, D = 5, 3, 4
ORIGIN = torch.ones(D, dtype=torch.float64)


def _study() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, np.ndarray]:
    """Features, seeds and blocks of images, and how many there are: other numbers for each seed and block."""
    expected = np.arange(1, SEEDS * BLOCKS + 1).reshape(SEEDS, BLOCKS)
    groups = torch.from_numpy(np.repeat(np.arange(SEEDS * BLOCKS), expected.ravel()))
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(len(groups), D)))
    return features, groups // BLOCKS, groups % BLOCKS, expected


@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("order", ["seeds", "blocks", "shuffled"])
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_a_seed_is_complete_with_its_last_image_and_its_sums_are_right(
    tmp_path: Path, limit: int, order: str, batch: int
) -> None:
    features, seeds, blocks, expected = _study()
    places = {
        "seeds": torch.arange(len(seeds)),
        "blocks": torch.argsort(blocks * SEEDS + seeds),
        "shuffled": torch.from_numpy(np.random.default_rng(1).permutation(len(seeds))),
    }[order]
    stream, found = MomentStream(expected, ORIGIN, limit, tmp_path), {}
    for rows in places.split(batch):
        for seed in stream.add(features[rows], seeds[rows], blocks[rows]):
            assert set(rows.tolist()) & set(torch.where(seeds == seed)[0].tolist()), "completed by this batch"
            found[seed] = stream.take(seed)
        assert stream.live <= limit
    assert sorted(found) == list(range(SEEDS))
    assert stream.live == 0
    assert list(tmp_path.iterdir()) == []
    for seed, sums in found.items():
        for block in range(BLOCKS):
            alone = Moments.of(features[(seeds == seed) & (blocks == block)], ORIGIN)
            assert int(sums.count[block]) == expected[seed, block]
            torch.testing.assert_close(sums[block].total, alone.total, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(sums[block].packed, alone.packed, rtol=1e-12, atol=1e-12)


def test_what_exceeds_the_limit_waits_in_files(tmp_path: Path) -> None:
    features, seeds, blocks, expected = _study()
    stream = MomentStream(expected, ORIGIN, 2, tmp_path)
    first = torch.tensor([int(torch.where(seeds == seed)[0][0]) for seed in range(SEEDS)])
    stream.add(features[first], seeds[first], blocks[first])
    assert stream.live == 2
    assert len(list(tmp_path.iterdir())) == SEEDS - 2


def test_files_of_an_interrupted_stream_are_not_counted(tmp_path: Path) -> None:
    features, seeds, blocks, expected = _study()
    interrupted = MomentStream(expected, ORIGIN, 1, tmp_path)
    interrupted.add(features[:20], seeds[:20], blocks[:20])
    assert list(tmp_path.iterdir())
    again = MomentStream(expected, ORIGIN, 1, tmp_path)
    assert sorted(again.add(features, seeds, blocks)) == list(range(SEEDS))
    for seed in range(SEEDS):
        assert again.take(seed).count.tolist() == expected[seed].tolist()


def test_an_image_too_many_is_noticed(tmp_path: Path) -> None:
    features, seeds, blocks, expected = _study()
    stream = MomentStream(expected, ORIGIN, 9, tmp_path)
    stream.add(features, seeds, blocks)
    with pytest.raises(AssertionError, match="counted twice"):
        stream.add(features[:1], seeds[:1], blocks[:1])


def test_the_limit_follows_from_memory() -> None:
    assert seeds_that_fit(16, 2048, 1 << 30) == 3  # 269 MB each
    assert seeds_that_fit(16, 2048, 1) == 1
    assert seeds_that_fit(4, 8, 1 << 30) > 100_000
