"""A comparison in a few lines for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seedml.compare import wording
from seedml.compare.pairs import PairComparison
from seedml.report.numbers import p_value

if TYPE_CHECKING:
    from seedml.compare.step import Comparison


def lines(found: Comparison) -> list[str]:
    """What differs, then each pair's headline numbers with intervals and what chance gives."""
    said = []
    if found.differing:
        said.append("differ in: " + ", ".join(found.differing))
    for pair in found.pairs:
        said += ["", *_pair(pair)]
    return said


def _pair(pair: PairComparison) -> list[str]:
    order = pair.order
    said = [
        f"{pair.first.name} and {pair.second.name}", f"  {wording.noise_sentence(pair)}",
        f"  {wording.prompts_sentence(pair)}",
        f"  rank correlation of the seeds' FID: {wording.correlation(order.spearman)}, chance 0, {p_value(order.p)}; "
        f"Kendall {wording.correlation(order.kendall)}; noise taken out {wording.correlation(order.corrected)}",
    ]  # fmt: skip
    for name, overlap in pair.overlaps.items():
        shared, chance, p = wording.overlap_cells(overlap)
        said.append(f"  {wording.LIST_NAMES[name]} in common: {shared}; chance {chance}, {p}")
    names = (pair.first.name, pair.second.name)
    for (chooser, judge), gain in zip((names, names[::-1]), pair.gains, strict=True):
        said.append(f"  {wording.gain_sentence(chooser, judge, gain)}")
    if pair.level is not None:
        said.append(f"  {wording.level_sentence(pair)}")
    return said + _attributes(pair)


def _attributes(pair: PairComparison) -> list[str]:
    shown = [one for one in pair.attributes if not wording.is_detail(one) and one.order is not None]
    if not shown:
        return []
    width = max(len(wording.title(one)) for one in shown)
    rows = [
        f"    {wording.title(one):<{width}}  order {wording.correlation(one.order.spearman if one.order else None):<22}"
        f"  shift {wording.shift_cell(one)}, {wording.q_cell(one.shift_q)}"
        for one in shown
    ]
    return ["  per-seed attributes: rank correlation between the studies, and mean difference", *rows]
