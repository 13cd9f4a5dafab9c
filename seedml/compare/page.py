"""``compare.html``: the comparison as one self-contained page, from the report's own parts.

Nothing on it is picked by eye: pictures are of the seeds at the ends of the first study's ranking and of those whose
rank moves most, on the first held-out prompts that the studies share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from markupsafe import Markup

from seedml.compare import wording
from seedml.compare.figures import study_figures
from seedml.compare.pairs import AttributeComparison, PairComparison
from seedml.compare.runs import StudiedRun
from seedml.per_seed.transfer import Transfer
from seedml.report import charts
from seedml.report.galleries import Frame, GridRow, PictureGrid, fid_note
from seedml.report.numbers import ABSENT, estimate, interval, p_value, percent, shown, text
from seedml.report.pictures import CellKey, Picture, read_pictures
from seedml.report.rendering import rendered

if TYPE_CHECKING:
    from seedml.compare.step import Comparison

_TEMPLATES = Path(__file__).parent / "templates"
ENDS, MOVED, PROMPTS = 3, 4, 2
"""Seeds at each end of the ranking, seeds whose rank moves most, and prompts, whose pictures stand side by side."""
_SHARES = ("classifier_test_accuracy", "seed_grip", "diversity_gain")
_TITLES = {
    "images": "Images", "seeds": "Seeds", "prompts": "Prompts", "fid_best": "FID of the best seed",
    "fid_worst": "FID of the worst seed", "fid_spread": "Gap between them",
    "fid_spread_null_p": "p of that gap by chance", "split_half_rank_correlation": "Split-half rank correlation",
    "seed_grip": "Seed’s grip", "classifier_test_accuracy": "Seed classifier’s accuracy",
    "golden_gain_held_out": "Gain of golden seeds, held out", "diversity_gain": "Diversity gain",
}  # fmt: skip


class Table(NamedTuple):
    """A small table: headings, and rows whose first cell is a heading too."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class PairSection(NamedTuple):
    """One study beside the first, as the page shows it."""

    name: str
    notes: tuple[str, ...]
    scatter: Markup
    overlaps: Table
    gains: tuple[str, ...]
    orders: Markup
    shifts: Markup
    attributes: Table


def render(found: Comparison) -> str:
    """The page."""
    return rendered("compare.html.j2", _context(found), _TEMPLATES)


def _context(found: Comparison) -> dict[str, Any]:
    first = found.studies[0]
    return {
        "name": found.name, "names": [study.name for study in found.studies], "first": first.name,
        "confidence": _confidence(found), "headlines": _headlines(found), "settings": _settings(found),
        "studies": _studies(found.studies), "orders": _orders(found), "pairs": [_section(pair) for pair in found.pairs],
        "shares": _share_bars(found), "grids": side_by_side(found), "seeds": _seed_table(found),
        "notes": _notes(found), "folders": [(study.name, str(study.folder)) for study in found.studies],
    }  # fmt: skip


def _confidence(found: Comparison) -> str:
    return f"{100 * found.confidence:g}\u202f%"


# --- numbers ---------------------------------------------------------------------------------------------------------


def _headlines(found: Comparison) -> list[dict[str, str]]:
    """The figures of two studies; of more, the order of seeds in each beside the first."""
    cards = [
        {
            "title": f"Same order of seeds in {pair.second.name}?", "value": text(pair.order.spearman.value, 2),
            "interval": f"rank correlation {wording.correlation(pair.order.spearman)} · {p_value(pair.order.p)} · "
                        f"n\u00a0=\u00a0{len(pair.common.seeds)} seeds",
            "reading": wording.order_reading(pair.order),
        }
        for pair in found.pairs
    ]  # fmt: skip
    return cards if len(found.pairs) > 1 else cards + _cards_of_pair(found.pairs[0])


def _cards_of_pair(pair: PairComparison) -> list[dict[str, str]]:
    cards = []
    name = "golden" if "golden" in pair.overlaps else "best_quarter"
    shared, chance, p = wording.overlap_cells(pair.overlaps[name])
    reading = f"Chance gives {chance} of them. The same seeds, chosen in each study by itself."
    title = f"{wording.LIST_NAMES[name]} in common"
    cards.append({"title": title, "value": shared, "interval": p, "reading": reading})
    gain = pair.gains[0]
    if gain is not None:
        value, *bounds = wording.change(gain.gain).split(" (", 1)
        said = f"interval ({bounds[0]} · n\u00a0=\u00a0{gain.prompts} prompts" if bounds else ""
        title = f"Gain of {pair.first.name}’s choice in {pair.second.name}"
        reading = wording.gain_sentence(pair.first.name, pair.second.name, gain)
        cards.append({"title": title, "value": value, "interval": said, "reading": reading})
    moved = [one for one in pair.attributes if not wording.is_detail(one) and one.shift_q <= 0.05]
    whole = sum(not wording.is_detail(one) for one in pair.attributes)
    names = ", ".join(wording.title(one).lower() for one in moved) or "none"
    reading = f"Means over all seeds that differ with q ≤ 0.05 over all attributes: {names}."
    cards.append(
        {"title": "Attributes that move", "value": f"{len(moved)} of {whole}", "interval": "", "reading": reading}
    )
    return cards


def _settings(found: Comparison) -> Table:
    names = tuple(study.name for study in found.studies)
    rows = ((key, *(_brief(value) for value in values)) for key, values in found.differing.items())
    return Table(("Setting", *names), tuple(rows))


def _brief(value: object) -> str:
    if value is None:
        return ABSENT
    shown_text = str(value)
    return shown_text if len(shown_text) <= 60 else shown_text[:57] + "…"


def _studies(studies: Sequence[StudiedRun]) -> Table:
    """Each study's own headline numbers with intervals."""
    figures = [study_figures(study) for study in studies]
    keys = [key for key in _TITLES if any(key in each for each in figures)]
    rows = ((_TITLES[key], *(_figure(key, each.get(key)) for each in figures)) for key in keys)
    return Table(("", *(study.name for study in studies)), tuple(rows))


def _figure(key: str, entry: object) -> str:
    number = estimate(entry)
    if number is None:
        return ABSENT
    if key == "fid_spread_null_p":
        return p_value(number.value)
    share = key in _SHARES
    value = percent(number.value) if share else text(number.value, 0) if number.value.is_integer() else shown(number)
    return f"{value} ({interval(number, share)})" if number.has_interval else value


def _orders(found: Comparison) -> Table | None:
    """Rank correlation of the seeds' FID for all pairs; ``None`` for two studies, whose one number stands elsewhere."""
    if len(found.studies) < 3:
        return None
    names = [study.name for study in found.studies]

    def cell(one: int, two: int) -> str:
        if one == two:
            return "1"
        return wording.correlation(found.orders[min(one, two), max(one, two)].spearman)

    places = range(len(names))
    return Table(("", *names), tuple((names[one], *(cell(one, two) for two in places)) for one in places))


def _section(pair: PairComparison) -> PairSection:
    rows = [(wording.LIST_NAMES[name], *wording.overlap_cells(overlap)) for name, overlap in pair.overlaps.items()]
    names = (pair.first.name, pair.second.name)
    gains = [
        wording.gain_sentence(chooser, judge, gain)
        for (chooser, judge), gain in zip((names, names[::-1]), pair.gains, strict=True)
    ]
    notes = (wording.noise_sentence(pair), wording.prompts_sentence(pair), wording.level_sentence(pair))
    return PairSection(
        name=pair.second.name, notes=tuple(note for note in notes if note), scatter=_scatter(pair),
        overlaps=Table(("", "In common", "By chance", "p"), tuple(rows)), gains=tuple(gains),
        orders=_order_chart(pair), shifts=_shift_chart(pair), attributes=_attribute_table(pair),
    )  # fmt: skip


def _attribute_table(pair: PairComparison) -> Table:
    """Every attribute that both have, details included."""
    one, two = pair.first.name, pair.second.name
    rows = (
        (
            wording.title(each), wording.mean(each, 0), wording.mean(each, 1), wording.shift_cell(each),
            wording.q_cell(each.shift_q), *_order_cells(each.order, each.q), wording.share_cell(each, 0),
            wording.share_cell(each, 1),
        )
        for each in pair.attributes
    )  # fmt: skip
    headings = (
        "Attribute", f"Mean, {one}", f"Mean, {two}", "Difference", "q", "Order of seeds (ρ)", "Noise taken out", "q",
        f"Seed’s share, {one}", f"Seed’s share, {two}",
    )  # fmt: skip
    return Table(headings, tuple(rows))


def _order_cells(order: Transfer | None, q: float) -> tuple[str, str, str]:
    if order is None:
        return ABSENT, ABSENT, ABSENT
    return wording.correlation(order.spearman), wording.correlation(order.corrected), wording.q_cell(q)


def _notes(found: Comparison) -> list[str]:
    """How the numbers were made, and what must not be read into them."""
    return [
        f"Intervals cover {_confidence(found)}. Those of rank correlations are for other seeds and, where the studies’ "
        "features are there, other prompts too (jackknife on Fisher’s scale); p by shuffling the seeds of one study.",
        "Noise in either study draws a rank correlation towards 0. “Noise taken out” divides by the root of both "
        "split-half reliabilities; it may exceed 1, and is too large where luck with a prompt is the same in both "
        "studies, as it can be between studies on the same prompts and the same noise.",
        "Overlaps are tested against lists drawn at random from the common seeds (hypergeometric).",
        "Golden seeds are judged on held-out prompts that chose in neither study.",
        "Differences of means are over the images that both studies have; their limits allow for other seeds and other "
        "prompts at once. q is adjusted over all attributes of a pair (Benjamini-Hochberg).",
        "FID values of two studies are comparable only with one feature network, resize rule, reference and set of "
        "prompts; only then is their difference given. Ranks may be compared in any case.",
    ]  # fmt: skip


# --- charts ----------------------------------------------------------------------------------------------------------


def _scatter(pair: PairComparison) -> Markup:
    """Every common seed's FID in both studies."""
    one, two = (run.values for run in pair.fid)
    points = []
    for at, seed in enumerate(pair.common.seeds.tolist()):
        row = pair.first.run.row(seed)
        verdict = row.verdict if row else "inconclusive"
        hover = f"Seed {seed}: {text(one[at])} and {text(two[at])}, {verdict} in {pair.first.name}"
        points.append((float(one[at]), charts.Point(float(two[at]), None, None, verdict, hover, f"#seed-{seed}")))
    alike = pair.level is not None
    ends = charts.padded([*one.tolist(), *two.tolist()])
    x, y = (ends, ends) if alike else (charts.padded(one.tolist()), charts.padded(two.tolist()))
    description = (
        f"FID of {len(points)} seeds in {pair.first.name} (across) and {pair.second.name} (up): rank correlation "
        f"{wording.correlation(pair.order.spearman)}."
    )
    axes = charts.Axis(f"FID in {pair.first.name}", *x), charts.Axis(f"FID in {pair.second.name}", *y)
    return charts.scatter_chart(points, *axes, description, diagonal=alike)


def _order_chart(pair: PairComparison) -> Markup:
    """For each attribute, whether the seeds keep their order."""
    rows = []
    for one in _charted(pair):
        if one.order is None or not math.isfinite(one.order.spearman.value):
            continue
        value, low, high = one.order.spearman
        point = charts.Point(
            value, *_ends(low, high), "test", f"{wording.title(one)}: {wording.correlation(one.order.spearman)}"
        )
        rows.append((wording.title(one), point))
    if not rows:
        return Markup("")
    low_end = min(-0.25, *(point.low if point.low is not None else point.value for _, point in rows))
    description = (
        f"Rank correlation between {pair.first.name} and {pair.second.name} of the seeds’ means, by attribute."
    )
    axis = charts.Axis("rank correlation of the seeds (1 the same order, 0 chance)", max(-1.0, low_end), 1.0)
    return charts.estimate_chart(rows, axis, description)


def _shift_chart(pair: PairComparison) -> Markup:
    """For each attribute its mean difference, in standard deviations of the first study's images."""
    rows = []
    for one in _charted(pair):
        if not one.spread > 0 or not math.isfinite(one.shift.value):
            continue
        value, low, high = (bound / one.spread for bound in one.shift[:3])
        kind = "test" if one.shift_q <= 0.05 else "inconclusive"
        hover = f"{wording.title(one)}: {wording.shift_cell(one)}, {wording.q_cell(one.shift_q)}"
        rows.append((wording.title(one), charts.Point(value, *_ends(low, high), kind, hover)))
    if not rows:
        return Markup("")
    ends = [end for _, point in rows for end in (point.value, point.low, point.high, 0.0) if end is not None]
    description = f"Mean difference of each attribute, {pair.second.name} minus {pair.first.name}, with intervals."
    axis = charts.Axis(f"difference, in standard deviations of {pair.first.name}’s images", *charts.padded(ends))
    return charts.estimate_chart(rows, axis, description)


def _charted(pair: PairComparison) -> list[AttributeComparison]:
    return [one for one in pair.attributes if not wording.is_detail(one)]


def _ends(low: float, high: float) -> tuple[float | None, float | None]:
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (None, None)


def _share_bars(found: Comparison) -> Markup:
    """The seed's share of each attribute's variance, a bar a study.

    The first study's is that of its first pair; common seeds and prompts may differ between pairs.
    """
    bars = []
    for one in found.pairs[0].attributes:
        if wording.is_detail(one):
            continue
        bars += _bar(wording.title(one), one, 0)
        for pair in found.pairs:
            other = next((each for each in pair.attributes if each.column == one.column), None)
            bars += _bar("", other, 1, pair.second.name) if other is not None else []
    return charts.bar_chart(bars, "share of the variance, %", "Seed’s share of each attribute’s variance, by study.")


def _bar(name: str, one: AttributeComparison, which: int, study: str = "") -> list[charts.Bar]:
    value, low, high = (float(bound[0]) for bound in one.seed_share[which])
    if not math.isfinite(value):
        return []
    parts = [("seed", value, *_ends(low, high)), ("prompt and the pair of both", 1 - value, None, None)]
    return [charts.Bar(name or study[-20:], parts)]


# --- pictures --------------------------------------------------------------------------------------------------------


def side_by_side(found: Comparison) -> list[PictureGrid]:
    """The same cells in all studies: rows are seeds, columns prompts, each in every study; empty without pictures."""
    prompts = _shown_prompts(found)
    if not prompts:
        return []
    ends, moved = _shown_seeds(found)
    pictures = []
    for at, study in enumerate(found.studies):
        cells: set[CellKey] = {(seed, ids[at]) for seed in [*ends, *moved] for ids in prompts}
        pictures.append(read_pictures(study.run.shard_dir, cells) if study.run.shard_dir.is_dir() else {})
    if not any(pictures):
        return []
    first = found.studies[0].name
    grids = [("Best and worst seeds of " + first, ends), ("Seeds whose rank by FID moves most", moved)]
    return [_grid(found, caption, seeds, prompts, pictures) for caption, seeds in grids if seeds]


def _shown_prompts(found: Comparison) -> list[tuple[int, ...]]:
    """The first held-out prompts that all studies share, as ids in each of them."""
    first, *others = found.studies
    rows = first.images
    held_out = [int(prompt) for prompt in rows.loc[rows["split"] == "test", "prompt_id"].unique()]
    ordered = sorted(held_out) + sorted(set(first.texts) - set(held_out))
    places = [{text: number for number, text in study.texts.items()} for study in others]
    shared = []
    for prompt in ordered:
        words = first.texts.get(prompt)
        if words is not None and all(words in place for place in places):
            shared.append((prompt, *(place[words] for place in places)))
    return shared[:PROMPTS]


def _shown_seeds(found: Comparison) -> tuple[list[int], list[int]]:
    """Ends of the first study's ranking, and the seeds whose rank moves most in any other study."""
    common = sorted(set.intersection(*(set(pair.common.seeds.tolist()) for pair in found.pairs)))
    if not common:
        return [], []
    ranks = []
    for study in found.studies:
        values = dict(zip(study.fid.seeds.tolist(), study.fid.values.tolist(), strict=True))
        ranks.append(np.argsort(np.argsort([values[seed] for seed in common], kind="stable")))
    by_rank = [common[place] for place in np.argsort(ranks[0])]
    few = min(ENDS, len(common) // 2)
    ends = by_rank[:few] + by_rank[::-1][:few]
    way = np.max([np.abs(other - ranks[0]) for other in ranks[1:]], axis=0)
    moved = [common[place] for place in np.argsort(-way, kind="stable") if common[place] not in ends and way[place] > 0]
    return ends, moved[:MOVED]


def _grid(
    found: Comparison, caption: str, seeds: Sequence[int], prompts: Sequence[tuple[int, ...]],
    pictures: Sequence[Mapping[CellKey, Picture]],
) -> PictureGrid:  # fmt: skip
    first = found.studies[0]
    heads = [f"{study.name}: {first.texts[ids[0]]}" for ids in prompts for study in found.studies]
    rows = []
    for seed in seeds:
        frames = [
            _frame(pictures[at].get((seed, ids[at])), seed, study.name, first.texts[ids[0]])
            for ids in prompts
            for at, study in enumerate(found.studies)
        ]
        row = first.run.row(seed)
        note = " · ".join(_rank_note(study, seed) for study in found.studies)
        verdict = row.verdict if row else "inconclusive"
        rows.append(GridRow(seed, verdict, note, tuple(frames)))
    return PictureGrid(caption, tuple(heads), tuple(rows))


def _rank_note(study: StudiedRun, seed: int) -> str:
    row = study.run.row(seed)
    return f"{study.name}: {fid_note(row).rpartition(', ')[2]}" if row and row.rank else f"{study.name}: no rank"


def _frame(picture: Picture | None, seed: int, study: str, prompt: str) -> Frame:
    missing = " (failed or not there)" if picture is None else ""
    return Frame(picture, f"Seed {seed} in {study}: {prompt}{missing}")


# --- table of seeds --------------------------------------------------------------------------------------------------


def _seed_table(found: Comparison) -> dict[str, Any]:
    """FID and rank of every common seed in every study; each cell with the number it sorts by."""
    columns = [
        (f"{what}, {study.name}", meaning)
        for study in found.studies
        for what, meaning in (("FID", "Fréchet distance; lower is better"), ("Rank", "1 is the lowest FID"))
    ]
    seeds = sorted(set().union(*(pair.common.seeds.tolist() for pair in found.pairs)))
    return {"columns": columns, "rows": [_seed_row(found.studies, seed) for seed in seeds]}


def _seed_row(studies: Sequence[StudiedRun], seed: int) -> dict[str, Any]:
    rows = [study.run.row(seed) for study in studies]
    cells = []
    for row in rows:
        fid = row.fid if row else None
        cells.append({"text": shown(fid), "key": repr(fid.value) if fid else "", "bounds": interval(fid)})
        rank = row.rank if row else None
        cells.append({"text": text(rank, 0), "key": "" if rank is None else str(rank), "bounds": ""})
    return {"seed": seed, "verdict": rows[0].verdict if rows[0] else "inconclusive", "cells": cells}
