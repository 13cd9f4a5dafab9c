"""Shards behind a URL: what is finished goes up marker last, and comes down where it is missing."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

import fsspec
import pytest
from tiny_models import tiny_stable_diffusion, tiny_study

from seedml.config import ShardsConfig, StudyConfig
from seedml.errors import UserError
from seedml.generation.step import generate
from seedml.models.text_to_image import TextToImage
from seedml.shards.dataset import complete_dataset
from seedml.shards.mirror import Mirror
from seedml.tracking import NullTracker

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # diffusers' own, on numpy 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{uuid.uuid4()}/far" if request.param == "memory" else f"file://{tmp_path}/far"


def study(root: Path, model: Path, url: str | None, **changes: Any) -> StudyConfig:
    shards = ShardsConfig(root=str(root / "shards"), url=url, tile_seeds=5, tile_prompts=2)
    return tiny_study(root, model, shards=shards, **changes)


def local(config: StudyConfig) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(config.shard_dir.iterdir())}


def remote(url: str) -> dict[str, bytes]:
    """Every file of the mirrored study, read by fsspec alone."""
    fs, root = fsspec.core.url_to_fs(f"{url}/tiny")
    return {str(path).rpartition("/")[2]: fs.cat_file(path) for path in fs.ls(root, detail=False)}


def test_a_study_s_shards_are_there_whole_and_a_second_machine_makes_none_again(
    model: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (study(tmp_path / name, model, url) for name in ("a", "b"))
    generate(first, NullTracker())
    assert remote(url) == local(first)

    def never(*arguments: Any) -> Any:
        raise AssertionError("an image was made again")

    monkeypatch.setattr(TextToImage, "sample", never)
    generate(second, NullTracker())
    complete_dataset(second)
    assert local(second) == local(first)


def test_an_upload_that_breaks_off_leaves_no_marker_and_is_made_up_for(
    model: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = study(tmp_path / "a", model, url)
    upload, count = Mirror.upload, 0

    def breaks(self: Mirror, path: Path) -> None:
        nonlocal count
        count += 1
        if count == 6:  # dataset.json, one shard, and the second one's tar are there
            raise ConnectionError("no network")
        upload(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "upload", breaks)
        with pytest.raises(ConnectionError, match="no network"):
            generate(config, NullTracker())
    assert set(remote(url)) == {"dataset.json", "train-000001.tar"} | {
        f"train-000000.{ending}" for ending in ("tar", "parquet", "json")
    }
    generate(config, NullTracker())
    assert remote(url) == local(config)
    assert len(local(config)) == 1 + 3 * 5


def test_a_shard_that_was_made_again_replaces_the_one_there(model: Path, tmp_path: Path, url: str) -> None:
    config = study(tmp_path / "a", model, url)
    generate(config, NullTracker())
    fs, root = fsspec.core.url_to_fs(f"{url}/tiny")
    whole = local(config)
    fs.pipe_file(f"{root}/val-000000.json", b"{}")
    generate(config, NullTracker())
    assert remote(url) == local(config) == whole


def test_other_settings_there_are_refused_and_nothing_is_touched(model: Path, tmp_path: Path, url: str) -> None:
    generate(study(tmp_path / "a", model, url), NullTracker())
    before = remote(url)
    other = study(tmp_path / "b", model, url, seeds="0:6")
    with pytest.raises(UserError, match="seeds"):
        generate(other, NullTracker())
    assert remote(url) == before


def test_a_folder_made_without_a_mirror_can_be_given_one(model: Path, tmp_path: Path, url: str) -> None:
    generate(study(tmp_path / "a", model, None), NullTracker())
    config = study(tmp_path / "a", model, url)
    generate(config, NullTracker())
    assert remote(url) == local(config)


def test_bytes_do_not_tell_where_the_study_lives(model: Path, tmp_path: Path, url: str) -> None:
    with_url, without = study(tmp_path / "a", model, url), study(tmp_path / "b", model, None)
    for config in (with_url, without):
        generate(config, NullTracker())
    assert local(with_url) == local(without)
    shutil.rmtree(without.shard_dir)


def test_an_unknown_protocol_is_one_line(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"shards\.url"):
        generate(study(tmp_path, model, "gopher://somewhere"), NullTracker())
    with pytest.raises(UserError, match=r"shards\.url.*s3://"):
        ShardsConfig(url="bucket/folder")
