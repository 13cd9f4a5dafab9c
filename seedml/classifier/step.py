"""The step ``classify``: trains the seed classifier, tests it on held-out prompts, and runs its controls."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from seedml.classifier.context import Context
from seedml.classifier.controls import OWN_SETTINGS, hashes_of_findings, is_done, run_controls, wanted_controls
from seedml.classifier.experiment import Experiment, run_experiment
from seedml.classifier.metrics import metrics_of, report_metrics
from seedml.classifier.networks import check_network
from seedml.classifier.split_images import SplitImages, open_splits
from seedml.classifier.transfer import check_transfer
from seedml.config import resolved
from seedml.errors import UserError
from seedml.files import atomic_write_json, finish_step, step_is_done
from seedml.provenance import made_from, record_inputs
from seedml.shards.dataset import complete_dataset
from seedml.tracking import is_rank_zero

if TYPE_CHECKING:
    from seedml.config import StudyConfig
    from seedml.tracking import Tracker


_READING = ("num_workers", "cache")
"""Settings that say how images are read, not which."""
_ASKED = ("controls", "transfer")
"""Settings that say what is asked of the trained classifier; more may be asked of it later."""


def classify(config: StudyConfig, tracker: Tracker) -> None:
    """Train on the train prompts, validate on val, test on test; then run the controls that are not done yet.

    Writes ``classifier/`` (checkpoint, tables, ``metrics.json``) and the summary's ``classifier_…``.

    Raises:
        UserError: images are missing or damaged, a split is empty, a seed has no training image, the network cannot
            take the images, a data set of ``classifier.transfer`` is of no use, or the folder holds a classifier or a
            checkpoint made with other settings.

    """
    dataset, tiles = complete_dataset(config)
    settings = {"dataset": dataset.fingerprint, **_deciding(config)}
    folder = config.run_dir / "classifier"
    trained = step_is_done(config.run_dir, "classify", settings)
    done = trained and all([is_done(config, folder, *pair) for pair in wanted_controls(config)])
    if done and made_from(config.run_dir, "classify", hashes_of_findings(folder)):
        return
    check_network(config.classifier.architecture, config.classifier.image_size)
    check_transfer(config, dataset)
    started = time.monotonic()

    def prepare() -> dict[str, SplitImages]:
        splits = open_splits(
            dataset, tiles, config.classifier.image_size, folder / "cache", cache=config.classifier.cache,
            threads=config.trainer.threads,
        )  # fmt: skip
        check_splits(splits, config.seed_list)
        return splits

    if not trained and is_rank_zero(os.environ):
        prepare()  # refuses damaged shards before there are other processes, which would wait for this one
    main = run_experiment(
        Experiment("classify", folder, config.classifier.epochs), config, prepare, tracker, settings
    )  # fmt: skip
    context = Context(config, dataset, tiles, prepare, settings, main, folder, tracker)
    run_controls(context)
    if not is_rank_zero(os.environ):
        return
    metrics = metrics_of(context)
    atomic_write_json(folder / "metrics.json", metrics)
    report_metrics(config, tracker, metrics, time.monotonic() - started)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    record_inputs(config.run_dir, "classify", hashes_of_findings(folder))  # a kill may have come before metrics.json
    finish_step(config.run_dir, "classify", settings)


def _deciding(config: StudyConfig) -> dict[str, Any]:
    """The settings that decide what is learnt."""
    classifier: dict[str, Any] = dict(resolved(config)["classifier"])
    elsewhere = {*_READING, *_ASKED, *OWN_SETTINGS}
    return {"classifier": {key: value for key, value in classifier.items() if key not in elsewhere}}


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
