"""How saturated the colours are, apart from how light they are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Share of colour in what is seen.

    ``saturation``: Σ C* / Σ √(C*² + L*²) over the coarse picture (``AttributeBatch.lab``), 0 (gray) to 1, in practice
    to 0.97 (blue); a black picture has 0. Source: Lübbe, Colours in the Mind, Colour Systems in Reality (2010), whose
    saturation of one colour is C* / √(C*² + L*²); the ratio of sums is ours: dark pixels, whose own ratio is a matter
    of rounding, count as little as they are seen.
    """
    chroma = torch.hypot(batch.lab[:, 1], batch.lab[:, 2]).flatten(1)
    seen = torch.hypot(chroma, batch.lab[:, 0].flatten(1)).sum(1)
    return {"saturation": chroma.sum(1) / seen.clamp(min=1e-3)}


ATTRIBUTE = Attribute(("saturation",), measure)
