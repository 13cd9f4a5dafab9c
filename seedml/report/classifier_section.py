"""The seed classifier on the page: training curves, test accuracy, its controls, chance, and where it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from seedml.report.charts import Axis, Band, Line, Point, line_chart, padded
from seedml.report.classifier_controls import Controls, classifier_controls
from seedml.report.classifier_open_set import AttentionPart, OpenSet, attention_part, open_set_part
from seedml.report.inputs import Run
from seedml.report.numbers import Estimate, estimate, finite, interval, percent, shown, text
from seedml.report.pictures import CellKey, Picture


class ClassifierSection(NamedTuple):
    """Sentences, the accuracy and the loss chart, and what the classifier's controls found."""

    findings: tuple[str, ...]
    accuracy: Markup
    loss: Markup
    controls: Controls | None = None
    open_set: OpenSet | None = None
    attention: AttentionPart | None = None


def classifier_section(run: Run, pictures: Mapping[CellKey, Picture] | None = None) -> ClassifierSection | None:
    """The section; ``None`` before the classifier was trained. Without pictures, it shows no maps."""
    metrics = run.classifier
    if metrics is None:
        return None
    test, control = estimate(metrics.get("test_accuracy")), estimate(metrics.get("shuffled_label_accuracy"))
    chance = finite(metrics.get("chance"))
    history = list(metrics.get("history", ()))
    findings = (_test_sentence(run, test, chance), _control_sentence(run, control, chance), _hardest(run))
    return ClassifierSection(
        tuple(sentence for sentence in findings if sentence),
        _accuracy_chart(history, test, control, chance), _loss_chart(history),
        classifier_controls(run), open_set_part(run), attention_part(run, pictures or {}),
    )  # fmt: skip


def _test_sentence(run: Run, test: Estimate | None, chance: float | None) -> str:
    if test is None:
        return ""
    bounds = f" ({run.confidence} interval {interval(test, share=True)})" if test.has_interval else ""
    count = f" over {text(test.n, 0)} pictures" if test.n else ""
    guess = f"; guessing would be right in {percent(chance)}" if chance is not None else ""
    return f"On held-out prompts it names the right seed in {percent(test.value)}{bounds}{count}{guess}."


def _control_sentence(run: Run, control: Estimate | None, chance: float | None) -> str:
    if control is None:
        return ""
    bounds = f" (interval {interval(control, share=True)})" if control.has_interval else ""
    if chance is None or control.low is None or control.high is None:
        verdict = ""
    elif control.low <= chance <= control.high:
        verdict = " That is chance, as it should be."
    elif control.value > chance:
        verdict = " That is above chance: look for a leak between training and test pictures."
    else:
        verdict = " That is below chance, which luck explains in a few runs of a hundred."
    return f"Trained on shuffled seed labels, the same network gets {percent(control.value)}{bounds}.{verdict}"


def _hardest(run: Run) -> str:
    known = sorted((row.accuracy, row.seed) for row in run.seeds if row.accuracy is not None)
    missed = [(accuracy, seed) for accuracy, seed in known if accuracy < 1][:3]
    if not known:
        return ""
    if not missed:
        return "Every seed was recognised in all of its held-out pictures."
    names = ", ".join(f"seed {seed} ({percent(accuracy)})" for accuracy, seed in missed)
    return f"Hardest to recognise: {names}."


def _accuracy_chart(
    history: Sequence[Mapping[str, Any]], test: Estimate | None, control: Estimate | None, chance: float | None
) -> Markup:
    lines = _lines(history, (("training", "train_accuracy"), ("validation", "val_accuracy")), 100.0)
    ends = [
        _end(name, kind, entry)
        for name, kind, entry in (("held-out test", "test", test), ("shuffled labels", "control", control))
        if entry is not None
    ]
    if not lines and not ends:
        return Markup("")
    bands = [] if chance is None else [Band("chance", 100 * chance, 100 * chance)]
    description = f"Classifier accuracy by epoch; held-out test {shown(test, share=True)}."
    return line_chart(lines, _epochs(history), Axis("accuracy, % of pictures", 0.0, 104.0), description, bands, ends)


def _loss_chart(history: Sequence[Mapping[str, Any]]) -> Markup:
    lines = _lines(history, (("training", "train_loss"), ("validation", "val_loss")), 1.0)
    if not lines:
        return Markup("")
    low, high = padded([y for line in lines for _, y in line.points], floor=0.0)
    return line_chart(
        lines, _epochs(history), Axis("cross-entropy loss, nats", min(low, 0.0), high),
        "Classifier loss by epoch, training and validation.",
    )  # fmt: skip


def _epochs(history: Sequence[Mapping[str, Any]]) -> Axis:
    numbers = [_epoch(entry, place) for place, entry in enumerate(history)] or [0.0, 1.0]
    return Axis("epoch", min(numbers), max(numbers) if max(numbers) > min(numbers) else min(numbers) + 1)


def _epoch(entry: Mapping[str, Any], place: int) -> float:
    number = finite(entry.get("epoch"))
    return float(place) if number is None else number


def _lines(history: Sequence[Mapping[str, Any]], names: Sequence[tuple[str, str]], factor: float) -> list[Line]:
    lines = []
    for name, key in names:
        points = [
            (_epoch(entry, place), factor * value)
            for place, entry in enumerate(history)
            if (value := finite(entry.get(key))) is not None
        ]
        if points:
            lines.append(Line(name, name, points))
    return lines


def _end(name: str, kind: str, entry: Estimate) -> Point:
    bounds = f" ({interval(entry, share=True)})" if entry.has_interval else ""
    low, high = (None if end is None else 100 * end for end in (entry.low, entry.high))
    return Point(100 * entry.value, low, high, kind, f"{name}: {percent(entry.value)}{bounds}")
