"""Conditions on seed cards, such as ``grayscale < 0.1 and x < 0.4``: a small language, read by a parser of its own.

    condition  = and-part {"or" and-part}
    and-part   = part {"and" part}
    part       = "not" part | "(" condition ")" | tag | comparison
    tag        = ("high" | "low") name | quoted text           high sky        'high sky'
    comparison = value op value {op value}                     0.2 <= x <= 0.4
    value      = number | name | name.low | name.high
    op         = < | <= | > | >= | == | !=

Names are those of the cards' scores, ``seed``, ``q_value``, and ``x``, ``y``, ``text`` for short. ``verdict == golden``
is a comparison too. ``.low`` and ``.high`` are limits: ``grayscale.high < 0.1`` asks for seeds that are surely so.

Nothing is ever evaluated as Python. Knows cards by their fields only.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from seedml.errors import UserError, unknown_name

if TYPE_CHECKING:
    from seedml.seedbook.cards import SeedCard

ALIASES = {"x": "location_x", "y": "location_y", "text": "lettering"}
PARTS = ("value", "low", "high")
EXAMPLE = "grayscale<0.1 and x<0.4"
LONGEST, DEEPEST = 1000, 20
"""Characters and nested parentheses that a condition may have."""

_OWN = ("seed", "q_value")
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?)"
    r"|'(?P<single>[^']*)'|\"(?P<double>[^\"]*)\""
    r"|(?P<op><=|>=|==|!=|<|>|[()]))"
)
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_WHOLE = re.compile(r"[-+]?\d{1,19}")
"""Numbers that stay whole: every seed is one, and above 2^53 a float is not every whole number."""
_OPPOSITE = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "!=", "!=": "=="}


class Known(NamedTuple):
    """What a condition may name."""

    scores: frozenset[str]
    tags: frozenset[str]
    verdicts: Sequence[str]


class Condition(Protocol):
    """A condition, or part of one."""

    def holds(self, card: SeedCard) -> bool:
        """Whether the card fits; all numbers that are asked for are known."""
        ...

    def shortfall(self, card: SeedCard, spreads: Mapping[str, float]) -> float:
        """How far the card is from fitting, in spreads of the scores; 0 where it fits or is on the edge."""
        ...

    def negated(self) -> Condition:
        """The condition that holds exactly where this one does not."""
        ...

    def fields(self) -> Iterator[Field]:
        """The numbers it asks for."""
        ...


@dataclass(frozen=True)
class Field:
    """A number of a card: ``name`` or ``name.part``."""

    name: str
    part: str = "value"

    def of(self, card: SeedCard) -> int | float:
        """The number, whole where the card has a whole one; NaN where the card lacks it."""
        if self.name in _OWN:
            own: int | float | None = getattr(card, self.name)
            return math.nan if own is None else own
        score = card.scores.get(self.name)
        number = None if score is None else getattr(score, self.part)
        return math.nan if number is None else float(number)

    def __str__(self) -> str:
        return self.name if self.part == "value" else f"{self.name}.{self.part}"


@dataclass(frozen=True)
class Number:
    """A number in the condition itself."""

    value: int | float

    def of(self, card: SeedCard) -> int | float:
        """The number, whatever the card."""
        return self.value


@dataclass(frozen=True)
class Comparison:
    """Two numbers."""

    left: Field | Number
    op: str
    right: Field | Number

    def holds(self, card: SeedCard) -> bool:
        """Whether the comparison is true of the card."""
        return _COMPARE[self.op](self.left.of(card), self.right.of(card))

    def shortfall(self, card: SeedCard, spreads: Mapping[str, float]) -> float:
        """Distance of the two numbers in spreads of the score that is named first."""
        left, right = self.left.of(card), self.right.of(card)
        if math.isnan(left) or math.isnan(right):
            return math.nan
        if _COMPARE[self.op](left, right):
            return 0.0
        unit = next((spreads.get(field.name, 1.0) for field in self.fields()), 1.0)
        return 1.0 if self.op == "!=" else abs(left - right) / unit

    def negated(self) -> Comparison:
        """The opposite comparison."""
        return Comparison(self.left, _OPPOSITE[self.op], self.right)

    def fields(self) -> Iterator[Field]:
        """The cards' numbers among the two."""
        yield from (side for side in (self.left, self.right) if isinstance(side, Field))


@dataclass(frozen=True)
class Word:
    """A tag, or a verdict, that the card has or has not."""

    kind: str
    """``tag`` or ``verdict``."""
    word: str
    wanted: bool = True

    def holds(self, card: SeedCard) -> bool:
        """Whether the card has it, or has it not."""
        has = self.word in card.tags if self.kind == "tag" else self.word == card.verdict
        return has == self.wanted

    def shortfall(self, card: SeedCard, spreads: Mapping[str, float]) -> float:
        """1 where it does not fit."""
        return 0.0 if self.holds(card) else 1.0

    def negated(self) -> Word:
        """The opposite wish."""
        return Word(self.kind, self.word, not self.wanted)

    def fields(self) -> Iterator[Field]:
        """No number."""
        yield from ()


@dataclass(frozen=True)
class Joined:
    """Several conditions, all (``and``) or any (``or``) of which must hold."""

    word: str
    parts: tuple[Condition, ...]

    def holds(self, card: SeedCard) -> bool:
        """Whether all, or any, hold."""
        return (all if self.word == "and" else any)(part.holds(card) for part in self.parts)

    def shortfall(self, card: SeedCard, spreads: Mapping[str, float]) -> float:
        """Sum of what is missing; the least of it for ``or``."""
        missing = [part.shortfall(card, spreads) for part in self.parts]
        return math.fsum(missing) if self.word == "and" else min(missing)

    def negated(self) -> Joined:
        """De Morgan's rule."""
        return Joined("or" if self.word == "and" else "and", tuple(part.negated() for part in self.parts))

    def fields(self) -> Iterator[Field]:
        """Those of all parts."""
        for part in self.parts:
            yield from part.fields()


@dataclass(frozen=True)
class Query:
    """A condition that was read."""

    condition: Condition

    @property
    def names(self) -> tuple[str, ...]:
        """The scores that it asks for, each once, in order."""
        return tuple(dict.fromkeys(field.name for field in self.condition.fields()))

    def fits(self, card: SeedCard) -> bool:
        """Whether the card fits; one that lacks any number that is asked for does not."""
        return self._told(card) and self.condition.holds(card)

    def shortfall(self, card: SeedCard, spreads: Mapping[str, float]) -> float:
        """How far the card is from fitting, in ``spreads`` of the scores; NaN where it lacks a number."""
        return self.condition.shortfall(card, spreads) if self._told(card) else math.nan

    def shown(self, card: SeedCard) -> str:
        """The card's numbers that the condition is about: ``grayscale 0.02, location_x 0.45``."""
        fields = dict.fromkeys(self.condition.fields())
        return ", ".join(f"{field} {_brief(field.of(card))}" for field in fields) or card.verdict

    def _told(self, card: SeedCard) -> bool:
        return not any(math.isnan(field.of(card)) for field in self.condition.fields())


def _brief(number: int | float) -> str:
    return str(number) if isinstance(number, int) else f"{number:.3g}"


class Token(NamedTuple):
    """A word of a condition, and the column that it starts at, from 1."""

    kind: str
    """``number``, ``name``, ``text``, ``op`` or ``end``."""
    text: str
    column: int


def parse_query(text: str, known: Known) -> Query:
    """The condition that ``text`` writes.

    Raises:
        UserError: not readable, at which place; a name, tag or verdict that no card has, with the nearest one.

    """
    if len(text) > LONGEST:
        raise UserError("where= is too long", given=f"{text[:40]}…", legal=f"{LONGEST} characters",
                        remedy="write a shorter condition, or take the seeds themselves by seeds=…")  # fmt: skip
    return _Parser(text, known).query()


def _tokens(text: str) -> list[Token]:
    found, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            start = at + len(text[at:]) - len(text[at:].lstrip())
            hint = " (equality is written ==)" if text[start] == "=" else ""
            raise _unreadable(text, start + 1, f"{text[start]!r}{hint}")
        kind = str(match.lastgroup)
        word = match[kind]
        found.append(Token("text" if kind in ("single", "double") else kind, word, match.start(kind) + 1))
        at = match.end()
    return [*found, Token("end", "", len(text) + 1)]


def _unreadable(text: str, column: int, what: str) -> UserError:
    return UserError(f"where= cannot be read at column {column}: {what}", given=text,
                     legal=f"comparisons and tags, joined by and, or, not, such as {EXAMPLE!r} or 'high sky'",
                     remedy="mend it there")  # fmt: skip


class _Parser:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, text: str, known: Known) -> None:
        self._text, self._known = text, known
        self._tokens, self._at, self._depth = _tokens(text), 0, 0

    def query(self) -> Query:
        condition = self._either()
        if self._next.kind != "end":
            raise self._unexpected()
        return Query(condition)

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._next
        self._at += 1
        return token

    def _taken(self, *words: str) -> bool:
        """Whether the next token is one of these words, which is then passed over."""
        is_it = self._next.kind in ("name", "op") and self._next.text in words
        self._at += is_it
        return is_it

    def _unexpected(self) -> UserError:
        token = self._next
        return _unreadable(self._text, token.column, repr(token.text) if token.text else "it ends too early")

    def _either(self) -> Condition:
        return self._joined("or", self._both)

    def _both(self) -> Condition:
        return self._joined("and", self._part)

    def _joined(self, word: str, part: Callable[[], Condition]) -> Condition:
        parts = [part()]
        while self._taken(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))

    def _part(self) -> Condition:
        self._depth += 1
        if self._depth > DEEPEST:
            raise _unreadable(self._text, self._next.column, f"more than {DEEPEST} parentheses or nots within another")
        if self._taken("not"):
            found = self._part().negated()
        elif self._taken("("):
            found = self._either()
            if not self._taken(")"):
                raise self._unexpected()
        else:
            found = self._word() or self._comparison()
        self._depth -= 1
        return found

    def _word(self) -> Condition | None:
        """A tag or a verdict, where one is next."""
        if self._next.kind == "text":
            return Word("tag", self._checked_tag(self._take().text))
        if self._next.text in ("high", "low") and self._tokens[self._at + 1].kind == "name":
            side, name = self._take().text, self._take().text
            return Word("tag", self._checked_tag(f"{side} {ALIASES.get(name, name)}"))
        if self._taken("verdict"):
            return self._verdict()
        return None

    def _checked_tag(self, tag: str) -> str:
        side, _, name = tag.partition(" ")
        if tag in self._known.tags or (side in ("high", "low") and name in self._known.scores):
            return tag
        raise unknown_name("tag in where=", tag, self._known.tags or ["(no card has a tag)"])

    def _verdict(self) -> Word:
        if self._next.text not in ("==", "!="):
            raise self._unexpected()
        wanted = self._take().text == "=="
        token = self._take()
        if token.text not in self._known.verdicts:
            raise unknown_name("verdict in where=", token.text, self._known.verdicts)
        return Word("verdict", token.text, wanted)

    def _comparison(self) -> Condition:
        """``a < b``, or ``a < b < c``, which is ``a < b and b < c``."""
        parts, left = [], self._value()
        while self._next.text in _COMPARE:
            op = self._take().text
            right = self._value()
            parts.append(Comparison(left, op, right))
            left = right
        if not parts:
            raise self._unexpected()
        return parts[0] if len(parts) == 1 else Joined("and", tuple(parts))

    def _value(self) -> Field | Number:
        token = self._next
        if token.kind == "number":
            return Number((int if _WHOLE.fullmatch(token.text) else float)(self._take().text))
        if token.kind != "name" or token.text in ("and", "or", "not"):
            raise self._unexpected()
        name, _, part = self._take().text.partition(".")
        name, part = ALIASES.get(name, name), part or "value"
        if name not in self._known.scores and name not in _OWN:
            raise unknown_name("name in where=", name, [*self._known.scores, *_OWN, "verdict"])
        if part not in PARTS or (name in _OWN and part != "value"):
            raise unknown_name(f"part of {name} in where=", part, PARTS if name not in _OWN else ["value"])
        return Field(name, part)
