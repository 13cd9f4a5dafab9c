"""Are the statistics as sure as they say? Simulated studies whose truth is known. Prints one JSON object.

    python benchmarks/calibration.py [--studies 200] [--seeds 48] [--prompts 128] [--dimension 96] [--workers 1]

null          no seed has an effect: how many studies call any seed golden or inferior, or an attribute of it unlike
              that of other seeds (criterion: at most 5 % + 2 standard errors), and how often limits of 95 % hold the
              truth (criterion: 93-97 %)
effects       every seed has its own: do limits of its distance hold what other prompts would give?
power         one seed is better by exactly the smallest detectable difference: how many studies find it
              (criterion: 80 %, within simulation error)
shares        variance shares and the seed's grip are planted, a tenth of the cells is missing: do limits hold them?

The images are vectors as networks give them: correlated, skewed, with topics among the prompts, heavy-tailed
differences between prompts, prompts that leave the picture more or less free, and about as many dimensions as
prompts. Every rate comes with Clopper-Pearson limits; where a study counts more than once (all its seeds share its
prompts), at the number of independent trials that would have scattered as much (Korn & Graubard 1998, Survey
Methodology 24).
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import optimize, stats

from seedml.config import StatisticsConfig
from seedml.per_seed.balance import prompt_blocks
from seedml.per_seed.columns import column_statistics
from seedml.per_seed.folds import Folds, block_moments, deviations, fold_distances
from seedml.per_seed.frechet import Reference, frechet_distances_of_samples
from seedml.per_seed.influence import deletions_of_samples, first_order_folds, influences_of_samples
from seedml.per_seed.multiplicity import GOLDEN, INCONCLUSIVE
from seedml.per_seed.power import POWER, minimal_detectable_effect, raised
from seedml.per_seed.variance import folded_components, seed_grip, shares_of
from seedml.selection.ranking import rank_seeds

LEVEL = 0.05
STATISTICS = StatisticsConfig(permutations=200, bootstrap=1000, confidence=1 - LEVEL)
METHODS = ("blocks", "influences", "deletions")
"""Jackknife of exact distances over 16 blocks; first order over single prompts, by derivative and by deletion."""
COLUMNS = ("size", "border", "grayscale")
"""Attributes: a number, a common share, a rare one."""
RARITY = {"border": -1.0, "grayscale": -4.0}
Floats = np.ndarray[Any, np.dtype[np.float64]]


class World(NamedTuple):
    """What all simulated studies have in common: ``T`` topics in ``d`` dimensions, and how the rest scatters."""

    seeds: int
    prompts: int
    topics: Floats
    between: Floats
    within: Floats
    reference: Reference

    @classmethod
    def of(cls, seeds: int, prompts: int, dimension: int) -> World:
        """Fixed by its sizes."""
        generator = np.random.default_rng([0, dimension])
        spectrum = np.exp(-np.arange(dimension) / (0.25 * dimension))
        axes = [np.linalg.qr(generator.normal(size=(dimension, dimension)))[0] for _ in range(2)]
        between, within = (spectrum[:, None] * axis for axis in axes)
        topics = 1.2 * generator.normal(size=(12, dimension)) @ between
        nothing = Reference(torch.zeros(dimension), torch.zeros(dimension, dimension), 0.0, 2)
        world = cls(seeds, prompts, topics, between, within, nothing)
        # real images: of the same topics, but more diverse than the model's, and elsewhere
        real = world.images(generator, np.full((1, dimension), 0.3), prompts=20_000, freedom=1.3)[0]
        return world._replace(reference=Reference.of_samples(torch.from_numpy(real)))

    @property
    def dimension(self) -> int:
        """Numbers a feature has."""
        return self.topics.shape[1]

    def asked(self, generator: np.random.Generator, prompts: int) -> tuple[Floats, Floats]:
        """What prompts ask for, ``P × d``, and how free they leave the picture, ``P × 1``."""
        topic = self.topics[generator.integers(0, len(self.topics), prompts)]
        heavy = generator.standard_t(5, size=(prompts, self.dimension)) / np.sqrt(5 / 3)
        return topic + heavy @ self.between, np.exp(0.4 * generator.normal(size=(prompts, 1)))

    def images(
        self, generator: np.random.Generator, shift: Floats, prompts: int | None = None, freedom: float = 1.0,
        asked: tuple[Floats, Floats] | None = None,
    ) -> Floats:  # fmt: skip
        """Features ``S × P × d`` of seeds with these shifts ``S × d``."""
        count = prompts or self.prompts
        wish, free = asked or self.asked(generator, count)
        skewed = (generator.standard_gamma(2.0, size=(len(shift), count, self.dimension)) - 2) / np.sqrt(2)
        inner = wish + freedom * free * (skewed @ self.within) + shift[:, None]
        return np.asarray(np.where(inner > 0, inner, 0.2 * inner))  # as a rectifier leaves them

    def nothing(self) -> Floats:
        """No seed has an effect."""
        return np.zeros((self.seeds, self.dimension))

    def better(self, size: float) -> Floats:
        """A shift towards the reference: ``d``."""
        return np.full(self.dimension, size)


def folds_of(images: Floats, reference: Reference, method: str) -> Folds:
    """Distances of ``S × P × d`` with folds by one of the methods."""
    features = torch.from_numpy(images)
    if method == "blocks":
        blocks = prompt_blocks(images.shape[1], STATISTICS.blocks)
        return fold_distances(block_moments(features, blocks, reference.mean), reference)
    of_samples = deletions_of_samples if method == "deletions" else influences_of_samples
    found = of_samples(features, reference)
    return first_order_folds(found.distance.numpy(), found.value.numpy(), np.ones(images.shape[1], np.int64))


# ------------------------------------------------------------------ attributes


class Column(NamedTuple):
    """A simulated attribute: its table ``S × P``, its expectation, and what it is drawn from."""

    table: Floats
    truth: float
    chances: Floats | None


def column(world: World, name: str, generator: np.random.Generator) -> Column:
    """An attribute that no seed has an effect on, with prompts that differ much."""
    shape = (world.seeds, world.prompts)
    prompts = generator.normal(size=world.prompts)
    if name == "size":
        free = np.exp(0.5 * generator.normal(size=world.prompts))
        return Column(1.5 * prompts + free * (generator.standard_gamma(1.5, size=shape) - 1.5), 0.0, None)
    chances = 1 / (1 + np.exp(-(RARITY[name] + 1.5 * prompts)))
    return Column((generator.random(shape) < chances).astype(np.float64), expected_chance(name), chances)


@functools.cache
def expected_chance(name: str) -> float:
    """Mean over prompts of a seed's chance."""
    z, weight = np.polynomial.hermite_e.hermegauss(80)
    return float((weight / (1 + np.exp(-(RARITY[name] + 1.5 * z)))).sum() / weight.sum())


def planted(found: Column, deviation: float, generator: np.random.Generator) -> Floats:
    """The table with the first seed's expectation raised so that it deviates from the mean of all by ``deviation``."""
    seeds = len(found.table)
    rise = deviation * seeds / (seeds - 1)
    table = found.table.copy()
    if found.chances is None:
        table[0] += rise
        return table
    chances, most = found.chances, 30.0
    if raised(chances, np.exp(most)).mean() - chances.mean() < rise:
        return np.where(np.arange(seeds)[:, None] == 0, 1.0, table)
    factor = np.exp(optimize.brentq(lambda z: raised(chances, np.exp(z)).mean() - chances.mean() - rise, 0, most))
    table[0] = generator.random(len(chances)) < raised(chances, factor)
    return table


# ------------------------------------------------------------------ studies


def null_study(world: World, study: int) -> dict[str, Any]:
    """One study without a seed effect: what it claims, and what its limits hold."""
    images = world.images(np.random.default_rng([1, study]), world.nothing())
    found: dict[str, Any] = {"columns": {name: null_column(world, name, study) for name in COLUMNS}}
    for method in METHODS:
        folds = folds_of(images, world.reference, method)
        ranking, difference = rank_seeds(folds, 1 - LEVEL), folds.jackknife(deviations)
        found[method] = {
            "golden": bool((ranking.verdict == GOLDEN).any()), "any": bool((ranking.verdict != INCONCLUSIVE).any()),
            "limits": ranking.distances[1:], "error": float(np.median(difference.error)),
            "difference": difference.interval(1 - LEVEL)[1:], "freedom": difference.freedom, "folds": folds,
            "scatter": float((difference.value**2).mean()), "variance": float((difference.error**2).mean()),
        }  # fmt: skip
    return found


def null_column(world: World, name: str, study: int) -> dict[str, Any]:
    """One attribute without and with a planted seed."""
    generator = np.random.default_rng([2, study, COLUMNS.index(name)])
    drawn = column(world, name, generator)
    holed = drawn.table.copy()
    holed[generator.random(holed.shape) < 0.1] = np.nan
    found = {}
    for kind, table in (("complete", drawn.table), ("missing", holed)):
        result = column_statistics(table, drawn.chances is not None, STATISTICS)
        found[kind] = {
            "any": bool((result.q <= LEVEL).any()), "spread": bool(result.spread_p <= LEVEL),
            "covered": float(((result.means.low <= drawn.truth) & (drawn.truth <= result.means.high)).mean()),
            "detectable": result.detectable,
        }  # fmt: skip
    effect = found["complete"]["detectable"]
    if np.isfinite(effect):
        better = column_statistics(planted(drawn, effect, generator), drawn.chances is not None, STATISTICS)
        found["complete"]["power"] = bool(better.q[0] <= LEVEL)
    return found


def effect_shifts(world: World) -> Floats:
    """Shifts of seeds that differ, from better to worse, each in a direction of its own too: ``S × d``."""
    generator = np.random.default_rng([3, world.seeds])
    own = 0.03 * generator.normal(size=(world.seeds, world.dimension))
    return own + np.linspace(0.06, -0.06, world.seeds)[:, None]


def effect_study(world: World, study: int) -> dict[str, Any]:
    """One study in which all seeds differ."""
    images = world.images(np.random.default_rng([4, study]), effect_shifts(world))
    return {method: folds_of(images, world.reference, method) for method in METHODS}


def distances(world: World, with_effects: bool, study: int) -> Floats:
    """Distances ``S`` of one more study, for the truth."""
    shift = effect_shifts(world) if with_effects else world.nothing()
    images = world.images(np.random.default_rng([5, int(with_effects), study]), shift)
    return np.asarray(frechet_distances_of_samples(torch.from_numpy(images), world.reference).numpy())


def deviation_by_shift(world: World, sizes: Floats, study: int) -> Floats:
    """How much nearer a seed with each shift is than one without, on the same prompts and noise: one per size."""
    shift = np.stack([world.better(size) for size in (0.0, *sizes)])
    asked = world.asked(np.random.default_rng([6, study, 0]), world.prompts)
    images = [world.images(np.random.default_rng([6, study, 1]), row[None], asked=asked)[0] for row in shift]
    found = frechet_distances_of_samples(torch.from_numpy(np.stack(images)), world.reference).numpy()
    return np.asarray(found[1:] - found[0])


def power_study(world: World, method: str, size: float, folds: Folds, study: int) -> bool:
    """Whether the first seed of a null study, remade with a shift, is found golden."""
    generator = np.random.default_rng([1, study])
    asked = world.asked(generator, world.prompts)
    shift = world.better(size)[None]
    own = folds_of(world.images(np.random.default_rng([7, study]), shift, asked=asked), world.reference, method)
    full, deleted = folds.full.copy(), folds.deleted.copy()
    full[0], deleted[:, 0] = own.full[0], own.deleted[:, 0]
    return bool(rank_seeds(folds._replace(full=full, deleted=deleted), 1 - LEVEL).verdict[0] == GOLDEN)


def share_study(world: World, shares: tuple[float, float, float], kind: str, study: int) -> dict[str, Floats]:
    """Which planted variance shares, and whether the grip, are within their limits."""
    generator = np.random.default_rng([8, study])
    draw: dict[str, Callable[[tuple[int, int]], Floats]] = {
        "normal": lambda size: generator.normal(size=size),
        "heavy": lambda size: generator.standard_t(6, size=size) / np.sqrt(1.5),
        "skewed": lambda size: (generator.standard_gamma(4.0, size=size) - 4) / 2,
    }
    s, p = world.seeds, world.prompts
    folded = []
    for _ in range(4):
        parts = [draw[kind](size) for size in ((s, 1), (1, p), (s, p))]
        table = sum(np.sqrt(share) * part for share, part in zip(shares, parts, strict=True))
        table = np.where(generator.random((s, p)) < 0.1, np.nan, table)
        folded.append(folded_components(table, STATISTICS.blocks))
    found, truth = shares_of(folded[0], 1 - LEVEL), np.array(shares)
    grip, planted_grip = seed_grip(folded, 1 - LEVEL), shares[0] / (shares[0] + shares[2])
    return {
        "shares": ((found.low <= truth) & (truth <= found.high)).astype(np.float64),
        "grip": np.array([grip.low <= planted_grip <= grip.high], np.float64), "value": found.value,
    }  # fmt: skip


# ------------------------------------------------------------------ rates


def rate(values: Iterable[float], low: float = 0.0, high: float = 1.0) -> dict[str, Any]:
    """Mean of one share a study, with 95 % limits, and whether it is within ``low`` and ``high``."""
    shares = np.array(list(values), np.float64)
    studies, mean = len(shares), float(shares.mean())
    variance = float(shares.var(ddof=1)) / studies if studies > 1 else 0.0
    trials = mean * (1 - mean) / variance if variance > 0 else float(studies)
    limits = (
        float(stats.beta.ppf(0.025, mean * trials, (1 - mean) * trials + 1)) if mean > 0 else 0.0,
        float(stats.beta.ppf(0.975, mean * trials + 1, (1 - mean) * trials)) if mean < 1 else 1.0,
    )
    return {"rate": round(mean, 4), "limits": [round(x, 4) for x in limits], "met": bool(low <= mean <= high)}


def false_claims(values: list[bool]) -> dict[str, Any]:
    """At most the level, but for two standard errors."""
    return rate(map(float, values), 0.0, LEVEL + 2 * np.sqrt(LEVEL * (1 - LEVEL) / len(values)))


def coverage(values: Iterable[float]) -> dict[str, Any]:
    """Near what is promised."""
    return rate(values, 0.93, 0.97)


def held(limits: tuple[Floats, Floats], truth: Floats | float) -> float:
    """Share of the truths within limits."""
    return float(((limits[0] <= truth) & (truth <= limits[1])).mean())


def power_rate(values: list[bool]) -> dict[str, Any]:
    """80 % within three standard errors."""
    reach = 3 * np.sqrt(POWER * (1 - POWER) / len(values))
    return rate(map(float, values), POWER - reach, POWER + reach)


# ------------------------------------------------------------------ the whole


class Pool:
    """Studies, on this process or several."""

    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = context.Pool(workers, torch.set_num_threads, (1,)) if workers > 1 else None

    def map(self, function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> list[Any]:
        """One call a tuple, in order."""
        if self._pool is None:
            return [function(*values) for values in arguments]
        return self._pool.starmap(function, arguments, chunksize=2)


def simulate(world: World, studies: int, pool: Pool) -> dict[str, Any]:
    """All of it."""
    nulls = pool.map(null_study, ((world, k) for k in range(studies)))
    truth = np.mean(pool.map(distances, ((world, False, k) for k in range(2 * studies))))
    report: dict[str, Any] = {"null": {m: null_report([n[m] for n in nulls], float(truth)) for m in METHODS}}
    report["attributes"] = {name: column_report([n["columns"][name] for n in nulls]) for name in COLUMNS}
    report["effects"] = effects(world, studies, pool)
    report["power"] = power(world, nulls, pool)
    report["variance_shares"] = {}
    for kind in ("normal", "heavy", "skewed"):
        for shares in ((0.02, 0.6, 0.38), (0.2, 0.4, 0.4)):
            found = pool.map(share_study, ((world, shares, kind, k) for k in range(studies)))
            report["variance_shares"][f"{kind} {shares}"] = share_report(found, shares)
    return report


def null_report(found: list[dict[str, Any]], truth: float) -> dict[str, Any]:
    """One method on all null studies."""
    return {
        "studies_with_golden_seed": false_claims([n["golden"] for n in found]),
        "studies_with_any_verdict": false_claims([n["any"] for n in found]),
        "distance_limits_hold_truth": coverage(held(n["limits"], truth) for n in found),
        "difference_limits_hold_0": coverage(held(n["difference"], 0.0) for n in found),
        "standard_error_over_true_scatter": round(
            float(np.sqrt(np.mean([n["variance"] for n in found]) / np.mean([n["scatter"] for n in found]))), 3
        ),
    }


def column_report(found: list[dict[str, Any]]) -> dict[str, Any]:
    """One attribute on all null studies, and with a planted seed."""
    report: dict[str, Any] = {}
    for kind in ("complete", "missing"):
        parts = [n[kind] for n in found]
        report[kind] = {
            "studies_with_any_seed": false_claims([n["any"] for n in parts]),
            "studies_with_a_spread": false_claims([n["spread"] for n in parts]),
            "limits_hold_truth": coverage(n["covered"] for n in parts),
        }
    powers = [n["complete"]["power"] for n in found if "power" in n["complete"]]
    detectable = float(np.nanmedian([n["complete"]["detectable"] for n in found]))
    report["detectable"] = round(detectable, 4)
    report["found_at_detectable"] = power_rate(powers) | {"studies": len(powers)} if powers else None
    return report


def effects(world: World, studies: int, pool: Pool) -> dict[str, Any]:
    """Coverage where seeds differ."""
    truth = np.mean(pool.map(distances, ((world, True, k) for k in range(2 * studies))), axis=0)
    found = pool.map(effect_study, ((world, k) for k in range(studies)))
    report = {}
    for method in METHODS:
        folds = [f[method] for f in found]
        report[method] = {
            "distance_limits_hold_truth": coverage(held(f.intervals(1 - LEVEL)[1:], truth) for f in folds),
            "difference_limits_hold_truth": coverage(
                held(f.jackknife(deviations).interval(1 - LEVEL)[1:], truth - truth.mean()) for f in folds
            ),
        }
    return report


def power(world: World, nulls: list[dict[str, Any]], pool: Pool, replicates: int = 1000) -> dict[str, Any]:
    """A seed that is better by the smallest detectable difference of each method."""
    sizes = np.linspace(0.02, 0.28, 14)
    nearer = -np.mean(pool.map(deviation_by_shift, ((world, sizes, k) for k in range(replicates))), axis=0)
    report = {}
    for method in METHODS:
        parts = [n[method] for n in nulls]
        error, freedom = float(np.median([n["error"] for n in parts])), parts[0]["freedom"]
        wanted = float(minimal_detectable_effect(error, freedom, world.seeds, LEVEL))
        raw = wanted * world.seeds / (world.seeds - 1)  # the seed is a part of the mean that it is compared with
        size = float(np.interp(raw, [0.0, *nearer], [0.0, *sizes]))
        found = pool.map(power_study, ((world, method, size, n["folds"], k) for k, n in enumerate(parts)))
        assert raw <= nearer[-1], "the detectable difference is beyond the shifts tried"
        report[method] = power_rate(found) | {"detectable": round(wanted, 4), "shift": round(size, 4)}
    return report


def share_report(found: list[dict[str, Floats]], truth: tuple[float, float, float]) -> dict[str, Any]:
    """Coverage of each share and of the grip."""
    names = ("seed", "prompt", "residual")
    report: dict[str, Any] = {name: coverage(f["shares"][index] for f in found) for index, name in enumerate(names)}
    report["grip"] = coverage(f["grip"][0] for f in found)
    mean, error = (np.round(x, 4).tolist() for x in (
        np.mean([f["value"] for f in found], axis=0), np.std([f["value"] for f in found], axis=0) / len(found) ** 0.5
    ))  # fmt: skip
    return report | {"mean_estimate": mean, "its_standard_error": error, "truth": list(truth)}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=48)
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--dimension", type=int, default=96)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    return parser.parse_args()


def main() -> None:
    """Simulate and print."""
    options = parse()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    started = time.monotonic()
    world = World.of(options.seeds, options.prompts, options.dimension)
    report = simulate(world, options.studies, Pool(options.workers))
    head = {"options": vars(options), "level": LEVEL, "seconds": round(time.monotonic() - started, 1)}
    print(json.dumps(head | report, indent=2))


if __name__ == "__main__":
    main()
