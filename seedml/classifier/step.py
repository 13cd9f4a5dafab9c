"""The step ``classify``: trains the seed classifier, tests it on held-out prompts, and runs its control."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from seedml.classifier.evidence import accuracy, confusions, per_seed_accuracy
from seedml.classifier.experiment import Experiment, Outcome, run_experiment
from seedml.classifier.split_images import SplitImages, open_splits
from seedml.config import resolved
from seedml.errors import UserError
from seedml.files import atomic_write_json, finish_step, step_is_done
from seedml.shards.dataset import complete_dataset
from seedml.summary import figure, read_summary, update_summary
from seedml.tracking import is_rank_zero

if TYPE_CHECKING:
    from seedml.config import StudyConfig
    from seedml.tracking import Tracker


_READING = ("num_workers", "cache")
"""Settings that say how images are read, not which."""


def classify(config: StudyConfig, tracker: Tracker) -> None:
    """Train on the train prompts, validate on val, test on test; then the same on shuffled labels.

    Writes ``classifier/`` (checkpoints, ``scores.parquet``, ``metrics.json``) and the summary's ``classifier_…``.

    Raises:
        UserError: images are missing or damaged, a split is empty, a seed has no training image, or the folder holds
            a classifier made with other settings.

    """
    dataset, tiles = complete_dataset(config)
    settings = {"dataset": dataset.fingerprint, **_deciding(config)}
    if step_is_done(config.run_dir, "classify", settings):
        return
    started = time.monotonic()
    folder = config.run_dir / "classifier"

    def prepare() -> dict[str, SplitImages]:
        splits = open_splits(
            dataset, tiles, config.classifier.image_size, folder / "cache", cache=config.classifier.cache,
            threads=config.trainer.threads,
        )  # fmt: skip
        check_splits(splits, config.seed_list)
        return splits

    experiment = Experiment("classify", folder, config.classifier.epochs)
    main = run_experiment(experiment, config, prepare, tracker, settings)
    control = None
    if "shuffled_labels" in config.classifier.controls:
        length = config.classifier.control_epochs
        experiment = Experiment(
            "classify shuffled labels", folder / "shuffled_labels", length or config.classifier.epochs,
            stop_after=length or len(main.history), shuffled=True, prefix="shuffled_labels/",
        )  # fmt: skip
        control = run_experiment(experiment, config, prepare, tracker, settings)
    if not is_rank_zero(os.environ):
        return
    metrics = _metrics(config, prepare(), main, control)
    atomic_write_json(folder / "metrics.json", metrics)
    _report(config, tracker, metrics, time.monotonic() - started)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    for checkpoint in (folder / "shuffled_labels").glob("*.ckpt"):  # its scores say all there is
        checkpoint.unlink()
    finish_step(config.run_dir, "classify", settings)


def _deciding(config: StudyConfig) -> dict[str, Any]:
    """The settings that decide what is learnt."""
    classifier: dict[str, Any] = dict(resolved(config)["classifier"])
    return {"classifier": {key: value for key, value in classifier.items() if key not in _READING}}


def check_splits(splits: Mapping[str, SplitImages], class_seeds: tuple[int, ...]) -> None:
    """Refuse images that the classifier cannot learn from or be tested on.

    Raises:
        UserError: a split is missing or empty, or a seed has no training image.

    """
    for name in ("train", "val", "test"):
        if name not in splits or not len(splits[name]):
            raise UserError(
                f"the classifier needs images of the split {name!r}, and there are none", given=sorted(splits),
                legal="train, val and test", remedy=f"give prompts.splits.{name} a share, and run `seedml generate`",
            )  # fmt: skip
    lacking = sorted(set(class_seeds) - set(np.unique(splits["train"].seeds).tolist()))
    if lacking:
        raise UserError(
            f"no training image of {len(lacking)} seeds, the first is {lacking[0]}: all of them failed",
            remedy="see the tables beside the shards for the reason, or leave these seeds out of seeds=…",
        )


def _metrics(
    config: StudyConfig, splits: Mapping[str, SplitImages], main: Outcome, control: Outcome | None
) -> dict[str, Any]:
    """``metrics.json``."""
    level = config.statistics.confidence
    metrics: dict[str, Any] = {
        "test_accuracy": accuracy(main.scores, level),
        "test_top5_accuracy": accuracy(main.scores, level, top=5),
        "chance": 1 / len(config.seed_list),
        "architecture": config.classifier.architecture,
        "image_size": config.classifier.image_size,
        "images": {name: len(split) for name, split in splits.items()},
        "prompts": {name: len(np.unique(split.prompt_ids)) for name, split in splits.items()},
        "history": main.history,
        "per_seed_accuracy": per_seed_accuracy(main.scores),
        "confusions": confusions(main.scores),
    }
    if control is not None:
        metrics["shuffled_label_accuracy"] = accuracy(control.scores, level)
        metrics["shuffled_label_history"] = control.history
    return metrics


def _report(config: StudyConfig, tracker: Tracker, metrics: Mapping[str, Any], seconds: float) -> None:
    """Headline numbers to the summary and the tracker."""
    import pandas as pd

    headline = {
        "classifier_test_accuracy": metrics["test_accuracy"],
        "classifier_shuffled_label_accuracy": metrics.get("shuffled_label_accuracy"),
        "classifier_chance": figure(metrics["chance"]),
    }
    headline = {key: value for key, value in headline.items() if value is not None}
    before = read_summary(config.run_dir).get("seconds")
    earlier = before.get("classify", 0.0) if isinstance(before, dict) else 0.0
    update_summary(config.run_dir, {**headline, "seconds": {"classify": round(earlier + seconds, 3)}})
    tracker.summary(headline)
    shares = metrics["per_seed_accuracy"]
    tracker.table("classifier/per_seed", pd.DataFrame({"seed": map(int, shares), "accuracy": shares.values()}))
    tracker.file(config.run_dir / "classifier" / "best.ckpt", "checkpoint")
