from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic_run import make_run, settings

from seedml.config import StudyConfig
from seedml.report.galleries import best_and_worst
from seedml.report.inputs import Run, read_run
from seedml.report.likeness_section import MARK, score_table
from seedml.report.page import shown_pictures, write_report
from seedml.report.tracked import heat_pixels, tell_pictures
from seedml.tracking import Tracker, open_tracker, read_journal


class Listener(Tracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.images, self.tables = {}, {}

    def image(self, key, image, caption="") -> None:
        self.images[key] = (np.asarray(image), caption)

    def table(self, key, frame) -> None:
        self.tables[key] = frame


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("tracked")
    make_run(root, range(12))
    return read_run(root / "runs/synthetic", root / "shards/synthetic", "synthetic", settings())


def test_each_attribute_has_its_strips_and_the_heat_map_its_numbers(run: Run) -> None:
    listener = Listener()
    tell_pictures(run, shown_pictures(run), listener)
    sky, caption = listener.images["strips/sky"]
    assert caption == "Sky"
    assert sky.dtype == np.uint8
    assert sky.shape == (2 * 20 + 6 * 132, 150 + 7 * 132, 3)
    assert sky[24:140, 160:270].std() > 5, "the first picture is there"
    table, frame = score_table(run), listener.tables["heat_map"]
    assert tuple(frame["seed"]) == table.seeds
    for place, attribute in enumerate(table.attributes):
        np.testing.assert_allclose(frame[attribute.column], table.scores[:, place])
        q_values = [run.row(seed).q_values[attribute.column] for seed in table.seeds]
        assert frame[f"{attribute.column}_marked"].tolist() == [q <= MARK for q in q_values]


def test_galleries_show_the_chosen_seeds_and_ranks_every_seed_with_its_limits(run: Run) -> None:
    listener = Listener()
    tell_pictures(run, shown_pictures(run), listener)
    best, worst = best_and_worst(run)
    for name, seeds in (("golden", best), ("inferior", worst)):
        sheet, _ = listener.images[f"gallery/{name}"]
        assert sheet.shape[0] == 20 + len(seeds) * 132
        assert sheet[24:140, 160:270].std() > 5, "the first picture is there"
    pixels, caption = listener.images["ranks"]
    rows = sorted((row for row in run.seeds if row.rank), key=lambda row: row.rank)
    assert "interval" in caption
    assert pixels.shape == (320, 2 * 24 + 24 * len(rows), 3)
    bottom, top = min(row.fid.low for row in rows), max(row.fid.high for row in rows)
    for place, row in enumerate(rows):
        column = pixels[:, 24 + 24 * place + 12]
        inked = np.flatnonzero((column != 255).any(axis=1))
        drawn = [320 - 24 - (limit - bottom) / (top - bottom) * 272 for limit in (row.fid.high, row.fid.low)]
        np.testing.assert_allclose([inked[0], inked[-1]], drawn, atol=1.5)


def test_colours_say_the_side_and_the_size(run: Run) -> None:
    table = score_table(run)
    pixels = heat_pixels(table)[::12, ::12].astype(int).transpose(1, 0, 2)
    strong = np.abs(table.scores) > 1.5
    assert (pixels[strong & (table.scores > 0)][:, 0] > pixels[strong & (table.scores > 0)][:, 2]).all()
    assert (pixels[strong & (table.scores < 0)][:, 0] < pixels[strong & (table.scores < 0)][:, 2]).all()


def test_the_journal_holds_the_pictures_once(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, range(12))
    config = StudyConfig(name="synthetic")
    config.shards.root, config.runs.root = str(tmp_path / "shards"), str(tmp_path / "runs")
    config.tracking.mode = "disabled"
    for _ in range(2):  # the second page is the same, and nothing is told
        with open_tracker(config, "report", run_dir) as tracker:
            write_report(config, tracker)
    events = [event for event in read_journal(run_dir / "tracking/report.jsonl") if event["event"] == "image"]
    keys = [event["key"] for event in events]
    assert "heat_map" in keys
    assert "strips/grayscale" in keys
    assert len(keys) == len(set(keys))
    for event in events:
        assert Image.open(run_dir / event["path"]).size[0] > 100
