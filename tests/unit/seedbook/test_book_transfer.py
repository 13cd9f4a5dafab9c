"""What other studies say of a book's seeds: kept in the book, and left out of books that know none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_book import raw_book

from seedml.errors import UserError
from seedml.seedbook import VERSION, Figure, SeedBook, Transfer, sealed

MADE = {"model": "other", "latent_shape": [4, 16, 16], "steps": 8, "guidance_scale": 3.0}
TOLD = {
    "made_with": MADE, "same_noise": True, "same_prompts": True,
    "order": {"value": 0.831, "low": 0.74, "high": 0.89, "n": 64},
    "gain": {"value": 1.25, "low": 0.4, "high": 2.0, "n": 48}, "chance": {"value": 0.01, "n": 48},
    "attributes": {"sky": {"value": 0.5, "low": 0.1, "high": 0.8, "n": 64}},
}  # fmt: skip


def test_a_book_without_transfers_is_written_as_it_always_was(tmp_path: Path) -> None:
    """Its hash, too, so that pictures that name it still name the same book."""
    before = SeedBook.read(raw_book()).as_json()
    assert "transfer" not in before
    assert before["version"] == VERSION == 2
    assert sealed({name: value for name, value in before.items() if name != "sha256"}) == before
    path = tmp_path / "seedbook.json"
    path.write_text(json.dumps(before))
    book = SeedBook.load(path)
    assert book.transfer == {}
    assert book.as_json() == before


def test_transfers_are_read_as_they_were_written(tmp_path: Path) -> None:
    book = SeedBook.read(raw_book()).with_transfers({"guided": Transfer.read(TOLD, "guided")})
    book.save(tmp_path / "seedbook.json")
    again = SeedBook.load(tmp_path)
    assert again == book
    assert json.loads((tmp_path / "seedbook.json").read_text())["transfer"] == {"guided": TOLD}
    told = again.transfer["guided"]
    assert told.order == Figure(0.831, 0.74, 0.89, 64)
    assert told.chance == Figure(0.01, None, None, 48)
    assert told.attributes["sky"].n == 64


def test_what_is_known_of_a_study_is_replaced_and_the_rest_stays() -> None:
    first = Transfer.read(TOLD, "a")
    second = Transfer.read(TOLD | {"same_noise": None}, "a")
    book = SeedBook.read(raw_book()).with_transfers({"a": first, "b": first}).with_transfers({"a": second})
    assert (book.transfer["a"].same_noise, book.transfer["b"].same_noise) == (None, True)


def test_words_have_interval_and_n() -> None:
    told = Transfer.read(TOLD, "a")
    assert told.text() == (
        "its seeds' order by FID agrees with the book's by a rank correlation of 0.831 (0.74 to 0.89, n = 64 seeds); "
        "chance gives 0; the book's best seeds gain 1.25 (0.4 to 2, n = 48 prompts) in FID over its average seed, as "
        "many seeds at random 0.01 (n = 48)"
    )
    alone = Transfer({}, False, None, Figure(0.1, None, None, 9))
    assert alone.text().endswith("0.1 (n = 9 seeds); chance gives 0; the seeds are another noise there, only the "
                                 "numbers are the same")  # fmt: skip


def test_pictures_differ_from_a_studys_in_what_both_say() -> None:
    told = Transfer.read(TOLD, "a")
    assert told.differing(MADE) == []
    assert told.differing(MADE | {"steps": 4, "dtype": "float16"}) == ["steps"]


def test_a_book_says_how_its_pictures_were_made() -> None:
    book = SeedBook.read(raw_book())
    assert book.made_with() == {
        "model": "seedling", "latent_shape": [4, 16, 16], "height": 128, "width": 128, "scheduler": "DDIMScheduler",
        "steps": 4, "guidance_scale": 1.0, "dtype": "float32", "generator_device": "cpu",
    }  # fmt: skip
    assert json.loads(json.dumps(book.made_with())) == book.made_with()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"order": None}, "transfer to x, order: value is missing"),
        ({"order": {"value": 0.5}}, "transfer to x, order: n is missing"),
        ({"same_noise": "yes"}, "transfer to x: same_noise is missing or of another type"),
        ({"attributes": {"sky": 3}}, "transfer to x, sky is no JSON object"),
        ({"gain": {"value": "much", "n": 3}}, "transfer to x, gain: value"),
    ],
)
def test_what_is_no_transfer_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        SeedBook.read(raw_book(transfer={"x": TOLD | change}))
