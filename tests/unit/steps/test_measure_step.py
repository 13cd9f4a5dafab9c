from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rendered_study import plant_scenes, random_parser, study_config
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from seedml.attributes import AttributeBatch, load_attributes, measure_attributes
from seedml.captions import parse_caption
from seedml.config import StudyConfig
from seedml.errors import UserError
from seedml.features import load_network
from seedml.files import finish_step, sha256_of, step_settings
from seedml.measurement import load_measurements, measure
from seedml.measurement.parts import Rows
from seedml.measurement.reference import SCENES_SEED
from seedml.measurement.results import FILES, write_features
from seedml.models.bundled.scenes import draw, sample_scenes
from seedml.shards.dataset import complete_dataset
from seedml.shards.reader import read_shard
from seedml.tracking import NullTracker

CELLS = 8 * 24


def _hashes(config: StudyConfig) -> dict[str, str]:
    return {name: sha256_of(config.run_dir / name) for name in FILES}


def test_every_cell_has_a_row_and_a_failed_one_is_empty(finished: StudyConfig) -> None:
    images = pd.read_parquet(finished.run_dir / "images.parquet")
    assert list(images.columns) == [
        "seed", "prompt_id", "split", "status", "grayscale_chroma", "grayscale", "grayscale_colourfulness",
        "grayscale_tinted", "border", "border_width", "border_left", "border_right", "border_top", "border_bottom",
        "border_white", "border_black", "sky", "sky_prominent", "sky_white", "sky_blue", "location_x", "location_y",
        "size", "size_width", "size_height", "depth", "depth_scene", "depth_gradient", "agreement", "lettering",
        "lettering_area", "brightness", "saturation", "contrast", "sharpness", "symmetry",
    ]  # fmt: skip
    assert len(images) == CELLS
    assert images[["seed", "prompt_id"]].equals(images[["seed", "prompt_id"]].sort_values(["seed", "prompt_id"]))
    failed = images[images["status"] == "failed"]
    assert failed[["seed", "prompt_id"]].to_numpy().tolist() == [[3, 2]]
    assert failed.iloc[:, 4:].isna().all(axis=None)
    assert images[images["status"] == "ok"].notna().all(axis=None)
    assert images["split"].value_counts().to_dict().keys() == {"train", "val", "test"}
    assert images["seed"].dtype == images["prompt_id"].dtype == np.int64


def test_every_row_is_what_its_image_alone_gives(finished: StudyConfig) -> None:
    dataset, tiles = complete_dataset(finished)
    rows = pd.read_parquet(finished.run_dir / "images.parquet").set_index(["seed", "prompt_id"])
    stored = load_file(finished.run_dir / "features.safetensors")
    places = {key: at for at, key in enumerate(zip(stored["seed"], stored["prompt_id"], strict=True))}
    assert len(places) == len(stored["features"]) == CELLS - 1
    parser, attributes = random_parser(), load_attributes(finished.measure.attributes)
    checked = 0
    for tile in tiles:
        for sample in read_shard(dataset.shard(tile)):
            image = torch.from_numpy(sample.pixels()).permute(2, 0, 1)[None].contiguous()
            reading = parser.read(image)
            key = (sample.seed, sample.prompt_id)
            np.testing.assert_allclose(stored["features"][places[key]], reading.features[0], rtol=1e-3, atol=1e-4)
            for name, value in measure_attributes(attributes, AttributeBatch(image, [sample.prompt], reading)).items():
                assert float(rows.loc[key, name]) == pytest.approx(float(value[0]), abs=1e-4), (key, name)
            checked += 1
    assert checked == CELLS - 1


def test_the_reference_shows_the_studys_captions_and_says_what_it_is(finished: StudyConfig) -> None:
    measured = load_measurements(finished.run_dir)
    dataset, _ = complete_dataset(finished)
    with safe_open(finished.run_dir / "reference.safetensors", framework="numpy") as stream:
        assert stream.metadata()["network"] == "bundled"
        assert "4 a prompt" in stream.metadata()["source"]
    reference = measured.reference
    assert np.bincount(reference.prompt_ids).tolist() == [4] * 24
    for prompt_id in (0, 17):
        caption = parse_caption(dataset.prompts[prompt_id].text)
        assert caption is not None
        scenes = sample_scenes(SCENES_SEED, [prompt_id * 4 + k for k in range(4)], [caption] * 4)
        expected = random_parser().read(draw(scenes)).features
        np.testing.assert_allclose(measured.reference_of(np.array([prompt_id])), expected, rtol=1e-3, atol=1e-4)


def test_batch_size_and_an_interruption_change_nothing(
    finished: StudyConfig, fresh: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    import seedml.measurement.step as step

    fresh.measure.batch_size = 7
    writes: list[str] = []
    original = step.write_part

    def stop_after_two(folder: Path, tile: str, rows: object) -> None:
        if len(writes) == 2:
            raise KeyboardInterrupt
        writes.append(tile)
        original(folder, tile, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(step, "write_part", stop_after_two)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        measure(fresh, NullTracker())
    assert not (fresh.run_dir / "images.parquet").exists()
    monkeypatch.setattr(
        step, "write_part", lambda folder, tile, rows: (writes.append(tile), original(folder, tile, rows))
    )
    measure(fresh, NullTracker())
    assert sorted(writes) == sorted(set(writes)), "a tile was measured twice"
    ours, theirs = load_measurements(fresh.run_dir), load_measurements(finished.run_dir)
    np.testing.assert_allclose(ours.features, theirs.features, rtol=1e-3, atol=1e-4)
    pd.testing.assert_frame_equal(ours.images, theirs.images, rtol=1e-3, atol=1e-4)
    assert not (fresh.run_dir / ".measure").exists()


def test_done_is_done(finished: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _hashes(finished)
    monkeypatch.setattr("seedml.models.bundled.parser.load_parser", None)  # would fail if anything were measured
    measure(finished, NullTracker())
    assert _hashes(finished) == before


def test_other_settings_in_the_same_folder_are_refused(finished: StudyConfig) -> None:
    before = _hashes(finished)
    config = study_config(Path(finished.shards.root).parent, "0:8", 24, measure={"attributes": ["border", "sky"]})
    with pytest.raises(UserError, match=r"other settings: attributes\.agreement, attributes\.brightness"):
        measure(config, NullTracker())
    assert _hashes(finished) == before


def test_a_repaired_image_is_measured_again(fresh: StudyConfig, tmp_path: Path) -> None:
    config = study_config(tmp_path, "0:2", 10)
    plant_scenes(config, failed=[(1, 4)])
    measure(config, NullTracker())
    assert len(load_measurements(config.run_dir).features) == 19
    plant_scenes(config)
    measure(config, NullTracker())
    assert len(load_measurements(config.run_dir).features) == 20


def test_the_files_bytes_follow_from_their_content(finished: StudyConfig, tmp_path: Path) -> None:
    measured = load_measurements(finished.run_dir)
    columns = {name: np.zeros(len(measured.seeds), np.float32) for name in measured.columns}
    rows = Rows(measured.seeds, measured.prompt_ids, measured.features, columns)
    for _ in range(8):  # the library's own order of notes is random
        write_features(tmp_path, rows, measured.reference, load_network("bundled"))
        for name in FILES[1:]:
            assert (tmp_path / name).read_bytes() == (finished.run_dir / name).read_bytes()


def test_columns_are_those_of_the_configured_attributes(fresh: StudyConfig) -> None:
    fresh.measure.attributes = ["border"]
    measure(fresh, NullTracker())
    assert list(load_measurements(fresh.run_dir).columns) == list(load_attributes(["border"])["border"].columns)


def test_unknown_names_fail_before_anything_is_measured(fresh: StudyConfig) -> None:
    fresh.measure.attributes = ["border", "skyy"]
    with pytest.raises(UserError, match="did you mean 'sky'"):
        measure(fresh, NullTracker())
    fresh.measure.attributes, fresh.measure.features = ["border"], "inception_v9"
    with pytest.raises(UserError, match=r"measure\.features.*bundled"):
        measure(fresh, NullTracker())
    assert not fresh.run_dir.exists()


class TestReferenceFromAPath:
    """Prompts that are no scenes need a reference of their own."""

    @pytest.fixture
    def portraits(self, _parser: None, tmp_path: Path) -> StudyConfig:
        from planted_shards import plant_shards, planted_picture

        prompts = tmp_path / "prompts.txt"
        prompts.write_text("\n".join(f"a portrait of king number {k}" for k in range(10)))
        config = study_config(tmp_path, "0:2", 10)
        config.prompts.set, config.prompts.file = None, str(prompts)
        plant_shards(config, planted_picture)
        return config

    def test_without_a_path_the_remedy_is_named(self, portraits: StudyConfig) -> None:
        with pytest.raises(UserError, match=r"prompt 0 names no scene.*portrait of king.*remedy: .*reference\.path"):
            measure(portraits, NullTracker())
        portraits.reference.path = str(Path(portraits.runs.root) / "nowhere.npz")  # type: ignore[attr-defined]
        with pytest.raises(UserError, match=r"reference\.path does not exist"):
            measure(portraits, NullTracker())

    @pytest.mark.parametrize("kind", ["npz", "safetensors"])
    def test_stored_features(self, portraits: StudyConfig, tmp_path: Path, kind: str) -> None:
        path, features = tmp_path / f"reference.{kind}", np.random.default_rng(0).normal(size=(30, 64))
        if kind == "npz":
            np.savez(path, features=features)
        else:
            save_file({"features": features.astype(np.float32)}, path, metadata={"network": "bundled"})
        portraits.reference.path = str(path)  # type: ignore[attr-defined]
        measure(portraits, NullTracker())
        measured = load_measurements(portraits.run_dir)
        np.testing.assert_allclose(measured.reference_of(np.array([1])), features, rtol=1e-6)
        assert np.isnan(measured.images["agreement"]).all()

    def test_features_of_another_network_are_refused(self, portraits: StudyConfig, tmp_path: Path) -> None:
        for name, shape, network in (
            ("a", (30, 2048), "bundled"),
            ("b", (30, 64), "inception"),
            ("c", (1, 64), "bundled"),
        ):
            path = tmp_path / f"{name}.safetensors"
            save_file({"features": np.zeros(shape, np.float32)}, path, metadata={"network": network})
            portraits.reference.path = str(path)  # type: ignore[attr-defined]
            with pytest.raises(UserError, match=r"of another network|too few"):
                measure(portraits, NullTracker())

    def test_a_folder_of_images_of_several_sizes(self, portraits: StudyConfig, tmp_path: Path) -> None:
        from PIL import Image

        folder = tmp_path / "pictures"
        folder.mkdir()
        pictures = [np.random.default_rng(k).integers(0, 255, (20 + 4 * (k % 2), 30, 3), np.uint8) for k in range(5)]
        for k, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / f"{k}.png")
        portraits.reference.path = str(folder)  # type: ignore[attr-defined]
        measure(portraits, NullTracker())
        expected = [random_parser().read(torch.from_numpy(p).permute(2, 0, 1)[None]).features[0] for p in pictures]
        found = load_measurements(portraits.run_dir).reference.features
        np.testing.assert_allclose(found, torch.stack(expected), rtol=1e-3, atol=1e-4)

    def test_a_folder_without_a_listing_in_an_older_run_stays_the_reference(
        self, portraits: StudyConfig, tmp_path: Path
    ) -> None:
        from PIL import Image

        folder = tmp_path / "pictures"
        folder.mkdir()
        for k in range(3):
            Image.new("RGB", (24, 24), (80 * k, 0, 0)).save(folder / f"{k}.png")
        portraits.reference.path = str(folder)
        portraits.measure.attributes = ["border"]
        measure(portraits, NullTracker())
        files = {name: (portraits.run_dir / name).read_bytes() for name in FILES}
        unlisted = {"path": str(folder), "sha256": ""}
        done = step_settings(portraits.run_dir, "measure") or {}
        finish_step(portraits.run_dir, "measure", done | {"reference": unlisted})
        measure(portraits, NullTracker())
        assert {name: (portraits.run_dir / name).read_bytes() for name in FILES} == files
        portraits.measure.attributes = ["border", "brightness"]
        measure(portraits, NullTracker())
        done = step_settings(portraits.run_dir, "measure") or {}
        assert done["reference"] == unlisted  # nobody knows what was in the folder when its features were taken
        assert dict(done["attributes"]).keys() == {"border", "brightness"}  # type: ignore[call-overload]
        folder.rename(tmp_path / "moved")
        for other in ({"path": str(tmp_path / "moved")}, {"path": str(tmp_path / "moved"), "limit": 2}):
            changed = replace(portraits, reference=replace(portraits.reference, **other))
            with pytest.raises(UserError, match=r"made with other settings: reference\."):
                measure(changed, NullTracker())


def test_missing_measurements_name_the_step(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"images\.parquet is missing.*run `seedml measure` first"):
        load_measurements(tmp_path)


def test_features_and_reference_of_different_networks_are_refused(finished: StudyConfig, tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_bytes((finished.run_dir / name).read_bytes())
    arrays = load_file(tmp_path / "reference.safetensors")
    save_file(
        arrays, tmp_path / "reference.safetensors", metadata={"network": "inception", "resize": "x", "dimension": "64"}
    )
    with pytest.raises(UserError, match="different networks or resize rules"):
        load_measurements(tmp_path)
