"""A training that is stopped or killed anywhere ends like one that was not; foreign checkpoints are refused."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from planted_shards import plant_shards, planted_picture
from test_classify_step import run, study

from seedml.__main__ import main
from seedml.classifier import checkpoints
from seedml.classifier.checkpoints import load_classifier
from seedml.classifier.module import SeedClassifier
from seedml.config import load_config
from seedml.errors import UserError

STEPS = 6  # of an epoch
OPTIONS = {"controls": [], "epochs": 3, "architecture": "mobilenet_v3_small"}  # has dropout


class KilledError(BaseException):
    """As good as SIGKILL: nothing of ours runs afterwards."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    plant_shards(study(folder), planted_picture)
    return folder


@pytest.fixture(scope="module")
def undisturbed(planted):
    config = study(planted, "undisturbed", **OPTIONS)
    return config.run_dir / "classifier", run(config)


def interrupt(monkeypatch, happens, *, at: int) -> None:
    """Have ``happens`` called in the step of this number, once."""
    trained, steps = SeedClassifier.training_step, []

    def training_step(self, batch, batch_idx):
        steps.append(self.global_step)
        if steps.count(at) == 1 and steps[-1] == at:
            happens()
        return trained(self, batch, batch_idx)

    monkeypatch.setattr(SeedClassifier, "training_step", training_step)


def killed() -> None:
    raise KilledError


def same_outcome(folder: Path, metrics: dict, undisturbed) -> None:
    expected_folder, expected = undisturbed
    assert metrics["test_accuracy"] == expected["test_accuracy"]
    for before, after in zip(expected["history"], metrics["history"], strict=True):
        assert {**before, "seconds": 0} == {**after, "seconds": 0}
    weights = [torch.load(f / "best.ckpt", weights_only=True)["state_dict"] for f in (expected_folder, folder)]
    for name, tensor in weights[0].items():
        assert tensor.equal(weights[1][name]), name


@pytest.mark.parametrize(
    ("number", "at", "status"),
    [(signal.SIGTERM, 9, 143), (signal.SIGTERM, 2 * STEPS - 1, 143), (signal.SIGINT, 0, 130)],
)
def test_a_training_asked_to_stop_keeps_its_place_in_the_epoch(
    planted, undisturbed, monkeypatch, capfd, number, at, status
):
    config = study(planted, f"stopped-{at}", **OPTIONS)
    folder = config.run_dir / "classifier"
    before = signal.getsignal(number)
    interrupt(monkeypatch, lambda: os.kill(os.getpid(), number), at=at)
    with pytest.raises(SystemExit) as stopped:
        run(config)
    assert stopped.value.code == status
    assert signal.getsignal(number) == before
    assert "Run the same command to go on" in capfd.readouterr().err
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == at + 1
    same_outcome(folder, run(config), undisturbed)
    assert not (folder / "last.ckpt").exists()


@pytest.mark.parametrize("at", [4, 2 * STEPS])
def test_a_training_that_is_killed_goes_on_from_its_last_checkpoint(planted, undisturbed, monkeypatch, at):
    config = study(planted, f"killed-{at}", **OPTIONS)
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)  # a checkpoint after each step
    interrupt(monkeypatch, killed, at=at)
    with pytest.raises(KilledError):
        run(config)
    done = torch.load(config.run_dir / "classifier" / "last.ckpt", weights_only=True)
    assert done["global_step"] == at
    same_outcome(config.run_dir / "classifier", run(config), undisturbed)


def test_training_ends_when_validation_has_converged(planted, monkeypatch):
    """Killed between its last epoch and the note that it is over, it does not train on either."""
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)
    options = {**OPTIONS, "epochs": 9, "learning_rate": 1e-9, "patience": 2}
    config = study(planted, "converged", **options)
    monkeypatch.setattr("seedml.classifier.experiment.atomic_write_json", lambda *_: killed())
    (config.run_dir / "classifier").mkdir(parents=True)
    monkeypatch.setattr("seedml.classifier.experiment._guard", lambda *_: None)
    with pytest.raises(KilledError):
        run(config)
    monkeypatch.undo()
    metrics = run(config)
    assert len(metrics["history"]) < 9
    accuracies = [row["val_accuracy"] for row in metrics["history"]]
    assert len(accuracies) == accuracies.index(max(accuracies)) + 1 + 2


def test_the_best_epoch_is_that_of_the_lowest_validation_loss():
    def best(*losses: float) -> bool:
        return checkpoints._best_is_last([{"val_loss": loss} for loss in losses])

    nan = float("nan")
    assert best(3)
    assert best(3, 2)
    assert not best(2, 3)
    assert not best(2, 2)
    assert best(nan)
    assert best(nan, 2)
    assert not best(2, nan)


def test_a_loss_that_is_no_number_ends_training_with_the_remedy(planted):
    with pytest.raises(UserError, match=r"diverged.*lower classifier\.learning_rate"):
        run(study(planted, "diverged", **{**OPTIONS, "learning_rate": 99.0, "weight_decay": 1e5}))


def save(path: Path, seeds: list[int]) -> Path:
    module = SeedClassifier("mobilenet_v3_small", seeds, image_size=24)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams), "history": [],
                "pytorch-lightning_version": "2.6.0"}, path)  # fmt: skip
    return path


def test_a_classifier_is_loaded_for_its_own_seeds_only(tmp_path):
    path = save(tmp_path / "best.ckpt", [3, 7, 2**40])
    module = load_classifier(path, (3, 7, 2**40))
    assert not module.training
    assert module.class_seeds == [3, 7, 2**40]
    assert module.image_size == 24
    assert load_classifier(path).class_seeds == module.class_seeds
    with pytest.raises(UserError, match=r"other seeds than the study's.*3 seeds: 3,7,1099511627776.*2 seeds: 3,7"):
        load_classifier(path, (3, 7))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no trained classifier"), (b"", "damaged"), (b"no checkpoint at all", "damaged"),
        ({"state_dict": {}}, "no checkpoint of a seed classifier"), ([1], "no checkpoint of a seed classifier"),
        ("truncated", "damaged"),
    ],
)  # fmt: skip
def test_files_that_are_no_classifier_are_refused(tmp_path, content, words):
    path = tmp_path / "best.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "truncated":
        whole = save(path, [1, 2]).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=words):
        load_classifier(path)


@pytest.fixture(scope="module")
def from_yaml(tmp_path_factory) -> Path:
    """A configuration file whose images are there."""
    folder = tmp_path_factory.mktemp("yaml")
    path = folder / "tiny.yaml"
    path.write_text(
        f"seeds: '0:6'\nprompts: {{limit: 8, splits: {{train: 4, val: 2, test: 2}}}}\n"
        f"shards: {{root: {folder / 'shards'}}}\ntracking: {{mode: disabled}}\n"
        "trainer: {accelerator: cpu, precision: 32-true}\nclassifier: {image_size: 24, controls: []}\n"
    )
    plant_shards(load_config(str(path)), planted_picture)
    return path


@pytest.mark.parametrize("words", ["other seeds", "damaged", "middle of an epoch that 2 processes shared"])
def test_a_training_cannot_go_on_from_a_foreign_checkpoint(from_yaml, tmp_path, capsys, words):
    path = tmp_path / "tiny" / "classifier" / "last.ckpt"
    if words == "other seeds":
        save(path, [3, 7])
    else:
        save(path, list(range(6)))
    if words == "damaged":
        path.write_bytes(path.read_bytes()[:1000])
    elif "processes" in words:
        torch.save({**torch.load(path, weights_only=True), "in_epoch": True, "processes": 2}, path)
    assert main(["classify", str(from_yaml), f"runs.root={tmp_path}"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]  # after the bars of indexing
    assert told.startswith("seedml: error: ")
    assert words in told
    assert "remedy" in told


def test_a_classifier_of_other_seeds_answers_for_no_picture(from_yaml, tmp_path, capsys):
    save(tmp_path / "tiny" / "classifier" / "best.ckpt", [3, 7])
    Image.fromarray(planted_picture(3, 0)).save(tmp_path / "picture.png")
    words = ["classify", str(from_yaml), f"runs.root={tmp_path}", f"image={tmp_path / 'picture.png'}"]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "other seeds" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("word", ["classifier.architecture=resnet19", "classifier.architecture=alexnet"])
def test_a_network_that_cannot_be_is_refused_before_training(from_yaml, tmp_path, capsys, word):
    assert main(["classify", str(from_yaml), f"runs.root={tmp_path}", word]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_control_trains_as_long_as_the_classifier_did(planted):
    options = {"epochs": 8, "patience": 1, "learning_rate": 1e-9, "control_epochs": None}
    metrics = run(study(planted, "control", **{**OPTIONS, "controls": ["shuffled_labels"], **options}))
    assert len(metrics["shuffled_label_history"]) == len(metrics["history"]) < 8
    assert np.isfinite([row["train_loss"] for row in metrics["shuffled_label_history"]]).all()
