"""The example of docs/attributes.md, as it stands there: one file, one entry in the configuration, one test."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from rendered_study import plant_scenes, random_parser, study_config

import seedml.attributes
from seedml.config import DEFAULT_ATTRIBUTES
from seedml.measurement import measure
from seedml.tracking import NullTracker

PAGE = Path(__file__).resolve().parents[3] / "docs" / "attributes.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def _warmth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The documented file in a folder that the package also looks in."""
    folder = tmp_path / "attributes"
    folder.mkdir()
    (folder / "warmth.py").write_text(_blocks("python")[0])
    monkeypatch.setattr(seedml.attributes, "__path__", [*seedml.attributes.__path__, str(folder)])
    monkeypatch.setattr("seedml.models.bundled.parser.load_parser", lambda *_args, **_kwargs: random_parser())
    yield
    sys.modules.pop("seedml.attributes.warmth", None)
    vars(seedml.attributes).pop("warmth", None)


@pytest.mark.usefixtures("_warmth")
def test_the_documented_test_passes() -> None:
    names: dict[str, object] = {}
    exec(compile(_blocks("python")[1], str(PAGE), "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert len(tests) == 1
    for test in tests:
        test()  # type: ignore[operator]


@pytest.mark.usefixtures("_warmth")
def test_the_documented_attribute_is_measured_where_the_configuration_names_it(tmp_path: Path) -> None:
    entry = yaml.safe_load(_blocks("yaml")[0])
    config = study_config(tmp_path, "0:3", 6, measure=entry["measure"])
    plant_scenes(config)
    measure(config, NullTracker())
    images = pd.read_parquet(config.run_dir / "images.parquet")
    assert {"grayscale", "border", "warmth", "warmth_cold"} <= set(images.columns)
    assert np.isfinite(images["warmth"]).all()
    assert images["warmth"].nunique() > 3
    assert set(images["warmth_cold"]) <= {0.0, 1.0}


def test_the_page_names_every_default_attribute_and_its_columns() -> None:
    page = PAGE.read_text()
    for name, attribute in seedml.attributes.load_attributes(DEFAULT_ATTRIBUTES).items():
        row = next(line for line in page.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1])
        for column in attribute.columns:
            assert f"`{column}`" in row or f"`{column.removeprefix(name)}`" in row, column
