from __future__ import annotations

import math

import numpy as np
import pytest

from seedml.report.chance import expected_highest_share
from seedml.report.numbers import Estimate, duration, estimate, finite, interval, p_value, percent, shown, text
from seedml.report.vocabulary import order, wording


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"), (0.0, "0"), (21.604, "21.6"), (2.104, "2.10"), (0.8311, "0.831"), (0.00123, "0.00123"),
        (46123456, "46\u202f123\u202f456"), (-2.104, "−2.10"), (-0.0000001, "0.000000"), (123.4, "123"),
    ],
)  # fmt: skip
def test_text_keeps_about_three_digits(value: float | None, words: str) -> None:
    assert text(value) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (1.0, "100\u202f%"), (0.0, "0\u202f%"), (0.5, "50.0\u202f%"), (0.9997, "99.97\u202f%"),
        (0.99997, "99.997\u202f%"), (0.0004, "0.04\u202f%"), (0.994, "99.4\u202f%"), (None, "–"),
    ],
)  # fmt: skip
def test_percent_never_rounds_to_all_or_nothing(share: float | None, words: str) -> None:
    assert percent(share) == words


def test_an_interval_has_the_values_places() -> None:
    assert interval(Estimate(21.604, 20.9876, 22.3)) == "21.0 to 22.3"
    assert interval(Estimate(0.9997, 0.998, 1.0), share=True) == "99.80 to 100.00\u202f%"
    assert interval(Estimate(2.1, -0.04, 4.0)) == "−0.04 to 4.00"
    assert interval(Estimate(2.1)) == ""
    near_zero = Estimate(0.01, -1.2, 1.3)
    assert (shown(near_zero), interval(near_zero)) == ("0.01", "−1.20 to 1.30")
    assert shown(None) == "–"


@pytest.mark.parametrize("bad", [None, "3", True, math.nan, math.inf, [1]])
def test_what_is_no_number_is_absent(bad: object) -> None:
    assert finite(bad) is None
    assert estimate(bad) is None
    assert estimate({"value": bad}) is None


def test_an_entry_of_the_summary_is_read_whole() -> None:
    assert estimate({"value": 1, "low": 0.5, "high": 2, "n": 64}) == Estimate(1.0, 0.5, 2.0, 64)
    assert estimate(7) == Estimate(7.0)


def test_p_values_and_durations() -> None:
    assert p_value(1 / 201) == "p = 0.005"
    assert p_value(0.3) == "p = 0.3"
    assert p_value(1.0) == "p = 1"
    assert p_value(0.0001) == "p < 0.001"
    assert duration(1.23) == "1.2 s"
    assert duration(75) == "75 s"
    assert duration(184) == "3.1 min"
    assert duration(7200) == "2.0 h"


@pytest.mark.parametrize(("share", "images", "seeds"), [(0.08, 160, 64), (0.5, 10, 3), (0.02, 40, 1)])
def test_highest_share_by_luck_agrees_with_drawing(share: float, images: int, seeds: int) -> None:
    drawn = np.random.default_rng(0).binomial(images, share, (20_000, seeds)).max(axis=1) / images
    error = drawn.std() / len(drawn) ** 0.5
    assert abs(expected_highest_share(share, images, seeds) - drawn.mean()) < 5 * error + 1e-12


def test_highest_share_of_one_seed_is_its_share() -> None:
    assert expected_highest_share(0.3, 50, 1) == pytest.approx(0.3)
    assert expected_highest_share(0.0, 50, 64) == 0.0
    assert expected_highest_share(1.0, 50, 64) == 1.0


def test_an_unknown_attribute_is_shown_under_its_own_name() -> None:
    assert wording("motion_blur").title == "Motion blur"
    assert "Share" in wording("motion_blur", share=True).reading
    assert order(["zebra", "sky", "apple", "grayscale"]) == ["grayscale", "sky", "apple", "zebra"]
