"""Grayscale and border on pictures whose truth is known, every row."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seedml.attributes import AttributeBatch, load_attributes
from seedml.models.bundled.scenes import Scenes, draw, sample_scenes

PIXEL_ATTRIBUTES = ["grayscale", "border", "brightness", "saturation", "contrast", "sharpness", "symmetry"]
UNKNOWN_OF_FLAT = {"sharpness", "symmetry"}
SIDES = [(128, 128), (96, 160), (512, 512), (33, 47)]


def _measure(name: str, images: torch.Tensor) -> dict[str, torch.Tensor]:
    return dict(load_attributes([name])[name].measure(AttributeBatch(images, ["a red ball on grass"] * len(images))))


@pytest.fixture(scope="module")
def rendered() -> tuple[Scenes, torch.Tensor]:
    scenes = sample_scenes(31, range(400))
    return scenes, draw(scenes)


def _flat(*colours: tuple[int, int, int], size: tuple[int, int] = (16, 16)) -> torch.Tensor:
    return torch.tensor(colours, dtype=torch.uint8)[:, :, None, None].expand(-1, -1, *size).contiguous()


def test_chroma_of_the_primaries_is_as_published() -> None:
    images = _flat((255, 0, 0), (0, 255, 0), (0, 0, 255), (127, 127, 127), (0, 0, 0), (255, 255, 255))
    np.testing.assert_allclose(
        _measure("grayscale", images)["grayscale_chroma"], [104.55, 119.78, 133.81, 0, 0, 0], atol=0.05
    )


def test_chroma_of_any_colour_is_cielabs() -> None:
    colours = np.random.default_rng(4).integers(0, 256, (50, 3))
    level = colours / 255
    light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = light @ to_xyz.T / [0.9505, 1.0, 1.0890]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    expected = np.hypot(500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2]))
    np.testing.assert_allclose(
        _measure("grayscale", _flat(*map(tuple, colours.tolist())))["grayscale_chroma"], expected, atol=0.1
    )


def test_chroma_is_a_mean_over_the_picture() -> None:
    half = _flat((127, 127, 127), size=(128, 128))
    half[:, :, :, :64] = torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None]
    assert float(_measure("grayscale", half)["grayscale_chroma"]) == pytest.approx(104.6 / 2, abs=0.5)


def test_every_rendered_scene_is_told_gray_or_coloured(rendered: tuple[Scenes, torch.Tensor]) -> None:
    scenes, images = rendered
    found = _measure("grayscale", images)
    assert scenes.grayscale.sum() > 15
    torch.testing.assert_close(found["grayscale"] == 1, scenes.grayscale)
    assert found["grayscale_chroma"][scenes.grayscale].max() < 0.5
    assert found["grayscale_chroma"][~scenes.grayscale].min() > 3


def test_colourfulness_is_hasler_and_suesstrunks() -> None:
    blocks = np.random.default_rng(6).integers(0, 256, (5, 3, 32, 32))
    red, green, blue = blocks[:, 0], blocks[:, 1], blocks[:, 2]
    rg, yb = red - green, 0.5 * (red + green) - blue
    expected = [
        np.sqrt(a.std() ** 2 + b.std() ** 2) + 0.3 * np.sqrt(a.mean() ** 2 + b.mean() ** 2)
        for a, b in zip(rg, yb, strict=True)
    ]
    images = torch.from_numpy(blocks).to(torch.uint8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    np.testing.assert_allclose(_measure("grayscale", images)["grayscale_colourfulness"], expected, rtol=1e-4)
    assert _measure("grayscale", _flat((77, 77, 77)))["grayscale_colourfulness"].item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("light", [(1.0, 0.85, 0.66), (0.6, 0.8, 1.0), (1.0, 0.5, 0.5), (0.5, 1.0, 0.6)])
def test_a_tint_is_told_from_gray_and_from_colour(
    light: tuple[float, float, float], rendered: tuple[Scenes, torch.Tensor]
) -> None:
    images = rendered[1]
    gray = images.float().mean(1, keepdim=True) * 0.8 + 50  # none is so dark that its tint cannot be seen
    tinted = (gray.clamp(0, 255) * torch.tensor(light)[:, None, None]).to(torch.uint8)
    found = _measure("grayscale", tinted)
    assert (found["grayscale"] == 0).all()
    assert (found["grayscale_tinted"] == 1).all()
    assert (_measure("grayscale", images)["grayscale_tinted"] == 0).all()


def test_grain_is_no_colour_and_sepia_is_one(rendered: tuple[Scenes, torch.Tensor]) -> None:
    images = rendered[1][:50].float()
    gray = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    grain = torch.from_numpy(np.random.default_rng(0).normal(size=gray.shape) * 6).float()
    grainy = (gray + grain).clamp(0, 255).to(torch.uint8)
    assert (_measure("grayscale", grainy)["grayscale"] == 1).all()
    sepia = (gray * torch.tensor([1.0, 0.85, 0.66])[:, None, None]).clamp(0, 255).to(torch.uint8)
    assert (_measure("grayscale", sepia)["grayscale"] == 0).all()


def test_every_rendered_border_is_found_with_its_width(rendered: tuple[Scenes, torch.Tensor]) -> None:
    scenes, images = rendered
    found = _measure("border", images)
    framed = scenes.border > 0
    assert framed.sum() > 15
    torch.testing.assert_close(found["border"] == 1, framed)
    widths = (5 + 4 * scenes.dice[:, 56]) / 128
    torch.testing.assert_close(found["border_width"], torch.where(framed, widths, 0.0), rtol=0, atol=0.009)


def test_one_small_object_in_colour_is_colour() -> None:
    picture = _flat((120, 120, 120), size=(128, 128))
    picture[0, :, 20:60, 30:60] = torch.tensor([230, 40, 40], dtype=torch.uint8)[:, None, None]
    assert _measure("grayscale", picture)["grayscale"].tolist() == [0]
    picture[0, :, 24:, :] = 120  # what is left of it is under 1 % of the picture
    assert _measure("grayscale", picture)["grayscale"].tolist() == [1]


def test_a_smeared_frame_counts_where_the_parser_sees_one_too(rendered: tuple[Scenes, torch.Tensor]) -> None:
    scenes, images = rendered
    framed = scenes.border > 0
    grain = torch.from_numpy(np.random.default_rng(5).normal(size=images.shape) * 14).float()
    smeared = (images.float() + grain).clamp(0, 255).to(torch.uint8)[framed]
    sees = SimpleNamespace(border=torch.tensor([0.9, 0.1]).repeat(len(smeared))[: len(smeared)])
    attribute = load_attributes(["border"])["border"]
    alone = attribute.measure(AttributeBatch(smeared, [""] * len(smeared)))
    together = attribute.measure(AttributeBatch(smeared, [""] * len(smeared), sees))  # type: ignore[arg-type]
    lost = alone["border"] == 0
    assert lost.sum() > 3
    torch.testing.assert_close(together["border"][lost], (sees.border[lost] > 0.5).float())
    assert (together["border"][~lost] == 1).all()
    found = together["border"] == 1
    widths = ((5 + 4 * scenes.dice[:, 56]) / 128)[framed]
    torch.testing.assert_close(together["border_width"][found], widths[found], rtol=0, atol=0.012)


@pytest.mark.parametrize("size", SIDES)
@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (40, 120, 200)])
def test_a_frame_of_any_colour_and_size(size: tuple[int, int], colour: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (3, 3, *size))
    images = torch.from_numpy(noise).to(torch.uint8)
    width = max(2, round(0.06 * min(size)))
    frame = torch.tensor(colour, dtype=torch.uint8)[:, None, None]
    for row in (0, 2):  # row 1 stays without
        images[row, :, :width], images[row, :, -width:] = frame, frame
        images[row, :, :, :width], images[row, :, :, -width:] = frame, frame
    found = _measure("border", images)
    assert found["border"].tolist() == [1, 0, 1]
    assert found["border_width"][0] == pytest.approx(width * (1 / size[0] + 1 / size[1]) / 2, abs=0.02)
    assert found["border_width"][1] == 0


def test_plain_sides_are_no_frame() -> None:
    noise = torch.from_numpy(np.random.default_rng(2).integers(0, 255, (5, 3, 64, 64))).to(torch.uint8)
    noise[0, :, :40] = 250  # a plain sky: top and the upper part of the sides
    noise[1, :, 30:] = 250  # snow
    noise[2, :, :10], noise[2, :, :, :10] = 0, 0  # bars above and at the left only: not opposite
    noise[3] = 200  # one colour all over
    noise[4, :, :8], noise[4, :, -8:] = 250, 9  # above and below, but of two colours
    assert _measure("border", noise)["border"].tolist() == [0, 0, 0, 0, 0]


def test_bars_on_two_or_three_sides_are_a_border_with_its_widths() -> None:
    noise = torch.from_numpy(np.random.default_rng(2).integers(0, 255, (3, 3, 64, 100))).to(torch.uint8)
    noise[0, :, :10], noise[0, :, -8:] = 0, 0
    noise[1, :, :, :25], noise[1, :, :, -25:] = 200, 200
    noise[2, :, :8], noise[2, :, -8:], noise[2, :, :, :9] = 9, 9, 9
    found = _measure("border", noise)
    assert found["border"].tolist() == [1, 1, 1]
    sides = torch.stack([found[f"border_{side}"] for side in ("left", "right", "top", "bottom")], 1)
    expected = [[0, 0, 10 / 64, 8 / 64], [0.25, 0.25, 0, 0], [0.09, 0, 0.125, 0.125]]
    torch.testing.assert_close(sides, torch.tensor(expected))
    torch.testing.assert_close(found["border_width"], torch.tensor([0.125, 0.25, 0.125]))


def test_white_and_black_borders_are_told_from_others_and_from_none() -> None:
    noise = torch.from_numpy(np.random.default_rng(3).integers(0, 255, (4, 3, 64, 64))).to(torch.uint8)
    noise[:2, :, :6], noise[:2, :, -6:] = 255, 255
    noise[1, 1:, :6], noise[1, 1:, -6:] = 0, 0  # red
    noise[2, :, :6], noise[2, :, -6:] = 10, 10
    found = _measure("border", noise)
    assert found["border"].tolist() == [1, 1, 1, 0]
    assert found["border_white"].tolist() == [1, 0, 0, 0]
    assert found["border_black"].tolist() == [0, 0, 1, 0]


def test_a_plain_background_is_no_border() -> None:
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    pictures = torch.full((3, 3, 96, 96), 245, dtype=torch.uint8)
    disc = (x - 48).square() + (y - 48).square() < 36**2  # a ball in a studio, 13 % from each side
    lozenge = (x - 48).abs() + (y - 48).abs() < 46
    pictures[0, :, disc], pictures[1, :, lozenge] = 90, 40
    pictures[2] = torch.where(disc, 120, 0)  # the moon
    assert _measure("border", pictures)["border"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", PIXEL_ATTRIBUTES)
def test_a_row_does_not_depend_on_its_companions(name: str, rendered: tuple[Scenes, torch.Tensor]) -> None:
    images = rendered[1][:40]
    together = _measure(name, images)
    for row in range(40):
        alone = _measure(name, images[row : row + 1])
        for column, values in together.items():
            torch.testing.assert_close(values[row], alone[column][0], rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("name", PIXEL_ATTRIBUTES)
def test_the_smallest_pictures_have_an_answer(name: str) -> None:
    """Flat ones: where a flat picture tells nothing, the answer is that it does not."""
    for size in ((1, 1), (1, 9), (9, 1), (2, 2), (3, 3)):
        for column, values in _measure(name, _flat((10, 200, 30), (7, 7, 7), size=size)).items():
            if column in UNKNOWN_OF_FLAT:
                assert torch.isnan(values).all()
            else:
                assert torch.isfinite(values).all(), column
