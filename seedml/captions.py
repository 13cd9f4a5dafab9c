"""The closed world that seedling's captions speak of: an object of a colour on a ground, in several phrasings.

What captions never mention (where the object is, how far, how much sky, grayscale, borders, lettering, time of day)
is drawn in ``models/bundled/scenes.py`` and left to the seed by the trained model.
"""

from __future__ import annotations

import random
from typing import NamedTuple

OBJECTS = ("ball", "box", "cone", "house", "tree", "car", "star", "heart", "mushroom", "mug")
COLOURS = ("black", "brown", "purple", "blue", "red", "green", "orange", "pink", "yellow", "white")
GROUNDS = ("grass", "sand", "snow", "water", "stone", "wood")

TEMPLATES = (
    "a {colour} {object} on {ground}",
    "a photo of a {colour} {object} on {ground}",
    "a {colour} {object} on the {ground}",
    "one {colour} {object} standing on {ground}",
    "there is a {colour} {object} on the {ground}",
    "{ground} with a {colour} {object}",
    "a picture of a {colour} {object} standing on {ground}",
    "a scene of {ground} with one {colour} {object}",
    "the {object} is {colour} and stands on {ground}",
    "{colour} {object}, {ground}",
    "a {object} that is {colour}, on {ground}",
    "{ground}, and on it a {colour} {object}",
)
"""Phrasings seen in training; a study's bundled prompts use the first."""

HELD_OUT_TEMPLATES = (
    "a {ground} scene with a {colour} {object} on it",
    "a {colour} {object} standing on the {ground}",
    "one {object}, and it is {colour}, on {ground}",
    "there is {ground} and a {colour} {object}",
    "the {colour} {object} stands on {ground}",
)
"""Phrasings never used in training: what the model's quality is measured on."""

_ORDER_SEED = 2405_14828  # any fixed number: a prefix of the prompt set must be a fair sample of it


class Caption(NamedTuple):
    """What a caption says, as indices into ``OBJECTS``, ``COLOURS`` and ``GROUNDS``."""

    object: int
    colour: int
    ground: int


def phrase(caption: Caption, template: str = TEMPLATES[0]) -> str:
    """The caption in words."""
    text = template.format(
        object=OBJECTS[caption.object], colour=COLOURS[caption.colour], ground=GROUNDS[caption.ground]
    )
    return text.replace("a orange", "an orange")


def parse_caption(text: str) -> Caption | None:
    """What ``text`` says if it names exactly one object, one colour and one ground of this world; else ``None``."""
    words = text.lower().replace(",", " ").replace(".", " ").split()
    found = [[names.index(word) for word in words if word in names] for names in (OBJECTS, COLOURS, GROUNDS)]
    if any(len(indices) != 1 for indices in found):
        return None
    return Caption(*(indices[0] for indices in found))


def all_captions() -> list[Caption]:
    """All 600 captions, in a fixed shuffled order, so that every prefix is a fair sample."""
    captions = [Caption(o, c, g) for o in range(len(OBJECTS)) for c in range(len(COLOURS)) for g in range(len(GROUNDS))]
    random.Random(_ORDER_SEED).shuffle(captions)  # noqa: S311 (a fixed order, no secret)
    return captions


def scene_prompts() -> list[str]:
    """The bundled prompt set: one prompt a caption, its phrasing taken in turn from the training phrasings."""
    return [phrase(caption, TEMPLATES[i % len(TEMPLATES)]) for i, caption in enumerate(all_captions())]
