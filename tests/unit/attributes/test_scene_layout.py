"""Sky, location, size, depth and lettering of rendered scenes, whose truth is known."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from scipy.stats import spearmanr

from seedml.attributes import AttributeBatch, load_attributes, measure_attributes
from seedml.models.bundled import draws_scenes, seedling_folder
from seedml.models.bundled.parser import SceneParser, load_parser
from seedml.models.bundled.scenes import Scenes, draw, lettering_boxes, sample_scenes
from seedml.models.bundled.shapes import BOXES

NAMES = ["sky", "location", "size", "depth", "lettering"]
COUNT = 400
Columns = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def parser() -> SceneParser:
    return load_parser()


def _measured(parser: SceneParser, images: torch.Tensor) -> Columns:
    return measure_attributes(load_attributes(NAMES), AttributeBatch(images, [""] * len(images), parser.read(images)))


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return sample_scenes(606_060, range(COUNT))


@pytest.fixture(scope="module")
def found(parser: SceneParser, scenes: Scenes) -> Columns:
    parts = [_measured(parser, draw(scenes[slice(at, at + 100)])) for at in range(0, COUNT, 100)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _error(found: torch.Tensor, truth: torch.Tensor) -> float:
    return (found - truth).abs().mean().item()


def test_lengths_are_right_to_a_fiftieth_of_the_side(found: Columns, scenes: Scenes) -> None:
    assert _error(found["location_x"], scenes.location[:, 0]) < 0.004
    assert _error(found["location_y"], scenes.location[:, 1]) < 0.006
    assert _error(found["size"], scenes.size) < 0.012
    assert _error(found["sky"], scenes.horizon) < 0.012
    box = BOXES[scenes.object]
    width = (box[:, 1] - box[:, 0]) * scenes.half_width / 128
    assert _error(found["size_width"], width) < 0.015
    torch.testing.assert_close(found["size"], (found["size_width"] * found["size_height"]).sqrt())


def test_depth_has_the_right_order(found: Columns, scenes: Scenes) -> None:
    assert spearmanr(found["depth"], scenes.depth)[0] > 0.96
    torch.testing.assert_close(found["depth_scene"], (1 + found["sky"]) / 2, rtol=0, atol=2e-3)
    assert (found["depth_gradient"] > 0.3).all()


def test_lettering_is_found_with_its_area(found: Columns, scenes: Scenes) -> None:
    assert ((found["lettering"] == 1) == scenes.lettering).float().mean() >= 0.99
    assert (found["lettering_area"][found["lettering"] == 0] == 0).all()
    seen = scenes.lettering & (found["lettering"] == 1)
    left, top, right, bottom = lettering_boxes(scenes).unbind(1)
    area = (right - left) * (bottom - top) / 128**2
    assert _error(found["lettering_area"][seen], area[seen]) < 0.015


def test_a_sky_at_noon_is_blue_and_a_painted_one_is_white(parser: SceneParser) -> None:
    noon = dataclasses.replace(sample_scenes(5, range(40)), time_of_day=torch.ones(40))
    coloured = noon[~noon.grayscale & (noon.border == 0)]
    images = draw(coloured)
    blue = _measured(parser, images)
    assert (blue["sky_blue"] > 0.4 * blue["sky"]).float().mean() > 0.9
    rows = torch.arange(128)[:, None] < 128 * coloured.horizon[:, None, None]
    white = _measured(parser, torch.where(rows[:, None].expand_as(images), 245, images).to(torch.uint8))
    assert (white["sky_white"] > 0.6 * coloured.horizon).all()
    assert white["sky_blue"].max() < 0.02
    assert set(blue["sky_prominent"].tolist()) == {0.0, 1.0}


def test_tiny_objects_smaller_than_any_in_training_keep_their_place(parser: SceneParser) -> None:
    scenes = sample_scenes(6, range(80))
    half, box = scenes.half_width * 0.35, BOXES[scenes.object]
    middle = torch.stack([(box[:, 0] + box[:, 1]) / 2, -(box[:, 2] + box[:, 3]) / 2], 1)
    tiny = dataclasses.replace(scenes, half_width=half)
    found = _measured(parser, draw(tiny))
    place = (scenes.base + half[:, None] * middle) / 128
    assert _error(torch.stack([found["location_x"], found["location_y"]], 1), place) < 0.02
    side = half * ((box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2])).sqrt() / 128
    assert _error(found["size"], side) < 0.02


def test_a_row_does_not_depend_on_its_companions(parser: SceneParser, scenes: Scenes) -> None:
    images = draw(scenes[slice(0, 12)])
    reading = parser.read(images)
    attributes = load_attributes(NAMES)
    together = measure_attributes(attributes, AttributeBatch(images, [""] * 12, reading))
    for row in range(12):
        own = type(reading)(*(None if part is None else part[row : row + 1] for part in reading))
        alone = measure_attributes(attributes, AttributeBatch(images[row : row + 1], [""], own))
        for column, values in together.items():
            torch.testing.assert_close(values[row : row + 1], alone[column], rtol=0, atol=1e-6)


def test_other_sizes_are_measured_in_the_parsers(parser: SceneParser, scenes: Scenes, found: Columns) -> None:
    images = draw(scenes[slice(0, 30)])
    large = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    measured = _measured(parser, large)
    for name in ("sky", "location_x", "location_y", "size", "depth", "lettering_area"):
        assert _error(measured[name], found[name][:30]) < 0.04, name


def test_which_models_draw_scenes(tmp_path: object) -> None:
    assert draws_scenes("bundled:seedling")
    assert draws_scenes(str(seedling_folder()))
    assert not draws_scenes(str(tmp_path))
    assert not draws_scenes("stabilityai/sdxl-turbo")
