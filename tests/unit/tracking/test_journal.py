"""The journal is the truth: every event is on disk when the call returns, and a torn line costs only itself."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from seedml.config import StudyConfig, TrackingConfig
from seedml.errors import UserError
from seedml.tracking import (
    Journal,
    NullTracker,
    _mode,
    history,
    is_rank_zero,
    open_tracker,
    plain,
    read_journal,
    without_secrets,
)


@pytest.fixture
def config() -> StudyConfig:
    return StudyConfig(name="q", tracking=TrackingConfig(mode="disabled"))


@pytest.fixture(autouse=True)
def no_accounts(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_rows_are_on_disk_when_log_returns(config, tmp_path):
    path = tmp_path / "tracking" / "measure.jsonl"
    with open_tracker(config, "measure", tmp_path) as tracker:
        assert not path.exists()  # a step that says nothing leaves nothing
        tracker.log({"x": np.float32(1.5), "n": np.int64(3)}, step=7)
        assert history(path) == [{"x": 1.5, "n": 3, "step": 7}]
        tracker.log({"x": float("nan")})
        tracker.summary({"best": 2})
    events = read_journal(path)
    assert [event["event"] for event in events] == ["start", "log", "log", "summary", "finish"]
    assert events[0]["config"]["name"] == "q"
    assert events[2]["values"] == {"x": "NaN"}
    assert events[3]["values"] == {"best": 2}
    assert events[4]["failed"] is False


def test_images_and_tables_are_kept_bit_for_bit(config, tmp_path):
    first, second = (np.random.default_rng(i).integers(0, 256, (5, 6, 3), dtype=np.uint8) for i in range(2))
    frame = pd.DataFrame({"seed": [3, 4], "fid": [1.25, float("nan")], "note": ["a", "b"]})
    own = tmp_path / "own.png"
    Image.fromarray(first).save(own)
    with open_tracker(config, "report", tmp_path) as tracker:
        tracker.image("a/b", first, "one")
        tracker.image("a/b", second, "two")
        tracker.image("own", own, "three")
        tracker.table("seeds", frame)
        tracker.file(own, "picture")
    events = [event for event in read_journal(tmp_path / "tracking" / "report.jsonl") if "path" in event]
    for event, expected in zip(events[:3], (first, second, first), strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / event["path"])), expected)
    assert [event.get("caption") for event in events[:3]] == ["one", "two", "three"]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / events[3]["path"]), frame)
    assert events[3]["rows"] == 2
    assert events[4] == events[4] | {"path": "own.png", "kind": "picture"}


def test_a_torn_line_costs_only_itself(config, tmp_path):
    path = tmp_path / "tracking" / "classify.jsonl"
    with open_tracker(config, "classify", tmp_path) as tracker:
        tracker.log({"x": 1})
    with path.open("a") as stream:
        stream.write('{"time": 1, "event": "log", "val')
    with open_tracker(config, "classify", tmp_path) as tracker:
        tracker.log({"x": 2})
    assert history(path) == [{"x": 1}, {"x": 2}]
    assert [e["event"] for e in read_journal(path)] == ["start", "log", "finish", "start", "log", "finish"]


def test_a_failed_step_says_so(config, tmp_path):
    def step() -> None:
        with open_tracker(config, "measure", tmp_path) as tracker:
            tracker.log({"x": 1})
            tracker.log({"x": 1 / 0})

    with pytest.raises(ZeroDivisionError):
        step()
    assert read_journal(tmp_path / "tracking" / "measure.jsonl")[-1]["failed"] is True


def test_lightning_logger_tells_the_tracker(config, tmp_path):
    with open_tracker(config, "classify", tmp_path) as tracker:
        tracker.lightning_logger().log_metrics({"loss": 0.5, "epoch": 1}, step=12)
    assert history(tmp_path / "tracking" / "classify.jsonl") == [{"loss": 0.5, "epoch": 1, "step": 12}]


def test_null_tracker_and_other_ranks_leave_no_trace(config, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with open_tracker(config, "measure", tmp_path) as tracker:
        assert isinstance(tracker, NullTracker)
        tracker.log({"x": 1}, step=1)
        tracker.summary({"x": 1})
        tracker.image("x", np.zeros((2, 2), np.uint8))
        tracker.table("t", pd.DataFrame({"a": [1]}))
        tracker.file(tmp_path, "folder")
        tracker.lightning_logger().log_metrics({"x": 1}, step=1)
        assert (tracker.sync_hint, tracker.mode) == ("", "disabled")
    assert list(tmp_path.iterdir()) == []


def test_plain_values_are_standard_json():
    values = {"a": [np.float64(0.5), math.inf], "b": {"c": (1, True, None)}, 3: -math.inf, "d": Path("x")}
    expected = {"a": [0.5, "Infinity"], "b": {"c": [1, True, None]}, "3": "-Infinity", "d": "x"}
    assert plain(values) == expected
    assert json.loads(json.dumps(plain(values), allow_nan=False)) == expected


@pytest.mark.parametrize(
    ("environ", "zero"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "8", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "1"}, False),
        ({"NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "2"}, False),
        ({"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, True),
    ],
)
def test_rank_zero(environ, zero):
    assert is_rank_zero(environ) is zero


def test_secrets_of_the_environment_never_reach_a_log(tmp_path):
    environ = {"MY_API_KEY": "hunter2hunter2", "HOME": "/home/someone", "SHORT_TOKEN": "ab"}
    settings = {"name": "ab", "file": "/home/someone/x", "deep": {"url": ["https://u:hunter2hunter2@h/", 3, None]}}
    struck = without_secrets(settings, environ)
    assert struck == {"name": "ab", "file": "/home/someone/x", "deep": {"url": ["https://u:(secret)@h/", 3, None]}}
    journal = Journal(tmp_path, "x", struck)
    journal.write("log", values={})
    assert "hunter2" not in journal.path.read_text()


def test_auto_mode_follows_the_credentials(tmp_path, monkeypatch):
    assert _mode("auto") == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "0" * 40 + "\n")
    assert _mode("auto") == "online"
    assert _mode("offline") == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert _mode("auto") == "disabled"
    assert _mode("offline") == "offline"
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(UserError, match=r"sometimes.*WANDB_MODE"):
        _mode("auto")


def test_another_servers_password_is_no_api_key(tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine git.example.org login user password secret\n")
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert _mode("auto") == "offline"
    monkeypatch.setenv("WANDB_BASE_URL", "https://git.example.org")
    assert _mode("auto") == "online"


def test_online_without_a_key_is_refused_before_any_work():
    with pytest.raises(UserError, match=r"no W&B API key.*wandb login"):
        _mode("online")


def test_disabled_tracking_never_imports_wandb(tmp_path):
    code = (
        "import sys; from pathlib import Path; from seedml.config import *; from seedml.tracking import open_tracker\n"
        f"run = Path({str(tmp_path)!r}); c = StudyConfig(name='q', tracking=TrackingConfig(mode='disabled'))\n"
        "with open_tracker(c, 'measure', run) as tracker: tracker.log({'x': 1}); tracker.summary({'y': 2})\n"
        "assert not {'wandb', 'torch', 'pandas'} & set(sys.modules), set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert history(tmp_path / "tracking" / "measure.jsonl") == [{"x": 1}]
    assert not (tmp_path / "wandb").exists()
