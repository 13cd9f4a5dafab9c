"""What a trained classifier's answers are worth: calibration, pictures of unseen seeds, and where it looks.

Wiring: reads checkpoint and shards, asks, writes ``calibration.json`` and ``grad_cam.safetensors``, returns entries of
``metrics.json``. Runs in one process, after training.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seedml.classifier.answers import Answers, ask
from seedml.classifier.calibration import (
    Calibration,
    calibrate,
    calibration_error,
    calibration_error_by_chance,
)
from seedml.classifier.evidence import exact_share
from seedml.classifier.full_size import chosen_samples, some_prompts
from seedml.classifier.open_set import open_set_figures
from seedml.classifier.trained import TrainedClassifier
from seedml.classifier.unseen import made_samples, other_seeds
from seedml.errors import UserError
from seedml.files import sha256_of
from seedml.models.folder import find_model
from seedml.shards.reader import Sample
from seedml.summary import figure

if TYPE_CHECKING:
    from seedml.config import StudyConfig
    from seedml.grid import Tile
    from seedml.shards.dataset import ShardDataset

CALIBRATION = "calibration.json"
CHECKPOINT = "best.ckpt"
UNSEEN_PROMPTS = 8
"""Held-out prompts, the first ones, of which pictures of unseen seeds are made."""
REMADE_SEEDS = 2
"""Known seeds whose pictures are made again beside them: were they not recognised, unseen ones would prove nothing."""


@dataclass(frozen=True)
class Subject:
    """A trained classifier and the study that it belongs to."""

    config: StudyConfig
    dataset: ShardDataset
    tiles: Sequence[Tile]

    @property
    def folder(self) -> Path:
        """``runs/<name>/classifier``."""
        return self.config.run_dir / "classifier"

    @cached_property
    def classifier(self) -> TrainedClassifier:
        """The network, loaded once."""
        return TrainedClassifier(self.folder / CHECKPOINT, self.config.trainer, self.config.seed_list)

    @property
    def threads(self) -> int:
        """Threads that decode."""
        return self.config.trainer.threads or os.cpu_count() or 1

    def prompt_ids(self, split: str) -> list[int]:
        """Of a split, ascending."""
        return sorted({prompt_id for tile in self.tiles if tile.split == split for prompt_id in tile.prompt_ids})

    def samples(self, split: str, prompt_ids: Sequence[int]) -> Iterator[Sample]:
        """The pictures of these prompts and of all seeds that the network knows."""
        wanted = frozenset(prompt_ids)
        shards = [self.dataset.shard(t) for t in self.tiles if t.split == split and wanted & set(t.prompt_ids)]
        return chosen_samples(shards, wanted, frozenset(self.classifier.seeds.tolist()))

    def ask(self, samples: Iterator[Sample], total: int, doing: str) -> Answers:
        """What the network says of them."""
        return ask(self.classifier, samples, total, self.classifier.module.image_size, self.threads, doing)

    def ask_split(self, split: str, doing: str) -> Answers:
        """What it says of a split, or of as many prompts of it as make a few thousand pictures."""
        prompt_ids = sorted(some_prompts(self.prompt_ids(split), len(self.classifier.seeds)))
        return self.ask(self.samples(split, prompt_ids), len(prompt_ids) * len(self.classifier.seeds), doing)

    @cached_property
    def calibration(self) -> Calibration:
        """Read from its file; made, from the validation prompts, where there is none of this checkpoint."""
        stored = stored_calibration(self.folder)
        if stored is not None:
            return stored
        answers = self.ask_split("val", "calibrate")
        labels = np.searchsorted(self.classifier.seeds, answers.seeds)
        made = calibrate(answers.logits, labels, sha256_of(self.folder / CHECKPOINT))
        made.save(self.folder / CALIBRATION)
        return made

    @cached_property
    def test_answers(self) -> Answers:
        """What it says of held-out pictures."""
        return self.ask_split("test", "test answers")


def stored_calibration(folder: Path) -> Calibration | None:
    """What ``calibration.json`` says; ``None`` where there is none, or it is another checkpoint's."""
    path = folder / CALIBRATION
    stored = Calibration.load(path) if path.is_file() else None
    return stored if stored is not None and stored.checkpoint == sha256_of(folder / CHECKPOINT) else None


def calibration_figures(subject: Subject) -> dict[str, Any]:
    """Whether the probabilities hold on held-out prompts.

    ``temperature`` (n: validation pictures), ``accuracy`` and ``mean_probability`` of the first name, which should
    agree, and ``error`` (expected calibration error) with its mean ``chance`` and upper limit ``chance_high`` where
    every probability is right.
    """
    answers, calibration = subject.test_answers, subject.calibration
    probabilities = calibration.probabilities(answers.logits)
    first, n = probabilities.max(1), len(probabilities)
    right = subject.classifier.seeds[probabilities.argmax(1)] == answers.seeds
    usual, most = calibration_error_by_chance(first, subject.config.statistics.confidence)
    return {
        "temperature": figure(calibration.temperature, n=calibration.n),
        "accuracy": exact_share(int(right.sum()), n, subject.config.statistics.confidence),
        "mean_probability": figure(float(first.mean()), n=n),
        "error": figure(calibration_error(first, right), n=n) | {"chance": usual, "chance_high": most},
    }


def open_set(subject: Subject) -> dict[str, Any]:
    """Are pictures of seeds that it never saw noticed? See :func:`~seedml.classifier.open_set.open_set_figures`.

    The pictures are made here, with the study's model. Where that is not on this machine, the entry says so in
    ``left_out`` and holds nothing else. ``remade`` is the share of remade pictures of known seeds that are named right.
    """
    config = subject.config
    try:
        find_model(config.model, download=False)
    except UserError as error:
        return {"left_out": f"the model that made the images is not on this machine: {error}"}
    known = subject.test_answers
    prompt_ids = np.unique(known.prompt_ids)[:UNSEEN_PROMPTS].tolist()
    seeds = other_seeds(config.seed_list, config.classifier.unseen_seeds)
    again = subject.classifier.seeds[:REMADE_SEEDS].tolist()
    made = made_samples(config, subject.dataset, [*again, *seeds], prompt_ids)
    answers = subject.ask(made, len(prompt_ids) * (len(again) + len(seeds)), "unseen seeds")
    is_known = np.isin(answers.seeds, again)
    remade = answers.of(is_known)
    figures = open_set_figures(
        known, answers.of(~is_known), subject.calibration, false_refusals=config.classifier.false_refusals,
        confidence=config.statistics.confidence,
    )  # fmt: skip
    named = subject.classifier.seeds[remade.logits.argmax(1)] == remade.seeds
    return figures | {"remade": exact_share(int(named.sum()), len(named), config.statistics.confidence)}


def made_pictures(config: StudyConfig, test_prompts: int) -> int:
    """How many pictures :func:`open_set` makes.

    Args:
        config: the study.
        test_prompts: prompts of its test split.

    """
    asked = len(some_prompts(range(test_prompts), len(config.seed_list))) if test_prompts else 0
    again = min(REMADE_SEEDS, len(config.seed_list))
    return min(UNSEEN_PROMPTS, asked) * (again + config.classifier.unseen_seeds)


def attention(subject: Subject) -> dict[str, Any]:
    """Where it looks; the maps go to ``grad_cam.safetensors``. See :func:`~seedml.classifier.grad_cam.examine`."""
    from seedml.classifier import grad_cam

    config, classifier = subject.config, subject.classifier
    prompt_ids = subject.prompt_ids("test")[: grad_cam.PROMPTS]
    maps, figures = grad_cam.examine(
        classifier, classifier.module, subject.samples("test", prompt_ids), len(prompt_ids) * len(classifier.seeds),
        image_size=classifier.module.image_size, threads=subject.threads, confidence=config.statistics.confidence,
    )  # fmt: skip
    notes = {"layer": figures["layer"], "prompts": str(len(prompt_ids)), "checkpoint": subject.calibration.checkpoint}
    maps.save(subject.folder / grad_cam.FILE, notes)
    return figures | {"prompts": len(prompt_ids)}
