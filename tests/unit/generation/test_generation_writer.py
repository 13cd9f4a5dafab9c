"""Batches -> shards beside the computation: order, errors, an unfinished tile."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from seedml.generation.module import GeneratedBatch
from seedml.generation.work import Work
from seedml.generation.writer import ShardQueue
from seedml.grid import Cell, Tile
from seedml.prompts import Prompt
from seedml.shards.dataset import ShardDataset
from seedml.shards.format import encode_image
from seedml.shards.reader import read_shard


@pytest.fixture
def dataset(tmp_path: Path) -> ShardDataset:
    prompts = {i: Prompt(i, f"prompt {i}", "train") for i in range(4)}
    return ShardDataset(tmp_path / "set", {"shards": {"format": "png"}}, {}, prompts)


def batch(tile: Tile, cells: list[Cell], *, last: bool, bad: tuple[int, ...] = ()) -> GeneratedBatch:
    images = torch.stack([torch.full((3, 8, 8), cell.seed * 10 + cell.prompt_id, dtype=torch.uint8) for cell in cells])
    images[:, :, -1, -1] = 255  # a picture of one value alone is none
    finite = torch.tensor([place not in bad for place in range(len(cells))])
    return GeneratedBatch(Work(tile, tuple(tile.cells())), cells, images, finite, ["0" * 64] * len(cells), last)


def put_all(queue: ShardQueue, tile: Tile, size: int = 3) -> list[Any]:
    cells = tile.cells()
    return [
        done
        for start in range(0, len(cells), size)
        for done in queue.put(batch(tile, cells[start : start + size], last=start + size >= len(cells)))
    ]


def names(dataset: ShardDataset) -> list[str]:
    return sorted(path.name for path in dataset.folder.iterdir())


TILES = [Tile("train", i, (2 * i, 2 * i + 1), (0, 1, 2, 3)) for i in range(5)]


def test_tiles_are_written_in_order_with_their_own_pixels(dataset: ShardDataset) -> None:
    queue = ShardQueue(dataset)
    committed = [done for tile in TILES for done in put_all(queue, tile)] + queue.close()
    assert [work.tile for work, _ in committed] == TILES
    for tile, marker in [(work.tile, marker) for work, marker in committed]:
        samples = list(read_shard(dataset.shard(tile), check_hash=True))
        assert [Cell(sample.seed, sample.prompt_id) for sample in samples] == tile.cells()
        shown = [int(sample.pixels()[0, 0, 0]) for sample in samples]
        assert shown == [cell.seed * 10 + cell.prompt_id for cell in tile.cells()]
        assert marker.count == 8


def test_a_failed_image_is_a_row_without_a_sample(dataset: ShardDataset) -> None:
    queue = ShardQueue(dataset)
    queue.put(batch(TILES[0], TILES[0].cells(), last=True, bad=(2,)))
    ((_, marker),) = queue.close()
    assert (marker.count, marker.cells) == (7, 8)
    assert TILES[0].cells()[2] not in [Cell(s.seed, s.prompt_id) for s in read_shard(dataset.shard(TILES[0]))]


def test_a_tile_whose_last_batch_never_came_leaves_nothing(dataset: ShardDataset) -> None:
    queue = ShardQueue(dataset)
    put_all(queue, TILES[0])
    queue.put(batch(TILES[1], TILES[1].cells()[:3], last=False))
    queue.close()
    assert names(dataset) == [f"{TILES[0].name}.{ending}" for ending in ("json", "parquet", "tar")]


@pytest.mark.parametrize("later_tiles", [0, 3])
def test_an_image_that_cannot_be_encoded_stops_the_run_and_its_tile(
    dataset: ShardDataset, monkeypatch: pytest.MonkeyPatch, later_tiles: int
) -> None:
    """The batches after the broken one must not be committed as a tile with a gap."""

    def broken(pixels: Any, image_format: str) -> bytes:
        if pixels[0, 0, 0] == 23:  # seed 2, prompt 3
            raise OSError("encoder broke")
        return encode_image(pixels, image_format)

    monkeypatch.setattr("seedml.generation.writer.encode_image", broken)
    queue = ShardQueue(dataset)
    put_all(queue, TILES[0])
    with pytest.raises(OSError, match="encoder broke"):  # noqa: PT012
        for tile in TILES[1 : 2 + later_tiles]:
            put_all(queue, tile)
        queue.close()
    assert queue.close(after_error=True) == []
    assert names(dataset) == [f"{TILES[0].name}.{ending}" for ending in ("json", "parquet", "tar")]


def test_a_full_disk_at_the_commit_leaves_no_marker_and_no_temporary_file(
    dataset: ShardDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    queue = ShardQueue(dataset)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):  # noqa: PT012
        for tile in TILES:
            put_all(queue, tile)
        queue.close()
    queue.close(after_error=True)
    assert names(dataset) == []


def test_memory_is_bounded(dataset: ShardDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk holds the computation back instead of filling the memory."""
    from seedml.generation import writer

    def slow(pixels: Any, image_format: str) -> bytes:
        time.sleep(0.005)
        return encode_image(pixels, image_format)

    monkeypatch.setattr("seedml.generation.writer.encode_image", slow)
    queue = ShardQueue(dataset)
    most = 0
    for tile in TILES:
        for cell in tile.cells():
            queue.put(batch(tile, [cell], last=cell == tile.cells()[-1]))
            most = max(most, len(queue._jobs))
    queue.close()
    assert most == writer.WAITING_BATCHES
