"""How sharp the picture is, apart from how much contrast it has."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch
from seedml.attributes.contrast import deviation

FLAT = 0.5
"""Levels of 255: a picture whose luma deviates by less has nothing that could be sharp."""


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Detail at the scale of a pixel.

    ``sharpness``: standard deviation of the luma's Laplacian (4 neighbours, all pixels but the outermost) over that of
    the same luma: 0 (all blur), about 0.2 to 1 (photographs), √20 (white noise), to 8 (a chessboard of pixels). NaN
    for a picture of one tone or of fewer than 3 pixels a side. Source: variance of the Laplacian, Pech-Pacheco et al.,
    ICPR 2000; the division, which takes the contrast out, is ours. It is a measure in pixels: pictures of equal
    sharpness have about the same number at any size, an enlarged picture a lower one.
    """
    luma = batch.luma
    if min(luma.shape[1:]) < 3:
        return {"sharpness": batch.unknown()}
    inner = luma[:, 1:-1, 1:-1]
    laplacian = inner * 4
    for neighbour in (luma[:, 2:, 1:-1], luma[:, :-2, 1:-1], luma[:, 1:-1, 2:], luma[:, 1:-1, :-2]):
        laplacian.sub_(neighbour)
    contrast = deviation(inner)
    return {"sharpness": torch.where(contrast < FLAT, torch.nan, deviation(laplacian) / contrast)}


ATTRIBUTE = Attribute(("sharpness",), measure)
