"""Spaces that seeds have places in, so that seeds can be taken that are far from each other: style and layout.

A seed's place is its mean scores on the selection prompts, each in units of the spread within a seed. The scores are
on the cards, so the book needs the units only. All seeds have the same prompts, so what captions say cancels.

The vectors of ``measure.vectors`` would tell styles apart more finely. Their sums are over all prompts, held-out ones
among them, and those must not choose.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from seedml.per_seed.balance import Floats

SPACES = {
    "style": ("brightness", "saturation", "contrast", "sharpness", "grayscale_chroma"),
    "layout": ("location_x", "location_y", "size", "depth", "sky"),
}
"""Space -> the columns of ``images.parquet`` that are its axes."""


def space_units(tables: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    """Space -> score -> its standard deviation over a seed's prompts, mean over seeds.

    Columns that were not measured, are unknown everywhere or never vary are no axes; a space without axes is none.

    Args:
        tables: column -> ``S × P``, on the selection prompts; NaN where an image does not tell.

    """
    units = {
        space: {name: _spread_within(tables[name]) for name in columns if name in tables}
        for space, columns in SPACES.items()
    }
    kept = {space: {name: unit for name, unit in axes.items() if unit > 0} for space, axes in units.items()}
    return {space: axes for space, axes in kept.items() if axes}


def _spread_within(values: Floats) -> float:
    """Root of the mean variance within a seed; 0 where no seed has two values."""
    known = values[(~np.isnan(values)).sum(axis=1) > 1]
    return float(np.sqrt(np.nanvar(known, axis=1).mean())) if len(known) else 0.0
