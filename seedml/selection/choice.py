"""The rule of ``selection`` applied to the selection prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seedml.callbacks import reference_for
from seedml.measurement.results import Measurements
from seedml.per_seed.balance import Cube, Ints, balanced_cube, prompt_blocks
from seedml.per_seed.first_order import folds_of_cube, resampling_for
from seedml.per_seed.folds import Folds
from seedml.per_seed.multiplicity import INFERIOR
from seedml.selection.diversity import farthest_points, seed_layouts
from seedml.selection.ranking import Ranking

if TYPE_CHECKING:
    from seedml.config import SelectionConfig, StatisticsConfig

CHOOSING = ("train", "val")
"""Splits that seeds are chosen on."""
CONFIRMING = ("test",)
"""Splits that have no part in choosing."""


@dataclass(frozen=True)
class Side:
    """The prompts of some splits, seen by all seeds.

    Attributes:
        cube: features, seeds × prompts.
        folds: distances with each block of prompts left out.

    """

    cube: Cube
    folds: Folds


@dataclass(frozen=True)
class Choice:
    """Positions of the chosen seeds.

    Attributes:
        golden: better than the average seed beyond doubt; may be empty.
        inferior: worse beyond doubt; may be empty.
        diverse: in the order taken.
        best: what ``golden`` was taken from: the best by distance, sure or not.
        worst: the same of ``inferior``.

    """

    golden: Ints
    inferior: Ints
    diverse: Ints
    best: Ints
    worst: Ints


def side_of(measured: Measurements, splits: tuple[str, ...], statistics: StatisticsConfig) -> Side | None:
    """Features and distances on the prompts of some splits, from the reference of the same captions.

    ``None`` where the splits have fewer than two prompts: there is no distance then.
    """
    prompt_ids = measured.prompts_of(*splits)
    if len(prompt_ids) < 2:
        return None
    cube = balanced_cube(measured.features, measured.seeds, measured.prompt_ids, measured.seed_list, prompt_ids)
    reference, blocks = reference_for(measured, cube.prompt_ids), prompt_blocks(len(cube.prompt_ids), statistics.blocks)
    return Side(cube, folds_of_cube(cube, reference, blocks, resampling_for(statistics.resampling, cube)))


def choose(wanted: SelectionConfig, choosing: Side, ranking: Ranking) -> Choice:
    """Golden, inferior and diverse seeds, from the selection prompts alone."""
    allowed = np.flatnonzero(ranking.verdict != INFERIOR)
    first = int(ranking.order[np.isin(ranking.order, allowed)][0])
    layouts = seed_layouts(choosing.cube.by_seed())
    return Choice(
        golden=ranking.golden(wanted.golden), inferior=ranking.inferior(wanted.inferior),
        diverse=farthest_points(layouts, first, wanted.diverse, allowed),
        best=ranking.best(wanted.golden), worst=ranking.worst(wanted.inferior),
    )  # fmt: skip
