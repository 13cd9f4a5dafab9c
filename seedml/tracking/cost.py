"""What a step costs: seconds of wall, CPU and GPU, and energy where the machine lets itself be read.

CPU seconds are those of this process and of its children that have ended. GPU seconds are wall seconds times the
devices that torch has memory on in this process; of other processes of a distributed step nothing is known. Energy is
that of the whole machine or device while the step ran, whoever used it: packages through Linux's RAPL counters, GPUs
through NVML.
"""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

_COUNTERS = Path("/sys/class/powercap")


class Meter:
    """Runs from its construction."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), _cpu_seconds()
        self._energy = {path: _number(path) for path in _energy_counters()}
        self._gpu_energy = _gpu_millijoules()

    def cost(self) -> dict[str, float]:
        """``cost/…_seconds``, and ``cost/…_joules`` where it can be read, since the construction."""
        wall = time.monotonic() - self._wall
        spent = {"cost/wall_seconds": wall, "cost/cpu_seconds": _cpu_seconds() - self._cpu}
        devices = _devices_in_use()
        if devices:
            spent["cost/gpu_seconds"] = wall * len(devices)
        micro = [_risen(path, before) for path, before in self._energy.items()]
        known = [value for value in micro if value is not None]
        if known:
            spent["cost/cpu_joules"] = sum(known) / 1e6
        after = _gpu_millijoules()
        if after is not None and self._gpu_energy is not None:
            spent["cost/gpu_joules"] = (after - self._gpu_energy) / 1e3
        return {key: round(value, 3) for key, value in spent.items()}


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _devices_in_use() -> list[int]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return []
    return [number for number in range(torch.cuda.device_count()) if torch.cuda.max_memory_allocated(number)]


def _energy_counters() -> list[Path]:
    """One counter a CPU package, micro-joules; none where they are not there or only root may read them."""
    found = sorted(_COUNTERS.glob("intel-rapl:*/energy_uj")) if _COUNTERS.is_dir() else []
    packages = [path for path in found if path.parent.name.count(":") == 1]
    return [path for path in packages if _number(path) is not None]


def _risen(path: Path, before: int | None) -> int | None:
    """How far a counter rose; it begins at zero again beyond its range."""
    after, span = _number(path), _number(path.with_name("max_energy_range_uj"))
    if after is None or before is None:
        return None
    return after - before if after >= before else after - before + (span or 0)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _gpu_millijoules() -> int | None:
    """Energy of all GPUs since the driver was loaded; ``None`` without NVIDIA's library or its permission."""
    if not Path("/proc/driver/nvidia").exists():
        return None
    try:
        pynvml: Any = import_module("pynvml")
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
        return sum(int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) for handle in handles)
    except pynvml.NVMLError:
        return None
