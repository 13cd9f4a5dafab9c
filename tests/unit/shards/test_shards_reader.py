"""Reading back: in order, complete, or with an error; by our reader, by webdataset and by datasets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from shard_samples import cells, pixels, write
from torch.utils.data import DataLoader

from seedml.errors import UserError
from seedml.files import sha256_of
from seedml.grid import Cell
from seedml.shards.format import Record
from seedml.shards.reader import read_batches, read_chosen, read_marker, read_shard, sample_pipeline
from seedml.shards.writer import ShardWriter

KINDS = "ignore:.*:DeprecationWarning"  # of the libraries that read along


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    return [write(tmp_path, f"train-{i:06d}", first_seed=10 * i, failed=(i,)) for i in range(5)]


def expected(shards: list[Path]) -> list[Cell]:
    """All cells but the failed ones, in the order of the files."""
    return [
        cell for i in range(len(shards)) for place, cell in enumerate(cells(first_seed=10 * i)) if place != i
    ]  # fmt: skip


def test_samples_come_in_order_with_their_pixels(shards: list[Path]) -> None:
    samples = [sample for shard in shards for sample in read_shard(shard, check_hash=True)]
    assert [(sample.seed, sample.prompt_id) for sample in samples] == expected(shards)
    for sample in samples:
        assert np.array_equal(sample.pixels(), pixels(Cell(sample.seed, sample.prompt_id)))
        assert (sample.split, sample.prompt) == ("train", f"prompt {sample.prompt_id}: café")
        assert sample.noise_sha256 == f"{sample.seed:064x}"


@pytest.mark.parametrize(
    ("prompts", "seeds"),
    [
        ({1, 3}, {0, 2, 11, 40}),
        ({0, 1, 2, 3}, {0}),
        (set(range(4)), set(range(50))),
        ({2}, {99}),
        (set(), {1}),
        ({1}, set()),
    ],
)
def test_chosen_samples_are_those_of_the_whole_reading(shards: list[Path], prompts: set[int], seeds: set[int]) -> None:
    for shard in shards:
        found = list(read_chosen(shard, prompts, seeds))
        assert found == [s for s in read_shard(shard) if s.prompt_id in prompts and s.seed in seeds]


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts the bytes that Linux says were read")
def test_single_pictures_of_a_large_shard_are_read_by_their_offset(tmp_path: Path) -> None:
    """A tar of 60 pictures of 300 KB; three are wanted."""
    noise = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
    with ShardWriter(tmp_path, "train-000000", "png", "f" * 64) as writer:
        for cell in cells(seeds=15, prompts=4):
            picture = noise + cell.key.encode()
            writer.add(Record(cell, "a prompt", "train", "0" * 64, 8, 8, picture))
    shard = tmp_path / "train-000000.tar"
    list(read_chosen(shard, {1}, {2}))  # whatever is imported is imported
    before = _bytes_read()
    found = list(read_chosen(shard, {2}, {3, 9, 14}))
    spent = _bytes_read() - before
    assert [sample.encoded for sample in found] == [noise + Cell(seed, 2).key.encode() for seed in (3, 9, 14)]
    assert spent < 0.1 * shard.stat().st_size


def _bytes_read() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))


def test_a_shard_without_a_chosen_sample_is_not_opened(shards: list[Path]) -> None:
    shards[0].unlink()
    assert list(read_chosen(shards[0], {1}, {10})) == []
    with pytest.raises(UserError, match=r"train-000000\.tar is damaged: the file is missing"):
        list(read_chosen(shards[0], {1}, {1}))


@pytest.mark.parametrize("size", [0, 512, 4096, -1024, -1])
def test_a_cut_shard_gives_no_chosen_sample(shards: list[Path], size: int) -> None:
    shards[0].write_bytes(shards[0].read_bytes()[:size])
    with pytest.raises(UserError, match=r"train-000000\.tar is damaged.*bytes.*remedy"):
        list(read_chosen(shards[0], {1}, {1}))


def test_a_tar_that_is_not_as_its_table_says_is_refused(shards: list[Path]) -> None:
    table = shards[0].with_suffix(".parquet")
    table.write_bytes(shards[1].with_suffix(".parquet").read_bytes())
    with pytest.raises(UserError, match="it lacks s0000000010_p0000002, which its table says is there"):
        list(read_chosen(shards[0], {2}, {10}))
    table.write_bytes(b"none")
    with pytest.raises(UserError, match="its table cannot be read"):
        list(read_chosen(shards[0], {2}, {1}))


@pytest.mark.parametrize("size", [0, 100, 512, 1024, 1536, 4096, 10240, -1024, -1])
def test_a_cut_shard_is_never_read_as_whole(shards: list[Path], size: int) -> None:
    """Plain webdataset reads some of these cuts without an error (TRAPS section 3)."""
    whole = shards[0].read_bytes()
    shards[0].write_bytes(whole[:size])
    with pytest.raises(UserError, match=r"train-000000\.tar is damaged.*bytes.*remedy"):
        list(read_shard(shards[0]))


def test_a_cut_shard_of_the_right_size_is_found_by_its_count(shards: list[Path]) -> None:
    whole = bytearray(shards[0].read_bytes())
    header = whole.index(cells()[3].key.encode())
    whole[header : header + 512] = bytes(512)  # tarfile stops here as if the file had ended
    shards[0].write_bytes(whole)
    with pytest.raises(UserError, match="damaged"):
        list(read_shard(shards[0]))


def test_a_flipped_bit_is_found_by_the_hash(shards: list[Path]) -> None:
    whole = bytearray(shards[0].read_bytes())
    whole[whole.index(b"IDAT") + 10] ^= 1
    shards[0].write_bytes(whole)
    with pytest.raises(UserError, match="SHA-256"):
        list(read_shard(shards[0], check_hash=True))


def test_a_shard_without_marker_does_not_exist(shards: list[Path]) -> None:
    shards[0].with_suffix(".json").unlink()
    with pytest.raises(UserError, match=r"not finished.*seedml generate"):
        list(read_shard(shards[0]))
    shards[1].with_suffix(".json").write_text('{"count": 3}')
    with pytest.raises(UserError, match="marker"):
        read_marker(shards[1])


def test_batches_hold_what_the_samples_hold(shards: list[Path]) -> None:
    batches = list(read_batches(shards, 10))
    assert [len(batch.images) for batch in batches] == [10, 10, 10, 10, 10, 5]
    seeds, prompts = (torch.cat([getattr(b, name) for b in batches]).tolist() for name in ("seeds", "prompt_ids"))
    assert list(zip(seeds, prompts, strict=True)) == expected(shards)
    images = torch.cat([batch.images for batch in batches])
    assert images.shape == (55, 3, 8, 8)
    assert images.dtype == torch.uint8
    for image, cell in zip(images, expected(shards), strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), pixels(cell))


@pytest.mark.filterwarnings(KINDS)
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize(("world", "workers"), [(1, 0), (1, 2), (2, 0), (2, 2), (7, 0), (3, 4)])
def test_every_sample_comes_once_over_ranks_and_workers(shards: list[Path], world: int, workers: int) -> None:
    """More ranks, or more workers, than shards is no error: some have nothing to do."""
    seen = []
    for rank in range(world):
        pipeline = sample_pipeline(shards, 4, rank=rank, world_size=world)
        start = "fork" if workers else None
        for batch in DataLoader(pipeline, batch_size=None, num_workers=workers, multiprocessing_context=start):
            seen += zip(batch.seeds.tolist(), batch.prompt_ids.tolist(), strict=True)
    assert len(seen) == 55
    assert sorted(seen) == sorted(expected(shards))
    if world == 1 and workers == 0:
        assert seen == expected(shards)


@pytest.mark.slow
@pytest.mark.filterwarnings(KINDS)
def test_spawned_workers_do_not_read_everything(shards: list[Path]) -> None:
    seen = []
    for rank in range(2):
        pipeline = sample_pipeline(shards, 4, rank=rank, world_size=2)
        loader = DataLoader(pipeline, batch_size=None, num_workers=1, multiprocessing_context="spawn")
        seen += [cell for b in loader for cell in zip(b.seeds.tolist(), b.prompt_ids.tolist(), strict=True)]
    assert sorted(seen) == sorted(expected(shards))


@pytest.mark.filterwarnings(KINDS)
def test_shuffling_changes_order_only_and_differs_from_epoch_to_epoch(shards: list[Path]) -> None:
    def epochs(seed: int) -> list[list[tuple[int, int]]]:
        pipeline = sample_pipeline(shards, 8, shuffle=100, seed=seed)
        return [
            [cell for b in pipeline for cell in zip(b.seeds.tolist(), b.prompt_ids.tolist(), strict=True)]
            for _ in range(2)
        ]  # fmt: skip

    first, again, other = epochs(0), epochs(0), epochs(1)
    assert first == again, "the same in every run"
    assert first[0] != first[1], "another order in the next epoch"
    assert first != other
    assert all(sorted(epoch) == sorted(expected(shards)) for epoch in [*first, *other])


@pytest.mark.filterwarnings(KINDS)
def test_a_damaged_shard_stops_the_pipeline(shards: list[Path]) -> None:
    shards[2].write_bytes(shards[2].read_bytes()[:10240])
    with pytest.raises(UserError, match="train-000002"):
        list(sample_pipeline(shards, 4))


@pytest.mark.filterwarnings(KINDS)
def test_plain_webdataset_reads_the_shards(shards: list[Path]) -> None:
    import webdataset as wds

    samples = list(wds.WebDataset([str(path) for path in shards], shardshuffle=False).decode("rgb8"))
    assert [(s["json"]["seed"], s["json"]["prompt_id"]) for s in samples] == expected(shards)
    for sample, cell in zip(samples, expected(shards), strict=True):
        assert sample["__key__"] == cell.key
        assert np.array_equal(sample["png"], pixels(cell))
        assert sample["txt"] == f"prompt {cell.prompt_id}: café"
        assert sample["json"]["status"] == "ok"


@pytest.mark.filterwarnings(KINDS)
def test_plain_datasets_reads_the_shards(shards: list[Path], tmp_path: Path) -> None:
    import datasets

    before = sha256_of(shards[0])
    files = {"train": [str(path) for path in shards]}
    rows = datasets.load_dataset("webdataset", data_files=files, split="train", cache_dir=str(tmp_path / "hf"))
    assert [(row["json"]["seed"], row["json"]["prompt_id"]) for row in rows] == expected(shards)
    for row, cell in zip(rows, expected(shards), strict=True):
        assert row["__key__"] == cell.key
        assert np.array_equal(np.asarray(row["png"]), pixels(cell))
        assert row["txt"] == f"prompt {cell.prompt_id}: café"
    assert sha256_of(shards[0]) == before
