"""The procedural scenes that seedling is trained on, with labels that are known exactly.

A caption names an object, its colour and the ground. Everything else is *silent*: how much sky there is, where the
object stands, how big and how far it is, the time of day, clouds, hills and sun, and with a probability of
:data:`RATE` each a grayscale picture, a white or black border, and lettering. A model trained on these pictures can
only take the silent attributes from its noise.

Scenes are deterministic in (seed, index): a counter-based hash gives each scene its own stream of numbers. Drawing is
batched tensor code with anti-aliased signed distances and runs on any device. It knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from seedml.captions import COLOURS, GROUNDS, OBJECTS, Caption
from seedml.models.bundled.shapes import BOXES, LAYERS, Layer

SIDE = 128
"""Height and width of a scene in pixels."""
RATE = 0.08
"""Share of training scenes that are grayscale; the same, independently, for borders and for lettering."""
HORIZON = (0.22, 0.78)
"""Range of the share of the picture's height that lies above the horizon, uniform."""
DEPTH = (1.0, 1.6)
"""Range of the object's distance in units of the nearest, uniform."""

_PALETTE = {  # luma about 0.1 apart, so that the colour can also be read from a grayscale picture
    "black": (15, 15, 15), "brown": (84, 42, 16), "purple": (110, 40, 160), "blue": (30, 100, 235),
    "red": (240, 66, 56), "green": (55, 205, 80), "orange": (255, 150, 30), "pink": (255, 160, 200),
    "yellow": (255, 232, 70), "white": (250, 250, 250),
}  # fmt: skip
_GROUND = {
    "grass": (84, 140, 52), "sand": (222, 190, 130), "snow": (240, 244, 250),
    "water": (36, 92, 150), "stone": (142, 142, 146), "wood": (128, 80, 44),
}  # fmt: skip
_SLOTS = 72  # uniform numbers a scene may use
_PATCH = 88  # px; holds the largest object with its outline
_LETTERS = 7  # longest lettering


@dataclass(frozen=True)
class Scenes:
    """Labels of N scenes; positions and lengths are fractions of the picture's side, measured from the top left."""

    object: Tensor
    """N int64, index into ``OBJECTS``."""
    colour: Tensor
    """N int64, index into ``COLOURS``."""
    ground: Tensor
    """N int64, index into ``GROUNDS``."""
    grayscale: Tensor
    """N bool."""
    border: Tensor
    """N int64: 0 none, 1 white, 2 black."""
    lettering: Tensor
    """N bool."""
    horizon: Tensor
    """N float32: share of the height above the horizon."""
    time_of_day: Tensor
    """N float32: 0 night, 1 noon."""
    location: Tensor
    """N×2 float32: x and y of the centre of the object's box."""
    size: Tensor
    """N float32: square root of the area of the object's box."""
    depth: Tensor
    """N float32: 0 nearest, 1 farthest."""
    half_width: Tensor
    """N float32, pixels: the unit of the object's own coordinates."""
    base: Tensor
    """N×2 float32, pixels: where the object touches the ground."""
    dice: Tensor
    """N×72 float32 in [0, 1): what the remaining details are drawn from."""

    def __len__(self) -> int:
        return len(self.object)

    def __getitem__(self, rows: Tensor | slice) -> Scenes:
        return Scenes(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def to(self, device: torch.device | str) -> Scenes:
        """The same labels on another device."""
        return Scenes(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})

    def captions(self) -> list[Caption]:
        """What the captions say, one a scene."""
        return [Caption(*row) for row in torch.stack([self.object, self.colour, self.ground], 1).tolist()]


def uniform(seed: int, indices: np.ndarray) -> np.ndarray:
    """Independent uniform numbers that depend on (seed, index) alone.

    SplitMix64's finaliser over a counter (Steele, Lea and Flood, OOPSLA 2014).

    Args:
        seed: 0 … 2^63-1.
        indices: N int64.

    Returns:
        N×72 float32 in [0, 1).

    """
    with np.errstate(over="ignore"):
        stream = np.uint64(seed) * np.uint64(0xD1342543DE82EF95) + np.uint64(0x9E3779B97F4A7C15)
        counter = indices.astype(np.uint64)[:, None] * np.uint64(_SLOTS) + np.arange(_SLOTS, dtype=np.uint64)
        z = _mix(_mix(counter * np.uint64(0x9E3779B97F4A7C15) + stream) ^ stream)
    return ((z >> np.uint64(40)).astype(np.float32)) * np.float32(2.0**-24)


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = z ^ (z >> np.uint64(31))
    return mixed


def sample_scenes(seed: int, indices: Sequence[int] | np.ndarray, captions: Sequence[Caption] | None = None) -> Scenes:
    """Labels of the scenes ``indices`` of the stream ``seed``.

    Args:
        seed: which stream, 0 … 2^63-1.
        indices: which scenes of it; a scene does not depend on its companions.
        captions: what the scenes show, one an index; drawn uniformly where not given.

    """
    dice = torch.from_numpy(uniform(seed, np.asarray(indices, dtype=np.int64)))
    said = _sample_captions(dice) if captions is None else torch.tensor(captions, dtype=torch.int64).reshape(-1, 3)
    if len(said) != len(dice):
        raise ValueError(f"one caption a scene is needed; given: {len(said)} for {len(dice)} scenes")
    box = BOXES[said[:, 0]]
    horizon = HORIZON[0] + (HORIZON[1] - HORIZON[0]) * dice[:, 3]
    depth = dice[:, 4]
    distance = DEPTH[0] + (DEPTH[1] - DEPTH[0]) * depth
    half = (26.0 + 6.0 * dice[:, 5]) / distance
    margin = half + 11.0
    base = torch.stack(
        [margin + (SIDE - 2 * margin) * dice[:, 6], SIDE * horizon + (SIDE - 11.0 - SIDE * horizon) / distance], 1
    )
    centre = base + half[:, None] * torch.stack([(box[:, 0] + box[:, 1]) / 2, -(box[:, 2] + box[:, 3]) / 2], 1)
    extent = half * ((box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2])).sqrt()
    border = torch.where(dice[:, 8] < RATE, 1 + (dice[:, 9] < 0.5).long(), 0)
    return Scenes(
        object=said[:, 0], colour=said[:, 1], ground=said[:, 2], grayscale=dice[:, 7] < RATE, border=border,
        lettering=dice[:, 10] < RATE, horizon=horizon, time_of_day=dice[:, 11], location=centre / SIDE,
        size=extent / SIDE, depth=depth, half_width=half, base=base, dice=dice,
    )  # fmt: skip


def _sample_captions(dice: Tensor) -> Tensor:
    counts = torch.tensor([len(OBJECTS), len(COLOURS), len(GROUNDS)])
    return (dice[:, :3] * counts).long()


# ------------------------------------------------------------------------------------------------------------ drawing


def draw(scenes: Scenes) -> Tensor:
    """The scenes' pictures: N×3×128×128 uint8, 0..255, on the scenes' device."""
    return draw_with_masks(scenes)[0]


def draw_with_masks(scenes: Scenes) -> tuple[Tensor, Tensor]:
    """Pictures and object masks.

    Returns:
        N×3×128×128 uint8 pictures, and N×128×128 bool masks: true where the object covers over half of a pixel.

    """
    device = scenes.dice.device
    y, x = torch.meshgrid(
        torch.arange(SIDE, device=device) + 0.5, torch.arange(SIDE, device=device) + 0.5, indexing="ij"
    )
    picture = _sky(scenes, x, y)
    _over(picture, _hills(scenes, x, y), _hill_colour(scenes))
    ground = (y - SIDE * _px(scenes.horizon) + 0.5).clamp(0, 1)
    picture.lerp_(_ground(scenes, x, y), ground[:, None])
    mask = _place_object(picture, scenes)
    _letter(picture, scenes, x, y)
    picture = _desaturate(picture, scenes.grayscale)
    _frame(picture, scenes, x, y)
    return (picture * 255).round_().clamp_(0, 255).to(torch.uint8), mask


def _px(values: Tensor) -> Tensor:
    """N -> N×1×1, to meet an image plane."""
    return values[:, None, None]


def _over(picture: Tensor, alpha: Tensor, colour: Tensor) -> None:
    """Lay a flat colour (N×3) over the picture with opacity alpha (N×H×W), in place."""
    picture.lerp_(colour[:, :, None, None].expand_as(picture), alpha[:, None])


def _coverage(distance: Tensor) -> Tensor:
    """Signed distance in pixels (negative inside) -> share of the pixel that is covered."""
    return (0.5 - distance).clamp_(0, 1)


def _keyframes(time: Tensor, frames: Sequence[tuple[int, int, int]]) -> Tensor:
    """Colours at times in [0, 1] between evenly spaced key colours: N -> N×3 in [0, 1]."""
    colours = torch.tensor(frames, device=time.device, dtype=torch.float32) / 255
    position = time * (len(frames) - 1)
    low = position.long().clamp(max=len(frames) - 2)
    return torch.lerp(colours[low], colours[low + 1], (position - low)[:, None])


def _brightness(scenes: Scenes) -> Tensor:
    return 0.55 + 0.45 * scenes.time_of_day


def _sky(scenes: Scenes, x: Tensor, y: Tensor) -> Tensor:
    dice = scenes.dice
    top = _keyframes(scenes.time_of_day, [(12, 16, 48), (70, 60, 130), (70, 140, 230)])
    low = _keyframes(scenes.time_of_day, [(44, 52, 100), (250, 160, 110), (200, 226, 250)])
    down = (y[None] / (SIDE * _px(scenes.horizon))).clamp_(0, 1)
    sky = torch.lerp(top[:, :, None, None], low[:, :, None, None], down[:, None])
    sun_x, sun_y = SIDE * dice[:, 12], SIDE * scenes.horizon * (0.15 + 0.7 * dice[:, 13])
    radius = 5 + 4 * dice[:, 14]
    disc = (x - _px(sun_x)).square().add_((y - _px(sun_y)).square()).sqrt_().sub_(_px(radius))
    _over(sky, _coverage(disc), _keyframes(scenes.time_of_day, [(235, 235, 220), (255, 190, 90), (255, 240, 150)]))
    _over(sky, _clouds(scenes, x, y), _keyframes(scenes.time_of_day, [(80, 86, 120), (240, 190, 180), (255, 255, 255)]))
    return sky


def _clouds(scenes: Scenes, x: Tensor, y: Tensor) -> Tensor:
    """Opacity of two soft clouds, each a wide ellipse with a bump."""
    dice, cover = scenes.dice, None
    for k in range(2):
        cx, cy, width, lean = (dice[:, 16 + 4 * k + j] for j in range(4))
        centre_x, centre_y = _px(SIDE * cx), _px(SIDE * scenes.horizon * (0.1 + 0.75 * cy))
        half = _px(9 + 14 * width)
        dx, dy = (x - centre_x) / half, (y - centre_y) / (half * 0.38)
        wide = dx.square().add_(dy.square())
        bump = (dx - _px(lean - 0.5)).square_().mul_(3.0).add_((dy + 0.8).square_().mul_(0.9))
        blob = torch.minimum(wide, bump)
        cover = blob if cover is None else torch.minimum(cover, blob)
    assert cover is not None
    return (1.25 - cover).clamp_(0, 0.5).mul_(1.8)


def _hills(scenes: Scenes, x: Tensor, y: Tensor) -> Tensor:
    dice, across = scenes.dice, x[0] * (2 * torch.pi / SIDE)
    waves = 0.6 * torch.sin(across * (0.7 + dice[:, 30:31]) + 6.3 * dice[:, 31:32])
    waves = waves + 0.4 * torch.sin(across * (1.8 + 1.5 * dice[:, 32:33]) + 6.3 * dice[:, 33:34])
    height = (2 + 16 * dice[:, 34:35]) * (0.5 + 0.5 * waves)  # N×W, px above the horizon
    return (y - (SIDE * _px(scenes.horizon) - height[:, None, :]) + 0.5).clamp_(0, 1)


def _hill_colour(scenes: Scenes) -> Tensor:
    return _keyframes(scenes.time_of_day, [(24, 30, 62), (110, 80, 120), (110, 140, 160)])


def _ground(scenes: Scenes, x: Tensor, y: Tensor) -> Tensor:
    """The textured ground over the whole plane: N×3×H×W in [0, 1]."""
    plain = torch.tensor([_GROUND[name] for name in GROUNDS], device=x.device, dtype=torch.float32) / 255
    below = (y - SIDE * _px(scenes.horizon)).clamp_(min=1.0)
    texture = torch.empty_like(below)
    for index, pattern in enumerate(_TEXTURES):
        rows = (scenes.ground == index).nonzero()[:, 0]
        if len(rows):
            texture[rows] = pattern(x, y, below[rows], scenes.dice[rows, 36:42])
    far = (below / 18).clamp_(max=1)  # textures fade towards the horizon, where they would be finer than a pixel
    shade = texture.sub_(1).mul_(far).add_(1).mul_(_px(_brightness(scenes)))
    return plain[scenes.ground][:, :, None, None] * shade[:, None]


def _grass(x: Tensor, y: Tensor, below: Tensor, dice: Tensor) -> Tensor:
    tufts = torch.sin(x * 0.45 + 2 * torch.sin(y * 0.22 + 6.3 * _px(dice[:, 0])) + 6.3 * _px(dice[:, 1]))
    return 1 + 0.2 * tufts * torch.sin(y * 0.5 + 6.3 * _px(dice[:, 2]))


def _sand(x: Tensor, y: Tensor, below: Tensor, dice: Tensor) -> Tensor:
    bend = 1.5 * torch.sin(x * (0.03 + 0.05 * _px(dice[:, 0])) + 6.3 * _px(dice[:, 1]))
    return 1 + 0.09 * torch.sin(14 * below.log() + bend + 6.3 * _px(dice[:, 2]))


def _snow(x: Tensor, y: Tensor, below: Tensor, dice: Tensor) -> Tensor:
    drift = torch.sin(x * 0.05 + 6.3 * _px(dice[:, 0])) * torch.sin(y * 0.09 + 6.3 * _px(dice[:, 1]))
    return 1.0 + 0.05 * drift


def _water(x: Tensor, y: Tensor, below: Tensor, dice: Tensor) -> Tensor:
    ripple = torch.sin(11 * below.log() + 6.3 * _px(dice[:, 0]) + 0.5 * torch.sin(x * 0.16 + 6.3 * _px(dice[:, 1])))
    glint = (ripple + torch.sin(x * 0.11 + y * 0.5 + 6.3 * _px(dice[:, 2])) - 1.0).clamp_(0, 1)
    return 1 + 1.1 * glint


def _stone(x: Tensor, y: Tensor, below: Tensor, dice: Tensor) -> Tensor:
    row = (6.0 * below.log() + _px(dice[:, 0])).contiguous()
    shift = row.floor().remainder(2) * 0.5
    column = (x - SIDE / 2) / (below + 24) * 2.6 + shift + _px(dice[:, 1])
    gap = torch.minimum((row - row.round()).abs(), (column - column.round()).abs() * 1.3)
    return 1.06 - 0.4 * (1 - gap * 9).clamp_(0, 1)


def _wood(x: Tensor, y: Tensor, below: Tensor, dice: Tensor) -> Tensor:
    column = (x - SIDE / 2) / (below + 24) * 4.0 + _px(dice[:, 0])
    plank = column.floor()
    tone = torch.sin(plank * 2.4 + 6.3 * _px(dice[:, 1])) * 0.12
    return 1.05 + tone - 0.45 * (1 - (column - column.round()).abs() * 10).clamp_(0, 1)


_TEXTURES: tuple[Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], ...] = (
    _grass, _sand, _snow, _water, _stone, _wood,
)  # fmt: skip


def _place_object(picture: Tensor, scenes: Scenes) -> Tensor:
    """Draw each scene's object with its shadow into the picture, in place, and return its mask (N×H×W bool)."""
    device, n = picture.device, len(scenes)
    left = (scenes.base[:, 0] - _PATCH / 2).round().clamp(0, SIDE - _PATCH)
    top = (scenes.base[:, 1] - 0.8 * _PATCH).round().clamp(0, SIDE - _PATCH)
    steps = torch.arange(_PATCH, device=device)
    rows, columns = top[:, None].long() + steps, left[:, None].long() + steps
    u = ((columns + 0.5) - scenes.base[:, :1])[:, None, :] / _px(scenes.half_width)
    v = (scenes.base[:, 1:] - (rows + 0.5))[:, :, None] / _px(scenes.half_width)
    u, v = u.expand(n, _PATCH, _PATCH), v.expand(n, _PATCH, _PATCH)
    at = (torch.arange(n, device=device)[:, None, None], slice(None), rows[:, :, None], columns[:, None, :])
    patch = picture[at].permute(0, 3, 1, 2).contiguous()
    shadow = ((u / 1.05).square() + (v / 0.22).square()).sqrt_()
    patch.mul_(1 - (1.25 - shadow).clamp_(0, 0.35)[:, None])
    cover = torch.zeros(n, _PATCH, _PATCH, device=device)
    for index, layers in enumerate(LAYERS):
        chosen = (scenes.object == index).nonzero()[:, 0]
        if len(chosen):
            patch[chosen], cover[chosen] = _paint(patch[chosen], layers(u[chosen], v[chosen]), scenes[chosen])
    picture[at] = patch.permute(0, 2, 3, 1)
    mask = torch.zeros(n, SIDE, SIDE, dtype=torch.bool, device=device)
    mask[at[0], at[2], at[3]] = cover > 0.5
    return mask


def _paint(patch: Tensor, layers: list[Layer], scenes: Scenes) -> tuple[Tensor, Tensor]:
    """Paint one kind of object: outline first, then its layers. Returns the patch and the object's coverage."""
    paints = _paints(scenes)
    unit = _px(scenes.half_width)
    outline = layers[0][0]
    for distance, _ in layers[1:]:
        outline = torch.minimum(outline, distance)
    _over(patch, _coverage(outline * unit - 1.0), paints["outline"])
    for distance, paint in layers:
        _over(patch, _coverage(distance * unit), paints[paint])
    return patch, _coverage(outline * unit)


def _paints(scenes: Scenes) -> dict[str, Tensor]:
    palette = torch.tensor([_PALETTE[name] for name in COLOURS], device=scenes.dice.device, dtype=torch.float32) / 255
    body = palette[scenes.colour]
    deep = (scenes.colour <= COLOURS.index("purple"))[:, None]  # dark bodies get light details, so that all can be seen
    return {
        "body": body,
        "shade": torch.where(deep, body + 0.14, body * 0.8),
        "light": torch.where(scenes.colour[:, None] == COLOURS.index("white"), body * 0.0 + 0.62, body * 0.0 + 0.97),
        "dark": torch.where(deep, body * 0.0 + 0.42, body * 0.0 + 0.14),
        "outline": torch.where(deep, body * 0.0 + 0.82, body * 0.0 + 0.1),
    }


# ----------------------------------------------------------------------------------------- grayscale, border, letters

_FONT = {  # 5 × 7 capitals, a row a number, most significant bit left
    "A": (14, 17, 17, 31, 17, 17, 17), "C": (14, 17, 16, 16, 16, 17, 14), "E": (31, 16, 16, 30, 16, 16, 31),
    "H": (17, 17, 17, 31, 17, 17, 17), "I": (14, 4, 4, 4, 4, 4, 14), "L": (16, 16, 16, 16, 16, 16, 31),
    "M": (17, 27, 21, 21, 17, 17, 17), "N": (17, 25, 21, 19, 17, 17, 17), "O": (14, 17, 17, 17, 17, 17, 14),
    "P": (30, 17, 17, 30, 16, 16, 16), "R": (30, 17, 17, 30, 20, 18, 17), "S": (15, 16, 16, 14, 1, 1, 30),
    "T": (31, 4, 4, 4, 4, 4, 4), "U": (17, 17, 17, 17, 17, 17, 14), "V": (17, 17, 17, 17, 17, 10, 4),
    "X": (17, 10, 4, 4, 4, 10, 17),
}  # fmt: skip


def _glyphs(device: torch.device) -> Tensor:
    rows = torch.tensor(list(_FONT.values()), device=device)
    return ((rows[:, :, None] >> torch.arange(4, -1, -1, device=device)) & 1).float()


def lettering_boxes(scenes: Scenes) -> Tensor:
    """Where lettering is or would be: N×4 float32 pixels (left, top, right, bottom)."""
    left, top, pixel, count = _strip(scenes)
    return torch.stack([left, top, left + 6 * count * pixel, top + 7 * pixel], 1)


def _strip(scenes: Scenes) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Left and top edge of the lettering, size of a font's pixel (all in pixels), and the number of letters."""
    dice = scenes.dice
    count = 4 + (dice[:, 44] * 4).long()
    pixel = torch.minimum(1.9 + 0.7 * dice[:, 52], 100.0 / (6 * count))
    left = 13 + (102 - 6 * count * pixel).clamp(min=0) * dice[:, 53]
    above = scenes.location[:, 1] * SIDE - scenes.size * SIDE / 2
    return left, torch.where(above > 32, 13.0, 113.0 - 7 * pixel), pixel, count


def _letter(picture: Tensor, scenes: Scenes, x: Tensor, y: Tensor) -> None:
    """Write four to seven capitals across the top or the bottom, in place, where the scene has lettering."""
    rows = scenes.lettering.nonzero()[:, 0]
    if not len(rows):
        return
    dice, glyphs = scenes.dice[rows], _glyphs(picture.device)
    left, high, pixel, count = _strip(scenes[rows])
    letters = glyphs[(dice[:, 45 : 45 + _LETTERS] * len(glyphs)).long()]
    letters = letters * (torch.arange(_LETTERS, device=picture.device) < count[:, None])[:, :, None, None]
    strip = torch.nn.functional.pad(letters, (0, 1)).permute(0, 2, 1, 3).reshape(len(rows), 1, 7, 6 * _LETTERS)
    column, row = (x - _px(left)) / _px(pixel), (y - _px(high)) / _px(pixel)
    grid = torch.stack([column / (3 * _LETTERS) - 1, row / 3.5 - 1], -1)
    ink = torch.nn.functional.grid_sample(strip, grid, align_corners=False)[:, 0].mul_(2).sub_(0.5).clamp_(0, 1)
    colour = torch.where(dice[:, 54:55] < 0.5, 0.98, 0.04).expand(-1, 3)
    halo = torch.nn.functional.max_pool2d(ink, 3, stride=1, padding=1)  # legible on any ground
    written = picture[rows]
    _over(written, halo, 1 - colour)
    _over(written, ink, colour)
    picture[rows] = written


def _desaturate(picture: Tensor, gray: Tensor) -> Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114], device=picture.device)
    rows = gray.nonzero()[:, 0]
    luma = (picture[rows] * weights[:, None, None]).sum(1, keepdim=True)
    picture[rows] = luma.expand(-1, 3, -1, -1)
    return picture


def _frame(picture: Tensor, scenes: Scenes, x: Tensor, y: Tensor) -> None:
    """Paint a white or black border of 5 to 9 pixels, in place, where the scene has one."""
    rows = (scenes.border > 0).nonzero()[:, 0]
    width = _px(5 + 4 * scenes.dice[rows, 56])
    inner = torch.minimum(torch.minimum(x, SIDE - x), torch.minimum(y, SIDE - y))
    colour = torch.where(scenes.border[rows, None] == 1, 0.99, 0.01).expand(-1, 3)
    framed = picture[rows]
    _over(framed, _coverage(inner - width), colour)
    picture[rows] = framed
