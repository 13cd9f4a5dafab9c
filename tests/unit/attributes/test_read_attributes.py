"""Attributes that come from the scene parser's reading, and what holds for all attributes."""

from __future__ import annotations

import pytest
import torch

from seedml.attributes import (
    AttributeBatch,
    attribute_names,
    load_attributes,
    measure_attributes,
    share_columns,
)
from seedml.errors import UserError
from seedml.models.bundled.parser import SceneReading

PROMPTS = ["a red ball on grass", "the box is blue and stands on snow", "a portrait of a king", "a green tree, on sand"]
SHARES = {"grayscale", "grayscale_tinted", "border", "border_white", "border_black", "lettering", "sky_prominent"}


def _reading() -> SceneReading:
    """Four images; the first says just what its caption says, the second the opposite, with certainty."""
    n = len(PROMPTS)
    objects, colours, grounds = torch.zeros(n, 10), torch.zeros(n, 10), torch.zeros(n, 6)
    objects[0, 0], colours[0, 4], grounds[0, 0] = 50, 50, 50  # ball, red, grass
    objects[1, 0], colours[1, 4], grounds[1, 0] = 50, 50, 50
    flag = torch.tensor([0.1, 0.9, 0.4, 0.6])
    return SceneReading(
        torch.arange(n * 64).view(n, 64).float(), objects, colours, grounds, flag, flag, flag, flag,
        torch.tensor([0.25, 1.2, -0.1, 0.7]), flag, torch.tensor([[0.1, 0.9], [0.5, 0.4], [1.3, 0.2], [0.0, -1.0]]),
        torch.tensor([0.2, 0.3, 1.4, 0.1]), flag, torch.zeros(n, 128, 128),
    )  # fmt: skip


def _columns(reading: SceneReading | None) -> dict[str, torch.Tensor]:
    images = torch.zeros(len(PROMPTS), 3, 128, 128, dtype=torch.uint8)
    return measure_attributes(load_attributes(attribute_names()), AttributeBatch(images, PROMPTS, reading))


def test_readings_become_columns_row_by_row() -> None:
    found = _columns(_reading())
    expected = {
        "sky": [0.25, 1.0, 0.0, 0.7],
        "location_x": [0.1, 0.5, 1.0, 0.0],
        "location_y": [0.9, 0.4, 0.2, 0.0],
        "size": [0.2, 0.3, 1.0, 0.1],
        "lettering": [0.0, 1.0, 0.0, 1.0],
    }
    for name, values in expected.items():
        torch.testing.assert_close(found[name], torch.tensor(values))


def test_agreement_is_the_mean_probability_of_what_the_caption_names() -> None:
    found = _columns(_reading())["agreement"]
    torch.testing.assert_close(found[0], torch.tensor(1.0))
    assert found[1] < 1e-6
    assert torch.isnan(found[2])  # names nothing of this world
    torch.testing.assert_close(found[3], torch.tensor((0.1 + 0.1 + 1 / 6) / 3))


def test_without_a_reading_such_attributes_are_unknown_and_pixel_attributes_are_not() -> None:
    found = _columns(None)
    for name in ("sky", "location_x", "location_y", "size", "depth", "agreement"):
        assert torch.isnan(found[name]).all(), name  # pictures of one colour: their rules cannot tell either
    assert torch.isfinite(found["grayscale"]).all()


def test_every_attribute_gives_the_columns_it_declares_under_its_own_name() -> None:
    attributes = load_attributes(attribute_names())
    for name, attribute in attributes.items():
        assert all(column == name or column.startswith(f"{name}_") for column in attribute.columns), name
        assert set(attribute.shares) <= set(attribute.columns)
        assert attribute.version
    found = _columns(_reading())
    assert all(values.dtype == torch.float32 and values.shape == (4,) for values in found.values())
    assert share_columns(attributes) == SHARES
    for name in SHARES:
        assert set(found[name].tolist()) <= {0.0, 1.0}


def test_an_unknown_attribute_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"unknown attribute.*grayscal.*border.*did you mean 'grayscale'"):
        load_attributes(["border", "grayscal"])


def test_the_default_attributes_exist() -> None:
    from seedml.config import MeasureConfig

    assert list(load_attributes(MeasureConfig().attributes)) == MeasureConfig().attributes
