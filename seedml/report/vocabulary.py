"""What the measured columns are called on the page, and one sentence on how to read each.

A column that is not listed is shown all the same, under its own name: a new attribute needs no entry here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """How one measured column is presented.

    Attributes:
        title: the heading, with the first letter capitalised.
        reading: what the number is, in one sentence.
        unit: the axis label's unit.
        share: whether the column is 0/1, so that a seed's mean is a share of its images.
        highest: what a seed with a high value does; the heading of its pictures.
        lowest: the same for a low value; empty when low values are not worth pictures.
        detail: whether the column only refines another one: it gets a table column, but no section.

    """

    title: str
    reading: str
    unit: str
    share: bool = False
    highest: str = "Highest"
    lowest: str = "Lowest"
    detail: bool = False


_WORDINGS = {
    "grayscale": Wording(
        "Grayscale", "Share of a seed’s pictures that have no colour.", "share of pictures, %", share=True,
        highest="Most often grayscale", lowest="",
    ),
    "grayscale_chroma": Wording(
        "Chroma", "Mean CIELAB chroma of the pictures: how colourful they are; 0 is gray.", "mean chroma", detail=True,
    ),
    "grayscale_colourfulness": Wording(
        "Colourfulness", "Mean colourfulness after Hasler and Süsstrunk; 15 is slightly and 59 quite colourful.",
        "mean colourfulness", detail=True,
    ),
    "grayscale_tinted": Wording(
        "One tint", "Share of a seed’s pictures that are grayscale with a tint, such as sepia.", "share of pictures, %",
        share=True, detail=True,
    ),
    "border": Wording(
        "Border", "Share of a seed’s pictures with a plain border.", "share of pictures, %", share=True,
        highest="Most often with a border", lowest="",
    ),
    "border_width": Wording(
        "Border width", "Mean width of the border, as a fraction of the picture’s side; 0 without one.",
        "fraction of the side", detail=True,
    ),
    "border_white": Wording(
        "White border", "Share of a seed’s pictures with a white border.", "share of pictures, %", share=True,
        detail=True,
    ),
    "border_black": Wording(
        "Black border", "Share of a seed’s pictures with a black border.", "share of pictures, %", share=True,
        detail=True,
    ),
    "lettering": Wording(
        "Lettering", "Share of a seed’s pictures in which letters appear that nobody asked for.",
        "share of pictures, %", share=True, highest="Most often with lettering", lowest="",
    ),
    "sky": Wording(
        "Sky", "Mean share of the picture’s height that lies above the horizon.", "fraction of the picture",
        highest="Largest sky", lowest="Smallest sky",
    ),
    "size": Wording(
        "Object size", "Mean size of the object: square root of its box’s area, as a fraction of the picture’s side.",
        "fraction of the side", highest="Largest objects", lowest="Smallest objects",
    ),
    "depth": Wording(
        "Depth", "Mean distance of the object; 0 is near and 1 is far.", "0 near … 1 far",
        highest="Farthest objects", lowest="Nearest objects",
    ),
    "agreement": Wording(
        "Caption agreement", "How well the picture fits its caption: by the bundled parser the mean probability of the "
        "captioned object, colour and ground, by another network that network’s score.",
        "mean score", highest="Closest to the caption", lowest="Farthest from the caption",
    ),
    "location_x": Wording(
        "Horizontal location", "Mean centre of the object, from left 0 to right 1.", "0 left … 1 right",
        highest="Objects farthest right", lowest="Objects farthest left",
    ),
    "location_y": Wording(
        "Vertical location", "Mean centre of the object, from top 0 to bottom 1.", "0 top … 1 bottom",
        highest="Lowest objects", lowest="Highest objects",
    ),
    "brightness": Wording(
        "Brightness", "Mean brightness of the pictures.", "mean brightness", highest="Brightest", lowest="Darkest",
    ),
    "saturation": Wording(
        "Saturation", "How strong colours are in the mean.", "mean saturation", highest="Strongest colours",
        lowest="Palest colours",
    ),
    "contrast": Wording(
        "Contrast", "How far apart light and dark are.", "mean contrast", highest="Most contrast",
        lowest="Least contrast",
    ),
    "sharpness": Wording(
        "Sharpness", "How much fine detail there is.", "mean sharpness", highest="Sharpest", lowest="Softest",
    ),
    "symmetry": Wording(
        "Symmetry", "How alike the left and the right half are.", "mean symmetry", highest="Most symmetric",
        lowest="Least symmetric",
    ),
}  # fmt: skip


def wording(column: str, share: bool = False) -> Wording:
    """The wording for a column; for an unknown one its name in plain words."""
    known = _WORDINGS.get(column)
    if known is not None:
        return known
    title = column.replace("_", " ").capitalize()
    reading = f"Share of a seed’s pictures with “{column}”." if share else f"Mean of “{column}” over a seed’s pictures."
    part = column.partition("_")[0] in _WORDINGS  # such as border_left: it refines an attribute that has a section
    unit = "share of pictures, %" if share else f"mean {column}"
    return Wording(title, reading, unit, share=share, detail=part, lowest="" if share else "Lowest")


def order(columns: list[str]) -> list[str]:
    """Columns in reading order: the listed ones first, in the order of this file, then the others by name."""
    known = list(_WORDINGS)
    return sorted(columns, key=lambda column: (known.index(column) if column in known else len(known), column))
