"""What the choice of seeds is worth on prompts that had no part in it, always beside what chance alone gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seedml.report.inputs import Run
from seedml.report.numbers import Estimate, estimate, interval, p_value, shown, text


def selection_findings(run: Run) -> tuple[str, ...]:
    """Sentences on the seed book's ``confirmation``; empty before selection."""
    confirmation = (run.seedbook or {}).get("confirmation", {})
    if not isinstance(confirmation, Mapping):
        return ()
    sentences = (
        _gain(run, confirmation),
        _loss(run, confirmation),
        _shared(confirmation, "best_on_both", "best seeds of the selection prompts are also the best on held-out ones"),
        _shared(
            confirmation,
            "best_quarter_by_fid_and_agreement",
            "seeds of the best quarter by FID are also in the best quarter by caption agreement",
        ),
    )
    return tuple(sentence for sentence in sentences if sentence)


def _gain(run: Run, confirmation: Mapping[str, Any]) -> str:
    held_out = estimate(confirmation.get("golden_gain_held_out"))
    if held_out is None:
        return ""
    who = "The golden seeds’" if run.chosen("golden") else "No seed is golden beyond doubt. The best seeds’"
    parts = [f"{who} gain in FID over the average seed on held-out prompts: {_value(held_out)}"]
    chance = confirmation.get("chance")
    random = estimate(chance.get("golden_gain_held_out")) if isinstance(chance, Mapping) else None
    if random is not None:
        parts.append(f"of as many seeds drawn at random: {_value(random)}")
    chosen_on = estimate(confirmation.get("golden_gain_on_selection_prompts"))
    if chosen_on is not None:
        parts.append(f"on the prompts they were chosen by: {_value(chosen_on)}, part of which is luck")
    shrunken = estimate(confirmation.get("golden_gain_shrunken"))
    if shrunken is not None:
        parts.append(f"with that luck taken out: {_value(shrunken)}")
    return "; ".join(parts) + "."


def _loss(run: Run, confirmation: Mapping[str, Any]) -> str:
    lost = estimate(confirmation.get("inferior_loss_held_out"))
    if lost is None:
        return ""
    who = "The inferior seeds’" if run.chosen("inferior") else "No seed is inferior beyond doubt. The worst seeds’"
    return f"{who} loss in FID against the average seed on held-out prompts: {_value(lost)}."


def _shared(confirmation: Mapping[str, Any], key: str, what: str) -> str:
    entry = confirmation.get(key)
    count = estimate(entry)
    if count is None or not isinstance(entry, Mapping):
        return ""
    chance = estimate(entry.get("chance"))
    by_luck = f"; luck alone gives {text(chance.value, 1)} ({interval(chance, decimals=0)})" if chance else ""
    p = estimate(entry.get("p"))
    return f"{text(count.value, 0)} of {_total(entry)} {what}{by_luck}{f', {p_value(p.value)}' if p else ''}."


def _total(entry: Mapping[str, Any]) -> str:
    return text(min(entry["of"]), 0)


def _value(entry: Estimate) -> str:
    return f"{shown(entry)} ({interval(entry)})" if entry.has_interval else shown(entry)
