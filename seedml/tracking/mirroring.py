"""The process that mirrors one journal to W&B: ``python -m seedml.tracking.mirroring``, started by :mod:`.mirror`.

A process of its own, so that neither wandb nor its server can hold up, crash or outlive a step; and so that what the
journal says reaches W&B even where the step is killed. It reads the journal as it grows. The first line on its standard
input is its job; ``{"close": …}`` or the end of the input says that the step has ended. It answers in JSON lines.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from seedml.tracking.journal import Event, JournalReader
from seedml.tracking.replay import Replay, Sent, described, sole_sender
from seedml.tracking.secrecy import secrets_in, strike
from seedml.tracking.server import PROBE_SECONDS, Mode, answers
from seedml.tracking.wandb_run import FAULTS, WandbRun, base_url, open_run

_PAUSE = 0.1
"""Seconds between two looks at the journal."""
_AFTER_A_KILL = 30.0
"""Seconds for the last uploads where the step was killed and nobody waits; what is left, ``seedml track`` sends."""
_LAST_SESSION_SECONDS = 30.0
"""How long to wait for the process that still mirrors the session before, which may have been killed a moment ago."""


class _Mirroring:
    """One journal, from its first line to the end of the step.

    Args:
        job: ``run_dir``, ``journal``, ``mode``; ``watched``, the step's process, or ``None`` where the step is over;
            ``session``, the number of its session (-1: the last); ``about``, what the journal says otherwise.
        say: tells the parent.

    """

    def __init__(self, job: Mapping[str, Any], say: Callable[..., None]) -> None:
        self._root, self._journal = Path(job["run_dir"]), Path(job["journal"])
        self._wanted: Mode = job["mode"]
        self._session: int = job["session"]
        self._watched, self._about, self._say = job["watched"], job["about"], say
        self._closed = threading.Event()
        self._seconds: float | None = None
        if self._watched is None:
            self._closed.set()

    def listen(self) -> None:
        """Wait for the end of the step."""
        for line in sys.stdin:
            self._seconds = json.loads(line)["close"]
            break
        self._closed.set()

    def mirror(self) -> None:
        """Send everything, until the step has ended and everything is sent."""
        reader = JournalReader(self._journal)
        events = reader.new_events()
        starts = [described(event, self._journal.stem) for event in events if event["event"] == "start"]
        starts = [{**start, "about": {**start["about"], **self._about}} for start in starts]
        sent, target, run_id = Sent(self._journal), self._target(starts[0]), starts[0]["run"]
        if self._watched is None and sent.events(target, run_id) == len(events):
            self._say(mode="online", url=sent.url, folder="", why="")
            self._say(finished=True)
            return
        run, mode, why = self._open(starts)
        self._say(mode=mode, url=run.url, folder=str(run.folder), why=why)
        only, known = (None, sent.events(target, run_id)) if mode == "online" else (self._session, 0)
        replay = Replay(run, self._root, only, known)
        replay.take(events)
        while not self._over():
            time.sleep(_PAUSE)
            replay.take(reader.new_events())
        replay.take(reader.new_events())
        replay.conclude()
        if self._watched is not None and self._seconds is None:
            _end_after(_AFTER_A_KILL)
        run.finish(failed=replay.failed, seconds=self._seconds)
        if mode == "online":
            sent.note(target, run_id, run.place, run.url, replay.events)
        self._say(finished=True, lacking=replay.lacking, new=replay.new)

    def _over(self) -> bool:
        return self._closed.is_set() or os.getppid() != self._watched

    def _target(self, start: Event) -> str:
        about = start["about"]
        return f"{base_url()} {about['entity'] or ''} {about['project']}"

    def _open(self, starts: Sequence[Event]) -> tuple[WandbRun, Mode, str]:
        """The run, its mode, and why that is not the wanted one."""
        why = ""
        if self._wanted == "online":
            url = base_url()
            if answers(url):
                try:
                    return self._opened(starts, "online"), "online", ""
                except FAULTS as error:
                    why = _short(error)
            else:
                why = f"{url} does not answer within {PROBE_SECONDS:g} s"
            if self._watched is None:
                raise TimeoutError(why)
        return self._opened(starts, "offline"), "offline", why

    def _opened(self, starts: Sequence[Event], mode: Mode) -> WandbRun:
        """Online the run of the first session goes on, with this one's settings; offline this session has its own."""
        own = starts[self._session]
        run_id = starts[0]["run"] if mode == "online" else own["run"]
        return open_run(own, self._root, mode, run_id, watched=self._watched)


def _end_after(seconds: float) -> None:
    """End this process then at the latest: wandb's own limit must be known when a run is opened."""
    timer = threading.Timer(seconds, os._exit, [1])
    timer.daemon = True
    timer.start()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _short(error: BaseException) -> str:
    """An error in one line; a server's may be a whole web page."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 160 else text[:157] + '...'}"


def main() -> None:
    """Do the job that standard input names."""
    answers_to = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    secrets = secrets_in(os.environ)

    def say(**fields: object) -> None:
        with suppress(BrokenPipeError):  # the step may have been killed
            answers_to.write(json.dumps(strike(fields, secrets)) + "\n")

    job = json.loads(sys.stdin.readline())
    if job["watched"] is not None:  # the step's end is ours, not a signal to its whole group
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with sole_sender(Path(job["journal"]), _LAST_SESSION_SECONDS) as sole:
        if not sole:
            say(fault="another process is sending this journal")
            return
        mirroring = _Mirroring(job, say)
        threading.Thread(target=mirroring.listen, daemon=True).start()
        try:
            mirroring.mirror()
        except FAULTS as error:
            say(fault=_short(error))
            os._exit(1)  # wandb's own end would wait for the server once more


if __name__ == "__main__":
    main()
