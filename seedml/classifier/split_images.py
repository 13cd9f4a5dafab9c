"""The images of a split by row, straight from its tars or from those decoded before. Knows no label and no network."""

from __future__ import annotations

import io
import os
import shutil
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seedml.classifier.cache import DecodedImages, Images, Integers, is_wanted
from seedml.classifier.shard_index import Rows, check_sizes, open_index, split_shards, write_index
from seedml.errors import UserError
from seedml.files import atomic_write_json, fingerprint, read_json
from seedml.grid import Cell, Tile
from seedml.pixels import rgb_pixels
from seedml.shards.dataset import ShardDataset
from seedml.shards.reader import damaged_shard
from seedml.shards.tar_contents import NO_IMAGE

MARKER = "images.json"
_OPEN_SHARDS = 64
"""Tars that a process holds open for each split; a study may have ten thousand."""


class SplitImages:
    """The images of one split, sorted by (seed, prompt_id). Row i of all that it gives belongs to one image.

    Pickles as paths, for spawned workers; opens nothing before it is asked for something.

    Args:
        index: see :mod:`~seedml.classifier.shard_index`.
        shards: the split's tars.
        image_size: side S in pixels that images are reduced to; see :func:`reduced`.
        decoded: where decoded images are kept; ``None`` = they are decoded each time.
        threads: that decode, in a process that has them to itself.

    """

    def __init__(
        self, index: Path, shards: Sequence[Path], image_size: int, decoded: DecodedImages | None, threads: int = 1
    ) -> None:
        self._index, self._shards = index, list(shards)
        self.image_size, self.threads = image_size, threads
        self._decoded = decoded
        self._open_shards = _OpenFiles(self._shards)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def seeds(self) -> Integers:
        """N int64, mapped."""
        return self._rows["seed"]

    @property
    def prompt_ids(self) -> Integers:
        """N int64, mapped."""
        return self._rows["prompt_id"]

    def encoded(self, rows: Sequence[int] | Integers) -> list[bytes]:
        """The image files of these rows, as they are in the tars.

        Raises:
            UserError: a tar is gone or shorter than it was.

        """
        places = self._rows[np.asarray(rows, np.int64)]
        columns = (places[name].tolist() for name in ("shard", "bytes", "offset"))
        return [self._read(*place) for place in zip(*columns, strict=True)]

    def pixels(self, rows: Sequence[int] | Integers, *, threads: int = 1) -> Images:
        """The images of these rows, reduced: N × S × S × 3 uint8 0..255, RGB.

        Raises:
            UserError: a tar is damaged.

        """
        chosen = np.asarray(rows, np.int64)
        images = np.empty((len(chosen), self.image_size, self.image_size, 3), np.uint8)
        missing = np.arange(len(chosen))
        if self._decoded is not None:
            missing = np.flatnonzero(~self._decoded.read(chosen, images))
        if len(missing):
            self._decode(chosen, missing, images, threads)
        return images

    def _decode(self, rows: Integers, missing: Integers, images: Images, threads: int) -> None:
        """Fill ``images[missing]`` from the tars, and keep them where they are to be kept."""

        def one(place: int, encoded: bytes) -> None:
            try:
                images[place] = reduced(encoded, self.image_size)
            except NO_IMAGE as error:
                raise self._unreadable(int(rows[place]), error) from error
            if self._decoded is not None:
                self._decoded.write(int(rows[place]), images[place])

        encoded = self.encoded(rows[missing])
        if threads == 1:
            for place, data in zip(missing.tolist(), encoded, strict=True):
                one(place, data)
            return
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(one, missing.tolist(), encoded):  # map raises what a thread raised
                pass

    def _read(self, shard: int, size: int, offset: int) -> bytes:
        try:
            data = os.pread(self._open_shards.descriptor(shard), size, offset)
        except OSError as error:
            raise damaged_shard(self._shards[shard], f"{type(error).__name__}: {error}") from error
        if len(data) != size:
            raise damaged_shard(self._shards[shard], "it is shorter than when it was indexed")
        return data

    def _unreadable(self, row: int, error: BaseException) -> UserError:
        place = self._rows[row]
        key = Cell(int(place["seed"]), int(place["prompt_id"])).key
        return damaged_shard(self._shards[int(place["shard"])], f"its image {key} cannot be read: {error}")

    @cached_property
    def _rows(self) -> Rows:
        return open_index(self._index)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_rows"}


def open_splits(
    dataset: ShardDataset, tiles: Sequence[Tile], image_size: int, folder: Path, *, cache: str = "auto",
    threads: int | None = None,
) -> dict[str, SplitImages]:  # fmt: skip
    """The splits of a data set for random access; indexed first where they are not.

    Args:
        dataset: the shards.
        tiles: which of them; all must exist.
        image_size: side S in pixels; see :func:`reduced`.
        folder: holds the index and the decoded images; emptied first if it belongs to other images or another size.
        cache: whether decoded images are kept: ``auto``, ``always`` or ``never``.
        threads: that index and decode; default one a core.

    Raises:
        UserError: a shard is damaged, or the disk is too small for what is always to be kept.

    """
    threads = threads or os.cpu_count() or 1
    markers = dataset.markers(tiles)
    check_sizes(dataset, markers)
    tars = fingerprint({tile.name: marker.sha256 for tile, marker in markers.items()})
    identity = {"tars": tars, "image_size": image_size, "cache": cache}
    marker = read_json(folder / MARKER) if (folder / MARKER).is_file() else {}
    if {key: marker.get(key) for key in identity} != identity:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        marker = {**identity, "kept": _prepare(dataset, tiles, image_size, folder, cache, threads)}
        atomic_write_json(folder / MARKER, marker)
    return {
        split: SplitImages(
            folder / f"{split}.npy", split_shards(dataset, tiles, split), image_size,
            DecodedImages(folder, split, image_size) if marker["kept"] else None, threads,
        )
        for split in _splits(tiles)
    }  # fmt: skip


def _splits(tiles: Sequence[Tile]) -> list[str]:
    return list(dict.fromkeys(tile.split for tile in tiles))


def _prepare(
    dataset: ShardDataset, tiles: Sequence[Tile], image_size: int, folder: Path, cache: str, threads: int
) -> bool:
    """Index all splits and make room for their decoded images; whether these are kept."""
    counts: dict[str, int] = {}
    for split in _splits(tiles):
        write_index(dataset, [tile for tile in tiles if tile.split == split], folder / f"{split}.npy", threads)
        counts[split] = len(open_index(folder / f"{split}.npy"))
    kept = is_wanted(cache, sum(counts.values()) * 3 * image_size**2, folder)
    if kept:
        for split, count in counts.items():
            DecodedImages(folder, split, image_size).create(count)
    return kept


def reduced(encoded: bytes, size: int) -> Images:
    """An image file -> S × S × 3 uint8 0..255, RGB; see :func:`shrunk`."""
    with Image.open(io.BytesIO(encoded)) as image:
        plain = image.mode == "RGB" and not image.has_transparency_data
        small = shrunk(image if plain else Image.fromarray(rgb_pixels(image)), size)
        return np.frombuffer(small.tobytes(), np.uint8).reshape(size, size, 3)  # half of what np.asarray(small) takes


def shrunk(picture: Image.Image, size: int) -> Image.Image:
    """The picture with ``size`` × ``size`` pixels, each the mean of those it replaces."""
    width, height = picture.size
    if (width, height) == (size, size):
        return picture
    if width % size or height % size:
        return picture.resize((size, size), Image.Resampling.BOX)
    return picture.reduce((width // size, height // size))  # the same, 10 times faster, rounded once


class _OpenFiles:
    """Descriptors of the files read last. Not for several threads: one could close what another reads."""

    def __init__(self, paths: Sequence[Path], most: int = _OPEN_SHARDS) -> None:
        self._paths, self._most = paths, most
        self._descriptors: OrderedDict[int, int] = OrderedDict()

    def descriptor(self, number: int) -> int:
        """Of a file, to read; good until the next call."""
        if number not in self._descriptors:
            if len(self._descriptors) == self._most:
                os.close(self._descriptors.popitem(last=False)[1])
            self._descriptors[number] = os.open(self._paths[number], os.O_RDONLY)
        self._descriptors.move_to_end(number)
        return self._descriptors[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptors": OrderedDict()}

    def __del__(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
