from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from seedml.errors import UserError
from seedml.pixels import rgb_pixels

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def _reopened(image: Image.Image, kind: str) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, kind)
    return Image.open(stream)


def test_gray_files_are_the_same_picture_as_their_rgb_twins() -> None:
    gray = Image.fromarray(RAMP)
    for kind in ("PNG", "BMP", "WEBP"):
        expected = np.array(_reopened(gray.convert("RGB"), kind))
        np.testing.assert_array_equal(rgb_pixels(_reopened(gray, kind)), expected)
    assert rgb_pixels(gray).shape == (16, 16, 3)
    black_and_white = Image.fromarray(RAMP > 100)
    np.testing.assert_array_equal(rgb_pixels(black_and_white)[:, :, 0], (RAMP > 100) * np.uint8(255))


def test_sixteen_bits_are_scaled_and_not_cut_off() -> None:
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    found = rgb_pixels(_reopened(deep, "PNG"))
    np.testing.assert_array_equal(found, np.repeat(RAMP[:, :, None], 3, 2))


def test_transparency_is_laid_over_white() -> None:
    pixels = np.zeros((1, 4, 4), np.uint8)
    pixels[0, :, 0], pixels[0, :, 3] = 200, (0, 128, 255, 1)
    for kind in ("PNG", "TIFF"):
        found = rgb_pixels(_reopened(Image.fromarray(pixels), kind))
        assert found[0].tolist() == [[255, 255, 255], [227, 127, 127], [200, 0, 0], [255, 254, 254]]
    gray = np.stack([RAMP, np.full_like(RAMP, 0)], 2)
    assert (rgb_pixels(_reopened(Image.fromarray(gray, "LA"), "PNG")) == 255).all()


def test_transparent_palette_colours_are_white_too() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((1, 0), 1)
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=0)
    assert rgb_pixels(Image.open(stream))[0].tolist() == [[255, 255, 255], [10, 20, 30]]


@pytest.mark.parametrize("levels", [np.float32([[0.5, np.nan]]), np.int32([[5, 70_000]])])
def test_pixels_without_a_range_are_refused(levels: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"no known range.*8-bit PNG"):
        rgb_pixels(Image.fromarray(levels))
