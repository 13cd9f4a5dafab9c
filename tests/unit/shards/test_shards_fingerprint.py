"""A fingerprint is of the settings, not of the environment; without secrets it is what it always was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from planted_shards import plant_shards

from seedml.config import StudyConfig, load_config
from seedml.errors import UserError
from seedml.files import fingerprint
from seedml.grid import build_grid
from seedml.prompts import load_prompts
from seedml.shards.dataset import complete_dataset, open_dataset, study_settings

QUICKSTART = "6840bdd2578ae9450c044bd85263f7f80df9e6ac5caa52f5b138ea3c1fc70ddd"
"""In ``dataset.json`` of the quickstart as it was made on 2026-11-23, before secrets were left in while hashing."""
OF_THE_MACHINE = {
    "weights": {"sha256": "153bbde205d2ad2a3d6eee94f49cd7f469561d7548cce77e2d6300fd6563f851", "variant": None},
    "trainer": {"accelerator": "cpu", "threads": 2},
}


def test_the_quickstart_s_is_the_recorded_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("quickstart", [f"shards.root={tmp_path}"])
    prompts = load_prompts(config.prompts)
    for value in ("nothing of it", "seedling", "05fda4ba57edf21eadc5032d15b80825c6591db923d0b3fb2a375797325fadc5"):
        monkeypatch.setenv("PLANTED_TOKEN", value)
        assert fingerprint(study_settings(config, build_grid(config, prompts), prompts) | OF_THE_MACHINE) == QUICKSTART


def planted(folder: Path, *words: str) -> StudyConfig:
    config = load_config("smoke", ["seeds=0:2", "prompts.limit=4", f"shards.root={folder}", *words])
    plant_shards(config, lambda seed, prompt_id: np.full((8, 8, 3), seed, np.uint8))
    return config


@pytest.mark.parametrize(
    ("before", "after"), [("", "a-revision-1"), ("a-revision-1", ""), ("a-revision-1", "a-revision-1")]
)
def test_machines_that_take_it_for_a_secret_and_others_share_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    monkeypatch.setenv("PLANTED_TOKEN", before)
    config = planted(tmp_path / "one", "model.revision=a-revision-1")
    written = (config.shard_dir / "dataset.json").read_text()
    assert ("a-revision-1" in written) is not bool(before)
    monkeypatch.setenv("PLANTED_TOKEN", after)
    dataset, tiles = complete_dataset(config)
    assert dataset.markers(tiles).keys() == set(tiles)
    other = planted(tmp_path / "other", "model.revision=a-revision-1")
    assert open_dataset(other.shard_dir).fingerprint == dataset.fingerprint == json.loads(written)["fingerprint"]
    config.sampler.steps = 3
    with pytest.raises(UserError, match=r"other settings: .*sampler\.steps") as told:
        complete_dataset(config)
    assert not after or "a-revision-1" not in str(told.value)


def test_settings_that_are_changed_by_hand_are_seen(tmp_path: Path) -> None:
    config = planted(tmp_path)
    path = config.shard_dir / "dataset.json"
    content = json.loads(path.read_text())
    content["settings"]["sampler"]["steps"] = config.sampler.steps = 3
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"was made with other settings than .*dataset\.json says"):
        complete_dataset(config)


def test_a_study_that_was_hashed_without_its_secret_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they were written before: the fingerprint is of the settings with the secret struck out."""
    old = planted(tmp_path, "model.revision=(secret)")
    config = load_config(
        "smoke", ["seeds=0:2", "prompts.limit=4", f"shards.root={tmp_path}", "model.revision=a-revision-1"]
    )
    monkeypatch.setenv("PLANTED_TOKEN", "a-revision-1")
    dataset, tiles = complete_dataset(config)
    assert dataset.fingerprint == open_dataset(old.shard_dir).fingerprint
    assert dataset.markers(tiles).keys() == set(tiles)
