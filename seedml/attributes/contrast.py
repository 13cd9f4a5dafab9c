"""How far apart light and dark are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """RMS contrast.

    ``contrast``: standard deviation of the luma as a fraction of its range, 0 (one tone) to 0.5 (half black, half
    white), over all pixels. Source: Peli, Journal of the Optical Society of America A 7 (1990), equation 3, of gamma
    coded luma (ITU-R BT.601) in place of linear luminance, because its steps look more nearly equal.
    """
    return {"contrast": deviation(batch.luma) / 255}


def deviation(values: Tensor) -> Tensor:
    """Standard deviation of each picture: ``N × H × W`` -> ``N``."""
    centred = values.flatten(1) - values.mean((1, 2))[:, None]
    power: Tensor = torch.linalg.vecdot(centred, centred)
    return (power / centred.shape[1]).sqrt()


ATTRIBUTE = Attribute(("contrast",), measure)
