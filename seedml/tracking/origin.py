"""What a run was made with: versions, the commit of this program, the machine. Imports none of what it names."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

_LIBRARIES = (
    "seedml", "torch", "torchvision", "pytorch-lightning", "diffusers", "transformers", "numpy", "scipy",
    "scikit-learn", "webdataset", "wandb",
)  # fmt: skip
_GIT_SECONDS = 5


def made_with() -> dict[str, Any]:
    """``python``, ``versions``, ``commit``, ``uncommitted_changes``, ``device``: plain types, ``None`` if unknown."""
    return {"python": platform.python_version(), "versions": _versions(), **_commit(), "device": _device()}


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> dict[str, Any]:
    """The commit of the checkout that this file lies in, or of the one that was installed."""
    folder = Path(__file__).parent
    head = _git(folder, "rev-parse", "HEAD")
    if head is not None and _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is not None:
        return {"commit": head, "uncommitted_changes": bool(_git(folder, "status", "--porcelain", "--", "."))}
    return {"commit": _installed_commit(), "uncommitted_changes": None}


def _installed_commit() -> str | None:
    """As pip notes it of an installation from a repository."""
    try:
        noted = distribution("seedml").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    commit = json.loads(noted).get("vcs_info", {}).get("commit_id") if noted else None
    return str(commit) if commit else None


def _git(folder: Path, *words: str) -> str | None:
    """What git says; ``None`` where there is no git, no repository or no answer."""
    try:
        done = subprocess.run(  # noqa: S603 (fixed words)
            ["git", "-C", str(folder), *words],  # noqa: S607 (git is where the user's path says)
            capture_output=True, text=True, timeout=_GIT_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _device() -> dict[str, Any]:
    """CPUs this process may use, their name, and the GPUs that torch sees where it has been loaded."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch = sys.modules.get("torch")
    gpus = (
        [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        if torch is not None and torch.cuda.is_available()
        else []
    )
    return {"cpu": _cpu_name(), "cpus": cores, "gpus": gpus}


def _cpu_name() -> str:
    told = Path("/proc/cpuinfo")
    if told.is_file():
        for line in told.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
