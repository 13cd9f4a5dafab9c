"""Decoded images of one split in one file, filled as they are first read: later epochs decode nothing.

Every row carries a checksum and counts as there when it matches. So any number of processes may fill the file at once,
one that is killed leaves no false row, and a row that a disk or a network lost costs a decoding, not a result.
Knows neither shard nor label.
"""

from __future__ import annotations

import os
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from seedml.errors import UserError
from seedml.files import atomic_path
from seedml.generation.disk import free_bytes, human_bytes, is_disk_full

MOST_BYTES = 16e9
"""Of the decoded images of a study, for ``classifier.cache=auto``."""
SHARE_OF_DISK = 0.1
"""Of what is free, likewise."""

Images = np.ndarray[Any, np.dtype[np.uint8]]
"""N × S × S × 3 uint8 0..255, RGB."""
Integers = np.ndarray[Any, np.dtype[np.int64]]
Truths = np.ndarray[Any, np.dtype[np.bool_]]


def is_wanted(cache: str, bytes_needed: int, folder: Path) -> bool:
    """Whether decoded images are kept.

    Args:
        cache: ``always``, ``never``, or ``auto``: if they are few and take little of the free disk.
        bytes_needed: by all of them.
        folder: where they would be.

    Raises:
        UserError: ``always``, and the disk is too small.

    """
    free = free_bytes(folder)
    if cache == "always" and bytes_needed > free:
        raise UserError(
            f"the disk of {folder} is too small for the decoded images: they need {human_bytes(bytes_needed)}, and "
            f"{human_bytes(free)} are free",
            remedy="make space, name another disk with runs.root=…, or set classifier.cache=never",
        )
    return cache == "always" or (cache == "auto" and bytes_needed <= min(MOST_BYTES, SHARE_OF_DISK * free))


class DecodedImages:
    """The file pair ``<name>.pixels.npy`` and ``<name>.sums.npy`` of a split. Pickles as its paths.

    Args:
        folder: of the files.
        name: the split's.

    """

    def __init__(self, folder: Path, name: str) -> None:
        self._pixels_path, self._sums_path = folder / f"{name}.pixels.npy", folder / f"{name}.sums.npy"

    def create(self, count: int, image_size: int) -> None:
        """Make room for ``count`` images of ``image_size`` pixels a side; none is there yet.

        Raises:
            UserError: the disk is full, or a quota used up.

        """
        _reserve(self._pixels_path, np.uint8, (count, image_size, image_size, 3))
        _reserve(self._sums_path, np.uint32, (count,))

    def read(self, rows: Integers, images: Images) -> Truths:
        """Fill ``images``, one for each of N rows; N bool: which were there. The others are left undefined."""
        np.take(self._pixels, rows, axis=0, out=images, mode="wrap")  # "raise", the default, would copy once more
        sums = self._sums[rows].tolist()
        return np.fromiter((_sum(image) == known for image, known in zip(images, sums, strict=True)), bool)

    def write(self, row: int, image: Images) -> None:
        """Keep one image, S × S × 3."""
        self._pixels[row] = image
        self._sums[row] = _sum(image)

    @cached_property
    def _pixels(self) -> Images:
        return np.asarray(np.load(self._pixels_path, mmap_mode="r+"))

    @cached_property
    def _sums(self) -> np.ndarray[Any, np.dtype[np.uint32]]:
        return np.asarray(np.load(self._sums_path, mmap_mode="r+"))

    def __getstate__(self) -> dict[str, Any]:
        return {"_pixels_path": self._pixels_path, "_sums_path": self._sums_path}


def _sum(image: Images) -> int:
    """CRC-32 of a contiguous image, never 0: that is what an empty row says."""
    return zlib.crc32(image.data) or 1


def _reserve(path: Path, dtype: type, shape: tuple[int, ...]) -> None:
    """An array of zeros whose blocks the disk has set aside: a full disk is found now, not by a signal while mapped."""
    try:
        with atomic_path(path) as temporary:
            array = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
            del array
            if hasattr(os, "posix_fallocate"):
                with temporary.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise UserError(
            f"no space for the decoded images in {path.parent}",
            remedy="make space, name another disk with runs.root=…, or set classifier.cache=never",
        ) from error
