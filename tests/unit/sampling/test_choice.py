"""Which seeds the words of a command mean."""

from __future__ import annotations

from typing import Any

import pytest
from small_book import raw_book, raw_card

from seedml.errors import UserError
from seedml.sampling.choice import Choice, beside, read_words
from seedml.seedbook import SeedBook


@pytest.fixture(scope="module")
def book() -> SeedBook:
    return SeedBook.read(raw_book())


@pytest.mark.parametrize(
    ("words", "name", "seeds"),
    [
        ({}, "golden", (0, 1, 4)),
        ({"n": 2}, "golden", (0, 1)),
        ({"by": "golden", "where": "x<0.65"}, "golden", (1, 4)),
        ({"by": "best", "n": 5}, "best", (0, 1, 4, 5, 2)),
        ({"by": "inferior"}, "inferior", (3,)),
        ({"by": "diverse", "n": 2}, "diverse", (0, 3)),
        ({"by": "layout"}, "layout", (0, 2, 1, 4)),
        ({"by": "layout", "n": 2, "where": "x<0.65"}, "layout", (1, 2)),
        ({"where": "grayscale>0.4"}, "fitting", (2, 3)),
        ({"where": "x>0", "n": 1}, "fitting", (0,)),
        ({"seeds": "[5,2]"}, "given", (2, 5)),
        ({"seeds": "1:3"}, "given", (1, 2)),
    ],
)
def test_seeds_that_are_meant(book: SeedBook, words: dict[str, Any], name: str, seeds: tuple[int, ...]) -> None:
    choice = Choice(**words)
    assert (choice.name, choice.of(book).seeds) == (name, seeds)


def test_random_seeds_are_other_ones_for_another_draw(book: SeedBook) -> None:
    draws = {Choice(by="random", n=3, draw=draw).of(book).seeds for draw in range(6)}
    assert len(draws) > 1
    assert Choice(by="random", n=3).of(book).seeds == Choice(by="random", n=3).of(book).seeds


def test_others_beside_the_chosen_ones(book: SeedBook) -> None:
    chosen = Choice(n=3).of(book)
    others = beside(book, chosen, "random")
    assert len(others) == 3
    assert not set(others.seeds) & set(chosen.seeds)
    assert beside(book, chosen, "inferior").seeds == (3,)  # there is no other
    with pytest.raises(UserError, match="no golden seed beside the chosen ones"):
        beside(book, chosen, "golden")
    with pytest.raises(UserError, match=r"unknown value of compare.*did you mean 'random'"):
        beside(book, chosen, "randm")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"n": 4}, "there are 3 golden seeds"),
        ({"n": 0}, "n is no number of seeds; given: 0"),
        ({"n": 9, "by": "random"}, "there are 6 seeds to draw from"),
        ({"n": 3, "where": "grayscale>0.4"}, "there are 2 seeds that fit"),
        ({"n": 7, "by": "style"}, "there are 4 seeds that are not inferior"),
        ({"by": "goldn"}, "unknown value of by; given: 'goldn'.*did you mean 'golden'"),
        ({"seeds": "3,77"}, "no card of seed 77"),
        ({"seeds": "3", "n": 2}, r"seeds= says which seeds, so n= say nothing more"),
        ({"draw": -1}, "draw has no legal value"),
        ({"where": "x<0"}, "none of 6 seeds fits where=; the closest are 2"),
    ],
)
def test_seeds_that_are_not_there(book: SeedBook, words: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Choice(**words).of(book)


def test_a_study_in_which_no_seed_is_golden() -> None:
    cards = [raw_card(seed, verdict="inconclusive") for seed in range(3)]
    doubtful = SeedBook.read(raw_book(cards=cards, golden=[], inferior=[], diverse=[0]))
    with pytest.raises(UserError, match="by=best"):
        Choice(n=2).of(doubtful)
    assert Choice(n=2, by="best").of(doubtful).seeds == (0, 1)


def test_words_are_read_by_their_keys() -> None:
    own: dict[str, type] = {"n": int, "where": str}
    assert read_words(["n=3", "where=x<1 and y==2", "sampler.steps=4", "n=5"], own) == (
        {"n": 5, "where": "x<1 and y==2"}, ["sampler.steps=4"])  # fmt: skip
    for words, says in (["n=many"], "n has no legal value; given: 'many'"), (["n"], "'n' has no value"):
        with pytest.raises(UserError, match=says):
            read_words(words, own)
