"""What ends generation early, looked for after every batch: a signal, or the death of the process that started us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType


class StoppedError(Exception):
    """Generation was asked to stop. The unfinished tile is dropped, all others are whole."""

    status = 143
    """The process's exit status."""


class RequeuedError(StoppedError):
    """SIGUSR1 under Slurm: the time limit is near, and the job is to go on in a new allocation."""


class OrphanedError(StoppedError):
    """The process that launched this one is gone; going on alone is not what anybody asked for."""


class StopRequests:
    """Knows whether to stop. Hears SIGTERM itself: Lightning listens only in its loop, and its predict loop goes on."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._stop = self._requeue = False

    def check(self) -> None:
        """Raise where generation has to stop.

        Raises:
            StoppedError: SIGTERM has come, or one of its subclasses.

        """
        if self._requeue:
            raise RequeuedError
        if self._stop:
            raise StoppedError
        if launched_by_lightning(os.environ) and os.getppid() != self._parent:
            raise OrphanedError

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear SIGTERM in the block and, where Slurm runs this process, SIGUSR1. Neither ends the process any more."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heard = {signal.SIGTERM: self._on_stop}
        if "SLURM_JOB_ID" in os.environ:
            heard[signal.SIGUSR1] = self._on_requeue
        before = {number: signal.signal(number, handler) for number, handler in heard.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def _on_requeue(self, number: int, frame: FrameType | None) -> None:
        self._requeue = True


def launched_by_lightning(environ: Mapping[str, str]) -> bool:
    """Whether this is a process that Lightning's own launcher started beside the first one."""
    external = "TORCHELASTIC_RUN_ID" in environ or "SLURM_JOB_ID" in environ
    return not external and int(environ.get("LOCAL_RANK", "0")) > 0


def requeue(environ: Mapping[str, str]) -> None:
    """Ask Slurm to put this job (or this task of an array) back into the queue. Only its first process does."""
    if int(environ.get("SLURM_PROCID", "0")) != 0:
        return
    job = environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in environ:
        job = f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    asked = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)  # noqa: S603, S607 (Slurm's own numbers; found where Slurm is)
    if asked.returncode:
        print(f"seedml: job {job} could not be requeued: {asked.stderr.strip()}", file=sys.stderr)
