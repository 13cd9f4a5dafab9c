"""The scene parser's reading counts in pictures of seedling's world only; others are measured by the rules for them."""

from __future__ import annotations

import pytest
import torch

from seedml.attributes import load_attributes
from seedml.features import load_network
from seedml.measurement.module import MeasurementModule, TileBatch, needs_parser
from seedml.models.bundled.parser import load_parser
from seedml.models.bundled.scenes import draw, sample_scenes
from seedml.shards.reader import SampleBatch

NAMES = ["sky", "location", "size", "depth", "agreement"]


@pytest.mark.parametrize("scenes", [True, False])
def test_attributes_see_the_reading_in_seedlings_world_only(scenes: bool) -> None:
    network, attributes = load_network("bundled"), load_attributes(NAMES)
    module = MeasurementModule(network, attributes, load_parser(), scenes=scenes)
    images = draw(sample_scenes(3, range(4)))
    numbers = torch.arange(4)
    found = module.predict_step(TileBatch("t", SampleBatch(images, numbers, numbers, ["a red ball on grass"] * 4)), 0)
    assert torch.isfinite(found.features).all()  # the features are the parser's own in either
    assert torch.isfinite(found.columns["depth"]).all() == scenes
    assert torch.isfinite(found.columns["agreement"]).all() == scenes


def test_the_parser_runs_only_where_somebody_has_a_use_for_it() -> None:
    attributes = load_attributes(NAMES)
    assert needs_parser(attributes, [])
    assert not needs_parser(attributes, [], scenes=False)
    assert needs_parser(attributes, [load_network("bundled")], scenes=False)
    assert not needs_parser(load_attributes(["grayscale"]), [])
