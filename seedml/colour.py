"""From sRGB levels to CIELAB and to luma, in batches. Knows no attribute."""

from __future__ import annotations

import torch
from torch import Tensor

_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_WHITE = (0.95047, 1.0, 1.08883)  # D65, the white of sRGB
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def srgb_to_lab(levels: Tensor) -> Tensor:
    """CIELAB under D65 (CIE 15:2004).

    Args:
        levels: ``N × 3 × …`` float, sRGB 0..255.

    Returns:
        ``N × 3 × …`` float: L* 0 (black) to 100 (white), a* and b* about -110..110; gray has a* = b* = 0.

    """
    shape = levels.shape
    matrix = torch.tensor(_TO_XYZ, device=levels.device) / torch.tensor(_WHITE, device=levels.device)[:, None]
    x, y, z = _root(torch.einsum("kc,ncp->knp", matrix, _linear(levels.reshape(shape[0], 3, -1) / 255)))
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1).reshape(shape)


def luma(images: Tensor) -> Tensor:
    """``N × 3 × H × W`` uint8 -> ``N × H × W`` float32, 0..255: the gray picture that television would show."""
    red, green, blue = images.unbind(1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def _linear(level: Tensor) -> Tensor:
    """Linear light of sRGB levels 0..1 (IEC 61966-2-1)."""
    return torch.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)


def _root(t: Tensor) -> Tensor:
    """CIELAB's cube root with its straight part near black."""
    return torch.where(t > (6 / 29) ** 3, t.clamp(min=1e-9) ** (1 / 3), t * (29 / 6) ** 2 / 3 + 4 / 29)
