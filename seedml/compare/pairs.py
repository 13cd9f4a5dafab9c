"""Two studies, seed by seed: the order of their seeds, chosen seeds in common, attributes that move, variance shares.

Works on what :mod:`~seedml.compare.runs` has read; the statistics are those of :mod:`~seedml.per_seed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seedml.compare.runs import Common, StudiedRun, attribute_table, common_of, distance_folds, distances
from seedml.compare.shift import Shift, paired_shift, unpaired_shift
from seedml.per_seed.additive import additive_fit
from seedml.per_seed.balance import Floats, Ints, prompt_blocks
from seedml.per_seed.folds import Folds
from seedml.per_seed.intervals import Interval
from seedml.per_seed.multiplicity import q_values
from seedml.per_seed.transfer import RunSeeds, Transfer, noise_is_same, seeds_of_table, transfer
from seedml.per_seed.variance import Shares, variance_shares
from seedml.selection.choice import CONFIRMING
from seedml.selection.confirmation import Overlap, chance_gain, gain, overlap

if TYPE_CHECKING:
    from seedml.config import StatisticsConfig

_HALVES = 32
"""Random splits of the prompt blocks behind an attribute's reliability."""
LISTS = ("golden", "inferior", "best_quarter", "worst_quarter")


@dataclass(frozen=True)
class AttributeComparison:
    """One attribute in two studies, on the same seeds.

    Attributes:
        column: its name.
        share: whether it is 0 or 1 in an image.
        order: whether the seeds keep their order; ``None`` where one study's seeds are all alike.
        q: adjusted p-value of ``order`` over all attributes; NaN without one.
        shift: mean difference, second minus first.
        shift_q: its adjusted p-value over all attributes.
        seed_share: the seed's share of the variance in both studies.
        means: ``S`` of each seed in both studies.
        spread: standard deviation over all images of the first study, to measure the shift by.

    """

    column: str
    share: bool
    order: Transfer | None
    q: float
    shift: Shift
    shift_q: float
    seed_share: tuple[Shares, Shares]
    means: tuple[Floats, Floats]
    spread: float


@dataclass(frozen=True)
class Gain:
    """What the seeds that one study chose are worth in the other, on prompts that neither chose by.

    Attributes:
        seeds: the chosen ones that both studies have.
        sure: whether they were golden beyond doubt; else they are the best by distance.
        gain: how much smaller their mean distance is than that of all seeds of the other study.
        own: the same of the other study's own choice.
        chance: mean and limits of as many seeds drawn at random.
        prompts: held-out prompts behind it.

    """

    seeds: tuple[int, ...]
    sure: bool
    gain: Interval
    own: Interval | None
    chance: Interval
    prompts: int


@dataclass(frozen=True)
class PairComparison:
    """Two studies.

    Attributes:
        first, second: the studies.
        common: what they have in common.
        fid: distances of the common seeds in both.
        order: whether the seeds keep their order by distance.
        same_noise: whether the seeds stand for the same noise; ``None`` where a study does not say.
        level: mean distance, second minus first; ``None`` where distances of the two must not be compared.
        overlaps: list of seeds -> members in common; lists that a study lacks are left out.
        gains: chosen by the first and judged by the second, and the other way round; ``None`` where it cannot be told.
        attributes: those that both have.

    """

    first: StudiedRun
    second: StudiedRun
    common: Common
    fid: tuple[RunSeeds, RunSeeds]
    order: Transfer
    same_noise: bool | None
    level: Interval | None
    overlaps: Mapping[str, Overlap]
    gains: tuple[Gain | None, Gain | None]
    attributes: tuple[AttributeComparison, ...] = field(default=())


def compare_pair(first: StudiedRun, second: StudiedRun, statistics: StatisticsConfig) -> PairComparison:
    """All that is compared of two studies.

    Raises:
        UserError: too few seeds or prompts to compare.

    """
    common = common_of(first, second)
    fid = pair_distances(first, second, common, statistics)
    return PairComparison(
        first=first, second=second, common=common, fid=fid, order=_order(*fid, common, statistics, 0),
        same_noise=noise_is_same(*fid, common.seeds), level=_level(first, second, fid, common, statistics),
        overlaps=_overlaps(first, second, fid, common, statistics.confidence),
        gains=(chosen_elsewhere(first, second, statistics), chosen_elsewhere(second, first, statistics)),
        attributes=_attributes(first, second, common, statistics),
    )  # fmt: skip


def pair_distances(
    first: StudiedRun, second: StudiedRun, common: Common, statistics: StatisticsConfig
) -> tuple[RunSeeds, RunSeeds]:
    """Distances of the common seeds in both studies."""
    of_both = [
        distances(study, common.seeds, prompts, prompt_blocks(len(prompts), statistics.blocks), statistics.resampling)
        for study, prompts in zip((first, second), common.prompts, strict=True)
    ]
    return of_both[0], of_both[1]


def order_by_distance(first: StudiedRun, second: StudiedRun, statistics: StatisticsConfig) -> Transfer:
    """Whether two studies order their common seeds alike by distance."""
    common = common_of(first, second)
    return _order(*pair_distances(first, second, common, statistics), common, statistics, 0)


def _order(first: RunSeeds, second: RunSeeds, common: Common, statistics: StatisticsConfig, number: int) -> Transfer:
    """Seeds are compared as numbers: whether their noise is the same is a finding of its own, and is shown with it."""
    folds = (first.folds, second.folds)
    alike = common.paired and None not in folds
    return transfer(
        first, second, np.random.default_rng([statistics.seed, 11, number]), same_noise=False, same_prompts=alike,
        confidence=statistics.confidence, permutations=statistics.permutations,
    )  # fmt: skip


def _level(
    first: StudiedRun, second: StudiedRun, fid: tuple[RunSeeds, RunSeeds], common: Common, statistics: StatisticsConfig
) -> Interval | None:
    """Mean distance over the common seeds, second minus first, with limits for other seeds and prompts.

    Only of one feature network, resize rule, reference and set of prompts: else distances mean different things.
    """
    own, other = (run.folds for run in fid)
    if own is None or other is None or not common.paired or not _same_yardstick(first, second):
        return None
    joined = Folds(np.stack([own.full, other.full]), np.stack([own.deleted, other.deleted], 1), own.sizes, own.n)
    of_prompts = joined.jackknife(lambda both: np.asarray((both[1] - both[0]).mean()))
    of_seeds = float((other.full - own.full).var(ddof=1) / len(own.full))
    error = (float(of_prompts.error) ** 2 + of_seeds) ** 0.5
    both = of_prompts._replace(error=np.asarray(error), freedom=min(of_prompts.freedom, len(own.full) - 1))
    return both.interval(statistics.confidence)


def _same_yardstick(first: StudiedRun, second: StudiedRun) -> bool:
    if first.measured is None or second.measured is None or first.measured.notes != second.measured.notes:
        return False
    return first.measured.reference.source == second.measured.reference.source


def _overlaps(
    first: StudiedRun, second: StudiedRun, fid: tuple[RunSeeds, RunSeeds], common: Common, confidence: float
) -> dict[str, Overlap]:
    """Seeds that both studies have in a list, against lists drawn at random from the common seeds."""
    quarter = max(1, len(common.seeds) // 4)
    ranked = [run.seeds[np.argsort(run.values, kind="stable")] for run in fid]
    lists: dict[str, tuple[Ints, Ints]] = {
        name: (_listed(first, name, common), _listed(second, name, common)) for name in ("golden", "inferior")
    }
    lists["best_quarter"] = (ranked[0][:quarter], ranked[1][:quarter])
    lists["worst_quarter"] = (ranked[0][-quarter:], ranked[1][-quarter:])
    return {
        name: overlap(one, two, len(common.seeds), confidence)
        for name, (one, two) in lists.items()
        if len(one) and len(two)
    }


def _listed(study: StudiedRun, name: str, common: Common) -> Ints:
    return np.intersect1d(np.array(study.run.chosen(name), np.int64), common.seeds)


def chosen_elsewhere(chooser: StudiedRun, judge: StudiedRun, statistics: StatisticsConfig) -> Gain | None:
    """What the chooser's golden seeds are worth in the judge, on held-out prompts of the judge that chose in neither.

    ``None`` where there is no seed book, no features, or no such prompt.
    """
    seeds, sure = _choice(chooser)
    if judge.measured is None or not (seeds and chooser.texts and judge.texts):
        return None
    chosen_by = chooser.chosen_by()
    held_out = judge.complete_prompts(CONFIRMING)
    held_out = held_out[[judge.texts.get(int(prompt), "") not in chosen_by | {""} for prompt in held_out]]
    if len(held_out) < 2:
        return None
    there = judge.measured.seed_list
    positions, own = (np.flatnonzero(np.isin(there, list(chosen))) for chosen in (seeds, _choice(judge)[0]))
    if not len(positions):
        return None
    blocks = prompt_blocks(len(held_out), statistics.blocks)
    folds = distance_folds(judge, held_out, blocks, statistics.resampling)
    generator = np.random.default_rng([statistics.seed, 12])
    by_chance = chance_gain(folds.full, len(positions), statistics.confidence, generator)
    return Gain(
        seeds=tuple(int(seed) for seed in there[positions]), sure=sure,
        gain=gain(folds, positions).interval(statistics.confidence),
        own=gain(folds, own).interval(statistics.confidence) if len(own) else None,
        chance=Interval(*by_chance), prompts=len(held_out),
    )  # fmt: skip


def _choice(study: StudiedRun) -> tuple[tuple[int, ...], bool]:
    """Golden seeds, or the best by distance where none is golden beyond doubt; and whether they are golden."""
    golden = study.run.chosen("golden")
    if golden:
        return golden, True
    book: Any = study.run.seedbook or {}
    confirmed = book.get("confirmation", {}).get("golden_gain_held_out", {})
    return tuple(int(seed) for seed in confirmed.get("seeds", ())), False


def _attributes(
    first: StudiedRun, second: StudiedRun, common: Common, statistics: StatisticsConfig
) -> tuple[AttributeComparison, ...]:
    known = {attribute.column for attribute in second.run.attributes}
    found = [
        _attribute(first, second, attribute.column, attribute.share, common, statistics, number)
        for number, attribute in enumerate(first.run.attributes, start=1)
        if attribute.column in known and attribute.column in second.images.columns
    ]
    told = [one for one in found if one is not None]
    q = q_values(np.array([one.order.p if one.order else np.nan for one in told]))
    shift_q = q_values(np.array([one.shift.p for one in told]))
    return tuple(replace(one, q=float(q[at]), shift_q=float(shift_q[at])) for at, one in enumerate(told))


def _attribute(
    first: StudiedRun, second: StudiedRun, column: str, share: bool, common: Common, statistics: StatisticsConfig,
    number: int,
) -> AttributeComparison | None:  # fmt: skip
    """One attribute; ``None`` where a seed has no value at all in one of the studies."""
    tables = [
        attribute_table(study, column, common.seeds, prompts)
        for study, prompts in zip((first, second), common.prompts, strict=True)
    ]
    told_at = [~np.isnan(table).all(axis=0) for table in tables]  # elsewhere cells say nothing of seeds
    if common.paired:
        told_at = [told_at[0] & told_at[1]] * 2
    tables = [table[:, kept] for table, kept in zip(tables, told_at, strict=True)]
    if any(table.shape[1] < 2 or np.isnan(table).all(axis=1).any() for table in tables):
        return None
    runs = [_seeds(study, table, common, statistics) for study, table in zip((first, second), tables, strict=True)]
    varied = all(np.ptp(run.values) > 0 for run in runs)
    order = _order(runs[0], runs[1], common, statistics, number) if varied else None
    shift = (paired_shift if common.paired else unpaired_shift)(tables[0], tables[1], statistics.confidence)
    shares = [variance_shares(table, statistics.blocks, statistics.confidence) for table in tables]
    means = [np.nanmean(table, axis=1) for table in tables]
    return AttributeComparison(
        column, share, order, np.nan, shift, np.nan, (shares[0], shares[1]), (means[0], means[1]),
        float(np.nanstd(tables[0])),
    )  # fmt: skip


def _seeds(study: StudiedRun, table: Floats, common: Common, statistics: StatisticsConfig) -> RunSeeds:
    """One number a seed with folds; cells without a value are put in as seed and prompt would have them."""
    filled = table
    if np.isnan(table).any():
        fit = additive_fit(table)
        filled = np.where(np.isnan(table), fit.level + fit.seeds[:, None] + fit.prompts, table)
    generator = np.random.default_rng([statistics.seed, 13])
    return seeds_of_table(
        study.name, common.seeds, filled, statistics.blocks, _HALVES, generator, study.fid.noise, study.fid.latent_shape
    )
