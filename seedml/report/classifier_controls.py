"""The controls of the classifier on the page: each figure with its interval, its n and what chance gives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from seedml.report.charts import Axis, Band, Line, line_chart
from seedml.report.inputs import Run
from seedml.report.numbers import ABSENT, Estimate, estimate, finite, interval, p_value, percent, shown, text

_TITLES = {
    "unseen_prompts": "Prompts unseen in training",
    "shuffled_labels": "Shuffled labels",
    "intact": "Pictures as they are",
    "jpeg_75": "JPEG 75",
    "jpeg_50": "JPEG 50",
    "resize_50": "Half the size",
    "crop_90": "Crop 90 %",
    "flip": "Mirrored",
}
_FILTER = re.compile(r"(low|high)_pass_(\d+)")
_CURVES = (("prompts", "training prompts"), ("seeds", "seeds"))


class Row(NamedTuple):
    """A line of a table: name, what was done, figure, interval, n, what chance gives."""

    title: str
    description: str
    value: str
    interval: str
    n: str
    chance: str


class Chart(NamedTuple):
    """A drawing with its title."""

    title: str
    drawing: Markup
    note: str = ""


class Controls(NamedTuple):
    """Accuracies under every control, curves, and the regression on the noise with a sentence on it."""

    rows: tuple[Row, ...]
    charts: tuple[Chart, ...]
    noise: tuple[Row, ...]
    noise_finding: str


def classifier_controls(run: Run) -> Controls | None:
    """What ``metrics.json`` says of them; ``None`` where it says nothing."""
    metrics = run.classifier or {}
    rows = [_accuracy_row(_title(name), entry) for name, entry in _entries(metrics.get("controls"))]
    rows += [_accuracy_row("Other pictures", entry) for entry in metrics.get("transfer", ())]
    regression = metrics.get("noise_regression", {})
    found = Controls(tuple(rows), tuple(_charts(metrics)), tuple(_noise_rows(regression)), _noise_finding(regression))
    return found if any(found) else None


def _entries(controls: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(controls, Mapping):
        yield from ((str(name), entry) for name, entry in controls.items() if estimate(entry) is not None)


def _title(name: str) -> str:
    """``retrained_low_pass_4`` -> ``Trained anew: low pass 4``."""
    if name.startswith("retrained_"):
        return f"Trained anew: {_title(name.removeprefix('retrained_'))[0].lower()}{_title(name[10:])[1:]}"
    return _TITLES.get(name) or name.replace("_", " ").capitalize()


def _accuracy_row(title: str, entry: Mapping[str, Any]) -> Row:
    found = estimate(entry)
    assert found is not None, "entries without a value are left out"
    chance = percent(finite(entry.get("chance")))
    n = ABSENT if found.n is None else text(found.n, 0)
    return Row(title, str(entry.get("description", "")), percent(found.value), interval(found, share=True), n, chance)


def _charts(metrics: Mapping[str, Any]) -> Iterator[Chart]:
    filters = _filter_lines(metrics.get("controls"))
    if filters:
        cuts = [x for line in filters for x, _ in line.points]
        axis = Axis("cut-off, cycles a picture", 0.0, max(cuts))
        drawing = line_chart(filters, axis, *_percent_axis("Accuracy by cut-off"), _chance(metrics))
        note = "It was trained on whole pictures: at chance, what is left does not look like a seed to it."
        yield Chart("Only some frequencies left", drawing, note)
    curves = metrics.get("learning_curve", {})
    for key, label in _CURVES:
        points = [point for point in curves.get(key, ()) if estimate(point) is not None]
        if len(points) > 1:
            yield Chart(f"Accuracy by number of {label}", _learning_chart(points, key, label))


def _percent_axis(description: str) -> tuple[Axis, str]:
    return Axis("accuracy, % of pictures", 0.0, 104.0), description


def _chance(metrics: Mapping[str, Any]) -> list[Band]:
    chance = finite(metrics.get("chance"))
    return [] if chance is None else [Band("chance", 100 * chance, 100 * chance)]


def _filter_lines(controls: object) -> list[Line]:
    points: dict[str, list[tuple[float, Estimate]]] = {"low": [], "high": []}
    for name, entry in _entries(controls):
        match, found = _FILTER.fullmatch(name), estimate(entry)
        if match and found:
            points[match[1]].append((float(match[2]), found))
    kinds = (("low", "only below the cut-off", "validation"), ("high", "only above it", "control"))
    return [_line(name, kind, sorted(points[side])) for side, name, kind in kinds if points[side]]


def _line(name: str, kind: str, points: Sequence[tuple[float, Estimate]]) -> Line:
    bounds = [(100 * found.low, 100 * found.high) for _, found in points
              if found.low is not None and found.high is not None]  # fmt: skip
    return Line(name, kind, [(x, 100 * found.value) for x, found in points], bounds)


def _learning_chart(points: Sequence[Mapping[str, Any]], key: str, label: str) -> Markup:
    found = [(float(point[key]), entry) for point in points if (entry := estimate(point)) is not None]
    lines = [_line("held-out test", "validation", found)]
    chance = [
        (float(point[key]), 100 * level) for point in points if (level := finite(point.get("chance"))) is not None
    ]
    if chance:
        lines.append(Line("chance", "training", chance))
    return line_chart(lines, Axis(label, 0.0, max(x for x, _ in found)), *_percent_axis(f"Accuracy by {label}"))


def _noise_rows(regression: Mapping[str, Any]) -> Iterator[Row]:
    yield from _r2_row("One picture", "all channels, all frequencies", regression.get("one_picture"))
    yield from _r2_row("All pictures of a seed", "their mean prediction", regression.get("all_pictures"))
    for entry in regression.get("by_channel", ()):
        yield from _r2_row(f"Channel {entry['channel']}", "one picture", entry)
    for entry in regression.get("by_band", ()):
        end = entry.get("up_to_cycles")
        band = f"{entry['above_cycles']:g} to {end:g}" if end is not None else f"{entry['above_cycles']:g} and more"
        yield from _r2_row(f"{band} cycles", "one picture", entry)


def _r2_row(title: str, description: str, entry: Mapping[str, Any] | None) -> Iterator[Row]:
    found = estimate(entry)
    if found is not None and entry is not None and found.n:
        chance = finite(entry.get("chance"))
        yield Row(title, description, text(found.value, 3), interval(found, decimals=3), text(found.n, 0),
                  ABSENT if chance is None else text(chance, 3))  # fmt: skip


def _noise_finding(regression: Mapping[str, Any]) -> str:
    if regression.get("skipped"):
        return f"The noise could not be read back: {regression['skipped']}."
    entry = regression.get("one_picture")
    found = estimate(entry)
    if found is None or not isinstance(entry, Mapping):
        return ""
    p = finite(entry.get("p"))
    verdict = "" if p is None else f" Noise of other seeds gives as much with {p_value(p)}."
    return (
        f"From one picture of a prompt and a seed that the fit never saw, {percent(max(0.0, found.value))} of the "
        f"variance of the initial noise can be read back (R² {shown(found)}, {interval(found)}).{verdict}"
    )
