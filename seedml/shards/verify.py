"""Are the shards what they should be? Compares marker, table, tar and plan of every tile; changes nothing.

A good shard costs one reading of its files, from front to back: members and hash come out of the same pass.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from seedml.errors import UserError
from seedml.grid import Tile
from seedml.shards.claims import FOLDER as CLAIMS
from seedml.shards.commit import is_orphan
from seedml.shards.dataset import FILE, ShardDataset
from seedml.shards.format import Marker
from seedml.shards.process import NAME
from seedml.shards.reader import read_marker
from seedml.shards.tar_contents import Row, TarContents, read_tar, undecodable_images

THREADS = min(8, os.cpu_count() or 1)
"""Shards looked at at once. hashlib lets go of the interpreter: so many threads hash on so many cores."""
ENDINGS = ("json", "parquet", "tar")
"""A shard's files; first the marker, which vouches for the others."""

_PLANNED = ("seed", "prompt_id", "prompt", "split", "key")
"""Columns that follow from the plan."""
_COLUMNS = (*_PLANNED, "status", "noise_sha256", "bytes")


class Kind(StrEnum):
    """What is wrong."""

    MISSING_TILE = "missing tile"
    DAMAGED_MARKER = "damaged marker"
    OTHER_FINGERPRINT = "other fingerprint"
    TORN_TAR = "torn tar"
    WRONG_HASH = "wrong hash"
    UNREADABLE_TABLE = "unreadable table"
    MISSING_MEMBER = "missing member"
    DISAGREEMENT = "table and tar disagree"
    UNDECODABLE_IMAGE = "undecodable image"
    FOREIGN_FILE = "foreign file"
    LEFTOVER = "leftover of a dead process"


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is wrong with one file."""

    file: str
    """Its name in the data set's folder."""
    kind: Kind
    detail: str

    def __str__(self) -> str:
        return f"{self.file}: {self.kind}: {self.detail}"


@dataclass(frozen=True)
class TileReport:
    """What was found at one tile; no finding = the shard is whole."""

    tile: Tile
    marker: Marker | None
    """``None`` where none can be read."""
    seen: tuple[int, int] | None
    """Which marker file was looked at (:func:`marker_identity`)."""
    findings: tuple[Finding, ...]


def inspect_tiles(dataset: ShardDataset, tiles: Sequence[Tile], threads: int = THREADS) -> Iterator[TileReport]:
    """Look at tiles, several at once; their reports come in the order of ``tiles``."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="verify")
    try:
        yield from pool.map(partial(inspect_tile, dataset), tiles)
    finally:
        pool.shutdown(cancel_futures=True)


def inspect_tile(dataset: ShardDataset, tile: Tile) -> TileReport:
    """Look at one tile; look again if another process has made it anew meanwhile."""
    path = dataset.shard(tile).with_suffix(".json")
    while True:
        seen = marker_identity(path)
        if seen is None:
            marker, findings = None, [Finding(dataset.shard(tile).name, Kind.MISSING_TILE, "it has no marker")]
        else:
            marker, findings = _inspect(dataset, tile)
        if not findings or marker_identity(path) == seen:
            return TileReport(tile, marker, seen, tuple(sorted(findings)))


def marker_identity(path: Path) -> tuple[int, int] | None:
    """Inode and time (ns): a shard that is made again has another marker, be it the same byte by byte."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def inspect_folder(dataset: ShardDataset, tiles: Sequence[Tile]) -> list[Finding]:
    """What lies in the folder beside ``dataset.json``, the tiles' files, and what live processes are writing."""
    ours = {FILE, CLAIMS} | {f"{tile.name}.{ending}" for tile in tiles for ending in ENDINGS}
    findings = []
    for path in sorted(dataset.folder.iterdir()):
        if path.name in ours:
            continue
        if not re.fullmatch(rf"\..+\.{NAME}\.tmp", path.name):
            findings.append(Finding(path.name, Kind.FOREIGN_FILE, "it is not of this study"))
        elif is_orphan(path):
            findings.append(Finding(path.name, Kind.LEFTOVER, "nobody is writing it any more"))
    return findings


def _inspect(dataset: ShardDataset, tile: Tile) -> tuple[Marker | None, list[Finding]]:
    """Marker and findings of a tile that has a marker."""
    shard = dataset.shard(tile)
    name = f"{tile.name}.json"
    try:
        marker = read_marker(shard)
    except UserError as error:
        cause = _one_line(error.__cause__) if error.__cause__ else "it holds no JSON object"
        return None, [Finding(name, Kind.DAMAGED_MARKER, cause)]
    if marker.fingerprint != dataset.fingerprint:  # whatever else is found follows from that
        return marker, [Finding(name, Kind.OTHER_FINGERPRINT, f"it was made with other settings than {FILE} says")]
    rows, findings = _inspect_table(dataset, tile, marker)
    tar, of_tar = _inspect_tar(shard, marker, dataset.image_format)
    findings += of_tar
    if tar is not None and not tar.broken:  # what a broken tar lacks follows from its being broken
        findings += _compare(shard, tar, rows)
    if tar is not None and rows is not None and not findings:
        counts = {"count": len(tar.keys()), "cells": len(rows)}
        wrong = [key for key, count in counts.items() if getattr(marker, key) != count]
        findings += [Finding(name, Kind.DAMAGED_MARKER, f"{', '.join(wrong)} is not what there is")] if wrong else []
    return marker, findings


def _inspect_table(dataset: ShardDataset, tile: Tile, marker: Marker) -> tuple[list[Row] | None, list[Finding]]:
    """The table's rows, ``None`` where it cannot be read, and what is wrong with it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = dataset.shard(tile).with_suffix(".parquet")
    try:
        data = path.read_bytes()
        rows: list[Row] = pq.read_table(pa.BufferReader(data)).select(_COLUMNS).to_pylist()
    except FileNotFoundError:
        return None, [Finding(path.name, Kind.UNREADABLE_TABLE, "the file is missing")]
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        return None, [Finding(path.name, Kind.UNREADABLE_TABLE, _one_line(error))]
    findings = []
    if hashlib.sha256(data).hexdigest() != marker.table_sha256:
        findings.append(Finding(path.name, Kind.WRONG_HASH, "its SHA-256 is not its marker's"))
    texts = {prompt_id: dataset.prompts[prompt_id].text for prompt_id in tile.prompt_ids}
    planned = [(*cell, texts[cell.prompt_id], tile.split, cell.key) for cell in tile.cells()]
    found = [tuple(row[column] for column in _PLANNED) for row in rows]
    if found != planned:
        detail = f"its {len(found)} rows are not the tile's {len(planned)} cells in order"
        findings.append(Finding(path.name, Kind.DISAGREEMENT, detail))
    return rows, findings


def _inspect_tar(shard: Path, marker: Marker, image_format: str) -> tuple[TarContents | None, list[Finding]]:
    """What is in the tar, ``None`` where it cannot be read at all, and what is wrong with its bytes.

    Images are decoded only where the hash is wrong: with the right one they are what the encoder gave.
    """
    try:
        tar = read_tar(shard, image_format)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        return None, [Finding(shard.name, Kind.TORN_TAR, "the file is missing" if missing else _one_line(error))]
    torn = [f"{tar.bytes} bytes where its marker says {marker.bytes}"] if tar.bytes != marker.bytes else []
    torn += [tar.broken] if tar.broken else []
    findings = [Finding(shard.name, Kind.TORN_TAR, "; ".join(torn))] if torn else []
    if tar.sha256 != marker.sha256:
        if tar.bytes == marker.bytes:
            findings.append(Finding(shard.name, Kind.WRONG_HASH, "its SHA-256 is not its marker's"))
        if names := undecodable_images(shard, image_format):
            findings.append(Finding(shard.name, Kind.UNDECODABLE_IMAGE, _first(names)))
    return tar, findings


def _compare(shard: Path, tar: TarContents, rows: Sequence[Row] | None) -> list[Finding]:
    """What a tar that can be read lacks, and where it and its table disagree."""
    findings = []
    if names := tar.missing_members():
        findings.append(Finding(shard.name, Kind.MISSING_MEMBER, _first(names)))
    if rows is not None and (problems := tar.contradictions(rows)):
        findings.append(Finding(shard.name, Kind.DISAGREEMENT, _first(problems)))
    return findings


def _first(texts: Sequence[str]) -> str:
    """The first, and how many more there are: one line is enough to make a shard again."""
    return texts[0] + (f" (and {len(texts) - 1} more)" if len(texts) > 1 else "")


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
