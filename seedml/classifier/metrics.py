"""What the step ``classify`` found: as ``metrics.json``, as headline numbers, and as tables for the tracker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from seedml.classifier.context import Context
from seedml.classifier.controls import add_findings
from seedml.classifier.evidence import accuracy, confusions, per_seed_accuracy
from seedml.summary import figure, read_summary, update_summary

if TYPE_CHECKING:
    import pandas as pd

    from seedml.config import StudyConfig
    from seedml.tracking import Tracker


def metrics_of(context: Context) -> dict[str, Any]:
    """``metrics.json``: the training, its test, and the findings of all controls that are done."""
    config, main, splits = context.config, context.main, context.prepare()
    test, chance = accuracy(main.scores, context.confidence), context.chance
    prompts = {name: np.unique(split.prompt_ids) for name, split in splits.items()}
    seen = np.concatenate([prompts["train"], prompts["val"]])
    assert not np.intersect1d(prompts["test"], seen).size, "splits are by prompt"
    top = config.classifier.top_k
    metrics: dict[str, Any] = {
        "test_accuracy": test,
        f"test_top{top}_accuracy": accuracy(main.scores, context.confidence, top=top),
        "chance": chance,
        "architecture": config.classifier.architecture,
        "image_size": config.classifier.image_size,
        "images": {name: len(split) for name, split in splits.items()},
        "prompts": {name: len(ids) for name, ids in prompts.items()},
        "history": main.history,
        "per_seed_accuracy": per_seed_accuracy(main.scores),
        "confusions": confusions(main.scores),
        "controls": {
            "unseen_prompts": {
                **test, "chance": chance,
                "description": f"pictures of {len(prompts['test'])} prompts that training never saw",
            }
        },
    }  # fmt: skip
    add_findings(metrics, context.folder)
    return metrics


def report_metrics(config: StudyConfig, tracker: Tracker, metrics: Mapping[str, Any], seconds: float) -> None:
    """Headline numbers to the summary and the tracker, tables to the tracker."""
    headline = dict(_headline(metrics))
    before = read_summary(config.run_dir).get("seconds")
    earlier = before.get("classify", 0.0) if isinstance(before, dict) else 0.0
    update_summary(config.run_dir, {**headline, "seconds": {"classify": round(earlier + seconds, 3)}})
    tracker.summary(headline)
    for name, table in _tables(metrics):
        tracker.table(f"classifier/{name}", table)
    tracker.uses("dataset")
    tracker.file(config.run_dir / "classifier" / "best.ckpt", "checkpoint", name="classifier")


def _headline(metrics: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    yield "classifier_test_accuracy", metrics["test_accuracy"]
    yield "classifier_chance", figure(metrics["chance"])
    if "shuffled_label_accuracy" in metrics:
        yield "classifier_shuffled_label_accuracy", metrics["shuffled_label_accuracy"]
    if "one_picture" in metrics.get("noise_regression", {}):
        yield "classifier_noise_r2", metrics["noise_regression"]["one_picture"]
    if "auroc" in metrics.get("open_set", {}):
        yield "classifier_unseen_auroc", metrics["open_set"]["auroc"]


def _tables(metrics: Mapping[str, Any]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Name -> table of plain numbers and words."""
    import pandas as pd

    shares = metrics["per_seed_accuracy"]
    yield "per_seed", pd.DataFrame({"seed": map(int, shares), "accuracy": shares.values()})
    rows: Any = [{"control": name, **entry} for name, entry in metrics["controls"].items()]
    yield "controls", pd.DataFrame(rows)
    if "learning_curve" in metrics:
        points: Any = [{"over": over, **point} for over, curve in metrics["learning_curve"].items() for point in curve]
        yield "learning_curve", pd.DataFrame(points)
    if "one_picture" in metrics.get("noise_regression", {}):
        yield "noise_regression", pd.DataFrame(list(_noise_rows(metrics["noise_regression"])))
    if metrics.get("transfer"):
        others: Any = [{**entry, "differs": ", ".join(entry["differs"])} for entry in metrics["transfer"]]
        yield "transfer", pd.DataFrame(others)


def _noise_rows(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """R² over all, by channel and by band, one row each."""
    yield {"of": "all", "from": "one picture", **found["one_picture"]}
    yield {"of": "all", "from": "all pictures", **found["all_pictures"]}
    for entry in found["by_channel"]:
        yield {"of": f"channel {entry['channel']}", "from": "one picture", **_without(entry, "channel")}
    for entry in found["by_band"]:
        end = "" if entry["up_to_cycles"] is None else f" to {entry['up_to_cycles']:g}"
        of = f"{entry['above_cycles']:g}{end} cycles{'' if end else ' and more'}"
        yield {"of": of, "from": "one picture", **_without(entry, "above_cycles", "up_to_cycles")}


def _without(entry: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in keys}
