"""Runs sent to a stand-in of the W&B server: online, replayed, resumed, and with a server that stops answering."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from wandb_offline import offline_runs
from wandb_server import ENTITY, KEY, ServedRun, Server, wandb_server

from seedml.__main__ import main
from seedml.tracking import history, read_journal
from seedml.tracking.mirror import WAIT_SECONDS

OWN = {"_step", "_timestamp", "_runtime", "_wandb"}
"""Columns that W&B adds to every row."""

STEP = """
import json, sys, time
from pathlib import Path
import numpy as np, pandas as pd
from seedml.config import StudyConfig, TrackingConfig
from seedml.tracking import Patience, open_tracker
run, mode = Path(sys.argv[1]), sys.argv[2]
told = json.loads(sys.argv[3])
config = StudyConfig(name="quick", tracking=TrackingConfig(mode=mode))
patience = Patience(told.get("patience", 120))
for step in told.get("steps", ["classify"]):
    with open_tracker(config, step, run, patience=patience) as tracker:
        tracker.best({"val/accuracy": "max", "val/loss": "min"})
        for number in range(*told["rows"]):
            tracker.log({"val/accuracy": 1 / (1 + number), "val/loss": number - 2.5}, step=number)
        if told.get("media"):
            tracker.image("picture", np.arange(48, dtype=np.uint8).reshape(4, 4, 3), "a caption")
            tracker.table("seeds", pd.DataFrame({"seed": [3, 4], "fid": [1.5, float("nan")]}))
            tracker.histogram("fid", [1.0, 2.0, 2.5, float("nan")])
            tracker.summary({"fid_best": {"value": 1.5, "low": 1.0, "high": 2.0, "n": 2}})
            (run / "shard.tar").write_bytes(b"pictures")
            tracker.references("dataset", "dataset", run, {"shard.tar": "00ff"})
            tracker.uses("dataset")
            (run / "best.ckpt").write_bytes(b"weights")
            tracker.file(run / "best.ckpt", "checkpoint", name="classifier")
        if told.get("pauses"):
            print("paused", tracker.mode, flush=True)
            sys.stdin.readline()
        begun = time.monotonic()
    print("closed", time.monotonic() - begun, tracker.mode, flush=True)
"""


pytestmark = pytest.mark.slow  # each test starts processes that import wandb


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    for name in [name for name in os.environ if name.startswith("WANDB")] + ["RANK", "LOCAL_RANK"]:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server


def start(run_dir: Path, mode: str = "online", **told: object) -> subprocess.Popen[str]:
    told.setdefault("rows", [0, 5])
    return subprocess.Popen(
        [sys.executable, "-c", STEP, str(run_dir), mode, json.dumps(told)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[list[str], str]:
    """What it printed, and what it warned of."""
    output, errors = process.communicate("\n", timeout=250)
    assert process.returncode == 0, errors
    return output.splitlines(), errors


def paused(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().startswith("paused")


def numbers(run: ServedRun) -> list[dict[str, Any]]:
    """The rows of numbers; pictures, tables and histograms are rows of their own."""
    bare = [{key: value for key, value in row.items() if key not in OWN} for row in run.history]
    return [row for row in bare if "step" in row]


def check_everything_is_there(server: Server, run_dir: Path, sessions: int = 1) -> ServedRun:
    """The server has one run, each row of the journal once, every file, and the artifacts with their lineage."""
    journal = run_dir / "tracking" / "classify.jsonl"
    [run] = server.runs.values()
    assert numbers(run) == history(journal)
    assert [row["_step"] for row in run.history] == sorted({row["_step"] for row in run.history})
    assert (run.group, run.job_type, run.tags) == ("quick", "classify", ["classify", "seedling"])
    config = {key: value["value"] for key, value in run.config.items() if key != "_wandb"}
    starts = [event for event in read_journal(journal) if event["event"] == "start"]
    assert len(starts) == sessions
    assert config == filled(starts[-1]["config"])
    events = {event["event"]: event for event in read_journal(journal)}
    images = [row["picture"] for row in run.history if "picture" in row]
    tables = [row["seeds"] for row in run.history if "seeds" in row]
    histograms = [row["fid"] for row in run.history if "fid" in row]
    assert len(images) == len(tables) == len(histograms) == 1
    assert run.files[images[0]["path"]] == (run_dir / events["image"]["path"]).read_bytes()
    assert json.loads(run.files[tables[0]["path"]])["data"] == [[3, 1.5], [4, None]]
    assert pd.read_parquet(run_dir / events["table"]["path"])["seed"].tolist() == [3, 4]
    assert histograms[0]["values"] == events["histogram"]["counts"]
    assert histograms[0]["bins"] == pytest.approx(events["histogram"]["edges"])
    assert run.summary["fid_best"] == {"value": 1.5, "low": 1.0, "high": 2.0, "n": 2}
    accuracies = [row["val/accuracy"] for row in numbers(run)]
    assert run.summary["val/accuracy"]["max"] == max(accuracies)
    assert run.summary["val/loss"]["min"] == -2.5
    for key, value in events.get("finish", {"cost": {}})["cost"].items():
        assert run.summary[key] == value
    check_lineage(server, run, run_dir)
    return run


def check_lineage(server: Server, run: ServedRun, run_dir: Path) -> None:
    data, classifier = server.artifact("quick-dataset"), server.artifact("quick-classifier")
    assert (data.type, classifier.type) == ("dataset", "checkpoint")
    assert (data.state, classifier.state) == ("COMMITTED", "COMMITTED")
    assert list(classifier.files.values()) == [b"weights"]
    assert b"pictures" not in b"".join(data.files.values()), "shards are named, not copied"
    entry = data.manifest["contents"]["shard.tar"]
    assert entry["ref"] == (run_dir / "shard.tar").resolve().as_uri()
    assert json.loads(data.files["hashes.json"]) == {"shard.tar": "00ff"}
    assert set(run.used) == {data.id}
    assert {data.id, classifier.id} <= set(run.made)
    assert len([artifact for artifact in server.artifacts if artifact.type in ("dataset", "checkpoint")]) == 2


def filled(value: Any) -> Any:
    """Without empty mappings, which wandb does not send."""
    if not isinstance(value, dict):
        return value
    return {key: inner for key, item in value.items() if (inner := filled(item)) != {}}


def track(run_dir: Path) -> None:
    assert main(["track", str(run_dir)]) == 0


def test_an_online_run_is_there_at_once_and_tracking_it_sends_nothing(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, errors = finish(start(tmp_path / "run", media=True))
    assert lines[0].endswith("online"), errors
    assert f"W&B run: {server.url}/{ENTITY}/seedml/runs/" in errors
    run = check_everything_is_there(server, tmp_path / "run")
    assert run.exit_code == 0
    requests = server.requests
    track(tmp_path / "run")
    assert server.requests == requests
    assert "nothing to send" in capsys.readouterr().out


def test_an_offline_run_is_sent_once(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, errors = finish(start(tmp_path / "run", "offline", media=True))
    assert lines[0].endswith("offline")
    assert f"seedml track {tmp_path / 'run'}" in errors
    assert server.requests == 0
    track(tmp_path / "run")
    run = check_everything_is_there(server, tmp_path / "run")
    assert f"classify: 14 events sent: {server.url}" in capsys.readouterr().out
    before = server.requests, list(run.lines), list(run.uploads)
    track(tmp_path / "run")
    assert (server.requests, run.lines, run.uploads) == before


def test_without_its_notes_nothing_comes_twice_either(server: Server, tmp_path: Path) -> None:
    """The server itself says which rows it has, and knows artifacts by their content."""
    finish(start(tmp_path / "run", media=True))
    [run] = server.runs.values()
    lines, uploads, artifacts = list(run.lines), list(run.uploads), len(server.artifacts)
    (tmp_path / "run" / "tracking" / "classify.sent.json").unlink()
    track(tmp_path / "run")
    check_everything_is_there(server, tmp_path / "run")
    media = [name for name in run.uploads[len(uploads) :] if name.startswith("media/")]
    assert (run.lines, media, len(server.artifacts)) == (lines, [], artifacts)


def test_what_a_kill_of_everything_leaves_is_sent_by_track(server: Server, tmp_path: Path) -> None:
    """The step and its mirror are killed while the server has a part of the rows."""
    process = start(tmp_path / "run", media=True, pauses=True)
    paused(process)
    wait_until(lambda: server.runs and len(next(iter(server.runs.values())).lines) >= 1)
    for child in children(process.pid):
        os.kill(child, signal.SIGKILL)
    process.kill()
    process.communicate()
    journal = tmp_path / "run" / "tracking" / "classify.jsonl"
    assert len(history(journal)) == 5
    track(tmp_path / "run")
    run = check_everything_is_there(server, tmp_path / "run")
    assert run.exit_code == 1


def test_a_killed_step_is_mirrored_to_its_last_row(server: Server, tmp_path: Path) -> None:
    process = start(tmp_path / "run", pauses=True)
    paused(process)
    process.kill()
    process.communicate()
    [run] = wait_until(lambda: list(server.runs.values()))
    wait_until(lambda: run.exit_code is not None)
    assert numbers(run) == history(tmp_path / "run" / "tracking" / "classify.jsonl")
    assert run.exit_code == 1, "a killed run is no finished one"


def test_a_killed_step_whose_server_is_away_leaves_no_process_behind(server: Server, tmp_path: Path) -> None:
    process = start(tmp_path / "run", pauses=True)
    paused(process)
    wait_until(lambda: server.runs)
    mirrors = children(process.pid)
    assert mirrors
    server.silent.set()
    process.kill()
    process.communicate()
    wait_until(lambda: not any(is_alive(pid) for pid in mirrors), 120)
    server.silent.clear()
    track(tmp_path / "run")
    [run] = server.runs.values()
    assert numbers(run) == history(tmp_path / "run" / "tracking" / "classify.jsonl")


def test_a_resumed_step_goes_on_in_the_same_run(server: Server, tmp_path: Path) -> None:
    """It counts on from before the last row: those rows are not there twice, and steps never go backwards."""
    process = start(tmp_path / "run", rows=[0, 8], pauses=True)
    paused(process)
    process.kill()
    process.communicate()
    [run] = wait_until(lambda: list(server.runs.values()))
    wait_until(lambda: run.exit_code is not None)
    finish(start(tmp_path / "run", rows=[5, 12], media=True))
    check_everything_is_there(server, tmp_path / "run", sessions=2)
    assert [row["step"] for row in numbers(run)] == list(range(12))


def test_offline_a_resumed_step_is_a_linked_run_and_track_makes_one_of_both(server: Server, tmp_path: Path) -> None:
    process = start(tmp_path / "run", "offline", rows=[0, 8], pauses=True)
    paused(process)
    process.kill()
    process.communicate()
    finish(start(tmp_path / "run", "offline", rows=[5, 12], media=True))
    first, second = wait_until(lambda: offline_runs(tmp_path / "run")[:2])
    assert "resumed_from" not in first.config
    assert second.config["resumed_from"] == first.folder.name.rpartition("-")[2]
    steps = [row["_step"] for run in (first, second) for row in run.history]
    assert steps == list(range(len(steps)))
    assert [row["step"] for run in (first, second) for row in run.history if "step" in row] == list(range(12))
    track(tmp_path / "run")
    check_everything_is_there(server, tmp_path / "run", sessions=2)


@pytest.mark.parametrize("fault", ["silent from the start", "silent in mid-run", "stopped in mid-run"])
def test_a_server_that_fails_delays_a_study_little(server: Server, tmp_path: Path, fault: str) -> None:
    """Three steps in all; one warning, which says how to send the rest; and what it says is true."""
    steps = ["classify", "select", "report"]
    if fault == "silent from the start":
        server.silent.set()
    process = start(tmp_path / "run", steps=steps, pauses=True, media=True, patience=15)
    for number in range(len(steps)):
        paused(process)
        if number == 0 and fault == "silent in mid-run":
            server.silent.set()
        if number == 0 and fault == "stopped in mid-run":
            server.stop()
        assert process.stdin is not None
        if number < len(steps) - 1:
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout is not None
            assert process.stdout.readline().startswith("closed")
    _, errors = finish(process)
    warnings = [line for line in errors.splitlines() if "W&B" in line]
    assert len(warnings) == 1, errors
    assert "the study goes on" in warnings[0]
    assert f"seedml track {tmp_path / 'run'}" in warnings[0]
    for step in steps:
        assert len(history(tmp_path / "run" / "tracking" / f"{step}.jsonl")) == 5


def test_the_wait_for_a_server_is_bounded(server: Server, tmp_path: Path) -> None:
    """Against the same steps offline."""
    steps = ["classify", "select", "report"]

    def waited(mode: str, folder: str) -> float:
        lines, _ = finish(start(tmp_path / folder, mode, steps=steps, patience=WAIT_SECONDS))
        return sum(float(line.split()[1]) for line in lines)

    assert WAIT_SECONDS == 15
    offline = waited("offline", "offline")
    server.silent.set()
    assert waited("online", "online") - offline < 15


def test_a_server_that_comes_back_gets_the_rest(server: Server, tmp_path: Path) -> None:
    server.silent.set()
    finish(start(tmp_path / "run", media=True))
    assert not server.runs
    server.silent.clear()
    track(tmp_path / "run")
    check_everything_is_there(server, tmp_path / "run")


def test_a_server_that_is_away_is_one_line_to_track(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(start(tmp_path / "run", "offline"))
    server.stop()
    assert main(["track", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.strip()
    assert "does not answer" in said
    assert "\n" not in said
    assert "nothing is sent twice" in said


def test_no_file_holds_the_key(server: Server, tmp_path: Path) -> None:
    finish(start(tmp_path / "run", media=True))
    finish(start(tmp_path / "other", "offline", media=True))
    files = [path for name in ("run", "other") for path in (tmp_path / name).rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def children(pid: int) -> list[int]:
    """The processes that this one started, and those that they did."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    own = [int(word) for word in found.stdout.split()]
    return own + [one for child in own for one in children(child)]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Any, seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.1)
    return value
