"""High-fidelity inference: what is gained by sampling from golden seeds alone?

Golden, inferior and random seeds on the same prompts, none of which had a part in choosing. Two Fréchet distances are
told, as they answer two questions. That of single seeds (mean over the set; each seed's own pictures) is what seeds are
ranked by. That of the set's pictures together is what a user sees who takes a golden seed for every picture: it also
counts what a few seeds cannot show, for want of variety. Both compare equal numbers of pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import comb

from seedml.applications.comparison import (
    TwoWay,
    bounded,
    of_folds,
    of_tables,
    removed_share,
    share_limits,
)
from seedml.applications.sets import picture_folds, random_sets, set_folds
from seedml.applications.studio import Trial
from seedml.per_seed.balance import Floats, Ints, prompt_blocks
from seedml.per_seed.frechet import Reference
from seedml.per_seed.intervals import Interval

if TYPE_CHECKING:
    from seedml.config import StatisticsConfig

ATTRIBUTES = ("grayscale", "border", "lettering", "agreement")
"""Attributes that are looked at, as far as the study measures them."""
DEFECTS = ("border", "grayscale", "lettering")
"""Columns of 0 and 1 that nobody asks for."""
ANY = "any"
_DRAWS = 8
"""Drawings of another seed for every picture."""


@dataclass(frozen=True)
class Arms:
    """Seeds that are compared, as positions in the trial.

    Attributes:
        golden: the golden seeds; where none is golden beyond doubt, the best by distance.
        inferior: the inferior, or the worst.
        random: seeds drawn at random, whatever they are like: golden and inferior ones may be among them.

    """

    golden: Ints
    inferior: Ints
    random: Ints

    def chosen(self) -> dict[str, Ints]:
        """The sets that were chosen; only those that hold a seed."""
        both = {"golden": self.golden, "inferior": self.inferior}
        return {name: places for name, places in both.items() if len(places)}


def compare(
    trial: Trial, arms: Arms, reference: Reference, statistics: StatisticsConfig, best_of: int
) -> dict[str, Any]:
    """All figures of the comparison, as ``high_fidelity.json`` holds them.

    Args:
        trial: pictures of all arms.
        arms: golden, inferior and random seeds.
        reference: what Fréchet distances are measured from, on the trial's prompts.
        statistics: blocks of prompts and coverage.
        best_of: pictures an oracle may look at.

    """
    return {
        "fid_of_set": _set_distances(trial, arms, reference, statistics),
        "fid_of_seed": _seed_distances(trial, arms, reference, statistics),
        "defects": _defects(trial, arms, statistics),
        "scores": _scores(trial, arms, statistics, best_of),
    }


def _set_distances(trial: Trial, arms: Arms, reference: Reference, statistics: StatisticsConfig) -> dict[str, Any]:
    """FID of each set's pictures together, and of as many random ones."""
    found: dict[str, Any] = {}
    prompts = len(trial.prompts)
    blocks = prompt_blocks(prompts, statistics.blocks)
    for name, chosen in arms.chosen().items():
        generator = np.random.default_rng([statistics.seed, 7])
        others = random_sets(arms.random, len(chosen), generator)
        others = [other for other in others if len(other) == len(chosen)]
        if not others:
            continue
        folds = set_folds(trial.features, [*others, chosen], blocks, reference, statistics)
        better = -1.0 if name == "inferior" else 1.0
        gain = _gain(better)
        estimates = {
            name: of_folds(lambda d, sets: float(d[-1]), folds, 0),
            f"random_beside_{name}": of_folds(lambda d, sets: float(d[sets].mean()), folds, len(others)),
            f"{name}_{'loss' if better < 0 else 'gain'}": of_folds(gain, folds, len(others)),
        }
        found |= _figures(estimates, statistics, prompts)
        found[f"{name}_chance"] = _chance(folds.full, len(others), better, statistics)
        found[f"{name}_pictures"] = len(chosen) * prompts
    if len(arms.golden):
        found["any_seed"] = _any_seed(trial, arms, blocks, reference, statistics)
    return found


def _gain(sign: float) -> Callable[[Floats, Ints], float]:
    """How much better (``sign`` 1) or worse (−1) the last distance is than the mean of the random ones."""
    return lambda distances, sets: sign * float(distances[sets].mean() - distances[-1])


def _chance(distances: Floats, sets: int, sign: float, statistics: StatisticsConfig) -> dict[str, object]:
    """What random sets gain over their mean, and how many of them are as far out as the chosen set."""
    own = sign * (distances[:sets].mean() - distances[:sets])
    tail = 0.5 - statistics.confidence / 2
    low, high = np.quantile(own, [tail, 1 - tail])
    as_good = int((sign * (distances[:sets] - distances[-1]) <= 0).sum())
    return {"value": 0.0, "low": float(low), "high": float(high), "sets": sets, "sets_as_good": as_good}


def _any_seed(
    trial: Trial, arms: Arms, blocks: Ints, reference: Reference, statistics: StatisticsConfig
) -> dict[str, object]:
    """FID of as many pictures as the golden set has, each from a random seed of its own: ordinary sampling.

    Many seeds show more variety than a few, which this distance rewards.
    """
    prompts, size = len(trial.prompts), min(len(arms.golden), len(arms.random))
    generator = np.random.default_rng([statistics.seed, 8])
    draws = [
        np.concatenate([generator.permutation(arms.random)[:size] * prompts + prompt for prompt in range(prompts)])
        for _ in range(_DRAWS)
    ]
    folds = picture_folds(trial.features, np.stack(draws), blocks, reference, statistics)
    estimate = of_folds(lambda d, sets: float(d.mean()), folds, 0)
    return _figure(estimate, statistics, prompts) | {"pictures": size * prompts}


def _seed_distances(trial: Trial, arms: Arms, reference: Reference, statistics: StatisticsConfig) -> dict[str, Any]:
    """Mean of single seeds' FID over each set: what seeds are ranked by."""
    prompts, random = len(trial.prompts), arms.random
    each = [np.array([place]) for place in range(len(trial.seeds))]
    blocks = prompt_blocks(prompts, statistics.blocks)
    folds = set_folds(trial.features, each, blocks, reference, statistics)
    estimates = {"random": of_folds(lambda d, kept: float(d[random[kept]].mean()), folds, len(random))}
    for name, chosen in arms.chosen().items():
        estimates[name] = of_folds(lambda d, kept, own=chosen: float(d[own].mean()), folds, 0)  # type: ignore[misc]
        sign = -1.0 if name == "inferior" else 1.0
        estimates[f"{name}_{'loss' if sign < 0 else 'gain'}"] = of_folds(
            lambda d, kept, own=chosen, sign=sign: sign * float(d[random[kept]].mean() - d[own].mean()),  # type: ignore[misc]
            folds, len(random),
        )  # fmt: skip
    return _figures(estimates, statistics, prompts)


def defect_table(columns: Mapping[str, Floats]) -> dict[str, Floats]:
    """Each defect, and :data:`ANY` of them: ``S × P`` of 0 and 1. Defects that were not measured are left out."""
    known = {name: columns[name] for name in DEFECTS if name in columns and np.isfinite(columns[name]).all()}
    return known | ({ANY: np.stack(list(known.values())).max(axis=0)} if known else {})


def _defects(trial: Trial, arms: Arms, statistics: StatisticsConfig) -> dict[str, Any]:
    """Shares of pictures with a defect, and how much of it golden seeds leave out."""
    found: dict[str, Any] = {}
    prompts = len(trial.prompts)
    for name, table in defect_table(trial.columns).items():
        limits = {}
        sets = {"random": arms.random, **arms.chosen()}
        for arm, places in sets.items():
            limits[arm] = _limits(table, places, statistics, drawn=arm == "random")
        found[name] = {
            arm: bounded(limit, prompts) | {"pictures": len(sets[arm]) * prompts} for arm, limit in limits.items()
        }
        if "golden" in limits and float(limits["random"].value) > 0:
            found[name]["removed"] = _removed(limits, prompts)
    return found


def _removed(limits: Mapping[str, Any], prompts: int) -> dict[str, object]:
    value, low, high = (float(part) for part in removed_share(limits["golden"], limits["random"]))
    entry: dict[str, object] = {"value": value, "high": high, "n": prompts}
    return entry | ({"low": low} if np.isfinite(low) else {})


def _mean_of(table: Floats, places: Ints, statistics: StatisticsConfig, *, drawn: bool) -> TwoWay:
    """Mean of ``S × P`` over seeds of a set and all prompts; ``drawn``: the seeds are random ones."""
    own = table[places]
    return of_tables(
        lambda prompts, seeds: float(np.nanmean((own[seeds] if drawn else own)[:, prompts])),
        table.shape[1], statistics.blocks, len(places) if drawn else 0,
    )  # fmt: skip


def _limits(table: Floats, places: Ints, statistics: StatisticsConfig, *, drawn: bool) -> Interval:
    """:func:`_mean_of` with limits; those of a share where all values are 0 or 1."""
    estimate = _mean_of(table, places, statistics, drawn=drawn)
    if np.isin(table, (0, 1)).all():
        return share_limits(estimate, len(places) * table.shape[1], statistics.confidence)
    return estimate.interval(statistics.confidence)


def best_of_k(values: Floats, k: int) -> Floats:
    """Expected largest of ``k`` of N values drawn without replacement, along the first axis: ``N × P`` -> ``P``.

        E = Σ_i x_(i) C(i − 1, k − 1) / C(N, k)        x_(1) ≤ … ≤ x_(N)

    Args:
        values: ``N × P``, no NaN.
        k: 1 or more; all N where it is more.

    """
    n = len(values)
    k = min(k, n)
    weights = comb(np.arange(n), k - 1) / comb(n, k)
    return np.asarray(weights @ np.sort(values, axis=0))


def _scores(trial: Trial, arms: Arms, statistics: StatisticsConfig, best_of: int) -> dict[str, Any]:
    """Scores that are better when higher: preference or caption agreement, and pictures without a defect."""
    tables = {}
    if "agreement" in trial.columns and np.isfinite(trial.columns["agreement"]).all():
        tables["agreement"] = trial.columns["agreement"]
    defects = defect_table(trial.columns)
    if defects:
        tables["clean"] = 1 - defects[ANY]
    return {name: _score(table, arms, statistics, best_of) for name, table in tables.items()}


def _score(table: Floats, arms: Arms, statistics: StatisticsConfig, k: int) -> dict[str, Any]:
    """Means of each set, the golden gain, and how much of the way to an oracle's choice it is."""
    prompts, random = table.shape[1], table[arms.random]
    sets = {"random": arms.random, **arms.chosen()}
    limits = {name: _limits(table, at, statistics, drawn=name == "random") for name, at in sets.items()}
    estimates: dict[str, TwoWay] = {}

    def oracle(kept: Ints, seeds: Ints) -> float:
        return float(best_of_k(random[seeds][:, kept], k).mean())

    estimates["best_of"] = of_tables(oracle, prompts, statistics.blocks, len(random))
    found: dict[str, Any] = {"k": min(k, len(random))}
    found |= {name: bounded(limit, prompts) for name, limit in limits.items()}
    if len(arms.golden):
        golden = table[arms.golden]

        def gain(kept: Ints, seeds: Ints) -> float:
            return float(golden[:, kept].mean() - random[seeds][:, kept].mean())

        def closed(kept: Ints, seeds: Ints) -> float:
            room = oracle(kept, seeds) - random[seeds][:, kept].mean()
            return float(gain(kept, seeds) / room) if room > 0 else np.nan

        estimates["golden_gain"] = of_tables(gain, prompts, statistics.blocks, len(random))
        estimates["gap_closed"] = of_tables(closed, prompts, statistics.blocks, len(random))
    known = {name: estimate for name, estimate in estimates.items() if np.isfinite(estimate.value)}
    return found | _figures(known, statistics, prompts)


def _figure(estimate: TwoWay, statistics: StatisticsConfig, prompts: int) -> dict[str, object]:
    return bounded(estimate.interval(statistics.confidence), prompts)


def _figures(estimates: Mapping[str, TwoWay], statistics: StatisticsConfig, prompts: int) -> dict[str, Any]:
    return {name: _figure(estimate, statistics, prompts) for name, estimate in estimates.items()}


def sheet_rows(trial: Trial, named: Mapping[str, Sequence[int]]) -> list[tuple[str, list[Any]]]:
    """Rows of a contact sheet: the kept pictures of each named set's seeds, labelled."""
    shown = sorted({prompt_id for _, prompt_id in trial.pictures})
    return [
        (f"{name}\nseed {seed}", [trial.pictures.get((seed, prompt_id)) for prompt_id in shown])
        for name, seeds in named.items()
        for seed in seeds
    ]
