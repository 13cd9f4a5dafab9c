"""The control ``learning_curve``: how many prompts does it take to learn the seeds, and how many seeds can be told?

Smaller sets are parts of larger ones, drawn at random. All points are tested on all test prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seedml.classifier.chosen_images import ChosenImages, images_of
from seedml.classifier.context import Context
from seedml.classifier.evidence import accuracy
from seedml.classifier.split_images import SplitImages
from seedml.classifier.variation import Variation, train_variation

PROMPT_POINTS, SEED_POINTS = 4, 3
"""Smaller sets, each half of the next larger one, beside the whole."""
FEWEST_PROMPTS, FEWEST_SEEDS = 2, 4


def learning_curve(context: Context) -> dict[str, Any]:
    """``metrics.json``'s ``learning_curve``: ``prompts`` and ``seeds``, each a list of points, the smallest first.

    A point has ``prompts`` (of training), ``seeds``, ``images`` (of training), ``epochs``, the accuracy on test images
    with its interval and n, the ``train_accuracy`` of the last epoch, and ``chance``.
    """
    prompts = _in_random_order(context.prompt_ids("train"), context)
    seeds = _in_random_order(context.config.seed_list, context)
    whole = _whole(context)
    by_prompts = [
        _with_prompts(context, prompts[:count]) for count in halves(len(prompts), PROMPT_POINTS, FEWEST_PROMPTS)
    ]
    by_seeds = [_with_seeds(context, seeds[:count]) for count in halves(len(seeds), SEED_POINTS, FEWEST_SEEDS)]
    return {"prompts": [*by_prompts, whole], "seeds": [*by_seeds, whole]}


def halves(whole: int, points: int, fewest: int) -> list[int]:
    """``whole`` / 2, / 4 … rounded down, ascending: at most so many, none below ``fewest``."""
    return sorted(count for half in range(1, points + 1) if (count := whole >> half) >= fewest)


def _in_random_order(items: Sequence[int], context: Context) -> list[int]:
    order = np.random.default_rng(context.config.classifier.seed).permutation(np.asarray(items, np.int64))
    return [int(item) for item in order]


def _with_prompts(context: Context, prompts: Sequence[int]) -> dict[str, Any]:
    """Trained on some prompts, all seeds."""
    chosen = sorted(prompts)

    def choose(splits: Mapping[str, SplitImages]) -> Mapping[str, SplitImages]:
        train = splits["train"]
        return {**splits, "train": ChosenImages(train, images_of(train, prompt_ids=chosen))}

    seeds = context.config.seed_list
    share = len(chosen) / len(context.prompt_ids("train"))
    variation = Variation(f"prompts_{len(chosen)}", seeds, choose, {"train_prompts": chosen}, share)
    return _point(context, variation, len(chosen))


def _with_seeds(context: Context, seeds: Sequence[int]) -> dict[str, Any]:
    """Trained and tested on some seeds, all prompts."""
    chosen = sorted(seeds)

    def choose(splits: Mapping[str, SplitImages]) -> Mapping[str, SplitImages]:
        return {name: ChosenImages(split, images_of(split, seeds=chosen)) for name, split in splits.items()}

    share = len(chosen) / len(context.config.seed_list)
    variation = Variation(f"seeds_{len(chosen)}", chosen, choose, {"seeds": chosen}, share)
    return _point(context, variation, len(context.prompt_ids("train")))


def _point(context: Context, variation: Variation, prompts: int) -> dict[str, Any]:
    found = train_variation(context, "learning_curve", variation)
    images = len(variation.choose(context.prepare())["train"])
    return {"prompts": prompts, "seeds": len(variation.seeds), "images": images, **found}


def _whole(context: Context) -> dict[str, Any]:
    """The study's own training."""
    history = context.main.history
    return {
        "prompts": len(context.prompt_ids("train")), "seeds": len(context.config.seed_list),
        "images": len(context.prepare()["train"]), **accuracy(context.main.scores, context.confidence),
        "chance": context.chance, "epochs": len(history), "train_accuracy": history[-1]["train_accuracy"],
    }  # fmt: skip
