"""Picture files of any kind -> RGB levels, or a clear refusal where Pillow's own conversion would be wrong, unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seedml.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

Pixels = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
"""H × W × 3 uint8 0..255, RGB."""

_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_NO_RANGE = ("I", "F")


def rgb_pixels(image: Image.Image) -> Pixels:
    """The picture as a page would show it.

    Transparency is laid over white; Pillow alone would show the colours that hide below it. 16-bit gray is scaled to 8
    bits; Pillow alone would cut it off at 255. Gray, palette and CMYK pictures are what Pillow makes of them.

    Raises:
        UserError: pixels are 32-bit integers or floating point numbers, whose range a file does not say.

    """
    if image.mode in _NO_RANGE:
        raise UserError(
            f"pixels of mode {image.mode} have no known range", given=image.mode,
            legal="pictures of 8 or 16 bits a channel", remedy="save it as an 8-bit PNG",
        )  # fmt: skip
    if image.mode in _SIXTEEN_BITS:
        gray = (np.asarray(image).astype(np.uint32) + 128) // 257
        return np.repeat(gray.astype(np.uint8)[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        return _over_white(np.asarray(image.convert("RGBA"), dtype=np.uint32))
    return np.array(image.convert("RGB"))


def _over_white(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint32]]) -> Pixels:
    """``H × W × 4`` RGBA 0..255 -> RGB, rounded."""
    alpha = pixels[:, :, 3:]
    mixed = (pixels[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return mixed.astype(np.uint8)
