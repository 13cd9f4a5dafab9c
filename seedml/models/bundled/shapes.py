"""The ten objects of seedling's scenes as signed distances.

In an object's own coordinates u points right, v up, (0, 0) is where it touches the ground, and the unit is half of its
greatest width. A signed distance is in these units and negative inside. Knows no colours, places or pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor


def _circle(u: Tensor, v: Tensor, x: float, y: float, radius: float) -> Tensor:
    return ((u - x).square_() + (v - y).square_()).sqrt_() - radius


def _rectangle(u: Tensor, v: Tensor, left: float, right: float, low: float, high: float) -> Tensor:
    return torch.maximum(
        (u - (left + right) / 2).abs_() - (right - left) / 2, (v - (low + high) / 2).abs_() - (high - low) / 2
    )


def _convex(u: Tensor, v: Tensor, corners: Sequence[tuple[float, float]]) -> Tensor:
    """A convex polygon, corners counter-clockwise: the largest distance to its edges' half planes."""
    distance: Tensor | None = None
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        edge = (u - x0) * ((y1 - y0) / length) - (v - y0) * ((x1 - x0) / length)
        distance = edge if distance is None else torch.maximum(distance, edge)
    assert distance is not None
    return distance


def _star(u: Tensor, v: Tensor) -> Tensor:
    """Five points: the plane is folded to one tenth, where the star is one half plane."""
    radius = (u.square() + (v - 0.98).square()).sqrt()
    angle = torch.atan2(u, v - 0.98)
    fifth = 2 * torch.pi / 5
    folded = (angle - fifth * (angle / fifth).round()).abs()
    a, b = radius * torch.cos(folded), radius * torch.sin(folded)
    tip, notch = (1.05, 0.0), (0.47 * np.cos(np.pi / 5), 0.47 * np.sin(np.pi / 5))
    length = ((notch[0] - tip[0]) ** 2 + notch[1] ** 2) ** 0.5
    distance: Tensor = (a - tip[0]) * (notch[1] / length) - b * ((notch[0] - tip[0]) / length)
    return distance


def _heart(u: Tensor, v: Tensor) -> Tensor:
    side = u.abs()
    lobe = _circle(side, v, 0.49, 1.36, 0.51)
    point = _convex(side, v, [(-1.0, 1.42), (-1.0, -0.98), (0.0, 0.02), (0.925, 1.09), (0.5, 1.42)])
    return torch.minimum(lobe, point)


Layer = tuple[Tensor, str]
"""A signed distance and what it is painted with: ``body``, ``shade`` (darker body), ``light``, or ``dark``."""


def _ball_layers(u: Tensor, v: Tensor) -> list[Layer]:
    return [(_circle(u, v, 0, 1, 1), "body"), (_circle(u, v, -0.36, 1.38, 0.2), "light")]


def _box_layers(u: Tensor, v: Tensor) -> list[Layer]:
    return [
        (_convex(u, v, [(-1, 0), (0.5, 0), (1, 0.4), (1, 1.8), (-0.5, 1.8), (-1, 1.4)]), "body"),
        (_convex(u, v, [(0.5, 0), (1, 0.4), (1, 1.8), (0.5, 1.4)]), "shade"),
        (_convex(u, v, [(-1, 1.34), (0.5, 1.34), (0.56, 1.46), (-0.94, 1.46)]), "shade"),
    ]


def _cone_layers(u: Tensor, v: Tensor) -> list[Layer]:
    cone = _convex(u, v, [(-0.72, 0.12), (0.72, 0.12), (0.08, 2), (-0.08, 2)])
    stripe = torch.maximum(cone, (v - 1.1).abs() - 0.14)
    return [(cone, "body"), (_rectangle(u, v, -0.95, 0.95, 0, 0.22), "body"), (stripe, "light")]


def _house_layers(u: Tensor, v: Tensor) -> list[Layer]:
    return [
        (_rectangle(u, v, -0.8, 0.8, 0, 1.1), "body"),
        (_convex(u, v, [(-1, 1.05), (1, 1.05), (0, 1.95)]), "shade"),
        (_rectangle(u, v, -0.52, -0.12, 0, 0.66), "dark"),
        (_rectangle(u, v, 0.16, 0.58, 0.4, 0.8), "light"),
    ]


def _tree_layers(u: Tensor, v: Tensor) -> list[Layer]:
    crown = torch.minimum(_circle(u, v, -0.42, 1.05, 0.5), _circle(u, v, 0.42, 1.05, 0.5))
    return [
        (_rectangle(u, v, -0.16, 0.16, 0, 0.8), "dark"),
        (torch.minimum(crown, _circle(u, v, 0, 1.45, 0.55)), "body"),
    ]


def _car_layers(u: Tensor, v: Tensor) -> list[Layer]:
    return [
        (_convex(u, v, [(-0.62, 0.6), (0.7, 0.6), (0.42, 1.15), (-0.4, 1.15)]), "body"),
        (_rectangle(u, v, -1, 1, 0.22, 0.7), "body"),
        (_convex(u, v, [(-0.42, 0.7), (-0.02, 0.7), (-0.02, 1.02), (-0.3, 1.02)]), "light"),
        (_convex(u, v, [(0.1, 0.7), (0.5, 0.7), (0.33, 1.02), (0.1, 1.02)]), "light"),
        (torch.minimum(_circle(u, v, -0.52, 0.25, 0.25), _circle(u, v, 0.52, 0.25, 0.25)), "dark"),
    ]


def _star_layers(u: Tensor, v: Tensor) -> list[Layer]:
    return [(_star(u, v), "body")]


def _heart_layers(u: Tensor, v: Tensor) -> list[Layer]:
    return [(_heart(u, v), "body")]


def _mushroom_layers(u: Tensor, v: Tensor) -> list[Layer]:
    cap = torch.maximum(((u / 1.0).square() + ((v - 0.85) / 1.05).square()).sqrt() - 1, 0.8 - v)
    dots = torch.minimum(_circle(u, v, -0.4, 1.2, 0.16), _circle(u, v, 0.32, 1.35, 0.18))
    return [(_rectangle(u, v, -0.3, 0.3, 0, 0.95), "light"), (cap, "body"), (dots, "light")]


def _mug_layers(u: Tensor, v: Tensor) -> list[Layer]:
    handle = _circle(u, v, 0.55, 0.85, 0.33).abs() - 0.12
    return [
        (handle, "body"),
        (_rectangle(u, v, -1, 0.55, 0, 1.6), "body"),
        (_rectangle(u, v, -0.88, 0.43, 1.38, 1.52), "dark"),
    ]


LAYERS: tuple[Callable[[Tensor, Tensor], list[Layer]], ...] = (
    _ball_layers, _box_layers, _cone_layers, _house_layers, _tree_layers,
    _car_layers, _star_layers, _heart_layers, _mushroom_layers, _mug_layers,
)  # fmt: skip
BOXES = torch.tensor(  # left, right, low, high of each object in its own units
    [
        (-1, 1, 0, 2), (-1, 1, 0, 1.8), (-0.95, 0.95, 0, 2), (-1, 1, 0, 1.95), (-0.92, 0.92, 0, 2),
        (-1, 1, 0, 1.15), (-1, 1, 0.13, 2.03), (-1, 1, 0.02, 1.87), (-1, 1, 0, 1.9), (-1, 1, 0, 1.6),
    ]
)  # fmt: skip
