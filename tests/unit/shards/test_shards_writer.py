"""A shard on disk: members, bytes, table, marker (DESIGN section 5), and nothing at all after an error."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from shard_samples import SIZE, cells, pixels, record, write

from seedml.files import sha256_of
from seedml.grid import Cell
from seedml.shards.format import decode_image, encode_image
from seedml.shards.writer import ShardWriter


def test_members_are_those_of_the_contract(tmp_path: Path) -> None:
    with tarfile.open(write(tmp_path)) as tar:
        members = tar.getmembers()
        contents = {member.name: tar.extractfile(member).read() for member in members}
    names = [f"s{c.seed:010d}_p{c.prompt_id:07d}.{ending}" for c in cells() for ending in ("png", "txt", "json")]
    assert [member.name for member in members] == names
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    for cell in cells():
        image = Image.open(io.BytesIO(contents[f"{cell.key}.png"]))
        assert np.array_equal(np.asarray(image), pixels(cell))
        assert contents[f"{cell.key}.txt"].decode() == f"prompt {cell.prompt_id}: café"
        assert json.loads(contents[f"{cell.key}.json"]) == {
            "seed": cell.seed, "prompt_id": cell.prompt_id, "prompt": f"prompt {cell.prompt_id}: café",
            "split": "train", "noise_sha256": f"{cell.seed:064x}", "status": "ok",
        }  # fmt: skip


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b")
    for ending in ("tar", "parquet", "json"):
        name = f"train-000000.{ending}"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_failed_cell_is_in_the_table_only(tmp_path: Path) -> None:
    shard = write(tmp_path, failed=(0, 5))
    with tarfile.open(shard) as tar:
        keys = {name.partition(".")[0] for name in tar.getnames()}
    rows = pq.read_table(shard.with_suffix(".parquet")).to_pylist()
    assert [(row["seed"], row["prompt_id"]) for row in rows] == cells()
    assert [row["key"] for row in rows if row["status"] == "ok"] == sorted(keys)
    failed = [row for row in rows if row["status"] == "failed"]
    assert [(row["key"], row["reason"], row["bytes"]) for row in failed] == [
        (cells()[0].key, "flat", 0),
        (cells()[5].key, "flat", 0),
    ]
    assert {(row["height"], row["width"], row["split"]) for row in rows} == {(SIZE, SIZE, "train")}
    marker = json.loads(shard.with_suffix(".json").read_text())
    assert (marker["count"], marker["cells"]) == (10, 12)


def test_the_marker_says_what_the_files_are(tmp_path: Path) -> None:
    shard = write(tmp_path)
    marker = json.loads(shard.with_suffix(".json").read_text())
    assert marker == {
        "count": 12, "cells": 12, "bytes": shard.stat().st_size, "sha256": sha256_of(shard),
        "table_sha256": sha256_of(shard.with_suffix(".parquet")), "fingerprint": "f" * 64,
    }  # fmt: skip
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half-way"), ShardWriter(tmp_path, "train-000000", "png", "f") as writer:  # noqa: PT012
        writer.add(record(cells()[0]))
        assert len(list(tmp_path.iterdir())) == 1
        raise RuntimeError("half-way")
    assert list(tmp_path.iterdir()) == []


def test_nothing_has_its_name_before_the_commit_and_the_marker_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names appear in the order tar, table, marker; each is on disk before it has its name."""
    synced: list[str] = []
    appeared: list[str] = []
    replace = Path.replace

    def spy(self: Path, target: Path) -> Path:
        assert self.name in synced, f"{target.name} got its name before its content was on disk"
        appeared.append(target.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", spy)
    monkeypatch.setattr("seedml.shards.commit._sync", lambda path: synced.append(path.name))
    write(tmp_path)
    assert appeared == ["train-000000.tar", "train-000000.parquet", "train-000000.json"]
    assert synced.count(tmp_path.name) == 3, "the folder's entry is synced after each name"


def test_making_a_shard_again_takes_its_marker_away_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)

    def full_disk(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path, first_seed=7)
    assert not (tmp_path / "train-000000.json").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("image_format", ["png", "webp", "jpg"])
def test_images_come_back(image_format: str) -> None:
    smooth = np.add.outer(np.arange(32), np.arange(32))[..., None] * np.array([4, 2, 1])
    image = smooth.astype(np.uint8)
    back = decode_image(encode_image(image, image_format))
    assert back.shape == image.shape
    assert back.dtype == np.uint8
    error = np.abs(back.astype(int) - image).max()
    assert error == 0 if image_format == "png" else error < 30
    assert encode_image(image, image_format) == encode_image(image.copy(), image_format)


def test_large_seeds_keep_their_key_and_value(tmp_path: Path) -> None:
    cell = Cell(2**63 - 1, 22_500)
    with ShardWriter(tmp_path, "test-000001", "png", "f") as writer:
        writer.add(record(cell, split="test"))
    with tarfile.open(tmp_path / "test-000001.tar") as tar:
        assert tar.getnames()[0] == "s9223372036854775807_p0022500.png"
    assert pq.read_table(tmp_path / "test-000001.parquet").to_pylist()[0]["seed"] == 2**63 - 1
