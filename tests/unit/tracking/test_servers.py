"""Servers as people configure them: addresses with passwords and percent signs; file systems without locks."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from seedml.errors import UserError
from seedml.tracking import track
from seedml.tracking.replay import Sent, sole_sender
from seedml.tracking.server import configured_url

SECRET = "hunter2/@hunter2"


def test_notes_hold_no_password_of_a_server(tmp_path: Path) -> None:
    server, url = f"https://user:{SECRET}@wandb.example.org  seedml", f"https://user:{SECRET}@wandb.example.org/run"
    sent = Sent(tmp_path / "step.jsonl")
    sent.note(server, "run", "someone/p", url, 7)
    assert "hunter2" not in sent.path.read_text()
    again = Sent(tmp_path / "step.jsonl")
    assert (again.events(server, "run"), again.url) == (7, "https://user:(secret)@wandb.example.org/run")
    assert again.events("https://user:other@elsewhere.example.org  seedml", "run") == 0


def test_a_journal_that_cannot_be_sent_tells_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused:
        def __init__(self, job: object, log: Path) -> None:
            self.finished, self.fault, self.log = False, "no answer", log

        def wait(self, *args: object) -> None:
            """Nothing to wait for."""

        end = wait

    monkeypatch.setattr("seedml.tracking.track.MirrorProcess", Refused)
    monkeypatch.setenv("WANDB_BASE_URL", f"https://user:{SECRET}@wandb.example.org")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    (tmp_path / "tracking").mkdir()
    (tmp_path / "tracking" / "step.jsonl").write_text('{"event": "start", "time": 1}\n')
    with pytest.raises(UserError, match=r"https://user:\(secret\)@wandb\.example\.org") as told:
        track.track([str(tmp_path)])
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(("number", "free"), [(errno.EAGAIN, False), (errno.ENOLCK, True), (errno.ENOSYS, True)])
def test_where_there_are_no_locks_nobody_holds_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, free: bool
) -> None:
    def flock(*args: object) -> None:
        raise OSError(number, "as the file system says")

    monkeypatch.setattr(fcntl, "flock", flock)
    with sole_sender(tmp_path / "step.jsonl") as sole:
        assert sole is free


def test_an_address_may_hold_percent_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    (tmp_path / "settings").write_text("[default]\nbase_url = https://wandb.example.org/%7Eteam\n")
    assert configured_url() == "https://wandb.example.org/%7Eteam"
