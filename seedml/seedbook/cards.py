"""Seed cards (DESIGN section 5): all that is needed to remake a seed's noise and to trust its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, overload

from seedml.errors import UserError
from seedml.seed_list import check_seed
from seedml.seedbook.fields import Fields
from seedml.seedbook.query import Known, parse_query

VERDICTS = ("golden", "inferior", "inconclusive")
HELD_OUT = "_held_out"
"""Ending of scores on prompts that only confirm: nothing is chosen by them."""
CLOSEST = 5
"""How many seeds are offered where none fits."""


@dataclass(frozen=True)
class Score:
    """One number of a seed over the prompts of some splits.

    Attributes:
        value: mean or distance; ``None`` where no image tells.
        low, high: limits; ``None`` where unknown.
        n: prompts.
        prompt_set: which prompts: ``scenes: train+val``.
        measured: the value before luck was taken out, for shrunken ones.

    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    prompt_set: str
    measured: float | None = None

    @classmethod
    def read(cls, raw: object, where: str) -> Score:
        """A score from its JSON object."""
        own = Fields(raw, where)
        numbers = {name: own.number_or_none(name) for name in ("value", "low", "high", "measured")}
        return cls(n=own.whole("n"), prompt_set=own.text_or_none("prompt_set") or "", **numbers)


@dataclass(frozen=True)
class SeedCard:
    """One seed: how to make its noise, how its pictures were made, what they are like.

    Attributes:
        seed: 0 … 2^63-1.
        model: short name.
        revision: of the hub; ``None`` = a folder, or not pinned.
        generator_device: where its noise is drawn: ``cpu`` or ``cuda``.
        torch_version: that drew it.
        latent_shape: C, H, W; the noise is drawn as 1 × C × H × W float32.
        dtype: of weights and arithmetic.
        scheduler: diffusers class.
        steps, guidance_scale: of the sampler.
        noise_sha256: hex SHA-256 of the noise, float32 little-endian, row by row.
        scores: name -> number; attributes under the names of ``images.parquet``.
        q_value: of "this seed is like the average seed".
        verdict: ``golden``, ``inferior`` or ``inconclusive``.
        tags: what it does to pictures beyond doubt: ``high sky``.

    """

    seed: int
    model: str
    revision: str | None
    generator_device: str
    torch_version: str | None
    latent_shape: tuple[int, ...]
    dtype: str
    scheduler: str
    steps: int
    guidance_scale: float
    noise_sha256: str
    scores: Mapping[str, Score]
    q_value: float | None
    verdict: str
    tags: tuple[str, ...]

    @classmethod
    def read(cls, raw: object, where: str = "card") -> SeedCard:
        """A card from its JSON object.

        Raises:
            UserError: a field is missing or of another type.

        """
        own = Fields(raw, where)
        seed = check_seed(own.whole("seed"))
        where = f"card of seed {seed}"
        own = Fields(raw, where)
        return cls(
            seed=seed, model=own.text("model"), revision=own.text_or_none("revision"),
            generator_device=own.text("generator_device"), torch_version=own.text_or_none("torch_version"),
            latent_shape=own.wholes("latent_shape"), dtype=own.text("dtype"), scheduler=own.text("scheduler"),
            steps=own.whole("steps"), guidance_scale=own.number("guidance_scale"),
            noise_sha256=own.text("noise_sha256"),
            scores={name: Score.read(score, f"{where}, {name}") for name, score in own.objects("scores").items()},
            q_value=own.number_or_none("q_value"), verdict=own.text("verdict"), tags=own.texts("tags"),
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """As in ``seedbook.json``: unknown limits are left out."""
        scores = {name: {key: value for key, value in asdict(score).items() if value is not None}
                  for name, score in self.scores.items()}  # fmt: skip
        return asdict(self) | {"scores": scores, "latent_shape": list(self.latent_shape), "tags": list(self.tags)}

    def value(self, name: str) -> float:
        """A score's value; NaN where the card has none."""
        score = self.scores.get(name)
        return math.nan if score is None or score.value is None else score.value


@dataclass(frozen=True)
class Cards(Sequence[SeedCard]):
    """Some cards of a book, in an order that means something: best first, farthest first.

    Attributes:
        cards: of different seeds.
        what: what they are, for errors: ``golden seeds``.

    """

    cards: tuple[SeedCard, ...]
    what: str = field(default="seeds", compare=False)

    def __len__(self) -> int:
        return len(self.cards)

    def __iter__(self) -> Iterator[SeedCard]:
        return iter(self.cards)

    @overload
    def __getitem__(self, at: int) -> SeedCard: ...
    @overload
    def __getitem__(self, at: slice) -> Cards: ...
    def __getitem__(self, at: int | slice) -> SeedCard | Cards:
        return Cards(self.cards[at], self.what) if isinstance(at, slice) else self.cards[at]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, in this order."""
        return tuple(card.seed for card in self.cards)

    def first(self, n: int | None) -> Cards:
        """The first ``n``; all for ``None``.

        Raises:
            UserError: there are not so many, or ``n`` is below 1.

        """
        if n is None:
            return self
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= len(self):
            legal = f"1 to {len(self)}" if len(self) else "none: there is not one"
            raise UserError(f"there are {len(self)} {self.what}", given=f"n={n}", legal=legal,
                            remedy="ask for fewer, or for others: by=best, by=random")  # fmt: skip
        return self[:n]

    def besides(self, others: Iterable[SeedCard]) -> Cards:
        """These without the seeds of ``others``."""
        left_out = {card.seed for card in others}
        return Cards(tuple(card for card in self if card.seed not in left_out), self.what)

    def by(self, score: str, *, descending: bool = False) -> Cards:
        """Smallest score first; cards without it last; of equal ones the order stays."""
        sign = -1 if descending else 1

        def key(card: SeedCard) -> float:
            value = card.value(score)
            return math.inf if math.isnan(value) else sign * value

        return Cards(tuple(sorted(self.cards, key=key)), self.what)

    def where(self, condition: str) -> Cards:
        """The cards that fit a condition on scores, tags and verdicts, such as ``grayscale<0.1 and x<0.4``.

        The language is that of :mod:`seedml.seedbook.query`. A card without a number that is asked for does not fit.

        Raises:
            UserError: the condition cannot be read, names what no card has, or no card fits; then the closest are
                named.

        """
        query = parse_query(condition, self._known())
        fitting = Cards(tuple(card for card in self if query.fits(card)), f"{self.what} that fit where={condition!r}")
        if not fitting:
            raise self._nothing_fits(condition)
        return fitting

    def closest(self, condition: str, n: int = CLOSEST) -> Cards:
        """The cards that come nearest to fitting, at most ``n``; of equal ones the order stays.

        How far a card is off is counted in standard deviations between the cards; a wrong tag or verdict counts 1.
        """
        query = parse_query(condition, self._known())
        spreads = {name: _spread([card.value(name) for card in self]) for name in query.names}
        told = [(query.shortfall(card, spreads), card) for card in self]
        near = sorted((pair for pair in told if not math.isnan(pair[0])), key=lambda pair: pair[0])
        return Cards(tuple(card for _, card in near[:n]), self.what)

    def _nothing_fits(self, condition: str) -> UserError:
        query, near = parse_query(condition, self._known()), self.closest(condition)
        if not near:
            return UserError(f"none of {len(self)} {self.what} has the numbers that where= asks for", given=condition,
                             remedy="ask for others")  # fmt: skip
        offered = ", ".join(f"{card.seed} ({query.shown(card)})" for card in near)
        return UserError(
            f"none of {len(self)} {self.what} fits where=; the closest are {offered}", given=condition,
            remedy=f"loosen the condition, or take these: seeds={','.join(map(str, near.seeds))}",
        )  # fmt: skip

    def _known(self) -> Known:
        names = {name for card in self for name in card.scores if not name.endswith(HELD_OUT)}
        return Known(frozenset(names), frozenset(tag for card in self for tag in card.tags), VERDICTS)


def _spread(values: Sequence[float]) -> float:
    """Standard deviation of the known values; 1 where they do not differ."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return 1.0
    mean = math.fsum(known) / len(known)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in known) / len(known)) or 1.0
