"""Which seeds show artifacts more, and which less often than the average seed? Rates of 0 and 1, no images.

Seeds to use and to avoid are told by some pictures; what that is worth is told by others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from seedml.applications.comparison import bounded, of_tables, removed_share, share_limits
from seedml.applications.holes import TASKS
from seedml.per_seed.balance import Floats, Ints
from seedml.per_seed.columns import column_statistics
from seedml.per_seed.intervals import Interval, wilson_limits
from seedml.per_seed.multiplicity import q_values
from seedml.per_seed.permutation import shuffled_deviations

if TYPE_CHECKING:
    from seedml.config import StatisticsConfig

TEXT, BORDER = "text", "border"
ARTIFACTS = (TEXT, BORDER)
"""What nobody asks for, as columns of 0 and 1."""


class Observed(Protocol):
    """What every seed filled into every mask, as far as rates go."""

    @property
    def seeds(self) -> Ints:
        """``S``."""

    def of_task(self, artifact: str, kind: str, numbers: Ints) -> Floats:
        """One task's table for some pictures, ``S × M``; NaN where nothing is known."""

    def any_artifact(self, numbers: Ints) -> Floats:
        """The same of any artifact in any task of the picture."""


def seed_rates(table: Floats, statistics: StatisticsConfig) -> dict[str, Any]:
    """How often each seed shows something, and whether seeds differ: ``S × M`` of 0, 1 and NaN -> figures.

    ``rate``: mean over seeds, with limits over pictures and seeds. ``seeds``: ``value``, ``low``, ``high`` (Wilson),
    ``q`` (this seed's rate is that of all, by shuffling seeds within pictures; Benjamini-Hochberg over the seeds).
    ``spread_p``: of the largest less the smallest rate. ``named_by_chance``: seeds with q up to the level, on average,
    in studies whose seeds were shuffled. ``detectable``: the smallest rise that would have been found in 4 of 5
    studies. Empty where no picture tells.
    """
    known = table[:, ~np.isnan(table).any(axis=0)]
    if not known.shape[1]:
        return {}
    level = 1 - statistics.confidence
    found = column_statistics(known, True, statistics)
    estimate = of_tables(
        lambda kept, seeds: float(known[seeds][:, kept].mean()), known.shape[1], statistics.blocks, len(known)
    )
    rate = share_limits(estimate, known.size, statistics.confidence)
    named = np.flatnonzero(found.q <= level)
    return {
        "rate": bounded(rate, known.shape[1]) | {"images": int(known.size)},
        "spread_p": float(found.spread_p), "named": len(named), "named_by_chance": _named_by_chance(known, statistics),
        **({"detectable": float(found.detectable)} if np.isfinite(found.detectable) else {}),
        "seeds": [_seed_figure(found.means, found.q, at, found.n) for at in range(len(known))],
    }  # fmt: skip


def _seed_figure(means: Interval, q: Floats, at: int, n: int) -> dict[str, object]:
    own = Interval(*(np.asarray(side[at]) for side in means))
    return bounded(own, n) | ({"q": float(q[at])} if np.isfinite(q[at]) else {})


def _named_by_chance(table: Floats, statistics: StatisticsConfig) -> float:
    """Seeds with q up to the level in a shuffled study, on average: what the rule names where no seed differs."""
    generator = np.random.default_rng([statistics.seed, 12])
    deviations = shuffled_deviations(table, statistics.permutations, generator)
    level = 1 - statistics.confidence
    shuffled = (deviations._replace(value=value).p_values() for value in deviations.null)
    return float(np.mean([(q_values(p) <= level).sum() for p in shuffled]))


def below_average(hits: Ints, n: int) -> Floats:
    """Probability that a seed's rate is below the average seed's: ``S`` counts of ``n`` pictures -> ``S``.

    Empirical Bayes: rates of seeds follow a beta distribution, fitted to all counts (beta-binomial, maximum
    likelihood); each seed's own counts then say where in it the seed is. A seed without a single artifact is no proof
    by itself; but where a few seeds make all of them and the others none, it is one of the others. 0.5 where seeds do
    not differ, or nothing was seen. (Efron 2010, "Large-Scale Inference", ch. 1; Stephens 2017, Biostatistics 18, 275.)
    """
    if not hits.any() or (hits == n).all():
        return np.full(len(hits), 0.5)

    def loss(parameters: NDArray[np.float64]) -> float:
        return -float(stats.betabinom.logpmf(hits, n, *_beta(parameters)).sum())

    mean = float(np.clip(hits.mean() / n, 1e-3, 1 - 1e-3))
    start = [np.log(mean / (1 - mean)), 0.0]
    fitted = optimize.minimize(loss, start, method="L-BFGS-B", bounds=[(-9.0, 9.0), (-7.0, 7.0)])
    a, b = _beta(fitted.x)
    if a + b > _ALIKE * n:
        return np.full(len(hits), 0.5)
    return np.asarray(stats.beta.cdf(a / (a + b), a + hits, b + n - hits), np.float64)


_ALIKE = 20
"""From so many times its own pictures on, what is known of other seeds leaves a seed's own no say: seeds are alike."""


def _beta(parameters: NDArray[np.float64]) -> tuple[float, float]:
    """Mean (logit) and overdispersion (logit of 1 / (1 + a + b)) -> a and b."""
    mean = 1 / (1 + np.exp(-parameters[0]))
    size = float(np.exp(-parameters[1]))
    return float(mean * size), float((1 - mean) * size)


def choose(table: Floats, q: Floats, level: float) -> tuple[Ints, Ints]:
    """Positions of seeds to use and to avoid.

    To avoid: the rate is surely above the average (q up to ``level``), highest first. To use: the rate is below the
    average with a probability of 1 − ``level`` or more (:func:`below_average`), lowest first.

    Args:
        table: ``S × M`` of 0 and 1, no NaN.
        q: ``S``.
        level: accepted share of false finds.

    """
    rates = table.mean(axis=1)
    avoid = np.flatnonzero((q <= level) & (rates > rates.mean()))
    below = below_average(table.sum(axis=1).astype(np.int64), table.shape[1])
    use = np.flatnonzero((below >= 1 - level) & (rates < rates.mean()))
    return use[np.argsort(rates[use], kind="stable")], avoid[np.argsort(-rates[avoid], kind="stable")]


def worth(table: Floats, use: Ints, avoid: Ints, statistics: StatisticsConfig) -> dict[str, Any]:
    """Rates of the chosen seeds on pictures that had no part in choosing them: ``S × M`` -> figures.

    ``all``: of any seed. ``use``, ``avoid``: of these. ``without_avoided``: of all others, and ``removed``: how much
    lower their rate is than that of all; leaving out seeds at random removes 0 on average (``chance``).
    """
    known = table[:, ~np.isnan(table).any(axis=0)]
    pictures = known.shape[1]
    if not pictures:
        return {}
    everyone = np.arange(len(known))
    groups = {"all": everyone, "use": use, "avoid": avoid, "without_avoided": np.setdiff1d(everyone, avoid)}
    limits = {
        name: _rate(known[places], statistics, drawn=name in ("all", "without_avoided"))
        for name, places in groups.items()
        if len(places)
    }
    found: dict[str, Any] = {
        name: bounded(limit, pictures) | {"seeds": len(groups[name])} for name, limit in limits.items()
    }
    if len(avoid) and "without_avoided" in limits and float(limits["all"].value) > 0:
        kept = Interval(*(np.asarray(side) for side in limits["without_avoided"]))
        value, low, high = (float(part) for part in removed_share(kept, limits["all"]))
        limit = {"low": low} if np.isfinite(low) else {}
        found["removed"] = {"value": value, **limit, "high": high, "n": pictures}
        found["removed"]["chance"] = 0.0
    return found


def _rate(table: Floats, statistics: StatisticsConfig, *, drawn: bool) -> Interval:
    estimate = of_tables(
        lambda kept, seeds: float((table[seeds] if drawn else table)[:, kept].mean()),
        table.shape[1], statistics.blocks, len(table) if drawn else 0,
    )  # fmt: skip
    return share_limits(estimate, table.size, statistics.confidence)


@dataclass(frozen=True)
class Verdict:
    """What the study found.

    Attributes:
        figures: as ``inpainting.json`` holds them.
        use, avoid: seeds.

    """

    figures: dict[str, Any]
    use: tuple[int, ...]
    avoid: tuple[int, ...]


def judge(filled: Observed, choosing: Ints, confirming: Ints, statistics: StatisticsConfig) -> Verdict:
    """Rates per seed and task on the choosing pictures, the seeds to use and to avoid, and what that is worth.

    Args:
        filled: all tasks.
        choosing: numbers of the pictures that choose.
        confirming: numbers of others.
        statistics: permutations, blocks, coverage.

    """
    seeds = filled.seeds
    rates = {
        kind: {name: named for name in ARTIFACTS
               if (named := _with_names(seed_rates(filled.of_task(name, kind, choosing), statistics), seeds))}
        for kind in TASKS
    }  # fmt: skip
    table = filled.any_artifact(choosing)
    table = table[:, ~np.isnan(table).any(axis=0)]
    overall = seed_rates(table, statistics)
    use, avoid = (np.empty(0, np.int64),) * 2
    if overall:
        q = np.array([entry.get("q", np.nan) for entry in overall["seeds"]])
        use, avoid = choose(table, q, 1 - statistics.confidence)
    figures = {
        "rates": {kind: found for kind, found in rates.items() if found},
        "any_artifact": _with_names(overall, seeds),
        "use": seeds[use].tolist(), "avoid": seeds[avoid].tolist(),
        "held_out": worth(filled.any_artifact(confirming), use, avoid, statistics),
    }  # fmt: skip
    worst = worst_text(figures, 1 - statistics.confidence)
    if worst is not None:
        figures["worst_text"] = _confirmed(filled, worst, confirming, statistics.confidence)
    return Verdict(figures, tuple(seeds[use].tolist()), tuple(seeds[avoid].tolist()))


def _confirmed(filled: Observed, worst: Mapping[str, Any], confirming: Ints, confidence: float) -> dict[str, Any]:
    """Its rate on pictures that had no part in naming it; the one that named it, the largest of many, is too high."""
    row = int(np.flatnonzero(filled.seeds == worst["seed"])[0])
    hits = filled.of_task(TEXT, worst["task"], confirming)[row]
    hits = hits[~np.isnan(hits)]
    named_by = {key: value for key, value in worst.items() if key not in ("task", "seed")}
    found = {"task": worst["task"], "seed": worst["seed"], "named_by": named_by}
    if not len(hits):
        return found
    limits = wilson_limits(hits.mean(keepdims=True), np.array([len(hits)]), confidence)
    return found | bounded(Interval(*(side[0] for side in limits)), len(hits))


def _with_names(found: dict[str, Any], seeds: Ints) -> dict[str, Any]:
    if not found:
        return {}
    named = [{"seed": int(seed), **entry} for seed, entry in zip(seeds, found["seeds"], strict=True)]
    return found | {"seeds": named}


def worst_text(figures: Mapping[str, Any], level: float) -> dict[str, Any] | None:
    """The seed and task with the highest rate of text among those with q up to ``level``; ``None`` without any."""
    level_of = {kind: found[TEXT] for kind, found in figures["rates"].items() if TEXT in found}
    entries = [
        {"task": kind, **entry}
        for kind, found in level_of.items()
        for entry in found["seeds"]
        if entry.get("q", 1.0) <= level and entry["value"] > found["rate"]["value"]
    ]
    return max(entries, key=lambda entry: entry["value"]) if entries else None
