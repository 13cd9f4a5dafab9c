"""One experiment: train the classifier on some labels, score the held-out images. Run again, it goes on where it was.

In its folder: ``settings.json`` (what it was begun with), ``last.ckpt`` and ``best.ckpt`` (Lightning checkpoints),
``history.json`` (training is over) and ``scores.parquet`` (the experiment is over). Knows no shard format.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seedml.classifier.cache import Integers
from seedml.classifier.data import SeedDataModule, class_labels, labels_shuffled_within_prompts
from seedml.classifier.module import Scores, SeedClassifier
from seedml.classifier.split_images import SplitImages
from seedml.errors import UserError
from seedml.files import atomic_path, atomic_write_json, differing_keys, read_json
from seedml.lightning import RateProgressBar, precision_of, quiet_lightning
from seedml.noise import seeded

if TYPE_CHECKING:
    import pandas as pd
    import pytorch_lightning as pl

    from seedml.config import StudyConfig
    from seedml.tracking import Tracker


Splits = Callable[[], Mapping[str, SplitImages]]


@dataclass(frozen=True)
class Experiment:
    """What is trained on what."""

    name: str
    """In two words, for progress bars."""
    folder: Path
    epochs: int
    """That the schedule of the learning rate is made for."""
    stop_after: int | None = None
    """Epochs after which training ends all the same; null = when they are over or validation has converged."""
    shuffled: bool = False
    """Permute the labels within each prompt, in all splits: the control."""
    prefix: str = ""
    """Put before the names of logged numbers."""

    def label(self, split: SplitImages, class_seeds: tuple[int, ...], seed: int) -> Integers:
        """The labels of a split's images: N int64, places in ``class_seeds``."""
        labels = class_labels(split, class_seeds)
        return labels_shuffled_within_prompts(labels, split.prompt_ids, seed) if self.shuffled else labels


@dataclass(frozen=True)
class Outcome:
    """What an experiment found."""

    history: list[dict[str, float]]
    """One entry an epoch: ``epoch``, ``seconds``, and loss and accuracy as ``train_loss``, ``val_accuracy`` …"""
    scores: pd.DataFrame
    """One row a test image, by (seed, prompt_id): ``seed``, ``prompt_id``, ``label`` and ``predicted`` (seeds),
    ``place`` (of the label among all classes, 0 = first), ``probability`` (of the label)."""


def run_experiment(
    experiment: Experiment, config: StudyConfig, prepare: Splits, tracker: Tracker, settings: Mapping[str, Any]
) -> Outcome:  # fmt: skip
    """Train, or go on training, and score the test images; what is done is read back instead.

    Args:
        experiment: what to train on what.
        config: the study.
        prepare: decodes the images, or opens what is decoded; called in one process first.
        tracker: hears of the training.
        settings: all that decides the outcome.

    Raises:
        UserError: the folder holds an unfinished experiment with other settings.

    """
    _guard(experiment.folder, {**settings, "epochs": experiment.epochs, "stop_after": experiment.stop_after,
                               "shuffled": experiment.shuffled})  # fmt: skip
    table = experiment.folder / "scores.parquet"
    if not table.is_file():
        _train_and_score(experiment, config, prepare, tracker)
    import pandas as pd

    history: Any = json.loads((experiment.folder / "history.json").read_text())
    return Outcome(history, pd.read_parquet(table))


def _guard(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to mix two experiments in one folder."""
    path = folder / "settings.json"
    if not path.is_file():
        atomic_write_json(path, settings)
        return
    old, new = read_json(path), json.loads(json.dumps(settings))
    if old != new:
        raise UserError(
            f"{folder} holds a classifier begun with other settings: {', '.join(differing_keys(old, new))}",
            remedy=f"put the old settings back, choose another name=…, or delete {folder}",
        )


def _train_and_score(experiment: Experiment, config: StudyConfig, prepare: Splits, tracker: Tracker) -> None:
    settings = config.classifier
    class_seeds = config.seed_list
    with seeded(settings.seed):
        module = SeedClassifier(
            settings.architecture, list(class_seeds), learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay, label_smoothing=settings.label_smoothing, prefix=experiment.prefix,
        )  # fmt: skip
    data = SeedDataModule(
        prepare, lambda split: experiment.label(split, class_seeds, settings.seed),
        batch_size=settings.batch_size, seed=settings.seed, num_workers=settings.num_workers,
    )  # fmt: skip
    with quiet_lightning():
        trainer = _trainer(experiment, config, tracker)
        _fit(experiment, trainer, module, data)
        checkpoint = experiment.folder / ("last.ckpt" if experiment.shuffled else "best.ckpt")
        trainer.test(module, data, ckpt_path=str(checkpoint), weights_only=True, verbose=False)
    assert module.scores is not None, "the test has just been run"
    if trainer.is_global_zero:
        _write_scores(experiment, prepare()["test"], np.asarray(class_seeds), module.scores, settings.seed)
    trainer.strategy.barrier("scores")


def _fit(experiment: Experiment, trainer: pl.Trainer, module: SeedClassifier, data: SeedDataModule) -> None:
    """Train from the last checkpoint on, unless training is over."""
    finished = experiment.folder / "history.json"
    if finished.is_file():
        return
    last = experiment.folder / "last.ckpt"
    trainer.fit(module, data, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
    if trainer.is_global_zero:
        atomic_write_json(finished, module.history)
    trainer.strategy.barrier("history")


def _write_scores(experiment: Experiment, test: SplitImages, seeds: Integers, scores: Scores, seed: int) -> None:
    import pandas as pd

    labels = experiment.label(test, tuple(seeds.tolist()), seed)
    table = pd.DataFrame(
        {
            "seed": test.seeds, "prompt_id": test.prompt_ids, "label": seeds[labels],
            "predicted": seeds[scores.predicted], "place": scores.place, "probability": scores.probability,
        }
    )  # fmt: skip
    with atomic_path(experiment.folder / "scores.parquet") as temporary:
        table.to_parquet(temporary, index=False)


def _trainer(experiment: Experiment, config: StudyConfig, tracker: Tracker) -> pl.Trainer:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint

    where = config.trainer
    watch = not experiment.shuffled  # validation on shuffled labels says nothing
    callbacks: list[pl.Callback] = [
        RateProgressBar(experiment.name),
        LearningRateMonitor("step"),
        ModelCheckpoint(experiment.folder, "last", enable_version_counter=False, save_on_train_epoch_end=True),
    ]
    if watch:
        callbacks += [
            ModelCheckpoint(
                experiment.folder, "best", monitor="val/loss", save_weights_only=True, enable_version_counter=False,
                save_on_train_epoch_end=True,
            ),
            EarlyStopping("val/accuracy", mode="max", patience=PATIENCE, check_on_train_epoch_end=True, verbose=False),
        ]  # fmt: skip
    return pl.Trainer(
        accelerator=where.accelerator, devices=where.devices, num_nodes=where.num_nodes, strategy=where.strategy,
        precision=precision_of(where.precision, where.accelerator), max_epochs=experiment.stop_after or experiment.epochs,  # type: ignore[arg-type]
        logger=tracker.lightning_logger(), callbacks=callbacks, log_every_n_steps=10, num_sanity_val_steps=0,
        limit_val_batches=None if watch else 0, use_distributed_sampler=False, enable_model_summary=False,
    )  # fmt: skip


PATIENCE = 4
"""Epochs without a better validation accuracy after which training has converged."""
