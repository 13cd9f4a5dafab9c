"""The headline numbers, each with its interval and one sentence that says how to read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from seedml.report.inputs import Run
from seedml.report.numbers import ABSENT, Estimate, interval, p_value, percent, shown, text

P_LEVEL = 0.05
"""A permutation p above this is called not distinguishable from chance."""


TONES = {
    "good": "beyond doubt", "expected": "as it should be", "unclear": "not beyond doubt", "bad": "a warning",
}  # fmt: skip
"""What the interval of a number says, and in words."""


class Headline(NamedTuple):
    """One number of the page's top.

    Attributes:
        title: what it answers.
        value: the number.
        interval: its interval and n.
        reading: one sentence on what it says.
        step: the step that makes it, when it is absent.
        tone: one of ``TONES``, or empty where a number is neither good nor bad.

    """

    title: str
    value: str
    interval: str
    reading: str
    step: str = ""
    tone: str = ""

    @property
    def tone_words(self) -> str:
        """The tone in words; empty where there is none."""
        return TONES.get(self.tone, "")


def headlines(run: Run) -> list[Headline]:
    """All headline numbers, absent ones included with the step that makes them."""
    return [make(run) for make in _MAKERS]


def _absent(title: str, step: str) -> Headline:
    return Headline(title, ABSENT, "", f"Not there yet: the step “{step}” writes it.", step)


def _bounds(
    run: Run, entry: Estimate, share: bool = False, counted: str = "images", decimals: int | None = None
) -> str:
    parts = [f"{run.confidence} interval {interval(entry, share, decimals)}"] if entry.has_interval else []
    if entry.n is not None:
        parts.append(f"n\u00a0=\u00a0{text(entry.n, 0)}\u00a0{counted}")
    return " · ".join(parts)


def _above(entry: Estimate, level: float) -> str:
    """The tone of a number that should lie above ``level``; empty without an interval."""
    if entry.low is None or entry.high is None:
        return ""
    return "good" if entry.low > level else "bad" if entry.high < level else "unclear"


def _fid(run: Run, which: str, title: str, reading: str) -> Headline:
    entry, seed = run.figure(f"fid_{which}"), run.figure(f"fid_{which}_seed")
    if entry is None:
        return _absent(title, "summarize")
    name = f"Seed {text(seed.value, 0)}" if seed else "This seed"
    return Headline(title, shown(entry), _bounds(run, entry), reading.format(seed=name))


def _best(run: Run) -> Headline:
    return _fid(run, "best", "FID of the best seed", "{seed}’s pictures lie nearest to the reference. Lower is better.")


def _worst(run: Run) -> Headline:
    return _fid(run, "worst", "FID of the worst seed", "{seed}’s pictures lie farthest from it, on the same prompts.")


def permutation_statement(run: Run) -> str:
    """What the permutation test says about the gap between best and worst seed; empty when it was not made."""
    entry = run.figure("fid_spread_null_p")
    if entry is None:
        return ""
    gap, by_chance = run.figure("fid_spread"), run.figure("fid_spread_by_chance")
    wide = f"A gap of {text(gap.value)} or more" if gap else "A gap as wide as this"
    usual = (
        f", where it was {text(by_chance.value)} in the mean ({interval(by_chance)} in {run.confidence} of them)"
        if by_chance
        else ""
    )
    verdict = (
        "So the seeds do differ."
        if entry.value <= P_LEVEL
        else "So these seeds cannot be told apart by FID: best and worst may be luck."
    )
    return (
        f"If seeds had no effect, shuffling the seed labels within every prompt would change nothing. "
        f"{wide} between best and worst seed turned up in {reached_by(run, entry.value)}{usual}. {verdict}"
    )


def reached_by(run: Run, p: float) -> str:
    """``none of 200 shuffles (p = 0.005)``: how often the shuffles of a permutation test reached what was observed."""
    shuffles = run.settings.get("statistics", {}).get("permutations")
    if not shuffles:
        return f"{percent(p)} of the shuffles ({p_value(p)})"
    count = round(p * (shuffles + 1)) - 1
    return f"{'none' if count <= 0 else count} of {shuffles} shuffles ({p_value(p)})"


def _spread(run: Run) -> Headline:
    title, entry = "Is there a seed effect?", run.figure("fid_spread_null_p")
    if entry is None:
        return _absent(title, "summarize")
    reading = (
        "Shuffled seed labels hardly ever give so wide a gap between best and worst FID: the seeds differ."
        if entry.value <= P_LEVEL
        else "Shuffled seed labels give so wide a gap quite often: best and worst may be luck."
    )
    tone = "good" if entry.value <= P_LEVEL else "unclear"
    return Headline(title, p_value(entry.value), "permutation of seed labels within each prompt", reading, tone=tone)


def _split_half(run: Run) -> Headline:
    title, entry = "Does the ranking repeat?", run.figure("split_half_rank_correlation")
    if entry is None:
        return _absent(title, "summarize")
    reading = "Rank correlation of the seeds’ FID between two halves of the prompts: 1 is the same order, 0 none."
    bounds = _bounds(run, entry, counted="seeds", decimals=2)
    return Headline(title, text(entry.value, 2), bounds, reading, tone=_above(entry, 0.0))


def _accuracy(run: Run) -> Headline:
    title, entry = "Which seed made it?", run.figure("classifier_test_accuracy")
    if entry is None:
        return _absent(title, "classify")
    chance = run.figure("classifier_chance")
    guess = f"; guessing gets {shown(chance, share=True)}" if chance else ""
    reading = f"A classifier names the seed of a picture made from a prompt it never saw{guess}."
    tone = _above(entry, chance.value) if chance else ""
    return Headline(title, percent(entry.value), _bounds(run, entry, share=True), reading, tone=tone)


def _control(run: Run) -> Headline:
    title, entry = "The same with shuffled labels", run.figure("classifier_shuffled_label_accuracy")
    if entry is None:
        return _absent(title, "classify")
    reading = "The control: trained on shuffled seed labels it should do no better than guessing. More means a leak."
    chance = run.figure("classifier_chance")
    leaks = chance is not None and _above(entry, chance.value) == "good"
    tone = "bad" if leaks else "expected" if chance is not None and entry.has_interval else ""
    return Headline(title, percent(entry.value), _bounds(run, entry, share=True), reading, tone=tone)


def _gain(run: Run) -> Headline:
    title, entry = "Do golden seeds hold? (FID gain)", run.figure("golden_gain_held_out")
    if entry is None:
        return _absent(title, "select")
    who = "Golden seeds" if run.chosen("golden") else "No seed is golden beyond doubt: the best seeds by FID"
    lead = f"{who} against the average seed, on prompts that had no part in choosing them; above 0 is better. "
    if entry.low is None:
        verdict = ""
    else:
        verdict = "The choice holds." if entry.low > 0 else "The interval includes 0: the choice is not confirmed."
    bounds = _bounds(run, entry, counted="prompts")
    return Headline(title, shown(entry), bounds, lead + verdict, tone=_above(entry, 0.0))


def _diversity(run: Run) -> Headline:
    title, entry = "Are diverse seeds diverse?", run.figure("diversity_gain")
    if entry is None:
        return _absent(title, "select")
    as_good = run.figure("diversity_gain_over_any") is not None  # runs of before November 2026 compared with any seeds
    whose = "random seeds that are not inferior either" if as_good else "seeds at random"
    reading = f"How much farther apart the pictures of the diverse seeds are, in features, than those of {whose}."
    bounds = _bounds(run, entry, share=True, counted="prompts")
    return Headline(title, percent(entry.value), bounds, reading, tone=_above(entry, 0.0))


_MAKERS: tuple[Callable[[Run], Headline], ...] = (
    _best, _worst, _spread, _split_half, _accuracy, _control, _gain, _diversity,
)  # fmt: skip
