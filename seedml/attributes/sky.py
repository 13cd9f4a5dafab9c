"""How much of the picture is sky, and of which colour: by the scene parser's horizon, a rule, or a network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedml.attributes import Attribute, AttributeBatch
from seedml.colour import srgb_to_lab
from seedml.errors import UserError
from seedml.hub import load_transformer

PROMINENT = 0.5
"""A sky is prominent where it is more than this share of the picture."""
COLOURED = 10.0
"""CIELAB chroma up to which a sky is white (or overcast), and above which it may be blue."""
WHITE_LIGHTNESS = 65.0
"""A white sky is at least this light: L*."""
BLUE_HUES = (195.0, 300.0)
"""Hue angles of a blue sky: degrees of CIELAB, from cyan to just before violet."""
SMOOTH, ROUGH = 14.0, 0.7
"""L* may range this much in 3 × 3 pixels (of 64 a side) of sky. Where it ranges more in over so great a share of the
5 × 5 around, there is texture; where in fewer, a cloud's edge.
"""
LEAST = 0.03
"""Less sky than this share of the picture is none: the rule has found a light spot on the upper edge."""
AT_ONCE = 8
"""Pictures that go through a network together, whatever the batch."""
BACKDROP, ALIKE = 0.25, 10.0
"""Where this share of the lower edge has the sky's colour up to this distance (CIELAB), it may be a backdrop."""

_SIDE = 64
_SWEEPS = 2
_NETWORK_KEY = "measure.networks.sky"
_COLUMNS = ("sky", "sky_prominent", "sky_white", "sky_blue")
_SHARES = ("sky_prominent",)


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Sky as a share of the picture, and its colour.

    ``sky``: 0..1. In seedling's world the share of the height above the horizon, so hills and the object that stand out
    above the horizon count as sky; source: the parser's horizon, sharpened on the picture
    (``models/bundled/layout.py``). In other pictures the share of pixels that :func:`sky_region` takes for sky.
    ``sky_prominent``: 1 where it is more than :data:`PROMINENT`, else 0.
    ``sky_white``, ``sky_blue``: white or overcast, and blue sky by CIELAB, as shares of the picture, 0..1; of
    seedling's skies without the object. Dusk and clouds at dusk are neither. Source: ours.
    """
    if batch.reading is None:
        region, unsure = sky_region(batch.images)
        return _columns(batch.lab, region, region.mean((1, 2)), unsure)
    from seedml.models.bundled.layout import horizon  # seedling's scenes are loaded only where they are meant

    height = horizon(batch.images, batch.reading)
    rows = torch.arange(batch.reading.mask.shape[1], device=height.device)
    above = (height[:, None] * len(rows) - rows).clamp(0, 1)[:, :, None]
    region = above * (1 - batch.reading.mask)
    return _columns(batch.lab, region, height, torch.zeros_like(height, dtype=torch.bool))


def _columns(lab: Tensor, region: Tensor, share: Tensor, unsure: Tensor) -> dict[str, Tensor]:
    """The columns of pictures in CIELAB (``N × 3 × h × w``) with their skies (``N × H × W``, 0..1).

    ``share`` is the sky's, ``N``; NaN where unsure (``N`` bool).
    """
    region = F.adaptive_avg_pool2d(region[:, None], (lab.shape[2], lab.shape[3]))[:, 0]
    values = (
        share,
        (share > PROMINENT).float(),
        (region * _is_white(lab)).mean((1, 2)),
        (region * _is_blue(lab)).mean((1, 2)),
    )
    return {name: value.masked_fill(unsure, torch.nan) for name, value in zip(_COLUMNS, values, strict=True)}


def _is_white(lab: Tensor) -> Tensor:
    return (lab[:, 0] >= WHITE_LIGHTNESS) & (torch.hypot(lab[:, 1], lab[:, 2]) <= COLOURED)


def _is_blue(lab: Tensor) -> Tensor:
    hue = torch.rad2deg(torch.atan2(lab[:, 2], lab[:, 1])) % 360
    right = (hue >= BLUE_HUES[0]) & (hue <= BLUE_HUES[1])
    return right & (torch.hypot(lab[:, 1], lab[:, 2]) > COLOURED)


def sky_region(images: Tensor) -> tuple[Tensor, Tensor]:
    """What looks like sky in any picture, by colour, texture and position. Needs no download.

    Sky is white, overcast or blue, smooth, and reaches the upper edge. It is not told from a plain light wall behind a
    scene, and sunsets and black nights are not seen: where that matters, name a network.

    Args:
        images: ``N × 3 × H × W`` uint8.

    Returns:
        ``N × h × w`` float32, 0 or 1, of the picture averaged to 64 pixels a side at most; and ``N`` bool: not to be
        told, because the lower edge looks just as the sky does (a plain backdrop, snow under a white sky, or nothing
        but sky), or the picture is of one colour.

    """
    side = (min(_SIDE, images.shape[2]), min(_SIDE, images.shape[3]))
    lab = srgb_to_lab(F.adaptive_avg_pool2d(images.float(), side))
    around = F.pad(lab[:, :1], (1, 1, 1, 1), mode="replicate")
    spread = F.max_pool2d(around, 3, 1) + F.max_pool2d(-around, 3, 1)
    plain = (spread.amax((1, 2, 3)) < 1) & (lab[:, 1:].flatten(2).std(2, correction=0).amax(1) < 1)
    rough = F.avg_pool2d((spread > SMOOTH).float(), 5, 1, 2, count_include_pad=False)[:, 0]
    candidate = (_is_white(lab) | _is_blue(lab)) & (rough <= ROUGH)
    region = _flooded(candidate)
    region = region & (region.float().mean((1, 2)) >= LEAST)[:, None, None]
    return region.float(), plain | _is_backdrop(lab, candidate, region)


def _is_backdrop(lab: Tensor, candidate: Tensor, region: Tensor) -> Tensor:
    """Whether the lower edge of the picture looks as the sky does: N bool."""
    weight = region.float()[:, None]
    colour = (lab * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1)
    alike = (lab[:, :, -1] - colour[:, :, None]).square().sum(1).sqrt() < ALIKE
    share = (candidate[:, -1] & alike).float().mean(1)
    return (share > BACKDROP) & region.flatten(1).any(1)


def _flooded(free: Tensor) -> Tensor:
    """The free pixels that can be reached from the upper edge: ``N × h × w`` bool. A few sweeps, so not round mazes."""
    reached = free.clone()
    reached[:, 1:] = False
    for _ in range(_SWEEPS):
        for dim, backwards in ((1, False), (2, False), (2, True), (1, True)):
            reached = _swept(reached, free, dim, backwards)
    return reached


def _swept(reached: Tensor, free: Tensor, dim: int, backwards: bool) -> Tensor:
    """What is reached in one direction: a free pixel with a reached one nearer behind it than any that is not free."""
    if backwards:
        return _swept(reached.flip(dim), free.flip(dim), dim, False).flip(dim)
    place = torch.arange(1, free.shape[dim] + 1, device=free.device)
    place = place[:, None] if dim == 1 else place
    last_reached = (reached * place).cummax(dim).values
    last_wall = (~free * place).cummax(dim).values
    return last_reached > last_wall


class SkySegmenter(nn.Module):
    """A semantic segmenter that has a class called sky, such as SegFormer or Mask2Former trained on ADE20K.

    Pictures are resized as the checkpoint's own processor does; its classes are resized back to the picture's size.

    Args:
        name_or_path: hub id or folder.

    """

    def __init__(self, name_or_path: str) -> None:
        super().__init__()
        kinds = ("AutoModelForSemanticSegmentation", "AutoModelForUniversalSegmentation")
        loaded = load_transformer(_NETWORK_KEY, name_or_path, kinds)
        self.model: Any = loaded.model
        self.processor, self.version = loaded.processor, loaded.version
        names = {int(index): re.split(r"[,;/ ]+", str(name).lower()) for index, name in _labels(self.model).items()}
        self.sky = [index for index, words in names.items() if "sky" in words]
        if not self.sky:
            raise UserError(
                f"{_NETWORK_KEY}: the network knows no class called sky", given=name_or_path,
                legal="a segmenter whose id2label has one, such as those trained on ADE20K or Cityscapes",
            )  # fmt: skip

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """``N × 3 × H × W`` uint8 -> ``N × H × W`` float32, 1 where sky is the likeliest class, else 0."""
        return torch.cat([self._sky(part) for part in torch.split(images, AT_ONCE)])

    def _sky(self, images: Tensor) -> Tensor:
        inputs = self.processor(images=list(images), return_tensors="pt").to(images.device)
        size = (images.shape[2], images.shape[3])
        maps = self.processor.post_process_semantic_segmentation(
            self.model(**inputs), target_sizes=[size] * len(images)
        )
        sky = torch.tensor(self.sky, device=images.device)
        return torch.isin(torch.stack(list(maps)), sky).float()


def _labels(model: Any) -> dict[int, str]:
    labels: dict[int, str] = model.config.id2label
    return labels


def with_network(name_or_path: str) -> Attribute:
    """The same columns from a semantic segmenter: ``sky`` is then the share of the pixels whose class is sky."""
    segmenter = SkySegmenter(name_or_path).eval()

    def segment(batch: AttributeBatch) -> Mapping[str, Tensor]:
        region = segmenter(batch.images)
        sure = torch.zeros(len(region), dtype=torch.bool, device=region.device)
        return _columns(batch.lab, region, region.mean((1, 2)), sure)

    return Attribute(_COLUMNS, segment, shares=_SHARES, version=f"2 {segmenter.version}", network=segmenter)


ATTRIBUTE = Attribute(_COLUMNS, measure, shares=_SHARES, needs_reading=True, version="2")
