"""Where every image of a split is: which tar, which bytes. Made once by reading the tars' headers, for all processes.

Rows are sorted by (seed, prompt_id), whatever tiles or threads there were. At 9.2 million images it is a file of 300 MB
that processes share as mapped pages; no Python object per image outlives its shard. Knows no pixel.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seedml.files import atomic_path
from seedml.grid import Tile
from seedml.progress import progress_bar
from seedml.shards.dataset import ShardDataset
from seedml.shards.format import Marker
from seedml.shards.reader import damaged_shard
from seedml.shards.tar_contents import member_places

ROW = np.dtype([("seed", "<i8"), ("prompt_id", "<i8"), ("offset", "<u8"), ("bytes", "<u4"), ("shard", "<u4")])
"""One image: ``bytes`` bytes from ``offset`` on in the split's tar number ``shard``. 32 bytes."""

Rows = np.ndarray[Any, np.dtype[np.void]]
"""N of :data:`ROW`."""

_KEY = re.compile(r"s(\d+)_p(\d+)")
_CHUNK = 1 << 18  # rows on their way to disk


def split_shards(dataset: ShardDataset, tiles: Sequence[Tile], split: str) -> list[Path]:
    """The tars of a split; an index's ``shard`` counts in this list."""
    return [dataset.shard(tile) for tile in tiles if tile.split == split]


def write_index(dataset: ShardDataset, tiles: Sequence[Tile], path: Path, threads: int = 1) -> None:
    """Index the tars of tiles of one split into ``path``, an ``.npy`` of :data:`ROW`. See :func:`check_sizes` first.

    Args:
        dataset: the shards.
        tiles: all must exist.
        path: of the index; appears whole or not at all.
        threads: that read, so that a slow disk is asked several times at once.

    Raises:
        UserError: a tar is damaged, cut, or not its marker's.

    """
    markers = dataset.markers(tiles)
    rows = np.empty(sum(marker.count for marker in markers.values()), ROW)
    filled = 0
    with (
        ThreadPoolExecutor(threads) as pool,
        progress_bar(f"index {tiles[0].split}", len(rows), "images") as bar,
    ):
        indexed = pool.map(partial(index_tile, dataset), tiles, (markers[tile] for tile in tiles))
        for shard, found in enumerate(indexed):
            place = rows[filled : filled + len(found)]
            place[:] = found
            place["shard"] = shard
            filled += len(found)
            bar.advance(len(found))
    write_sorted(rows, path)


def check_sizes(dataset: ShardDataset, markers: Mapping[Tile, Marker]) -> None:
    """Refuse tars that are gone or cut; cheap enough for each start.

    Raises:
        UserError: a tar is not as long as its marker says.

    """
    for tile, marker in markers.items():
        shard = dataset.shard(tile)
        try:
            size = shard.stat().st_size
        except OSError as error:
            raise damaged_shard(shard, f"{type(error).__name__}: {error}") from error
        if size != marker.bytes:
            raise damaged_shard(shard, f"it has {size} bytes where its marker says {marker.bytes}")


def index_tile(dataset: ShardDataset, tile: Tile, marker: Marker) -> Rows:
    """The images of one tile, in the tar's order; ``shard`` is 0.

    Raises:
        UserError: the tar is damaged, cut, or not its marker's.

    """
    shard = dataset.shard(tile)
    try:
        found = np.fromiter(_images(shard, f".{dataset.image_format}"), ROW)
    except (OSError, tarfile.TarError) as error:
        raise damaged_shard(shard, f"{type(error).__name__}: {error}") from error
    if len(found) != marker.count:
        raise damaged_shard(shard, f"it has {len(found)} images where its marker says {marker.count}")
    cells = {(seed, prompt_id) for seed, prompt_id in found[["seed", "prompt_id"]].tolist()}
    if len(cells) != len(found) or not cells <= set(tile.cells()):
        raise damaged_shard(shard, "its images are not those of its tile, each once")
    return found


def _images(shard: Path, ending: str) -> Iterator[tuple[int, int, int, int, int]]:
    """Rows of the tar's images."""
    for name, offset, size in member_places(shard):
        if not name.endswith(ending):
            continue
        key = _KEY.fullmatch(name.removesuffix(ending))
        if key is None:
            raise damaged_shard(shard, f"{name} is no name of an image")
        yield int(key[1]), int(key[2]), offset, size, 0


def write_sorted(rows: Rows, path: Path) -> None:
    """Write the rows by (seed, prompt_id), a chunk in memory at a time."""
    order = np.lexsort((rows["prompt_id"], rows["seed"]))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_2_0(file, {"descr": ROW.descr, "fortran_order": False, "shape": rows.shape})
        for start in range(0, len(order), _CHUNK):
            file.write(rows[order[start : start + _CHUNK]].tobytes())


def open_index(path: Path) -> Rows:
    """The index, mapped into memory read-only."""
    return np.asarray(np.load(path, mmap_mode="r"))
