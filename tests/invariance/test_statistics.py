"""Statistics do not depend on how rows come: batch size, order, parts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from seedml.callbacks import AttributeStatistics, PassThrough, PerSeedFid
from seedml.config import StatisticsConfig
from seedml.lightning import predicting_trainer, quiet_lightning
from seedml.measurement.module import MeasuredBatch
from seedml.per_seed.frechet import Reference
from seedml.per_seed.moments import Moments
from seedml.tracking import NullTracker

SEEDS, PROMPTS, D = 6, 21, 8
STATISTICS = StatisticsConfig(blocks=4, permutations=30, bootstrap=100)


def _rows() -> MeasuredBatch:
    generator = np.random.default_rng(0)
    seeds, prompts = (a.ravel() for a in np.meshgrid(np.arange(SEEDS) * 7, np.arange(PROMPTS) * 3, indexing="ij"))
    features = torch.from_numpy(generator.normal(size=(len(seeds), D)) + 0.3 * (seeds[:, None] % 5) + 50).float()
    columns = {
        "border": torch.from_numpy(generator.random(len(seeds)) < 0.2).float(),
        "sky": torch.from_numpy(generator.random(len(seeds)) + 0.05 * seeds).float(),
    }
    return MeasuredBatch("", torch.from_numpy(seeds), torch.from_numpy(prompts), features, columns)


def _taken(rows: MeasuredBatch, index: torch.Tensor) -> MeasuredBatch:
    columns = {name: values[index] for name, values in rows.columns.items()}
    return MeasuredBatch("", rows.seeds[index], rows.prompt_ids[index], rows.features[index], columns)


def _statistics(order: np.ndarray, batch: int) -> tuple[pd.DataFrame, pd.DataFrame, tuple[float, ...]]:
    rows, index = _rows(), torch.from_numpy(order)
    batches = [_taken(rows, part) for part in index.split(batch)]
    reference = Reference.of_samples(torch.from_numpy(np.random.default_rng(1).normal(size=(400, D)) + 50))
    seeds, prompts = np.arange(SEEDS) * 7, np.arange(PROMPTS) * 3
    fid = PerSeedFid(seeds, prompts, reference, STATISTICS, NullTracker())
    attributes = AttributeStatistics(
        seeds, prompts, ["border", "sky"], frozenset({"border"}), STATISTICS, NullTracker()
    )
    with quiet_lightning():
        predicting_trainer(_trainer(), [fid, attributes], alone=True).predict(
            PassThrough(), torch.utils.data.DataLoader(batches, batch_size=None), return_predictions=False
        )
    assert fid.halves is not None
    return fid.frame(), attributes.frame(), tuple(fid.halves)


def _trainer():  # type: ignore[no-untyped-def]
    from seedml.config import TrainerConfig

    return TrainerConfig(accelerator="cpu")


@pytest.mark.parametrize("batch", [1, 17, 1000])
@pytest.mark.parametrize("shuffled", [False, True])
def test_batch_size_and_order(batch: int, shuffled: bool) -> None:
    n = SEEDS * PROMPTS
    expected = _statistics(np.arange(n), 50)
    found = _statistics(np.random.default_rng(2).permutation(n) if shuffled else np.arange(n), batch)
    for ours, theirs in zip(found[:2], expected[:2], strict=True):
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-9)


def test_sums_of_ranks_add_up_to_the_sums_of_one() -> None:
    x = torch.from_numpy(np.random.default_rng(3).normal(size=(300, D)))
    groups = torch.arange(300) % 4
    whole = Moments.zeros((4,), torch.zeros(D))
    whole.add_rows(x, groups)
    ranks = [Moments.zeros((4,), torch.zeros(D)) for _ in range(3)]
    for rank, sums in enumerate(ranks):
        sums.add_rows(x[rank::3], groups[rank::3])
    merged = ranks[0] + ranks[1] + ranks[2]
    for ours, theirs in zip(merged.gaussian(), whole.gaussian(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


def test_an_image_counted_twice_is_noticed() -> None:
    n = SEEDS * PROMPTS
    with pytest.raises((AssertionError, ValueError), match=r"counted twice|cannot be compared"):
        _statistics(np.append(np.arange(n), 0), 50)
