"""One section per measured attribute: how seeds differ in it, and the pictures of the seeds that differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from seedml.report.chance import expected_highest_share
from seedml.report.charts import Axis, Point, heat_map, interval_chart, padded, scatter_square
from seedml.report.galleries import COLUMNS, STRIP, PictureGrid, extremes, grid, with_examples
from seedml.report.headline import reached_by
from seedml.report.inputs import Attribute, Run, SeedRow
from seedml.report.numbers import Estimate, interval, p_value, percent, shown, text
from seedml.report.pictures import CellKey, Picture
from seedml.report.vocabulary import Wording, wording

SHOWN = 3
"""Seeds shown at each end of an attribute."""
BINS = 12
"""Cells along each side of a heat map of object centres."""
_LOCATION = ("location_x", "location_y")


class AttributeSection(NamedTuple):
    """One attribute: heading, sentences, chart over all seeds, and grids of the seeds at its ends."""

    anchor: str
    title: str
    reading: str
    findings: tuple[str, ...]
    chart_title: str
    chart: Markup
    grids: tuple[PictureGrid, ...]


def featured_seeds(run: Run) -> list[int]:
    """Every seed whose pictures some attribute section shows."""
    seeds = [row.seed for attribute in _sectioned(run) for row in _ends(run, attribute)]
    return seeds + [row.seed for _, row in _location_ends(run)]


def example_cells(run: Run) -> set[CellKey]:
    """The cells of the most typical and most extreme pictures that attribute sections show."""
    if run.images is None:
        return set()
    shown = ((row.seed, attribute.column) for attribute in _sectioned(run) for row in _ends(run, attribute))
    return {(seed, prompt) for seed, column in shown for prompt in run.examples.get((seed, column), ()) if prompt >= 0}


def attribute_sections(run: Run, pictures: Mapping[CellKey, Picture]) -> list[AttributeSection]:
    """The sections in reading order; empty when no attribute was summarised."""
    sections = [_section(run, pictures, attribute) for attribute in _sectioned(run)]
    if _location_ends(run):
        sections.append(_location_section(run, pictures))
    return sections


def seed_points(rows: Sequence[SeedRow], column: str, share: bool) -> list[Point]:
    """Rows as chart points for ``column`` (``fid`` or an attribute); shares in per cent."""
    factor = 100.0 if share else 1.0
    points = []
    for row in rows:
        entry = row.fid if column == "fid" else row.values.get(column)
        if entry is None:
            continue
        bounds = f" ({interval(entry, share)})" if entry.has_interval else ""
        low, high = (None if end is None else factor * end for end in (entry.low, entry.high))
        hover = f"Seed {row.seed}: {shown(entry, share)}{bounds}, {row.verdict}"
        points.append(Point(factor * entry.value, low, high, row.verdict, hover, f"#seed-{row.seed}"))
    return points


def value_range(points: Sequence[Point]) -> tuple[float, float]:
    """Ends of an axis that holds all values and intervals; not below 0 where nothing is."""
    ends = [end for point in points for end in (point.value, point.low, point.high) if end is not None]
    return padded(ends, floor=0.0 if min(ends) >= 0 else None)


def _sectioned(run: Run) -> list[Attribute]:
    return [
        attribute
        for attribute in run.attributes
        if not wording(attribute.column).detail and any(attribute.column in row.values for row in run.seeds)
    ]


def _ends(run: Run, attribute: Attribute) -> list[SeedRow]:
    words = wording(attribute.column, attribute.share)
    low = extremes(run, attribute.column, False, SHOWN) if words.lowest else []
    return extremes(run, attribute.column, True, SHOWN) + low


def _section(run: Run, pictures: Mapping[CellKey, Picture], attribute: Attribute) -> AttributeSection:
    column, share = attribute.column, attribute.share
    words = wording(column, share)
    ranked = extremes(run, column, False, len(run.seeds))
    anchor, points = f"attribute-{column}", seed_points(ranked, column, share)
    if points[0].value == points[-1].value:
        same = f"It is {shown(ranked[0].values[column], share)} for every seed: there is nothing to compare."
        return AttributeSection(anchor, words.title, words.reading, (same,), "", Markup(""), ())
    title = f"{words.title} per seed, sorted, with {run.confidence} intervals"
    low, high = value_range(points)
    chart = interval_chart(
        points, "seeds, lowest to highest", Axis(_capital(words.unit), low, high),
        f"{title}: from {shown(ranked[0].values[column], share)} for seed {ranked[0].seed} "
        f"to {shown(ranked[-1].values[column], share)} for seed {ranked[-1].seed}.", height=250,
    )  # fmt: skip
    findings = (
        _range_sentence("Over all seeds", ranked, attribute),
        _null_sentence(run, column),
        _differing_sentence(run, column),
        _chance_sentence(ranked, attribute),
    )
    grids = [_end_grid(run, pictures, attribute, words, highest=True)]
    if words.lowest:
        grids.append(_end_grid(run, pictures, attribute, words, highest=False))
    kept = tuple(sentence for sentence in findings if sentence)
    return AttributeSection(anchor, words.title, words.reading, kept, title, chart, tuple(grids))


def _end_grid(
    run: Run, pictures: Mapping[CellKey, Picture], attribute: Attribute, words: Wording, highest: bool
) -> PictureGrid:
    column, rows = attribute.column, extremes(run, attribute.column, highest, SHOWN)
    notes = {row.seed: _value_note(row, attribute) for row in rows}
    caption, seeds = words.highest if highest else words.lowest, [row.seed for row in rows]
    columns = STRIP if run.examples else COLUMNS
    return with_examples(run, pictures, grid(run, pictures, seeds, caption, notes, columns=columns), column)


def _value_note(row: SeedRow, attribute: Attribute) -> str:
    """``0.62 (0.60 to 0.64), q = 0.002``."""
    entry, share, q = row.values[attribute.column], attribute.share, row.q_values.get(attribute.column)
    bounds = f" ({interval(entry, share)})" if entry.has_interval else ""
    chance = "" if q is None else f", {p_value(q).replace('p', 'q', 1)}"
    return f"{shown(entry, share)}{bounds}{chance}"


def _range_sentence(subject: str, ranked: Sequence[SeedRow], attribute: Attribute) -> str:
    """Mean, lowest and highest of seeds sorted by an attribute."""
    column, share = attribute.column, attribute.share
    values = [row.values[column].value for row in ranked]
    middle = Estimate(float(np.mean(values)))
    lowest, highest = ranked[0], ranked[-1]
    return (
        f"{subject}: {shown(middle, share)} in the mean; from {shown(lowest.values[column], share)} "
        f"(seed {lowest.seed}) to {shown(highest.values[column], share)} (seed {highest.seed})."
    )


def _null_sentence(run: Run, column: str) -> str:
    entry = run.figure(f"spread_null_p_{column}")
    if entry is None:
        return ""
    return f"Shuffled within prompts, seed labels gave so wide a spread in {reached_by(run, entry.value)}."


def _differing_sentence(run: Run, column: str) -> str:
    tested = [row for row in run.seeds if column in row.q_values]
    if not tested:
        return ""
    count = sum(run.differs(row, column) for row in tested)
    return (
        f"{count or 'None'} of {len(tested)} seeds {'differs' if count == 1 else 'differ'} from the average seed "
        f"beyond doubt (q ≤ {1 - run.level:g}, Benjamini-Hochberg)."
    )


def _chance_sentence(ranked: Sequence[SeedRow], attribute: Attribute) -> str:
    entries = [row.values[attribute.column] for row in ranked]
    images = entries[-1].n
    if not attribute.share or not images:
        return ""
    luck = expected_highest_share(float(np.mean([entry.value for entry in entries])), images, len(entries))
    return (
        f"By luck alone the highest of {len(entries)} equal seeds with {images} pictures each "
        f"would show about {percent(luck)}."
    )


def _location_ends(run: Run) -> list[tuple[str, SeedRow]]:
    """The seeds whose objects stand farthest left, right, up and down in the mean."""
    names = {attribute.column for attribute in run.attributes}
    if not names.issuperset(_LOCATION) or run.images is None or not set(run.images.columns).issuperset(_LOCATION):
        return []
    ends: list[tuple[str, SeedRow]] = []
    for column, highest, where in (
        ("location_x", False, "farthest left"), ("location_x", True, "farthest right"),
        ("location_y", False, "highest"), ("location_y", True, "lowest"),
    ):  # fmt: skip
        ends += [(where, row) for row in extremes(run, column, highest, 1)]
    return ends


def _location_section(run: Run, pictures: Mapping[CellKey, Picture]) -> AttributeSection:
    ends = _location_ends(run)
    wheres: dict[int, list[str]] = {}
    for where, row in ends:
        wheres.setdefault(row.seed, []).append(where)
    notes = {seed: "objects " + " and ".join(names) for seed, names in wheres.items()}
    plain = grid(run, pictures, list(notes), "Seeds whose objects stand farthest to one side", notes, columns=5)
    rows = tuple(row._replace(chart=_heat(run, row.seed)) for row in plain.rows)
    title = "Mean centre of the object, one mark per seed"
    ranges = (
        _range_sentence(
            f"{way}, over all seeds", extremes(run, column, False, len(run.seeds)), Attribute(column, False)
        )
        for column, way in zip(_LOCATION, ("Left to right", "Top to bottom"), strict=True)
    )
    return AttributeSection(
        anchor="attribute-location",
        title="Object location",
        reading="Where a seed puts the object, whatever the prompt: centre of the object, as fractions of the sides.",
        findings=tuple(ranges),
        chart_title=title,
        chart=_location_scatter(run, title),
        grids=(plain._replace(rows=rows, chart_title="Where its objects are"),),
    )


def _location_scatter(run: Run, title: str) -> Markup:
    points = []
    for row in run.seeds:
        x, y = (row.values.get(column) for column in _LOCATION)
        if x is not None and y is not None:
            hover = f"Seed {row.seed}: {text(x.value, 2)} from the left, {text(y.value, 2)} from the top, {row.verdict}"
            points.append((x.value, y.value, Point(y.value, None, None, row.verdict, hover, f"#seed-{row.seed}")))
    return scatter_square(points, title)


def _heat(run: Run, seed: int) -> Markup:
    """Heat map of the object centres in the pictures of one seed."""
    assert run.images is not None, "location sections need images.parquet"
    centres = run.images.loc[run.images["seed"] == seed, list(_LOCATION)].dropna().to_numpy(dtype=float)
    edges = np.linspace(0.0, 1.0, BINS + 1)
    counts, _, _ = np.histogram2d(np.clip(centres[:, 1], 0, 1), np.clip(centres[:, 0], 0, 1), bins=(edges, edges))
    description = f"Heat map of the object centres in {len(centres)} pictures of seed {seed}"
    return heat_map(counts.astype(int).tolist(), description)


def _capital(unit: str) -> str:
    return unit[0].upper() + unit[1:]
