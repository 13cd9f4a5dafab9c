"""How far the object and the scene are: by seedling's perspective, or by a depth network. Relative depth only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedml.attributes import Attribute, AttributeBatch
from seedml.attributes.location import ObjectFinder
from seedml.hub import load_transformer, named_parts

AT_ONCE = 8
"""Pictures that go through a network together, whatever the batch."""

_KEY = "measure.networks.depth"
_ROWS = 128
_COLUMNS = ("depth", "depth_scene", "depth_gradient")


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Depth of object and scene in pictures of seedling's world; NaN in others, where pixels alone do not tell.

    ``depth``: of the object, 0 (nearest) to 1 (farthest) that scenes have. Source: the height of its foot below the
    horizon, and the parser's own number (``models/bundled/layout.py``).
    ``depth_scene``, ``depth_gradient``: as :func:`scene_columns` says, of flat ground below the horizon and a sky that
    is farthest; they follow from the horizon alone.
    """
    if batch.reading is None:
        return {name: batch.unknown() for name in _COLUMNS}
    from seedml.models.bundled.layout import horizon, object_depth  # loaded only where seedling's world is meant

    skyline = horizon(batch.images, batch.reading)
    height = skyline[:, None]
    rows = (torch.arange(_ROWS, device=height.device) + 0.5) / _ROWS
    plane = 1 - ((rows - height) / (1 - height).clamp(min=1e-3)).clamp(min=0)
    return {"depth": object_depth(batch.reading, skyline), **scene_columns(plane[:, :, None])}


def scene_columns(depth: Tensor) -> dict[str, Tensor]:
    """Of depth maps ``N × h × w``, each 0 (its nearest) to 1 (its farthest), linear in one over the distance.

    ``depth_scene``: mean, 0..1: high where most of the picture is far.
    ``depth_gradient``: mean of the upper third minus that of the lower, -1..1: high where the picture opens to a far
    background, about 0 for a wall or a close-up.
    """
    third = max(1, depth.shape[1] // 3)
    gradient = depth[:, :third].mean((1, 2)) - depth[:, -third:].mean((1, 2))
    return {"depth_scene": depth.mean((1, 2)), "depth_gradient": gradient}


class DepthNetwork(nn.Module):
    """A monocular depth estimator such as Depth Anything V2.

    Pictures are resized as the checkpoint's own processor does (Depth Anything: shorter side 518, to a multiple of 14).

    Args:
        name_or_path: hub id or folder.

    """

    def __init__(self, name_or_path: str) -> None:
        super().__init__()
        loaded = load_transformer(_KEY, name_or_path, ("AutoModelForDepthEstimation",))
        self.model: Any = loaded.model
        self.processor, self.version = loaded.processor, loaded.version
        self.metric = getattr(self.model.config, "depth_estimation_type", "relative") == "metric"

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """``N × 3 × H × W`` uint8 -> ``N × h × w`` float32: 0 nearest to 1 farthest of each picture.

        Linear in the network's output, which is one over the distance but for a factor and a shift; of networks that
        give metres it is one over these. A flat map is 0.
        """
        parts = []
        for part in torch.split(images, AT_ONCE):
            inputs = self.processor(images=list(part), return_tensors="pt").to(images.device)
            parts.append(self.model(**inputs).predicted_depth.float())
        found = torch.cat(parts)
        nearness = 1 / found.clamp(min=1e-3) if self.metric else found
        nearest, farthest = nearness.amax((1, 2), keepdim=True), nearness.amin((1, 2), keepdim=True)
        return (nearest - nearness) / (nearest - farthest).clamp(min=1e-9)


def with_network(given: str) -> Attribute:
    """The same columns from a depth network, each picture's nearest 0 and its farthest 1.

    ``depth`` is the mean under the object: that of ``location.ObjectFinder`` where a detector is named, else seedling's
    mask, or what stands out (``seedml/foreground.py``); NaN where nothing does.

    Args:
        given: hub id or folder of a depth network; after `` + `` that of a detector, and after another `` + `` that of
            a Segment Anything model.

    """
    depth_network, *others = named_parts(given)
    network = DepthNetwork(depth_network).eval()
    finder = ObjectFinder(_KEY, " + ".join(others)).eval() if others else None

    def estimate(batch: AttributeBatch) -> Mapping[str, Tensor]:
        depth = network(batch.images)
        mask = _object(batch) if finder is None else finder.masks(batch.images, batch.prompts)
        weight = F.adaptive_avg_pool2d(mask[:, None], (depth.shape[1], depth.shape[2]))[:, 0]
        under = (depth * weight).sum((1, 2)) / weight.sum((1, 2))  # 0 / 0 is NaN: no object
        return {"depth": under, **scene_columns(depth)}

    parts = [part for part in (network, finder) if part is not None]
    version = " ".join(["1", *(part.version for part in parts)])
    return Attribute(_COLUMNS, estimate, needs_reading=finder is None, version=version, network=nn.ModuleList(parts))


def _object(batch: AttributeBatch) -> Tensor:
    """``N × h × w`` float32: how much each place is the object; all 0 where there is none."""
    if batch.reading is not None:
        return batch.reading.mask
    mask, clear = batch.foreground
    return mask * clear[:, None, None]


ATTRIBUTE = Attribute(_COLUMNS, measure, needs_reading=True)
