"""Pictures whose attributes are known: rendered scenes, hand-made hard cases of them, and photographs.

No threshold was tuned on any of these. Scenes are of a stream that neither training nor calibration used, photographs
those that ship with scikit-image. What is not known of a case is left out of its truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import max_pool2d

from seedml.captions import COLOURS, GROUNDS
from seedml.models.bundled.scenes import SIDE, Scenes, draw_with_masks, sample_scenes
from seedml.models.bundled.shapes import BOXES

STREAM = 20_261_122
"""Of the scenes here."""
FRAMES = {"white": (252, 252, 252), "black": (3, 3, 3), "cream": (240, 236, 220), "red": (120, 30, 30)}
TINTS = {"sepia": (1.0, 0.85, 0.66), "cyanotype": (0.55, 0.8, 1.0), "red light": (1.0, 0.5, 0.5)}


@dataclass(frozen=True)
class Cases:
    """Pictures of one kind.

    Attributes:
        name: of the kind.
        images: ``N × 3 × H × W`` uint8.
        truth: column -> ``N`` float: what a detector should find; NaN where that is a matter of taste.
        of_seedling: whether the scene parser may read them.

    """

    name: str
    images: Tensor
    truth: Mapping[str, Tensor]
    of_seedling: bool = True


# ------------------------------------------------------------------------------------------------------------- scenes


def rendered(count: int, stream: int = STREAM) -> Iterator[Cases]:
    """Fresh scenes, ``count`` in all, some hundred at a time."""
    for start in range(0, count, 250):
        yield _cases("scenes", sample_scenes(stream, range(start, min(start + 250, count))))


def hard_scenes(count: int = 40) -> Iterator[Cases]:
    """``count`` scenes of each hard kind, all but the first without borders and lettering of their own."""
    plain = _plain_scenes(count)
    snow = torch.full((count,), GROUNDS.index("snow"))
    yield _cases("snow in a white frame", replace(plain, ground=snow, border=torch.ones(count, dtype=torch.int64)))
    yield _cases("snow at noon", replace(plain, ground=snow, time_of_day=torch.ones(count)))
    yield _white_sky("white sky", plain)
    yield _white_sky("white sky over snow", replace(plain, ground=snow))
    night = replace(plain, time_of_day=torch.zeros(count))
    yield _cases("dark night", night)
    yield _cases("dark night in a black frame", replace(night, border=torch.full((count,), 2)))
    gray = torch.ones(count, dtype=torch.bool)
    for colour, border in (("white", 1), ("black", 2)):
        yield _cases(
            f"grayscale in a {colour} frame", replace(plain, grayscale=gray, border=torch.full((count,), border))
        )
    yield _cases("tiny object", _tiny(plain))
    yield from _framed_scenes(plain)


def _plain_scenes(count: int) -> Scenes:
    """In colour, without border and lettering."""
    many = sample_scenes(STREAM + 1, range(4 * count))
    return many[(~many.grayscale & (many.border == 0) & ~many.lettering).nonzero()[:count, 0]]


def _tiny(scenes: Scenes) -> Scenes:
    """A third as wide as they would be: 8 to 10 pixels across."""
    box, half = BOXES[scenes.object], scenes.half_width * 0.35
    offset = torch.stack([(box[:, 0] + box[:, 1]) / 2, -(box[:, 2] + box[:, 3]) / 2], 1)
    centre = scenes.base + half[:, None] * offset
    return replace(scenes, half_width=half, size=scenes.size * 0.35, location=centre / SIDE)


def _cases(name: str, scenes: Scenes) -> Cases:
    return Cases(name, draw_with_masks(scenes)[0], scene_truth(scenes))


def scene_truth(scenes: Scenes) -> dict[str, Tensor]:
    """The labels of scenes under the names of columns."""
    width = torch.where(scenes.border > 0, (5 + 4 * scenes.dice[:, 56]) / SIDE, 0.0)
    return {
        "grayscale": scenes.grayscale.float(), "grayscale_tinted": torch.zeros(len(scenes)),
        "border": (scenes.border > 0).float(), "border_width": width, "lettering": scenes.lettering.float(),
        "sky": scenes.horizon, "location_x": scenes.location[:, 0], "location_y": scenes.location[:, 1],
        "size": scenes.size, "depth": scenes.depth,
    }  # fmt: skip


def _white_sky(name: str, scenes: Scenes) -> Cases:
    """All above the horizon is white but for the object and its outline."""
    images, masks = draw_with_masks(scenes)
    around = max_pool2d(masks[:, None].float(), 5, 1, 2)[:, 0] > 0
    above = (torch.arange(SIDE) + 0.5)[None, :, None] < SIDE * scenes.horizon[:, None, None]
    white = (above & ~around)[:, None]
    truth = scene_truth(scenes)
    colourless = torch.isin(scenes.colour, _at(COLOURS, "black", "white")) & torch.isin(
        scenes.ground, _at(GROUNDS, "snow", "stone")
    )
    truth["grayscale"] = truth["grayscale"].masked_fill(colourless, torch.nan)  # nobody could tell from the picture
    return Cases(name, torch.where(white, 250, images).to(torch.uint8), truth)


def _at(words: Sequence[str], *chosen: str) -> Tensor:
    return torch.tensor([words.index(word) for word in chosen])


def _framed_scenes(scenes: Scenes) -> Iterator[Cases]:
    images, truth = draw_with_masks(scenes)[0], scene_truth(scenes)
    seen = {name: truth[name] for name in ("grayscale", "lettering")}
    for width in (1, 2, 3):
        for colour in ("white", "black"):
            yield _framed(f"{colour} border of {width} px", images, seen, (width,) * 4, FRAMES[colour])
    yield _framed("black bars above and below", images, seen, (0, 0, 14, 14), FRAMES["black"])
    yield _framed("white frame on three sides", images, seen, (8, 8, 8, 0), FRAMES["white"])


def _framed(
    name: str, images: Tensor, truth: Mapping[str, Tensor], widths: Sequence[int], colour: tuple[int, int, int],
    of_seedling: bool = True,
) -> Cases:  # fmt: skip
    """Pictures with a frame of such widths in pixels (left, right, top, bottom)."""
    n, _, height, width = images.shape
    sides = [w / size for w, size in zip(widths, (width, width, height, height), strict=True)]
    known = {
        f"border_{side}": torch.full((n,), w) for side, w in zip(("left", "right", "top", "bottom"), sides, strict=True)
    }
    return Cases(name, frame(images, widths, colour), {**truth, "border": torch.ones(n), **known}, of_seedling)


def frame(images: Tensor, widths: Sequence[int], colour: tuple[int, int, int]) -> Tensor:
    """A copy with bars of these widths in pixels: left, right, top, bottom."""
    framed, paint = images.clone(), torch.tensor(colour, dtype=torch.uint8)[:, None, None]
    left, right, top, bottom = widths
    framed[..., :left], framed[..., framed.shape[3] - right :] = paint, paint
    framed[:, :, :top], framed[:, :, framed.shape[2] - bottom :] = paint, paint
    return framed


# -------------------------------------------------------------------------------------------------------- photographs

_COLOUR = ("astronaut.png", "chelsea.png", "coffee.png", "ihc.png", "motorcycle_left.png", "rocket.jpg")
_GRAY = ("brick.png", "camera.png", "clock_motion.png", "coins.png", "grass.png", "gravel.png", "moon.png")
_NO_LETTERS = ("chelsea.png", "grass.png", "gravel.png", "brick.png")
SIZES = ((128, 128), (512, 512), (97, 141))
"""Height and width in pixels of the photographs' crops."""


def photographs(sizes: Sequence[tuple[int, int]] = SIZES, crops: int = 6) -> Iterator[Cases]:
    """Crops of scikit-image's photographs as they are, desaturated, tinted, framed and lettered."""
    for size in sizes:
        colour, gray = _crops(_COLOUR, size, crops), _crops(_GRAY, size, crops)
        yield _photographs("in colour", colour, {"grayscale": 0, "grayscale_tinted": 0, "border": 0})
        yield _photographs("gray", gray, {"grayscale": 1, "grayscale_tinted": 0, "border": 0})
        yield _photographs("desaturated", _gray(colour), {"grayscale": 1, "grayscale_tinted": 0, "border": 0})
        for name, light in TINTS.items():
            lit = (_gray(colour).float() * torch.tensor(light)[:, None, None]).round().to(torch.uint8)
            yield _photographs(f"under {name}", lit[_light(lit)], {"grayscale": 0, "grayscale_tinted": 1, "border": 0})
        yield from _framed_photographs(colour)
        if min(size) >= 128:
            plain = _crops(_NO_LETTERS, size, 3)
            yield _photographs("without letters", plain, {"lettering": 0})
            yield _photographs("lettered", _lettered(plain), {"lettering": 1})


def _photographs(name: str, images: Tensor, truth: Mapping[str, float]) -> Cases:
    height, width = images.shape[2:]
    known = {column: torch.full((len(images),), float(value)) for column, value in truth.items()}
    return Cases(f"photographs {height}×{width} {name}", images, known, of_seedling=False)


def _crops(names: Sequence[str], size: tuple[int, int], count: int) -> Tensor:
    """``count`` crops of each photograph: the first of all of it, the others of half of its sides or more."""
    import skimage.data

    dice, cut = np.random.default_rng([7, *size]), []
    for name in names:
        with Image.open(Path(skimage.data.data_dir) / name) as file:
            picture = file.convert("RGB")
        for number in range(count):
            share = 1.0 if number == 0 else dice.uniform(0.5, 0.9)
            wide, high = share * picture.width, share * picture.height
            left, top = dice.uniform(0, picture.width - wide), dice.uniform(0, picture.height - high)
            box = (left, top, left + wide, top + high)
            cut.append(np.array(picture.resize(size[::-1], Image.Resampling.LANCZOS, box)))
    return torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).contiguous()


def _gray(images: Tensor) -> Tensor:
    luma = torch.einsum("c,nchw->nhw", torch.tensor([0.299, 0.587, 0.114]), images.float())
    return luma.round().to(torch.uint8)[:, None].expand(-1, 3, -1, -1).contiguous()


def _light(images: Tensor) -> Tensor:
    """Those that are not so dark that a tint could hardly be seen: N bool."""
    return images.float().mean((1, 2, 3)) > 60


def _framed_photographs(images: Tensor) -> Iterator[Cases]:
    side = min(images.shape[2:])
    height, width = images.shape[2:]
    for share in (0.02, 0.06, 0.2):
        for colour, levels in FRAMES.items():
            name = f"photographs {height}×{width} in a {colour} frame of {100 * share:.0f} %"
            yield _framed(name, images, {}, (round(share * side),) * 4, levels, False)
    bars = (0, 0, side // 8, side // 8)
    yield _framed(f"photographs {height}×{width} with bars", images, {}, bars, FRAMES["black"], False)


def _lettered(images: Tensor) -> Tensor:
    """With two lines of text, white with a dark outline, a tenth of the height each."""
    written = []
    for number, picture in enumerate(images.permute(0, 2, 3, 1).numpy()):
        canvas = Image.fromarray(picture.copy())
        size = max(14, picture.shape[0] // 10)
        ImageDraw.Draw(canvas).multiline_text(
            (picture.shape[1] // 10, picture.shape[0] // (3 + number % 3)), "HOTEL\nSeed 42", (250, 250, 250),
            ImageFont.load_default(size), stroke_width=max(1, size // 12), stroke_fill=(10, 10, 10),
        )  # fmt: skip
        written.append(np.array(canvas))
    return torch.from_numpy(np.stack(written)).permute(0, 3, 1, 2).contiguous()
