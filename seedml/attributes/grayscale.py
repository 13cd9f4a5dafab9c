"""Is the picture without colour? By CIELAB chroma."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from seedml.attributes import Attribute, AttributeBatch

THRESHOLD = 12.0
"""A picture is grayscale where 95 % of it have a chroma below this.

Rendered grayscale scenes have 0, after a poor autoencoder up to 12; rendered scenes in colour have 19 or more.
"""
SHARE = 0.95
"""One small object in colour makes a picture coloured; single odd pixels do not."""

_SIDE = 32
"""Pictures are averaged down to this before: faster, and a decoder's grain is no colour."""
_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_WHITE = (0.95047, 1.0, 1.08883)  # D65, the white of sRGB


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Mean chroma, and whether the picture is grayscale.

    ``grayscale_chroma``: mean over the picture of the CIELAB chroma √(a*² + b*²), 0 (gray) to about 130.
    ``grayscale``: 1 where the 95th percentile of the chroma is below :data:`THRESHOLD`, else 0. Sepia and other strong
    tints are not gray; a picture of muted colours may be. Source: CIE 15:2004; percentile and threshold are ours.
    """
    chroma = chroma_map(batch.images).flatten(1)
    return {"grayscale_chroma": chroma.mean(1), "grayscale": (chroma.quantile(SHARE, 1) < THRESHOLD).float()}


def chroma_map(images: Tensor) -> Tensor:
    """``N × 3 × H × W`` uint8 sRGB -> ``N × h × w`` float32, chroma of the picture averaged to 32 × 32 at most."""
    side = (min(_SIDE, images.shape[2]), min(_SIDE, images.shape[3]))
    linear = _linear(adaptive_avg_pool2d(images.float(), side) / 255)
    matrix = torch.tensor(_TO_XYZ, device=images.device) / torch.tensor(_WHITE, device=images.device)[:, None]
    x, y, z = torch.einsum("kc,nchw->knhw", matrix, linear)
    fx, fy, fz = _root(x), _root(y), _root(z)
    return torch.hypot(500 * (fx - fy), 200 * (fy - fz))


def _linear(level: Tensor) -> Tensor:
    """Linear light of sRGB levels 0..1 (IEC 61966-2-1)."""
    return torch.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)


def _root(t: Tensor) -> Tensor:
    """CIELAB's cube root with its straight part near black."""
    return torch.where(t > (6 / 29) ** 3, t.clamp(min=1e-9) ** (1 / 3), t * (29 / 6) ** 2 / 3 + 4 / 29)


ATTRIBUTE = Attribute(("grayscale_chroma", "grayscale"), measure, shares=("grayscale",))
