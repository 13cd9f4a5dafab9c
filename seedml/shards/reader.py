"""Shards -> samples, in order or as a WebDataset pipeline. A cut or torn shard raises instead of reading short.

(Plain WebDataset reads a tar that is cut between two headers without an error. Hence the marker's size and count.)
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seedml.errors import UserError
from seedml.files import read_json, sha256_of
from seedml.shards.format import FORMATS, OK, Marker, Pixels, decode_image
from seedml.shards.tar_contents import member_places

if TYPE_CHECKING:
    import webdataset
    from torch import Tensor


class Sample(NamedTuple):
    """One image of a shard, still encoded."""

    seed: int
    prompt_id: int
    prompt: str
    split: str
    noise_sha256: str
    encoded: bytes
    """The image file."""

    def pixels(self) -> Pixels:
        """H × W × 3 uint8 0..255."""
        return decode_image(self.encoded)


class SampleBatch(NamedTuple):
    """Samples stacked, in the order they came."""

    images: Tensor
    """N × 3 × H × W uint8 0..255."""
    seeds: Tensor
    """N int64."""
    prompt_ids: Tensor
    """N int64."""
    prompts: list[str]


def read_marker(shard: Path) -> Marker:
    """The marker of ``<name>.tar``.

    Raises:
        UserError: the shard has none, so it does not exist (DESIGN section 5), or it is unreadable.

    """
    path = shard.with_suffix(".json")
    if not path.is_file():
        raise UserError(f"{shard} has no marker {path.name}: it is not finished", remedy="run `seedml generate` again")
    try:
        return Marker(**read_json(path))  # type: ignore[arg-type]
    except TypeError as error:
        raise damaged_shard(shard, f"its marker is not as we write it: {error}") from error


def read_shard(shard: Path, *, check_hash: bool = False) -> Iterator[Sample]:
    """The samples of one shard, in the tar's order: by seed, then prompt_id.

    Args:
        shard: the ``.tar``.
        check_hash: read the file once more first and compare its SHA-256. Size and count are always checked.

    Raises:
        UserError: no marker, or tar and marker disagree. Samples before the damage may have been yielded by then.

    """
    marker = _marker_of_whole(shard)
    if check_hash and sha256_of(shard) != marker.sha256:
        raise damaged_shard(shard, "its SHA-256 is not its marker's")
    count = 0
    for count, sample in enumerate(_samples(shard), start=1):  # noqa: B007 (used after the loop)
        yield sample
    if count != marker.count:
        raise damaged_shard(shard, f"it has {count} samples where its marker says {marker.count}")


def _marker_of_whole(shard: Path) -> Marker:
    """The marker of a shard that is as long as it says."""
    marker = read_marker(shard)
    if not shard.is_file():
        raise damaged_shard(shard, "the file is missing")
    if shard.stat().st_size != marker.bytes:
        raise damaged_shard(shard, f"it has {shard.stat().st_size} bytes where its marker says {marker.bytes}")
    return marker


def read_chosen(shard: Path, prompt_ids: Set[int], seeds: Set[int]) -> Iterator[Sample]:
    """The samples of one shard that are of these prompts and seeds, in the tar's order; only their images are read.

    Which they are is in the table beside the tar, where they are in the tar's headers. A shard that has none of them
    is not opened, and what is not read is not checked.

    Args:
        shard: the ``.tar``.
        prompt_ids: of these prompts ...
        seeds: ... and these seeds.

    Raises:
        UserError: no marker or table, tar and marker disagree in size, or a sample is not there as the table says.

    """
    rows = _rows_of(shard, prompt_ids, seeds)
    if not rows:
        return
    _marker_of_whole(shard)
    try:
        with shard.open("rb", buffering=0) as file:
            for place in member_places(shard):
                key, _, ending = place.name.rpartition(".")
                if ending not in FORMATS or key not in rows:
                    continue
                row = rows.pop(key)
                encoded = os.pread(file.fileno(), place.size, place.offset)
                if len(encoded) != row["bytes"]:
                    raise damaged_shard(shard, f"{place.name} has {len(encoded)} bytes, its row says {row['bytes']}")
                yield Sample(
                    row["seed"], row["prompt_id"], row["prompt"], row["split"], row["noise_sha256"], encoded
                )  # fmt: skip
                if not rows:
                    return
    except (OSError, tarfile.TarError) as error:
        raise damaged_shard(shard, f"{type(error).__name__}: {error}") from error
    raise damaged_shard(shard, f"it lacks {next(iter(rows))}, which its table says is there")


def _rows_of(shard: Path, prompt_ids: Set[int], seeds: Set[int]) -> dict[str, dict[str, Any]]:
    """Key -> row of the shard's table, of the images of these prompts and seeds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = shard.with_suffix(".parquet")
    wanted = [("seed", "in", sorted(seeds)), ("prompt_id", "in", sorted(prompt_ids)), ("status", "==", OK)]
    if not seeds or not prompt_ids:
        return {}
    try:
        rows = pq.read_table(table, columns=[*Sample._fields[:-1], "key", "bytes"], filters=wanted).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise damaged_shard(shard, f"its table cannot be read: {error}") from error
    return {row["key"]: row for row in rows}


def _samples(shard: Path) -> Iterator[Sample]:
    try:
        with tarfile.open(shard, "r:") as tar:
            members: dict[str, bytes] = {}
            for member in tar:
                stream = tar.extractfile(member)
                assert stream is not None, f"{shard}: {member.name} is no file"
                members[member.name.rpartition(".")[2]] = stream.read()
                if member.name.endswith(".json"):  # the last of a sample
                    yield _sample(members)
                    members = {}
    except (tarfile.TarError, KeyError, ValueError, EOFError) as error:
        raise damaged_shard(shard, f"{type(error).__name__}: {error}") from error


def _sample(members: dict[str, bytes]) -> Sample:
    about = json.loads(members["json"])
    encoded = next(data for ending, data in members.items() if ending in FORMATS)
    return Sample(about["seed"], about["prompt_id"], about["prompt"], about["split"], about["noise_sha256"], encoded)


def damaged_shard(shard: Path, how: str) -> UserError:
    """What to tell a user of a damaged shard."""
    return UserError(
        f"{shard} is damaged: {how}", remedy=f"delete {shard.with_suffix('.json').name} and run `seedml generate` again"
    )


def collate(samples: Sequence[Sample]) -> SampleBatch:
    """Decode and stack samples of one size."""
    import numpy as np
    import torch

    pixels = torch.from_numpy(np.stack([sample.pixels() for sample in samples]))
    return SampleBatch(
        pixels.permute(0, 3, 1, 2).contiguous(),
        torch.tensor([sample.seed for sample in samples], dtype=torch.int64),
        torch.tensor([sample.prompt_id for sample in samples], dtype=torch.int64),
        [sample.prompt for sample in samples],
    )


def read_batches(shards: Iterable[Path], batch_size: int) -> Iterator[SampleBatch]:
    """The samples of the shards in the given order, ``batch_size`` at a time; the last batch may be smaller."""
    samples = (sample for shard in shards for sample in read_shard(shard))
    while chunk := list(islice(samples, batch_size)):
        yield collate(chunk)


@dataclass(frozen=True)
class ByRank:
    """WebDataset stage: the shards of one process. Takes rank and world size from its caller.

    WebDataset's own ``split_by_node`` asks the environment, which is empty in spawned workers: each reads everything.
    """

    rank: int
    world_size: int

    def __call__(self, shards: Iterable[Any]) -> Iterator[Any]:
        """Every ``world_size``-th shard, from ``rank`` on."""
        return islice(iter(shards), self.rank, None, self.world_size)


def _read_all(shards: Iterable[dict[str, str]]) -> Iterator[Sample]:
    """WebDataset stage: shard names -> samples."""
    for shard in shards:
        yield from read_shard(Path(shard["url"]))


def sample_pipeline(
    shards: Sequence[Path], batch_size: int, *, rank: int = 0, world_size: int = 1, shuffle: int = 0, seed: int = 0
) -> webdataset.DataPipeline:
    """An iterable data set of :class:`SampleBatch`, for a ``DataLoader`` with ``batch_size=None``.

    Each sample comes exactly once over all ranks and workers. Ranks get whole shards, so they may get unequal numbers:
    do not train with gradient synchronisation over it unless the shards divide evenly. With several workers batches
    interleave: sort by (seed, prompt_id) after gathering where order matters.

    Args:
        shards: tars with markers.
        batch_size: images in a batch; each worker's last one may be smaller.
        rank: of this process.
        world_size: processes that share the shards.
        shuffle: samples in the shuffle buffer; 0 = in order. Differs from epoch to epoch, is the same in every run.
        seed: of the shuffling.

    """
    import webdataset as wds

    stages: list[Any] = [wds.SimpleShardList([str(path) for path in shards])]
    if shuffle:
        stages.append(wds.detshuffle(len(shards), seed=seed))
    stages += [ByRank(rank, world_size), wds.split_by_worker, _read_all]
    if shuffle:
        stages.append(wds.detshuffle(shuffle, initial=shuffle, seed=seed))
    stages.append(wds.batched(batch_size, collation_fn=collate, partial=True))
    return wds.DataPipeline(*stages)
