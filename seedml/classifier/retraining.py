"""The control ``retrained``: trained *and* tested on damaged pictures, what can still be told is still there.

A classifier that was trained on whole pictures may fail on filtered ones merely because it never saw any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from seedml.classifier.chosen_images import damaged_images, images_of
from seedml.classifier.context import Context
from seedml.classifier.corruptions import Corruption, corruptions
from seedml.classifier.full_size import some_prompts
from seedml.classifier.split_images import SplitImages
from seedml.classifier.variation import Variation, train_variation

RETRAINED = ("low_pass_2", "high_pass_4", "grayscale")
"""Damages that a network is trained on, by their names in ``corruptions.py``."""
MOST_IMAGES = 65_536
"""Of each split, all seeds of as many prompts as that allows: they are filtered at full size."""


def retraining(context: Context) -> dict[str, dict[str, Any]]:
    """``retrained_<damage>`` -> accuracy on test pictures damaged alike, with its interval, chance and description."""
    damages = {damage.name: damage for damage in corruptions(context.image_size)}
    return {f"retrained_{name}": _retrained(context, damages[name]) for name in RETRAINED if name in damages}


def _retrained(context: Context, damage: Corruption) -> dict[str, Any]:
    seeds = context.config.seed_list
    prompts = {
        split: sorted(some_prompts(context.prompt_ids(split), len(seeds), MOST_IMAGES))
        for split in ("train", "val", "test")
    }
    images = context.folder / "retrained" / damage.name / "images"

    def choose(splits: Mapping[str, SplitImages]) -> Mapping[str, SplitImages]:
        return {name: _damaged(splits[name], chosen, name) for name, chosen in prompts.items()}

    def _damaged(split: SplitImages, chosen: Iterable[int], name: str) -> SplitImages:
        rows = images_of(split, prompt_ids=list(chosen))
        return damaged_images(split, rows, damage, images / f"{name}.npy", context.threads)

    share = len(prompts["train"]) / len(context.prompt_ids("train"))
    variation = Variation(damage.name, seeds, choose, {"damage": damage.name, "prompts": prompts}, share)
    found = train_variation(context, "retrained", variation)
    return {**found, "description": f"trained and tested on: {damage.description}"}
