"""A study's seed book: its cards, its lists of seeds, and how its pictures were made."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from seedml.errors import UserError, unknown_name
from seedml.files import atomic_write_json, read_json
from seedml.seedbook.cards import Cards, SeedCard
from seedml.seedbook.fields import Fields
from seedml.seedbook.seal import VERSION as VERSION
from seedml.seedbook.seal import check_seal, sealed
from seedml.seedbook.spread_out import farthest_first
from seedml.seedbook.transfer import Transfer

FILE = "seedbook.json"
LISTS = ("golden", "inferior", "diverse")
_FID = "fid"


@dataclass(frozen=True)
class Recipe:
    """What all pictures of a study share beside the fields of the cards.

    Attributes:
        path: of the model: a folder, a hub id, or ``bundled:<name>``.
        variant: of the weight files.
        pipeline: diffusers class.
        height, width: pixels.
        scheduler_options: what replaces the values in the model's folder.
        initial_seed: all initial noise is drawn from it; ``None`` = each picture's own seed.
        step_seed: the same of the noise added while sampling.
        weights: what makes these weights these weights: a hash of the folder, or the hub's commit.
        versions: of the libraries that made the pictures.
        model_options: what else of ``model.…`` was not left as it is: LoRA, autoencoder, arguments of the call …

    """

    path: str
    variant: str | None
    pipeline: str
    height: int
    width: int
    scheduler_options: Mapping[str, Any]
    initial_seed: int | None
    step_seed: int | None
    weights: Mapping[str, Any]
    versions: Mapping[str, str]
    model_options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, raw: object) -> Recipe:
        """A recipe from its JSON object."""
        own = Fields(raw, "recipe")
        return cls(
            path=own.text("path"), variant=own.text_or_none("variant"), pipeline=own.text("pipeline"),
            height=own.whole("height"), width=own.whole("width"), scheduler_options=own.objects("scheduler_options"),
            initial_seed=own.whole_or_none("initial_seed"), step_seed=own.whole_or_none("step_seed"),
            weights=own.objects("weights"), versions=own.objects("versions"),
            model_options=own.objects("model_options"),
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """As in ``seedbook.json``; books of models without further options are as they were before there were any."""
        return {key: value for key, value in asdict(self).items() if value or key != "model_options"}


@dataclass(frozen=True)
class Advice:
    """Seeds to use and to avoid for one purpose, such as inpainting.

    Attributes:
        use: surely better for it than the average seed; may be empty.
        avoid: surely worse; may be empty.
        basis: what that rests on, in one sentence, with its n.

    """

    use: tuple[int, ...]
    avoid: tuple[int, ...]
    basis: str

    @classmethod
    def read(cls, raw: object, purpose: str) -> Advice:
        """Advice from its JSON object."""
        own = Fields(raw, f"advice on {purpose}")
        return cls(own.wholes("use"), own.wholes("avoid"), own.text("basis"))


@dataclass(frozen=True)
class SeedBook:
    """A study's seeds.

    Attributes:
        name: of the study.
        model: its short name.
        created: ISO 8601, UTC.
        cards: of all seeds of the study, ascending.
        lists: ``golden``, ``inferior`` and ``diverse`` seeds as selection listed them.
        spaces: ``style`` and ``layout``: score -> its spread within a seed, the unit of length along it.
        recipe: how the pictures were made; ``None`` in books of the first version.
        rule: how seeds were chosen.
        confirmation: what the choice is worth on held-out prompts.
        advice: purpose -> seeds to use and to avoid.
        transfer: other study -> what it says of the seeds, where ``seedml compare`` found it out.
        folder: where it was read from.

    """

    name: str
    model: str
    created: str
    cards: Cards
    lists: Mapping[str, tuple[int, ...]]
    spaces: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    recipe: Recipe | None = None
    rule: Mapping[str, Any] = field(default_factory=dict)
    confirmation: Mapping[str, Any] = field(default_factory=dict)
    advice: Mapping[str, Advice] = field(default_factory=dict)
    transfer: Mapping[str, Transfer] = field(default_factory=dict)
    folder: Path | None = field(default=None, compare=False)

    @classmethod
    def load(cls, path: str | Path) -> SeedBook:
        """The book in a file, or in a run's folder.

        Raises:
            UserError: no such file, no book, a book of a newer version, or one that was changed.

        """
        given = Path(path).expanduser()
        file = given / FILE if given.is_dir() else given
        if not file.is_file():
            raise UserError(f"there is no seed book {file}", legal=f"a {FILE}, or the folder of a run that has one",
                            remedy="run `seedml select` first, or check the path")  # fmt: skip
        raw = read_json(file)
        check_seal(raw, str(file))
        try:
            return replace(cls.read(raw), folder=file.parent)
        except UserError as error:
            raise UserError(f"{file} is no seed book: {error}") from error

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> SeedBook:
        """A book from its JSON object, whatever its hash.

        Raises:
            UserError: something is missing or of another type, a seed is there twice, or a list names a seed
                without a card.

        """
        own = Fields(raw, "book")
        cards = Cards(tuple(SeedCard.read(card, f"card {at}") for at, card in enumerate(own.entries("cards"))), "seeds")
        advice = own.objects("advice")
        book = cls(
            name=own.text("name"), model=own.text("model"), created=own.text_or_none("created") or "",
            cards=cards, lists={name: own.wholes(name) for name in LISTS},
            spaces={name: _units(name, space) for name, space in own.objects("spaces").items()},
            recipe=Recipe.read(raw["recipe"]) if "recipe" in own else None,
            rule=own.objects("rule"), confirmation=own.objects("confirmation"),
            advice={purpose: Advice.read(entry, purpose) for purpose, entry in advice.items()},
            transfer={study: Transfer.read(entry, study) for study, entry in own.objects("transfer").items()},
        )  # fmt: skip
        book._check()
        return book

    def _check(self) -> None:
        if not self.cards:
            raise UserError("it has no card", remedy="run `seedml select` again")
        if len(set(self.seeds)) < len(self.cards):
            raise UserError("a seed has two cards", remedy="run `seedml select` again")
        named = {**self.lists, **{f"{name}.use": advice.use for name, advice in self.advice.items()},
                 **{f"{name}.avoid": advice.avoid for name, advice in self.advice.items()}}  # fmt: skip
        for name, seeds in named.items():
            strangers = sorted(set(seeds) - set(self.seeds))
            if strangers:
                raise UserError(f"{name} lists seeds without a card", given=strangers, legal="seeds of the cards",
                                remedy="run `seedml select` again")  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """``seedbook.json`` as an object, with version and hash.

        A book of which no other study says anything has no field ``transfer``, as books had none before there was one.
        """
        told = {study: transfer.as_json() for study, transfer in self.transfer.items()}
        return sealed({
            "name": self.name, "model": self.model, "created": self.created, "rule": dict(self.rule),
            "recipe": None if self.recipe is None else self.recipe.as_json(),
            "cards": [card.as_json() for card in self.cards],
            **{name: list(seeds) for name, seeds in self.lists.items()},
            "spaces": {name: dict(space) for name, space in self.spaces.items()},
            "confirmation": dict(self.confirmation),
            "advice": {name: {"use": list(advice.use), "avoid": list(advice.avoid), "basis": advice.basis}
                       for name, advice in self.advice.items()},
            **({"transfer": told} if told else {}),
        })  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Write the book to a file, whole or not at all."""
        atomic_write_json(Path(path), self.as_json())

    def with_advice(self, purpose: str, advice: Advice) -> SeedBook:
        """The book with advice on a purpose; what it said of that purpose before is replaced."""
        book = replace(self, advice={**self.advice, purpose: advice})
        book._check()
        return book

    def with_transfers(self, told: Mapping[str, Transfer]) -> SeedBook:
        """The book with what other studies say of its seeds; what it knew of the same studies is replaced."""
        return replace(self, transfer={**self.transfer, **told})

    def made_with(self) -> dict[str, Any]:
        """How the pictures were made that the book is about: model, latent shape, size, sampler, generator device."""
        card = self.cards[0]
        size = {} if self.recipe is None else {"height": self.recipe.height, "width": self.recipe.width}
        return {
            "model": card.model, "latent_shape": list(card.latent_shape), **size, "scheduler": card.scheduler,
            "steps": card.steps, "guidance_scale": card.guidance_scale, "dtype": card.dtype,
            "generator_device": card.generator_device,
        }  # fmt: skip

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds of the study."""
        return self.cards.seeds

    def card(self, seed: int) -> SeedCard:
        """The card of a seed.

        Raises:
            UserError: the book has none.

        """
        return self.these([seed])[0]

    def these(self, seeds: Iterable[int]) -> Cards:
        """The cards of given seeds, in that order.

        Raises:
            UserError: the book has no card of one of them.

        """
        own, wanted = {card.seed: card for card in self.cards}, list(seeds)
        strangers = [seed for seed in wanted if seed not in own]
        if strangers:
            few = ",".join(map(str, self.seeds[:8])) + ("…" if len(self.cards) > 8 else "")
            raise UserError(f"the book of {self.name} has no card of seed {strangers[0]}", given=strangers,
                            legal=f"its {len(self.cards)} seeds: {few}",
                            remedy="take others, or study these seeds too")  # fmt: skip
        return Cards(tuple(own[seed] for seed in wanted), "given seeds")

    def best(self, n: int | None = None) -> Cards:
        """Seeds of smallest Fréchet distance, surely better than the average seed or not."""
        return replace(self.cards.by(_FID), what="seeds").first(n)

    def golden(self, n: int | None = None) -> Cards:
        """Seeds that are surely better than the average seed, best first.

        Args:
            n: so many, of all seeds with that verdict; ``None`` = as many as selection listed.

        Raises:
            UserError: there are not so many, or none.

        """
        return self._of("golden", n)

    def inferior(self, n: int | None = None) -> Cards:
        """Seeds that are surely worse than the average seed, worst first; ``n`` as for :meth:`golden`."""
        return self._of("inferior", n)

    def _of(self, verdict: str, n: int | None) -> Cards:
        listed = len(self.lists[verdict])
        return self.with_verdict(verdict).first(listed or None if n is None else n)

    def with_verdict(self, verdict: str) -> Cards:
        """All seeds of a verdict, ``golden`` or ``inferior``: as listed, then by Fréchet distance.

        Raises:
            UserError: there is none.

        """
        listed = self.these(self.lists[verdict])
        ordered = self.cards.by(_FID, descending=verdict == "inferior").besides(listed)
        more = tuple(card for card in ordered if card.verdict == verdict)
        found = Cards((*listed, *more), f"{verdict} seeds in the book of {self.name}")
        if not found:
            better = "better" if verdict == "golden" else "worse"
            raise UserError(f"no seed in the book of {self.name} is {better} than the average seed beyond doubt",
                            remedy="take by=best, which is in doubt, or a study of more prompts")  # fmt: skip
        return found

    def diverse(self, n: int | None = None, by: str | None = None, among: Cards | None = None) -> Cards:
        """Seeds that differ from each other, in an order of which the first few are far apart, too.

        Args:
            n: so many; ``None`` = all that selection listed, or all there are.
            by: ``None`` = the list that selection made; ``style`` or ``layout`` = farthest-point
                sampling by the scores of that space, from the seed of smallest distance on. Of equally far seeds the
                one of smaller distance is taken.
            among: whom to take from, by style where ``by`` is not given; ``None`` = all but the inferior ones.

        Raises:
            UserError: there are not so many, or the book has no such space.

        """
        if by is None and among is None:
            listed = self.these(self.lists["diverse"])
            return replace(listed, what="seeds in the book's list of diverse seeds").first(n)
        candidates = among if among is not None else self.all_but_inferior()
        points = self.points(by or "style", candidates.by(_FID))
        order = farthest_first(list(points.values()), len(points) if n is None else n)
        own = {card.seed: card for card in candidates}
        seeds = list(points)
        found = Cards(tuple(own[seeds[at]] for at in order), f"{candidates.what} with a place in that space")
        return found.first(n)

    def points(self, space: str, cards: Iterable[SeedCard] | None = None) -> dict[int, tuple[float, ...]]:
        """Seed -> its place in ``style`` or ``layout``: mean scores in units of their spread within a seed.

        Seeds that lack one of the scores are left out.

        Raises:
            UserError: the book has no such space.

        """
        if space not in self.spaces:
            if self.spaces:
                raise unknown_name("space of seeds", space, self.spaces)
            raise UserError(f"the book of {self.name} does not say where its seeds are in {space}",
                            remedy="run `seedml select` again, with location, size, depth and sky, or brightness, "
                            "saturation, contrast and sharpness in measure.attributes")  # fmt: skip
        units = self.spaces[space]
        places = {card.seed: tuple(card.value(name) / unit for name, unit in units.items())
                  for card in (self.cards if cards is None else cards)}  # fmt: skip
        return {seed: place for seed, place in places.items() if not any(map(math.isnan, place))}

    def all_but_inferior(self) -> Cards:
        """Seeds that are not surely worse than the average seed."""
        kept = tuple(card for card in self.cards if card.verdict != "inferior")
        return Cards(kept, "seeds that are not inferior")

    def random(self, n: int | None = None, besides: Iterable[SeedCard] = (), draw: int = 0) -> Cards:
        """Seeds taken at random from the book, without those of ``besides``: the same for the same ``draw``.

        Raises:
            UserError: there are not so many.

        """
        left = self.cards.besides(besides)
        order = random.Random(draw).sample(range(len(left)), len(left))  # noqa: S311 (no secret)
        return Cards(tuple(left[at] for at in order), "seeds to draw from").first(n)

    def where(self, condition: str) -> Cards:
        """Seeds that fit a condition such as ``grayscale<0.1 and x<0.4``, smallest Fréchet distance first.

        Raises:
            UserError: see :meth:`Cards.where`; where no seed fits, the closest are named.

        """
        return self.best().where(condition)


def _units(name: str, raw: object) -> dict[str, float]:
    space = Fields(raw, f"space {name}")
    assert isinstance(raw, Mapping), "checked by Fields"
    units = {str(score): space.number(score) for score in raw}
    if not units or not all(unit > 0 for unit in units.values()):
        raise UserError(f"space {name} has no legal units", given=units, legal="score -> a number above 0")
    return units
