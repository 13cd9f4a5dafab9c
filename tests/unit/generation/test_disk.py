"""Room on the disk: what is refused, what is warned of, and which errors mean that the disk is full. On a real one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_disk import INODES, SmallDisk, small_disk

from seedml.errors import UserError
from seedml.files import atomic_write_json
from seedml.generation.disk import (
    check_space,
    disk_full_error,
    free_bytes,
    full_disk_explained,
    human_bytes,
    is_disk_full,
)
from seedml.grid import Cell
from seedml.shards.commit import pending_path
from seedml.shards.format import Record
from seedml.shards.writer import ShardWriter

MEGABYTE = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 4 * MEGABYTE) as mounted:
        yield mounted


def test_free_space_is_that_of_the_folder_s_own_disk(disk: SmallDisk) -> None:
    assert free_bytes(disk.folder) == 4 * MEGABYTE
    assert free_bytes(disk.folder / "not" / "there" / "yet") == 4 * MEGABYTE
    (disk.folder / "half").write_bytes(bytes(2 * MEGABYTE))
    assert free_bytes(disk.folder / "not") == 2 * MEGABYTE
    assert free_bytes(disk.folder.parent) > 100 * MEGABYTE, "the disk that the small one is mounted on"


def test_what_surely_does_not_fit_is_refused_in_one_line(disk: SmallDisk, capsys: pytest.CaptureFixture[str]) -> None:
    folder = disk.folder / "shards" / "study"
    with pytest.raises(UserError) as refusal:
        check_space(folder, at_least=4 * MEGABYTE + 1, about=9_000_000)
    message = str(refusal.value)
    assert str(folder) in message
    for part in ("need 9 MB", "at the very least 4.19 MB", "4.19 MB are free", "remedy: make space", "shards.root="):
        assert part in message
    assert "\n" not in message
    assert capsys.readouterr() == ("", "")
    assert list(disk.folder.iterdir()) == [], "looking touches nothing"


def test_what_may_not_fit_is_warned_of_in_one_line(disk: SmallDisk, capsys: pytest.CaptureFixture[str]) -> None:
    check_space(disk.folder, at_least=4 * MEGABYTE, about=4 * MEGABYTE + 1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("seedml: warning: ")
    assert len(captured.err.splitlines()) == 1
    check_space(disk.folder, at_least=4 * MEGABYTE, about=4 * MEGABYTE + 1, warn=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("at_least", "about"), [(4 * MEGABYTE, 4 * MEGABYTE), (None, None), (0, 0)])
def test_what_fits_or_is_unknown_passes_in_silence(
    disk: SmallDisk, capsys: pytest.CaptureFixture[str], at_least: int | None, about: int | None
) -> None:
    check_space(disk.folder, at_least=at_least, about=about)
    assert capsys.readouterr() == ("", "")


def test_what_others_are_writing_is_part_of_what_is_to_come(disk: SmallDisk) -> None:
    """Else a process that joins when all but the last bytes are written would be refused."""
    (disk.folder / ".train-000000.tar.host.1.tmp").write_bytes(bytes(3 * MEGABYTE))
    check_space(disk.folder, at_least=4 * MEGABYTE, about=4 * MEGABYTE)
    (disk.folder / ".train-000000.tar.host.1.tmp").rename(disk.folder / "train-000000.tar")
    with pytest.raises(UserError, match="too small"):
        check_space(disk.folder, at_least=4 * MEGABYTE, about=4 * MEGABYTE)


def write_plainly(folder: Path) -> None:
    (folder / "file").write_bytes(bytes(8 * MEGABYTE))


def write_json(folder: Path) -> None:
    atomic_write_json(folder / "summary.json", {"text": "x" * 8 * MEGABYTE})


def write_pending(folder: Path) -> None:
    with pending_path(folder / "dataset.json") as temporary:
        temporary.write_text("x" * 8 * MEGABYTE)


def write_table(folder: Path) -> None:
    """Arrow's own kind of error."""
    noise = pa.array([os.urandom(MEGABYTE) for _ in range(8)])
    pq.write_table(pa.table({"noise": noise}), folder / "table.parquet", compression="none")


def write_shard(folder: Path) -> None:
    with ShardWriter(folder, "train-000000", "png", "fingerprint") as shard:
        for seed in range(8):
            shard.add(Record(Cell(seed, 0), "a prompt", "train", "0" * 64, 32, 32, os.urandom(MEGABYTE)))


def open_many_files(folder: Path) -> None:
    for number in range(INODES + 1):
        (folder / str(number)).touch()


@pytest.mark.parametrize("write", [write_plainly, write_json, write_pending, write_table, write_shard])
def test_a_full_disk_is_recognised_however_it_shows(disk: SmallDisk, write: Callable[[Path], None]) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 (whatever kind of exception it is)
        write(disk.folder)
    assert is_disk_full(caught.value), repr(caught.value)


def test_no_room_for_a_name_is_a_full_disk(disk: SmallDisk) -> None:
    """Of many small files, the disk's list of files may be full before the disk is."""
    with pytest.raises(OSError, match="No space left") as caught:
        open_many_files(disk.folder)
    assert is_disk_full(caught.value)


def test_a_used_up_quota_is_a_full_disk() -> None:
    assert is_disk_full(OSError(errno.EDQUOT, "Disk quota exceeded"))


def test_a_full_disk_is_recognised_behind_other_errors() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    cause, context = RuntimeError("a worker died"), RuntimeError("while cleaning up")
    cause.__cause__ = full
    context.__context__ = cause
    assert is_disk_full(cause)
    assert is_disk_full(context)
    hidden = RuntimeError("raised from None")
    hidden.__context__, hidden.__suppress_context__ = full, True
    assert is_disk_full(hidden)


def test_other_errors_are_no_full_disk() -> None:
    first, second = RuntimeError("out of memory"), OSError(errno.EACCES, "Permission denied")
    first.__context__, second.__context__ = second, first  # a circle must not be walked for ever
    assert not is_disk_full(first)
    assert not is_disk_full(MemoryError())
    assert not is_disk_full(OSError("No space left on device"))  # without a number it may be anything
    assert not is_disk_full(KeyboardInterrupt())


def test_the_word_on_a_full_disk_is_one_line() -> None:
    message = str(disk_full_error(Path("shards/study"), 3, 1200))
    assert "no space is left on the disk of shards/study; 3 of 1,200 shards are finished and whole" in message
    assert "run the same command again" in message
    assert "\n" not in message


def test_errors_of_a_full_disk_are_explained_and_others_pass() -> None:
    full, other = OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EACCES, "Permission denied")
    with pytest.raises(UserError, match="2 of 5 shards") as explained, full_disk_explained(Path(), lambda: 2, 5):
        raise full
    assert explained.value.__cause__ is full
    with pytest.raises(PermissionError) as passed, full_disk_explained(Path(), lambda: pytest.fail("counted"), 5):
        raise other
    assert passed.value is other
    with pytest.raises(SystemExit), full_disk_explained(Path(), lambda: pytest.fail("counted"), 5):
        raise SystemExit(143)
    with full_disk_explained(Path(), lambda: pytest.fail("counted"), 5):
        pass


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 KB"), (27_540, "27.5 KB"), (999_700, "1 MB"), (4.2e9, "4.2 GB"),
     (1.5e12, "1.5 TB"), (2e15, "2 PB"), (2e18, "2,000 PB")],
)  # fmt: skip
def test_bytes_for_people(count: float, text: str) -> None:
    assert human_bytes(count) == text
