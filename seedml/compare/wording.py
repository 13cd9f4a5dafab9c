"""A comparison in sentences and short cells, the same on the page, in the terminal and in W&B's report."""

from __future__ import annotations

import math

from seedml.compare.pairs import AttributeComparison, Gain, PairComparison
from seedml.per_seed.intervals import Interval
from seedml.per_seed.transfer import Correlation, Transfer
from seedml.report.numbers import ABSENT, Estimate, finite, interval, p_value, percent, shown, text
from seedml.report.vocabulary import wording
from seedml.selection.confirmation import Overlap

LIST_NAMES = {
    "golden": "Golden seeds", "inferior": "Inferior seeds", "best_quarter": "Best quarter by FID",
    "worst_quarter": "Worst quarter by FID",
}  # fmt: skip


def noise_sentence(pair: PairComparison) -> str:
    """Whether a seed is the same thing in both studies."""
    one, two = pair.first.name, pair.second.name
    if pair.same_noise:
        return f"Every seed starts from the same noise in {one} and in {two}, to the bit."
    if pair.same_noise is None:
        return (
            f"{one} or {two} records no noise hashes: whether seeds are the same noise is not known. "
            f"What follows compares seed numbers."
        )
    return (
        f"The same seed is another noise in {one} than in {two} (model, picture size or generator differ): "
        f"what follows compares seed numbers, which have nothing in common but their names. Expect no agreement."
    )


def prompts_sentence(pair: PairComparison) -> str:
    """What the studies are compared on."""
    one, two = (text(len(prompts), 0) for prompts in pair.common.prompts)
    seeds = f"{text(len(pair.common.seeds), 0)} seeds that both have"
    if pair.common.paired:
        return f"On {seeds}, and {one} prompts that both have."
    return f"On {seeds}, each study on prompts of its own ({one} and {two}): too few prompts are in both."


def correlation(found: Correlation | None) -> str:
    """``0.83 (0.74 to 0.89)``."""
    if found is None or not math.isfinite(found.value):
        return ABSENT
    bounds = f" ({text(found.low, 2)} to {text(found.high, 2)})" if math.isfinite(found.low) else ""
    return f"{text(found.value, 2)}{bounds}"


def order_reading(order: Transfer) -> str:
    """What a rank correlation of seeds says."""
    low, high = order.spearman.low, order.spearman.high
    if not math.isfinite(low):
        verdict = "How sure that is cannot be told."
    elif low > 0:
        verdict = "Seeds that are good in one tend to be good in the other."
    elif high < 0:
        verdict = "Seeds that are good in one tend to be bad in the other."
    else:
        verdict = "The interval includes 0: no agreement is shown."
    counted = "other seeds and other prompts" if order.prompts_counted else "other seeds alone"
    return f"1 is the same order, 0 is what chance gives. {verdict} The interval allows for {counted}."


def change(found: Interval | None) -> str:
    """A difference with its limits."""
    if found is None:
        return ABSENT
    value, low, high = (finite(float(bound)) for bound in found)
    if value is None:
        return ABSENT
    entry = Estimate(value, low, high)
    return f"{shown(entry)} ({interval(entry)})" if entry.has_interval else shown(entry)


def overlap_cells(found: Overlap) -> tuple[str, str, str]:
    """Members in common, what chance gives, and its p-value."""
    of = text(found.first, 0) if found.first == found.second else f"{found.first} and {found.second}"
    return (
        f"{found.shared} of {of}",
        f"{text(found.expected, 1)} ({found.low} to {found.high})",
        p_value(found.p),
    )


def gain_sentence(chooser: str, judge: str, found: Gain | None) -> str:
    """What one study's choice is worth in the other."""
    if found is None:
        return (
            f"What the seeds that {chooser} chose are worth in {judge} cannot be told: that needs a seed book, "
            f"features and held-out prompts that had no part in choosing."
        )
    who = "golden seeds" if found.sure else "best seeds (none is golden beyond doubt)"
    verdict = _gain_verdict(found)
    own = f"{judge}’s own choice gains {change(found.own)}; " if found.own is not None else ""
    return (
        f"The {len(found.seeds)} {who} of {chooser} gain {change(found.gain)} in FID over the average seed of "
        f"{judge}, on {text(found.prompts, 0)} held-out prompts; {own}as many seeds at random gain "
        f"{change(found.chance)}. {verdict}"
    )


def _gain_verdict(found: Gain) -> str:
    """Beyond doubt with other prompts, and beyond what drawing as many seeds at random gives: both, or neither."""
    value, low, high = map(float, found.gain)
    if low > 0 and value > float(found.chance.high):
        return "They carry over."
    if high < 0 and value < float(found.chance.low):
        return "They are worse there."
    return "That is no more than chance gives."


def level_sentence(pair: PairComparison) -> str:
    """Whether distances are lower in one of the studies; empty where they must not be compared."""
    if pair.level is None:
        return ""
    low, high = float(pair.level.low), float(pair.level.high)
    verdict = "lower in" if high < 0 else "higher in" if low > 0 else "not clearly different in"
    return f"The mean seed’s FID is {verdict} {pair.second.name}: difference {change(pair.level)}."


def title(found: AttributeComparison) -> str:
    """An attribute's name as a reader knows it."""
    return wording(found.column, found.share).title


def is_detail(found: AttributeComparison) -> bool:
    """Whether the attribute only refines another one: it is in the table, not in the charts."""
    return wording(found.column, found.share).detail


def mean(found: AttributeComparison, which: int) -> str:
    """An attribute's mean over the common seeds in the first (0) or second (1) study."""
    value = float(found.means[which].mean())
    return percent(value) if found.share else text(value)


def shift_cell(found: AttributeComparison) -> str:
    """An attribute's mean difference with limits; of a 0/1 column in percentage points."""
    factor = 100.0 if found.share else 1.0
    value, low, high = (finite(factor * bound) for bound in found.shift[:3])
    if value is None:
        return ABSENT
    entry = Estimate(value, low, high)
    points = " pp" if found.share else ""
    return f"{shown(entry)}{points} ({interval(entry)})" if entry.has_interval else f"{shown(entry)}{points}"


def q_cell(q: float) -> str:
    """An adjusted p-value."""
    return p_value(q).replace("p", "q", 1) if math.isfinite(q) else ABSENT


def share_cell(found: AttributeComparison, which: int) -> str:
    """The seed's share of an attribute's variance in one of the studies."""
    value, low, high = (finite(float(bound[0])) for bound in found.seed_share[which])
    if value is None:
        return ABSENT
    entry = Estimate(value, low, high)
    return f"{percent(value)} ({interval(entry, share=True)})" if entry.has_interval else percent(value)
