from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from synthetic_run import make_run, settings

from seedml.report.attribute_sections import attribute_sections, example_cells
from seedml.report.galleries import EXAMPLES, STRIP
from seedml.report.inputs import Run, read_run
from seedml.report.likeness_section import MARK, heat_map_section, likeness_sections, likeness_seeds, score_table
from seedml.report.page import render
from seedml.report.pictures import read_pictures
from seedml.report.variance_section import variance_section

SEEDS = tuple(range(12))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("likeness")
    make_run(root, SEEDS)
    return read_run(root / "runs/synthetic", root / "shards/synthetic", "synthetic", settings())


def test_scores_are_those_of_the_table_of_seeds_whatever_the_order(run: Run) -> None:
    table = score_table(run)
    assert sorted(table.seeds) == list(SEEDS)
    for place, attribute in enumerate(table.attributes):
        values = np.array([run.row(seed).values[attribute.column].value for seed in table.seeds])
        np.testing.assert_allclose(table.scores[:, place], (values - values.mean()) / values.std(ddof=1))


def test_every_mark_of_the_heat_map_is_a_q_value(run: Run) -> None:
    table, section = score_table(run), heat_map_section(run)
    drawing = ElementTree.fromstring(section.chart)
    dots = [dot for dot in drawing.iter("circle") if dot.get("class") == "dot"]
    marked = sum(run.row(seed).q_values[a.column] <= MARK for seed in table.seeds for a in table.attributes)
    assert len(dots) == marked > 0
    links = {link.get("href") for link in drawing.iter("a")}
    assert links == {f"#seed-{seed}" for seed in SEEDS}
    cells = sum(path.get("d").count("M") for path in drawing.iter("path"))
    assert cells == len(table.seeds) * len(table.attributes)


def test_a_thousand_seeds_leave_those_that_deviate_most(run: Run) -> None:
    many = tuple(replace(run.seeds[at % 12], seed=at) for at in range(1024))
    table, section = score_table(replace(run, seeds=many)), heat_map_section(replace(run, seeds=many))
    assert len(table.seeds) == 128
    assert "128 seeds that deviate most" in section.title
    assert len(section.chart) < 400_000


def test_maps_show_every_seed_in_its_cluster_and_say_how_stable_they_are(run: Run) -> None:
    style, layout = likeness_sections(run, {})
    marks = [c.get("class") for c in ElementTree.fromstring(style.chart).iter("circle")]
    assert sorted(marks) == sorted(f"cluster cluster-{seed % 3}" for seed in SEEDS)
    said = " ".join(style.findings)
    assert "finds 3 clusters" in said
    assert "0.62 (0.40 to 0.83 over random halvings)" in said
    assert "adjusted Rand" not in " ".join(layout.findings), "no stability was measured"
    assert "far distances" in " ".join(layout.findings)
    assert len(style.grid.rows) == 3
    assert {row.seed for part in (style, layout) for row in part.grid.rows} == set(likeness_seeds(run))
    clusters = {row.seed % 3 for row in style.grid.rows}
    assert clusters == {0, 1, 2}


def test_without_a_map_there_is_no_section(run: Run) -> None:
    assert likeness_sections(replace(run, places=None), {}) == []
    assert likeness_sections(replace(run, places=pd.DataFrame({"seed": SEEDS})), {}) == []
    page = render(replace(run, places=None, examples={}))
    assert 'id="likeness"' not in page
    assert heat_map_section(replace(run, seeds=())) is None


def test_strips_end_with_the_seeds_own_pictures(run: Run) -> None:
    cells = example_cells(run)
    assert {prompt for _, prompt in cells} == {1, 3}
    pictures = read_pictures(run.shard_dir, cells)
    section = next(s for s in attribute_sections(run, pictures) if s.anchor == "attribute-sky")
    for grid in section.grids:
        assert len(grid.prompts) == STRIP + 2
        assert grid.prompts[-2:] == EXAMPLES
        for row in grid.rows:
            assert row.frames[-2].picture == pictures.get((row.seed, 1))
            assert row.frames[-1].picture == pictures.get((row.seed, 3))
            assert ", q = 0." in row.note


def test_the_seeds_share_of_where_objects_are_is_said(run: Run) -> None:
    shares = {f"seed_share_location_{axis}": {"value": 0.2, "low": 0.1, "high": 0.3} for axis in "xy"}
    section = variance_section(replace(run, summary={**run.summary, **shares}))
    assert "explains 20.0\u202f% (10.0 to 30.0\u202f%) across and 20.0" in section.finding
    assert "across" not in variance_section(run).finding


def test_the_page_holds_the_new_parts(run: Run, tmp_path: Path) -> None:
    page = render(run)
    for part in ("likeness-style", "likeness-layout", "standard deviations from the mean seed", EXAMPLES[0]):
        assert part in page
