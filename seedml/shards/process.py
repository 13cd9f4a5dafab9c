"""Which process is this, and does that one still live? Names of processes that hold across machines and restarts.

A name is ``<host>-<PID namespace>.<pid>.<start time>``: two containers may share a host's name and a pid, and pids are
used anew. Where the system tells no namespace or start time they are 0.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

NAME = r"[A-Za-z0-9-]+\.\d+\.\d+"
"""Regular expression of a process's name."""


def this_process() -> str:
    """The name of the calling process."""
    pid = os.getpid()
    return f"{_this_place()}.{pid}.{_start_time(pid)}"


def has_died(name: str) -> bool | None:
    """Whether the process of that name is gone; ``None`` where that cannot be known from here: another machine's."""
    place, pid, started = name.split(".")
    if place != _this_place():
        return None
    return not _is_alive(int(pid)) or _is_zombie(int(pid)) or _start_time(int(pid)) != int(started)


def _this_place() -> str:
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        namespace = 0
    return f"{host}-{namespace}"


def _start_time(pid: int) -> int:
    """When the process started, in clock ticks since the machine did; 0 where the system does not tell."""
    fields = _status(pid)
    return int(fields[19]) if fields else 0


def _is_zombie(pid: int) -> bool:
    """Whether the process has ended and only waits for its parent to take note."""
    return _status(pid)[:1] in (["Z"], ["X"])


def _status(pid: int) -> list[str]:
    """The fields of ``/proc/<pid>/stat`` from the state on; none where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # the name before, in parentheses, may hold anything


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
