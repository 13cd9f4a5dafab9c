"""The page of 1,024 seeds in a real Chromium: small enough, quick to open, and its controls still work."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from page_visit import CHROMIUM, Visit, chromium
from PIL import Image
from synthetic_run import make_run, settings

from seedml.report import galleries
from seedml.report.inputs import Attribute, Run, SeedRow, read_run
from seedml.report.numbers import Estimate
from seedml.report.page import render
from seedml.report.pictures import CellKey, Picture

pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)"),
]

SEEDS = 1024
FINER = tuple(f"border_part{number}" for number in range(24))
"""Columns beside the fixture's own: with them as many as a study of the bundled model has."""
MOST_BYTES, MOST_SECONDS = 15e6, 2.0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("many")
    make_run(root, range(12))
    return many(read_run(root / "runs/synthetic", root / "shards/synthetic", "synthetic", settings()))


def many(few: Run) -> Run:
    """A run of ``SEEDS`` seeds with numbers around those of the few."""
    random = np.random.default_rng(0)
    rows = [_row(few.seeds[seed % len(few.seeds)], seed, random) for seed in range(SEEDS)]
    ranked = sorted(rows, key=lambda row: row.fid.value if row.fid else 0)
    ranks = {row.seed: rank for rank, row in enumerate(ranked, start=1)}
    assert few.images is not None
    assert few.places is not None
    images = [few.images[few.images["seed"] == seed % 12].assign(seed=seed) for seed in range(SEEDS)]
    places = pd.DataFrame({"seed": range(SEEDS)})
    for name in ("style", "layout"):
        places[f"{name}_cluster"] = np.arange(SEEDS) % 3
        places[f"{name}_map_x"], places[f"{name}_map_y"] = random.normal(size=(2, SEEDS))
    return replace(
        few, seeds=tuple(replace(row, rank=ranks[row.seed]) for row in rows), places=places,
        attributes=(*few.attributes, *(Attribute(name, False) for name in FINER)),
        images=pd.concat(images), examples={},
    )  # fmt: skip


def _row(like: SeedRow, seed: int, random: np.random.Generator) -> SeedRow:
    values = {name: _around(entry, random) for name, entry in like.values.items()}
    values |= {name: _around(Estimate(0.2, 0.1, 0.3, 160), random) for name in FINER}
    return replace(like, seed=seed, fid=_around(like.fid or Estimate(20.0), random), values=values)


def _around(entry: Estimate, random: np.random.Generator) -> Estimate:
    shift = float(random.normal(0, 0.02))
    ends = (None if end is None else end + shift for end in (entry.low, entry.high))
    return Estimate(entry.value + shift, *ends, entry.n)


@pytest.fixture(scope="module")
def pictures(run: Run) -> dict[CellKey, Picture]:
    """As heavy as photographs: about 3 kB each at 96 px, no two alike."""
    best, worst = galleries.best_and_worst(run)
    cells = galleries.cells_needed(run, [*best, *worst, *run.chosen("diverse"), *range(100)])
    return {cell: _photograph(number, f"prompt {cell[1]}") for number, cell in enumerate(sorted(cells))}


def _photograph(number: int, prompt: str) -> Picture:
    """A picture with detail everywhere; the number is in its colours."""
    coarse = np.random.default_rng(number % 16).integers(0, 255, (30, 30, 3), dtype=np.uint8)
    coarse[:8, :8] = number % 256, number // 256, 128
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC).save(buffer, "WEBP", quality=80, method=0)
    return Picture("data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode(), 96, 96, prompt)


@pytest.fixture(scope="module")
def report(run: Run, pictures: dict[CellKey, Picture], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(run, pictures))
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        started.set_default_timeout(120_000)
        yield started


def test_it_is_small_and_opens_at_once(browser: Any, report: Path, pictures: dict[CellKey, Picture]) -> None:
    assert np.mean([len(picture.uri) for picture in pictures.values()]) > 3000, "pictures are as heavy as photographs"
    assert report.stat().st_size < MOST_BYTES
    page = browser.new_page()
    session = browser.new_cdp_session(page)
    # seconds of the page's own thread: what else runs on this machine does not count
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(report.as_uri())
    metrics = {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}
    assert metrics["TaskDuration"] < MOST_SECONDS
    page.wait_for_selector("img[data-src]", state="detached")  # pictures follow when the page has opened
    page.evaluate("Promise.all([...document.images].map(image => image.decode()))")
    assert page.evaluate("document.images.length") > SEEDS
    page.close()


def test_its_controls_work(browser: Any, report: Path, run: Run) -> None:
    visit = Visit(browser, report)
    page = visit.page
    page.locator('#seed-table thead th[data-column="sky"] button').click()
    shown = page.eval_on_selector_all("#seed-table tbody tr", "rows => rows.map(row => Number(row.dataset.seed))")
    sky = {row.seed: row.values["sky"].value for row in run.seeds}
    assert shown == sorted(sky, key=lambda seed: (-sky[seed], seed))
    thumb = page.locator('.slider[data-column="sky"] input').first
    thumb.evaluate("thumb => { thumb.value = 50; thumb.dispatchEvent(new Event('input')); }")
    page.evaluate("new Promise(requestAnimationFrame)")
    low, high = min(sky.values()), max(sky.values())
    fitting = sum(value >= (low + high) / 2 for value in sky.values())
    assert page.locator("#pick-status").inner_text() == f"{fitting} of {SEEDS} seeds fit"
    assert page.locator("#picked tr").count() == 12
    mark = page.locator("#attribute-sky svg.chart a").nth(500)
    mark.evaluate("mark => mark.focus()")
    seed = str(mark.get_attribute("href")).removeprefix("#seed-")
    assert page.locator("#peek strong").inner_text().startswith(f"Seed {seed} ")
    assert page.locator("#peek img").count() >= 1
    assert visit.messages == []
    assert [url for url in visit.requests if not url.startswith("data:")] == [report.as_uri()]
    page.close()
