"""Every kind of damage is found, named exactly, and nothing else is named. Shards are real, their pictures drawn."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planted_shards import plant_shards, planted_picture

from seedml.config import PromptsConfig, ShardsConfig, StudyConfig
from seedml.files import sha256_of
from seedml.grid import Tile, build_grid
from seedml.prompts import load_prompts
from seedml.shards import verify
from seedml.shards.commit import PendingFile
from seedml.shards.dataset import ShardDataset, open_dataset
from seedml.shards.verify import Kind, inspect_folder, inspect_tile, inspect_tiles

SHARD = "train-000000"
"""The one that is damaged: seeds 0, 1, 2 × prompts 1, 2."""
FAILED = (1, 2)
"""The cell of it without an image."""
FAILED_KEY = "s0000000001_p0000002"
KEY = "s0000000000_p0000001"
"""Of its first sample."""

Members = list[tuple[str, bytes]]
Rows = list[dict[str, Any]]


def study(root: Path) -> StudyConfig:
    """3 seeds × 10 prompts in 6 tiles of 3 to 6 images."""
    prompts = PromptsConfig(limit=10, splits={"train": 6, "val": 3, "test": 1})
    shards = ShardsConfig(root=str(root), tile_seeds=3, tile_prompts=2)
    return StudyConfig(name="study", seeds="0:3", prompts=prompts, shards=shards)


def tiles() -> list[Tile]:
    config = study(Path())
    return build_grid(config, load_prompts(config.prompts)).tiles_for(config.shards)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = study(tmp_path_factory.mktemp("planted"))
    plant_shards(config, lambda *cell: None if cell == FAILED else planted_picture(*cell, side=12))
    return config.shard_dir


@pytest.fixture
def dataset(planted: Path, tmp_path: Path) -> ShardDataset:
    """A copy to damage."""
    return open_dataset(Path(shutil.copytree(planted, tmp_path / "study")))


def found(dataset: ShardDataset) -> list[tuple[str, Kind]]:
    """All that is wrong in the folder, with its files."""
    reports = list(inspect_tiles(dataset, tiles()))
    assert [report.tile for report in reports] == tiles()
    findings = [finding for report in reports for finding in report.findings] + inspect_folder(dataset, tiles())
    return [(finding.file, finding.kind) for finding in findings]


def detail(dataset: ShardDataset) -> str:
    (finding,) = inspect_tile(dataset, tiles()[0]).findings
    return finding.detail


def edit_marker(folder: Path, **values: object) -> None:
    path = folder / f"{SHARD}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def edit_tar(folder: Path, edit: Callable[[Members], Members], *, honest: bool = True) -> None:
    """Write the tar with other members; ``honest``: with a marker that says so, as a faulty program would."""
    path = folder / f"{SHARD}.tar"
    with tarfile.open(path) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in edit(members):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    if honest:
        edit_marker(folder, bytes=path.stat().st_size, sha256=sha256_of(path))


def edit_table(folder: Path, edit: Callable[[Rows], Rows], *, honest: bool = True, **options: Any) -> None:
    path = folder / f"{SHARD}.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.Table.from_pylist(edit(table.to_pylist()), schema=table.schema), path, **options)
    if honest:
        edit_marker(folder, table_sha256=sha256_of(path))


def change(name: str, data: bytes) -> Callable[[Members], Members]:
    return lambda members: [(n, data if n == name else d) for n, d in members]


def described(**values: object) -> Callable[[Members], Members]:
    """Other values in the first sample's description."""

    def edit(members: Members) -> Members:
        about = json.loads(dict(members)[f"{KEY}.json"])
        assert all(about[key] != value for key, value in values.items())
        return change(f"{KEY}.json", json.dumps(about | values).encode())(members)

    return edit


def row(number: int, **values: object) -> Callable[[Rows], Rows]:
    return lambda rows: [one | values if place == number else one for place, one in enumerate(rows)]


def test_whole_shards_are_whole(dataset: ShardDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """And cost one reading: no image is decoded, no tar read again."""
    monkeypatch.setattr(verify, "undecodable_images", lambda *_: pytest.fail("a good tar was read twice"))
    before = {path: path.stat().st_mtime_ns for path in dataset.folder.iterdir()}
    assert found(dataset) == []
    counts = [(report.marker.count, report.marker.cells) for report in inspect_tiles(dataset, tiles()) if report.marker]
    assert counts == [(5, 6), (6, 6), (6, 6), (6, 6), (3, 3), (3, 3)]
    assert {path: path.stat().st_mtime_ns for path in dataset.folder.iterdir()} == before


@pytest.mark.parametrize("endings", [("json",), ("json", "tar"), ("json", "parquet", "tar")])
def test_a_missing_tile(dataset: ShardDataset, endings: tuple[str, ...]) -> None:
    for ending in endings:
        (dataset.folder / f"{SHARD}.{ending}").unlink()
    assert found(dataset) == [(f"{SHARD}.tar", Kind.MISSING_TILE)]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"count": 1}', b'{"sort": "other"}', b"\xff\xfe"])
def test_a_marker_that_cannot_be_read(dataset: ShardDataset, content: bytes) -> None:
    (dataset.folder / f"{SHARD}.json").write_bytes(content)
    assert found(dataset) == [(f"{SHARD}.json", Kind.DAMAGED_MARKER)]
    assert "remedy" not in detail(dataset)


@pytest.mark.parametrize("wrong", [{"count": 6}, {"cells": 5}])
def test_a_marker_that_miscounts(dataset: ShardDataset, wrong: dict[str, int]) -> None:
    edit_marker(dataset.folder, **wrong)
    assert found(dataset) == [(f"{SHARD}.json", Kind.DAMAGED_MARKER)]
    assert next(iter(wrong)) in detail(dataset)


@pytest.mark.parametrize(("key", "file"), [("bytes", "tar"), ("sha256", "tar"), ("table_sha256", "parquet")])
def test_a_marker_with_a_value_of_another_type(dataset: ShardDataset, key: str, file: str) -> None:
    edit_marker(dataset.folder, **{key: None})
    assert found(dataset) == [(f"{SHARD}.{file}", Kind.TORN_TAR if key == "bytes" else Kind.WRONG_HASH)]


def test_a_tile_of_other_settings(dataset: ShardDataset) -> None:
    edit_marker(dataset.folder, fingerprint="0" * 64)
    assert found(dataset) == [(f"{SHARD}.json", Kind.OTHER_FINGERPRINT)]


def test_a_tar_cut_anywhere(dataset: ShardDataset) -> None:
    """At every block boundary and beside it; plain readers take many of these tars for whole ones."""
    path = dataset.folder / f"{SHARD}.tar"
    whole, taken_for_whole = path.read_bytes(), 0
    for boundary in range(0, len(whole), 512):
        for size in {max(0, boundary - 1), boundary, boundary + 1}:
            path.write_bytes(whole[:size])
            assert found(dataset) == [(path.name, Kind.TORN_TAR)], f"{size} bytes"
            assert f"{size} bytes where its marker says {len(whole)}" in detail(dataset)
        try:
            with tarfile.open(path) as tar:
                taken_for_whole += len(tar.getnames()) < 15
        except tarfile.TarError:
            pass
    assert taken_for_whole >= 10, "else this test does not reach the trap"


def test_a_cut_tar_is_torn_even_if_its_marker_vouches_for_it(dataset: ShardDataset) -> None:
    """As after a program that took what it could read for the whole, and hashed it."""
    path = dataset.folder / f"{SHARD}.tar"
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]
    end = last.offset_data + -(-last.size // 512) * 512  # where the closing blocks begin
    for size in range(0, end + 2048, 512):
        path.write_bytes(whole[:size])
        edit_marker(dataset.folder, bytes=size, sha256=sha256_of(path))
        assert found(dataset) == ([(path.name, Kind.TORN_TAR)] if size < end + 1024 else []), f"{size} bytes"


@pytest.mark.parametrize("tail", [b"\0", b"x", bytes(10240)])
def test_a_tar_that_is_too_long(dataset: ShardDataset, tail: bytes) -> None:
    path = dataset.folder / f"{SHARD}.tar"
    path.write_bytes(path.read_bytes() + tail)
    assert found(dataset) == [(path.name, Kind.TORN_TAR)]


def test_a_tar_that_is_not_there(dataset: ShardDataset) -> None:
    (dataset.folder / f"{SHARD}.tar").unlink()
    assert found(dataset) == [(f"{SHARD}.tar", Kind.TORN_TAR)]
    assert detail(dataset) == "the file is missing"


def test_a_damaged_header_is_no_end(dataset: ShardDataset) -> None:
    """Even where the hash was taken of the damaged file."""
    path = dataset.folder / f"{SHARD}.tar"
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        data[tar.getmembers()[4].offset] ^= 1
    path.write_bytes(data)
    with tarfile.open(path) as tar:
        assert len(tar.getnames()) == 4, "as plain readers see it"
    assert found(dataset) == [(path.name, Kind.TORN_TAR), (path.name, Kind.WRONG_HASH)]
    edit_marker(dataset.folder, sha256=sha256_of(path))
    assert found(dataset) == [(path.name, Kind.TORN_TAR)]
    assert detail(dataset).startswith("bad checksum")


def test_a_single_flipped_bit(dataset: ShardDataset) -> None:
    """Anywhere in the tar, in padding and closing blocks too, and anywhere in the table."""
    for ending, kind in (("tar", Kind.WRONG_HASH), ("parquet", None)):
        path = dataset.folder / f"{SHARD}.{ending}"
        whole = path.read_bytes()
        for place in range(0, len(whole), 211):
            data = bytearray(whole)
            data[place] ^= 1 << place % 8
            path.write_bytes(data)
            findings = found(dataset)
            assert (path.name, kind or Kind.WRONG_HASH) in findings or (path.name, Kind.UNREADABLE_TABLE) in findings
            assert {file.partition(".")[0] for file, _ in findings} == {SHARD}
        path.write_bytes(whole)
    assert found(dataset) == []


def test_an_image_that_cannot_be_decoded_is_named(dataset: ShardDataset) -> None:
    path = dataset.folder / f"{SHARD}.tar"
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        places = {member.name: member.offset_data for member in tar}
    data[places[f"{KEY}.png"] + 60] ^= 0xFF
    path.write_bytes(data)
    assert found(dataset) == [(path.name, Kind.UNDECODABLE_IMAGE), (path.name, Kind.WRONG_HASH)]
    assert [str(finding) for finding in inspect_tile(dataset, tiles()[0]).findings] == [
        f"{SHARD}.tar: undecodable image: {KEY}.png", f"{SHARD}.tar: wrong hash: its SHA-256 is not its marker's",
    ]  # fmt: skip


@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"x" * 4000])
def test_a_table_that_cannot_be_read(dataset: ShardDataset, content: bytes | None) -> None:
    path = dataset.folder / f"{SHARD}.parquet"
    path.write_bytes(path.read_bytes()[:-20] if content is None else content)
    assert found(dataset) == [(path.name, Kind.UNREADABLE_TABLE)]
    path.unlink()
    assert found(dataset) == [(path.name, Kind.UNREADABLE_TABLE)]


def test_a_table_without_a_column(dataset: ShardDataset) -> None:
    path = dataset.folder / f"{SHARD}.parquet"
    pq.write_table(pq.read_table(path).drop(["noise_sha256"]), path)
    edit_marker(dataset.folder, table_sha256=sha256_of(path))
    assert found(dataset) == [(path.name, Kind.UNREADABLE_TABLE)]


def test_a_table_of_another_hash(dataset: ShardDataset) -> None:
    edit_table(dataset.folder, lambda rows: rows, honest=False, compression="zstd")
    assert found(dataset) == [(f"{SHARD}.parquet", Kind.WRONG_HASH)]


@pytest.mark.parametrize("ending", ["png", "txt", "json"])
def test_a_sample_that_lacks_a_member(dataset: ShardDataset, ending: str) -> None:
    edit_tar(dataset.folder, lambda members: [m for m in members if m[0] != f"{KEY}.{ending}"])
    assert found(dataset) == [(f"{SHARD}.tar", Kind.MISSING_MEMBER)]
    assert detail(dataset) == f"{KEY}.{ending}"


def test_members_are_missed_without_a_table(dataset: ShardDataset) -> None:
    edit_tar(dataset.folder, lambda members: [m for m in members if not m[0].endswith(".txt")])
    (dataset.folder / f"{SHARD}.parquet").unlink()
    assert found(dataset) == [(f"{SHARD}.parquet", Kind.UNREADABLE_TABLE), (f"{SHARD}.tar", Kind.MISSING_MEMBER)]
    assert inspect_tile(dataset, tiles()[0]).findings[1].detail == f"{KEY}.txt (and 4 more)"


def test_damage_that_the_marker_does_not_admit_has_both_names(dataset: ShardDataset) -> None:
    edit_tar(dataset.folder, lambda members: [m for m in members if m[0] != f"{KEY}.txt"], honest=False)
    kind = Kind.TORN_TAR if (dataset.folder / f"{SHARD}.tar").stat().st_size != 20480 else Kind.WRONG_HASH
    assert found(dataset) == sorted([(f"{SHARD}.tar", Kind.MISSING_MEMBER), (f"{SHARD}.tar", kind)])


TAR_EDITS: dict[str, tuple[Callable[[Members], Members], str]] = {
    "sample gone": (lambda m: m[3:], f"{KEY} has a row of status ok and no sample"),
    "sample of a failed cell": (lambda m: [*m, *((FAILED_KEY + n[len(KEY) :], d) for n, d in m[:3])],
                                f"{FAILED_KEY}.png has no row of status ok (and 2 more)"),
    "stray member": (lambda m: [*m, ("README", b"hello")], "README has no row of status ok"),
    "order": (lambda m: [*m[3:], *m[:3]], "not in the order"),
    "members' order": (lambda m: [m[1], m[0], *m[2:]], "not in the order"),
    "sample twice": (lambda m: [*m[:3], *m], "not in the order"),
    "prompt": (change(f"{KEY}.txt", b"another prompt"), f"{KEY}.txt is not the prompt"),
    "image": (change(f"{KEY}.png", b"of another length"), f"{KEY}.png has 17 bytes, its row says"),
    "no JSON": (change(f"{KEY}.json", b"{"), f"{KEY}.json is no description"),
    "other JSON": (change(f"{KEY}.json", b"[]"), f"{KEY}.json is no description"),
    **{
        key: (described(**{key: value}), f"{KEY}.json has another {key}")
        for key, value in {"seed": 1, "prompt_id": 2, "prompt": "x", "split": "val", "noise_sha256": "1" * 64,
                           "status": "failed"}.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("name", TAR_EDITS)
def test_a_tar_that_disagrees_with_its_table(dataset: ShardDataset, name: str) -> None:
    edit, said = TAR_EDITS[name]
    edit_tar(dataset.folder, edit)
    findings = [finding for finding in found(dataset) if finding[1] is not Kind.MISSING_MEMBER]
    assert findings == [(f"{SHARD}.tar", Kind.DISAGREEMENT)]
    disagreement = next(f for f in inspect_tile(dataset, tiles()[0]).findings if f.kind is Kind.DISAGREEMENT)
    assert said in disagreement.detail


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda rows: [rows[1], rows[0], *rows[2:]], id="order"),
        pytest.param(lambda rows: rows[:-1], id="row gone"),
        pytest.param(lambda rows: [*rows, rows[-1]], id="row twice"),
        pytest.param(row(0, seed=1), id="seed"),
        pytest.param(row(0, prompt_id=9), id="prompt_id"),
        pytest.param(row(0, prompt="x"), id="prompt"),
        pytest.param(row(0, split="val"), id="split"),
    ],
)
def test_a_table_that_is_not_the_plan_s(dataset: ShardDataset, edit: Callable[[Rows], Rows]) -> None:
    edit_table(dataset.folder, edit)
    findings = found(dataset)
    assert (f"{SHARD}.parquet", Kind.DISAGREEMENT) in findings
    assert set(findings) <= {(f"{SHARD}.{ending}", Kind.DISAGREEMENT) for ending in ("parquet", "tar")}


@pytest.mark.parametrize("edit", [row(0, status="failed"), row(3, status="ok"), row(0, noise_sha256="1" * 64)])
def test_a_table_that_follows_the_plan_but_not_the_tar(dataset: ShardDataset, edit: Callable[[Rows], Rows]) -> None:
    edit_table(dataset.folder, edit)
    assert found(dataset) == [(f"{SHARD}.tar", Kind.DISAGREEMENT)]


def test_a_whole_shard_under_another_s_name(dataset: ShardDataset) -> None:
    for ending in ("tar", "parquet", "json"):
        shutil.copy(dataset.folder / f"train-000001.{ending}", dataset.folder / f"{SHARD}.{ending}")
    assert found(dataset) == [(f"{SHARD}.parquet", Kind.DISAGREEMENT)]


def test_foreign_files(dataset: ShardDataset) -> None:
    names = [".swp", ".train-000000.tar.tmp", "notes.txt", "train-000003.tar", "val-000000.tar.bak"]
    for name in names:
        (dataset.folder / name).write_text("x")
    (dataset.folder / "old").mkdir()
    assert found(dataset) == [(name, Kind.FOREIGN_FILE) for name in sorted([*names, "old"])]


WRITE_AND_WAIT = """
import sys
from pathlib import Path
from seedml.shards.commit import PendingFile
path = PendingFile(Path(sys.argv[1])).temporary
path.write_text("x")
print(path.name, flush=True)
sys.stdin.read()
"""


def test_what_a_live_process_writes_is_neither_foreign_nor_a_leftover(dataset: ShardDataset) -> None:
    (dataset.folder / ".claims").mkdir()
    (dataset.folder / ".claims" / f"{SHARD}.1").write_text("some process")
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_AND_WAIT, dataset.folder / f"{SHARD}.tar"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    assert (dataset.folder / name).is_file()
    assert found(dataset) == []
    process.communicate()
    assert found(dataset) == [(name, Kind.LEFTOVER)]


def test_a_leftover_of_our_own_earlier_run(dataset: ShardDataset) -> None:
    leftover = PendingFile(dataset.folder / f"{SHARD}.tar").temporary
    leftover.write_text("x")
    assert found(dataset) == [(leftover.name, Kind.LEFTOVER)]


def test_the_number_of_threads_changes_neither_findings_nor_order(dataset: ShardDataset) -> None:
    edit_marker(dataset.folder, fingerprint="0" * 64)
    (dataset.folder / "train-000002.json").unlink()
    (dataset.folder / "val-000001.parquet").unlink()
    tar = dataset.folder / "test-000000.tar"
    tar.write_bytes(tar.read_bytes()[:512])
    alone = list(inspect_tiles(dataset, tiles(), threads=1))
    assert [bool(report.findings) for report in alone] == [True, False, True, False, True, True]
    for threads in (2, 5):
        assert list(inspect_tiles(dataset, tiles(), threads=threads)) == alone


def test_a_shard_that_is_made_again_meanwhile_is_not_called_damaged(
    dataset: ShardDataset, planted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process replaces tar and marker after we have read the old tar."""
    tar = dataset.folder / f"{SHARD}.tar"
    tar.write_bytes(tar.read_bytes()[:512])
    read, readings = verify.read_tar, []

    def overtaken(shard: Path, image_format: str) -> Any:
        contents = read(shard, image_format)
        if not readings:
            for ending in ("tar", "json"):
                fresh = shutil.copy(planted / f"{SHARD}.{ending}", dataset.folder / ".fresh")
                os.replace(fresh, dataset.folder / f"{SHARD}.{ending}")  # noqa: PTH105
        readings.append(contents)
        return contents

    monkeypatch.setattr(verify, "read_tar", overtaken)
    report = inspect_tile(dataset, tiles()[0])
    assert (len(readings), report.findings) == (2, ())
    assert readings[0].broken
    assert dataclasses.asdict(report.marker) == json.loads((planted / f"{SHARD}.json").read_text())  # type: ignore[arg-type]
