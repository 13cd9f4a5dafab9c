"""One experiment: train the classifier on some labels, score the held-out images. Run again, it goes on where it was.

In its folder: ``settings.json`` (what it was begun with), ``last.ckpt`` (only while it trains) and ``best.ckpt``,
``history.json`` (training is over), ``confusion.parquet``, ``per_seed.parquet`` and ``scores.parquet`` (the experiment
is over). Knows no shard format.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seedml.classifier.cache import Integers
from seedml.classifier.checkpoints import (
    Converged,
    KeepCheckpoints,
    WholeFiles,
    check_label_set,
    check_resumable,
    read_checkpoint,
    stops_in_words,
)
from seedml.classifier.confusion import confusion_counts, per_seed_table
from seedml.classifier.data import SeedDataModule, class_labels, labels_shuffled_within_prompts
from seedml.classifier.module import EACH_STEP, Scores, SeedClassifier
from seedml.classifier.split_images import SplitImages
from seedml.errors import UserError
from seedml.files import atomic_path, atomic_write_json, differing_keys, read_json
from seedml.lightning import RateProgressBar, precision_of, quiet_lightning, trainer_errors_in_words
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
    settings, class_seeds = config.classifier, config.seed_list
    with quiet_lightning(), stops_in_words(experiment.folder), seeded(settings.seed):
        module = SeedClassifier(
            settings.architecture, list(class_seeds), image_size=settings.image_size,
            learning_rate=settings.learning_rate, schedule=settings.schedule, schedule_epochs=experiment.epochs,
            weight_decay=settings.weight_decay, label_smoothing=settings.label_smoothing, top_k=settings.top_k,
            prefix=experiment.prefix,
        )  # fmt: skip
        trainer = _trainer(experiment, config, tracker)
        data = SeedDataModule(
            prepare, lambda split: experiment.label(split, class_seeds, settings.seed),
            batch_size=-(-settings.batch_size // trainer.world_size), seed=settings.seed,
            num_workers=settings.num_workers,
        )  # fmt: skip
        _fit(experiment, trainer, module, data)
        best = experiment.folder / "best.ckpt"
        check_label_set(best, read_checkpoint(best), class_seeds)
        trainer.test(module, data, ckpt_path=str(best), weights_only=True, verbose=False)
    assert module.scores is not None, "the test has just been run"
    if trainer.is_global_zero:
        scores = _table(experiment, prepare()["test"], np.asarray(class_seeds), module.scores, settings.seed)
        _write(experiment.folder, scores, config.statistics.confidence, settings.top_k)
    trainer.strategy.barrier("scores")


def _fit(experiment: Experiment, trainer: pl.Trainer, module: SeedClassifier, data: SeedDataModule) -> None:
    """Train from the last checkpoint on, unless training is over."""
    finished, last = experiment.folder / "history.json", experiment.folder / "last.ckpt"
    if not finished.is_file():
        if goes_on := last.is_file():
            check_resumable(last, module.class_seeds, trainer.world_size)
        trainer.fit(module, data, ckpt_path=str(last) if goes_on else None, weights_only=True)
        if trainer.is_global_zero:
            atomic_write_json(finished, module.history)
        trainer.strategy.barrier("history")
    if trainer.is_global_zero:
        last.unlink(missing_ok=True)


def _table(experiment: Experiment, test: SplitImages, seeds: Integers, scores: Scores, seed: int) -> pd.DataFrame:
    """:attr:`Outcome.scores`."""
    import pandas as pd

    labels = experiment.label(test, tuple(seeds.tolist()), seed)
    return pd.DataFrame(
        {
            "seed": test.seeds, "prompt_id": test.prompt_ids, "label": seeds[labels],
            "predicted": seeds[scores.predicted], "place": scores.place, "probability": scores.probability,
        }
    )  # fmt: skip


def _write(folder: Path, scores: pd.DataFrame, confidence: float, top: int) -> None:
    """The tables; ``scores.parquet`` last, as it says that all is done."""
    tables = {
        "confusion": confusion_counts(scores), "per_seed": per_seed_table(scores, confidence, top), "scores": scores,
    }  # fmt: skip
    for name, table in tables.items():
        with atomic_path(folder / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)


def _trainer(experiment: Experiment, config: StudyConfig, tracker: Tracker) -> pl.Trainer:
    import pytorch_lightning as pl
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from pytorch_lightning.callbacks import LearningRateMonitor

    where, patience = config.trainer, config.classifier.patience
    validates = not experiment.shuffled  # validation on shuffled labels says nothing
    for kind in ("train", "val") if validates else ("train",):
        tracker.best({f"{experiment.prefix}{kind}/loss": "min", f"{experiment.prefix}{kind}/accuracy": "max"})
    callbacks: list[pl.Callback] = [
        RateProgressBar(experiment.name, each_step=[f"{experiment.prefix}{EACH_STEP}"]), LearningRateMonitor("step"),
        KeepCheckpoints(experiment.folder, by_validation=validates),
    ]  # fmt: skip
    if validates and patience:
        callbacks.append(Converged(f"{experiment.prefix}val/accuracy", patience))
    plugins: list[Any] = [WholeFiles()]
    if SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))  # KeepCheckpoints answers Slurm's signal
    with trainer_errors_in_words(where):
        return pl.Trainer(
            accelerator=where.accelerator, devices=where.devices, num_nodes=where.num_nodes, strategy=where.strategy,
            precision=precision_of(where.precision, where.accelerator),  # type: ignore[arg-type]
            max_epochs=experiment.stop_after or experiment.epochs, limit_val_batches=None if validates else 0,
            default_root_dir=experiment.folder, logger=tracker.lightning_logger(), callbacks=callbacks,
            plugins=plugins, log_every_n_steps=10, num_sanity_val_steps=0, use_distributed_sampler=False,
            enable_model_summary=False,
        )  # fmt: skip
