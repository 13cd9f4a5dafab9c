"""The whole step on planted pictures: learns what is there, learns nothing where nothing is, survives a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from planted_shards import plant_shards, planted_picture

from seedml.classifier import experiment
from seedml.classifier.module import SeedClassifier
from seedml.classifier.step import classify
from seedml.config import (
    ClassifierConfig,
    PromptsConfig,
    RunsConfig,
    ShardsConfig,
    StudyConfig,
    TrackingConfig,
    TrainerConfig,
)
from seedml.errors import UserError
from seedml.prompts import load_prompts
from seedml.summary import read_summary
from seedml.tracking import history, open_tracker

SEEDS, EPOCHS = 6, 6


def study(folder: Path, run: str = "runs", **classifier: object) -> StudyConfig:
    options = {"image_size": 24, "epochs": EPOCHS, "control_epochs": 2, "batch_size": 24, "learning_rate": 3e-3,
               "controls": ["shuffled_labels"]}  # fmt: skip
    return StudyConfig(
        name="tiny", seeds=f"0:{SEEDS}", prompts=PromptsConfig(limit=48, splits={"train": 24, "val": 8, "test": 16}),
        shards=ShardsConfig(root=str(folder / "shards")), runs=RunsConfig(root=str(folder / run)),
        classifier=ClassifierConfig(**{**options, **classifier}),  # type: ignore[arg-type]
        tracking=TrackingConfig(mode="disabled"), trainer=TrainerConfig(accelerator="cpu", precision="32-true"),
    )  # fmt: skip


def run(config: StudyConfig) -> dict:
    with open_tracker(config, "classify", config.run_dir) as tracker:
        classify(config, tracker)
    return json.loads((config.run_dir / "classifier" / "metrics.json").read_text())


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classify")
    plant_shards(study(folder), planted_picture)
    return folder


@pytest.fixture(scope="module")
def finished(planted):
    config = study(planted)
    return config, run(config)


def test_planted_seeds_are_recognised_on_prompts_never_seen(finished):
    _, metrics = finished
    test = metrics["test_accuracy"]
    assert test["n"] == SEEDS * 16
    assert test["value"] >= 0.98
    assert test["low"] <= test["value"] <= test["high"]
    assert metrics["chance"] == pytest.approx(1 / SEEDS)
    assert [row["epoch"] for row in metrics["history"]] == list(range(EPOCHS))
    assert metrics["history"][-1]["train_loss"] < metrics["history"][0]["train_loss"]
    assert metrics["prompts"] == {"train": 24, "val": 8, "test": 16}


def test_shuffled_labels_teach_nothing(finished):
    _, metrics = finished
    control = metrics["shuffled_label_accuracy"]
    error = (1 / SEEDS * (1 - 1 / SEEDS) / control["n"]) ** 0.5
    assert abs(control["value"] - 1 / SEEDS) < 3 * error


def test_no_prompt_of_the_test_split_was_in_training(finished, monkeypatch):
    config, _ = finished
    scores = pd.read_parquet(config.run_dir / "classifier" / "scores.parquet")
    splits = {p.prompt_id: p.split for p in load_prompts(config.prompts)}
    assert {splits[prompt_id] for prompt_id in scores["prompt_id"]} == {"test"}
    assert not scores.duplicated(["seed", "prompt_id"]).any()
    assert len(scores) == SEEDS * 16
    assert (scores["label"] == scores["seed"]).all()


def test_headlines_and_journal_agree_with_the_metrics(finished):
    config, metrics = finished
    summary = read_summary(config.run_dir)
    assert summary["classifier_test_accuracy"] == metrics["test_accuracy"]
    assert summary["classifier_shuffled_label_accuracy"] == metrics["shuffled_label_accuracy"]
    assert summary["classifier_chance"] == {"value": metrics["chance"]}
    rows = history(config.run_dir / "tracking" / "classify.jsonl")
    logged = [row["val/accuracy"] for row in rows if "val/accuracy" in row]
    assert logged == [row["val_accuracy"] for row in metrics["history"]]
    scores = pd.read_parquet(config.run_dir / "classifier" / "scores.parquet")
    right = scores["label"] == scores["predicted"]
    assert right.mean() == metrics["test_accuracy"]["value"]
    for seed, share in metrics["per_seed_accuracy"].items():
        assert share == right[scores["seed"] == int(seed)].mean()


def test_checkpoint_loads_with_weights_only_and_gives_the_scores(finished):
    config, _ = finished
    path = config.run_dir / "classifier" / "best.ckpt"
    assert torch.load(path, weights_only=True)["history"]
    module = SeedClassifier.load_from_checkpoint(path, weights_only=True).eval()
    scores = pd.read_parquet(config.run_dir / "classifier" / "scores.parquet")
    pictures = [planted_picture(s, p) for s, p in zip(scores["seed"], scores["prompt_id"], strict=True)]
    with torch.no_grad():
        logits = module(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2))
    assert [module.class_seeds[i] for i in logits.argmax(1)] == scores["predicted"].tolist()
    probability = logits.softmax(1).gather(1, torch.tensor(scores["label"].tolist())[:, None])[:, 0]
    assert probability.numpy() == pytest.approx(scores["probability"].to_numpy(), abs=1e-4)


def test_done_is_done_and_other_settings_are_refused(finished, monkeypatch):
    config, metrics = finished
    monkeypatch.setattr(experiment, "_trainer", None)  # nothing may be trained
    assert run(config) == metrics
    other = study(Path(config.shards.root).parent, epochs=5)
    with pytest.raises(UserError, match=r"other settings: classifier\.epochs.*name="):
        run(other)
    assert run(study(Path(config.shards.root).parent, num_workers=1)) == metrics  # decides nothing


DIES = """
import os, signal, sys
from seedml.classifier.module import SeedClassifier
from test_classify_step import *
trained = SeedClassifier.training_step
def training_step(self, batch, batch_idx):
    if self.global_step == int(sys.argv[2]) and self.prefix == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
    return trained(self, batch, batch_idx)
SeedClassifier.training_step = training_step
run(study(Path(sys.argv[1]), "killed"))
"""


def test_a_run_killed_in_mid_epoch_ends_like_one_that_was_not(finished, planted):
    """6 steps an epoch: killed in the third of six epochs, then in the control's first."""
    config, metrics = finished
    killed = study(planted, "killed")
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    for step, prefix in ((15, ""), (4, "shuffled_labels/")):
        program = f"import sys; sys.path[:0] = {paths!r}\n{DIES}"
        words = [sys.executable, "-c", program, str(planted), str(step), prefix]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not (killed.run_dir / "classifier" / "metrics.json").exists()
    resumed = run(killed)
    for key in ("test_accuracy", "shuffled_label_accuracy", "per_seed_accuracy", "confusions"):
        assert resumed[key] == metrics[key]
    for before, after in zip(metrics["history"], resumed["history"], strict=True):
        assert {**before, "seconds": 0} == {**after, "seconds": 0}
    weights = [torch.load(c.run_dir / "classifier" / "best.ckpt", weights_only=True) for c in (config, killed)]
    for name, tensor in weights[0]["state_dict"].items():
        assert tensor.equal(weights[1]["state_dict"][name]), name


def test_begun_with_other_settings_is_refused(finished, planted):
    config = study(planted, "begun")
    folder = config.run_dir / "classifier"
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text('{"dataset": "another"}')
    with pytest.raises(UserError, match=r"begun with other settings: classifier.*dataset"):
        run(config)


def test_a_split_without_images_and_a_seed_without_images_are_refused(tmp_path):
    config = study(tmp_path)
    config.prompts = PromptsConfig(limit=8, splits={"train": 4, "test": 4})
    plant_shards(config, planted_picture)
    with pytest.raises(UserError, match=r"'val'.*prompts\.splits\.val"):
        run(config)
    failing = study(tmp_path / "failing")
    train = {p.prompt_id for p in load_prompts(failing.prompts) if p.split == "train"}
    plant_shards(failing, lambda seed, p: None if seed == 4 and p in train else planted_picture(seed, p))
    with pytest.raises(UserError, match="no training image of 1 seeds, the first is 4"):
        run(failing)
