"""Charts: every value at its place, computed here a second time from the chart's own ticks."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from seedml.report import page
from seedml.report.charts import (
    Axis,
    Band,
    Bar,
    Line,
    Point,
    bar_chart,
    heat_map,
    interval_chart,
    line_chart,
    padded,
    scatter_square,
    ticks,
)

VALUES = (20.0, 21.5, 24.0, 30.0)
KINDS = ("golden", "inconclusive", "inconclusive", "inferior")


def points() -> list[Point]:
    return [
        Point(value, value - 1, value + 2, kind, f"Seed {i} <{value}>", f"#seed-{i}")
        for i, (value, kind) in enumerate(zip(VALUES, KINDS, strict=True))
    ]


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def linear(svg: ElementTree.Element, coordinate: str, anchor: str) -> tuple[float, float]:
    """Slope and offset of data -> px, from the tick labels (a label stands at its value, ±4 px for height)."""
    labels = [t for t in svg.iter("text") if t.get("class") == "tick" and t.get("text-anchor") == anchor]
    shift = -4 if coordinate == "y" else 0
    pairs = [(float(t.text or ""), float(t.get(coordinate, "")) + shift) for t in labels]
    (v0, p0), (v1, p1) = pairs[0], pairs[-1]
    slope = (p1 - p0) / (v1 - v0)
    assert all(p == pytest.approx(p0 + slope * (v - v0), abs=0.02) for v, p in pairs)
    return slope, p0 - slope * v0


def centre(mark: ElementTree.Element) -> tuple[float, float]:
    if mark.tag == "circle":
        return float(mark.get("cx", "")), float(mark.get("cy", ""))
    if mark.tag == "rect":
        half = float(mark.get("width", "")) / 2
        return float(mark.get("x", "")) + half, float(mark.get("y", "")) + half
    corners = [tuple(map(float, pair.split(","))) for pair in mark.get("points", "").split()]
    top, base = min(y for _, y in corners), max(y for _, y in corners)
    return sum(x for x, _ in corners) / len(corners), top + (base - top) * 1.35 / 2.2


def data_marks(svg: ElementTree.Element) -> list[ElementTree.Element]:
    """Marks that stand for data: those of the legend say nothing on hover."""
    return [e for e in svg.iter() if e.get("class", "").startswith("mark") and e.find("title") is not None]


def test_interval_chart_puts_every_seed_at_its_value() -> None:
    svg = parse(interval_chart(points(), "rank", Axis("FID", *padded([19, 32])), "a chart", [Band("mean", 24, 24)]))
    slope, offset = linear(svg, "y", "end")
    marks = data_marks(svg)
    whiskers = [e for e in svg.iter("line") if e.get("class", "").startswith("whisker")]
    assert len(marks) == len(whiskers) == len(VALUES)
    xs = [centre(mark)[0] for mark in marks]
    assert xs == sorted(xs)
    for mark, whisker, value in zip(marks, whiskers, VALUES, strict=True):
        assert centre(mark)[1] == pytest.approx(offset + slope * value, abs=0.05)
        assert float(whisker.get("y1", "")) == pytest.approx(offset + slope * (value - 1), abs=0.05)
        assert float(whisker.get("y2", "")) == pytest.approx(offset + slope * (value + 2), abs=0.05)
        assert float(whisker.get("x1", "")) == pytest.approx(centre(mark)[0], abs=0.05)
    level = next(e for e in svg.iter("line") if e.get("class") == "level")
    assert float(level.get("y1", "")) == pytest.approx(offset + slope * 24, abs=0.05)


def test_verdicts_differ_by_shape_and_links_lead_to_the_seed() -> None:
    svg = parse(interval_chart(points(), "rank", Axis("FID", 15, 35), "a chart"))
    assert [mark.tag for mark in data_marks(svg)] == ["polygon", "circle", "circle", "rect"]
    assert [link.get("href") for link in svg.iter("a")] == [f"#seed-{i}" for i in range(4)]
    assert {link.get("tabindex") for link in svg.iter("a")} == {"-1"}


def test_charts_name_axes_and_escape_text() -> None:
    drawn = interval_chart(points(), "rank <b>", Axis("FID & more", 15, 35), 'says "<script>"')
    assert "<b>" not in drawn
    assert "<script>" not in drawn
    svg = parse(drawn)
    assert svg.get("aria-label") == 'says "<script>"'
    assert svg.get("role") == "img"
    labels = [t.text for t in svg.iter("text") if t.get("class") == "label"]
    assert labels == ["FID & more", "rank <b>"]
    assert [e.text for mark in data_marks(svg) for e in mark.iter("title")] == [f"Seed {i} <{v}>" for i, v in
                                                                               enumerate(VALUES)]  # fmt: skip


@pytest.mark.parametrize("count", [1, 2, 64, 1024])
def test_interval_chart_holds_any_number_of_seeds(count: int) -> None:
    many = [Point(1.0, 0.9, 1.1, "inconclusive", f"Seed {i}") for i in range(count)]
    svg = parse(interval_chart(many, "rank", Axis("FID", *padded([1.0])), "a chart"))
    xs = [centre(mark)[0] for mark in data_marks(svg)]
    assert len(set(xs)) == count
    assert 0 < min(xs) <= max(xs) < 680


def test_line_chart_draws_curves_and_single_results() -> None:
    curve = [(0.0, 10.0), (1.0, 60.0), (2.0, 90.0)]
    end = Point(99.0, 98.0, 100.0, "test", "held-out test: 99 %")
    svg = parse(line_chart([Line("training", "training", curve)], Axis("epoch", 0, 2), Axis("accuracy, %", 0, 104),
                           "curves", [Band("chance", 2, 2)], [end]))  # fmt: skip
    slope, offset = linear(svg, "y", "end")
    x_slope, x_offset = linear(svg, "x", "middle")
    polyline = next(svg.iter("polyline"))
    drawn = [tuple(map(float, pair.split(","))) for pair in polyline.get("points", "").split()]
    for (x, y), (px, py) in zip(curve, drawn, strict=True):
        assert (px, py) == pytest.approx((x_offset + x_slope * x, offset + slope * y), abs=0.05)
    test_mark = next(e for e in svg.iter("polygon") if e.get("class") == "mark test" and e.find("title") is not None)
    ys = [float(pair.split(",")[1]) for pair in test_mark.get("points", "").split()]
    assert (min(ys) + max(ys)) / 2 == pytest.approx(offset + slope * 99, abs=0.05)


def test_bar_chart_stacks_shares() -> None:
    bars = [Bar("Sky", [("seed", 0.5, 0.4, 0.6), ("prompt", 0.2, None, None), ("rest", 0.3, None, None)])]
    svg = parse(bar_chart(bars, "share, %", "bars"))
    slope, offset = linear(svg, "x", "middle")
    boxes = [e for e in svg.iter("rect") if e.find("title") is not None]
    starts, widths = (0, 50, 70), (50, 20, 30)
    for box, start, width in zip(boxes, starts, widths, strict=True):
        assert float(box.get("x", "")) == pytest.approx(offset + slope * start, abs=0.05)
        assert float(box.get("width", "")) == pytest.approx(slope * width, abs=0.05)
    bound = next(e for e in svg.iter("path") if e.get("class") == "bound").get("d", "")
    low, high = re.match(r"M([\d.]+) [\d.]+H([\d.]+)", bound).groups()  # type: ignore[union-attr]
    assert (float(low), float(high)) == pytest.approx((offset + slope * 40, offset + slope * 60), abs=0.05)


def test_heat_map_counts_rows_from_the_top() -> None:
    svg = parse(heat_map([[0, 4], [1, 0]], "heat", side=100))
    cells = [e for e in svg.iter("rect") if e.get("class") == "heat-cell"]
    assert [(e.get("x"), e.get("y"), e.get("width")) for e in cells] == [("50", "0", "50"), ("0", "50", "50")]
    assert [e.get("fill-opacity") for e in cells] == ["1", "0.36"]


def test_scatter_has_the_pictures_orientation() -> None:
    corner = [(0.0, 0.0, Point(0, None, None, "golden", "top left")), (1.0, 1.0, Point(1, None, None, "x", "b r"))]
    svg = parse(scatter_square(corner, "where"))
    (x0, y0), (x1, y1) = (centre(mark) for mark in data_marks(svg))
    assert x0 < x1
    assert y0 < y1
    plot = next(e for e in svg.iter("rect") if e.get("class") == "plot")
    assert (x0, y0) == pytest.approx((float(plot.get("x", "")), float(plot.get("y", ""))), abs=0.05)


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(19.3, 32.1) == [20, 25, 30]
    assert ticks(3, 3) == [3]
    assert ticks(-0.5, 0.5, 4) == [-0.5, -0.25, 0, 0.25, 0.5]


def test_padded_leaves_air_but_respects_the_floor() -> None:
    low, high = padded([0.0, 10.0], floor=0.0)
    assert low == 0
    assert high > 10
    assert padded([5.0])[0] < 5 < padded([5.0])[1]
    assert padded([0.0])[0] < padded([0.0])[1]


def _palettes() -> list[dict[str, str]]:
    style = (Path(page.__file__).parent / "templates" / "report.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.S)
    return [dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6})", block)) for block in blocks]


def _luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(2 * c for c in digits) if len(digits) == 3 else digits
    levels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear_levels = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in levels]
    return sum(weight * v for weight, v in zip((0.2126, 0.7152, 0.0722), linear_levels, strict=True))


def contrast(first: str, second: str) -> float:
    bright, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_contrast_of_black_and_white() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)


def test_light_dark_and_print_colours_reach_wcag_contrast() -> None:
    palettes = _palettes()
    assert len(palettes) == 3
    for palette in palettes:
        for ground in ("ground", "surface", "band"):
            for ink in ("ink", "muted", "accent", "golden", "inferior", "neutral"):
                assert contrast(palette[ink], palette[ground]) >= 4.5, (ink, ground, palette)
        for mark in ("golden", "inferior", "neutral", "second"):  # WCAG 1.4.11: graphics 3:1
            assert contrast(palette[mark], palette["ground"]) >= 3, (mark, palette)
        assert contrast(palette["second"], palette["third"]) >= 1.8  # neighbours in a bar; they differ by place too
