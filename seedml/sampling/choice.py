"""Which seeds of a book are wanted, in words of the command line: ``n=8 by=golden where="x<0.4"``. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seedml.config_text import parse_yaml, split_override
from seedml.errors import UserError, unknown_name
from seedml.seed_list import parse_seeds
from seedml.seedbook import Cards, SeedBook

SPACES = ("style", "layout")
BY = ("golden", "best", "inferior", "diverse", *SPACES, "random")
GIVEN, FITTING = "given", "fitting"
DEFAULT_COUNT = 8
"""Seeds that are taken where ``n`` is not given; fewer where there are fewer."""


@dataclass(frozen=True)
class Choice:
    """Which seeds.

    Attributes:
        n: how many; ``None`` = :data:`DEFAULT_COUNT`, or as many as there are.
        by: one of :data:`BY`; ``None`` = golden, or all seeds where there is a condition.
        where: a condition that they must fit, in the language of :mod:`seedml.seedbook.query`.
        seeds: these and no others, as text: ``[3,7]``, ``0:4``.
        draw: which random seeds.

    """

    n: int | None = None
    by: str | None = None
    where: str | None = None
    seeds: str | None = None
    draw: int = 0

    def __post_init__(self) -> None:
        if self.by is not None and self.by not in BY:
            raise unknown_name("value of by", self.by, BY)
        if self.n is not None and (isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 1):
            raise UserError("n is no number of seeds", given=self.n, legal="a whole number from 1", remedy="set n=8")
        if isinstance(self.draw, bool) or not isinstance(self.draw, int) or self.draw < 0:
            raise UserError("draw has no legal value", given=self.draw, legal="a whole number from 0",
                            remedy="set draw=1 for other random seeds")  # fmt: skip
        others = [name for name in ("n", "by", "where") if getattr(self, name) is not None]
        if self.seeds is not None and others:
            raise UserError(f"seeds= says which seeds, so {'= and '.join(others)}= say nothing more", given=self.seeds,
                            remedy=f"leave out {' and '.join(others)}, or seeds")  # fmt: skip

    @property
    def name(self) -> str:
        """What the chosen seeds are called in file names and headings."""
        if self.seeds is not None:
            return GIVEN
        return self.by or (FITTING if self.where else "golden")

    def of(self, book: SeedBook) -> Cards:
        """The cards, in an order that means something.

        Raises:
            UserError: there are not so many; none fits; no such seed.

        """
        if self.seeds is not None:
            return book.these(parse_seeds(self.seeds))
        pool = self._pool(book)
        if self.where is not None:
            pool = pool.where(self.where)
        if self.by in SPACES:
            count = self.n if self.n is not None else min(DEFAULT_COUNT, len(book.points(self.by, pool)))
            return book.diverse(count, by=self.by, among=pool)
        return pool.first(min(DEFAULT_COUNT, len(pool)) if self.n is None else self.n)

    def _pool(self, book: SeedBook) -> Cards:
        """Whom to take from, in order."""
        if self.name in ("golden", "inferior"):
            return book.with_verdict(self.name)
        if self.by in SPACES:
            return book.all_but_inferior()
        if self.by == "diverse":
            return book.diverse()
        return book.random(draw=self.draw) if self.by == "random" else book.best()


def beside(book: SeedBook, chosen: Cards, by: str, draw: int = 0) -> Cards:
    """As many other seeds to look at beside the chosen ones; fewer where there are fewer.

    Raises:
        UserError: there are none.

    """
    if by not in BY:
        raise unknown_name("value of compare", by, BY)
    others = Choice(by=by, n=None, draw=draw)._pool(book).besides(chosen)
    if not others:
        raise UserError(f"the book of {book.name} has no {by} seed beside the chosen ones", given=f"compare={by}",
                        remedy="choose fewer, or leave compare out")  # fmt: skip
    return others.first(min(len(chosen), len(others)))


def read_words(words: Sequence[str], own: Mapping[str, type]) -> tuple[dict[str, Any], list[str]]:
    """Words ``key=value`` into values of the keys ``own``, and the words that have other keys.

    Args:
        words: of the command line; the later one of the same key counts.
        own: key -> ``str`` (taken as it is) or another type (read as YAML).

    Raises:
        UserError: a word without ``=``, or a value of another type.

    """
    values: dict[str, Any] = {}
    rest: list[str] = []
    for word in words:
        key, text = split_override(word)
        if key not in own:
            rest.append(word)
            continue
        value = text if own[key] is str else parse_yaml(text, f"the value of {key}")
        if not isinstance(value, own[key]):
            raise UserError(f"{key} has no legal value", given=text, legal="a whole number", remedy=f"set {key}=4")
        values[key] = value
    return values, rest
