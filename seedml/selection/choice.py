"""The rule of ``selection`` applied to the selection prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seedml.callbacks import reference_for
from seedml.measurement.results import Measurements
from seedml.per_seed.balance import Cube, Floats, Ints, balanced_cube, prompt_blocks
from seedml.per_seed.first_order import folds_of_cube, resampling_for
from seedml.per_seed.folds import Folds
from seedml.per_seed.multiplicity import INFERIOR
from seedml.selection.diversity import MAX_SUM, diverse_set, spread_order
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
        diverse: far apart, none of them inferior; so are the first few.
        pool: what ``diverse`` was taken from: all seeds that are not inferior.
        best: what ``golden`` was taken from: the best by distance, sure or not.
        worst: the same of ``inferior``.

    """

    golden: Ints
    inferior: Ints
    diverse: Ints
    pool: Ints
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


def choose(wanted: SelectionConfig, ranking: Ranking, distances: Floats) -> Choice:
    """Golden, inferior and diverse seeds, from the selection prompts alone.

    Args:
        wanted: how many of each.
        ranking: of the S seeds on the selection prompts.
        distances: of their pictures there, ``S × S``.

    """
    pool = np.flatnonzero(ranking.verdict != INFERIOR)
    by_rank = ranking.order[np.isin(ranking.order, pool)]
    diverse = diverse_set(distances, MAX_SUM, int(by_rank[0]), wanted.diverse, pool)
    return Choice(
        golden=ranking.golden(wanted.golden), inferior=ranking.inferior(wanted.inferior),
        diverse=spread_order(distances, diverse, int(by_rank[np.isin(by_rank, diverse)][0])), pool=pool,
        best=ranking.best(wanted.golden), worst=ranking.worst(wanted.inferior),
    )  # fmt: skip
