"""The way of large studies on a small one: the same numbers, to what one decomposition a seed can know."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rendered_study import study_config

from seedml.config import StudyConfig
from seedml.measurement.results import FILES
from seedml.per_seed import first_order as module
from seedml.summarize import summarize
from seedml.tracking import NullTracker


def _copy(finished: StudyConfig, folder: Path, **statistics: object) -> StudyConfig:
    """The measurements of a finished study in a run folder of their own."""
    config = study_config(Path(finished.shards.root).parent, "0:8", 24, statistics=statistics)
    config.runs.root = str(folder)
    config.run_dir.mkdir(parents=True)
    for name in FILES:
        shutil.copy(finished.run_dir / name, config.run_dir / name)
    return config


def _results(config: StudyConfig) -> tuple[pd.DataFrame, dict]:
    summary = json.loads((config.run_dir / "summary.json").read_text())
    return pd.read_parquet(config.run_dir / "seeds.parquet"), summary


@pytest.fixture(scope="module")
def linear(finished: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, dict]:
    config = _copy(finished, tmp_path_factory.mktemp("linear"), resampling="linear")
    summarize(config, NullTracker())
    return _results(config)


def test_linear_and_exact_agree(finished: StudyConfig, linear: tuple[pd.DataFrame, dict]) -> None:
    (exact, told), (found, said) = _results(finished), linear
    assert (told["fid_resampling"], said["fid_resampling"]) == ("exact", "linear")
    assert list(found.columns) == list(exact.columns)
    # 23 images in 64 dimensions: a root doubles the relative rounding of eigenvalues near 0
    np.testing.assert_allclose(found["fid"], exact["fid"], rtol=1e-6)
    assert found["fid_rank"].tolist() == exact["fid_rank"].tolist()
    widths = [(frame["fid_high"] - frame["fid_low"]).to_numpy() for frame in (found, exact)]
    assert 0.3 < np.median(widths[0] / widths[1]) < 3  # 23 folds against 8
    assert said["fid_spread"]["value"] == pytest.approx(told["fid_spread"]["value"], rel=1e-6)
    for name in ("fid_spread_first_order", "fid_mde", "seed_grip", "split_half_rank_correlation"):
        assert np.isfinite(said[name]["value"]), name
    attributes = [name for name in exact.columns if not name.startswith("fid")]
    pd.testing.assert_frame_equal(found[attributes], exact[attributes])


def test_a_stopped_summary_goes_on_and_ends_the_same(
    finished: StudyConfig, linear: tuple[pd.DataFrame, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _copy(finished, tmp_path, resampling="linear")
    original, calls = module.image_distances, []

    def stop_after_three(*given: object) -> object:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(given)
        return original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "image_distances", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        summarize(config, NullTracker())
    assert not (config.run_dir / "seeds.parquet").exists()
    calls.clear()
    monkeypatch.setattr(module, "image_distances", lambda *given: (calls.append(given), original(*given))[1])
    summarize(config, NullTracker())
    assert len(calls) == 8 - 3
    pd.testing.assert_frame_equal(_results(config)[0], linear[0], rtol=1e-9)
    assert not (config.run_dir / ".summarize").exists()


def test_further_distances_come_where_they_are_asked_for(finished: StudyConfig, tmp_path: Path) -> None:
    config = _copy(finished, tmp_path, distances=["fid", "fid_infinity", "kid", "cmmd"])
    summarize(config, NullTracker())
    frame, told = _results(config)
    plain, _ = _results(finished)
    pd.testing.assert_frame_equal(frame[plain.columns], plain)
    assert list(frame.columns) == list(plain.columns) + [
        f"{name}{part}" for name in ("fid_infinity", "kid", "cmmd") for part in ("", "_low", "_high", "_q_value")
    ]
    for name in ("fid_infinity", "kid", "cmmd"):
        assert (frame[f"{name}_low"] <= frame[name]).all()
        assert (frame[name] <= frame[f"{name}_high"]).all()
        assert frame[f"{name}_q_value"].between(0, 1).all()
        assert told[f"{name}_best"]["value"] == frame[name].min()
        assert told[f"{name}_worst_seed"] == frame.loc[frame[name].idxmax(), "seed"]
    assert (frame["fid_infinity"] < frame["fid"]).all()  # the bias of few images is upwards
