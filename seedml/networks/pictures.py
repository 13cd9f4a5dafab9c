"""Pictures as networks take them: sizes and ranges, each rule the one that the published numbers were made with.

All functions are batched tensor code on the pictures' device: ``N × 3 × H × W`` uint8 0..255 in, sRGB.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of each channel, of levels 0..1."""
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""The same, of CLIP's training pictures."""


def squashed(images: Tensor, side: int) -> Tensor:
    """The whole picture as a square, its proportions lost: bicubic as Pillow does it, in 8 bits, uint8."""
    return _bicubic(images, side, side)


def cropped(images: Tensor, side: int) -> Tensor:
    """The square from the middle, resized: bicubic as Pillow does it, in 8 bits, uint8. (CMMD's ``io_util.py``.)"""
    height, width = images.shape[2:]
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    return _bicubic(images[:, :, top : top + least, left : left + least], side, side)


def resized_and_cropped(images: Tensor, side: int) -> Tensor:
    """The shorter side resized, then the square from the middle: CLIP's rule, uint8."""
    height, width = images.shape[2:]
    scale = side / min(height, width)
    size = (side, int(width * scale)) if height <= width else (int(height * scale), side)
    resized = _bicubic(images, *size)
    top, left = (round((length - side) / 2) for length in size)
    return resized[:, :, top : top + side, left : left + side]


def padded(images: Tensor, side: int) -> Tensor:
    """The longer side resized, black bars beside the shorter one: float32 about 0..1, not clipped. (HPS v2's rule.)"""
    height, width = images.shape[2:]
    scale = side / max(height, width)
    size = (round(height * scale), round(width * scale))
    levels = images.float() / 255
    if size != (height, width):
        levels = F.interpolate(levels, size, mode="bicubic", antialias=True, align_corners=False)
    below, right = side - size[0], side - size[1]
    return F.pad(levels, (right // 2, right - right // 2, below // 2, below - below // 2))


def _bicubic(images: Tensor, height: int, width: int) -> Tensor:
    """Bicubic with a wide enough filter to leave no aliases, rounded to 8 bits as Pillow does."""
    if images.shape[2:] == (height, width):
        return images
    exact = F.interpolate(images.float(), (height, width), mode="bicubic", antialias=True, align_corners=False)
    return exact.round_().clamp_(0, 255).to(torch.uint8)


def normalised(levels: Tensor, scale: tuple[tuple[float, ...], tuple[float, ...]]) -> Tensor:
    """Levels, uint8 0..255 or float 0..1, less a mean and over a deviation: float32."""
    values = levels.float() / 255 if levels.dtype == torch.uint8 else levels
    mean, deviation = (torch.tensor(part, device=levels.device)[None, :, None, None] for part in scale)
    return (values - mean) / deviation
