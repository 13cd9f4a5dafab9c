"""Diversified sampling: seeds whose pictures are far apart in style or in layout, against random seeds.

How far apart two seeds are, is the mean distance of their pictures of one prompt, on prompts that seeds may be chosen
by; sets are compared on prompts that had no part in it. Odd pictures are far from everything: random seeds of all kinds
owe part of their variety to bad ones. So sets may be taken among golden seeds, or all that are not inferior; each is
compared with random seeds of the same pool, which are as good, and with any; and its Fréchet distance is told, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import pdist, squareform

from seedml.applications.comparison import TwoWay, bounded, of_folds, of_tables
from seedml.applications.sets import random_sets, set_folds
from seedml.applications.studio import Trial
from seedml.per_seed.balance import Floats, Ints, prompt_blocks
from seedml.per_seed.frechet import Reference
from seedml.selection.diversity import diverse_set, joint_distances

if TYPE_CHECKING:
    from seedml.config import ApplyConfig, StatisticsConfig

ATTRIBUTES = ("location", "size")
"""Attributes that are looked at, as far as the study measures them."""
FEATURES = "features"
"""Name of the study's feature network among the spaces in which distances are told."""
POSITION = "position"
SIZE = "size"
GOLDEN, NOT_INFERIOR, ALL = "golden", "not_inferior", "all"
POOL, ANY = "pool", "any"

Statistic = Callable[[Ints, Ints], float]
"""Kept prompts, kept random seeds or sets -> a number."""
Memory = dict[tuple[str, bytes], dict[tuple[bytes, bytes], float]]
"""Table and random seeds -> what is known of them: kept prompts and kept seeds -> their mean distance."""


@dataclass(frozen=True)
class Recipe:
    """How a set was chosen."""

    space: str
    method: str
    among: str

    @property
    def name(self) -> str:
        """Of the set in tables and files."""
        return f"{self.space}.{self.method}.{self.among}"


def pools(verdicts: Mapping[int, str], order: Sequence[int], size: int) -> dict[str, list[int]]:
    """Pool -> its seeds, best first by FID on the selection prompts; pools of fewer than ``size`` seeds are left out.

    Args:
        verdicts: seed -> ``golden``, ``inferior`` or ``inconclusive``.
        order: all seeds, best first.
        size: of the sets to be taken.

    """
    found = {
        GOLDEN: [seed for seed in order if verdicts[seed] == GOLDEN],
        NOT_INFERIOR: [seed for seed in order if verdicts[seed] != "inferior"],
        ALL: list(order),
    }
    return {name: seeds for name, seeds in found.items() if len(seeds) >= size}


def choose_sets(
    parts: Mapping[str, Floats], seeds: Sequence[int], wanted: ApplyConfig,
    pools_of_seeds: Mapping[str, Sequence[int]], methods: Sequence[str],
) -> dict[Recipe, list[int]]:  # fmt: skip
    """Recipe -> its seeds. Spaces of which nothing is known are left out.

    Args:
        parts: space -> distances of seeds, ``S × S``, on prompts that seeds may be chosen by.
        seeds: the S seeds.
        wanted: size and spaces.
        pools_of_seeds: pool -> seeds, best first: with the best one a set begins.
        methods: of :func:`~seedml.selection.diversity.diverse_set`.

    """
    at = {seed: place for place, seed in enumerate(seeds)}
    found = {}
    for space in wanted.diverse_spaces:
        distances = joint_distances(parts, space)
        if distances is None:
            continue
        for among, pool in pools_of_seeds.items():
            allowed = np.array([at[seed] for seed in pool], np.int64)
            for method in methods:
                chosen = diverse_set(distances, method, int(allowed[0]), wanted.diverse, allowed)
                found[Recipe(space, method, among)] = [seeds[place] for place in chosen]
    return found


def replaced(
    wanted: Recipe, sets: Mapping[Recipe, object], pools_of_seeds: Mapping[str, Sequence[int]], size: int
) -> str:
    """Why the set that the headline was to be of could not be made, in words; empty where it could.

    Args:
        wanted: its recipe.
        sets: that were made.
        pools_of_seeds: as for :func:`choose_sets`.
        size: of a set.

    """
    if wanted in sets:
        return ""
    if wanted.among not in pools_of_seeds:
        return f"fewer than {size} seeds are {wanted.among.replace('_', ' ')}"
    return f"the study does not measure {wanted.space} of every seed"


def distance_tables(trial: Trial) -> dict[str, Floats]:
    """What variety is told by: distances of the pictures of each prompt, ``P × S × S`` float64; NaN where unknown.

    ``features`` and the spaces: Euclidean. ``position``: of the objects' centres, in fractions of the picture's side;
    ``size``: of the roots of their areas.
    """
    found = {FEATURES: _distances(trial.features)}
    for name, vectors in trial.vectors.items():
        if np.isfinite(vectors).all():
            found[name] = _distances(vectors)
    if {"location_x", "location_y"} <= trial.columns.keys():
        found[POSITION] = _distances(np.stack([trial.columns["location_x"], trial.columns["location_y"]], axis=2))
    if "size" in trial.columns:
        found[SIZE] = _distances(trial.columns["size"][:, :, None])
    return {name: table for name, table in found.items() if not np.isnan(_of_pairs(table)).any()}


def _distances(vectors: np.ndarray[Any, Any]) -> Floats:
    return np.stack([squareform(pdist(of_prompt.astype(np.float64))) for of_prompt in vectors.swapaxes(0, 1)])


def _of_pairs(table: Floats) -> Floats:
    """Mean over pairs of seeds for each prompt: ``P × S × S`` -> ``P``; NaN where fewer than two seeds are known."""
    s = table.shape[1]
    upper = np.triu_indices(s, 1)
    pairs = table[:, upper[0], upper[1]]
    known = np.isfinite(pairs)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, pairs, 0.0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), 0))


def mean_distance(table: Floats, seeds: Ints, prompts: Ints) -> float:
    """Mean over prompts of the mean distance of pairs among some seeds; prompts where no pair is known are left out.

    Unbiased for seeds at random, whatever the number of them.
    """
    return float(np.nanmean(_of_pairs(table[np.ix_(prompts, seeds, seeds)])))


def vendi_score(vectors: np.ndarray[Any, Any]) -> float:
    """How many different pictures there are, 1 (all the same) to K: ``K × D`` -> the Vendi score.

        VS = exp(−Σ λ log λ),   λ the eigenvalues of C / K,   C the cosine similarities

    (Friedman & Dieng 2023, "The Vendi Score", TMLR, eq. 2.) Cosines are about the origin: centre the vectors first, or
    an offset that all pictures share makes all alike. Vectors of length 0 are like no other.
    """
    x = vectors.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    similar = (x / np.where(lengths > 0, lengths, 1.0)) @ (x / np.where(lengths > 0, lengths, 1.0)).T
    np.fill_diagonal(similar, 1.0)
    eigenvalues = np.linalg.eigvalsh(similar / len(x)).clip(min=0)
    positive = eigenvalues[eigenvalues > 1e-12]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def vendi_table(features: np.ndarray[Any, Any], sets: Sequence[Ints], reference: Reference) -> Floats:
    """Vendi scores of each set's pictures of one prompt: ``S × P × D`` -> ``R × P``.

    Features are standardised by the mean and the standard deviations of the reference (ours; the score leaves it open).
    """
    mean = reference.mean.cpu().numpy()
    deviation = np.sqrt((reference.root @ reference.root).diagonal().cpu().numpy())
    scaled = (features - mean) / np.where(deviation > 0, deviation, 1.0)
    return np.array([[vendi_score(scaled[chosen, p]) for p in range(features.shape[1])] for chosen in sets])


def compare(
    trial: Trial, tables: Mapping[str, Floats], chosen: Ints, random: Mapping[str, Ints], reference: Reference,
    statistics: StatisticsConfig, memory: Memory | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A set of seeds against random ones, all on the same prompts.

    Args:
        trial: pictures of both.
        tables: of :func:`distance_tables`.
        chosen: positions of the set.
        random: positions of random seeds of the same ``pool``, and of ``any``.
        reference: what Fréchet distances are measured from.
        statistics: blocks of prompts and coverage.
        memory: shared by calls with the same trial and tables, which compare with the same random seeds.

    Returns:
        For each table the mean distance of pairs in the ``set`` and among random seeds of the ``pool`` and of ``any``,
        and the relative ``gain`` over the pool and ``gain_over_any`` (0.1: 10 % farther apart); the same of ``vendi``;
        and ``fid`` of the set and of random sets, and what it is ``worse`` than random sets of any.

    """
    known: Memory = {} if memory is None else memory
    found = {name: _distance_gain(name, table, chosen, random, statistics, known) for name, table in tables.items()}
    sets = {kind: _sets_beside(chosen, seeds, statistics) for kind, seeds in random.items()}
    if all(len(some) > 1 for some in sets.values()):
        found["vendi"] = _vendi_gain(trial, chosen, sets, reference, statistics)
        found["fid"] = _fid(trial, chosen, sets, reference, statistics)
    return found


def _remembered(statistic: Statistic, values: dict[tuple[bytes, bytes], float]) -> Statistic:
    """The statistic, computed once for each choice of prompts and seeds."""

    def recall(prompts: Ints, kept: Ints) -> float:
        key = (prompts.tobytes(), kept.tobytes())
        if key not in values:
            values[key] = statistic(prompts, kept)
        return values[key]

    return recall


def _sets_beside(chosen: Ints, random: Ints, statistics: StatisticsConfig) -> list[Ints]:
    """Random sets of the size of the chosen one, no seed in two."""
    generator = np.random.default_rng([statistics.seed, 9])
    return [one for one in random_sets(random, len(chosen), generator) if len(one) == len(chosen)]


def _distance_gain(
    name: str, table: Floats, chosen: Ints, random: Mapping[str, Ints], statistics: StatisticsConfig, memory: Memory
) -> dict[str, Any]:
    def of(seeds: Ints) -> Statistic:
        own = memory.setdefault((name, seeds.tobytes()), {})
        return _remembered(lambda prompts, kept: mean_distance(table, seeds[kept], prompts), own)

    beside = {kind: (of(seeds), len(seeds)) for kind, seeds in random.items()}
    return _against(lambda prompts, kept: mean_distance(table, chosen, prompts), beside, len(table), statistics)


def _vendi_gain(
    trial: Trial, chosen: Ints, sets: Mapping[str, Sequence[Ints]], reference: Reference, statistics: StatisticsConfig
) -> dict[str, Any]:
    own = vendi_table(trial.features, [chosen], reference)[0]

    def of(scores: Floats) -> Statistic:
        return lambda prompts, kept: float(scores[kept][:, prompts].mean())

    beside = {kind: (of(vendi_table(trial.features, some, reference)), len(some)) for kind, some in sets.items()}
    return _against(lambda prompts, kept: float(own[prompts].mean()), beside, len(own), statistics)


def _against(
    chosen: Statistic, beside: Mapping[str, tuple[Statistic, int]], prompts: int, statistics: StatisticsConfig
) -> dict[str, Any]:
    """The set, each kind of random seeds, and the relative gain over them; a kind has a number of seeds or sets."""
    estimates = {"set": of_tables(chosen, prompts, statistics.blocks, 0)}
    for kind, (random, units) in beside.items():
        estimates[kind] = of_tables(random, prompts, statistics.blocks, units)
        estimates[_gain_name(kind)] = of_tables(_relative(chosen, random), prompts, statistics.blocks, units)
    return _figures(estimates, statistics, prompts)


def _gain_name(kind: str) -> str:
    return "gain" if kind == POOL else f"gain_over_{kind}"


def _relative(chosen: Statistic, random: Statistic) -> Statistic:
    return lambda prompts, kept: chosen(prompts, kept) / random(prompts, kept) - 1


def _fid(
    trial: Trial, chosen: Ints, sets: Mapping[str, Sequence[Ints]], reference: Reference, statistics: StatisticsConfig
) -> dict[str, Any]:
    """FID of the set's pictures, of random sets, and how much worse the former is (below 0: better)."""
    prompts = len(trial.prompts)
    blocks, estimates = prompt_blocks(prompts, statistics.blocks), {}
    for kind, some in sets.items():
        folds = set_folds(trial.features, [*some, chosen], blocks, reference, statistics)
        estimates["set"] = of_folds(lambda d, drawn: float(d[-1]), folds, 0)
        estimates[kind] = of_folds(lambda d, drawn: float(d[drawn].mean()), folds, len(some))
        name = "worse" if kind == ANY else f"worse_than_{kind}"
        estimates[name] = of_folds(lambda d, drawn: float(d[-1] - d[drawn].mean()), folds, len(some))
    return _figures(estimates, statistics, prompts) | {"pictures": len(chosen) * prompts}


def _figures(estimates: Mapping[str, TwoWay], statistics: StatisticsConfig, prompts: int) -> dict[str, Any]:
    return {
        name: bounded(estimate.interval(statistics.confidence), prompts)
        for name, estimate in estimates.items()
        if np.isfinite(estimate.value)
    }
