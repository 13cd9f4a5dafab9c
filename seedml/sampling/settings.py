"""A book -> the settings its pictures are made with, and what is strange about using other ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from seedml.config import StudyConfig, config_from
from seedml.errors import UserError
from seedml.models.folder import ModelFacts, model_identity
from seedml.models.sources import keeps_checker
from seedml.seedbook import Recipe, SeedBook, SeedCard

if TYPE_CHECKING:
    import torch

SECTIONS = ("model", "sampler", "noise", "trainer")
"""Sections of a study's configuration that decide how a picture is made, and where."""
_BATCH_SIZE = 8


def settings_of(book: SeedBook, overrides: Sequence[str] = ()) -> StudyConfig:
    """The settings of the book's pictures <- words such as ``sampler.steps=8``, ``model=sd2``, ``model.path=…``.

    Raises:
        UserError: a key that says nothing of pictures; a value out of range; a book of the first version whose model
            is no name in ``configs/models``.

    """
    for word in overrides:
        section = word.partition("=")[0].partition(".")[0]
        if section not in SECTIONS:
            raise UserError(
                f"{word.partition('=')[0]} is no key here", given=word,
                legal=f"n, by, where, seeds, draw, compare, out, and {', '.join(f'{name}.…' for name in SECTIONS)}",
                remedy="see seedml sample --help",
            )  # fmt: skip
    card = book.cards[0]
    values: dict[str, Any] = {"name": "sample", "seeds": [card.seed], "sampler": {"batch_size": _BATCH_SIZE}}
    if book.recipe is None:
        values["noise"] = {"generator_device": card.generator_device}
        values["sampler"] |= _sampler(card)
        return config_from(values, [f"model={card.model}", "model.safety_checker=false", *overrides])
    values["noise"] = {
        "generator_device": card.generator_device, "initial_seed": book.recipe.initial_seed,
        "step_seed": book.recipe.step_seed,
    }  # fmt: skip
    values["model"] = _model(card, book.recipe)
    return config_from(values, overrides)


def _sampler(card: SeedCard) -> dict[str, Any]:
    return {"steps": card.steps, "guidance_scale": card.guidance_scale, "scheduler": card.scheduler,
            "dtype": card.dtype}  # fmt: skip


def _model(card: SeedCard, recipe: Recipe) -> dict[str, Any]:
    """The sampler's settings are the model's here, so that another model comes with its own.

    A book that says nothing of a safety checker is of pictures that passed none.
    """
    return {
        "name": card.model, "path": recipe.path, "revision": card.revision, "variant": recipe.variant,
        "height": recipe.height, "width": recipe.width, "scheduler_options": dict(recipe.scheduler_options),
        "safety_checker": False, **recipe.model_options, **_sampler(card),
    }  # fmt: skip


def differences(book: SeedBook, config: StudyConfig, facts: ModelFacts) -> list[str]:
    """Warnings: in what the pictures to be made are other than those that the book is about."""
    changed = [f"{name} ({_brief(new)}, not {_brief(old)})"
               for name, (old, new) in _pairs(book, config, facts).items() if old != new]  # fmt: skip
    if not changed:
        return []
    notes = [f"the book is about other pictures, of {book.model}. These have another {' and another '.join(changed)}: "
             "its verdicts, scores and tags are not known to hold for them"]  # fmt: skip
    if other_noise(book, config, facts):
        notes.append("the noise is another one than the cards describe: of these seeds only the numbers are the same")
    return notes


def other_noise(book: SeedBook, config: StudyConfig, facts: ModelFacts) -> bool:
    """Whether initial noise is drawn on another device, in another shape or from another seed than the cards say."""
    card, initial = book.cards[0], None if book.recipe is None else book.recipe.initial_seed
    now = (config.noise.generator_device, facts.latent_shape, config.noise.initial_seed)
    return (card.generator_device, card.latent_shape, initial) != now


def _pairs(book: SeedBook, config: StudyConfig, facts: ModelFacts) -> Mapping[str, tuple[object, object]]:
    """Name -> value in the book, value now."""
    card, recipe, sampling = book.cards[0], book.recipe, facts.sampling
    pairs: dict[str, tuple[object, object]] = {
        "model": (card.model, config.model.name),
        "latent shape": (card.latent_shape, facts.latent_shape),
        "scheduler": (card.scheduler, sampling.scheduler),
        "number of steps": (card.steps, sampling.steps),
        "guidance scale": (card.guidance_scale, sampling.guidance_scale),
        "dtype": (card.dtype, sampling.dtype),
        "generator device": (card.generator_device, config.noise.generator_device),
    }
    if recipe is not None:
        pairs["size"] = (f"{recipe.height} × {recipe.width}", f"{sampling.height} × {sampling.width}")
        pairs["set of scheduler options"] = (dict(recipe.scheduler_options), sampling.scheduler_options)
        pairs["seed of the initial noise"] = (recipe.initial_seed, config.noise.initial_seed)
        pairs["seed of the step noise"] = (recipe.step_seed, config.noise.step_seed)
        pairs["safety checker"] = (_checked(recipe), keeps_checker(config.model))
        if recipe.weights:
            pairs["set of weights"] = (dict(recipe.weights), model_identity(config.model))
    return pairs


def _checked(recipe: Recipe) -> bool:
    """Whether the book's pictures passed the model's safety checker."""
    return bool(recipe.model_options.get("safety_checker", False))


def _brief(value: object) -> str:
    """A hash by its beginning, anything else as it is."""
    if isinstance(value, Mapping) and "sha256" in value:
        return f"SHA-256 {str(value['sha256'])[:8]}…"
    return str(value)


def device_of(config: StudyConfig) -> torch.device:
    """The one device that pictures are made on: an accelerator where there is one and ``trainer`` does not refuse it.

    Raises:
        UserError: there is no such device here, or none that the book's noise could be drawn on.

    """
    import torch

    wanted, cuda = config.trainer.accelerator, torch.cuda.is_available()
    if config.noise.generator_device == "cuda" and not cuda:
        raise UserError(
            "the book's noise is drawn on a CUDA device, and there is none here", given="noise.generator_device=cuda",
            remedy="use a machine that has one; the CPU would give these seeds another noise",
        )  # fmt: skip
    here = {"auto": True, "cpu": True, "gpu": cuda, "cuda": cuda, "mps": torch.backends.mps.is_available()}
    if not here.get(wanted, False):
        raise UserError("there is no such device here", given=f"trainer.accelerator={wanted}",
                        legal=", ".join(name for name, found in here.items() if found),
                        remedy="leave trainer.accelerator out")  # fmt: skip
    if wanted == "mps":
        return torch.device("mps")
    return torch.device("cuda" if cuda and wanted != "cpu" else "cpu")
