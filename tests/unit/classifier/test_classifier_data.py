"""Images, labels and order: every row compared, every image exactly once, no prompt in two splits."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from planted_shards import plant_shards, planted_picture

from seedml.classifier import split_images
from seedml.classifier.data import (
    EvaluationOrder,
    SeedDataModule,
    SeedImages,
    TrainingOrder,
    class_labels,
    labels_shuffled_within_prompts,
)
from seedml.classifier.split_images import MARKER, SplitImages, open_splits, reduced
from seedml.config import PromptsConfig, ShardsConfig, StudyConfig
from seedml.errors import UserError
from seedml.prompts import load_prompts
from seedml.shards.dataset import complete_dataset
from seedml.shards.format import Record, decode_image, encode_image
from seedml.shards.writer import ShardWriter

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


def build(config: StudyConfig, size: int, folder: Path, cache: str = "always") -> dict[str, SplitImages]:
    dataset, tiles = complete_dataset(config)
    return open_splits(dataset, tiles, size, folder, cache=cache, threads=2)


def all_pixels(split: SplitImages, threads: int = 1) -> np.ndarray:
    return split.pixels(np.arange(len(split)), threads=threads)


@pytest.mark.parametrize("cache", ["always", "never"])
def test_every_row_is_its_own_picture_decoded_or_kept(planted, tmp_path, cache, monkeypatch):
    splits = build(planted, 8, tmp_path / "cache", cache)
    prompts = load_prompts(planted.prompts)
    expected = {split: sorted(p.prompt_id for p in prompts if p.split == split) for split in splits}
    for name, split in splits.items():
        cells = [(seed, prompt_id) for seed in sorted(SEEDS) for prompt_id in expected[name]]
        cells = [cell for cell in cells if cell != failed_cell(planted)]
        assert list(zip(split.seeds.tolist(), split.prompt_ids.tolist(), strict=True)) == cells
        decoded = all_pixels(split)
        for row, encoded, (seed, prompt_id) in zip(decoded, split.encoded(range(len(split))), cells, strict=True):
            assert np.array_equal(decode_image(encoded), planted_picture(seed, prompt_id))
            blocks = planted_picture(seed, prompt_id).reshape(8, 3, 8, 3, 3).astype(float).mean((1, 3))
            assert np.abs(row - blocks).max() <= 1  # Pillow rounds once for each direction
    if cache == "always":
        monkeypatch.setattr(split_images, "reduced", None)  # nothing may be decoded again
    for name, split in build(planted, 8, tmp_path / "cache", cache).items():
        assert np.array_equal(all_pixels(split), all_pixels(splits[name], threads=3))


def test_order_of_tiles_and_threads_change_no_row(planted, tmp_path):
    dataset, tiles = complete_dataset(planted)
    one = open_splits(dataset, tiles, 8, tmp_path / "one", threads=1)
    many = open_splits(dataset, tiles[::-1], 8, tmp_path / "many", threads=4)
    for name in one:
        assert np.array_equal(one[name].seeds, many[name].seeds)
        assert np.array_equal(one[name].prompt_ids, many[name].prompt_ids)
        assert np.array_equal(all_pixels(one[name]), all_pixels(many[name], threads=4))


def test_the_folder_is_used_again_for_the_same_images_and_emptied_for_others(planted, tmp_path):
    folder = tmp_path / "cache"

    def stamps() -> list[int]:
        return sorted(path.stat().st_mtime_ns for path in folder.glob("*.npy") if "." not in path.stem)

    build(planted, 8, folder)
    first = stamps()
    build(planted, 8, folder)
    assert stamps() == first
    assert all_pixels(build(planted, 6, folder)["train"]).shape[1:] == (6, 6, 3)
    assert stamps() > first
    (folder / MARKER).unlink()  # killed while indexing
    assert all_pixels(build(planted, 6, folder)["train"]).shape[1:] == (6, 6, 3)


def test_reduction_is_the_mean_over_blocks_in_any_mode():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    expected = pixels.reshape(4, 3, 4, 3, 3).mean((1, 3))
    for mode in ("RGB", "RGBA"):
        stream = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(stream, "PNG")
        assert np.abs(reduced(stream.getvalue(), 4) - expected).max() <= 1
        assert np.array_equal(reduced(stream.getvalue(), 12), pixels)
    assert reduced(stream.getvalue(), 5).shape == (5, 5, 3)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named_in_one_line_whoever_reads_it(tmp_path, workers):
    config = study(tmp_path)
    dataset = plant_shards(config, planted_picture)
    _, tiles = complete_dataset(config)
    cells = tiles[0].cells()
    with ShardWriter(dataset.folder, tiles[0].name, "png", dataset.fingerprint) as writer:
        for cell in cells:
            image = b"\x89PNG no image" if cell == cells[1] else encode_image(planted_picture(*cell), "png")
            writer.add(Record(cell, "x", tiles[0].split, "0" * 64, 24, 24, image))
    data = data_module(config, tmp_path, workers)
    message = rf"^\S*{tiles[0].name}\.tar is damaged: its image {cells[1].key} cannot be read.*generate.*again$"
    with pytest.raises(UserError, match=message):
        list(data.train_dataloader())


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


@pytest.mark.parametrize(("count", "size", "world_size"), [(65, 8, 1), (65, 8, 2), (65, 8, 3), (5, 1, 2), (7, 4, 5)])
def test_an_epoch_of_training_is_every_image_once_and_ranks_stay_in_step(count, size, world_size):
    orders = [TrainingOrder(count, size, 0, rank, world_size) for rank in range(world_size)]
    epochs = []
    for epoch in range(3):
        for order in orders:
            order.set_epoch(epoch)
        batches = [list(order) for order in orders]
        assert {len(rank) for rank in batches} == {len(orders[0])}
        sizes = [len(batch) for rank in batches for batch in rank]
        assert max(sizes) - min(sizes) <= 2
        assert min(sizes) >= 1
        assert max(sizes) <= size + (size == 1)  # five images for two in pairs of one: one pair has three
        seen = [index for rank in batches for batch in rank for index in batch]
        assert sorted(seen) == list(range(count))
        epochs.append(seen)
    assert epochs[0] != epochs[1] != epochs[2]


def test_steps_are_of_the_same_images_for_any_number_of_processes():
    """So long as the images of a step are as many."""
    alone = list(TrainingOrder(64, 16, 0))
    shared = [list(TrainingOrder(64, 4, 0, rank, 4)) for rank in range(4)]
    for step, batch in enumerate(alone):
        assert sorted(batch) == sorted(index for rank in shared for index in rank[step])


def test_an_interrupted_epoch_is_ended_with_the_images_it_had_not_seen():
    whole = [list(TrainingOrder(65, 8, 0, epoch=epoch)) for epoch in (2, 3)]
    resumed = TrainingOrder(65, 8, 0, epoch=2, batch=5)
    assert len(resumed) == len(whole[0])  # Lightning counts on from the checkpoint's batch
    assert list(resumed) == whole[0][5:]
    resumed.set_epoch(3)
    assert list(resumed) == whole[1]


def test_more_processes_than_images_are_refused():
    for order in (lambda: TrainingOrder(3, 8, 0, 0, 4), lambda: EvaluationOrder(3, 8, 0, 4)):
        with pytest.raises(UserError, match=r"4 processes cannot share 3 images.*trainer\.devices"):
            order()


def data_module(config: StudyConfig, folder: Path, workers: int | None, cache: str = "always") -> SeedDataModule:
    data = SeedDataModule(
        lambda: build(config, 8, folder / "cache", cache), lambda split: class_labels(split, config.seed_list),
        batch_size=5, seed=4, num_workers=workers,
    )  # fmt: skip
    data.prepare_data()
    data.setup()
    return data


def test_batches_do_not_depend_on_worker_processes_or_on_what_is_kept(planted, tmp_path):
    read = []
    for cache, workers in (("never", None), ("never", 2), ("always", 2), ("always", None)):
        data = data_module(planted, tmp_path, workers, cache)
        loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
        read.append([batch for loader in loaders for batch in loader])
    assert len(read[0]) == 7
    for alone, *others in zip(*read, strict=True):
        assert alone.images.dtype == torch.uint8
        assert alone.images.is_contiguous(memory_format=torch.channels_last)
        for other in others:
            assert all(left.equal(right) for left, right in zip(alone, other, strict=True))


def test_data_sets_travel_to_spawned_workers_without_their_pixels(planted, tmp_path):
    split = build(planted, 8, tmp_path / "cache")["train"]
    images = SeedImages(split, class_labels(split, planted.seed_list))
    batch = images[[0, 5]]
    sent = pickle.dumps(images)
    assert len(sent) < 4000
    assert pickle.loads(sent)[[0, 5]].images.equal(batch.images)
