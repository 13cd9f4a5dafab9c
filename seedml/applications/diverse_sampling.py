"""Diversified sampling: seeds that are far apart in style or in layout, against random seeds.

Where a seed is, is the mean of its pictures' vectors on prompts that seeds may be chosen by; sets are told apart on
prompts that had no part in it. Pictures that are odd are far from everything: so the Fréchet distance of each set is
told beside its variety, and sets may be taken among golden seeds, or all that are not inferior.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import pdist, squareform

from seedml.applications.comparison import TwoWay, bounded, of_folds, of_tables
from seedml.applications.sets import diverse_set, random_sets, set_folds
from seedml.applications.studio import Trial
from seedml.per_seed.balance import Floats, Ints, prompt_blocks
from seedml.per_seed.frechet import Reference

if TYPE_CHECKING:
    from seedml.config import ApplyConfig, StatisticsConfig

ATTRIBUTES = ("location", "size")
"""Attributes that are looked at, as far as the study measures them."""
FEATURES = "features"
"""Name of the study's feature network among the spaces in which distances are told."""
GOLDEN, NOT_INFERIOR, ALL = "golden", "not_inferior", "all"


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
    places: Trial, wanted: ApplyConfig, pools_of_seeds: Mapping[str, Sequence[int]], methods: Sequence[str]
) -> dict[Recipe, list[int]]:
    """Recipe -> its seeds, by pictures of prompts that seeds may be chosen by.

    Spaces that say nothing of these pictures (NaN) are left out.

    Args:
        places: pictures of all seeds of the pools on those prompts.
        wanted: size and spaces.
        pools_of_seeds: pool -> seeds, best first: farthest points start with the best.
        methods: of :func:`~seedml.applications.sets.diverse_set`.

    """
    found = {}
    for space in wanted.diverse_spaces:
        vectors = places.vectors.get(space)
        if vectors is None or not np.isfinite(vectors).all():
            continue
        points = vectors.mean(axis=1, dtype=np.float64)
        for among, seeds in pools_of_seeds.items():
            allowed = places.places(seeds)
            for method in methods:
                chosen = diverse_set(points, method, int(allowed[0]), wanted.diverse, allowed)
                found[Recipe(space, method, among)] = places.seeds[chosen].tolist()
    return found


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
        found["position"] = _distances(np.stack([trial.columns["location_x"], trial.columns["location_y"]], axis=2))
    if "size" in trial.columns:
        found["size"] = _distances(trial.columns["size"][:, :, None])
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
    trial: Trial, tables: Mapping[str, Floats], chosen: Ints, random: Ints, reference: Reference,
    statistics: StatisticsConfig,
) -> dict[str, Any]:  # fmt: skip
    """A set of seeds against random ones, all on the same prompts.

    Args:
        trial: pictures of both.
        tables: of :func:`distance_tables`.
        chosen: positions of the set.
        random: positions of the random seeds.
        reference: what Fréchet distances are measured from.
        statistics: blocks of prompts and coverage.

    Returns:
        For each table the mean distance of pairs in the set and among random seeds, and the relative ``gain`` (0.1 =
        10 % farther apart); the same of ``vendi``; and ``fid``: of the set, of random sets, and what it is ``worse``.

    """
    found = {name: _distance_gain(table, chosen, random, statistics) for name, table in tables.items()}
    generator = np.random.default_rng([statistics.seed, 9])
    sets = [one for one in random_sets(random, len(chosen), generator) if len(one) == len(chosen)]
    if sets:
        found["vendi"] = _vendi_gain(vendi_table(trial.features, [*sets, chosen], reference), statistics)
        found["fid"] = _fid(trial, [*sets, chosen], reference, statistics)
    return found


def _distance_gain(table: Floats, chosen: Ints, random: Ints, statistics: StatisticsConfig) -> dict[str, Any]:
    def of_chosen(prompts: Ints, seeds: Ints) -> float:
        return mean_distance(table, chosen, prompts)

    def of_random(prompts: Ints, seeds: Ints) -> float:
        return mean_distance(table, random[seeds], prompts)

    return _both(of_chosen, of_random, len(table), len(random), statistics)


def _vendi_gain(scores: Floats, statistics: StatisticsConfig) -> dict[str, Any]:
    def of_chosen(prompts: Ints, sets: Ints) -> float:
        return float(scores[-1, prompts].mean())

    def of_random(prompts: Ints, sets: Ints) -> float:
        return float(scores[sets][:, prompts].mean())

    return _both(of_chosen, of_random, scores.shape[1], len(scores) - 1, statistics)


def _both(
    chosen: Callable[[Ints, Ints], float], random: Callable[[Ints, Ints], float], prompts: int, units: int,
    statistics: StatisticsConfig,
) -> dict[str, Any]:  # fmt: skip
    """The set, random seeds, and the relative gain; ``units`` random seeds or sets are drawn."""

    def gain(kept: Ints, drawn: Ints) -> float:
        return chosen(kept, drawn) / random(kept, drawn) - 1

    estimates = {
        "set": of_tables(chosen, prompts, statistics.blocks, 0),
        "random": of_tables(random, prompts, statistics.blocks, units),
        "gain": of_tables(gain, prompts, statistics.blocks, units),
    }
    return _figures(estimates, statistics, prompts)


def _fid(trial: Trial, sets: Sequence[Ints], reference: Reference, statistics: StatisticsConfig) -> dict[str, Any]:
    """FID of the last set's pictures, of the others, and how much worse the former is (below 0: better)."""
    prompts, others = len(trial.prompts), len(sets) - 1
    folds = set_folds(trial.features, sets, prompt_blocks(prompts, statistics.blocks), reference, statistics)
    estimates = {
        "set": of_folds(lambda d, drawn: float(d[-1]), folds, 0),
        "random": of_folds(lambda d, drawn: float(d[drawn].mean()), folds, others),
        "worse": of_folds(lambda d, drawn: float(d[-1] - d[drawn].mean()), folds, others),
    }
    return _figures(estimates, statistics, prompts) | {"pictures": len(sets[-1]) * prompts}


def _figures(estimates: Mapping[str, TwoWay], statistics: StatisticsConfig, prompts: int) -> dict[str, Any]:
    return {
        name: bounded(estimate.interval(statistics.confidence), prompts)
        for name, estimate in estimates.items()
        if np.isfinite(estimate.value)
    }
