"""Noise swap: initial noise from one seed, step noise from another. Which of the two does the picture follow?

For pairs of seeds (i, j): seed i's initial noise, its own step noise up to step t, and seed j's from there on. The two
ends of the curve are the pictures that are wholly i's and wholly j's. Needs a sampler that adds noise. Seed j's noise
at a step is what its own picture gets at that step: the states of its generators are copied, and no draw is assumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seedml.applications.comparison import bounded
from seedml.errors import UserError
from seedml.models.text_to_image import PromptEmbeddings, TextToImage
from seedml.noise import initial_noise
from seedml.per_seed.balance import Floats, Ints, prompt_blocks
from seedml.per_seed.intervals import Interval, Jackknife, block_jackknife, wilson_limits

if TYPE_CHECKING:
    from seedml.config import StatisticsConfig, StudyConfig

WHOLLY_SECOND = -1
"""Place on the curve where the initial noise is the second seed's, too."""
STOCHASTIC = (
    "EulerAncestralDiscreteScheduler", "DDPMScheduler", "KDPM2AncestralDiscreteScheduler", "LCMScheduler",
    "TCDScheduler",
)  # fmt: skip
"""Schedulers that add noise while sampling."""
_GROUPS = 32

States = list[Tensor]
"""The states of some generators."""


class Swap(NamedTuple):
    """A picture to be made in all ways.

    Attributes:
        first: seed of the initial noise.
        second: seed that takes over.
        row: of the prompt's embedding.
        pair: number of the pair.

    """

    first: int
    second: int
    row: int
    pair: int


def plan_swaps(seeds: Sequence[int], prompts: int, pairs: int, each: int, generator: np.random.Generator) -> list[Swap]:
    """Pairs of seeds, none in two, each with prompts of its own as far as there are enough.

    Args:
        seeds: two or more.
        prompts: how many there are; they are taken in turn.
        pairs: at most.
        each: prompts of a pair, at most as many as there are.
        generator: draws the pairs.

    """
    order = [int(seed) for seed in generator.permutation(np.asarray(seeds, np.int64))]
    count = min(pairs, len(order) // 2)
    return [
        Swap(order[2 * pair], order[2 * pair + 1], (k * count + pair) % prompts, pair)
        for pair in range(count)
        for k in range(min(each, prompts))
    ]


def swap_config(config: StudyConfig) -> StudyConfig:
    """The study with the sampler of the noise swap.

    Raises:
        UserError: the study's own noise is not each image's own.

    """
    noise = config.noise
    if noise.initial_seed is not None or noise.step_seed is not None:
        raise UserError(
            "the noise swap needs a study in which every image has noise of its own", given=str(noise),
            legal="noise.initial_seed=null noise.step_seed=null", remedy="leave noise_swap out of apply.run",
        )  # fmt: skip
    wanted = config.apply
    own = wanted.swap_scheduler == config.sampler.scheduler
    sampler = replace(config.sampler, scheduler=wanted.swap_scheduler, steps=wanted.swap_steps or config.sampler.steps)
    model = config.model if own else replace(config.model, scheduler_options={})
    return replace(config, sampler=sampler, model=model)


def swapped_pictures(
    model: TextToImage, embeddings: PromptEmbeddings, swaps: Sequence[Swap], device: str, eta: float = 0.0
) -> Iterator[tuple[int, Tensor]]:
    """Place on the curve and the pictures there: ``N × 3 × H × W`` uint8, a row a swap, for all places in order.

    Places: −1 wholly the second seed's; 0 only the initial noise is the first's; t: step noise from step t on is the
    second's; T (the number of steps): wholly the first's.

    Args:
        model: with a sampler that adds noise.
        embeddings: of the prompts.
        swaps: one batch.
        device: of the generators.
        eta: DDIM's share of fresh noise; other samplers do not heed it.

    Raises:
        UserError: the sampler adds no noise.

    """
    texts = embeddings[[swap.row for swap in swaps]]
    second, generators = initial_noise([swap.second for swap in swaps], model.latent_shape, device)
    states = [_states(generators)]
    pictures = model.sample(texts, second, generators, lambda step: states.append(_states(generators)), eta).images
    if all(torch.equal(a, b) for a, b in zip(states[0], states[-1], strict=True)):
        raise UserError(
            "the noise swap needs a sampler that adds noise, and this one adds none",
            given=f"{model.sampling.scheduler}, {model.sampling.steps} steps, eta {eta:g}",
            legal=f"DDIMScheduler with apply.swap_eta above 0, {', '.join(STOCHASTIC)}",
            remedy="set apply.swap_scheduler to such a scheduler",
        )  # fmt: skip
    yield WHOLLY_SECOND, pictures
    steps = len(states) - 1
    for switch in range(steps + 1):
        first, generators = initial_noise([swap.first for swap in swaps], model.latent_shape, device)
        takeover = _Takeover(generators, states, switch if switch < steps else None)
        yield switch, model.sample(texts, first, generators, takeover.after_step, eta).images


class _Takeover:
    """Puts generators into another seed's states when their step comes; ``switch`` ``None``: never."""

    def __init__(self, generators: Sequence[torch.Generator], states: Sequence[States], switch: int | None) -> None:
        self._generators, self._states, self._switch = generators, states, switch
        self.after_step(-1)

    def after_step(self, step: int) -> None:
        """Before step ``step + 1``."""
        if step + 1 == self._switch:
            for generator, state in zip(self._generators, self._states[step + 1], strict=True):
                generator.set_state(state)


def _states(generators: Sequence[torch.Generator]) -> States:
    return [generator.get_state() for generator in generators]


@dataclass(frozen=True)
class Followed:
    """What the pictures at each place of the curve are like.

    Attributes:
        places: of the curve, −1 … T.
        features: ``places × N × D`` float32.
        named: ``places × N`` int64, the seed that the classifier names; ``None`` without one.

    """

    places: Sequence[int]
    features: np.ndarray[Any, np.dtype[np.float32]]
    named: Ints | None


def curve(
    followed: Followed, swaps: Sequence[Swap], statistics: StatisticsConfig, known: int | None
) -> list[dict[str, Any]]:
    """What the picture follows, place by place.

    Each place: ``place``; ``closeness`` = d_j / (d_i + d_j) with the feature distances to the wholly first and wholly
    second picture, 1 = the first's, 0 = the second's; ``nearer_first``: share of pictures nearer to the first's; and
    with a classifier ``named_first``, ``named_second``, ``named_other``. Intervals over pairs of seeds, whose prompts
    are their own. Pictures of a pair whose two ends are the same do not tell and are left out of the first two.

    Args:
        followed: of all places.
        swaps: the rows.
        statistics: coverage.
        known: seeds that the classifier can name, for chance.

    """
    pairs = np.array([swap.pair for swap in swaps])
    first, second = (np.array([swap[at] for swap in swaps], np.int64) for at in (0, 1))
    to_first = np.linalg.norm(followed.features - followed.features[-1], axis=2).astype(np.float64)
    to_second = np.linalg.norm(followed.features - followed.features[0], axis=2).astype(np.float64)
    tells = to_second[-1] > 0
    found = []
    for at, place in enumerate(followed.places):
        a, b = to_first[at][tells], to_second[at][tells]
        entry: dict[str, Any] = {"place": place}
        if tells.any():
            entry["closeness"] = _figure(b / np.maximum(a + b, 1e-12), pairs[tells], statistics)
            near = np.where(a == b, 0.5, (a < b).astype(np.float64))
            entry["nearer_first"] = _share(near, pairs[tells], statistics) | {"chance": 0.5}
        if followed.named is not None and known:
            names = followed.named[at]
            for key, hit in (("named_first", names == first), ("named_second", names == second)):
                entry[key] = _share(hit.astype(np.float64), pairs, statistics) | {"chance": 1 / known}
            other = (names != first) & (names != second)
            entry["named_other"] = _share(other.astype(np.float64), pairs, statistics) | {"chance": 1 - 2 / known}
        found.append(entry)
    return found


def _over_pairs(values: Floats, pairs: Ints) -> Jackknife:
    """Mean over pictures with the jackknife over groups of pairs."""
    names, at = np.unique(pairs, return_inverse=True)
    groups = prompt_blocks(len(names), _GROUPS)[at]
    labels, sizes = np.unique(groups, return_counts=True)
    mean = np.asarray(values.mean())
    if len(labels) < 2:
        return Jackknife(mean, mean, np.asarray(np.nan), 1)
    return block_jackknife(mean, np.array([values[groups != label].mean() for label in labels]), sizes)


def _figure(values: Floats, pairs: Ints, statistics: StatisticsConfig) -> dict[str, object]:
    interval = _over_pairs(values, pairs).interval(statistics.confidence)
    return bounded(interval, len(np.unique(pairs))) | {"pictures": len(values)}


def _share(values: Floats, pairs: Ints, statistics: StatisticsConfig) -> dict[str, object]:
    """A share with the wider of the limits over pairs and of Wilson's, which know what no resampling can: 0 of n."""
    value, low, high = (float(part) for part in _over_pairs(values, pairs).interval(statistics.confidence))
    wilson = wilson_limits(np.array([value]), np.array([len(values)]), statistics.confidence)
    low, high = np.fmin(low, wilson.low[0]), np.fmax(high, wilson.high[0])
    limits = Interval(np.asarray(value), np.clip(low, 0, 1), np.clip(high, 0, 1))
    return bounded(limits, len(np.unique(pairs))) | {"pictures": len(values)}


def decided_by(places: Sequence[dict[str, Any]]) -> int | None:
    """The first place at which the picture is surely nearer to the first seed's; 0 = the initial noise decides.

    ``None`` where that is so at the end alone, or nowhere.
    """
    last = max(p["place"] for p in places)  # the first seed's own picture, which is nearest to itself
    sure = [p["place"] for p in places if p.get("nearer_first", {}).get("low", 0.0) > 0.5 and p["place"] < last]
    return int(min(sure)) if sure else None
