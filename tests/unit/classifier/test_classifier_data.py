"""Cache, labels and order: every row compared, every image exactly once, no prompt in two splits."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planted_shards import plant_shards, planted_picture

from seedml.classifier.cache import MARKER, CachedSplit, cached_splits, reduced
from seedml.classifier.data import (
    EvaluationOrder,
    SeedDataModule,
    SeedImages,
    TrainingOrder,
    class_labels,
    labels_shuffled_within_prompts,
)
from seedml.config import PromptsConfig, ShardsConfig, StudyConfig
from seedml.errors import UserError
from seedml.prompts import load_prompts
from seedml.shards.dataset import complete_dataset

SEEDS = (3, 7, 2**62, 11)  # not in order on purpose
FAILED = (7, 1)  # (seed, place of the prompt in its split)


def study(folder: Path) -> StudyConfig:
    return StudyConfig(
        name="tiny", seeds=list(SEEDS), prompts=PromptsConfig(limit=12, splits={"train": 6, "val": 3, "test": 3}),
        shards=ShardsConfig(root=str(folder / "shards"), tile_seeds=2, tile_prompts=2),
    )  # fmt: skip


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    config = study(folder)
    failed = failed_cell(config)
    plant_shards(
        config, lambda seed, prompt_id: None if (seed, prompt_id) == failed else planted_picture(seed, prompt_id)
    )
    return config


def failed_cell(config: StudyConfig) -> tuple[int, int]:
    ids = sorted(p.prompt_id for p in load_prompts(config.prompts) if p.split == "train")
    return FAILED[0], ids[FAILED[1]]


def build(config: StudyConfig, size: int, folder: Path, threads: int = 2) -> dict[str, CachedSplit]:
    dataset, tiles = complete_dataset(config)
    return cached_splits(dataset, tiles, size, folder, threads=threads)


def test_every_cached_row_is_its_own_picture(planted, tmp_path):
    splits = build(planted, 8, tmp_path / "cache")
    prompts = load_prompts(planted.prompts)
    expected = {split: sorted(p.prompt_id for p in prompts if p.split == split) for split in splits}
    for name, split in splits.items():
        cells = [(seed, prompt_id) for seed in sorted(SEEDS) for prompt_id in expected[name]]
        cells = [cell for cell in cells if cell != failed_cell(planted)]
        assert list(zip(split.seeds.tolist(), split.prompt_ids.tolist(), strict=True)) == cells
        pixels = split.open()[split.rows]
        for row, (seed, prompt_id) in zip(pixels, cells, strict=True):
            blocks = planted_picture(seed, prompt_id).reshape(8, 3, 8, 3, 3).astype(float).mean((1, 3))
            assert np.abs(row.transpose(1, 2, 0) - blocks).max() <= 1  # Pillow rounds once for each direction


def test_threads_and_shard_order_change_no_byte(planted, tmp_path):
    dataset, tiles = complete_dataset(planted)
    one = cached_splits(dataset, tiles, 8, tmp_path / "one", threads=1)
    many = cached_splits(dataset, tiles[::-1], 8, tmp_path / "many", threads=4)
    for name in one:
        assert one[name].path.read_bytes() == many[name].path.read_bytes()
        assert np.array_equal(one[name].seeds, many[name].seeds)
        assert np.array_equal(one[name].rows, many[name].rows)


def test_cache_is_reused_and_made_anew_for_another_size(planted, tmp_path):
    folder = tmp_path / "cache"
    first = build(planted, 8, folder)["train"].path.stat().st_mtime_ns
    assert build(planted, 8, folder)["train"].path.stat().st_mtime_ns == first
    assert build(planted, 6, folder)["train"].open().shape[1:] == (3, 6, 6)
    (folder / MARKER).unlink()  # killed while building
    assert build(planted, 6, folder)["train"].open().shape[1:] == (3, 6, 6)


def test_reduction_is_the_mean_over_blocks_in_any_mode():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    expected = pixels.reshape(4, 3, 4, 3, 3).mean((1, 3))
    for mode in ("RGB", "RGBA"):
        stream = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(stream, "PNG")
        assert np.abs(reduced(stream.getvalue(), 4) - expected).max() <= 1
        assert np.array_equal(reduced(stream.getvalue(), 12), pixels)
    assert reduced(stream.getvalue(), 5).shape == (5, 5, 3)


def test_an_unreadable_image_is_named(tmp_path):
    from seedml.shards.format import Record
    from seedml.shards.writer import ShardWriter

    config = study(tmp_path)
    dataset = plant_shards(config, planted_picture)
    _, tiles = complete_dataset(config)
    with ShardWriter(dataset.folder, tiles[0].name, "png", dataset.fingerprint) as writer:
        for cell in tiles[0].cells():
            writer.add(Record(cell, "x", tiles[0].split, "0" * 64, 24, 24, b"\x89PNG no image"))
    with pytest.raises(UserError, match=rf"{tiles[0].name}\.tar holds an image that cannot be read.*generate"):
        build(config, 8, tmp_path / "cache")
    assert not (tmp_path / "cache" / MARKER).exists()


def test_splits_share_no_prompt(planted, tmp_path):
    splits = build(planted, 8, tmp_path / "cache")
    prompts = [set(split.prompt_ids.tolist()) for split in splits.values()]
    assert len(set.union(*prompts)) == sum(map(len, prompts)) == 12


def test_labels_are_places_among_ascending_seeds(planted, tmp_path):
    split = build(planted, 8, tmp_path / "cache")["train"]
    ascending = sorted(SEEDS)
    assert [ascending[label] for label in class_labels(split, planted.seed_list)] == split.seeds.tolist()


def test_shuffled_labels_are_a_permutation_of_each_prompts_own():
    n_seeds, n_prompts = 16, 400
    prompt_ids = np.tile(np.arange(n_prompts) + 5, n_seeds)
    labels = np.repeat(np.arange(n_seeds), n_prompts)
    shuffled = labels_shuffled_within_prompts(labels, prompt_ids, 0).reshape(n_seeds, n_prompts)
    assert all(sorted(column) == list(range(n_seeds)) for column in shuffled.T)
    assert len({tuple(column) for column in shuffled.T}) == n_prompts  # no two prompts alike
    # fixed points of a random permutation: mean 1, variance 1
    fixed = (shuffled == np.arange(n_seeds)[:, None]).sum(0)
    assert abs(fixed.mean() - 1) < 4 / n_prompts**0.5
    # every seed gets every label about equally often: chi-square with 225 degrees of freedom
    counts = np.stack([np.bincount(row, minlength=n_seeds) for row in shuffled])
    chi_square = ((counts - n_prompts / n_seeds) ** 2 / (n_prompts / n_seeds)).sum()
    assert 140 < chi_square < 330
    again = labels_shuffled_within_prompts(labels, prompt_ids, 0).reshape(n_seeds, n_prompts)
    other = labels_shuffled_within_prompts(labels, prompt_ids, 1).reshape(n_seeds, n_prompts)
    assert np.array_equal(again, shuffled)
    assert not np.array_equal(other, shuffled)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("count", [7, 64, 65])
def test_evaluation_sees_every_image_exactly_once(count, world_size):
    orders = [EvaluationOrder(count, 4, rank, world_size) for rank in range(world_size)]
    seen = [index for order in orders for batch in order for index in batch]
    assert sorted(seen) == list(range(count))
    assert all(len(list(order)) == len(order) for order in orders)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_an_epoch_of_training_repeats_nothing_and_ranks_stay_in_step(world_size):
    count, size = 65, 8
    orders = [TrainingOrder(count, size, 0, rank, world_size) for rank in range(world_size)]
    epochs, missed = [], set()
    for epoch in range(3):
        for order in orders:
            order.set_epoch(epoch)
        batches = [list(order) for order in orders]
        assert {len(rank) for rank in batches} == {len(orders[0])}
        assert all(size // 2 <= len(batch) <= size for rank in batches for batch in rank)
        seen = [index for rank in batches for batch in rank for index in batch]
        assert len(seen) == len(set(seen)) == count - count % world_size
        missed |= set(range(count)) - set(seen)
        epochs.append(seen)
    assert epochs[0] != epochs[1] != epochs[2]
    assert len(missed) in (0, *range(count % world_size + 1, 3 * world_size))  # not the same ones in each epoch


def test_batches_do_not_depend_on_worker_processes(planted, tmp_path):
    read = {}
    for workers in (0, 2):
        data = SeedDataModule(
            lambda: build(planted, 8, tmp_path / "cache"), lambda split: class_labels(split, planted.seed_list),
            batch_size=5, seed=4, num_workers=workers,
        )  # fmt: skip
        data.prepare_data()
        data.setup()
        loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
        read[workers] = [batch for loader in loaders for batch in loader]
    assert len(read[0]) == len(read[2]) == 7
    for alone, worked in zip(read[0], read[2], strict=True):
        assert all(left.equal(right) for left, right in zip(alone, worked, strict=True))


def test_data_sets_travel_to_spawned_workers_without_their_pixels(planted, tmp_path):
    split = build(planted, 8, tmp_path / "cache")["train"]
    images = SeedImages(split, class_labels(split, planted.seed_list))
    batch = images[[0, 5]]
    sent = pickle.dumps(images)
    assert len(sent) < 4000
    assert pickle.loads(sent)[[0, 5]].images.equal(batch.images)
