"""What is in a shard: names, members and columns (DESIGN section 5), and images as bytes. Reads and writes no file."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from seedml.grid import Cell
from seedml.pixels import rgb_pixels

Pixels = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
"""H × W × 3 uint8 0..255, RGB."""

FORMAT_VERSION = 1
OK, FAILED = "ok", "failed"

_ENCODERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    # Measured on decoded images: run-length matching is 2 (128 px) to 5 (512 px) times faster than Pillow's default
    # (level 6) at the same size; on clean drawings it is 2 times faster and 17 % larger.
    "png": ("PNG", {"compress_level": 1, "compress_type": zlib.Z_RLE}),
    "webp": ("WEBP", {"quality": 95, "method": 4}),
    "jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
}
FORMATS = tuple(_ENCODERS)


def encode_image(pixels: Pixels, image_format: str) -> bytes:
    """An image file: png is lossless, webp and jpg are of quality 95. The same pixels give the same bytes."""
    name, options = _ENCODERS[image_format]
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, name, **options)
    return stream.getvalue()


def decode_image(data: bytes) -> Pixels:
    """The pixels of an image file, H × W × 3 uint8 0..255."""
    with Image.open(io.BytesIO(data)) as image:
        return rgb_pixels(image)


@dataclass(frozen=True)
class Record:
    """One requested cell and what came of it."""

    cell: Cell
    prompt: str
    split: str
    noise_sha256: str
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    image: bytes | None
    """The image file; ``None`` where the image failed."""
    reason: str = ""
    """Why it failed; empty where it did not."""

    @property
    def status(self) -> str:
        """``ok`` or ``failed``."""
        return FAILED if self.image is None else OK

    def members(self, image_format: str) -> list[tuple[str, bytes]]:
        """File names and contents in the tar, in their fixed order; none for a failed cell.

        A sample without its image would make ``datasets`` and plain WebDataset readers stumble: the table alone has it.
        """
        if self.image is None:
            return []
        description = {
            "seed": self.cell.seed, "prompt_id": self.cell.prompt_id, "prompt": self.prompt, "split": self.split,
            "noise_sha256": self.noise_sha256, "status": self.status,
        }  # fmt: skip
        return [
            (f"{self.cell.key}.{image_format}", self.image),
            (f"{self.cell.key}.txt", self.prompt.encode()),
            (f"{self.cell.key}.json", json.dumps(description, ensure_ascii=False).encode()),
        ]

    def row(self) -> dict[str, object]:
        """The cell's row in the tile's table."""
        return {
            "seed": self.cell.seed, "prompt_id": self.cell.prompt_id, "prompt": self.prompt, "split": self.split,
            "key": self.cell.key, "status": self.status, "reason": self.reason, "noise_sha256": self.noise_sha256,
            "height": self.height, "width": self.width, "bytes": 0 if self.image is None else len(self.image),
        }  # fmt: skip


@dataclass(frozen=True)
class Marker:
    """The file that says a shard exists and is whole."""

    count: int
    """Samples in the tar."""
    cells: int
    """Rows in the table: ``count`` and the failed ones."""
    bytes: int
    """Size of the tar."""
    sha256: str
    """Of the tar."""
    table_sha256: str
    """Of the table."""
    fingerprint: str
    """Of the settings that made it."""

    def as_dict(self) -> dict[str, Any]:
        """As the marker file holds it."""
        return asdict(self)
