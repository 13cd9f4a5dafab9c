"""Inpainting from end to end on the tiniest model there is: masks filled, artifacts looked for, advice, page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rendered_study import plant_scenes, random_parser, study_config
from tiny_models import tiny_stable_diffusion
from torch import Tensor

from seedml.applications import apply
from seedml.applications.holes import Canvas, Task
from seedml.applications.inpainting import fill_all, masked_picture
from seedml.applications.inpainting_trial import try_inpainting
from seedml.applications.planned import later_pictures
from seedml.applications.step import figures_of
from seedml.config import ModelConfig, SamplerConfig, StudyConfig
from seedml.measurement import measure
from seedml.models.inpainting import load_inpainter
from seedml.prompts import load_prompts
from seedml.report.page import write_report
from seedml.seedbook import SeedBook
from seedml.selection import select
from seedml.summarize import summarize
from seedml.tracking import NullTracker

# diffusers' own, on numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SEEDS = 6


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyConfig]:
    """6 seeds × 20 prompts of rendered scenes; masks are filled by a tiny model of 32 × 32 pixels."""
    root = tmp_path_factory.mktemp("inpaint")
    config = study_config(root, f"0:{SEEDS}", 20)
    config.model = ModelConfig(path=str(tiny_stable_diffusion(root / "model")))
    config.sampler = SamplerConfig(steps=1, guidance_scale=1.0, batch_size=7, scheduler="DDIMScheduler")
    config.apply.run, config.apply.prompts = ["inpainting"], 6
    config.apply.inpaint_pictures, config.apply.inpaint_held_out = 4, 3
    plant_scenes(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seedml.models.bundled.parser.load_parser", lambda *_args, **_kwargs: random_parser())
        for module in ("seedml.measurement.step", "seedml.applications.studio", "seedml.applications.inpainting_trial"):
            patch.setattr(f"{module}.draws_scenes", lambda path: True)
        for step in (measure, summarize, select, apply):
            step(config, NullTracker())
        yield config


def _read(config: StudyConfig) -> dict[str, Any]:
    text = (config.run_dir / "applications" / "inpainting.json").read_text()
    found: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return found


def test_the_file_says_what_was_filled_and_by_what(study: StudyConfig) -> None:
    found = _read(study)
    assert (found["height"], found["width"], found["latent_shape"]) == (32, 32, [4, 16, 16])
    assert (found["pictures"]["choosing"], found["pictures"]["confirming"]) == (4, 3)
    assert not found["unet_sees_mask"]
    config = replace(study, runs=replace(study.runs, root="nothing here"))
    planned = {later.use: later.images for later in later_pictures(config, load_prompts(study.prompts))}
    assert planned["inpainting"] == (4 + 3) * 2 * SEEDS
    for _, entry in figures_of(found):
        assert "n" in entry
        if "low" in entry:
            assert entry["low"] - 1e-9 <= entry["value"] <= entry["high"] + 1e-9
    assert (study.run_dir / "applications" / "inpainting.png").is_file()


def test_advice_enters_a_book_that_is_sealed_anew(study: StudyConfig) -> None:
    found, book = _read(study), SeedBook.load(study.run_dir)
    advice = book.advice["inpainting"]
    assert list(advice.use) == found["use"]
    assert list(advice.avoid) == found["avoid"]
    assert "4 pictures" in advice.basis
    assert "3 other pictures" in advice.basis


def test_the_page_shows_it(study: StudyConfig) -> None:
    assert 'id="inpainting"' in write_report(study, NullTracker()).read_text()


def test_it_is_not_done_again_but_a_book_without_advice_gets_it(study: StudyConfig) -> None:
    path = study.run_dir / "applications" / "inpainting.json"
    written = path.stat().st_mtime_ns
    apply(study, NullTracker())
    assert path.stat().st_mtime_ns == written
    book = SeedBook.load(study.run_dir)
    replace(book, advice={}).save(study.run_dir / "seedbook.json")
    apply(study, NullTracker())
    assert SeedBook.load(study.run_dir).advice == book.advice


def _folder(path: Path) -> Path:
    """Four pictures, the first with a mask of an object; none is of the model's size."""
    path.mkdir()
    random = np.random.default_rng(0)
    for at in range(4):
        Image.fromarray(random.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path / f"{at}.png")
        (path / f"{at}.txt").write_text("a <b>ball</b> on grass\ngrass\n")
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 10:30] = 255
    Image.fromarray(mask).save(path / "0.mask.png")
    return path


def test_pictures_of_a_folder_are_filled(study: StudyConfig, tmp_path: Path) -> None:
    wanted = replace(study.apply, inpaint_folder=str(_folder(tmp_path / "pictures")))
    tried = try_inpainting(replace(study, apply=wanted), [], [], [1, 4], torch.device("cpu"))
    assert tried.found["pictures"]["source"] == wanted.inpaint_folder
    assert (tried.found["pictures"]["choosing"], tried.found["pictures"]["confirming"]) == (2, 2)
    assert tried.sheet.ndim == 3


def test_what_is_outside_of_a_mask_stays_and_what_was_there_before_does_not_count(study: StudyConfig) -> None:
    model = load_inpainter(study)
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (3, 3, 32, 32), generator=generator, dtype=torch.uint8)
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[8:16, 4:20] = True
    tasks = [Task("removal", at, picture, mask, "grass") for at, picture in enumerate(pictures)]
    seen: list[Tensor] = []

    def look(images: Tensor, masks: Tensor) -> Mapping[str, Tensor]:
        """Letters in every filled picture, and a frame in the last picture itself."""
        seen.extend(images)
        before = torch.tensor([any(torch.equal(image, picture) for picture in pictures) for image in images])
        last = torch.tensor([torch.equal(image, pictures[-1]) for image in images])
        return {"text": (~before).float(), "border": last.float()}

    filled = fill_all(model, tasks, [3, 9], study, look, shown=[1])
    assert len(seen) == 2 * 3 + 3
    for image, at in zip(seen[:6], [0, 0, 1, 1, 2, 2], strict=True):
        assert torch.equal(image[:, ~mask], pictures[at][:, ~mask])
        assert not torch.equal(image[:, mask], pictures[at][:, mask])
    assert filled.pictures.keys() == {(3, 1), (9, 1)}
    assert filled.own_artifacts == 1
    assert filled.tables["text"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert np.isnan(filled.tables["border"][:, 2]).all()
    assert filled.tables["border"][:, :2].tolist() == [[0, 0], [0, 0]]
    assert masked_picture(tasks[0])[10, 10].tolist() == [128] * 3


def test_a_seed_fills_the_same_whatever_stands_beside_it(study: StudyConfig) -> None:
    model = load_inpainter(study)
    canvas = Canvas(32, 32, model.cell, 0.25)
    tasks = [Task("outpainting", at, torch.full((3, 32, 32), 90 * at, dtype=torch.uint8), canvas.framed(), "sand")
             for at in range(2)]  # fmt: skip

    def nothing(images: Tensor, masks: Tensor) -> Mapping[str, Tensor]:
        return {name: torch.zeros(len(images)) for name in ("text", "border")}

    several = fill_all(model, tasks, [3, 9], study, nothing, shown=[1])
    alone = fill_all(model, tasks[1:], [9], study, nothing, shown=[0])
    difference = several.pictures[9, 1].astype(int) - alone.pictures[9, 0].astype(int)
    assert np.abs(difference).max() <= 2
