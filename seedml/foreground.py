"""What stands out in any picture from the colours along its rim. Needs no download; knows no attribute."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TAIL = 0.01
"""Share of the foreground that may lie outside its box on either side of each axis: specks are no object."""
DISTINCT = 0.70
"""Otsu's threshold has to explain this share of the saliency's variance; else there is no object to speak of."""
WIDEST = 0.6
"""What covers more of the picture than this is no object in front of something."""
RIM = 0.1
"""Strip along each side whose colours are the background's, as a fraction of the side."""

_SIDE = 64
_BINS = 64


def foreground(images: Tensor) -> tuple[Tensor, Tensor]:
    """What stands out from the background, and whether anything does. Needs no download.

    Each side's strip of the picture is a background: a pixel's saliency is the sum of its Mahalanobis distances in
    colour from the four, without the largest (an object may touch one side). It is then cut at Otsu's threshold.
    Source: the extension of Zhang et al., Minimum Barrier Salient Object Detection at 80 FPS, ICCV 2015, section 3.3;
    Otsu 1979. Constants are ours.

    Args:
        images: ``N × 3 × H × W`` uint8.

    Returns:
        ``N × h × w`` float32, 0 or 1, of the picture averaged to 64 pixels a side at most; and ``N`` bool: the two
        classes are far enough apart (:data:`DISTINCT`), and the foreground is not most of the picture.

    """
    side = (min(_SIDE, images.shape[2]), min(_SIDE, images.shape[3]))
    pixels = F.adaptive_avg_pool2d(images.float(), side)
    strips = [max(1, round(RIM * length)) for length in side]
    upright, lying = pixels, pixels.mT
    sides = [turned[:, :, part] for turned, strip in ((upright, strips[0]), (lying, strips[1]))
             for part in (slice(strip), slice(-strip, None))]  # fmt: skip
    distances = torch.stack([_distance(pixels, background.flatten(2)) for background in sides])
    saliency = distances.sum(0) - distances.amax(0)
    saliency = F.avg_pool2d(F.pad(saliency[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[:, 0]
    mask, explained = _otsu(saliency)
    covered = mask.mean((1, 2))
    varied = pixels.flatten(2).std(2, correction=0).amax(1) >= 2
    return mask, varied & (explained >= DISTINCT) & (covered <= WIDEST)


def _distance(pixels: Tensor, background: Tensor) -> Tensor:
    """Distance of each pixel from a background's colours in their own spread, 0..1 of the picture's largest.

    ``N × 3 × h × w`` and ``N × 3 × P`` -> ``N × h × w``.
    """
    mean = background.mean(2, keepdim=True)
    centred = background - mean
    spread = centred @ centred.mT / background.shape[2] + 25 * torch.eye(3, device=pixels.device)  # 5 levels of noise
    white = torch.linalg.inv(torch.linalg.cholesky(spread))
    away: Tensor = white @ (pixels.flatten(2) - mean)
    distance = away.square().sum(1).sqrt()  # norm(dim=1) takes ten times as long
    return (distance / distance.amax(1, keepdim=True).clamp(min=1e-6)).view(len(pixels), *pixels.shape[2:])


def _otsu(values: Tensor) -> tuple[Tensor, Tensor]:
    """``N × h × w`` >= 0 -> mask of those above Otsu's threshold, and the share of the variance that it explains."""
    flat = values.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    place = ((flat - low) / (high - low).clamp(min=1e-6) * _BINS).long().clamp(max=_BINS - 1)
    counts = torch.zeros(len(flat), _BINS, device=flat.device).scatter_add_(1, place, torch.ones_like(flat))
    share = counts / flat.shape[1]
    levels = torch.arange(_BINS, device=flat.device, dtype=share.dtype)
    below, moment = share.cumsum(1), (share * levels).cumsum(1)
    mean = moment[:, -1:]
    between = (mean * below - moment).square() / (below * (1 - below)).clamp(min=1e-6)
    best, cut = between.max(1)
    total = (share * (levels - mean).square()).sum(1).clamp(min=1e-6)
    return (place > cut[:, None]).float().view_as(values), best / total


def foreground_boxes(mask: Tensor, clear: Tensor) -> Tensor:
    """What :func:`foreground` found -> the box that holds it but for :data:`TAIL` at each end.

    ``N × 4`` float32: left, top, right, bottom as fractions of the sides; NaN where there is no object to speak of.
    """
    left, right = _middle(mask.sum(1))
    top, bottom = _middle(mask.sum(2))
    boxes = torch.stack([left, top, right, bottom], 1)
    return boxes.masked_fill(~clear[:, None], torch.nan)


def _middle(mass: Tensor) -> tuple[Tensor, Tensor]:
    """Where the running total of ``N × L`` reaches :data:`TAIL` and its complement: ``N`` each, fractions of L."""
    total = mass.cumsum(1) / mass.sum(1, keepdim=True).clamp(min=1e-6)
    before, after = (total < TAIL).sum(1), (total < 1 - TAIL).sum(1) + 1
    return before / mass.shape[1], (after / mass.shape[1]).clamp(max=1)
