"""Reference sets as pictures: folders, WebDataset shards and COCO, with the number and the hash of their pictures."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seedml.config import ReferenceConfig
from seedml.errors import UserError
from seedml.measurement.reference import check_reference, make_reference
from seedml.measurement.reference_files import ReferenceFeatures

NETWORK: Any = SimpleNamespace(name="mean", dimension=3, resize="none")
SIZES = ((8, 6), (5, 9), (8, 6), (8, 6), (5, 9), (7, 7), (8, 6))


def _pictures() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {f"{k:03d}.png": generator.integers(0, 256, (*size, 3), np.uint8) for k, size in enumerate(SIZES)}


def _encoded(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _means(images: torch.Tensor) -> torch.Tensor:
    assert len(images) <= 2
    return images.float().mean((2, 3))


def _made(**given: Any) -> ReferenceFeatures:
    found = make_reference(ReferenceConfig(**given), [], NETWORK, _means, torch.device("cpu"), 2)
    assert isinstance(found, ReferenceFeatures)
    assert (found.prompt_ids == -1).all()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images" / "deeper").mkdir(parents=True)
    for number, (name, pixels) in enumerate(_pictures().items()):
        place = tmp_path / "images" / ("deeper" if number % 3 == 2 else "")
        (place / name).write_bytes(_encoded(pixels))
    (tmp_path / "images" / "notes.txt").write_text("no picture")
    return tmp_path / "images"


def _shards(folder: Path, *, mtime: float = 0) -> Path:
    """Two shards as WebDataset writes them, with texts between the pictures."""
    folder.mkdir()
    entries = list(_pictures().items())
    for number, part in enumerate((entries[:4], entries[4:])):
        with tarfile.open(folder / f"part-{number:03d}.tar", "w") as tar:
            for name, pixels in part:
                for ending, data in ((".png", _encoded(pixels)), (".txt", b"a caption")):
                    member = tarfile.TarInfo(name.replace(".png", ending))
                    member.size, member.mtime = len(data), mtime  # type: ignore[assignment]  # a fraction: long headers
                    tar.addfile(member, io.BytesIO(data))
    return folder


def _expected(names: list[str]) -> np.ndarray:
    pictures = _pictures()
    return np.stack([pictures[name].reshape(-1, 3).mean(0) for name in names])


def test_each_row_is_its_picture_whatever_the_sizes(folder: Path) -> None:
    found = _made(path=str(folder))
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    np.testing.assert_allclose(found.features, _expected([Path(name).name for name in names]), rtol=1e-5)
    assert found.source == "7 images in images"
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    assert found.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert found.moments_of(np.arange(2)).n == found.n == 7
    assert found.moments_of(np.arange(2)).sha256 == found.sha256


@pytest.mark.parametrize("mtime", [0, 1234.5])
def test_shards_are_read_in_order(tmp_path: Path, mtime: float) -> None:
    shards = _shards(tmp_path / "shards", mtime=mtime)
    found = _made(path=str(shards))
    np.testing.assert_allclose(found.features, _expected(list(_pictures())), rtol=1e-5)
    assert found.source == "7 images in 2 shards of shards"
    alone = _made(path=str(shards / "part-001.tar"))
    np.testing.assert_allclose(alone.features, found.features[4:])
    assert alone.source == "3 images in part-001.tar"
    assert alone.sha256 != found.sha256


def test_shards_give_what_webdataset_itself_reads(tmp_path: Path) -> None:
    import webdataset

    shards = _shards(tmp_path / "shards")
    names = sorted(str(path) for path in shards.glob("*.tar"))
    samples = webdataset.WebDataset(names, shardshuffle=False).decode("rgb8")
    expected = np.stack([sample["png"].reshape(-1, 3).mean(0) for sample in samples])
    np.testing.assert_allclose(_made(path=str(shards)).features, expected, rtol=1e-5)


def test_cocos_annotations_say_which_images_are_meant(folder: Path, tmp_path: Path) -> None:
    kept = ["000.png", "deeper/002.png", "004.png"]
    path = tmp_path / "captions_val.json"
    path.write_text(json.dumps({"images": [{"id": k, "file_name": name} for k, name in enumerate(kept)]}))
    found = _made(path=str(folder), annotations=str(path))
    np.testing.assert_allclose(found.features, _expected(["000.png", "004.png", "002.png"]), rtol=1e-5)
    assert found.source == "3 images of captions_val.json"
    assert check_reference(ReferenceConfig(path=str(folder), annotations=str(path)), [])["annotations"] == str(path)


def test_a_limit_draws_the_same_ones_every_time(folder: Path) -> None:
    whole, first, again = _made(path=str(folder)), *(_made(path=str(folder), limit=3) for _ in range(2))
    assert first.source == "3 images drawn from 7 images in images"
    np.testing.assert_array_equal(first.features, again.features)
    assert first.sha256 == again.sha256 != whole.sha256
    rows = [np.flatnonzero((whole.features == row).all(1)).item() for row in first.features]
    assert rows == sorted(set(rows))


def test_another_set_has_another_listing(folder: Path) -> None:
    config = ReferenceConfig(path=str(folder))
    before = check_reference(config, [])
    (folder / "000.png").write_bytes(_encoded(np.zeros((9, 9, 3), np.uint8)))
    assert check_reference(config, [])["sha256"] != before["sha256"]


def _cut(path: Path, at: int) -> None:
    path.write_bytes(path.read_bytes()[:at])


def test_what_is_no_reference_is_told_before_anything_is_measured(folder: Path, tmp_path: Path) -> None:
    shards = _shards(tmp_path / "shards")
    for number, cut in enumerate((100, 512, 1024, 2048, 3072)):  # 1,024 and more: between two members
        torn = tmp_path / f"torn{number}.tar"
        torn.write_bytes((shards / "part-000.tar").read_bytes())
        _cut(torn, cut)
        with pytest.raises(UserError, match=r"no whole tar.*remedy: copy or make the shard again"):
            check_reference(ReferenceConfig(path=str(torn)), [])
    (tmp_path / "empty").mkdir()
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "a.png").write_bytes(_encoded(np.zeros((2, 2, 3), np.uint8)))
    (tmp_path / "both" / "a.tar").write_bytes(b"")
    (tmp_path / "annotations.json").write_text(json.dumps({"images": [{"file_name": "nowhere.jpg"}]}))
    (tmp_path / "captions.json").write_text(json.dumps([1, 2]))
    for given, words in (
        ({"path": str(tmp_path / "empty")}, r"fewer than two images.*remedy: name a folder"),
        ({"path": str(tmp_path / "both")}, r"pictures and shards.*remedy: name a folder of one kind"),
        ({"path": str(tmp_path / "nowhere.tar")}, r"does not exist.*remedy"),
        ({"path": str(folder), "annotations": str(tmp_path / "annotations.json")},
         r"1 of the 1 images of reference\.annotations are not in.*remedy: name the folder"),
        ({"path": str(folder), "annotations": str(tmp_path / "captions.json")}, r"no file of COCO.s annotations"),
        ({"path": str(folder), "annotations": str(tmp_path / "nowhere.json")}, r"cannot be read.*remedy: correct"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words) as caught:
            check_reference(ReferenceConfig(**given), [])
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"reference\.annotations.*remedy: set reference\.path"):
        ReferenceConfig(annotations="captions.json")


def test_a_broken_picture_is_named(folder: Path) -> None:
    (folder / "001.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"001\.png is no whole picture.*remedy: replace"):
        _made(path=str(folder))
