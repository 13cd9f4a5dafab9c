"""Pick seeds by what they do: a slider for each attribute, and what is copied of the seeds that are left.

Sliders say what they range over; the script takes the numbers of each seed from the table of all seeds, and its
pictures from the seed's card, so that neither is on the page twice.
"""

from __future__ import annotations

import shlex
from typing import NamedTuple

import numpy as np

from seedml.report.galleries import PictureGrid
from seedml.report.inputs import Run
from seedml.report.numbers import decimals_for
from seedml.report.usage import snippet
from seedml.report.vocabulary import wording

BINS = 24
"""Bars behind a slider."""


class Slider(NamedTuple):
    """A slider with two ends.

    Attributes:
        key: the column of its numbers.
        title: its name.
        meaning: what the number is.
        low: the lowest number of a seed.
        high: the highest one.
        percent: whether numbers are shown as per cent.
        decimals: places that they are shown with.
        bars: height of each of ``BINS`` bars, 0..1: how many seeds lie where.

    """

    key: str
    title: str
    meaning: str
    low: float
    high: float
    percent: bool
    decimals: int
    bars: tuple[float, ...]


class Picker(NamedTuple):
    """All sliders, those of finer columns apart, the prompts shown, and what is copied around the seeds."""

    sliders: tuple[Slider, ...]
    finer: tuple[Slider, ...]
    prompts: tuple[str, ...]
    code: tuple[str, str]
    command: tuple[str, str]


def picker(run: Run, cards: PictureGrid | None) -> Picker | None:
    """The picker; ``None`` before there are statistics that differ between seeds."""
    made = (_fid(run), *(_attribute(run, attribute.column, attribute.share) for attribute in run.attributes))
    sliders = [slider for slider in made if slider]
    if not sliders:
        return None
    finer = {attribute.column for attribute in run.attributes if wording(attribute.column, attribute.share).detail}
    prompts = cards.prompts if cards else ()
    return Picker(
        tuple(slider for slider in sliders if slider.key not in finer),
        tuple(slider for slider in sliders if slider.key in finer),
        prompts, _code(run, prompts), _command(run, prompts),
    )  # fmt: skip


def _fid(run: Run) -> Slider | None:
    values = [row.fid.value for row in run.seeds if row.fid]
    return _slider("fid", "FID", "Fréchet distance to the reference; lower is better", values, False)


def _attribute(run: Run, column: str, share: bool) -> Slider | None:
    words = wording(column, share)
    values = [row.values[column].value for row in run.seeds if column in row.values]
    return _slider(column, words.title, words.reading, values, share)


def _slider(key: str, title: str, meaning: str, values: list[float], percent: bool) -> Slider | None:
    """``None`` where all seeds have the same number."""
    if not values or min(values) == max(values):
        return None
    low, high = min(values), max(values)
    counts, _ = np.histogram(values, bins=BINS, range=(low, high))
    bars = tuple(float(count) for count in counts / counts.max())
    span = (high - low) * (100 if percent else 1)
    return Slider(key, title, meaning, low, high, percent, max(0, decimals_for(span)), bars)


_SEEDS = [10**30]
"""Stands in a snippet for the seeds that are picked: no seed is so large."""


def _code(run: Run, prompts: tuple[str, ...]) -> tuple[str, str]:
    """The diffusers snippet before and after its list of seeds."""
    before, _, after = snippet(run.settings, _SEEDS, _prompt(prompts), run.model).partition(repr(_SEEDS))
    return before, after


def _command(run: Run, prompts: tuple[str, ...]) -> tuple[str, str]:
    """``seedml sample`` before and after its list of seeds, for a POSIX shell."""
    folder = f"{run.settings.get('runs', {}).get('root', 'runs')}/{run.name}"
    return f"seedml sample {shlex.quote(folder)} {shlex.quote(_prompt(prompts))} 'seeds=[", "]'"


def _prompt(prompts: tuple[str, ...]) -> str:
    return prompts[0] if prompts else "a photo of a mug"
