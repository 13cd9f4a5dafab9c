"""What other studies say of a book's seeds: figures of ``seedml compare``, with their intervals and n.

A seed book is about one model, size and sampler. How far its order of seeds and its choice carry over to others has to
be measured there; where it was, the book can say so. Needs the standard library alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from seedml.seedbook.fields import Fields


@dataclass(frozen=True)
class Figure:
    """A number with its limits.

    Attributes:
        value: the estimate.
        low, high: limits; ``None`` where unknown.
        n: seeds of a correlation, prompts of a gain.

    """

    value: float
    low: float | None
    high: float | None
    n: int

    @classmethod
    def read(cls, raw: object, where: str) -> Figure:
        """A figure from its JSON object."""
        own = Fields(raw, where)
        return cls(own.number("value"), own.number_or_none("low"), own.number_or_none("high"), own.whole("n"))

    def text(self, what: str = "") -> str:
        """For people: ``0.83 (0.74 to 0.89, n = 64 seeds)``."""
        limits = "" if self.low is None or self.high is None else f"{self.low:.3g} to {self.high:.3g}, "
        return f"{self.value:.3g} ({limits}n = {self.n}{' ' if what else ''}{what})"


@dataclass(frozen=True)
class Transfer:
    """What another study says of the book's seeds.

    Attributes:
        made_with: how its pictures were made, as :meth:`~seedml.seedbook.book.SeedBook.made_with` says it of the book.
        same_noise: whether the seeds are the same noise in both; ``None`` = not known.
        same_prompts: whether both are looked at on the same prompts; ``None`` = not said.
        order: rank correlation of the seeds' Fréchet distances: 1 the same order, 0 by chance.
        gain: how much smaller the distance of the book's chosen seeds is there than the average seed's, on held-out
            prompts that chose in neither; ``None`` where that cannot be told.
        chance: the same of as many seeds at random.
        attributes: attribute column -> rank correlation of the seeds' means.

    """

    made_with: Mapping[str, Any]
    same_noise: bool | None
    same_prompts: bool | None
    order: Figure
    gain: Figure | None = None
    chance: Figure | None = None
    attributes: Mapping[str, Figure] = field(default_factory=dict)

    @classmethod
    def read(cls, raw: object, study: str) -> Transfer:
        """A transfer from its JSON object.

        Raises:
            UserError: a field is missing or of another type.

        """
        where = f"transfer to {study}"
        own = Fields(raw, where)
        some = {name: Figure.read(entry, f"{where}, {name}") for name in ("gain", "chance")
                if (entry := own.objects(name))}  # fmt: skip
        return cls(
            made_with=own.objects("made_with"), same_noise=own.truth_or_none("same_noise"),
            same_prompts=own.truth_or_none("same_prompts"),
            order=Figure.read(own.objects("order"), f"{where}, order"),
            attributes={name: Figure.read(entry, f"{where}, {name}")
                        for name, entry in own.objects("attributes").items()},
            **some,
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """As in ``seedbook.json``: what is not known is left out."""
        return {name: value for name, value in _known(asdict(self)).items() if value != {}}

    def differing(self, made_with: Mapping[str, Any]) -> list[str]:
        """In what pictures that are made so differ from that study's, as far as both say: ``another guidance_scale``.

        Args:
            made_with: how they are made.

        """
        known = self.made_with.keys() & made_with.keys()
        return [name for name in made_with if name in known and self.made_with[name] != made_with[name]]

    def text(self) -> str:
        """For people: order, gain, and whether seeds are the same noise at all."""
        agreed = self.order.text("seeds")
        parts = [f"its seeds' order by FID agrees with the book's by a rank correlation of {agreed}; chance gives 0"]
        if self.gain is not None:
            gained = self.gain.text("prompts")
            chance = "" if self.chance is None else f", as many seeds at random {self.chance.text()}"
            parts.append(f"the book's best seeds gain {gained} in FID over its average seed{chance}")
        if self.same_noise is False:
            parts.append("the seeds are another noise there, only the numbers are the same")
        return "; ".join(parts)


def _known(value: Any) -> Any:
    """Without the fields that are ``None``, at any depth."""
    if not isinstance(value, Mapping):
        return value
    return {name: _known(item) for name, item in value.items() if item is not None}
