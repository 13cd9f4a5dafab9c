"""Inpainting on the page: letters in filled masks, the seeds to avoid and to use, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seedml.report.numbers import estimate, interval, shown

Rows = tuple[tuple[str, ...], ...]

HEADINGS = ("seed", "letters, removal", "q", "letters, outpainting", "q", "letters or a frame", "q")
_TASKS = ("removal", "outpainting")
_LISTED = 8
"""Seeds in the table, those with most artifacts first."""


def inpainting_findings(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Sentences of the section."""
    pictures, held_out = found["pictures"], found["held_out"]
    sees = "sees the mask" if found["unet_sees_mask"] else "does not see the mask"
    sentences = [
        f"{found['model']}, {found['steps']} steps, whose network {sees}; {pictures['choosing']} pictures "
        f"({pictures['source']}) choose, {pictures['confirming']} others confirm. Letters found by: "
        f"{found['text_found_by']}."
    ]
    sentences += [
        _task(task, found["rates"][task]["text"]) for task in _TASKS if "text" in found["rates"].get(task, {})
    ]
    worst = found.get("worst_text", {})
    if "value" in worst:
        sentences.append(f"Seed {worst['seed']} writes most, in {worst['task']}: {words_of(worst['named_by'])} of the "
                         f"pictures that choose, {words_of(worst)} of the others.")  # fmt: skip
    lists = [f"to {kind}: {', '.join(map(str, found[kind])) or 'none beyond doubt'}" for kind in ("avoid", "use")]
    sentences.append(f"Seeds {'; '.join(lists)}.")
    told = [
        f"{words} {words_of(held_out[name])}"
        for name, words in (("all", "any seed"), ("avoid", "seeds to avoid"), ("use", "seeds to use"))
        if name in held_out
    ]
    if told:
        sentences.append(f"Pictures with letters or a frame, on pictures that did not choose: {'; '.join(told)}.")
    if "removed" in held_out:
        sentences.append(f"Share that goes with the seeds to avoid: {words_of(held_out['removed'])}; by chance 0.")
    return tuple(sentences)


def _task(task: str, found: Mapping[str, Any]) -> str:
    return (
        f"Letters after {task}: {words_of(found['rate'])} of pictures; {found['named']} seeds differ from the average "
        f"(by chance {found['named_by_chance']:.2g})."
    )


def words_of(entry: Mapping[str, Any]) -> str:
    """A share with its limits."""
    known = estimate(entry)
    if known is None:
        return "–"
    return f"{shown(known, share=True)}{f' ({interval(known, share=True)})' if known.has_interval else ''}"


def inpainting_rows(found: Mapping[str, Any]) -> Rows:
    """The seeds with most artifacts, one a row."""
    overall = found["any_artifact"].get("seeds", ())
    worst = sorted(overall, key=lambda entry: (-entry["value"], entry["seed"]))[:_LISTED]
    tables = [
        {entry["seed"]: entry for entry in found["rates"].get(task, {}).get("text", {}).get("seeds", ())}
        for task in _TASKS
    ]
    return tuple(
        (str(own["seed"]), *(word for table in tables for word in _pair(table.get(own["seed"]))), *_pair(own))
        for own in worst
    )


def _pair(entry: Mapping[str, Any] | None) -> tuple[str, str]:
    if entry is None:
        return "–", "–"
    return words_of(entry), f"{entry['q']:.2g}" if "q" in entry else "–"
