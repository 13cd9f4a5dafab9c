"""The seed book that ``select`` writes, read as a typed book."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seedml.config import StudyConfig
from seedml.errors import UserError
from seedml.measurement import load_measurements
from seedml.seedbook import VERSION, Advice, SeedBook
from seedml.selection import select
from seedml.tracking import NullTracker


@pytest.fixture(scope="module")
def book(finished: StudyConfig) -> SeedBook:
    return SeedBook.load(finished.run_dir)


def test_the_book_is_sealed_and_says_how_its_pictures_were_made(finished: StudyConfig, book: SeedBook) -> None:
    raw = json.loads((finished.run_dir / "seedbook.json").read_text())
    assert next(iter(raw)) == "version"
    assert list(raw)[-1] == "sha256"
    assert book.as_json() == raw
    assert book.recipe is not None
    assert (book.recipe.path, book.recipe.pipeline) == (finished.model.path, "StableDiffusionPipeline")
    assert (book.recipe.height, book.recipe.width) == (128, 128)
    assert {"torch", "diffusers", "seedml"} <= book.recipe.versions.keys()


def test_places_of_seeds_rest_on_the_selection_prompts_alone(finished: StudyConfig, book: SeedBook) -> None:
    measured = load_measurements(finished.run_dir)
    chosen = np.setdiff1d(measured.prompts_of("train", "val"), [2])  # one seed lacks the image of prompt 2
    own = measured.images[measured.images["prompt_id"].isin(chosen)].groupby("seed")["brightness"]
    unit = np.sqrt(own.var(ddof=0).mean())
    axis = list(book.spaces["style"]).index("brightness")
    places = book.points("style")
    assert places.keys() == set(book.seeds)
    for seed, mean in own.mean().items():
        assert places[seed][axis] == pytest.approx(mean / unit, rel=1e-5)


def test_diverse_seeds_can_be_taken_by_either_space(book: SeedBook) -> None:
    allowed = [card.seed for card in book.cards if card.verdict != "inferior"]
    for space in ("style", "layout"):
        chosen = book.diverse(3, by=space).seeds
        assert len(set(chosen)) == 3
        assert set(chosen) <= set(allowed)


def test_a_book_of_an_older_format_is_written_anew(finished: StudyConfig, book: SeedBook) -> None:
    path = Path(finished.run_dir / "seedbook.json")
    old = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("version", "sha256")}
    path.write_text(json.dumps(old))
    select(finished, NullTracker())
    again = SeedBook.load(path)
    assert json.loads(path.read_text())["version"] == VERSION
    assert (again.cards, again.lists, again.spaces) == (book.cards, book.lists, book.spaces)


def test_an_older_book_that_advice_was_added_to_is_written_anew(finished: StudyConfig, book: SeedBook) -> None:
    path = Path(finished.run_dir / "seedbook.json")
    advised = replace(book, recipe=None).with_advice("inpainting", Advice((), (book.seeds[0],), "2 pictures"))
    advised.save(path)
    select(finished, NullTracker())
    assert SeedBook.load(path).recipe == book.recipe


def test_a_book_that_was_changed_is_not_overwritten(finished: StudyConfig) -> None:
    path = Path(finished.run_dir / "seedbook.json")
    whole = path.read_text()
    path.write_text(whole.replace('"golden"', '"inconclusive"', 1))
    changed = path.read_bytes()
    try:
        select(finished, NullTracker())
        assert path.read_bytes() == changed
        with pytest.raises(UserError, match="was changed after it was written"):
            SeedBook.load(path)
    finally:
        path.write_text(whole)
