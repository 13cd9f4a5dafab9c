"""Pictures with masks that are to be filled: rendered scenes, or a folder of one's own.

Two tasks. ``removal``: the object is masked, and the caption speaks of the ground alone. ``outpainting``: the outer
frame is masked, and the caption is the picture's. Knows no model and no seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from seedml.captions import GROUNDS, parse_caption
from seedml.errors import UserError
from seedml.files import sha256_of
from seedml.models.bundled.scenes import draw_with_masks, sample_scenes
from seedml.models.inpainting import whole_cells
from seedml.prompts import Prompt

REMOVAL, OUTPAINTING = "removal", "outpainting"
TASKS = (REMOVAL, OUTPAINTING)
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
MASK = ".mask.png"

_STREAM = 857
"""Of the rendered scenes: one that neither training nor the reference draws from."""
_AROUND = 6 / 128
"""What is masked around a rendered object, as a share of the side: its outline and its shadow."""


@dataclass(frozen=True)
class Task:
    """A mask to be filled.

    Attributes:
        kind: ``removal`` or ``outpainting``.
        number: of the picture; its tasks share it.
        picture: ``3 × H × W`` uint8.
        mask: ``H × W`` bool, true where it is to be filled.
        prompt: what the filled picture shows.

    """

    kind: str
    number: int
    picture: Tensor
    mask: Tensor
    prompt: str


@dataclass(frozen=True)
class Canvas:
    """What a model can fill.

    Attributes:
        height, width: pixels.
        cell: pixels of a latent position along a side.
        frame: width of the frame of outpainting, as a share of the side.

    """

    height: int
    width: int
    cell: int
    frame: float

    def framed(self) -> Tensor:
        """The mask of outpainting, ``H × W`` bool.

        Raises:
            UserError: nothing or everything would be masked.

        """
        mask = torch.ones(self.height, self.width, dtype=torch.bool)
        across, down = (self._whole(self.frame * side) for side in (self.width, self.height))
        mask[down : self.height - down, across : self.width - across] = False
        if not across or not down or mask.all():
            raise UserError("apply.inpaint_frame leaves nothing to fill or nothing to see", given=self.frame,
                            legal=f"a share of {self.width} × {self.height} pixels in squares of {self.cell}",
                            remedy="take 0.25")  # fmt: skip
        return mask

    def _whole(self, length: float) -> int:
        return round(length / self.cell) * self.cell


def rendered(prompts: Sequence[Prompt], canvas: Canvas, first: int = 0) -> list[Task]:
    """Both tasks of a rendered scene of each prompt, without border, lettering and loss of colour.

    Args:
        prompts: captions of the bundled world.
        canvas: what the model can fill.
        first: number of the first picture.

    """
    said = [parse_caption(prompt.text) for prompt in prompts]
    captions = [caption for caption in said if caption is not None]
    assert len(captions) == len(prompts), "captions of the bundled world"
    scenes = sample_scenes(_STREAM, [prompt.prompt_id for prompt in prompts], captions)
    none = torch.zeros(len(scenes), dtype=torch.bool)
    pictures, objects = draw_with_masks(replace(scenes, grayscale=none, border=none.long(), lettering=none))
    size = (canvas.height, canvas.width)
    pictures = interpolate(pictures.float(), size, mode="bilinear", antialias=True).round().clamp(0, 255).byte()
    reach = 2 * round(_AROUND * objects.shape[1]) + 1
    around = interpolate(max_pool2d(objects[:, None].float(), reach, 1, reach // 2), size)[:, 0] > 0.5
    found = []
    for at, (prompt, caption) in enumerate(zip(prompts, captions, strict=True)):
        removal = Task(REMOVAL, first + at, pictures[at], whole_cells(around[at], canvas.cell), GROUNDS[caption.ground])
        found += [removal, Task(OUTPAINTING, first + at, pictures[at], canvas.framed(), prompt.text)]
    return found


def of_folder(folder: Path, canvas: Canvas) -> list[Task]:
    """The tasks of each picture in a folder, by file name; pictures are brought to the model's size.

    Beside ``beach.jpg``: ``beach.txt``, whose first line says what the picture shows and whose second line what is left
    without the object, and ``beach.mask.png``, of the picture's size and white on the object. Without a mask there is
    outpainting alone.

    Raises:
        UserError: no pictures, or fewer than four; two of one name; one without text; a mask of another size, an
            empty one, or one without a second line of text; no image file.

    """
    files = [path for path in _pictures(folder) if not path.name.endswith(MASK)]
    if len(files) < 4:
        raise UserError("apply.inpaint_folder holds too few pictures", given=len(files), legal="four or more, "
                        f"{', '.join(PICTURES)}", remedy="add pictures, each with its .txt")  # fmt: skip
    return [task for number, path in enumerate(files) for task in _tasks_of(path, number, canvas)]


def count_tasks(folder: Path) -> int:
    """How many tasks :func:`of_folder` will give.

    Raises:
        UserError: there is no such folder, or two pictures in it have one name.

    """
    names = {path.name for path in _pictures(folder)}
    pictures = [Path(name) for name in names if not name.endswith(MASK)]
    return len(pictures) + sum(path.stem + MASK in names for path in pictures)


def _pictures(folder: Path) -> list[Path]:
    """Pictures and masks, by name; of a name there is one picture, or caption and mask would belong to several."""
    if not folder.is_dir():
        raise UserError("apply.inpaint_folder: no such folder", given=str(folder), remedy="correct the path")
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in PICTURES]
    by_stem: dict[str, Path] = {}
    for path in (path for path in found if not path.name.endswith(MASK)):
        other = by_stem.setdefault(path.stem, path)
        if other != path:
            raise UserError(
                f"{other.name} and {path.name} in {folder} would share {path.stem}.txt and {path.stem}{MASK}",
                legal="pictures whose names differ before the ending", remedy="rename or remove one of them",
            )  # fmt: skip
    return found


def hashes_of(folder: Path) -> dict[str, str]:
    """File -> hash, of all that :func:`of_folder` reads.

    Raises:
        UserError: there is no such folder, or two pictures in it have one name.

    """
    files = _pictures(folder)
    texts = {path.with_suffix(".txt") for path in files}
    return {path.name: sha256_of(path) for path in [*files, *sorted(texts)] if path.is_file()}


def _tasks_of(path: Path, number: int, canvas: Canvas) -> list[Task]:
    picture, text = _opened(path), path.with_suffix(".txt")
    lines = _read(text).strip().splitlines() if text.is_file() else []
    if not lines:
        raise UserError(f"{path} has no caption", given=f"{text}, missing or empty",
                        remedy=f"write what the picture shows into {text}")  # fmt: skip
    small = picture.resize((canvas.width, canvas.height), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous()
    tasks = [Task(OUTPAINTING, number, pixels, canvas.framed(), lines[0].strip())]
    mask = path.with_name(path.stem + MASK)
    if mask.is_file():
        if len(lines) < 2:
            raise UserError(f"{text} does not say what is left without the object", given=f"{len(lines)} line",
                            legal="two: the picture, and the ground", remedy="add a second line")  # fmt: skip
        tasks.insert(0, Task(REMOVAL, number, pixels, _mask(mask, picture.size, canvas), lines[1].strip()))
    return tasks


def _mask(path: Path, size: tuple[int, int], canvas: Canvas) -> Tensor:
    """The mask of a file: white, by half or more, is filled. Enlarged to whole cells of the model."""
    mask = _opened(path).convert("L")
    if mask.size != size:
        raise UserError(f"{path} is of another size than its picture", given="{} × {}".format(*mask.size),
                        legal="{} × {} pixels".format(*size), remedy="paint it over the picture itself")  # fmt: skip
    white = torch.from_numpy(np.array(mask)) >= 128
    if not white.any() or white.all():
        raise UserError(f"{path} masks {'everything' if white.any() else 'nothing'}", legal="white on the object alone",
                        remedy="paint the object white, or delete the mask")  # fmt: skip
    covered = interpolate(white[None, None].float(), (canvas.height, canvas.width), mode="area")[0, 0]
    return whole_cells(covered > 0, canvas.cell)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error})", legal="UTF-8", remedy="save it anew") from error


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # as Pillow has it
        raise UserError(f"{path} cannot be read as a picture ({error})", remedy="replace or remove it") from error
