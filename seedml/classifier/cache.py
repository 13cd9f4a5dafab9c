"""Shards -> one memory-mapped uint8 array a split, decoded and reduced once: later epochs decode nothing.

Rows are sorted by (seed, prompt_id), whatever the shards, threads or their order were. Knows no network.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seedml.errors import UserError
from seedml.files import atomic_write_json, read_json
from seedml.grid import Tile
from seedml.progress import Bar, progress_bar
from seedml.shards.dataset import ShardDataset
from seedml.shards.reader import Sample, read_shard

MARKER = "cache.json"
_CHUNK = 256  # samples in memory at a time

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Integers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class CachedSplit:
    """The images of one split, still on disk. Row i of all three belongs to one image."""

    path: Path
    """N × 3 × S × S uint8 0..255, ``.npy``."""
    rows: Integers
    """N int64: rows of the file; a cell whose image failed has a row there that nobody reads."""
    seeds: Integers
    """N int64."""
    prompt_ids: Integers
    """N int64."""

    def __len__(self) -> int:
        return len(self.rows)

    def open(self) -> Pixels:
        """The file, mapped into memory; index it with ``rows``."""
        images: Pixels = np.load(self.path, mmap_mode="r")
        return images


def cached_splits(
    dataset: ShardDataset, tiles: Sequence[Tile], image_size: int, folder: Path, *, threads: int | None = None
) -> dict[str, CachedSplit]:
    """The splits of a data set, decoded and reduced to ``image_size``; from ``folder`` where they are there already.

    Args:
        dataset: the shards.
        tiles: which of them; all must exist.
        image_size: side S in pixels; see :func:`reduced`.
        folder: holds the arrays; emptied first if it belongs to other images or another size.
        threads: that decode; default one a core.

    Raises:
        UserError: a shard is damaged.

    """
    identity = {"dataset": dataset.fingerprint, "image_size": image_size, "tiles": len(tiles)}
    if not (folder / MARKER).is_file() or read_json(folder / MARKER) != identity:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _build(dataset, tiles, image_size, folder, threads or os.cpu_count() or 1)
        atomic_write_json(folder / MARKER, identity)
    return {split: _open_split(folder, split) for split in dict.fromkeys(tile.split for tile in tiles)}


def _open_split(folder: Path, split: str) -> CachedSplit:
    with np.load(folder / f"{split}.npz") as index:
        return CachedSplit(folder / f"{split}.npy", index["rows"], index["seeds"], index["prompt_ids"])


def _build(dataset: ShardDataset, tiles: Sequence[Tile], image_size: int, folder: Path, threads: int) -> None:
    total = sum(map(len, tiles))
    with ThreadPoolExecutor(threads) as pool, progress_bar("decode images", total, "images") as bar:
        for split in dict.fromkeys(tile.split for tile in tiles):
            _build_split(dataset, [tile for tile in tiles if tile.split == split], image_size, folder, pool, bar)


def _build_split(
    dataset: ShardDataset, tiles: Sequence[Tile], size: int, folder: Path, pool: ThreadPoolExecutor, bar: Bar
) -> None:
    """Write ``<split>.npy`` and ``<split>.npz`` from the tiles of one split."""
    seeds = np.unique([seed for tile in tiles for seed in tile.seeds])
    prompt_ids = np.unique([prompt_id for tile in tiles for prompt_id in tile.prompt_ids])
    shape = (len(seeds) * len(prompt_ids), 3, size, size)
    split = tiles[0].split
    images = np.lib.format.open_memmap(folder / f"{split}.npy", mode="w+", dtype=np.uint8, shape=shape)
    present = np.zeros(shape[0], bool)

    def decode(sample: Sample) -> None:
        place = np.searchsorted(seeds, sample.seed) * len(prompt_ids) + np.searchsorted(prompt_ids, sample.prompt_id)
        images[place] = reduced(sample.encoded, size).transpose(2, 0, 1)
        present[place] = True

    for tile in tiles:
        shard = dataset.shard(tile)
        try:
            for chunk in _chunks(read_shard(shard), _CHUNK):
                for _ in pool.map(decode, chunk):  # map raises what a thread raised
                    bar.advance()
        except OSError as error:  # also what Pillow raises for bytes that are no image
            raise UserError(
                f"{shard} holds an image that cannot be read: {error}",
                remedy=f"delete {shard.with_suffix('.json').name} and run `seedml generate` again",
            ) from error
    images.flush()
    rows = np.flatnonzero(present)
    np.savez(
        folder / f"{split}.npz", rows=rows, seeds=seeds[rows // len(prompt_ids)],
        prompt_ids=prompt_ids[rows % len(prompt_ids)],
    )  # fmt: skip


def _chunks(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    rest = iter(samples)
    while chunk := list(islice(rest, size)):
        yield chunk


def reduced(encoded: bytes, size: int) -> Pixels:
    """An image file -> S × S × 3 uint8 0..255, RGB; each pixel is the mean of those it replaces."""
    with Image.open(io.BytesIO(encoded)) as image:
        picture = image.convert("RGB")
        if picture.size != (size, size):
            picture = picture.resize((size, size), Image.Resampling.BOX)
        return np.asarray(picture)
