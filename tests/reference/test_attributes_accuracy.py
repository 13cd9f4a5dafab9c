"""A small version of benchmarks/attributes_accuracy.py, with the same limits."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("skimage", reason="photographs ship with scikit-image: the extra test")

from attribute_cases import hard_scenes, photographs, rendered

from seedml.attributes import Attribute, load_attributes
from seedml.config import DEFAULT_ATTRIBUTES
from seedml.models.bundled.parser import load_parser

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "attributes_accuracy.py"


@pytest.fixture(scope="module")
def accuracy() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("attributes_accuracy", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def attributes() -> dict[str, Attribute]:
    return load_attributes([name for name in DEFAULT_ATTRIBUTES if name != "agreement"])


def _right(figures: dict[str, Any], *flags: str) -> None:
    for name in flags:
        assert figures[name]["accuracy_percent"] >= 99, (name, figures[name])
        assert "unknown" not in figures[name], (name, figures[name])


def _near(figures: dict[str, Any], *numbers: str) -> None:
    for name in numbers:
        assert figures[name]["mean_error"] <= 0.02, (name, figures[name])


def test_fresh_scenes(accuracy: ModuleType, attributes: dict[str, Attribute]) -> None:
    figures = accuracy.score_together(rendered(500), attributes, load_parser())
    _right(figures, "grayscale", "grayscale_tinted", "border", "lettering")
    _near(figures, "sky", "location_x", "location_y", "size", "border_width")
    assert figures["depth"]["rank_correlation"] >= 0.95


def test_hard_scenes(accuracy: ModuleType, attributes: dict[str, Attribute]) -> None:
    figures = accuracy.score_apart(hard_scenes(12), attributes, load_parser())
    _right(figures["all"], "grayscale", "grayscale_tinted", "border", "lettering")
    _near(figures["all"], "sky", "location_x", "location_y", "size", "border_width")
    for kind, found in figures.items():
        if "border" in found:
            assert found["border"]["accuracy_percent"] >= 90, kind  # at most one of twelve, of any kind


def test_photographs(accuracy: ModuleType, attributes: dict[str, Attribute]) -> None:
    by_pixels = {name: attributes[name] for name in ("grayscale", "border")}
    figures = accuracy.score_apart(photographs([(128, 128), (97, 141)], crops=3), by_pixels, load_parser())["all"]
    _right(figures, "grayscale", "grayscale_tinted", "border")
    _near(figures, "border_left", "border_right", "border_top", "border_bottom")
