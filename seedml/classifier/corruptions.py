"""Damage done to a finished picture at its full size: what may go before its seed can no longer be told?

Pure functions over pixels, H × W × 3 uint8 0..255 in and out, of the same size. Know no network and no file.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from PIL import Image

from seedml.pixels import Pixels

Floats = np.ndarray[Any, np.dtype[np.float32]]

MID_GRAY = 127.5
"""What a high-pass filtered picture varies about: its own mean is one of the frequencies taken out."""
_BLUR = 1 / 64
_CUTS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Corruption:
    """One way to damage a picture."""

    name: str
    description: str
    """In a few words, for tables."""
    apply: Callable[[Pixels], Pixels]


def corruptions(image_size: int) -> list[Corruption]:
    """Codecs, size, blur, colour, place, and frequencies alone.

    Args:
        image_size: side in pixels that pictures are reduced to afterwards. The filters' cut-offs are the powers of two
            below what is left then, ``image_size / 2`` cycles a picture.

    """
    return [
        Corruption("jpeg_75", "JPEG of quality 75", partial(jpeg, quality=75)),
        Corruption("jpeg_50", "JPEG of quality 50", partial(jpeg, quality=50)),
        Corruption("resize_50", "reduced to half its side and enlarged again, bicubic", partial(resized, share=0.5)),
        Corruption("blur", "Gaussian blur, standard deviation 1/64 of the side", partial(blurred, share=_BLUR)),
        Corruption("grayscale", "luma alone (ITU-R BT.601)", grayscale),
        Corruption("crop_90", "the middle 90 % of each side, enlarged to the full size", partial(cropped, share=0.9)),
        Corruption("flip", "mirrored left to right", flipped),
        *frequency_filters(image_size),
    ]


def frequency_filters(image_size: int) -> Iterator[Corruption]:
    """Low-pass filters, then high-pass filters; see :func:`corruptions`."""
    cuts = [cut for cut in _CUTS if 2 * cut < image_size]
    for cut in cuts:
        description = f"only frequencies up to {cut} cycles a picture"
        yield Corruption(f"low_pass_{cut}", description, partial(low_pass, cut=cut))
    for cut in cuts:
        description = f"only frequencies above {cut} cycles a picture, about mid-gray"
        yield Corruption(f"high_pass_{cut}", description, partial(high_pass, cut=cut))


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Written as JPEG with Pillow's other defaults (colour at half resolution) and read again."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as image:
        return np.array(image)


def resized(pixels: Pixels, share: float) -> Pixels:
    """Reduced to ``share`` of its sides and enlarged again, both bicubic."""
    height, width = pixels.shape[:2]
    small = (max(1, round(width * share)), max(1, round(height * share)))
    return _bicubic(_bicubic(pixels, small), (width, height))


def blurred(pixels: Pixels, share: float) -> Pixels:
    """Convolved with a Gaussian of standard deviation ``share`` × side; the edges are mirrored.

    Half the amplitude is left at 0.187 / ``share`` cycles a picture: 12 for 1/64.
    """
    from scipy.ndimage import gaussian_filter

    height, width = pixels.shape[:2]
    return _levels(gaussian_filter(pixels.astype(np.float32), (share * height, share * width, 0), mode="reflect"))


def grayscale(pixels: Pixels) -> Pixels:
    """Luma in all three channels."""
    return np.array(Image.fromarray(pixels).convert("L").convert("RGB"))


def cropped(pixels: Pixels, share: float) -> Pixels:
    """The middle ``share`` of each side, enlarged to the full size, bicubic: everything moves outwards."""
    height, width = pixels.shape[:2]
    top, left = round(height * (1 - share) / 2), round(width * (1 - share) / 2)
    return _bicubic(pixels[top : height - top, left : width - left], (width, height))


def flipped(pixels: Pixels) -> Pixels:
    """Left and right exchanged."""
    return np.ascontiguousarray(pixels[:, ::-1])


def low_pass(pixels: Pixels, cut: float) -> Pixels:
    """Only what varies by up to ``cut`` cycles a picture, the mean included."""
    return _levels(_passed(pixels, cut))


def high_pass(pixels: Pixels, cut: float) -> Pixels:
    """Only what varies by more than ``cut`` cycles a picture, about mid-gray."""
    return _levels(pixels - _passed(pixels, cut) + MID_GRAY)


def _passed(pixels: Pixels, cut: float) -> Floats:
    """H × W × 3 float32: the part with radial frequencies up to ``cut``, cut off sharply.

    In the basis of the cosine transform (DCT-II), which continues a picture by its mirror image: Fourier's would
    continue it by its opposite edge, whose step has all frequencies.
    """
    from scipy.fft import dctn, idctn

    spectrum = dctn(pixels.astype(np.float32), axes=(0, 1), norm="ortho")
    spectrum *= radial_frequencies(*pixels.shape[:2])[:, :, None] <= cut
    part: Floats = np.asarray(idctn(spectrum, axes=(0, 1), norm="ortho"), np.float32)
    return part


@lru_cache(maxsize=8)
def radial_frequencies(height: int, width: int) -> Floats:
    """``height`` × ``width`` float32: cycles a picture of each coefficient of the two-dimensional DCT-II.

    Its k-th cosine has k / 2 cycles over the side; both directions are joined by Pythagoras.
    """
    frequencies: Floats = np.hypot(np.arange(height)[:, None] / 2, np.arange(width) / 2).astype(np.float32)
    return frequencies


def _levels(values: np.ndarray[Any, Any]) -> Pixels:
    """Rounded and cut off to uint8."""
    levels: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels


def _bicubic(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """``size`` is width, height."""
    bicubic: Pixels = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    return bicubic
