"""Sliders and what is copied; pictures that fit on a page of many seeds; the methods in prose."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic_run import make_run, settings

from seedml.report import galleries
from seedml.report.inputs import Run, read_run
from seedml.report.methods import methods
from seedml.report.numbers import Estimate
from seedml.report.picker import BINS, picker
from seedml.report.pictures import LADDER, CellKey, Picture, fitting

SEEDS = tuple(range(12))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("picker")
    make_run(root, SEEDS)
    return read_run(root / "runs/synthetic", root / "shards/synthetic", "synthetic", settings())


def test_sliders_range_over_what_seeds_have(run: Run) -> None:
    made = picker(run, None)
    assert made is not None
    assert made.sliders[0].key == "fid"
    for slider in (*made.sliders, *made.finer):
        entries = [row.fid if slider.key == "fid" else row.values.get(slider.key) for row in run.seeds]
        values = [entry.value for entry in entries if entry]
        assert (slider.low, slider.high) == (min(values), max(values))
        counts, _ = np.histogram(values, BINS)
        assert slider.bars == pytest.approx(counts / counts.max())
    assert [slider.key for slider in made.finer] == ["grayscale_chroma", "border_width"]
    assert {slider.key for slider in made.sliders if slider.percent} == {"grayscale", "border", "lettering"}


def test_a_number_that_all_seeds_share_has_no_slider(run: Run) -> None:
    same = {"sky": Estimate(0.25)}
    rows = tuple(replace(row, values={**row.values, **same}) for row in run.seeds)
    made = picker(replace(run, seeds=rows), None)
    assert made is not None
    assert "sky" not in {slider.key for slider in made.sliders}
    assert picker(replace(run, seeds=()), None) is None


def test_what_is_copied_is_a_program_and_a_command_around_the_seeds(run: Run) -> None:
    made = picker(replace(run, name="it's"), None)
    assert made is not None
    code = "[3, 7]".join(made.code)
    compile(code, "picked", "exec")
    assert "for seed in [3, 7]:" in code
    import shlex

    words = shlex.split("3,7".join(made.command))
    assert words == ["seedml", "sample", "runs/it's", "a photo of a mug", "seeds=[3,7]"]


# --- pictures of many seeds ---


def noisy(side: int, number: int) -> Picture:
    pixels = np.random.default_rng(number).integers(0, 255, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=80, method=0)
    return Picture("data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode(), side, side, "a mug")


@pytest.fixture(scope="module")
def heavy() -> dict[CellKey, Picture]:
    """Five seeds on six prompts, about 20 kB a picture."""
    return {(seed, prompt): noisy(128, 10 * seed + prompt) for seed in range(5) for prompt in range(6)}


def test_pictures_that_fit_stay_as_they_are(heavy: dict[CellKey, Picture]) -> None:
    kept, prompts = fitting(heavy, range(5), range(6), sum(len(picture.uri) for picture in heavy.values()))
    assert kept == heavy
    assert prompts == tuple(range(6))


@pytest.mark.parametrize("share", [0.7, 0.4, 0.2, 0.08])
def test_pictures_that_do_not_fit_get_smaller_and_then_fewer(heavy: dict[CellKey, Picture], share: float) -> None:
    most = int(share * sum(len(picture.uri) for picture in heavy.values()))
    kept, prompts = fitting(heavy, range(5), range(6), most)
    assert sum(len(picture.uri) for picture in kept.values()) <= most
    assert set(kept) == {(seed, prompt) for seed in range(5) for prompt in prompts}
    side = kept[0, 0].width
    assert (side, len(prompts)) in LADDER
    for cell, picture in kept.items():
        assert (picture.width, picture.height, picture.prompt) == (side, side, "a mug")
        original, reduced = (_pixels(one.uri) for one in (heavy[cell], picture))
        expected = Image.fromarray(original).resize((side, side), Image.Resampling.LANCZOS)
        assert np.abs(np.asarray(expected, float) - reduced).mean() < 25


def test_the_last_rung_is_taken_whatever_its_size(heavy: dict[CellKey, Picture]) -> None:
    kept, prompts = fitting(heavy, range(5), range(6), 10)
    assert (kept[0, 0].width, len(prompts)) == LADDER[-1]
    assert fitting({}, range(5), range(6), 10)[0] == {}


def test_many_seeds_have_smaller_pictures() -> None:
    assert [galleries.side_for(seeds) for seeds in (1, 64, 333, 334, 1024)] == [128, 128, 128, 96, 96]


def _pixels(uri: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


# --- methods ---


def test_the_paragraph_says_how_the_study_was_made(run: Run) -> None:
    text = methods(run).paragraph
    for words in ("168 pictures (12 seeds × 14 prompts: 6 train, 2 val, 6 test)", "seedling (128 × 128 px, 8 steps, ",
                  "guidance scale 1.0)", "1 could not be made", "200 shuffles", "procedure at 0.05",
                  "3 golden and 3 inferior seeds", "torch 2.12.1 on cpu (2 threads)."):  # fmt: skip
        assert words in text


def test_the_paragraph_leaves_out_what_is_not_there(run: Run) -> None:
    bare = replace(run, summary={}, seeds=(), seedbook=None)
    assert methods(bare).paragraph == ""
    assert "golden and" not in methods(replace(run, seedbook=None)).paragraph


def test_columns_say_in_how_many_pictures_they_were_read(run: Run, tmp_path: Path) -> None:
    assert run.images is not None
    images = run.images.copy()
    lost = images.index[images["status"] == "ok"][:3]
    images.loc[lost, "sky"] = np.nan
    columns = {one.term: one.n for one in methods(replace(run, images=images)).columns}
    assert columns["Sky"] == "164; not in 3"  # of 168 cells one failed
    assert columns["Object size"] == "167"
    assert {one.term for one in methods(run).words} >= {"golden", "inferior", "inconclusive", "FID", "interval"}
    assert isinstance(images, pd.DataFrame)
