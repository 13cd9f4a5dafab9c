"""Networks of others in a study: named by the configuration, in the numbers' notes, and refused before any picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from planted_shards import plant_shards, planted_picture
from rendered_study import study_config
from safetensors import safe_open

from seedml.config import StudyConfig
from seedml.errors import UserError
from seedml.features import load_network
from seedml.measurement import load_measurements, measure
from seedml.measurement.networks import feature_network, measured_attributes
from seedml.noise import seeded
from seedml.shards.dataset import complete_dataset
from seedml.shards.reader import read_shard
from seedml.summarize import summarize
from seedml.tracking import NullTracker


def _clip(folder: Path, seed: int = 0) -> str:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1,
             "image_size": 32, "patch_size": 16, "projection_dim": 8}  # fmt: skip
    with seeded(seed):
        model = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**sizes))
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def study(tmp_path: Path) -> StudyConfig:
    """Prompts and pictures that are none of seedling's, with a folder of them as the reference."""
    from PIL import Image

    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(f"a portrait of king number {k}" for k in range(10)))
    config = study_config(tmp_path, "0:3", 10)
    config.prompts.set, config.prompts.file = None, str(prompts)
    config.measure.attributes, config.measure.vectors = ["brightness"], ["layout"]
    config.measure.features, config.measure.networks = "clip", {"clip": _clip(tmp_path / "clip")}
    config.statistics.distances = ["fid", "cmmd"]
    plant_shards(config, planted_picture)
    (tmp_path / "photos").mkdir()
    for k in range(12):
        pixels = np.random.default_rng(k).integers(0, 256, (24 + 8 * (k % 3), 30, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{k:02d}.png")
    config.reference.path = str(tmp_path / "photos")
    return config


def test_network_weights_resize_rule_and_reference_travel_with_the_numbers(study: StudyConfig) -> None:
    measure(study, NullTracker())
    summarize(study, NullTracker())
    network = load_network("clip", study.measure.networks["clip"])
    dataset, tiles = complete_dataset(study)
    stored = load_measurements(study.run_dir)
    rows = {key: row for row, key in enumerate(zip(stored.seeds.tolist(), stored.prompt_ids.tolist(), strict=True))}
    for tile in tiles:
        for sample in read_shard(dataset.shard(tile)):
            image = torch.from_numpy(sample.pixels()).permute(2, 0, 1)[None].contiguous()
            own = stored.features[rows[sample.seed, sample.prompt_id]]
            np.testing.assert_allclose(own, network(image, None)[0], rtol=1e-4, atol=1e-4)
    for name in ("features", "reference"):
        with safe_open(study.run_dir / f"{name}.safetensors", framework="numpy") as stream:
            notes = stream.metadata()
        assert (notes["network"], notes["weights"]) == ("clip", network.weights)
        assert notes["resize"] == network.resize
    summary = json.loads((study.run_dir / "summary.json").read_text())
    said = summary["fid_features"]
    assert said["reference"]["images"] == 12
    assert said["reference"]["source"] == "12 images in photos"
    assert said["reference"]["sha256"] == stored.reference.sha256
    assert len(stored.reference.sha256) == 64
    assert {name: said[name] for name in stored.notes} == stored.notes
    assert "cmmd_best" in summary


def test_other_weights_are_another_study(study: StudyConfig, tmp_path: Path) -> None:
    measure(study, NullTracker())
    study.measure.networks["clip"] = _clip(tmp_path / "other", 1)
    with pytest.raises(UserError, match=r"made with other settings: features"):
        measure(study, NullTracker())


def test_what_the_configuration_names_wrongly_is_told_before_a_picture_is_made(
    study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seedml.study import study as whole_study

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    study.shards.root = str(tmp_path / "elsewhere")
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_text("{}")
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    good = _clip(tmp_path / "a")
    for networks, words in (
        ({"clip": "nobody/nothing"}, r"measure\.networks\.clip .*cannot be had from the hub.*remedy: check the name"),
        ({"clip": "./nowhere"}, r"measure\.networks\.clip: no such folder.*remedy: correct the path"),
        ({"clip": str(tmp_path / "pickled")}, r"measure\.networks\.clip: no network in this folder.*remedy: save it"),
        ({}, r"measure\.features: clip needs weights.*remedy: set measure\.networks\.clip"),
        ({"clip": good, "lpips": "alex"}, r"networks\.lpips: nothing is measured with it.*measure\.features=lpips"),
        ({"clip": good, "brightness": good}, r"unknown attribute \(measure\.networks\)"),
    ):
        study.measure.networks = networks
        with pytest.raises(UserError, match=words) as caught:
            whole_study(study)
        assert "\n" not in str(caught.value)
    assert not Path(study.shards.root).exists()
    assert not study.run_dir.exists()


def test_networks_of_vectors_and_of_features_are_no_attributes(study: StudyConfig, tmp_path: Path) -> None:
    study.measure.vectors, study.measure.networks["style"] = ["style"], _clip(tmp_path / "style", 2)
    assert list(measured_attributes(study)) == ["brightness"]
    assert feature_network(study).name == "clip"
