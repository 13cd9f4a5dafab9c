"""Where pictures are on a contact sheet."""

from __future__ import annotations

import numpy as np
import pytest

from seedml.sampling.contact_sheet import ACROSS, SIDE, Captioned, contact_sheet


def flat(level: int, side: int = 40) -> Captioned:
    pixels = np.full((side, side, 3), (level, 100, 200), np.uint8)  # no colour of letters
    return Captioned(pixels, f"{level} golden")


def places(sheet: np.ndarray, level: int) -> tuple[int, int, int]:
    """Top, left and number of pixels of a picture of one level."""
    rows, columns = np.nonzero((sheet == (level, 100, 200)).all(axis=2))
    return int(rows.min()), int(columns.min()), len(rows)


def test_every_picture_is_there_whole_in_its_row() -> None:
    sheet = np.asarray(contact_sheet("a title", {"golden": [flat(10), flat(20)], "random": [flat(30)]}))
    (top, left, count), second, third = (places(sheet, level) for level in (10, 20, 30))
    assert count == second[2] == third[2] == 40 * 40
    assert second[0] == top
    assert third[0] > top + 40
    assert third[1] == left < second[1]


def test_many_pictures_take_several_rows() -> None:
    items = [flat(20 * at) for at in range(ACROSS + 2)]
    sheet = np.asarray(contact_sheet("", {"golden": items}))
    assert places(sheet, 20 * ACROSS)[1] == places(sheet, 0)[1]
    assert places(sheet, 20 * ACROSS)[0] > places(sheet, 0)[0] + 40
    assert places(sheet, 20 * (ACROSS + 1))[2] == 40 * 40


def test_large_pictures_are_reduced_and_long_texts_do_not_widen_the_sheet() -> None:
    large = Captioned(np.full((600, 900, 3), (77, 100, 200), np.uint8), "a caption that is much too long " * 9)
    sheet = contact_sheet("a very long prompt that goes on " * 20, {"golden": [large]})
    assert sheet.width == SIDE + 16
    assert places(np.asarray(sheet), 77)[2] == pytest.approx(SIDE * SIDE * 600 / 900, rel=0.02)


def test_other_scripts_are_no_mistake() -> None:
    contact_sheet("猫 и шар 🎈", {"golden": [flat(5)]})
