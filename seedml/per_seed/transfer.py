"""Do two runs agree about seeds? Rank correlation between models, guidance, steps, picture sizes or prompt sets.

A seed is only a number: what can carry over is its noise. So two runs may be said to share seeds only where the noise
that they recorded is the same, to the bit; otherwise the caller has to ask for a comparison of numbers, and the result
says that it is one. Knows arrays, not files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy import stats

from seedml.errors import UserError
from seedml.per_seed.balance import Floats, Ints, prompt_blocks
from seedml.per_seed.folds import Folds
from seedml.per_seed.intervals import block_jackknife
from seedml.per_seed.permutation import permutation_p
from seedml.per_seed.reliability import SplitHalf, random_halves, rank_correlations, split_half

_SHUFFLES = 16
"""Shuffles of fold labels behind the part of the prompts' variance that the seeds' variance holds already."""

Statistic = Callable[[Floats, Floats], Floats]
"""Values of the same seeds in two runs, rows of ``K × S`` and ``K × S`` -> ``K`` correlations."""


@dataclass(frozen=True)
class RunSeeds:
    """One number a seed from one run, and what is known of it.

    Attributes:
        name: of the run, for messages.
        seeds: ``S`` int64, each once, any order.
        values: ``S`` float64, such as FID; finite.
        folds: the same with blocks of prompts left out, seeds in the same order; ``None`` where not kept.
        halves: split-half reliability of the values; ``None`` where not known.
        noise: seed -> SHA-256 of its initial noise as drawn.
        latent_shape: of that noise; ``None`` where not known.

    """

    name: str
    seeds: Ints
    values: Floats
    folds: Folds | None = None
    halves: SplitHalf | None = None
    noise: Mapping[int, str] = field(default_factory=dict)
    latent_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if len(np.unique(self.seeds)) != len(self.seeds):
            raise UserError(f"{self.name} has a seed twice", remedy="give one value a seed")
        lost = self.seeds[~np.isfinite(self.values)]
        if len(lost):
            raise UserError(
                f"{self.name} has no value of seed {lost[0]}", remedy="leave the seeds without a value out of both runs"
            )


class Correlation(NamedTuple):
    """A correlation with its limits; NaN where not known."""

    value: float
    low: float
    high: float


UNKNOWN = Correlation(np.nan, np.nan, np.nan)


class Transfer(NamedTuple):
    """How far two runs order the same seeds alike.

    Attributes:
        seeds: those that both runs have, ascending.
        spearman: rank correlation ρ.
        kendall: τ-b: ``(1 + τ)/2`` of all pairs of seeds are in the same order, ties aside.
        corrected: ρ with the noise of both runs taken out; may exceed 1. NaN where a reliability is not known or ≤ 0.
        p: permutation p-value of "the orders have nothing to do with each other", two-sided.
        same_noise: whether every seed has the same noise in both runs; ``None`` where a run does not say.
        prompts_counted: whether the limits allow for other prompts too, not for other seeds alone.

    """

    seeds: Ints
    spearman: Correlation
    kendall: Correlation
    corrected: Correlation
    p: float
    same_noise: bool | None
    prompts_counted: bool


def seeds_of_table(
    name: str, seeds: Ints, table: Floats, blocks: int, splits: int, generator: np.random.Generator,
    noise: Mapping[int, str] | None = None, latent_shape: tuple[int, ...] | None = None,
) -> RunSeeds:  # fmt: skip
    """Means over prompts of ``S × P`` (no NaN) with folds and split halves.

    Args:
        name: of the run.
        seeds: ``S``.
        table: an attribute, or any number an image.
        blocks: blocks of prompts, left out in turn.
        splits: random splits of the blocks in halves.
        generator: makes the splits.
        noise: seed -> SHA-256.
        latent_shape: of the noise.

    """
    block = prompt_blocks(table.shape[1], blocks)
    sizes = np.bincount(block)
    sums = np.stack([table[:, block == b].sum(axis=1) for b in range(len(sizes))])
    deleted = (sums.sum(axis=0) - sums) / (table.shape[1] - sizes)[:, None]
    folds = Folds(table.mean(axis=1), deleted, sizes, table.shape[1])
    first = random_halves(len(sizes), splits, generator)
    halves = [(side @ sums) / (side @ sizes)[:, None] for side in (first, 1 - first)]
    return RunSeeds(name, seeds, folds.full, folds, split_half(*halves), noise or {}, latent_shape)


def transfer(
    first: RunSeeds, second: RunSeeds, generator: np.random.Generator, *, same_noise: bool = True,
    same_prompts: bool = False, confidence: float = 0.95, permutations: int = 2000,
) -> Transfer:  # fmt: skip
    """Compare the order of the seeds that two runs have in common.

    Limits are Student-t on Fisher's scale, ``artanh r``. The variance is that of the delete-one-seed jackknife (other
    seeds), and where both runs bring folds the part of the delete-a-block jackknife over prompts (other prompts) that
    the seeds' variance does not hold already: noise that is each seed's own is in both, so what the folds give with
    their labels shuffled within each seed is taken off. Bias: noise in either run draws both correlations to 0.
    ``corrected`` takes that out (Spearman 1904, Am. J. Psychol. 15): ``ρ / √(R₁ R₂)`` with the Spearman-Brown
    reliabilities R; for ranks this is an approximation. It is too large where both runs have the same prompts and a
    seed's luck with a prompt carries over, as it does between models that are near each other.

    Args:
        first: a run.
        second: another.
        generator: for permutations.
        same_noise: refuse seeds whose noise is not known to be the same in both runs. ``False`` compares numbers.
        same_prompts: the folds of both runs leave out the same prompts.
        confidence: of the limits, and of those in ``halves``.
        permutations: of the seeds of ``second``.

    Raises:
        UserError: fewer than four seeds in common; noise that differs or is not recorded; folds that do not fit.

    """
    seeds, one, two = np.intersect1d(first.seeds, second.seeds, return_indices=True)
    if len(seeds) < 4:
        raise UserError(
            f"{first.name} and {second.name} have too few seeds in common", given=len(seeds), legal="four or more",
            remedy="run both studies with the same seeds",
        )  # fmt: skip
    same = noise_is_same(first, second, seeds)
    if same_noise:
        require_same_noise(first, second, seeds)
    folds = _common_folds(first, second, one, two, same_prompts)
    a, b = first.values[one], second.values[two]
    spearman, kendall = (
        _with_limits(statistic, a, b, folds, same_prompts, confidence, generator)
        for statistic in (rank_correlations, _kendall)
    )
    return Transfer(
        seeds, spearman, kendall, _corrected(spearman, first, second, confidence),
        _order_p(a, b, permutations, generator), same, folds is not None,
    )  # fmt: skip


def noise_is_same(first: RunSeeds, second: RunSeeds, seeds: Ints) -> bool | None:
    """Whether these seeds have the same initial noise in both runs; ``None`` where a hash is not recorded.

    Raises:
        UserError: equal hashes of noises that have different shapes: one of the records is wrong.

    """
    pairs = [(first.noise.get(int(seed)), second.noise.get(int(seed))) for seed in seeds]
    if any(one is None or two is None for one, two in pairs):
        return None
    same = [one == two for one, two in pairs]
    if any(same) and _shapes_differ(first, second):
        raise UserError(
            f"seed {seeds[same.index(True)]} has one noise hash for two latent shapes in {first.name} and "
            f"{second.name}", given=(first.latent_shape, second.latent_shape), remedy="make one of the records again",
        )  # fmt: skip
    return all(same)


def require_same_noise(first: RunSeeds, second: RunSeeds, seeds: Ints) -> None:
    """Refuse to call seeds the same whose noise is not.

    Raises:
        UserError: names the first seed that differs, and both hashes; or the run that recorded none.

    """
    numbers = "pass same_noise=False to compare seed numbers whose noise is not the same"
    if _shapes_differ(first, second):
        raise UserError(
            f"{first.name} and {second.name} have noise of different shapes, so no seed is the same noise in both",
            given=(first.latent_shape, second.latent_shape), legal="one latent shape (model and picture size)",
            remedy=numbers,
        )  # fmt: skip
    for seed in seeds.tolist():
        one, two = first.noise.get(seed), second.noise.get(seed)
        if one is None or two is None:
            name = first.name if one is None else second.name
            raise UserError(f"{name} records no noise hash of seed {seed}", legal="a SHA-256", remedy=numbers)
        if one != two:
            raise UserError(
                f"seed {seed} is not the same noise in {first.name} and in {second.name}", given=f"{one} and {two}",
                legal="one SHA-256 in both",
                remedy="what usually differs is noise.generator_device, the latent shape (model and picture size), the "
                f"dtype of the draw, noise.initial_seed or the library's version; make them equal, or {numbers}",
            )  # fmt: skip


def _shapes_differ(first: RunSeeds, second: RunSeeds) -> bool:
    known = first.latent_shape is not None and second.latent_shape is not None
    return known and tuple(first.latent_shape or ()) != tuple(second.latent_shape or ())


class _Fold(NamedTuple):
    """Values of the common seeds without each block of prompts (``B × S``), and the blocks' sizes ``B``."""

    deleted: Floats
    sizes: Ints


def _common_folds(
    first: RunSeeds, second: RunSeeds, one: Ints, two: Ints, same_prompts: bool
) -> tuple[_Fold, _Fold] | None:
    """The folds of the common seeds; ``None`` where a run has none, or too few blocks for a jackknife."""
    if first.folds is None or second.folds is None or min(len(first.folds.deleted), len(second.folds.deleted)) < 2:
        return None
    if same_prompts and not np.array_equal(first.folds.sizes, second.folds.sizes):
        raise UserError(
            f"{first.name} and {second.name} leave out different blocks of prompts",
            given=(first.folds.sizes.tolist(), second.folds.sizes.tolist()), legal="the same prompts in both",
            remedy="keep the prompts that both runs have, in blocks of one number, or pass same_prompts=False",
        )  # fmt: skip
    own, other = first.folds, second.folds
    return _Fold(own.deleted[:, one], own.sizes), _Fold(other.deleted[:, two], other.sizes)


def _kendall(a: Floats, b: Floats) -> Floats:
    return np.array([stats.kendalltau(one, two).statistic for one, two in zip(a, b, strict=True)])


def _without_each(statistic: Statistic, a: Floats, b: Floats) -> Floats:
    """The statistic without each seed: ``S``."""
    if statistic is _kendall:
        return kendall_without_each(a, b)
    kept = ~np.eye(len(a), dtype=bool)
    return statistic(*(np.broadcast_to(values, kept.shape)[kept].reshape(len(a), -1) for values in (a, b)))


def kendall_without_each(a: Floats, b: Floats) -> Floats:
    """Kendall's τ-b of ``S`` values without each seed in turn: ``S``. All pairs are looked at once, not S times."""
    first, second = (np.sign(values[:, None] - values[None, :]) for values in (a, b))
    products = (first * second, first * first, second * second)
    # a pair stands twice in its matrix, and a seed is in one row and one column
    agreement, untied, untied_too = (product.sum() - 2 * product.sum(axis=1) for product in products)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(agreement / np.sqrt(untied * untied_too))


def _fisher(r: Floats | float) -> Floats:
    return np.asarray(np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9)))


def _with_limits(
    statistic: Statistic, a: Floats, b: Floats, folds: tuple[_Fold, _Fold] | None, same_prompts: bool,
    confidence: float, generator: np.random.Generator,
) -> Correlation:  # fmt: skip
    n, value = len(a), float(statistic(a[None], b[None])[0])
    z_without = _fisher(_without_each(statistic, a, b))
    of_seeds = (n - 1) / n * float(((z_without - z_without.mean()) ** 2).sum())
    of_prompts = _variance_of_prompts(statistic, a, b, folds, same_prompts, generator) if folds else 0.0
    blocks = min(len(fold.sizes) for fold in folds) if folds else 2
    variance = of_seeds + of_prompts
    # Satterthwaite's degrees of freedom of a sum of variances
    freedom = variance**2 / (of_seeds**2 / (n - 1) + of_prompts**2 / (blocks - 1)) if variance > 0 else n - 1
    reach = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * variance**0.5
    z = float(_fisher(value))
    return Correlation(value, float(np.tanh(z - reach)), float(np.tanh(z + reach)))


def _variance_of_prompts(
    statistic: Statistic, a: Floats, b: Floats, folds: tuple[_Fold, _Fold], same_prompts: bool,
    generator: np.random.Generator,
) -> float:  # fmt: skip
    """Variance on Fisher's scale that other prompts add to that of other seeds, ≥ 0.

    Fold labels shuffled within each seed keep the size of each seed's own noise and destroy what prompts do to many
    seeds at once (a topic that suits some of them): the difference is the latter.
    """
    one, two = folds
    n = len(a)

    def variance(first: Floats, second: Floats) -> float:
        """Of folds ``B × S``; runs with prompts of their own are resampled one after the other."""
        if same_prompts:
            return _jackknife(statistic, a, b, first, second, one.sizes)
        alone = _jackknife(statistic, a, b, first, np.broadcast_to(b, first.shape), one.sizes)
        return alone + _jackknife(statistic, a, b, np.broadcast_to(a, second.shape), second, two.sizes)

    own = []
    for _ in range(_SHUFFLES):
        labels = [generator.permuted(np.repeat(np.arange(len(f.sizes))[:, None], n, axis=1), axis=0) for f in folds]
        if same_prompts:
            labels[1] = labels[0]  # luck that a seed has in both runs with one prompt stays together
        own.append(variance(*(np.take_along_axis(f.deleted, at, axis=0) for f, at in zip(folds, labels, strict=True))))
    return max(variance(one.deleted, two.deleted) - float(np.mean(own)), 0.0)


def _jackknife(statistic: Statistic, a: Floats, b: Floats, without_a: Floats, without_b: Floats, sizes: Ints) -> float:
    """Variance of the delete-a-block jackknife on Fisher's scale; the values without each block are ``B × S``."""
    whole, deleted = statistic(a[None], b[None])[0], statistic(without_a, without_b)
    return float(block_jackknife(_fisher(whole), _fisher(deleted), sizes).error ** 2)


def _corrected(spearman: Correlation, first: RunSeeds, second: RunSeeds, confidence: float) -> Correlation:
    """``ρ / √(R₁ R₂)`` with limits by the delta method:

        var = var ρ / (R₁R₂) + ρ²/(4 R₁R₂) · (var R₁/R₁² + var R₂/R₂²)

    taking the three as independent. They rise and fall together, so the limits are rather too wide than too narrow.
    """
    if first.halves is None or second.halves is None:
        return UNKNOWN
    found = [_reliability(run.halves, len(run.seeds), confidence) for run in (first, second) if run.halves is not None]
    (one, var_one), (two, var_two) = found
    if not min(one, two) > 0:
        return UNKNOWN
    t = float(stats.t.ppf(0.5 + confidence / 2, len(np.intersect1d(first.seeds, second.seeds)) - 1))
    width = float(_fisher(spearman.high) - _fisher(spearman.low)) / (2 * t)
    var_rho = ((1 - spearman.value**2) * width) ** 2
    value = spearman.value / (one * two) ** 0.5
    variance = var_rho / (one * two) + value**2 / 4 * (var_one / one**2 + var_two / two**2)
    reach = t * variance**0.5
    return Correlation(value, value - reach, value + reach)


def _reliability(halves: SplitHalf, seeds: int, confidence: float) -> tuple[float, float]:
    """Spearman-Brown reliability ``2h/(1 + h)`` and its variance, from the limits of h on Fisher's scale."""
    h = halves.correlation
    t = float(stats.t.ppf(0.5 + confidence / 2, seeds - 1))
    error = (1 - h**2) * float(_fisher(halves.high) - _fisher(halves.low)) / (2 * t)
    return halves.reliability, (2 / (1 + h) ** 2 * error) ** 2 if h > -1 else np.nan


def _order_p(a: Floats, b: Floats, permutations: int, generator: np.random.Generator) -> float:
    """Two-sided p-value of ρ when the seeds of one run are permuted; NaN where a run's values are all equal."""
    ranks = [stats.rankdata(values) for values in (a, b)]
    one, two = (rank - rank.mean() for rank in ranks)
    norm = float(np.sqrt((one**2).sum() * (two**2).sum()))
    if norm == 0:
        return np.nan
    shuffled = generator.permuted(np.tile(two, (permutations, 1)), axis=1)
    return float(permutation_p(abs(float(one @ two)) / norm, np.abs(shuffled @ one) / norm))
