"""Conditions on seeds: what fits, what is closest, what cannot be read."""

from __future__ import annotations

import pytest
from small_book import raw_book, raw_card

from seedml.errors import UserError
from seedml.seedbook import SeedBook


@pytest.fixture(scope="module")
def book() -> SeedBook:
    return SeedBook.read(raw_book())


@pytest.mark.parametrize(
    ("condition", "seeds"),
    [
        ("grayscale<0.1", [0, 1, 4, 5]),  # smallest distance first
        ("grayscale<0.1 and x<0.65", [1, 4]),  # of seed 5 no image tells where: it does not fit
        ("grayscale<0.1 and not x<0.65", [0]),
        ("x > 0.65 or grayscale > 0.4", [0, 2, 3]),
        ("not (x > 0.65 or grayscale > 0.4)", [1, 4]),
        ("0.3 <= x <= 0.45", [1, 2]),
        ("0.3 < x <= 0.45", [1]),
        ("0.45 >= x", [1, 2]),
        ("x == 0.45", [1]),
        ("x != .45", [0, 4, 2, 3]),
        ("grayscale.high < 0.13", [0, 1, 5]),
        ("fid.low>=28 and fid.value<1e2", [2, 3]),
        ("high grayscale", [3]),
        ("not high grayscale and fid>22", [5, 2]),
        ("'odd one' or \"high grayscale\"", [5, 3]),
        ("verdict == golden", [0, 1, 4]),
        ("verdict != golden and fid < 24", [5]),
        ("seed >= 4", [4, 5]),
        ("q_value < 0.05 and seed == 2", [2]),
        ("x<0.65 and x<0.65 or x>0.65", [0, 1, 4, 2, 3]),  # and binds closer than or
        ("x < y or fid < 21 or y > 0", None),
    ],
)
def test_what_fits(book: SeedBook, condition: str, seeds: list[int] | None) -> None:
    if seeds is None:
        with pytest.raises(UserError, match="unknown name in where=; given: 'location_y'"):
            book.where(condition)
        return
    assert list(book.where(condition).seeds) == seeds


@pytest.mark.parametrize(
    ("condition", "seeds"),
    [
        ("seed == 9007199254740993", [2**53 + 1]),
        ("seed != 9007199254740993 and seed > 469", [2**53, 2**63 - 1]),
        ("seed <= 9007199254740992", [469, 2**53]),
        ("9007199254740992 < seed < 9223372036854775807", [2**53 + 1]),
        ("seed >= 9223372036854775807", [2**63 - 1]),
        ("seed == 9223372036854775806", []),
        ("seed == 469.0 or seed == 4.69e2", [469]),
        ("seed < 99999999999999999999999", [469, 2**53, 2**53 + 1, 2**63 - 1]),
        (f"seed < {'9' * 400}", [469, 2**53, 2**53 + 1, 2**63 - 1]),
    ],
)
def test_seeds_are_compared_as_whole_numbers(condition: str, seeds: list[int]) -> None:
    own = [469, 2**53, 2**53 + 1, 2**63 - 1]
    cards = [raw_card(0, seed=seed) for seed in own]
    large = SeedBook.read(raw_book(cards=cards, golden=own, inferior=[], diverse=[]))
    if seeds:
        assert sorted(large.where(condition).seeds) == seeds
        return
    with pytest.raises(UserError, match=r"the closest are 9223372036854775807 \(seed 9223372036854775807\)"):
        large.where(condition)


def test_where_works_on_some_cards_too(book: SeedBook) -> None:
    assert book.golden(3).where("x<0.65").seeds == (1, 4)
    with pytest.raises(UserError, match="there are 2 golden seeds"):
        book.golden(3).where("x<0.65").first(3)


def test_the_closest_seeds_are_offered_where_none_fits(book: SeedBook) -> None:
    with pytest.raises(UserError, match=r"the closest are 2 \(location_x 0\.3\), 1 .*seeds=2,1,3,4,0"):
        book.where("x < 0.1")
    # 4 misses by .1 of x and nothing else; a spread of x is .138, of grayscale .343
    assert book.cards.closest("x>0.7 and grayscale<0.06", 2).seeds == (0, 4)
    # either part may be the near one
    assert book.cards.closest("x>0.75 or grayscale>0.95", 2).seeds == (3, 0)
    # a wrong tag counts as one spread
    assert book.cards.closest("high grayscale and x<0.31", 1).seeds == (2,)


def test_nothing_is_closest_where_no_card_has_the_number() -> None:
    raw = raw_book()
    for card in raw["cards"]:
        del card["scores"]["location_x"]["n"]
        card["scores"]["location_x"] = {"n": 8}
    with pytest.raises(UserError, match="none of 6 seeds has the numbers"):
        SeedBook.read(raw).where("x<0.4")


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("", "column 1: it ends too early"),
        ("x <", "column 4: it ends too early"),
        ("x", "column 2: it ends too early"),
        ("< 3", "column 1: '<'"),
        ("x = 3", r"column 3: '=' \(equality is written ==\)"),
        ("x < 3 y < 4", "column 7: 'y'"),
        ("(x < 3", "column 7: it ends too early"),
        ("x < 3)", "column 6"),
        ("x < 3 and", "column 10: it ends too early"),
        ("x < 3 & x > 1", "column 7: '&'"),
        ("greyscale < 1", "unknown name in where=; given: 'greyscale'.*did you mean 'grayscale'"),
        ("fid_held_out < 30", "unknown name in where=; given: 'fid_held_out'"),  # the test prompts choose nothing
        ("grayscale.hi < 1", "unknown part of grayscale.*did you mean 'high'"),
        ("seed.low < 1", "unknown part of seed"),
        ("high gray", "unknown tag in where=; given: 'high gray'; legal: high grayscale, odd one"),
        ("'odd two'", "unknown tag in where=.*did you mean 'odd one'"),
        ("verdict < golden", "column 9: '<'"),
        ("verdict == good", "unknown verdict in where=.*did you mean 'golden'"),
        ("__import__('os').system('true')", r"column 17: '\.'"),
        ("__import__('os') < 1", "unknown name in where=; given: '__import__'"),
        ("(" * 30 + "x<1" + ")" * 30, "more than 20 parentheses"),
        ("not " * 30 + "x<1", "more than 20 parentheses or nots"),
        ("x<1 or " * 500 + "x<1", "where= is too long"),
    ],
)
def test_what_cannot_be_read(book: SeedBook, condition: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        book.where(condition)
