"""A comparison as plain values: ``compare.json``, the tables beside it, and the rows that W&B gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seedml.compare.pairs import AttributeComparison, Gain, PairComparison
from seedml.compare.runs import StudiedRun
from seedml.compare.shift import Shift
from seedml.per_seed.intervals import Interval
from seedml.per_seed.transfer import Correlation, Transfer
from seedml.per_seed.variance import Shares
from seedml.selection.held_out import named
from seedml.summary import figure

if TYPE_CHECKING:
    import pandas as pd

HEADLINES = (
    "images", "seeds", "prompts", "fid_best", "fid_worst", "fid_spread", "fid_spread_null_p",
    "split_half_rank_correlation", "seed_grip", "classifier_test_accuracy", "golden_gain_held_out", "diversity_gain",
)  # fmt: skip
"""Headline numbers of each study that stand beside each other."""

Figures = dict[str, Any]


def study_figures(study: StudiedRun) -> Figures:
    """A study's own headline numbers, as its summary has them."""
    return {key: study.run.summary[key] for key in HEADLINES if key in study.run.summary}


def pair_figures(pair: PairComparison) -> Figures:
    """Everything that was found of two studies; what is not known is left out."""
    one, two = (len(prompts) for prompts in pair.common.prompts)
    found: Figures = {
        "first": pair.first.name, "second": pair.second.name, "seeds": len(pair.common.seeds),
        "prompts": one if pair.common.paired else [one, two], "same_prompts": pair.common.paired,
        "same_noise": pair.same_noise, "fid": transfer_figures(pair.order),
        "overlap": {name: named(overlap) for name, overlap in pair.overlaps.items()},
    }  # fmt: skip
    if pair.level is not None:
        found["fid_level"] = _interval(pair.level, one)
    names = ("first_choice_in_second", "second_choice_in_first")
    found["gain"] = {name: _gain(gain) for name, gain in zip(names, pair.gains, strict=True) if gain is not None}
    found["attributes"] = {one.column: _attribute(one) for one in pair.attributes}
    return found


def transfer_figures(found: Transfer) -> Figures:
    """An agreement about the order of seeds; chance gives 0."""
    n = len(found.seeds)
    parts = {"spearman": found.spearman, "kendall": found.kendall, "corrected": found.corrected}
    figures: Figures = {name: _correlation(part, n) for name, part in parts.items() if np.isfinite(part.value)}
    figures |= {"chance": 0, "prompts_counted": found.prompts_counted}
    return figures | ({"p": found.p} if np.isfinite(found.p) else {})


def _correlation(found: Correlation, n: int) -> dict[str, object]:
    return figure(found.value, _known(found.low), _known(found.high), n)


def _interval(found: Interval, n: int) -> dict[str, object]:
    value, low, high = map(float, found)
    return figure(value, _known(low), _known(high), n)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _gain(found: Gain) -> Figures:
    figures: Figures = _interval(found.gain, found.prompts)
    figures |= {"seeds": list(found.seeds), "golden": found.sure, "chance": _interval(found.chance, found.prompts)}
    return figures | ({"own_choice": _interval(found.own, found.prompts)} if found.own else {})


def _attribute(found: AttributeComparison) -> Figures:
    figures: Figures = {"shift": _shift(found.shift), "first_mean": float(found.means[0].mean()),
                        "second_mean": float(found.means[1].mean()), "first_deviation": found.spread}  # fmt: skip
    if np.isfinite(found.shift_q):
        figures["shift_q_value"] = found.shift_q
    if found.order is not None:
        figures["order"] = transfer_figures(found.order)
        if np.isfinite(found.q):
            figures["order"]["q_value"] = found.q
    for name, shares in zip(("first", "second"), found.seed_share, strict=True):
        if np.isfinite(shares.value[0]):
            figures[f"{name}_seed_share"] = _seed_share(shares, found)
    return figures


def _seed_share(shares: Shares, found: AttributeComparison) -> dict[str, object]:
    value, low, high = (float(bound[0]) for bound in shares)
    return figure(value, _known(low), _known(high), len(found.means[0]))


def _shift(found: Shift) -> Figures:
    return figure(found.value, _known(found.low), _known(found.high), found.cells) | (
        {"p": found.p} if np.isfinite(found.p) else {}
    )


def seed_frame(pairs: Sequence[PairComparison]) -> pd.DataFrame:
    """One row a seed of the first study: distance, rank and verdict in every study; empty where one lacks the seed."""
    import pandas as pd

    first = pairs[0].first
    seeds = sorted(set().union(*(pair.common.seeds.tolist() for pair in pairs)))
    columns: dict[str, object] = {"seed": seeds}
    for study in (first, *(pair.second for pair in pairs)):
        known = dict(zip(study.fid.seeds.tolist(), study.fid.values.tolist(), strict=True))
        values = pd.Series([known.get(seed) for seed in seeds], dtype=float)
        columns[f"{study.name}: fid"] = values
        columns[f"{study.name}: rank"] = values.rank()
        rows = [study.run.row(seed) for seed in seeds]
        columns[f"{study.name}: verdict"] = [row.verdict if row else None for row in rows]
    return pd.DataFrame(columns)


def attribute_frame(pairs: Sequence[PairComparison]) -> pd.DataFrame:
    """One row an attribute and pair of studies."""
    import pandas as pd

    return pd.DataFrame(
        [
            {"first": pair.first.name, "second": pair.second.name, "attribute": one.column} | _flat(_attribute(one))
            for pair in pairs
            for one in pair.attributes
        ]
    )


def study_frame(studies: Sequence[StudiedRun], differing: Mapping[str, Sequence[object]]) -> pd.DataFrame:
    """One row a study: the settings in which they differ, then its headline numbers."""
    import pandas as pd

    rows = []
    for at, study in enumerate(studies):
        settings = {key: values[at] if _numbers(values) else _text(values[at]) for key, values in differing.items()}
        rows.append({"study": study.name} | settings | _flat(study_figures(study)))
    return pd.DataFrame(rows)


def _numbers(values: Sequence[object]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def flat_pair(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a pair as ``a and b/fid/spearman/value`` and so on, without its attributes.

    Dots in names of studies become ``_``: W&B reads them as steps into nested values.
    """
    prefix = f"{figures['first']} and {figures['second']}/".replace(".", "_")
    kept = {key: value for key, value in figures.items() if key not in ("first", "second", "attributes")}
    return {prefix + key: value for key, value in _flat(kept, "/").items()}


def _flat(values: Mapping[str, Any], between: str = "_", prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one; a figure's ``value`` takes the figure's own name where names are joined by ``_``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = prefix.removesuffix(between) if between == "_" and key == "value" and prefix else f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flat(value, between, f"{name}{between}")
        elif not isinstance(value, list):
            flat[name] = value
    return flat
