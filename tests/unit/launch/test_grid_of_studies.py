"""launch/grid.sh and launch/sweep.yaml: the same studies, whether W&B's agent asks for them or nobody does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from seedml.config import load_config

CHECKOUT = Path(__file__).parents[3]
LOG = """#!/bin/sh
echo "seedml $* run=${WANDB_RUN_ID:-none} sweep=${WANDB_SWEEP_ID:-none}" >> "$(dirname "$0")/../../log"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that is installed already, whose seedml only writes down that it was called."""
    folder = tmp_path / "check out"
    shutil.copytree(CHECKOUT / "launch", folder / "launch")
    (folder / "pyproject.toml").write_text("")
    bin_ = folder / ".venv" / "bin"
    bin_.mkdir(parents=True)
    for name, text in (("seedml", LOG), ("python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')):
        (bin_ / name).write_text(text)
        (bin_ / name).chmod(0o755)
    digest = subprocess.run(
        ["bash", "-c", ". launch/environment.sh; digest_of pyproject.toml"],
        cwd=folder, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (folder / ".venv" / "seedml-editable").write_text(digest)
    return folder


def grid(checkout: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    return subprocess.run(
        ["bash", str(checkout / "launch" / "grid.sh"), *words],
        cwd=checkout, env=kept | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def called(checkout: Path) -> list[str]:
    log = checkout / "log"
    return log.read_text().splitlines() if log.exists() else []


def test_every_combination_is_a_study_and_all_are_compared(checkout: Path) -> None:
    done = grid(checkout, "quickstart", "sampler.steps=4,8", "sampler.guidance_scale=1,7.5", "--", "seeds=0:4")
    assert done.returncode == 0, done.stderr
    *studies, comparison = [line.removesuffix(" run=none sweep=none") for line in called(checkout)]
    names = [f"quickstart-guidance_scale_{g}-steps_{s}" for s, g in product((4, 8), (1, 7.5))]
    assert studies == [
        f"seedml study quickstart name={name} sampler.steps={s} sampler.guidance_scale={g} seeds=0:4"
        for name, (s, g) in zip(names, product((4, 8), (1, 7.5)), strict=True)
    ]
    assert comparison == f"seedml compare {' '.join(f'runs/{name}' for name in names)} name=compare-quickstart-grid"
    for line in studies:  # each is a legal configuration, with a legal name
        load_config("quickstart", line.split()[3:])


def test_a_dry_run_only_says_so(checkout: Path) -> None:
    done = grid(checkout, "some/where.yaml", "sampler.steps=2,3", "--", "runs.root=elsewhere", DRY_RUN="1")
    assert called(checkout) == []
    assert done.stdout.splitlines() == [
        "seedml study some/where.yaml name=where-steps_2 sampler.steps=2 runs.root=elsewhere",
        "seedml study some/where.yaml name=where-steps_3 sampler.steps=3 runs.root=elsewhere",
        "seedml compare elsewhere/where-steps_2 elsewhere/where-steps_3 name=compare-where-grid",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "is given no configuration"),
        (["sampler.steps=4"], "is given no configuration; given: sampler.steps=4"),
        (["quickstart", "steps"], "what is varied is written key=value,value; given: steps"),
        (["quickstart", "sampler.steps=4,8", "--", "name=x"], "a grid names its studies itself"),
    ],
)
def test_wrong_words_are_refused_in_one_line(checkout: Path, words: list[str], said: str) -> None:
    done = grid(checkout, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert called(checkout) == []


def sweep() -> dict[str, Any]:
    return yaml.safe_load((CHECKOUT / "launch" / "sweep.yaml").read_text())


def agent_command(point: dict[str, Any]) -> list[str]:
    """What W&B's agent runs for a point, by W&B's own functions."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    config = sweep()
    macros = create_sweep_command_args({"args": {key: {"value": value} for key, value in point.items()}})
    macros["program"] = [config["program"]]
    command: list[str] = []
    for word in create_sweep_command(config["command"]):
        command += macros[word[2:-1]] if word.startswith("${") else [word]
    return command


def test_a_point_of_the_sweep_is_the_study_that_the_grid_makes(checkout: Path) -> None:
    values = {key: parameter["values"] for key, parameter in sweep()["parameters"].items()}
    last = {key: each[-1] for key, each in values.items()} | {"sampler.guidance_scale": 3.0}
    command = agent_command(last)
    assert command[:3] == ["bash", "launch/grid.sh", "quickstart"]
    agent = grid(checkout, *command[2:], WANDB_SWEEP_ID="s1", WANDB_RUN_ID="r1")
    assert agent.returncode == 0, agent.stderr
    lines = called(checkout)
    steps = ["generate", "measure", "summarize", "classify", "select", "apply", "report"]
    assert [line.split()[1] for line in lines] == steps
    # one run for each step, and the sweep's own for the one that tells the headline numbers
    assert [line.partition(" run=")[2] for line in lines] == ["none sweep=none"] * 6 + ["r1 sweep=s1"]
    (checkout / "log").unlink()
    local = grid(checkout, "quickstart", *(f"{key}={value}" for key, value in reversed(last.items())))
    assert local.returncode == 0
    (alone,) = called(checkout)
    assert {word for word in alone.split() if word.startswith("name=")} == {
        word for word in lines[0].split() if word.startswith("name=")
    }
    load_config(command[2], command[3:])


def test_the_sweep_asks_for_what_w_and_b_knows() -> None:
    """Keys of W&B's sweep configuration, and a metric that the step `report` tells."""
    config = sweep()
    assert config.keys() <= {"program", "project", "name", "description", "method", "metric", "parameters", "command"}
    assert config["method"] == "grid"
    assert config["metric"] == {"name": "golden_gain_held_out.value", "goal": "maximize"}
    assert all(set(parameter) == {"values"} for parameter in config["parameters"].values())
    assert config["command"][0] == "bash"
    assert "${args_no_hyphens}" in config["command"]
    assert (CHECKOUT / config["program"]).is_file()
