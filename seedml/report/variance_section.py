"""How much of each attribute's variance is the seed's, the prompt's, and the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from seedml.report.charts import Bar, bar_chart
from seedml.report.inputs import Run
from seedml.report.numbers import estimate, interval, percent
from seedml.report.vocabulary import order, wording

_PARTS = (("seed", "seed"), ("prompt", "prompt"), ("residual", "interaction and rest"))


class VarianceSection(NamedTuple):
    """The chart, and one sentence on the attribute that the seed rules most."""

    chart: Markup
    finding: str


def variance_section(run: Run) -> VarianceSection | None:
    """The section; ``None`` when no variance shares were computed."""
    shares = run.summary.get("variance_shares")
    if not isinstance(shares, Mapping):
        return None
    known = {name: parts for name, parts in shares.items() if _share(parts, "seed") is not None}
    if not known:
        return None
    bars = [Bar(wording(name).title, _parts(known[name])) for name in order(list(known))]
    strongest = max(order(list(known)), key=lambda name: _share(known[name], "seed") or 0.0)
    entry = estimate(known[strongest]["seed"])
    assert entry is not None, "attributes without a seed share were left out above"
    bounds = f" ({run.confidence} interval {interval(entry, share=True)})" if entry.has_interval else ""
    name = wording(strongest).title
    finding = f"The seed’s grip is strongest on “{name}”: {percent(entry.value)} of its variance{bounds}."
    title = "Shares of variance by attribute: seed, prompt, interaction and rest."
    return VarianceSection(bar_chart(bars, "share of the variance, %", title), finding)


def _share(parts: Any, part: str) -> float | None:
    entry = estimate(parts.get(part)) if isinstance(parts, Mapping) else None
    return None if entry is None else entry.value


def _parts(parts: Mapping[str, Any]) -> list[tuple[str, float, float | None, float | None]]:
    found = []
    for key, name in _PARTS:
        entry = estimate(parts.get(key))
        if entry is not None:
            found.append((name, entry.value, entry.low, entry.high))
    return found
