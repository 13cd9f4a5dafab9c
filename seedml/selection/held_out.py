"""What a choice is worth on held-out prompts, beside what chance alone would give: the book's ``confirmation``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seedml.per_seed.columns import ColumnStatistics
from seedml.per_seed.intervals import Interval, Jackknife
from seedml.selection.choice import Choice, Side
from seedml.selection.confirmation import Overlap, Shrunken, chance_gain, gain, loss, overlap
from seedml.selection.diversity import diversity_gain, pair_distances
from seedml.selection.ranking import Ranking
from seedml.summary import figure

if TYPE_CHECKING:
    from seedml.config import StatisticsConfig


def confirm(
    choice: Choice, choosing: Side, confirming: Side | None, shrunken: Shrunken, statistics: StatisticsConfig
) -> dict[str, object]:
    """The gain of golden, inferior and diverse seeds with limits, and chance.

    Where no seed is golden beyond doubt, the gain is that of the best by distance, and the book lists no golden seed;
    the same for inferior ones. Three gains of the same seeds: on the prompts they were picked on, which is too large;
    the same shrunken, which rests on a model of the seeds; and on held-out prompts, which rests on nothing but those.
    Diverse seeds are compared with random ones that are not inferior either; and with any, which owe some of their
    variety to bad pictures.
    """
    golden = choice.golden if len(choice.golden) else choice.best
    inferior = choice.inferior if len(choice.inferior) else choice.worst
    found: dict[str, object] = {}
    if len(golden):
        found["golden_gain_on_selection_prompts"] = _figure(gain(choosing.folds, golden), choosing, statistics)
        estimate = shrunken.gain(golden, statistics.confidence)
        if np.isfinite(estimate.value):
            found["golden_gain_shrunken"] = _bounded(estimate, choosing.folds.n)
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
        everyone = np.arange(len(seeds))
        among, of_pool, of_all = pair_distances(
            confirming.cube.by_prompt(), [choice.diverse, choice.pool, everyone],
        )  # fmt: skip
        for name, at_random in (("diversity_gain", of_pool), ("diversity_gain_over_any", of_all)):
            apart = diversity_gain(among, at_random, statistics.blocks)
            found[name] = _figure(apart, confirming, statistics)
    return found


def top_quarters(ranking: Ranking, agreement: ColumnStatistics, confidence: float) -> Overlap:
    """The paper's rule, top 256 of 1,024 by FID and top 256 by preference, for any number of seeds: both quarters.

    At second hand the paper finds 65 and 67 seeds so; chance gives 64 (52 to 76). Here the score of caption agreement
    stands for preference.
    """
    quarter = max(1, len(ranking.order) // 4)
    preferred = np.argsort(-agreement.means.value, kind="stable")[:quarter]
    return overlap(ranking.order[:quarter], preferred, len(ranking.order), confidence)


def named(found: Overlap) -> dict[str, object]:
    """An overlap with its null, as the book holds it."""
    entry: dict[str, object] = {"value": found.shared, "of": [found.first, found.second]}
    return entry | {"chance": {"value": found.expected, "low": found.low, "high": found.high}, "p": found.p}


def _figure(jackknife: Jackknife, side: Side, statistics: StatisticsConfig) -> dict[str, object]:
    return _bounded(jackknife.interval(statistics.confidence), side.folds.n)


def _bounded(interval: Interval, n: int) -> dict[str, object]:
    """One number with those of its limits that are known."""
    value, low, high = (float(bound) for bound in interval)
    return figure(value, low if np.isfinite(low) else None, high if np.isfinite(high) else None, n)
