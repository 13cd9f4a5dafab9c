"""Pictures of chosen cells, read from the shards and made small enough to travel inside the page.

The page embeds thumbnails, at most ``SIDE`` px wide and high, as WebP data URIs. Pictures that are smaller already keep
their size (seedling's are exactly ``SIDE``); WebP is lossy, so the page shows what a picture looks like, and the shard
holds what it is. Where a study has so many seeds that their pictures would not fit on a page that opens at once, they
are made smaller, and then fewer a seed (:func:`fitting`).
"""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from seedml.errors import UserError
from seedml.grid import Cell
from seedml.shards.format import FORMATS
from seedml.shards.reader import read_marker

SIDE = 128
"""Longest side of an embedded picture, px."""
QUALITY = 80
"""WebP quality 0..100; at 128 px a picture takes 1 to 5 kB."""
LADDER = ((SIDE, 6), (96, 6), (96, 4), (80, 4), (80, 3), (64, 3), (64, 2), (48, 2), (48, 1))
"""(side in px, prompts) of every seed's own pictures: the first that fits is taken."""
SAMPLE = 64
"""Pictures by which the size of all is guessed."""

CellKey = tuple[int, int]
"""(seed, prompt_id)."""


class Picture(NamedTuple):
    """One embedded picture: its data URI, its size in px, and the prompt it was made from."""

    uri: str
    width: int
    height: int
    prompt: str


def read_pictures(shard_dir: Path, cells: Iterable[CellKey], side: int = SIDE) -> dict[CellKey, Picture]:
    """The wanted pictures; cells without an image (failed, not made yet, or shard gone) are left out.

    Each shard that holds a wanted cell is opened once, and only the wanted members are read.

    Args:
        shard_dir: where the shards are.
        cells: the wanted (seed, prompt_id).
        side: longest side of an embedded picture, px.

    Raises:
        UserError: a shard is damaged.

    """
    wanted = set(cells)
    pictures: dict[CellKey, Picture] = {}
    for marker in sorted(shard_dir.glob("*-[0-9]*.json")):  # a shard exists when its marker does
        prompts = _prompts_of(marker.with_suffix(".parquet"), wanted)
        for cell, image in _read_cells(marker.with_suffix(".tar"), prompts).items():
            pictures[cell] = _embed(image, prompts[cell], side)
    return pictures


def fitting(
    pictures: Mapping[CellKey, Picture], seeds: Sequence[int], prompts: Sequence[int], most: int
) -> tuple[dict[CellKey, Picture], tuple[int, ...]]:
    """The seeds' pictures of as many prompts as fit into ``most`` characters of data URIs, and those prompts.

    Tries ``LADDER`` from its top and guesses each rung's size from ``SAMPLE`` pictures: pictures of one study differ
    little, and the limit leaves room. The last rung is taken even if it does not fit.
    """
    for side, columns in LADDER:
        shown = tuple(prompts[:columns])
        cells = [(seed, prompt) for seed in seeds for prompt in shown if (seed, prompt) in pictures]
        some = [len(_shrunk(pictures[cell], side).uri) for cell in cells[:: len(cells) // SAMPLE + 1]]
        if not cells or len(cells) * sum(some) / len(some) <= most:
            break
    return {cell: _shrunk(pictures[cell], side) for cell in cells}, shown


def _shrunk(picture: Picture, side: int) -> Picture:
    """The picture with at most ``side`` px along its sides; the same one if it has no more."""
    if max(picture.width, picture.height) <= side:
        return picture
    return _embed(base64.b64decode(picture.uri.partition(",")[2]), picture.prompt, side)


def _embed(data: bytes, prompt: str, side: int) -> Picture:
    """Encoded image of any size -> :class:`Picture` of at most ``side`` x ``side`` px."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
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
