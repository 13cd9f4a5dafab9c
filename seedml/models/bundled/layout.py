"""Where things are in a picture of seedling's world: the parser's reading, sharpened on its mask and on the pixels.

The parser's numbers for location, size and horizon come from a few pooled features and are off by some two per cent of
the side. Its mask, and the step of colour along the horizon, are sharp to the pixel; the numbers say where to look.
Constants are calibrated on rendered scenes of another stream than any that accuracy is reported on.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from seedml.models.bundled.parser import SIDE, SceneReading
from seedml.models.bundled.scenes import DEPTH, HORIZON
from seedml.models.bundled.shapes import BOXES

_NEAREST = SIDE - 11
"""Row, in pixels, on which the nearest objects stand (``sample_scenes``)."""
_REACH = 0.9
"""Mask further from the read centre than this, in the read size, belongs to something else. Half would be its edge."""
_SLACK = 0.03
"""And this much further, share of the side."""
_COLUMNS = 16
"""Columns of the picture that are asked for the horizon."""
_SPREAD = 0.12
"""How far from the horizon that was read the step is looked for: standard deviation of a weight, share of the side."""
_STEP, _CLEAR = 6.0, 40.0
"""Smallest step, summed over the channels in levels of 255, that is taken for the horizon, and one that is as good as
any larger: between two clear steps (a frame's, a hill's) the nearer decides."""
_STRIPS, _STRIP = ((12, 33), (94, 115)), (12, 116)
"""Rows across the top and across the bottom, and columns, in pixels, that lettering may be in (``scenes._strip``)."""
_INK, _FAINTEST = 0.7, 60.0
"""Letters' edges have this share of the strip's greatest contrast, which is taken to be so many levels at least."""
_READ, _TRUST = 0.4, 0.08
"""Weight of the parser's own number in the depth, perspective has the rest; and how far off, in shares of the side, the
parser's other numbers are where that weight has fallen to 0.6 of it: it then sees what it was not trained on."""


def object_boxes(reading: SceneReading) -> Tensor:
    """The box around the object: around the mask near the place that was read, between pixels where it crosses ½.

    Returns:
        N×4 float32: left, top, right, bottom as fractions of the side, 0..1. Where there is no mask, the square of the
        size that was read around the place that was read. What a frame or lettering hides counts as far as the parser
        guesses it: rendered labels ignore frame and lettering.

    """
    centre, size = reading.location.clamp(0, 1), reading.size.clamp(0, 1)[:, None]
    steps = (torch.arange(SIDE, device=centre.device) + 0.5) / SIDE
    near = (steps - centre[:, :, None]).abs() <= _REACH * size[:, :, None] + _SLACK
    mask = reading.mask * near[:, 0, None, :] * near[:, 1, :, None]
    (left, right), (top, bottom) = _ends(mask.amax(1)), _ends(mask.amax(2))
    found = torch.stack([left, top, right, bottom], 1) / SIDE
    read = torch.cat([centre - size / 2, centre + size / 2], 1)
    return torch.where((mask.amax((1, 2)) > 0.5)[:, None], found, read)


def _ends(profile: Tensor) -> tuple[Tensor, Tensor]:
    """Where profiles ``N × 128`` first rise above ½ and last fall below it: pixels, ``N`` each, linear in between."""
    falling = profile.flip(1)
    return _rise(profile), SIDE - _rise(falling)


def _rise(profile: Tensor) -> Tensor:
    first = (profile > 0.5).int().argmax(1, keepdim=True)
    inside = profile.gather(1, first)
    outside = torch.where(first > 0, profile.gather(1, (first - 1).clamp(min=0)), 0.0)
    part = (inside - 0.5) / (inside - outside).clamp(min=1e-6)
    return (first + 0.5 - part)[:, 0].clamp(0, SIDE)


def horizon(images: Tensor, reading: SceneReading) -> Tensor:
    """Share of the height above the horizon: the strongest step between rows near the horizon that was read.

    A row's step is the median over columns, so that neither object nor hills nor texture count.

    Args:
        images: N×3×H×W uint8; looked at in 128 × 128.
        reading: what the parser read in them.

    Returns:
        N float32, 0..1; as the parser read it where there is no step to be seen.

    """
    read = reading.horizon.clamp(0, 1)
    columns = _in_parser_size(images)[..., _COLUMNS // 4 :: SIDE // _COLUMNS]
    step = F.pad((columns[:, :, 1:] - columns[:, :, :-1]).median(3).values.abs().sum(1), (1, 0))
    rows = torch.arange(SIDE, device=step.device)  # step y lies between rows y - 1 and y
    near = torch.exp(-0.5 * ((rows / SIDE - read[:, None]) / _SPREAD).square())
    possible = (rows >= SIDE * (HORIZON[0] - _SLACK)) & (rows <= SIDE * (HORIZON[1] + _SLACK))
    best = (step.clamp(max=_CLEAR) * near * possible).argmax(1, keepdim=True)
    around = (best + torch.tensor([-1, 0, 1], device=best.device)).clamp(0, SIDE - 1)
    weight = step.gather(1, around)
    found = (weight * around).sum(1) / weight.sum(1).clamp(min=1e-6) / SIDE
    return torch.where(step.gather(1, best)[:, 0] > _STEP, found, read)


def _in_parser_size(images: Tensor) -> Tensor:
    pixels = images.float()
    if pixels.shape[-2:] == (SIDE, SIDE):
        return pixels
    return F.interpolate(pixels, (SIDE, SIDE), mode="bilinear", antialias=True)


def object_depth(reading: SceneReading, skyline: Tensor) -> Tensor:
    """How far the object is: N float32, 0 nearest, 1 farthest.

    On flat ground the distance goes with one over the height of the foot below the horizon (``sample_scenes``). A
    weighted mean of that with the parser's own number is better than either, as long as the parser was right about
    place, size and horizon.

    Args:
        reading: what the parser read.
        skyline: what :func:`horizon` found in the same pictures.

    """
    boxes = object_boxes(reading)
    below = (_foot(boxes, reading) - skyline) * SIDE
    distance = (_NEAREST - SIDE * skyline) / below.clamp(min=1)
    perspective = ((distance - DEPTH[0]) / (DEPTH[1] - DEPTH[0])).clamp(0, 1)
    weight = _READ * torch.exp(-0.5 * (_disagreement(boxes, skyline, reading) / _TRUST).square())
    return torch.lerp(perspective, reading.depth.clamp(0, 1), weight)


def _foot(boxes: Tensor, reading: SceneReading) -> Tensor:
    """Where the objects in these boxes touch the ground: N float32, share of the height from the top."""
    shape = BOXES.to(boxes.device)[reading.object.argmax(1)]
    unit = (boxes[:, 2] - boxes[:, 0]) / (shape[:, 1] - shape[:, 0])
    return boxes[:, 3] + shape[:, 2] * unit  # some shapes' lowest point is above the ground they stand on


def _disagreement(boxes: Tensor, skyline: Tensor, reading: SceneReading) -> Tensor:
    """How far the parser's numbers for place, size and horizon are from what was found: N, shares of the side."""
    extent = boxes[:, 2:] - boxes[:, :2]
    found = torch.stack([*((boxes[:, :2] + boxes[:, 2:]) / 2).unbind(1), extent.prod(1).sqrt(), skyline], 1)
    read = torch.stack([*reading.location.unbind(1), reading.size, reading.horizon], 1)
    return (found - read).square().sum(1).sqrt()


def lettering_area(images: Tensor, mask: Tensor) -> Tensor:
    """How much of the picture lettering covers where there is any: N float32, share of the area, of its box with halo.

    Letters are where neighbouring pixels differ most, outside the object, in the strip across the top or the bottom
    where scenes have them. Where there is no lettering, the number means nothing.

    Args:
        images: N×3×H×W uint8; looked at in 128 × 128.
        mask: N×128×128, the object's, as the parser read it.

    """
    light = F.pad(_in_parser_size(images).mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    contrast = (F.max_pool2d(light, 3, 1) + F.max_pool2d(-light, 3, 1))[:, 0] * (mask < 0.5)
    strips = torch.stack([contrast[:, top:bottom, _STRIP[0] : _STRIP[1]] for top, bottom in _STRIPS], 1)
    edges = strips > _INK * strips.amax((2, 3), keepdim=True).clamp(min=_FAINTEST)
    fuller = edges.sum((2, 3)).argmax(1)
    chosen = edges[torch.arange(len(edges), device=edges.device), fuller]
    height = (chosen.sum(2) >= 5).sum(1)
    columns = (chosen.sum(1) >= 2).int()
    width = columns.shape[1] - columns.argmax(1) - columns.flip(1).argmax(1)
    return height * width / SIDE**2
