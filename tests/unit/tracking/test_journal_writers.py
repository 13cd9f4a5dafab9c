"""Processes that share a step, as elements of a job array do, have a journal each: none marks another's rows."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedml.config import StudyConfig, TrackingConfig
from seedml.tracking import history, open_tracker, read_journal
from seedml.tracking.track import _journals

CONFIG = StudyConfig(name="q", tracking=TrackingConfig(mode="disabled"))
STEP = """
import sys
from pathlib import Path
import numpy as np
from seedml.config import StudyConfig, TrackingConfig
from seedml.tracking import open_tracker
config = StudyConfig(name="q", tracking=TrackingConfig(mode="disabled"))
with open_tracker(config, "generate", Path(sys.argv[1])) as tracker:
    tracker.image("sheet", np.full((2, 2, 3), 7, np.uint8))
    for number in range(4):
        tracker.log({"images": 10 + number}, step=number)
    print("told", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)


def other_process(run_dir: Path) -> subprocess.Popen[str]:
    """One that has told its rows and goes on; a line on its input ends it."""
    process = subprocess.Popen(
        [sys.executable, "-c", STEP, str(run_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "told\n"
    return process


def tell(run_dir: Path, numbers: range) -> None:
    with open_tracker(CONFIG, "generate", run_dir) as tracker:
        tracker.image("sheet", np.full((2, 2, 3), 200, np.uint8))
        for number in numbers:
            tracker.log({"images": number}, step=number)


def test_a_second_writer_has_a_journal_of_its_own(tmp_path: Path) -> None:
    with other_process(tmp_path) as process:
        tell(tmp_path, range(3))
        tell(tmp_path, range(2, 5))
        process.communicate("\n")
    first, second = sorted(_journals(tmp_path), key=lambda path: path.name != "generate.jsonl")
    assert first.name == "generate.jsonl"
    assert second.name.startswith("generate.")
    assert history(first) == [{"images": 10 + number, "step": number} for number in range(4)]
    assert [row["step"] for row in history(second)] == [0, 1, 2, 2, 3, 4], "none is marked as told again"
    assert [event["event"] for event in read_journal(first) if event["event"] in ("start", "finish")] == [
        "start",
        "finish",
    ]
    for path, brightness, sheets in ((first, 7, 1), (second, 200, 2)):
        told = [event["path"] for event in read_journal(path) if event["event"] == "image"]
        assert len(set(told)) == sheets
        for name in told:
            assert np.asarray(Image.open(tmp_path / name)).tolist() == np.full((2, 2, 3), brightness).tolist()


def test_a_killed_writer_s_journal_is_gone_on_with(tmp_path: Path) -> None:
    with other_process(tmp_path) as process:
        process.kill()
    tell(tmp_path, range(2, 6))
    (journal,) = _journals(tmp_path)
    assert [row["step"] for row in history(journal)] == [0, 1, 2, 3, 4, 5]


def test_elements_of_an_array_go_on_with_their_own_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for element in ("0", "11", "0"):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", element)
        tell(tmp_path, range(2))
    assert {path.name for path in _journals(tmp_path)} == {"generate.element-0.jsonl", "generate.element-11.jsonl"}
    events = read_journal(tmp_path / "tracking" / "generate.element-0.jsonl")
    assert [event["session"] for event in events if event["event"] == "start"] == [0, 1]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_where_there_are_no_locks_the_journal_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def lockf(*args: object) -> None:
        raise OSError(number, "as the file system says")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    tell(tmp_path, range(2))
    assert [path.name for path in _journals(tmp_path)] == ["generate.jsonl"]
