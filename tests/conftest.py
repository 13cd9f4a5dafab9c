"""What all tests share: no network, no account, no leftovers in the checkout, one CPU thread."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # with more, threads that wait for a busy core slow tests 20 times


@pytest.fixture(autouse=True)
def _closed_world(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No hub, no W&B server, even on a machine whose user is logged in to both."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path_factory.getbasetemp() / name.lower()))


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Skip tests marked ``gpu`` where there is no CUDA device."""
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
