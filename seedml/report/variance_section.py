"""How much of each attribute's variance is the seed's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from markupsafe import Markup

from seedml.report.charts import Bar, bar_chart
from seedml.report.inputs import Run
from seedml.report.numbers import Estimate, interval, percent
from seedml.report.vocabulary import order, wording

_KEY = "seed_share_"


class VarianceSection(NamedTuple):
    """The chart, and one sentence on the attribute that the seed rules most."""

    chart: Markup
    finding: str


def variance_section(run: Run) -> VarianceSection | None:
    """The section; ``None`` when no variance shares were computed."""
    shares = _seed_shares(run)
    if not shares:
        return None
    bars = [Bar(wording(name).title, _parts(entry)) for name, entry in shares.items()]
    strongest = max(shares, key=lambda name: shares[name].value)
    entry = shares[strongest]
    bounds = f" ({run.confidence} interval {interval(entry, share=True)})" if entry.has_interval else ""
    name = wording(strongest).title
    finding = f"The seed’s grip is strongest on “{name}”: {percent(entry.value)} of its variance{bounds}."
    finding += _location_finding(shares)
    title = "Share of each attribute’s variance that the seed explains."
    return VarianceSection(bar_chart(bars, "share of the variance, %", title), finding)


def _location_finding(shares: Mapping[str, Estimate]) -> str:
    """Where the object stands is what a caption says least of."""
    x, y = (shares.get(f"location_{axis}") for axis in "xy")
    if x is None or y is None:
        return ""
    spans = (f" ({interval(entry, share=True)})" if entry.has_interval else "" for entry in (x, y))
    across, down = (f"{percent(entry.value)}{span}" for entry, span in zip((x, y), spans, strict=True))
    return f" Of where the object stands it explains {across} across and {down} up and down."


def _seed_shares(run: Run) -> dict[str, Estimate]:
    columns = order([key.removeprefix(_KEY) for key in run.summary if key.startswith(_KEY)])
    entries = {column: run.figure(_KEY + column) for column in columns}
    return {column: entry for column, entry in entries.items() if entry is not None}


def _parts(entry: Estimate) -> list[tuple[str, float, float | None, float | None]]:
    return [("seed", entry.value, entry.low, entry.high), ("prompt and the pair of both", 1 - entry.value, None, None)]
