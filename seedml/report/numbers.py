"""Numbers as a reader wants them: few digits, the interval with as many as the value, a dash for what is absent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

ABSENT = "–"


class Estimate(NamedTuple):
    """A number with its interval and sample size; ``None`` where there is none."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None

    @property
    def has_interval(self) -> bool:
        """Whether both ends are known."""
        return self.low is not None and self.high is not None


def finite(value: object) -> float | None:
    """``value`` as a float, or ``None`` when it is missing, not a number, NaN or infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def estimate(entry: object) -> Estimate | None:
    """What a summary entry says: a bare number or ``{"value", "low", "high", "n"}``; ``None`` if it holds no value."""
    if not isinstance(entry, Mapping):
        value = finite(entry)
        return None if value is None else Estimate(value)
    value = finite(entry.get("value"))
    if value is None:
        return None
    n = finite(entry.get("n"))
    return Estimate(value, finite(entry.get("low")), finite(entry.get("high")), None if n is None else int(n))


def decimals_for(value: float) -> int:
    """Digits after the point that leave about three significant ones, at most six."""
    if value == 0:
        return 0
    return min(6, max(0, 2 - math.floor(math.log10(abs(value)))))


def text(value: float | None, decimals: int | None = None) -> str:
    """``value`` with ``decimals`` places (by default about three significant digits) and thin groups of thousands."""
    if value is None:
        return ABSENT
    if decimals is None:
        decimals = decimals_for(value)
    shown = f"{value:,.{decimals}f}"
    return f"{0:.{decimals}f}" if float(shown.replace(",", "")) == 0 else shown.replace(",", "\u202f").replace("-", "−")


def _places(entry: Estimate) -> int:
    """Places for a value and its interval: a value near 0 needs no more than the ends around it."""
    return decimals_for(max(abs(part) for part in (entry.value, entry.low, entry.high) if part is not None))


def percent(value: float | None, decimals: int | None = None) -> str:
    """A share 0..1 as per cent, with more places close to 0 and to 100 so that 99.97 % does not read as 100 %."""
    if value is None:
        return ABSENT
    if decimals is None:
        decimals = percent_decimals(value)
    return f"{text(100 * value, decimals)}\u202f%"


def percent_decimals(value: float) -> int:
    """Places after the point for a share shown as per cent: one, or as many as keep it apart from 0 and 100 %."""
    if value in {0.0, 1.0}:
        return 0
    return next((places for places in (1, 2, 3) if round(100 * value, places) not in {0.0, 100.0}), 4)


def shown(entry: Estimate | None, share: bool = False) -> str:
    """The value alone, with the places that its interval has."""
    if entry is None:
        return ABSENT
    return percent(entry.value) if share else text(entry.value, _places(entry))


def interval(entry: Estimate | None, share: bool = False, decimals: int | None = None) -> str:
    """The interval as ``low to high``, with the places of :func:`shown`; empty where there is none."""
    if entry is None or entry.low is None or entry.high is None:
        return ""
    if share:
        places = max(percent_decimals(end) for end in (entry.value, entry.low, entry.high))
        low, high = text(100 * entry.low, places), percent(entry.high, places)
        return f"{low} to {high}"
    places = _places(entry) if decimals is None else decimals
    return f"{text(entry.low, places)} to {text(entry.high, places)}"


def p_value(value: float) -> str:
    """``p = 0.012``; very small ones as an upper bound, because a permutation test cannot resolve them."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}".rstrip("0").rstrip(".")


def duration(seconds: float) -> str:
    """Seconds in the unit a reader would use."""
    if seconds < 90:
        return f"{text(seconds, 1 if seconds < 10 else 0)} s"
    if seconds < 5400:
        return f"{text(seconds / 60, 1)} min"
    return f"{text(seconds / 3600, 1)} h"
