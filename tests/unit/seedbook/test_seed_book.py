"""Reading, writing and choosing from a seed book."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_book import RECIPE, raw_book, raw_card

from seedml.errors import UserError
from seedml.seedbook import VERSION, Advice, Recipe, SeedBook, sealed


@pytest.fixture
def book() -> SeedBook:
    return SeedBook.read(raw_book())


def saved(folder: Path, raw: Any) -> Path:
    path = folder / "seedbook.json"
    path.write_text(json.dumps(raw))
    return path


def test_a_book_is_read_as_it_was_written(tmp_path: Path, book: SeedBook) -> None:
    book.save(tmp_path / "seedbook.json")
    again = SeedBook.load(tmp_path)
    assert again == book
    assert again.folder == tmp_path
    assert again.as_json() == book.as_json() == json.loads((tmp_path / "seedbook.json").read_text())


def test_fields_are_typed(book: SeedBook) -> None:
    card = book.card(1)
    assert (card.latent_shape, card.tags, card.verdict) == ((4, 16, 16), (), "golden")
    assert (card.scores["fid"].value, card.scores["fid"].low, card.scores["fid"].n) == (21.0, 19.0, 8)
    assert card.scores["location_x"].low is None
    assert isinstance(book.recipe, Recipe)
    assert (book.recipe.height, book.recipe.initial_seed) == (128, None)


def test_a_book_of_the_first_version_is_read_without_its_recipe(tmp_path: Path) -> None:
    raw = raw_book()
    for later in ("recipe", "spaces", "advice"):
        del raw[later]
    old = SeedBook.load(saved(tmp_path, raw))
    assert old.recipe is None
    assert old.golden().seeds == (0, 1)
    with pytest.raises(UserError, match="does not say where its seeds are in layout"):
        old.diverse(2, by="layout")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda raw: raw["cards"][0].update(seed=99), "was changed after it was written"),
        (lambda raw: raw["cards"][0]["scores"]["fid"].update(value=1.0), "was changed"),
        (lambda raw: raw.pop("sha256"), "was changed"),
        (lambda raw: raw["golden"].append(3), "was changed"),
        (lambda raw: raw.update(rule={"x": float("nan")}), "was changed"),
        (lambda raw: raw.update(version=VERSION + 1), f"newer version of seedml; given: {VERSION + 1}"),
        (lambda raw: raw.update(version="two"), "no legal version"),
        (lambda raw: raw.update(version=0), "no legal version"),
        (lambda raw: raw.update(version=True), "no legal version"),
    ],
)
def test_a_book_that_was_changed_or_is_of_a_newer_version_is_refused(tmp_path: Path, change: Any, says: str) -> None:
    raw = sealed(raw_book())
    change(raw)
    with pytest.raises(UserError, match=says):
        SeedBook.load(saved(tmp_path, raw))


def test_a_program_that_saves_the_book_again_does_not_break_its_hash(tmp_path: Path) -> None:
    raw = sealed(raw_book())
    text = json.dumps(dict(reversed(raw.items())), indent=3).replace(": 20.0", ": 20").replace(": 1.0", ": 1")
    assert SeedBook.load(saved(tmp_path, json.loads(text))) == SeedBook.read(raw)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cards": []}, "it has no card"),
        ({"cards": {}}, "book: cards is missing or of another type"),
        ({"cards": [3]}, "card 0 is no JSON object"),
        ({"cards": [raw_card(0), raw_card(0)]}, "a seed has two cards"),
        ({"cards": [raw_card(0, seed=-1)]}, "no legal seed"),
        ({"cards": [raw_card(0, noise_sha256=None)]}, "card of seed 0: noise_sha256 is missing"),
        ({"cards": [raw_card(0, latent_shape=[4, "16", 16])]}, "latent_shape"),
        ({"cards": [raw_card(0, steps=True)]}, "steps"),
        ({"cards": [raw_card(0, scores={"fid": {"value": "low", "n": 3}})]}, "card of seed 0, fid: value"),
        ({"golden": [0, 77]}, r"golden lists seeds without a card; given: \[77\]"),
        ({"golden": None}, "golden is missing"),
        ({"spaces": {"style": {"grayscale": 0}}}, "space style has no legal units"),
        ({"recipe": RECIPE | {"height": "big"}}, "recipe: height"),
        ({"advice": {"inpainting": {"use": [0], "avoid": [55], "basis": ""}}}, "inpainting.avoid"),
    ],
)
def test_what_is_no_book_is_refused_by_the_name_of_the_field(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    path = saved(tmp_path, sealed(raw_book(**changes)))
    with pytest.raises(UserError, match=says) as refused:
        SeedBook.load(path)
    assert str(path) in str(refused.value)


def test_no_book_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no seed book"):
        SeedBook.load(tmp_path)
    (tmp_path / "seedbook.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="cannot be read"):
        SeedBook.load(tmp_path)


def test_golden_seeds_come_as_listed_then_by_distance(book: SeedBook) -> None:
    assert book.golden().seeds == (0, 1)
    assert book.golden(1).seeds == (0,)
    assert book.golden(3).seeds == (0, 1, 4)
    assert book.inferior().seeds == (3,)
    assert book.best(4).seeds == (0, 1, 4, 5)


@pytest.mark.parametrize("n", [4, 0, -1, True])
def test_more_golden_seeds_than_there_are(book: SeedBook, n: int) -> None:
    with pytest.raises(UserError, match=r"there are 3 golden seeds.*legal: 1 to 3"):
        book.golden(n)


def test_a_book_without_golden_seeds_says_what_to_take() -> None:
    cards = [raw_card(seed, verdict="inconclusive") for seed in range(3)]
    with pytest.raises(UserError, match=r"better than the average seed beyond doubt.*by=best"):
        SeedBook.read(raw_book(cards=cards, golden=[], inferior=[], diverse=[])).golden(1)


def test_diverse_seeds_are_listed_or_far_apart_in_a_space(book: SeedBook) -> None:
    assert book.diverse().seeds == (0, 3, 2)
    assert book.diverse(2).seeds == (0, 3)
    # positions .7 (the best), .45, .6, .3 (seed 2); seed 5 has no position, seed 3 is inferior
    assert book.diverse(by="layout").seeds == (0, 2, 1, 4)
    assert book.diverse(3, by="layout", among=book.golden(3)).seeds == (0, 1, 4)
    with pytest.raises(UserError, match="there are 4 seeds that are not inferior"):
        book.diverse(5, by="layout")
    with pytest.raises(UserError, match=r"unknown space of seeds; given: 'colour'; legal: layout, style"):
        book.diverse(2, by="colour")


def test_equal_places_are_taken_in_order_of_distance_to_the_reference() -> None:
    book = SeedBook.read(raw_book(cards=[raw_card(seed, scores=raw_card(seed)["scores"] | {
        "location_x": {"value": 0.5, "n": 8}}) for seed in (0, 1, 2, 3, 4, 5)]))  # fmt: skip
    assert book.diverse(by="layout").seeds == (0, 1, 4, 5, 2)


def test_random_seeds_are_those_of_the_draw(book: SeedBook) -> None:
    drawn = book.random(3, besides=book.golden())
    assert drawn.seeds == book.random(3, besides=book.golden()).seeds
    assert not {0, 1} & set(drawn.seeds)
    assert {book.random(3, draw=draw).seeds for draw in range(8)} != {book.random(3).seeds}
    with pytest.raises(UserError, match="there are 4 seeds to draw from"):
        book.random(5, besides=book.golden())


def test_a_seed_without_a_card(book: SeedBook) -> None:
    assert book.these([4, 0]).seeds == (4, 0)
    with pytest.raises(UserError, match="no card of seed 9"):
        book.these([0, 9])


def test_advice_enters_a_book_and_its_hash(tmp_path: Path, book: SeedBook) -> None:
    advised = book.with_advice("inpainting", Advice((0,), (3,), "12 images a seed"))
    advised.save(tmp_path / "seedbook.json")
    assert SeedBook.load(tmp_path).advice["inpainting"].avoid == (3,)
    assert book.as_json()["sha256"] != advised.as_json()["sha256"]
    with pytest.raises(UserError, match=r"inpainting\.use lists seeds without a card"):
        book.with_advice("inpainting", Advice((88,), (), ""))


def test_a_book_needs_the_standard_library_alone(tmp_path: Path, book: SeedBook) -> None:
    book.save(tmp_path / "seedbook.json")
    code = (
        "import sys; sys.modules.update(torch=None, numpy=None, pandas=None, omegaconf=None, diffusers=None);"
        f"from seedml.seedbook import SeedBook; print(SeedBook.load({str(tmp_path)!r}).golden(3).where('x<0.65').seeds)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 4)\n"
