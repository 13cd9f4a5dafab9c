"""Letters that nobody asked for: by the scene parser, or by reading them (RapidOCR)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch
from seedml.errors import UserError

SMALLEST = 128
"""Shorter side in pixels from which on letters can be read."""
LETTERS, CONFIDENCE = 2, 0.7
"""A line of text has at least so many letters or digits, and was read with this confidence.

Detection without reading takes one in five rendered scenes, coins and cups for text; read, they are ``O`` at the most.
"""

_COLUMNS = ("lettering", "lettering_area")
_SHARES = ("lettering",)
_PACKAGE = "rapidocr"
_LONGEST = 1024  # px; larger pictures are read at this size
_ENLARGED = 384  # px; pictures with a shorter side below this are read at twice their size


class TextReader:
    """RapidOCR: finds lines of text and reads them. Its networks come with the package; nothing is downloaded.

    Made when first used. Letters that look like none, as image models often draw them, are missed.
    """

    @cached_property
    def _engine(self) -> Any:
        from rapidocr import RapidOCR

        threads = torch.get_num_threads()
        return RapidOCR(
            params={
                "Global.log_level": "critical",
                "Det.limit_type": "max",  # the default enlarges: twenty times the time at 128 pixels
                "Det.limit_side_len": _LONGEST,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            }
        )

    def lines(self, image: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Corners of each line of text: ``H × W × 3`` uint8 RGB -> ``4 × 2`` float pixels each (x, y)."""
        times = 2 if min(image.shape[:2]) < _ENLARGED else 1
        size = (image.shape[1] * times, image.shape[0] * times)
        picture = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
        # Named every time: the engine keeps what it was told last.
        found = self._engine(np.array(picture)[:, :, ::-1].copy(), use_det=True, use_cls=False, use_rec=True)
        if found.boxes is None or found.txts is None:
            return []
        read = zip(found.boxes, found.txts, found.scores, strict=True)
        return [corners / times for corners, text, score in read if _is_text(text) and score >= CONFIDENCE]

    def cover(self, images: Tensor) -> Tensor:
        """Where text is: ``N × 3 × H × W`` uint8 -> ``N × H × W`` bool, true within lines of text."""
        pictures = images.permute(0, 2, 3, 1).cpu().numpy()
        return torch.stack([_painted(self.lines(picture), picture.shape) for picture in pictures]).to(images.device)


def _is_text(text: str) -> bool:
    return sum(letter.isalnum() for letter in text) >= LETTERS


def _painted(lines: list[np.ndarray[Any, Any]], shape: tuple[int, ...]) -> Tensor:
    """Quadrilaterals -> ``H × W`` bool."""
    canvas = Image.new("1", (shape[1], shape[0]))
    for corners in lines:
        ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in corners], fill=1)
    return torch.from_numpy(np.array(canvas))


_READER = TextReader()


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Presence and area of lettering.

    ``lettering``: 1 where there are letters, else 0. ``lettering_area``: share of the picture that lines of text
    cover, 0..1.
    In seedling's world by the parser's flag, trained on rendered scenes with exact labels, and by the contrast of
    strokes (``models/bundled/layout.py``). Other pictures are read by :class:`TextReader`; NaN for pictures smaller
    than :data:`SMALLEST` pixels, and, with a warning, where the extra ``ocr`` is not installed.
    """
    if batch.reading is None:
        return _read(batch)
    from seedml.models.bundled.layout import lettering_area  # loaded only where seedling's world is meant

    present = batch.reading.lettering > 0.5
    area = torch.zeros(len(present), device=present.device)
    if present.any():
        area[present] = lettering_area(batch.images[present], batch.reading.mask[present])
    return {"lettering": present.float(), "lettering_area": area}


def _read(batch: AttributeBatch) -> dict[str, Tensor]:
    if min(batch.images.shape[2:]) < SMALLEST:
        return {name: batch.unknown() for name in _COLUMNS}
    if find_spec(_PACKAGE) is None:
        warnings.warn("lettering is not measured: pip install 'seedml[ocr]' to measure it", stacklevel=2)
        return {name: batch.unknown() for name in _COLUMNS}
    return lettering_within(batch.images)


def lettering_within(
    images: Tensor, masks: Tensor | None = None, reader: TextReader | None = None
) -> dict[str, Tensor]:
    """Lettering inside masks, such as what inpainting has filled.

    Args:
        images: ``N × 3 × H × W`` uint8. The whole picture is read, so that a mask's edge cuts no line short.
        masks: ``N × H × W`` bool, where to look; everywhere if not given.
        reader: what reads.

    Returns:
        ``lettering``: ``N`` float, 1 where text covers a pixel of the mask, else 0; ``lettering_area``: ``N`` float,
        share of the mask that text covers, 0..1. NaN for an empty mask.

    Raises:
        UserError: the extra ``ocr`` is not installed.

    """
    need_reader()
    cover = (reader or _READER).cover(images)
    masks = torch.ones_like(cover) if masks is None else masks.bool()
    size = masks.sum((1, 2))
    covered = (cover & masks).sum((1, 2))
    present = torch.where(size > 0, (covered > 0).float(), torch.nan)
    return {"lettering": present, "lettering_area": covered / size}


def need_reader() -> None:
    """Make sure that RapidOCR is installed.

    Raises:
        UserError: it is not.

    """
    if find_spec(_PACKAGE) is None:
        raise UserError("lettering needs RapidOCR, which is not installed", remedy="pip install 'seedml[ocr]'")


def with_network(name: str) -> Attribute:
    """The same columns, read by RapidOCR in seedling's pictures too; ``measure.networks.lettering=rapidocr``.

    Raises:
        UserError: another name, or the extra ``ocr`` is not installed.

    """
    if name != _PACKAGE:
        raise UserError("measure.networks.lettering", given=name, legal=_PACKAGE)
    need_reader()
    return Attribute(_COLUMNS, _read, shares=_SHARES, version=f"{_version()} always")


def _version() -> str:
    """Names the reader, or its absence: installing it is a reason to measure again."""
    return f"2 {_PACKAGE} {version(_PACKAGE)}" if find_spec(_PACKAGE) else "2"


ATTRIBUTE = Attribute(_COLUMNS, measure, shares=_SHARES, needs_reading=True, version=_version())
