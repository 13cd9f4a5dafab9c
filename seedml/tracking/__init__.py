"""Telling the world what a step does: a journal on disk, which is the truth, and Weights & Biases, which mirrors it.

tracker      what a step may tell; :func:`open_tracker`
journal      one JSON object a line, ``<run_dir>/tracking/<step>.jsonl``, and pictures, tables and files beside it
mirror       the step's side: starts a process that sends the journal, and waits for it a bounded time
mirroring    that process
replay       a journal, sent without repeating what W&B has
wandb_run    one W&B run; the only file that imports wandb
track        the command that sends what a kill, or a server that was away, left behind
server       where W&B is, and whether it answers
origin       versions, commit and device, for the run's configuration
cost         seconds and joules of a step
secrecy      what must never be written down

A step gets a :class:`Tracker` and calls it without asking whether anything listens: ranks above zero get a
:class:`NullTracker`. A step that finds its work done leaves no run; nothing in here knows what the numbers mean.
"""

from seedml.tracking.journal import Journal, history, plain, read_journal
from seedml.tracking.mirror import Patience
from seedml.tracking.secrecy import is_struck, without_secrets
from seedml.tracking.server import Mode
from seedml.tracking.server import chosen_mode as _mode
from seedml.tracking.tracker import NullTracker, Tracker, is_rank_zero, open_tracker

__all__ = [
    "Journal", "Mode", "NullTracker", "Patience", "Tracker", "_mode", "history", "is_rank_zero", "is_struck",
    "open_tracker", "plain", "read_journal", "without_secrets",
]  # fmt: skip
