"""The command ``track``: sends the journals of finished, killed or offline studies to W&B, and nothing twice."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seedml.config_text import split_override
from seedml.errors import UserError, unknown_name
from seedml.tracking.journal import read_journal
from seedml.tracking.mirror import MirrorProcess
from seedml.tracking.secrecy import secrets_in, strike
from seedml.tracking.server import configured_url, has_credentials, no_key

KEYS = ("tracking.project", "tracking.entity", "tracking.group")
"""Settings that may be other than those the study was run with."""


def track(words: Sequence[str]) -> None:
    """Send what W&B does not have of the runs in these folders; one line a step.

    Args:
        words: run folders, and ``key=value`` for :data:`KEYS`.

    Raises:
        UserError: no folder, one without a journal, no API key, a server that does not answer, or one that refuses.

    """
    folders, about = _split(words)
    journals = [(folder, path) for folder in folders for path in _journals(folder)]
    if not has_credentials():
        raise no_key()
    missing = [line for folder, path in journals if (line := _send(folder, path, about))]
    for line in missing:
        print(f"track: {line}", file=sys.stderr)


def _split(words: Sequence[str]) -> tuple[list[Path], dict[str, Any]]:
    overrides = [word for word in words if "=" in word and not Path(word).is_dir()]
    about = {}
    for word in overrides:
        key, value = split_override(word)
        if key not in KEYS:
            raise unknown_name("key of track", key, KEYS)
        about[key.removeprefix("tracking.")] = value
    folders = [Path(word).expanduser() for word in words if word not in overrides]
    if not folders:
        raise UserError("track is given no run", remedy="write seedml track runs/quickstart")
    return folders, about


def _journals(folder: Path) -> list[Path]:
    """The folder's journals in the order in which their steps began: what was made before what was made of it."""
    begun = {path: read_journal(path) for path in sorted((folder / "tracking").glob("*.jsonl"))}
    begun = {path: events for path, events in begun.items() if events}
    if not begun:
        raise UserError(
            f"{folder} holds no journal of a step", legal="the folder of a run, such as runs/quickstart",
            remedy="give the folder that holds tracking/",
        )  # fmt: skip
    return sorted(begun, key=lambda path: float(begun[path][0]["time"]))


def _send(folder: Path, journal: Path, about: dict[str, Any]) -> str:
    """Send one journal; returns what could not be sent, in words."""
    root = folder.resolve()
    job = {"run_dir": str(root), "journal": str(journal.resolve()), "mode": "online", "about": about, "watched": None,
           "session": -1}  # fmt: skip
    process = MirrorProcess(job, root / "wandb" / f"{journal.stem}.log")
    try:
        process.wait(lambda: process.finished or process.fault, None)
    finally:
        process.end()
    if not process.finished:
        raise UserError(
            f"{journal.stem} could not be sent: {process.fault or f'see {process.log}'}",
            given=strike(configured_url(), secrets_in(os.environ)),
            remedy="run the same command again when W&B can be reached; nothing is sent twice",
        )  # fmt: skip
    said = f"{process.new} events sent" if process.new else "nothing to send, all is there"
    print(f"{journal.stem}: {said}: {process.opened['url']}", flush=True)
    return f"{journal.stem}: {', '.join(process.lacking)}" if process.lacking else ""
