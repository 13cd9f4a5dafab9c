"""Controls, unseen seeds and maps of attention on the page: every figure with its interval, its n and chance."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from synthetic_run import make_run, settings

from seedml.report import galleries
from seedml.report.classifier_controls import classifier_controls
from seedml.report.classifier_open_set import DIM, attention_part, lit, open_set_part
from seedml.report.classifier_section import classifier_section
from seedml.report.inputs import Run, read_run
from seedml.report.page import render, shown_pictures
from seedml.report.pictures import Picture
from seedml.report.tracked import tell_pictures
from seedml.tracking import NullTracker

SEEDS = tuple(range(12))


def share(value: float, chance: float = 1 / 12, **more: Any) -> dict[str, Any]:
    return {"value": value, "low": max(0.0, value - 0.03), "high": min(1.0, value + 0.03), "n": 240, "chance": chance,
            **more}  # fmt: skip


FOUND = {
    "controls": {
        "unseen_prompts": share(0.9997, description="pictures of 6 prompts that training never saw"),
        "jpeg_75": share(0.91, description="JPEG of quality <75>"),
        **{f"low_pass_{cut}": share(0.2 * cut ** 0.5) for cut in (8, 1, 2, 4)},
        **{f"high_pass_{cut}": share(0.8 / cut) for cut in (1, 2, 4, 8)},
        "retrained_low_pass_2": share(0.7, description="trained and tested on: low"),
    },
    "transfer": [share(0.4, description="pictures of shards/other")],
    "learning_curve": {"prompts": [share(0.5, prompts=4), share(0.9, prompts=8)], "seeds": [share(0.9, seeds=12)]},
    "noise_regression": {
        "one_picture": share(0.11, chance=-0.002, p=0.005), "all_pictures": share(0.2, chance=-0.004),
        "by_channel": [share(0.1, chance=0.0, channel=0)],
        "by_band": [share(0.3, chance=0.0, above_cycles=0.0, up_to_cycles=1.0),
                    share(0.01, chance=0.0, above_cycles=8.0, up_to_cycles=None)],
    },
    "open_set": {
        "auroc": share(0.98, chance=0.5), "unseen_refused": share(0.9, chance=0.01), "known_refused": share(0.02, 0.01),
        "roc": [[place / 100, min(1.0, place / 50)] for place in range(101)], "known_seeds": 12, "unseen_seeds": 16,
        "prompts": 6, "remade": share(1.0),
    },
    "calibration": {
        "temperature": {"value": 1.04, "n": 100}, "accuracy": share(0.99), "mean_probability": share(0.985),
        "error": {"value": 0.006, "n": 240, "chance": 0.004, "chance_high": 0.007},
    },
    "grad_cam": {"method": "LayerCAM", "layer": "network.layer1", "cells": [8, 8], "hidden": 0.1, "intact": share(1.0),
                 "most": share(0.73), "least": share(0.99), "by_chance": share(0.93)},
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("classifier")
    make_run(root, SEEDS)
    plain = read_run(root / "runs/synthetic", root / "shards/synthetic", "synthetic", settings())
    assert plain.classifier is not None
    prompts = galleries.prompts_shown(plain)
    random = np.random.default_rng(0)
    attention = {
        "seeds": np.array(SEEDS), "seed_maps": random.random((12, 8, 8)).astype(np.float32),
        "picture_seeds": np.repeat(SEEDS, len(prompts)), "picture_prompt_ids": np.tile(prompts, 12),
        "picture_maps": random.integers(0, 256, (12 * len(prompts), 8, 8), dtype=np.uint8),
    }  # fmt: skip
    return replace(plain, classifier={**plain.classifier, **FOUND}, attention=attention)


def test_every_control_has_its_interval_its_n_and_chance(run: Run) -> None:
    controls = classifier_controls(run)
    assert controls is not None
    rows = {row.title: row for row in controls.rows}
    assert len(rows) == len(FOUND["controls"]) + 1
    jpeg = rows["JPEG 75"]
    assert (jpeg.value, jpeg.interval, jpeg.n, jpeg.chance) == (
        "91.0\u202f%", "88.0 to 94.0\u202f%", "240", "8.3\u202f%",
    )  # fmt: skip
    assert jpeg.description == "JPEG of quality <75>"
    assert rows["Other pictures"].value == "40.0\u202f%"
    assert "Trained anew: low pass 2" in rows
    assert [row.title for row in controls.noise] == [
        "One picture", "All pictures of a seed", "Channel 0", "0 to 1 cycles", "8 and more cycles",
    ]  # fmt: skip
    assert "p = 0.005" in controls.noise_finding


def test_curves_are_in_the_order_of_what_they_are_over(run: Run) -> None:
    controls = classifier_controls(run)
    assert controls is not None
    titles = [chart.title for chart in controls.charts]
    assert titles == ["Only some frequencies left", "Accuracy by number of training prompts"]  # one point is no curve
    curves = [line for line in ElementTree.fromstring(controls.charts[0].drawing).iter("polyline")]
    assert len(curves) == 2
    for curve in curves:
        across = [float(point.split(",")[0]) for point in (curve.get("points") or "").split()]
        assert across == sorted(across)


def test_what_was_left_out_is_said(run: Run) -> None:
    classifier = {"noise_regression": {"skipped": "5 seeds are too few"}, "open_set": {"left_out": "no model here"}}
    bare = replace(run, classifier=classifier)
    controls, unseen = classifier_controls(bare), open_set_part(bare)
    assert controls is not None
    assert "5 seeds are too few" in controls.noise_finding
    assert unseen is not None
    assert "no model here" in unseen.findings[0]
    assert attention_part(bare, {}) is None
    assert classifier_controls(replace(run, classifier={"history": []})) is None


def test_a_map_lights_what_it_marks() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 200, 200)).save(buffer, "WEBP", lossless=True)
    picture = Picture("data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode(), 32, 32, "x")
    cells = np.zeros((8, 8), np.uint8)
    cells[:, 4:] = 255
    made = Image.open(io.BytesIO(base64.b64decode(lit(picture, cells).uri.partition(",")[2]))).convert("L")
    pixels = np.asarray(made, float)
    assert pixels[:, 22:].mean() == pytest.approx(200, abs=4)
    assert pixels[:, :10].mean() == pytest.approx(200 * DIM, abs=4)


def test_the_page_shows_maps_of_golden_and_inferior_seeds(run: Run) -> None:
    pictures = shown_pictures(run)
    part = attention_part(run, pictures)
    assert part is not None
    assert [tuple(row.seed for row in grid.rows) for grid in part.grids] == [
        run.chosen("golden"),
        run.chosen("inferior"),
    ]
    assert all(len(row.frames) == len(grid.prompts) for grid in part.grids for row in grid.rows)
    page = render(run, pictures)
    for words in (
        "Controls",
        "Is it the noise?",
        "Where does it look?",
        "seeds that it does not know",
        "JPEG of quality &lt;75&gt;",
    ):
        assert words in page
    assert "none of the known ones" in page
    assert "image=picture.png" in page
    tell_pictures(run, pictures, NullTracker())


def test_a_run_without_controls_has_the_plain_section(run: Run) -> None:
    plain = replace(run, classifier={"history": [], "chance": 0.1}, attention=None)
    section = classifier_section(plain)
    assert section is not None
    assert (section.controls, section.open_set, section.attention) == (None, None, None)
