"""Is the picture without colour, or of one tint? By CIELAB chroma."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch

THRESHOLD = 12.0
"""A picture is grayscale where 95 % of it have a chroma below this.

Rendered grayscale scenes have 0, through seedling's autoencoder up to 11; scenes in colour have 15 or more.
"""
ONE_TINT = 4.5
"""A picture that is not gray is tinted where 95 % of it are this near (CIELAB) to the tint of their lightness.

Gray pictures under light of one colour have up to 4; scenes in colour, and photographs, 5 or more.
"""
SHARE = 0.95
VIVID, VIVID_SHARE = 24.0, 0.99
"""And 99 % of it below this: one small object in colour makes a picture coloured; single odd pixels do not.

Rendered grayscale scenes through the autoencoder have up to 21.
"""


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """How colourful the picture is, whether it is grayscale, and whether it is grayscale with a tint.

    All of the coarse picture (``AttributeBatch.lab``).
    ``grayscale_chroma``: mean of the CIELAB chroma √(a*² + b*²), 0 (gray) to about 130. Source: CIE 15:2004.
    ``grayscale``: 1 where the 95th percentile of the chroma is below :data:`THRESHOLD` and the 99th below
    :data:`VIVID`, else 0. Sepia and other strong tints are not gray; a picture of very muted colours may be.
    Percentiles and thresholds are ours.
    ``grayscale_colourfulness``: Hasler and Süsstrunk's M of the sRGB levels, 0 (gray) to about 200; 15 is slightly, 59
    quite, 109 extremely colourful. Source: Human Vision and Electronic Imaging VIII, SPIE 5007 (2003), section 7.
    ``grayscale_tinted``: 1 where the picture is not gray, and colours are all of one hue and follow from the
    lightness, as in sepia, cyanotypes or any gray picture under coloured light; else 0. So is a picture of one colour
    all over. The rule is ours (:func:`distance_from_one_tint`).
    """
    chroma = torch.hypot(batch.lab[:, 1], batch.lab[:, 2]).flatten(1)
    most, nearly_all = chroma.quantile(chroma.new_tensor([SHARE, VIVID_SHARE]), 1)
    gray = (most < THRESHOLD) & (nearly_all < VIVID)
    tinted = ~gray & (distance_from_one_tint(batch.lab).quantile(SHARE, 1) < ONE_TINT)
    return {
        "grayscale_chroma": chroma.mean(1),
        "grayscale": gray.float(),
        "grayscale_colourfulness": colourfulness(batch.coarse),
        "grayscale_tinted": tinted.float(),
    }


def colourfulness(levels: Tensor) -> Tensor:
    """Hasler and Süsstrunk's M: ``N × 3 × h × w`` sRGB 0..255 -> ``N``, √(σ_rg² + σ_yb²) + 0.3 √(μ_rg² + μ_yb²)."""
    red, green, blue = levels.flatten(2).unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue], 1)
    spread = opponents.std(2, correction=0).square().sum(1).sqrt()
    return spread + 0.3 * opponents.mean(2).square().sum(1).sqrt()


def distance_from_one_tint(lab: Tensor) -> Tensor:
    """How far each pixel is from the tint that a picture of one hue would give its lightness.

    Args:
        lab: ``N × 3 × h × w`` CIELAB.

    Returns:
        ``N × hw``, CIELAB's units. The hue is that of the mean (a*, b*); along it the tint is the quadratic in L* that
        fits the picture best, across it there is none.

    """
    light, chroma = lab[:, 0].flatten(1) / 100, lab[:, 1:].flatten(2)
    hue = torch.nn.functional.normalize(chroma.mean(2), dim=1)
    along = (hue[:, :, None] * chroma).sum(1)
    across = hue[:, :1] * chroma[:, 1] - hue[:, 1:] * chroma[:, 0]
    return torch.hypot(along - _quadratic_fit(light, along), across)


def _quadratic_fit(x: Tensor, y: Tensor) -> Tensor:
    """Values at x of the quadratic that fits y best: ``N × P`` each -> ``N × P``. Where x hardly varies, the mean."""
    terms = torch.stack([torch.ones_like(x), x - x.mean(1, keepdim=True), x.square()], 2)
    terms[:, :, 2] -= terms[:, :, 2].mean(1, keepdim=True)
    ridge = torch.tensor([0.0, 1e-4, 1e-4], device=x.device).diag() * x.shape[1]
    weights: Tensor = torch.linalg.solve(terms.mT @ terms + ridge, terms.mT @ y[:, :, None])
    return (terms @ weights)[:, :, 0]


ATTRIBUTE = Attribute(
    ("grayscale_chroma", "grayscale", "grayscale_colourfulness", "grayscale_tinted"),
    measure,
    shares=("grayscale", "grayscale_tinted"),
    version="2",
)
