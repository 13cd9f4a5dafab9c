"""A finished run's folder as seeds with values and noise, ready to be compared with another run's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seedml.config import StudyConfig
from seedml.errors import UserError
from seedml.per_seed.transfer import transfer
from seedml.selection.seeds_of_run import seeds_of_run

NOISE = dict.fromkeys(range(8), "0" * 64)
"""What the planted shards say of their noise."""


@pytest.fixture
def run_dir(finished: StudyConfig, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.run_dir, tmp_path / "other"))


def test_values_noise_and_reliability_are_the_runs(finished: StudyConfig) -> None:
    table = pd.read_parquet(finished.run_dir / "seeds.parquet")
    summary = json.loads((finished.run_dir / "summary.json").read_text())
    for shards in (None, finished.shard_dir):
        run = seeds_of_run(finished.run_dir, shard_dir=shards)
        assert (run.name, run.latent_shape, dict(run.noise)) == ("rendered", (4, 16, 16), NOISE)
        np.testing.assert_array_equal(run.seeds, table["seed"])
        np.testing.assert_array_equal(run.values, table["fid"])
        assert run.halves is not None
        assert run.halves.correlation == summary["split_half_rank_correlation"]["value"]
        assert run.halves.reliability == summary["fid_rank_reliability"]
    sky = seeds_of_run(finished.run_dir, "sky_mean")
    np.testing.assert_array_equal(sky.values, table["sky_mean"])
    assert sky.halves is None  # what is known of FID says nothing of the sky


def test_a_run_agrees_with_itself(finished: StudyConfig) -> None:
    run = seeds_of_run(finished.run_dir)
    found = transfer(run, run, np.random.default_rng(0))
    assert found.spearman.value == pytest.approx(1)
    assert found.same_noise is True
    assert found.seeds.tolist() == list(range(8))


def test_without_shards_and_book_no_noise_is_known(finished: StudyConfig, run_dir: Path) -> None:
    (run_dir / "seedbook.json").unlink()
    run = seeds_of_run(run_dir)
    assert (dict(run.noise), run.latent_shape) == ({}, None)
    with pytest.raises(UserError, match=r"other records no noise hash of seed 0.*same_noise=False"):
        transfer(seeds_of_run(finished.run_dir), run, np.random.default_rng(0))


def test_noise_that_the_book_says_is_another_is_refused(finished: StudyConfig, run_dir: Path) -> None:
    book = json.loads((run_dir / "seedbook.json").read_text())
    book["cards"][6]["noise_sha256"] = "1" * 64
    (run_dir / "seedbook.json").write_text(json.dumps(book))
    with pytest.raises(UserError, match=r"seed 6 is not the same noise in rendered and in other; .*0{64} and 1{64}"):
        transfer(seeds_of_run(finished.run_dir), seeds_of_run(run_dir), np.random.default_rng(0))


def test_what_is_missing_is_named(finished: StudyConfig, run_dir: Path, tmp_path: Path) -> None:
    named = r"unknown column of .*seeds\.parquet; given: 'skye_mean'.*did you mean 'sky_mean'"
    with pytest.raises(UserError, match=named):
        seeds_of_run(run_dir, "skye_mean")
    with pytest.raises(UserError, match="holds no images yet"):
        seeds_of_run(run_dir, shard_dir=tmp_path)
    (run_dir / "seeds.parquet").unlink()
    with pytest.raises(UserError, match=r"seeds\.parquet is missing; remedy: run `seedml summarize` first"):
        seeds_of_run(run_dir)
