"""A secret that a configuration takes from the environment is on no disk, and its change is no change of settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from planted_shards import plant_shards

from seedml.config import StudyConfig, load_config
from seedml.shards.dataset import complete_dataset, open_dataset

SECRET = "planted-secret-4711"


def study(folder: Path) -> StudyConfig:
    words = ["seeds=0:2", "prompts.limit=4", "model.variant=${oc.env:PLANTED_API_TOKEN}", f"shards.root={folder}"]
    return load_config("smoke", words)


def test_the_data_set_does_not_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_API_TOKEN", SECRET)
    config = study(tmp_path)
    assert config.model.variant == SECRET
    plant_shards(config, lambda seed, prompt_id: np.full((8, 8, 3), seed, np.uint8))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert open_dataset(config.shard_dir).settings["model"]["variant"] == "(secret)"
    monkeypatch.setenv("PLANTED_API_TOKEN", "another-secret-0815")
    dataset, tiles = complete_dataset(study(tmp_path))
    assert dataset.markers(tiles).keys() == set(tiles)
