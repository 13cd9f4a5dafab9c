"""Training the classifier once more, on other pictures, seeds or prompts than those of the study: for controls."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from seedml.classifier.context import Context
from seedml.classifier.evidence import accuracy
from seedml.classifier.experiment import Experiment, run_experiment
from seedml.classifier.split_images import SplitImages
from seedml.tracking import NullTracker

MOST_STRETCH = 4
"""Times the epochs of the study's own training, at most, for trainings on few images."""


@dataclass(frozen=True)
class Variation:
    """What is another than in the study's own training."""

    name: str
    """A folder's name."""
    seeds: Sequence[int]
    """Ascending."""
    choose: Callable[[Mapping[str, SplitImages]], Mapping[str, SplitImages]]
    """The study's splits -> what to train, validate and test on; those of these seeds only."""
    settings: Mapping[str, Any]
    """That say what is chosen, as JSON."""
    share: float = 1.0
    """Of the study's training images that are left."""


def train_variation(context: Context, control: str, variation: Variation) -> dict[str, Any]:
    """Train anew; the accuracy on the test images with its interval, chance, and how long it was trained.

    With fewer images an epoch has fewer steps. So that a low accuracy means few images and not few steps, epochs are
    repeated: training takes as many steps as the study's own, but never over :data:`MOST_STRETCH` times its epochs.
    It does not end before its schedule does.

    Args:
        context: the study.
        control: whose folder it goes to.
        variation: what to train on.

    """
    config = context.config
    epochs = max(1, round(config.classifier.epochs * min(MOST_STRETCH, 1 / variation.share)))
    folder = context.folder / control / variation.name
    varied = replace(config, seeds=list(variation.seeds), classifier=replace(config.classifier, patience=None))
    outcome = run_experiment(
        Experiment(f"{control} {variation.name}".replace("_", " "), folder, epochs), varied,
        lambda: variation.choose(context.prepare()), NullTracker(), {**context.settings, **variation.settings},
    )  # fmt: skip
    for checkpoint in folder.glob("*.ckpt"):  # its scores say all there is
        checkpoint.unlink(missing_ok=True)
    shutil.rmtree(folder / "images", ignore_errors=True)
    return {
        **accuracy(outcome.scores, context.confidence), "chance": 1 / len(variation.seeds), "epochs": epochs,
        "train_accuracy": outcome.history[-1]["train_accuracy"],
    }  # fmt: skip
