from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rendered_study import study_config

from seedml.callbacks import PerSeedFid
from seedml.config import StudyConfig
from seedml.errors import UserError
from seedml.files import sha256_of
from seedml.measurement import load_measurements
from seedml.per_seed.frechet import Reference, frechet_distances_of_samples
from seedml.summarize import summarize
from seedml.tracking import NullTracker

SHARES = {"grayscale", "grayscale_tinted", "border", "border_white", "border_black", "lettering", "sky_prominent"}


class Told(NullTracker):
    """A tracker that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: dict[str, object] = {}
        self.tables: dict[str, pd.DataFrame] = {}

    def summary(self, values) -> None:  # type: ignore[no-untyped-def]
        self.numbers |= values

    def table(self, key: str, frame: pd.DataFrame) -> None:
        self.tables[key] = frame


@pytest.fixture(scope="module")
def seeds(finished: StudyConfig) -> pd.DataFrame:
    return pd.read_parquet(finished.run_dir / "seeds.parquet")


@pytest.fixture(scope="module")
def summary(finished: StudyConfig) -> dict[str, object]:
    return json.loads((finished.run_dir / "summary.json").read_text())


@pytest.fixture(scope="module")
def complete(finished: StudyConfig) -> pd.DataFrame:
    """Images of the prompts that every seed has: prompt 2 failed for one."""
    images = pd.read_parquet(finished.run_dir / "images.parquet")
    return images[images["prompt_id"] != 2]


def test_the_table_has_the_contracts_columns(seeds: pd.DataFrame, complete: pd.DataFrame) -> None:
    attributes = [name for name in complete.columns if name not in ("seed", "prompt_id", "split", "status")]
    expected = ["seed", "n", "fid", "fid_low", "fid_high", "fid_rank", "fid_corrected", "fid_q_value"]
    for name in attributes:
        expected += [f"{name}_mean", f"{name}_low", f"{name}_high"]
        expected += ([f"{name}_share"] if name in SHARES else []) + [f"{name}_q_value"]
    assert list(seeds.columns) == expected
    assert seeds["seed"].tolist() == list(range(8))
    assert (seeds["n"] == 23).all()


def test_distances_are_those_of_the_images_against_the_reference_of_the_same_captions(
    finished: StudyConfig, seeds: pd.DataFrame
) -> None:
    measured = load_measurements(finished.run_dir)
    kept = measured.reference.prompt_ids != 2
    reference = Reference.of_samples(torch.from_numpy(measured.reference.features[kept]))
    for row in seeds.itertuples():
        own = measured.features[(measured.seeds == row.seed) & (measured.prompt_ids != 2)]
        alone = frechet_distances_of_samples(torch.from_numpy(own), reference)
        assert row.fid == pytest.approx(float(alone), rel=1e-6)
        assert 0 <= row.fid_low <= row.fid <= row.fid_high
    assert seeds.sort_values("fid")["fid_rank"].tolist() == list(range(1, 9))


def test_means_and_shares_are_those_of_the_rows(seeds: pd.DataFrame, complete: pd.DataFrame) -> None:
    means = complete.groupby("seed").mean(numeric_only=True)
    for name in means.columns.drop("prompt_id"):
        np.testing.assert_allclose(seeds[f"{name}_mean"], means[name], rtol=1e-5, atol=1e-6)
        assert (seeds[f"{name}_low"] <= seeds[f"{name}_mean"] + 1e-9).all()
        assert (seeds[f"{name}_mean"] <= seeds[f"{name}_high"] + 1e-9).all()
        assert seeds[f"{name}_q_value"].between(0, 1).all()
        if name in SHARES:
            assert seeds[f"{name}_share"].tolist() == seeds[f"{name}_mean"].tolist()


def test_the_summary_holds_the_headline_numbers(summary: dict, seeds: pd.DataFrame) -> None:
    best, worst = seeds.loc[seeds["fid"].idxmin()], seeds.loc[seeds["fid"].idxmax()]
    for name, row in (("fid_best", best), ("fid_worst", worst)):
        assert summary[name] == {"value": row["fid"], "low": row["fid_low"], "high": row["fid_high"], "n": 23}
        assert summary[f"{name}_seed"] == row["seed"]
    assert (summary["images"], summary["images_failed"]) == (191, 1)
    assert (summary["seeds"], summary["prompts"], summary["prompts_left_out"]) == (8, 24, 1)
    assert 1 / 51 <= summary["fid_spread_null_p"] <= 1
    assert summary["fid_spread"]["value"] == pytest.approx(worst["fid"] - best["fid"])
    assert summary["fid_spread_by_chance"]["n"] == 50
    assert -1 <= summary["split_half_rank_correlation"]["value"] <= 1
    assert summary["split_half_rank_correlation"]["n"] == 8
    assert summary["versions"]["torch"] == version("torch")
    assert isinstance(summary["device"], str)
    assert summary["seconds"].keys() >= {"measure", "summarize", "select"}


def test_a_planted_grip_on_colour_is_found(summary: dict) -> None:
    # 80 % of a seed's pictures have its own time of day, sky and ground texture
    share = summary["seed_share_grayscale_chroma"]
    assert 0 <= share["low"] < share["value"] < share["high"] <= 1
    assert share["value"] > 0.05
    assert summary["spread_null_p_grayscale_chroma"] <= 0.02


def test_the_tracker_is_told_what_is_on_disk(fresh: StudyConfig, finished: StudyConfig) -> None:
    for name in ("images.parquet", "features.safetensors", "reference.safetensors"):
        fresh.run_dir.mkdir(parents=True, exist_ok=True)
        (fresh.run_dir / name).write_bytes((finished.run_dir / name).read_bytes())
    told = Told()
    summarize(fresh, told)
    frame = pd.read_parquet(fresh.run_dir / "seeds.parquet")
    pd.testing.assert_frame_equal(told.tables["seeds"], frame)
    pd.testing.assert_frame_equal(frame, pd.read_parquet(finished.run_dir / "seeds.parquet"))
    assert told.numbers["fid/best"] == frame["fid"].min()
    assert told.numbers["fid_best_seed"] == frame.loc[frame["fid"].idxmin(), "seed"]


def test_done_is_done_and_new_measurements_are_not(finished: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sha256_of(finished.run_dir / "seeds.parquet")
    called = []
    monkeypatch.setattr(PerSeedFid, "frame", lambda self: called.append(self))
    summarize(finished, NullTracker())
    assert not called
    assert sha256_of(finished.run_dir / "seeds.parquet") == before


def test_other_statistics_in_the_same_folder_are_refused(finished: StudyConfig) -> None:
    config = study_config(Path(finished.shards.root).parent, "0:8", 24, statistics={"bootstrap": 77})
    with pytest.raises(UserError, match=r"made with other settings: statistics\.bootstrap"):
        summarize(config, NullTracker())
