"""Decoded images of one split in one file, filled as they are first read: later epochs decode nothing.

Every row carries a checksum and counts as there when it matches. So any number of processes may fill the file at once,
one that is killed leaves no false row, and a row that a disk or a network lost costs a decoding, not a result.
Knows neither shard nor label.
"""

from __future__ import annotations

import os
import sys
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from seedml.errors import UserError
from seedml.files import atomic_path
from seedml.generation.disk import free_bytes, human_bytes, is_disk_full

MOST_BYTES = 16e9
"""Of the decoded images of a study, for ``classifier.cache=auto``."""
SHARE_OF_DISK = 0.1
"""Of what is free, likewise."""
_SUM_BYTES = 4
_OPENED = ("_descriptors", "_pixels", "_sums")

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
    """The images of a split in the file ``<name>.pixels``, their checksums in ``<name>.sums``. Pickles as its paths.

    They are written by system calls, which cost a tenth of what pages cost that are mapped and written to.

    Args:
        folder: of the files.
        name: the split's.
        image_size: side S in pixels.

    """

    def __init__(self, folder: Path, name: str, image_size: int) -> None:
        self._pixels_path, self._sums_path = folder / f"{name}.pixels", folder / f"{name}.sums"
        self._image_size = image_size

    def create(self, count: int) -> None:
        """Make room for as many images; none is there yet.

        Raises:
            UserError: the disk is full, or a quota used up.

        """
        _reserve(self._pixels_path, count * 3 * self._image_size**2)
        _reserve(self._sums_path, count * _SUM_BYTES)

    def read(self, rows: Integers, images: Images) -> Truths:
        """Fill ``images``, one for each of N rows; N bool: which were there. The others are left undefined."""
        np.take(self._pixels, rows, axis=0, out=images, mode="wrap")  # "raise", the default, would copy once more
        sums = self._sums[rows].tolist()
        return np.fromiter((_sum(image) == known for image, known in zip(images, sums, strict=True)), bool)

    def write(self, row: int, image: Images) -> None:
        """Keep one image, S × S × 3, contiguous."""
        pixels, sums = self._descriptors
        os.pwrite(pixels.fileno(), image.data, row * image.nbytes)
        os.pwrite(sums.fileno(), _sum(image).to_bytes(_SUM_BYTES, sys.byteorder), row * _SUM_BYTES)

    @cached_property
    def _descriptors(self) -> tuple[BinaryIO, BinaryIO]:
        return self._pixels_path.open("r+b", buffering=0), self._sums_path.open("r+b", buffering=0)

    @cached_property
    def _pixels(self) -> Images:
        mapped = np.memmap(self._pixels_path, np.uint8, "r")
        return np.asarray(mapped).reshape(-1, self._image_size, self._image_size, 3)

    @cached_property
    def _sums(self) -> np.ndarray[Any, np.dtype[np.uint32]]:
        return np.asarray(np.memmap(self._sums_path, np.uint32, "r"))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in _OPENED}

    def __del__(self) -> None:
        for file in self.__dict__.get("_descriptors", ()):
            file.close()


def _sum(image: Images) -> int:
    """CRC-32 of a contiguous image, never 0: that is what an empty row says."""
    return zlib.crc32(image.data) or 1


def _reserve(path: Path, size: int) -> None:
    """A file of zeros whose blocks the disk has set aside: a full disk is found now, not in mid-training."""
    try:
        with atomic_path(path) as temporary, temporary.open("r+b") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            file.truncate(size)
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise UserError(
            f"no space for the decoded images in {path.parent}",
            remedy="make space, name another disk with runs.root=…, or set classifier.cache=never",
        ) from error
