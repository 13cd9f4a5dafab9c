"""The small print: how the numbers were made, what they rest on, and what must not be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from seedml.report.inputs import Run
from seedml.report.methods_text import Definition, columns, failed_images, methods_paragraph, reference, words
from seedml.report.numbers import duration, finite, text


class Methods(NamedTuple):
    """Notes in sentences and as one paragraph; definitions; settings, versions and seconds as (name, value) pairs."""

    notes: tuple[str, ...]
    paragraph: str
    words: tuple[Definition, ...]
    columns: tuple[Definition, ...]
    settings: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]
    seconds: tuple[tuple[str, str], ...]
    device: str


def methods(run: Run) -> Methods:
    """The section for ``run``."""
    seconds = {step: value for step, spent in _mapping(run, "seconds").items() if (value := finite(spent)) is not None}
    times = [(step, duration(value)) for step, value in seconds.items()]
    if len(times) > 1:
        times.append(("together", duration(sum(seconds.values()))))
    return Methods(
        notes=tuple(note for note in _notes(run) if note),
        paragraph=methods_paragraph(run),
        words=words(run),
        columns=columns(run),
        settings=tuple(_flat(run.settings)),
        versions=tuple((name, str(version)) for name, version in sorted(_mapping(run, "versions").items())),
        seconds=tuple(times),
        device=str(run.summary.get("device", "")),
    )


def _mapping(run: Run, key: str) -> Mapping[str, Any]:
    value = run.summary.get(key)
    return value if isinstance(value, Mapping) else {}


def _notes(run: Run) -> list[str]:
    return [_fid_note(run), _count_note(run), _interval_note(run), _selection_note(run), _attribute_note(run),
            _portability_note(run)]  # fmt: skip


def _fid_note(run: Run) -> str:
    network = run.settings.get("measure", {}).get("features", "unknown")
    rule = f", resize {run.feature_notes['resize']}" if "resize" in run.feature_notes else ""
    return (
        f"FID is the Fréchet distance between the features of a seed’s pictures and those of the reference set "
        f"(network “{network}”{rule}; reference: {reference(run)}). "
        f"Compare it only within this study: another network, resize rule, reference, set of prompts or number of "
        f"images gives other values; so no FID from elsewhere compares with these."
    )


def _count_note(run: Run) -> str:
    counts = {row.n for row in run.seeds if row.n is not None}
    if not counts:
        return ""
    if len(counts) == 1:
        same = f"{text(counts.pop(), 0)} pictures"
    else:
        same = "unequal numbers of pictures (do not compare their FID)"
    failed = failed_images(run)
    gone = f" Pictures that could not be made and are left out: {text(failed, 0)}." if failed else " No picture failed."
    return (
        f"Each seed’s numbers rest on {same}. FID estimated from few pictures is too high, by about the same amount "
        f"for each seed, and falls as their number grows: differences between seeds mean more than their level.{gone}"
    )


def _interval_note(run: Run) -> str:
    blocks = run.settings.get("statistics", {}).get("blocks")
    jackknife = f" (jackknife, {blocks} blocks)" if blocks else ""
    return (
        f"Intervals cover {run.confidence} and answer: how much would this number move with other prompts of the same "
        f"kind? They come from leaving out blocks of prompts for FID{jackknife}, from resampling prompts for means, "
        f"and from Wilson’s formula for shares. All seeds share the prompts, so intervals of two seeds may overlap "
        f"although their difference is clear. They say nothing about other models or settings."
    )


def _selection_note(run: Run) -> str:
    if run.seedbook is None:
        return ""
    return (
        "The best of many seeds looks good by luck too. Golden and inferior seeds are therefore chosen on training and "
        "validation prompts only, and confirmed on the test prompts. Pictures on this page show test prompts first."
    )


def _attribute_note(run: Run) -> str:
    if not run.attributes:
        return ""
    return (
        "Attributes are read by small detectors. They are calibrated on the bundled model’s scenes; "
        "on other pictures take them as hints and look at the pictures."
    )


def _portability_note(run: Run) -> str:
    device = run.settings.get("noise", {}).get("generator_device", "cpu")
    return (
        f"A seed names a noise only with the generator’s device ({device}), the size of the latent and the model. "
        f"At another picture size or in another model the same seed is other noise: measure again."
    )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted names; values as they would stand in YAML."""
    pairs: list[tuple[str, str]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            pairs += _flat(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", _yaml(value)))
    return pairs


def _yaml(value: object) -> str:
    if value is None or value == {}:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        items = ", ".join(_yaml(item) for item in value)
        return f"[{items}]" if len(items) <= 300 else f"[{items[:300]} …]"
    return str(value)
