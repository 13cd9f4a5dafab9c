"""What of a journal is sent: every row once, facts until W&B has them, and the best of all rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seedml.config import StudyConfig, TrackingConfig
from seedml.tracking import history, open_tracker, read_journal
from seedml.tracking.cost import Meter, _risen
from seedml.tracking.journal import JournalReader, run_of
from seedml.tracking.mirror import Patience
from seedml.tracking.origin import made_with
from seedml.tracking.replay import Replay, Sent, described, sole_sender
from seedml.tracking.secrecy import secrets_in, strike


class Run:
    """A W&B run that remembers what it is told; ``first_row`` rows are there already."""

    def __init__(self, first_row: int = 0) -> None:
        self.first_row = first_row
        self.rows: list[tuple[int, dict[str, Any]]] = []
        self.facts: list[dict[str, Any]] = []
        self.totals: dict[str, Any] = {}

    def log(self, event: dict[str, Any], row: int) -> None:
        self.rows.append((row, event["values"]))

    def define(self, event: dict[str, Any]) -> None:
        """Nothing."""

    def summary(self, values: dict[str, Any]) -> None:
        self.totals |= values

    def made(self, event: dict[str, Any]) -> bool:
        self.facts.append(event)
        return True

    uses = made


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)


def session(run_dir: Path, rows: range, *, killed: bool = False) -> None:
    config = StudyConfig(name="q", tracking=TrackingConfig(mode="disabled"))
    made = run_dir / "made.bin"
    run_dir.mkdir(exist_ok=True)
    made.write_bytes(b"made of %d" % rows.stop)
    with open_tracker(config, "classify", run_dir) as tracker:
        tracker.best({"accuracy": "max"})
        for number in rows:
            tracker.log({"accuracy": 1 / (1 + number)}, step=number)
        tracker.summary({"last": rows.stop})
        tracker.file(made, "thing", name="thing")
    if killed:
        path = run_dir / "tracking" / "classify.jsonl"
        *lines, last = path.read_text().splitlines()
        assert json.loads(last)["event"] == "finish"
        path.write_text("\n".join([*lines, last[:20]]))


def test_a_resumed_step_s_repeated_rows_are_left_out_and_numbers_go_on(tmp_path: Path) -> None:
    session(tmp_path, range(8), killed=True)
    session(tmp_path, range(5, 12))
    journal = tmp_path / "tracking" / "classify.jsonl"
    assert [row["step"] for row in history(journal)] == list(range(12))
    assert [e["values"]["step"] for e in read_journal(journal) if e["event"] == "log" and e.get("again")] == [5, 6, 7]
    run = Run()
    replay = Replay(run, tmp_path, None, 0)  # type: ignore[arg-type]
    replay.take(read_journal(journal))
    assert run.rows == list(enumerate(history(journal)))
    assert not replay.failed


def test_a_finished_step_that_counts_from_the_start_again_is_no_repetition(tmp_path: Path) -> None:
    session(tmp_path, range(3))
    session(tmp_path, range(3))
    assert [row["step"] for row in history(tmp_path / "tracking" / "classify.jsonl")] == [0, 1, 2, 0, 1, 2]


def test_what_the_server_has_is_not_sent(tmp_path: Path) -> None:
    session(tmp_path, range(5), killed=True)
    session(tmp_path, range(5, 9))
    events = read_journal(tmp_path / "tracking" / "classify.jsonl")
    first = [event["event"] for event in events].index("start", 1)
    run = Run(first_row=3)
    replay = Replay(run, tmp_path, None, first)  # type: ignore[arg-type]
    replay.take(events[:4])
    replay.take(events[4:])
    replay.conclude()
    assert [row for row, _ in run.rows] == list(range(3, 9))
    assert [event["sha256"] for event in run.facts] == [events[-2]["sha256"]]
    assert run.totals["last"] == 9
    assert run.totals["accuracy"] == {"max": 1.0}, "the best of all rows, not of those sent now"
    assert replay.events == len(events)


def test_offline_a_session_of_its_own_is_linked(tmp_path: Path) -> None:
    session(tmp_path, range(4), killed=True)
    session(tmp_path, range(4, 6))
    events = read_journal(tmp_path / "tracking" / "classify.jsonl")
    first, second = [event for event in events if event["event"] == "start"]
    assert (first["session"], second["session"]) == (0, 1)
    assert "resumed_from" not in first
    assert second["resumed_from"] == first["run"] != second["run"]
    run = Run()
    Replay(run, tmp_path, 1, 0).take(events)  # type: ignore[arg-type]
    assert [row for row, _ in run.rows] == [4, 5]
    assert len(run.facts) == 1
    earlier = Run()
    Replay(earlier, tmp_path, 0, 0).take(events)  # type: ignore[arg-type]
    assert [row for row, _ in earlier.rows] == [0, 1, 2, 3], "its mirror may still read when the next one begins"


def test_each_version_of_a_file_that_was_told_stays(tmp_path: Path) -> None:
    session(tmp_path, range(1))
    (tmp_path / "made.bin").unlink()  # files are replaced, never written into
    session(tmp_path, range(2))
    told = [e for e in read_journal(tmp_path / "tracking" / "classify.jsonl") if e["event"] == "file"]
    assert [(tmp_path / event["kept"]).read_bytes() for event in told] == [b"made of 1", b"made of 2"]
    assert {event["name"] for event in told} == {"q-thing"}


def test_costs_of_sessions_add_up(tmp_path: Path) -> None:
    session(tmp_path, range(1))
    session(tmp_path, range(2))
    first, second = [
        e["cost"] for e in read_journal(tmp_path / "tracking" / "classify.jsonl") if e["event"] == "finish"
    ]
    assert 0 < first["cost/wall_seconds"] < second["cost/wall_seconds"]
    assert first["cost/cpu_seconds"] <= second["cost/cpu_seconds"]


def test_a_journal_is_read_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "step.jsonl"
    path.write_text('{"event": "start", "time": 1}\n{"event": "lo')
    reader = JournalReader(path)
    assert [event["event"] for event in reader.new_events()] == ["start"]
    with path.open("a") as stream:
        stream.write('g", "values": {"x": "é"}}\n')
    assert [event["values"] for event in reader.new_events()] == [{"x": "é"}]
    assert reader.new_events() == []


def test_a_journal_of_an_earlier_version_has_a_run_too() -> None:
    start = {"event": "start", "time": 12.5, "config": {"name": "q", "tracking": {"project": "p", "group": None}}}
    told = described(start, "measure")
    assert told["run"] == run_of(start, "measure") != run_of(start, "classify")
    assert told["about"] == {
        "project": "p", "entity": None, "group": "q", "job_type": "measure", "name": "q measure", "tags": ["measure"],
    }  # fmt: skip


def test_notes_hold_for_one_run_on_one_server(tmp_path: Path) -> None:
    sent = Sent(tmp_path / "step.jsonl")
    assert sent.events("here", "run") == 0
    sent.note("here", "run", "someone/p", "http://here/run", 7)
    again = Sent(tmp_path / "step.jsonl")
    assert (again.events("here", "run"), again.url) == (7, "http://here/run")
    assert again.events("there", "run") == again.events("here", "other") == 0


def test_one_process_sends_a_journal(tmp_path: Path) -> None:
    one, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    with sole_sender(one) as first, sole_sender(one) as second, sole_sender(other) as third:
        assert (first, second, third) == (True, False, True)
    with sole_sender(one) as again:
        assert again


def test_patience_is_one_for_all_steps() -> None:
    patience = Patience()
    patience.in_vain(9.0)
    assert (patience.left, patience.away) == (6.0, True)
    patience.in_vain(9.0)
    assert patience.left == 0.0


def test_passwords_in_addresses_are_struck() -> None:
    secrets = secrets_in({"A_TOKEN": "abcdefgh", "B_KEY": "abcdefghij", "C_KEY": "short", "HOME": "/home/user"})
    assert secrets == ("abcdefghij", "abcdefgh")
    told = {"url": "s3://user:pass@host/x", "words": ["abcdefghij", "abcdefgh!"], "n": 3, "mail": "a@b.c"}
    expected = {"url": "s3://user:(secret)@host/x", "words": ["(secret)", "(secret)!"], "n": 3, "mail": "a@b.c"}
    assert strike(told, secrets) == expected


def test_where_results_come_from_is_said_in_plain_types() -> None:
    told = made_with()
    assert json.loads(json.dumps(told)) == told
    assert {"seedml", "torch", "wandb"} <= told["versions"].keys()
    assert told["commit"] is None or len(told["commit"]) == 40
    assert told["device"]["cpus"] >= 1
    assert told["device"]["cpu"]


def test_a_meter_counts_the_work_of_this_process(tmp_path: Path) -> None:
    meter = Meter()
    assert sum(range(2_000_000)) > 0
    cost = meter.cost()
    assert 0 < cost["cost/cpu_seconds"] <= cost["cost/wall_seconds"] * 4 + 0.1
    assert "cost/gpu_seconds" not in cost
    counter = tmp_path / "energy_uj"
    counter.write_text("40")
    (tmp_path / "max_energy_range_uj").write_text("1000")
    assert _risen(counter, 10) == 30
    assert _risen(counter, 990) == 50, "it began at zero again"
