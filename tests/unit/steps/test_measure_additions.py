"""What was added since, or has another version, is measured alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rendered_study import study_config

import seedml.attributes.border as border
from seedml.attributes import AttributeBatch
from seedml.config import StudyConfig
from seedml.errors import UserError
from seedml.features import load_network
from seedml.files import sha256_of
from seedml.measurement import measure
from seedml.measurement.results import FILES
from seedml.measurement.vectors import BLOCKS, PromptBlocks, add_sums, read_sums, seed_sums, sums_path
from seedml.shards.dataset import complete_dataset
from seedml.shards.reader import read_shard
from seedml.tracking import NullTracker

FIRST = ["sky", "border"]


@pytest.fixture
def measured(fresh: StudyConfig) -> StudyConfig:
    fresh.measure.attributes, fresh.measure.vectors = list(FIRST), ["layout"]
    measure(fresh, NullTracker())
    return fresh


def _images(config: StudyConfig) -> pd.DataFrame:
    return pd.read_parquet(config.run_dir / "images.parquet")


def _refuse(*_args: object, **_kwargs: object) -> None:
    raise AssertionError("measured again")


def test_a_new_attribute_is_measured_alone(measured: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    before, hashes = _images(measured), {name: sha256_of(measured.run_dir / name) for name in FILES}
    monkeypatch.setattr(border, "ATTRIBUTE", replace(border.ATTRIBUTE, measure=_refuse))
    monkeypatch.setattr("seedml.models.bundled.parser.load_parser", None)  # no feature, no reading
    measured.measure.attributes = ["grayscale", *FIRST]
    measure(measured, NullTracker())
    after = _images(measured)
    assert list(after.columns[4:6]) == ["grayscale_chroma", "grayscale"]
    pd.testing.assert_frame_equal(after[before.columns], before)
    assert after.loc[after["status"] == "ok", "grayscale_chroma"].notna().all()
    now = {name: sha256_of(measured.run_dir / name) for name in FILES}
    assert {name for name in FILES if now[name] != hashes[name]} == {"images.parquet"}


def test_another_version_is_measured_again_and_the_others_are_not(
    measured: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_framed(batch: AttributeBatch) -> dict[str, torch.Tensor]:
        return {column: torch.ones(len(batch.images)) for column in border.ATTRIBUTE.columns}

    before = _images(measured)
    monkeypatch.setattr("seedml.attributes.sky.ATTRIBUTE", replace(_attribute("sky"), measure=_refuse))
    changed = replace(border.ATTRIBUTE, measure=all_framed, version=border.ATTRIBUTE.version + "+")
    monkeypatch.setattr(border, "ATTRIBUTE", changed)
    measure(measured, NullTracker())
    after = _images(measured)
    good = after["status"] == "ok"
    assert (after.loc[good, "border"] == 1).all()
    others = [name for name in before.columns if name not in changed.columns]
    pd.testing.assert_frame_equal(after[others], before[others])
    measure(measured, NullTracker())  # is done


def test_a_new_column_is_measured_although_the_version_stayed(
    measured: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = border.ATTRIBUTE

    def with_one_more(batch: AttributeBatch) -> dict[str, torch.Tensor]:
        return {**old.measure(batch), "border_extra": torch.full((len(batch.images),), 7.0)}

    monkeypatch.setattr(
        border, "ATTRIBUTE", replace(old, measure=with_one_more, columns=(*old.columns, "border_extra"))
    )
    measure(measured, NullTracker())
    after = _images(measured)
    assert (after.loc[after["status"] == "ok", "border_extra"] == 7).all()


def test_nothing_is_measured_twice_and_nothing_is_dropped(
    measured: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seedml.measurement.step.predicting_trainer", _refuse)
    measure(measured, NullTracker())
    measured.measure.attributes = ["border"]
    with pytest.raises(UserError, match=r"other settings: attributes\.sky"):
        measure(measured, NullTracker())


def test_new_vectors_alone_are_measured(measured: StudyConfig) -> None:
    layout, before = sums_path(measured.run_dir, "layout"), _images(measured)
    time = layout.stat().st_mtime_ns
    measured.measure.vectors = ["layout", "style", "object_layout"]
    measure(measured, NullTracker())
    assert layout.stat().st_mtime_ns == time
    for name in measured.measure.vectors:
        sums = read_sums(sums_path(measured.run_dir, name))
        assert sums.seeds.tolist() == list(range(8))
        assert sums.total.shape == (8, BLOCKS, load_network(name).dimension)
        assert sums.images.sum(axis=1).tolist() == [23] * 8, "the prompt of the failed image counts for no seed"
    pd.testing.assert_frame_equal(_images(measured), before)


def test_sums_are_those_of_each_image_alone(measured: StudyConfig) -> None:
    dataset, tiles = complete_dataset(measured)
    network, found = load_network("layout"), read_sums(sums_path(measured.run_dir, "layout"))
    prompts = [p for p in range(24) if p != 2]
    expected = np.zeros_like(found.total)
    for tile in tiles:
        for sample in read_shard(dataset.shard(tile)):
            if sample.prompt_id in prompts:
                image = torch.from_numpy(sample.pixels()).permute(2, 0, 1)[None].contiguous()
                place = prompts.index(sample.prompt_id) % BLOCKS
                expected[sample.seed, place] += network(image, None)[0].double().numpy()
    np.testing.assert_allclose(found.total, expected, rtol=1e-5, atol=1e-4)


def test_an_interrupted_addition_goes_on_and_the_old_numbers_stay(
    measured: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    import seedml.measurement.step as step

    before, writes, original = _images(measured), [], step.write_part

    def stop_after_two(folder: Path, tile: str, rows: object) -> None:
        if len(writes) == 2:
            raise KeyboardInterrupt
        writes.append(tile)
        original(folder, tile, rows)  # type: ignore[arg-type]

    measured.measure.attributes, measured.measure.vectors = ["grayscale", *FIRST], ["layout", "style"]
    monkeypatch.setattr(step, "write_part", stop_after_two)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        measure(measured, NullTracker())
    pd.testing.assert_frame_equal(_images(measured), before)
    monkeypatch.setattr(
        step, "write_part", lambda folder, tile, rows: (writes.append(tile), original(folder, tile, rows))
    )
    measure(measured, NullTracker())
    assert sorted(writes) == sorted(set(writes)), "a tile was measured twice"
    straight = study_config(Path(measured.shards.root).parent, "0:8", 24, measure={"attributes": ["grayscale", *FIRST]})
    straight.measure.vectors = ["layout", "style"]
    straight.runs.root = str(measured.run_dir.parent / "straight")
    measure(straight, NullTracker())
    pd.testing.assert_frame_equal(_images(measured), _images(straight))
    for name in ("layout", "style"):
        one, other = (read_sums(sums_path(config.run_dir, name)) for config in (measured, straight))
        np.testing.assert_allclose(one.total, other.total)


def test_vectors_that_say_nothing_leave_no_file(measured: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedml.features.object_layout.Network.needs_reading", False)
    measured.measure.vectors = ["layout", "object_layout"]
    measure(measured, NullTracker())
    assert not sums_path(measured.run_dir, "object_layout").exists()


def test_blocks_hold_only_prompts_that_every_seed_has() -> None:
    cells = pd.DataFrame(
        {"seed": [0, 0, 0, 1, 1, 1], "prompt_id": [3, 5, 9] * 2, "status": ["ok"] * 4 + ["failed", "ok"]}
    )
    assert PromptBlocks(cells).of(np.array([3, 5, 9, 4])).tolist() == [0, -1, 1, -1]
    nobody = PromptBlocks(cells.assign(status="failed"))
    assert nobody.of(np.array([3])).tolist() == [-1]


def test_sums_can_be_added_in_any_parts() -> None:
    random = np.random.default_rng(0)
    seeds, blocks = random.integers(0, 4, 60), random.integers(-1, BLOCKS, 60)
    vectors = random.normal(size=(60, 3))
    whole = seed_sums(seeds, blocks, vectors)
    parts = [seed_sums(seeds[at : at + 7], blocks[at : at + 7], vectors[at : at + 7]) for at in range(0, 60, 7)]
    joined = add_sums(parts)
    assert joined.seeds.tolist() == whole.seeds.tolist()
    assert np.array_equal(joined.images, whole.images)
    np.testing.assert_allclose(joined.total, whole.total)
    assert whole.images.sum() == (blocks >= 0).sum()


def _attribute(name: str):
    from seedml.attributes import load_attributes

    return load_attributes([name])[name]
