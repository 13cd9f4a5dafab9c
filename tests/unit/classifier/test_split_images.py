"""Reading by row: damage is found and named in one line, and what was decoded is kept only where it is whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from planted_shards import plant_shards, planted_picture

from seedml.classifier import cache as cache_module
from seedml.classifier import split_images
from seedml.classifier.cache import DecodedImages, is_wanted
from seedml.classifier.shard_index import ROW, open_index, write_sorted
from seedml.classifier.split_images import SplitImages, open_splits
from seedml.config import PromptsConfig, ShardsConfig, StudyConfig
from seedml.errors import UserError
from seedml.shards.dataset import complete_dataset
from seedml.shards.reader import read_shard
from seedml.shards.tar_contents import member_places, read_tar


def study(folder: Path) -> StudyConfig:
    return StudyConfig(
        name="tiny", seeds="0:4", prompts=PromptsConfig(limit=8, splits={"train": 6, "val": 1, "test": 1}),
        shards=ShardsConfig(root=str(folder / "shards"), tile_seeds=2, tile_prompts=3),
    )  # fmt: skip


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("split-images")
    plant_shards(study(folder), planted_picture)
    return folder


@pytest.fixture
def copied(planted, tmp_path):
    shutil.copytree(planted / "shards", tmp_path / "shards")
    return tmp_path


def train(folder: Path, cache: str = "never") -> SplitImages:
    dataset, tiles = complete_dataset(study(folder))
    return open_splits(dataset, tiles, 8, folder / "cache", cache=cache, threads=2)["train"]


def first_shard(folder: Path) -> Path:
    return folder / "shards" / "tiny" / "train-000000.tar"


def test_members_are_where_the_places_say(planted):
    shard = first_shard(planted)
    tar, data = read_tar(shard, "png"), shard.read_bytes()
    places = list(member_places(shard))
    assert [place.name for place in places] == tar.names
    assert {place.name: place.size for place in places} == tar.sizes
    for place in places:
        if place.name in tar.texts:
            assert data[place.offset : place.offset + place.size] == tar.texts[place.name]


def test_rows_are_the_samples_that_reading_in_order_gives(planted):
    split = train(planted)
    rows = {cell: row for row, cell in enumerate(zip(split.seeds.tolist(), split.prompt_ids.tolist(), strict=True))}
    for shard in sorted((planted / "shards" / "tiny").glob("train-*.tar")):
        for sample in read_shard(shard):
            assert split.encoded([rows.pop((sample.seed, sample.prompt_id))]) == [sample.encoded]
    assert not rows


def cut(path: Path, length: int) -> None:
    os.truncate(path, length)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def after_the_first_sample(path: Path) -> int:
    """Where its second sample's header begins."""
    return [place.offset - 512 for place in member_places(path)][3]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tar: cut(tar, 0), "0 bytes where its marker says"),
        (lambda tar: cut(tar, after_the_first_sample(tar)), "bytes where its marker says"),  # plain readers accept it
        (lambda tar: overwrite(tar, after_the_first_sample(tar), b"x"), "bad checksum"),
        (lambda tar: overwrite(tar, after_the_first_sample(tar), bytes(1024)), "1 images where its marker says 6"),
        (lambda tar: overwrite(tar, 157, bytes(355)), "bad checksum"),
        (Path.unlink, "FileNotFoundError"),
    ],
)  # fmt: skip
def test_a_damaged_tar_is_found_before_training(copied, damage, message):
    shard = first_shard(copied)
    damage(shard)
    with pytest.raises(UserError, match=rf"^\S+train-000000\.tar is damaged: .*{message}.*train-000000\.json and run"):
        train(copied)
    assert not (copied / "cache" / split_images.MARKER).exists()


def test_a_tar_that_was_cut_after_it_was_indexed_is_found_before_training(copied):
    train(copied)
    cut(first_shard(copied), 10240)
    with pytest.raises(UserError, match=r"train-000000\.tar is damaged: it has 10240 bytes where its marker says"):
        train(copied)


def test_a_tar_of_another_tile_is_refused(copied):
    shard = first_shard(copied)
    for ending in (".tar", ".json"):
        shutil.copy(shard.with_name(f"train-000001{ending}"), shard.with_suffix(ending))
    with pytest.raises(UserError, match=r"train-000000\.tar is damaged: its images are not those of its tile"):
        train(copied)


def test_a_tar_that_is_cut_while_it_is_read_is_named(copied):
    split = train(copied)
    cut(first_shard(copied), 1000)
    with pytest.raises(UserError, match=r"train-000000\.tar is damaged: it is shorter than when it was indexed"):
        split.pixels(np.arange(len(split)), threads=2)


def test_tars_made_anew_are_indexed_anew(copied):
    before = train(copied).encoded([0])
    shutil.rmtree(copied / "shards")
    plant_shards(study(copied), lambda seed, prompt_id: planted_picture(seed + 100, prompt_id))
    assert train(copied).encoded([0]) != before


def test_few_files_are_open_at_once(planted, monkeypatch):
    monkeypatch.setattr(split_images._OpenFiles.__init__, "__defaults__", (2,))
    split, folder = train(planted), Path("/proc/self/fd")
    order = np.random.default_rng(0).permutation(len(split))
    before = len(list(folder.iterdir()))
    assert split.encoded(order) == [split.encoded([row])[0] for row in order]
    assert len(list(folder.iterdir())) == before + 2
    del split
    assert len(list(folder.iterdir())) < before  # the index is closed too


def test_what_a_disk_lost_is_decoded_again(copied, monkeypatch):
    split = train(copied, "always")
    every = np.arange(len(split))
    whole = split.pixels(every)
    overwrite(copied / "cache" / "train.pixels", 5 * 8 * 8 * 3 + 7, bytes(90))  # a page that was never written
    overwrite(copied / "cache" / "train.sums", 4 * 9, bytes(4))
    decoded, reduced = [], split_images.reduced
    monkeypatch.setattr(split_images, "reduced", lambda *args: decoded.append(args) or reduced(*args))
    for expected in (2, 2):
        assert np.array_equal(train(copied, "always").pixels(every), whole)
        assert len(decoded) == expected


def test_nothing_is_kept_where_nothing_is_to_be(copied):
    train(copied, "never").pixels([0, 1])
    assert not list((copied / "cache").glob("*.pixels"))


def test_the_disk_decides_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "free_bytes", lambda folder: 1000)
    assert is_wanted("auto", 100, tmp_path)
    assert not is_wanted("auto", 101, tmp_path)
    assert is_wanted("always", 1000, tmp_path)
    assert not is_wanted("never", 1, tmp_path)
    with pytest.raises(UserError, match=r"they need 1 KB, and 1 KB are free.*classifier\.cache=never"):
        is_wanted("always", 1001, tmp_path)
    monkeypatch.setattr(cache_module, "free_bytes", lambda folder: 10**15)
    assert is_wanted("auto", 16 * 10**9, tmp_path)
    assert not is_wanted("auto", 16 * 10**9 + 1, tmp_path)


def test_room_is_set_aside_when_the_file_is_made(tmp_path):
    DecodedImages(tmp_path, "train", 16).create(1000)
    assert (tmp_path / "train.pixels").stat().st_blocks * 512 >= 1000 * 16 * 16 * 3


def test_an_index_is_sorted_whatever_order_the_rows_came_in(tmp_path):
    rows = np.zeros(600_000, ROW)  # more than are written at once
    rows["seed"], rows["prompt_id"] = np.divmod(np.random.default_rng(0).permutation(len(rows)), 1000)
    rows["offset"] = rows["seed"] * 1000 + rows["prompt_id"]
    write_sorted(rows, tmp_path / "index.npy")
    assert np.array_equal(open_index(tmp_path / "index.npy")["offset"], np.arange(len(rows)))
