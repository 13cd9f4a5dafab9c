"""Pictures of chosen cells, read from the shards and made small enough to travel inside the page.

The page embeds thumbnails, at most ``SIDE`` px wide and high, as WebP data URIs. Pictures that are smaller already keep
their size (seedling's are exactly ``SIDE``); WebP is lossy, so the page shows what a picture looks like, and the shard
holds what it is.
"""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from seedml.errors import UserError
from seedml.grid import Cell
from seedml.shards.format import FORMATS
from seedml.shards.reader import read_marker

SIDE = 128
"""Longest side of an embedded picture, px."""
QUALITY = 80
"""WebP quality 0..100; at 128 px a picture takes 1 to 4 kB."""

CellKey = tuple[int, int]
"""(seed, prompt_id)."""


class Picture(NamedTuple):
    """One embedded picture: its data URI, its size in px, and the prompt it was made from."""

    uri: str
    width: int
    height: int
    prompt: str


def read_pictures(shard_dir: Path, cells: Iterable[CellKey]) -> dict[CellKey, Picture]:
    """The wanted pictures; cells without an image (failed, not made yet, or shard gone) are left out.

    Each shard that holds a wanted cell is opened once, and only the wanted members are read.

    Raises:
        UserError: a shard is damaged.

    """
    wanted = set(cells)
    pictures: dict[CellKey, Picture] = {}
    for marker in sorted(shard_dir.glob("*-[0-9]*.json")):  # a shard exists when its marker does
        prompts = _prompts_of(marker.with_suffix(".parquet"), wanted)
        for cell, image in _read_cells(marker.with_suffix(".tar"), prompts).items():
            pictures[cell] = _embed(image, prompts[cell])
    return pictures


def _embed(data: bytes, prompt: str) -> Picture:
    """Encoded image of any size -> :class:`Picture` of at most ``SIDE`` x ``SIDE`` px."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=4)
    uri = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(uri, image.width, image.height, prompt)


def _prompts_of(table: Path, wanted: set[CellKey]) -> dict[CellKey, str]:
    """The wanted cells of one shard with their prompts, from the table beside it."""
    import pyarrow.parquet as pq

    if not table.exists():
        return {}
    columns = pq.read_table(table, columns=["seed", "prompt_id", "prompt", "status"]).to_pydict()
    rows = zip(columns["seed"], columns["prompt_id"], columns["prompt"], columns["status"], strict=True)
    return {(seed, prompt_id): prompt for seed, prompt_id, prompt, status in rows
            if status == "ok" and (seed, prompt_id) in wanted}  # fmt: skip


def _read_cells(shard: Path, wanted: Mapping[CellKey, str]) -> dict[CellKey, bytes]:
    """The encoded image of each wanted cell of one shard."""
    if not wanted:
        return {}
    cells = {f"{Cell(*cell).key}.{ending}": cell for cell in wanted for ending in FORMATS}
    found: dict[CellKey, bytes] = {}
    if not shard.exists() or shard.stat().st_size != read_marker(shard).bytes:
        raise UserError(f"{shard} is not as its marker says", remedy="run `seedml generate` again")
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.name in cells else None
                if stream is not None:
                    found[cells[member.name]] = stream.read()
    except (OSError, tarfile.TarError, EOFError) as error:
        raise UserError(f"{shard} cannot be read ({error})", remedy="run `seedml generate` again") from error
    return found
