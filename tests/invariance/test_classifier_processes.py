"""The classifier in two real processes joined by gloo: what they score is what one scores, and they stop together."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from planted_shards import plant_shards, planted_picture

from seedml.config import load_config

SCRIPT = """
import os, signal, sys
from seedml.__main__ import main
from seedml.classifier.module import SeedClassifier

rank, step = (int(number) for number in sys.argv[1].split(","))
trained = SeedClassifier.training_step
def training_step(self, batch, batch_idx):
    if self.global_rank == rank and self.global_step == step:
        os.kill(os.getpid(), signal.SIGTERM)
    return trained(self, batch, batch_idx)
SeedClassifier.training_step = training_step
if __name__ == "__main__":
    sys.exit(main(sys.argv[2:]))
"""
STUDY = """
name: tiny
seeds: "0:5"
prompts: {{limit: 40, splits: {{train: 23, val: 6, test: 11}}}}
shards: {{root: {folder}/shards}}
tracking: {{mode: disabled}}
trainer: {{accelerator: cpu, precision: 32-true, threads: 1}}
classifier: {{image_size: 24, epochs: 2, batch_size: 10, learning_rate: 3e-3, architecture: mobilenet_v3_small,
             controls: [shuffled_labels]}}
"""  # odd numbers on purpose: 115, 30 and 55 images
LAUNCHERS = {
    "lightning": [sys.executable],
    "torchrun": [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    (folder / "script.py").write_text(SCRIPT)
    (folder / "study.yaml").write_text(STUDY.format(folder=folder))
    plant_shards(load_config(str(folder / "study.yaml")), planted_picture)
    return folder


def classify(folder: Path, runs: str, launcher: str = "lightning", devices: int = 2, stop: str = "-1,-1") -> int:
    strategy = ["trainer.strategy=ddp"] if devices > 1 else []
    words = ["script.py", stop, "classify", "study.yaml", f"runs.root={runs}", f"trainer.devices={devices}", *strategy]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*LAUNCHERS[launcher], *words], cwd=folder, env=environment, capture_output=True, text=True)
    print(done.stderr)
    return done.returncode


def results(folder: Path, runs: str) -> tuple[Path, pd.DataFrame, dict]:
    place = folder / runs / "tiny" / "classifier"
    return place, pd.read_parquet(place / "scores.parquet"), json.loads((place / "metrics.json").read_text())


@pytest.fixture(scope="module")
def two(folder) -> tuple[Path, pd.DataFrame, dict]:
    assert classify(folder, "two") == 0
    return results(folder, "two")


@pytest.mark.slow
def test_two_processes_score_what_one_scores(folder, two):
    place, scores, metrics = two
    assert len(scores) == 55
    assert not scores.duplicated(["seed", "prompt_id"]).any()
    again = folder / "one" / "tiny" / "classifier"
    again.mkdir(parents=True)
    for name in ("best.ckpt", "history.json", "settings.json"):  # training is over, its scores are lost
        shutil.copy(place / name, again / name)
    assert classify(folder, "one", devices=1) == 0
    _, alone, alone_metrics = results(folder, "one")
    exact = ["seed", "prompt_id", "label", "predicted", "place"]
    pd.testing.assert_frame_equal(alone[exact], scores[exact])
    assert alone["probability"].to_numpy() == pytest.approx(scores["probability"].to_numpy(), abs=1e-5)
    assert alone_metrics["test_accuracy"] == metrics["test_accuracy"]


@pytest.mark.slow
def test_torchrun_trains_what_lightning_trains(folder, two):
    assert classify(folder, "torchrun", "torchrun") == 0
    place, scores, metrics = results(folder, "torchrun")
    pd.testing.assert_frame_equal(scores, two[1])
    assert metrics["shuffled_label_accuracy"] == two[2]["shuffled_label_accuracy"]
    same_weights(place, two[0])


def same_weights(left: Path, right: Path) -> None:
    weights = [torch.load(place / "best.ckpt", weights_only=True)["state_dict"] for place in (left, right)]
    assert all(tensor.equal(weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "rank"), [("lightning", 0), ("torchrun", 1)])
def test_a_signal_to_one_process_stops_both_and_both_go_on(folder, two, launcher, rank):
    """In the middle of the second epoch of 12 steps."""
    runs = f"stopped-{launcher}"
    status = classify(folder, runs, launcher, stop=f"{rank},14")
    assert status == (128 + signal.SIGTERM if launcher == "lightning" else 1)  # torchrun has a status of its own
    place = folder / runs / "tiny" / "classifier"
    assert torch.load(place / "last.ckpt", weights_only=True)["in_epoch"]
    assert classify(folder, runs, launcher) == 0
    _, scores, metrics = results(folder, runs)
    pd.testing.assert_frame_equal(scores, two[1])
    for before, after in zip(two[2]["history"], metrics["history"], strict=True):
        assert {**before, "seconds": 0} == {**after, "seconds": 0}
    same_weights(place, two[0])
