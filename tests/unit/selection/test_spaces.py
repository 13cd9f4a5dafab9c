"""Units of the spaces that seeds have places in."""

from __future__ import annotations

import numpy as np
import pytest

from seedml.selection.spaces import SPACES, space_units


def test_units_are_spreads_within_a_seed() -> None:
    spread, gap = 3.0, 100.0  # seeds are far apart: that is no part of the unit
    one = gap * np.arange(4)[:, None] + spread * np.tile([-1.0, 1.0], 5)
    units = space_units({"location_x": one, "brightness": 2 * one, "symmetry": one})
    assert units == {"layout": {"location_x": pytest.approx(3.0)}, "style": {"brightness": pytest.approx(6.0)}}


def test_columns_that_tell_nothing_are_no_axes() -> None:
    unknown, constant = np.full((3, 5), np.nan), np.ones((3, 5))
    known = np.random.default_rng(0).normal(size=(3, 5))
    gaps = np.where(np.arange(15).reshape(3, 5) % 2, known, np.nan)
    units = space_units({"location_x": unknown, "size": constant, "depth": gaps})
    assert list(units) == ["layout"]
    assert list(units["layout"]) == ["depth"]
    assert space_units({"location_x": unknown, "symmetry": known}) == {}


def test_no_column_is_of_both_spaces() -> None:
    assert not set(SPACES["style"]) & set(SPACES["layout"])
