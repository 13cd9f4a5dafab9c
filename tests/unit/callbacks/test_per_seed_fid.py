"""The pass behind seeds' distances: stopped and taken up again, short of memory, short of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from seedml.callbacks import PassThrough, PerSeedFid
from seedml.callbacks import per_seed_fid as module
from seedml.config import StatisticsConfig, TrainerConfig
from seedml.lightning import predicting_trainer, quiet_lightning
from seedml.measurement.module import MeasuredBatch
from seedml.per_seed.balance import UnequalSamplesError
from seedml.per_seed.frechet import Reference, frechet_distances_of_samples
from seedml.tracking import NullTracker

SEEDS, PROMPTS, D = 5, 12, 4


def _features() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(SEEDS, PROMPTS, D)) + 3).float()


def _reference() -> Reference:
    return Reference.of_samples(torch.from_numpy(np.random.default_rng(1).normal(size=(99, D)) + 3))


def _batches(size: int = 7, lacking: int = 0) -> list[MeasuredBatch]:
    """Tile order: prompts outside, seeds inside."""
    prompts, seeds = torch.meshgrid(torch.arange(PROMPTS), torch.arange(SEEDS), indexing="ij")
    seeds, prompts = seeds.flatten()[lacking:], prompts.flatten()[lacking:]
    features = _features()[seeds, prompts]
    parts = torch.arange(len(seeds)).split(size)
    return [MeasuredBatch("", seeds[rows] * 10, prompts[rows] + 2, features[rows], {}) for rows in parts]


def _pass(folder: Path | None, batches: list[MeasuredBatch]) -> PerSeedFid:
    fid = PerSeedFid(
        np.arange(SEEDS) * 10, np.arange(PROMPTS) + 2, _reference(), StatisticsConfig(blocks=4), NullTracker(), folder
    )
    with quiet_lightning():
        predicting_trainer(TrainerConfig(accelerator="cpu"), [fid], alone=True).predict(
            PassThrough(), torch.utils.data.DataLoader(batches, batch_size=None), return_predictions=False
        )
    return fid


def test_distances_are_those_of_each_seeds_images() -> None:
    frame = _pass(None, _batches()).frame()
    np.testing.assert_allclose(frame["fid"], frechet_distances_of_samples(_features(), _reference()), rtol=1e-9)
    assert frame["seed"].tolist() == [0, 10, 20, 30, 40]


def test_one_seed_in_memory_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _pass(None, _batches())
    monkeypatch.setattr(module, "seeds_that_fit", lambda *_: 1)
    found = _pass(tmp_path, _batches())
    pd.testing.assert_frame_equal(found.frame(), expected.frame(), rtol=1e-9)
    assert found.halves == pytest.approx(expected.halves, rel=1e-9)
    assert not list((tmp_path / "sums-0").iterdir())


def test_a_stopped_pass_does_not_begin_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _pass(None, _batches())
    calls: list[Any] = []
    original = module.seed_distances

    def stop_after_two(*given: Any) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(given)
        return original(*given)

    monkeypatch.setattr(module, "seed_distances", stop_after_two)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        _pass(tmp_path, _batches())
    calls.clear()
    monkeypatch.setattr(module, "seed_distances", lambda *given: (calls.append(given), original(*given))[1])
    found = _pass(tmp_path, _batches())
    assert len(calls) == SEEDS - 2
    pd.testing.assert_frame_equal(found.frame(), expected.frame(), rtol=1e-9)
    assert found.halves == pytest.approx(expected.halves, rel=1e-9)


def test_a_row_that_is_torn_or_of_other_folds_is_made_again(tmp_path: Path) -> None:
    expected = _pass(tmp_path, _batches()).frame()
    (tmp_path / "seeds" / "2.f64").write_bytes(b"torn")
    pd.testing.assert_frame_equal(_pass(tmp_path, _batches()).frame(), expected, rtol=1e-12)


def test_a_missing_image_is_noticed() -> None:
    with pytest.raises(UnequalSamplesError, match="between 11 and 12 of 12 images"):
        _pass(None, _batches(lacking=1))
