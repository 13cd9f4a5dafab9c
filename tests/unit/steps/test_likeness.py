from __future__ import annotations

import json

import pandas as pd
import pytest

from seedml.callbacks.likeness import example_table, seed_maps
from seedml.config import StudyConfig
from seedml.measurement import load_measurements


def test_every_seed_has_a_place_and_a_cluster_by_style_and_by_layout(finished: StudyConfig) -> None:
    places = pd.read_parquet(finished.run_dir / "seed_map.parquet")
    assert places["seed"].tolist() == list(range(8))
    expected = [f"{name}_{part}" for name in finished.measure.vectors for part in ("cluster", "map_x", "map_y")]
    assert list(places.columns) == ["seed", *expected]
    assert places.notna().all(axis=None)
    summary = json.loads((finished.run_dir / "summary.json").read_text())
    for name in finished.measure.vectors:
        assert summary[f"{name}_clusters"] == places[f"{name}_cluster"].nunique()
        stability = summary[f"{name}_stability"]
        assert -1 <= stability["low"] <= stability["value"] <= stability["high"] <= 1
        assert stability["n"] == 23
        assert summary[f"{name}_map"] == "PCA"


def test_what_was_not_measured_has_no_columns(finished: StudyConfig, tmp_path) -> None:
    seeds = load_measurements(finished.run_dir).seed_list
    frame, headline = seed_maps(tmp_path, seeds, ["style"], finished.statistics)
    assert list(frame.columns) == ["seed"]
    assert headline == {}


def test_examples_are_pictures_of_the_seed_that_show_the_attribute(finished: StudyConfig) -> None:
    examples = pd.read_parquet(finished.run_dir / "examples.parquet")
    measured = load_measurements(finished.run_dir)
    assert len(examples) == 8 * len(measured.columns)
    pd.testing.assert_frame_equal(examples, example_table(measured))
    values = measured.images.pivot(index="seed", columns="prompt_id", values="grayscale_chroma")
    centred = values - values.mean()
    for row in examples[examples["attribute"] == "grayscale_chroma"].itertuples():
        own = centred.loc[row.seed]
        most = own.idxmax() if own.mean() >= 0 else own.idxmin()
        assert row.extreme == most
        assert abs(own[row.typical] - own.mean()) == pytest.approx((own - own.mean()).abs().min(), abs=1e-9)
