"""Which images passed the model's safety checker: what is recorded, and that no study is made of both kinds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from planted_shards import planted_picture
from small_book import raw_book, tiny_book
from tiny_checker import with_checker
from tiny_inpainting import tiny_inpainting
from tiny_models import tiny_stable_diffusion, tiny_study

from seedml.applications.inpainting import inpainting_config
from seedml.applications.studio import Studio
from seedml.config import ModelConfig, StudyConfig, named_model
from seedml.errors import UserError
from seedml.generation.plan import plan
from seedml.generation.step import generate
from seedml.grid import build_grid
from seedml.models.text_to_image import ImageBatch
from seedml.prompts import load_prompts
from seedml.sampling import sample, settings_of
from seedml.sampling.snippet import snippet
from seedml.seedbook import SeedBook
from seedml.selection.cards import recipe
from seedml.shards.dataset import FILE, complete_dataset, open_dataset, study_settings
from seedml.tracking import NullTracker

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture(scope="module")
def checked(plain: Path) -> Path:
    return with_checker(plain, plain.with_name("checked"))


def study(root: Path, folder: Path, **model: Any) -> StudyConfig:
    config = tiny_study(root, folder, seeds="0:2")
    return replace(config, model=ModelConfig(path=str(folder), **model))


def settings(config: StudyConfig) -> dict[str, Any]:
    prompts = load_prompts(config.prompts)
    return study_settings(config, build_grid(config, prompts), prompts)


def test_only_a_checker_that_is_there_and_kept_is_recorded(plain: Path, checked: Path, tmp_path: Path) -> None:
    """What was made before there was the key, always without, has settings in which nothing is said of it."""
    assert settings(study(tmp_path, checked))["model"]["safety_checker"] is True
    without = [study(tmp_path, checked, safety_checker=False), study(tmp_path, plain),
               study(tmp_path, plain, safety_checker=False), study(tmp_path, Path("owner/is-not-here"),
               safety_checker=False)]  # fmt: skip
    for config in without:
        assert "checker" not in json.dumps(settings(config))
    assert settings(study(tmp_path, Path("owner/is-not-here")))["model"]["safety_checker"] is True


def test_a_study_made_without_is_not_gone_on_with_under_a_checker(checked: Path, tmp_path: Path) -> None:
    config = study(tmp_path, checked, safety_checker=False)
    generate(config, NullTracker())
    before = {path: path.read_bytes() for path in config.shard_dir.glob("*.tar")}
    next(iter(before)).with_suffix(".json").unlink()  # half made
    for step in (lambda one: generate(one, NullTracker()), plan, complete_dataset):
        with pytest.raises(UserError, match=r"model\.safety_checker=True'; legal: model\.safety_checker=False"):
            step(study(tmp_path, checked))
    generate(study(tmp_path, checked, safety_checker=False), NullTracker())
    assert {path: path.read_bytes() for path in config.shard_dir.glob("*.tar")} == before


def test_where_the_model_is_not_the_images_say_whether_they_were_checked(checked: Path, tmp_path: Path) -> None:
    config = study(tmp_path, checked, safety_checker=False)
    generate(config, NullTracker())
    away = study(tmp_path, checked)
    (checked / "model_index.json").rename(checked / "away")
    try:
        dataset, _ = complete_dataset(away)
    finally:
        (checked / "away").rename(checked / "model_index.json")
    assert (away.model.safety_checker, dataset.fingerprint) == (False, open_dataset(config.shard_dir).fingerprint)


def test_what_the_checker_blackens_has_failed_and_the_book_says_so(checked: Path, tmp_path: Path) -> None:
    config = study(tmp_path, checked)
    generate(config, NullTracker())
    dataset = open_dataset(config.shard_dir)
    rows = pq.ParquetDataset(sorted(config.shard_dir.glob("*.parquet"))).read().to_pylist()
    assert {row["status"] for row in rows} == {"failed"}
    assert recipe(config, dataset)["model_options"] == {"safety_checker": True}
    assert json.loads((config.shard_dir / FILE).read_text())["settings"]["model"]["safety_checker"] is True


def test_a_book_s_pictures_pass_the_checker_only_if_it_says_so(plain: Path, checked: Path) -> None:
    old = SeedBook.read(tiny_book(checked, seeds=(3, 7)))
    new = SeedBook.read(tiny_book(checked, seeds=(3, 7), model_options={"safety_checker": True}))
    wanted = sample(SeedBook.read(tiny_book(plain, seeds=(3, 7))), "a red ball", old.golden()).made
    made = sample(old, "a red ball", old.golden())
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(made.made, wanted, strict=True))
    assert not made.notes
    black = sample(new, "a red ball", new.golden())
    assert not any(picture.pixels.any() for picture in black.made)
    assert all("gave no picture" in note and "safety checker" in note for note in black.notes)
    assert len(black.notes) == 2
    changed = sample(old, "a red ball", old.golden(1), settings_of(old, ["model.safety_checker=true"]))
    assert "another safety checker" in changed.notes[0]


def test_a_book_of_the_first_version_is_of_pictures_without() -> None:
    raw = raw_book()
    del raw["recipe"]
    assert settings_of(SeedBook.read(raw)).model.safety_checker is False


@pytest.mark.parametrize("kept", [False, True])
def test_the_exported_program_has_the_checker_that_the_book_s_pictures_had(
    checked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, kept: bool
) -> None:
    options = {"model_options": {"safety_checker": True}} if kept else {}
    book = SeedBook.read(tiny_book(checked, seeds=(3,), **options))
    code = snippet(book, book.golden(), "a red ball")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "program", "exec"), {})
    assert ("safety_checker=None" in code) is not kept
    assert np.asarray(Image.open("seed-3.png")).any() == (not kept)


def test_flat_pictures_are_none() -> None:
    picture = torch.from_numpy(planted_picture(1, 1)).permute(2, 0, 1)
    images = torch.stack([picture, torch.zeros_like(picture), torch.full_like(picture, 9), picture])
    assert ImageBatch(images, torch.tensor([True, True, True, False])).usable.tolist() == [True, False, False, False]


def test_pictures_made_later_count_only_where_they_are_pictures(checked: Path, tmp_path: Path) -> None:
    config = study(tmp_path, checked, safety_checker=False)
    generate(config, NullTracker())
    dataset, tiles = complete_dataset(config)
    prompts = list(dataset.prompts.values())[:2]
    assert sum(len(batch.images) for batch in Studio(config, dataset, tiles).make([5, 6], prompts)) == 4
    black = Studio(study(tmp_path, checked), dataset, tiles)
    assert list(black.make([5, 6], prompts)) == []


def test_a_model_that_fills_masks_has_no_checker_unless_its_own_file_says_so(tmp_path: Path) -> None:
    config = StudyConfig()
    config.apply.inpaint_model = str(tiny_inpainting(tmp_path / "inpaint"))
    assert inpainting_config(config).model.safety_checker is False
    config.apply.inpaint_model = "sd2_inpainting"
    named = named_model("sd2_inpainting")
    assert named is not None
    assert inpainting_config(config).model.safety_checker == named.safety_checker
