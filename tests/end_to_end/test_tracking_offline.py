"""Real offline W&B runs, read back from their transaction logs: what is in W&B equals what is on disk."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from wandb_offline import OfflineRun, offline_runs

from seedml.config import StudyConfig, TrackingConfig, resolved
from seedml.tracking import history, open_tracker, read_journal

KEY = "0123456789abcdef0123456789abcdef01234567"
OWN = {"_step", "_timestamp", "_runtime"}
"""Columns that W&B adds to every row."""


@pytest.fixture
def clean_environment(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("WANDB")] + ["RANK", "LOCAL_RANK"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return home


def rows(run: OfflineRun) -> list[dict[str, Any]]:
    """The rows of numbers in a run's history (pictures and tables are rows of their own)."""
    bare = [{key: value for key, value in row.items() if key not in OWN} for row in run.history]
    return [row for row in bare if not any("._type" in key for key in row)]


def wandb_variables() -> dict[str, str]:
    """The environment as far as wandb reads it; WANDB_SERVICE is its own, the address of its service."""
    return {name: value for name, value in os.environ.items() if "WANDB" in name and name != "WANDB_SERVICE"}


def test_every_logged_value_equals_the_files(clean_environment, tmp_path, capsys):
    config = StudyConfig(name="quick", seeds="0:3", tracking=TrackingConfig(mode="auto", project="p"))
    run_dir = tmp_path / "runs" / "quick"
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    frame = pd.DataFrame({"seed": [0, 1, 2], "fid": [1.5, float("nan"), 2.5], "verdict": ["a", "b", "c"]})
    made = tmp_path / "made.bin"
    made.write_bytes(b"weights")
    before = wandb_variables()
    for step in ("measure", "classify"):
        with open_tracker(config, step, run_dir) as tracker:
            for i in range(5):
                tracker.log({f"{step}/loss": np.float32(1 / (i + 1)), "inf": float("inf")}, step=4 - i)
            tracker.lightning_logger().log_metrics({"val": float("nan")}, step=3)
            tracker.summary({"accuracy": 0.75})
            tracker.image("pictures/first", picture, "a caption")
            tracker.table("seeds", frame)
            tracker.file(made, "checkpoint")
            assert tracker.mode == "offline"
    assert wandb_variables() == before

    runs = offline_runs(run_dir)
    assert [run.job_type for run in runs] == ["measure", "classify"]
    for run in runs:
        journal = run_dir / "tracking" / f"{run.job_type}.jsonl"
        assert rows(run) == history(journal)
        assert len(history(journal)) == 6
        assert (run.group, run.project, run.exit_code) == ("quick", "p", 0)
        expected = json.loads(json.dumps(resolved(config)))
        made_with = run.config.pop("made_with")
        assert {key: value for key, value in run.config.items() if key != "_wandb"} == expected
        assert made_with["versions"]["torch"] == version("torch")
        assert made_with["device"]["cpus"] >= 1
        assert run.summary["accuracy"] == 0.75
        assert run.step_metrics == {f"{run.job_type}/loss": "step", "inf": "step", "val": "step"}
        check_media(run, run_dir, journal)
        assert [(a.name, a.type) for a in run.artifacts if a.type == "checkpoint"] == [("quick-made", "checkpoint")]
        staged = Path(next(e.local_path for a in run.artifacts if a.type == "checkpoint" for e in a.manifest.contents))
        assert staged.read_bytes() == b"weights"
        assert staged.is_relative_to(run_dir / "wandb")
    assert [path for path in clean_environment.rglob("*") if "wandb" in str(path.relative_to(clean_environment))] == []
    lines = [line for line in capsys.readouterr().err.splitlines() if "wandb sync" in line]
    assert [Path(line.split()[-1]) for line in lines] == [run.folder for run in runs]


def check_media(run: OfflineRun, run_dir: Path, journal: Path) -> None:
    events = {event["key"]: event for event in read_journal(journal) if "key" in event}
    image = next(row for row in run.history if "pictures/first._type" in row)
    assert image["pictures/first.caption"] == "a caption"
    mirrored = run.folder / "files" / image["pictures/first.path"]
    assert mirrored.read_bytes() == (run_dir / events["pictures/first"]["path"]).read_bytes()
    table = next(row for row in run.history if "seeds._type" in row)
    mirrored_table = json.loads((run.folder / "files" / table["seeds.path"]).read_text())
    kept = pd.read_parquet(run_dir / events["seeds"]["path"])
    assert mirrored_table["columns"] == list(kept.columns)
    assert mirrored_table["data"] == [[0, 1.5, "a"], [1, None, "b"], [2, 2.5, "c"]]
    assert kept["seed"].tolist() == [0, 1, 2]
    assert kept["fid"].isna().tolist() == [False, True, False]
    assert kept["fid"].dropna().tolist() == [1.5, 2.5]


PROGRAM = """
import sys, time
from pathlib import Path
from seedml.config import StudyConfig, TrackingConfig
from seedml.tracking import open_tracker
config = StudyConfig(name="quick", tracking=TrackingConfig(mode=sys.argv[2]))
begun = time.monotonic()
with open_tracker(config, "measure", Path(sys.argv[1])) as tracker:
    for i in range(10_000 if "forever" in sys.argv else 3):
        tracker.log({"i": i}, step=i)
        if "forever" in sys.argv:
            print(i, time.time(), flush=True)
            time.sleep(0.05)
    assert tracker.mode == "offline", tracker.mode
print("took", time.monotonic() - begun)
"""


def start(run_dir: Path, mode: str, *words: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(run_dir), mode, *words],
        env={**os.environ, **environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_loses_at_most_a_second(clean_environment, tmp_path, kind):
    process = start(tmp_path, "offline", "forever")
    said = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append((int(line.split()[0]), float(line.split()[1])))
        if len(said) > 5 and said[-1][1] - said[5][1] > 2.5 and offline_runs(tmp_path):
            break
    process.send_signal(kind)
    process.communicate(timeout=20)
    assert process.returncode == -kind
    journal = [row["i"] for row in history(tmp_path / "tracking" / "measure.jsonl")]
    assert journal[: len(said)] == [i for i, _ in said]  # the journal lost nothing that was said
    end = time.monotonic() + 60
    while not (found := offline_runs(tmp_path)) or found[0].exit_code is None:  # the mirror outlives the step
        assert time.monotonic() < end
        time.sleep(0.1)
    [run] = found
    assert [row["i"] for row in rows(run)] == journal, "not even the last second is lost"
    assert len(journal) > 20
    assert run.exit_code == 1


def test_no_server_delays_little_and_keeps_the_run_offline(clean_environment, tmp_path):
    """Connection refused, and a server that takes the connection and never answers."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(20)
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        cases = {"refused": "http://127.0.0.1:9", "mute": address}
        running = {
            name: start(tmp_path / name, "auto", WANDB_API_KEY=KEY, WANDB_BASE_URL=url) for name, url in cases.items()
        }
        for name, process in running.items():
            output, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
            assert float(output.split()[-1]) < 15
            assert "does not answer" in errors
            [run] = offline_runs(tmp_path / name)
            assert f"wandb sync {run.folder}" in errors
            assert [row["i"] for row in rows(run)] == [0, 1, 2]
            assert KEY not in errors
            kept = (path for path in (tmp_path / name).rglob("*") if path.is_file())
            assert not [path for path in kept if KEY.encode() in path.read_bytes()]


def test_a_server_that_refuses_the_run_keeps_it_offline(clean_environment, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path / "home")],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        port = server.stdout.readline().split("port ")[1].split()[0]
        process = start(tmp_path / "run", "online", WANDB_API_KEY=KEY, WANDB_BASE_URL=f"http://127.0.0.1:{port}")
        output, errors = process.communicate(timeout=60)
        server.terminate()
    assert process.returncode == 0, errors
    assert float(output.split()[-1]) < 15
    assert "kept offline" in errors
    [run] = offline_runs(tmp_path / "run")
    assert [row["i"] for row in rows(run)] == [0, 1, 2]


def test_a_dead_wandb_service_does_not_stop_the_study(clean_environment, tmp_path):
    program = PROGRAM.replace(
        "    assert", "    import os, subprocess\n"
        "    subprocess.run(['pkill', '-KILL', '-P', str(os.getpid())], check=True)\n"
        "    time.sleep(0.5)\n    [tracker.log({'i': i}, step=i) for i in (3, 4)]\n"
        "    import torch\n    tracker.log({'i': 5}, step=5)\n    assert",
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run"), "offline"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert [row["i"] for row in history(tmp_path / "run" / "tracking" / "measure.jsonl")] == list(range(6))
    assert done.stderr.count("the study goes on") == 1
