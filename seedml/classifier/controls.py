"""The controls of the classifier by name: what each adds to ``metrics.json``, and which of them are done.

A control that is done is kept in ``classifier/controls/<name>.json``, so that more controls can be asked for after the
classifier was trained, and an interrupted step goes on where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedml.classifier.context import Context
from seedml.classifier.corruptions import corruptions
from seedml.classifier.evidence import accuracy
from seedml.classifier.experiment import Experiment, run_experiment
from seedml.classifier.explanation import Subject, attention, calibration_figures, open_set
from seedml.classifier.full_size import chosen_samples, some_prompts
from seedml.classifier.learning_curve import learning_curve
from seedml.classifier.noise_readback import noise_readback
from seedml.classifier.retraining import retraining
from seedml.classifier.robustness import robustness
from seedml.classifier.transfer import each_folder, pictures_of, transfer
from seedml.errors import UserError
from seedml.files import atomic_write_json, differing_keys, fingerprint, read_json, sha256_of
from seedml.tracking import is_rank_zero

if TYPE_CHECKING:
    from seedml.config import StudyConfig

Found = Mapping[str, Any]
"""Part of ``metrics.json``."""
DAMAGED_IMAGES, DAMAGED_PROMPTS = 1024, 8
"""Pictures that are damaged in 15 ways, at most, but never those of fewer prompts; that keeps a study short."""


@dataclass(frozen=True)
class Control:
    """One control."""

    run: Callable[[Context], Found]
    trains: bool = False
    """Whether all processes take part; else only the first one does."""
    settings: tuple[str, ...] = ()
    """Keys of the configuration's section ``classifier`` that decide this control's outcome and no other's."""
    made_from: Callable[[], str | None] = lambda: None
    """A hash of what it looks at beside the study's own pictures; ``None`` where that is nothing, or not there."""
    folder: str = ""
    """Of another data set, whose pictures it looks at."""


def shuffled_labels(context: Context) -> Found:
    """Trained as long as the classifier on labels that say nothing."""
    length = context.config.classifier.control_epochs
    folder = context.folder / "shuffled_labels"
    experiment = Experiment(
        "classify shuffled labels", folder, length or context.config.classifier.epochs,
        stop_after=length or len(context.main.history), shuffled=True, prefix="shuffled_labels/",
    )  # fmt: skip
    control = run_experiment(experiment, context.config, context.prepare, context.tracker, context.settings)
    for checkpoint in folder.glob("*.ckpt"):  # its scores say all there is
        checkpoint.unlink(missing_ok=True)
    found = accuracy(control.scores, context.confidence)
    described = {"chance": context.chance, "description": "trained and tested on labels shuffled within each prompt"}
    return {
        "shuffled_label_accuracy": found, "shuffled_label_history": control.history,
        "controls": {"shuffled_labels": {**found, **described}},
    }  # fmt: skip


def damaged_pictures(context: Context) -> Found:
    """The classifier's own test pictures, damaged."""
    seeds = context.config.seed_list
    most = max(DAMAGED_IMAGES, DAMAGED_PROMPTS * len(seeds))
    prompts = some_prompts(context.prompt_ids("test"), len(seeds), most)
    samples = chosen_samples(context.shards("test"), prompts, frozenset(seeds))
    damages = corruptions(context.image_size)
    found = robustness(
        context.classifier, samples, len(prompts) * len(seeds), damages, context.image_size, context.threads,
        context.confidence,
    )  # fmt: skip
    return {"controls": found}


def unseen_seeds(context: Context) -> Found:
    """Its probabilities on held-out prompts, and pictures of seeds that it never saw."""
    subject = subject_of(context)
    return {"calibration": calibration_figures(subject), "open_set": open_set(subject)}


def subject_of(context: Context) -> Subject:
    """The trained classifier as :mod:`seedml.classifier.explanation` asks it."""
    return Subject(context.config, context.dataset, context.tiles)


CONTROLS: Mapping[str, Control] = {
    "shuffled_labels": Control(shuffled_labels, trains=True, settings=("control_epochs",)),
    "corruptions": Control(damaged_pictures),
    "noise_regression": Control(
        lambda context: {
            "noise_regression": noise_readback(context.config, context.dataset, context.tiles, context.threads)
        }
    ),
    "open_set": Control(unseen_seeds, settings=("unseen_seeds", "false_refusals")),
    "grad_cam": Control(lambda context: {"grad_cam": attention(subject_of(context))}),
    "learning_curve": Control(lambda context: {"learning_curve": learning_curve(context)}, trains=True),
    "retrained": Control(lambda context: {"controls": retraining(context)}, trains=True),
}
"""Name in ``classifier.controls`` -> the control."""
OWN_SETTINGS = frozenset(key for control in CONTROLS.values() for key in control.settings)
"""Keys that decide the outcome of a control, not what the classifier learns."""


def wanted_controls(config: StudyConfig) -> Iterator[tuple[str, Control]]:
    """The configured controls with names for their files: those of ``controls``, then one for each of ``transfer``."""
    for name in config.classifier.controls:
        yield name, CONTROLS[name]
    for folder in each_folder(config.classifier.transfer):
        yield f"transfer-{fingerprint({'folder': str(Path(folder).resolve())})[:8]}", _transfer_from(folder)


def _transfer_from(folder: str) -> Control:
    return Control(
        lambda context: {"transfer": [transfer(context, folder)]}, made_from=lambda: pictures_of(folder), folder=folder
    )


def is_done(config: StudyConfig, folder: Path, name: str, control: Control) -> bool:
    """Whether the control was run with these settings, on the pictures that are there now.

    Raises:
        UserError: it was run with others.

    """
    path = path_of(folder, name)
    if not path.is_file():
        return False
    stored: Any = read_json(path)
    old, new, pictures = stored.get("settings"), _settings(config, control), control.made_from()
    if pictures is not None and stored.get("made_from") != pictures:
        return False
    if old != new:
        raise UserError(
            f"{path} was made with other settings: {', '.join(differing_keys(old, new))}",
            remedy="put the old settings back, or delete that file to run this control again",
        )
    return True


def run_controls(context: Context) -> None:
    """Run what is wanted and not done; each one's findings are on disk before the next one begins."""
    config, folder = context.config, context.folder
    for name, control in [pair for pair in wanted_controls(config) if not is_done(config, folder, *pair)]:
        if control.trains or is_rank_zero(os.environ):
            found = control.run(context)
            if is_rank_zero(os.environ):
                content: dict[str, Any] = {"settings": _settings(config, control), "made_from": control.made_from()}
                atomic_write_json(path_of(folder, name), content | {"found": found})
                _forget_others(folder, name, control.folder)


def _forget_others(folder: Path, name: str, other: str) -> None:
    """Remove what was found on the same data set before under another name of its folder."""
    for path in (folder / "controls").glob("transfer-*.json") if other else ():
        found: Any = read_json(path)["found"]
        places = {Path(entry["folder"]).resolve() for entry in found["transfer"]}
        if path.stem != name and places == {Path(other).resolve()}:
            path.unlink()


def add_findings(metrics: dict[str, Any], folder: Path) -> None:
    """Add the findings of all controls that are done, also of those that are not asked for today."""
    for path in sorted((folder / "controls").glob("*.json"), key=_order):
        found: Any = read_json(path)["found"]
        for key, value in found.items():
            if isinstance(value, list) and isinstance(metrics.get(key), list):
                metrics[key] = metrics[key] + value
            elif isinstance(value, dict) and isinstance(metrics.get(key), dict):
                metrics[key] = metrics[key] | value
            else:
                metrics[key] = value


def hashes_of_findings(folder: Path) -> dict[str, str]:
    """File -> hash, of all controls that are done: what ``metrics.json`` is made from beside the training."""
    return {path.name: sha256_of(path) for path in sorted((folder / "controls").glob("*.json"))}


def _order(path: Path) -> tuple[int, str]:
    names = list(CONTROLS)
    return (names.index(path.stem) if path.stem in names else len(names), path.stem)


def path_of(folder: Path, name: str) -> Path:
    """Where the findings of a control are kept, in the classifier's folder."""
    return folder / "controls" / f"{name}.json"


def _settings(config: StudyConfig, control: Control) -> dict[str, Any]:
    """What decides the findings beside the trained classifier, as JSON gives it back."""
    own = {key: getattr(config.classifier, key) for key in control.settings}
    settings: dict[str, Any] = json.loads(json.dumps({**own, "confidence": config.statistics.confidence}))
    return settings
