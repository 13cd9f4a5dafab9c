"""What a choice is worth on held-out prompts, beside what chance alone would give: the book's ``confirmation``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seedml.per_seed.columns import ColumnStatistics
from seedml.per_seed.intervals import Jackknife
from seedml.selection.choice import Choice, Side
from seedml.selection.confirmation import Overlap, chance_gain, gain, loss, overlap
from seedml.selection.diversity import diversity_gain
from seedml.selection.ranking import Ranking
from seedml.summary import figure

if TYPE_CHECKING:
    from seedml.config import StatisticsConfig


def confirm(choice: Choice, choosing: Side, confirming: Side | None, statistics: StatisticsConfig) -> dict[str, object]:
    """The gain of golden, inferior and diverse seeds with limits, and chance.

    Where no seed is golden beyond doubt, the gain is that of the best by distance, and the book lists no golden seed;
    the same for inferior ones. Without held-out prompts there is only the gain on the selection prompts, which is
    too large: the seeds were picked by it.
    """
    golden = choice.golden if len(choice.golden) else choice.best
    inferior = choice.inferior if len(choice.inferior) else choice.worst
    found: dict[str, object] = {}
    if len(golden):
        found["golden_gain_on_selection_prompts"] = _figure(gain(choosing.folds, golden), choosing, statistics)
    if confirming is None:
        return found
    seeds = confirming.cube.seeds
    if len(golden):
        won = _figure(gain(confirming.folds, golden), confirming, statistics)
        best_there = np.argsort(confirming.folds.full, kind="stable")[: len(golden)]
        found["golden_gain_held_out"] = won | {"seeds": seeds[golden].tolist()}
        found["best_on_both"] = named(overlap(golden, best_there, len(seeds), statistics.confidence))
        generator = np.random.default_rng([statistics.seed, 4])
        by_chance = chance_gain(confirming.folds.full, len(golden), statistics.confidence, generator)
        mean, low, high = map(float, by_chance)
        found["chance"] = {"golden_gain_held_out": figure(mean, low, high, confirming.folds.n)}
    if len(inferior):
        lost = _figure(loss(confirming.folds, inferior), confirming, statistics)
        found["inferior_loss_held_out"] = lost | {"seeds": seeds[inferior].tolist()}
    if len(choice.diverse) > 1:
        apart = diversity_gain(confirming.cube.values.astype(np.float64), choice.diverse, statistics.blocks)
        found["diversity_gain"] = _figure(apart, confirming, statistics)
    return found


def top_quarters(ranking: Ranking, agreement: ColumnStatistics, confidence: float) -> Overlap:
    """The paper's kind of rule: in the best quarter by distance and in the best quarter by preference."""
    quarter = max(1, len(ranking.order) // 4)
    preferred = np.argsort(-agreement.means.value, kind="stable")[:quarter]
    return overlap(ranking.order[:quarter], preferred, len(ranking.order), confidence)


def named(found: Overlap) -> dict[str, object]:
    """An overlap with its null, as the book holds it."""
    entry: dict[str, object] = {"value": found.shared, "of": [found.first, found.second]}
    return entry | {"chance": {"value": found.expected, "low": found.low, "high": found.high}, "p": found.p}


def _figure(jackknife: Jackknife, side: Side, statistics: StatisticsConfig) -> dict[str, object]:
    value, low, high = (float(bound) for bound in jackknife.interval(statistics.confidence))
    return figure(value, low if np.isfinite(low) else None, high if np.isfinite(high) else None, side.folds.n)
