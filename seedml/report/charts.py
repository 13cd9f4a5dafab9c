"""Charts as inline SVG: seeds with intervals, curves, stacked bars, a heat map and a scatter of seeds.

Written by hand rather than with plotly: its script alone would add over 4 MB to a page whose pictures take about 2, and
would keep the charts from being printed, read without JavaScript, or coloured by the page's light and dark themes.
Elements are built with ElementTree, so whatever text gets into them is escaped. Colours are classes of the style sheet;
what differs by colour differs by shape or position too. A point says its numbers when the pointer rests on it; the same
numbers are in the table of all seeds for whoever uses no pointer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from markupsafe import Markup

from seedml.report.numbers import text

WIDTH = 680
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 26, 48
_HALF = 500
_DENSE = 200  # points from which on marks have no outline: it would cover their neighbours
_LETTERS = 200  # seeds up to which a mark on a map has room for its cluster's letter
_CORNERS = {"golden": ((0.0, -1.35), (1.2, 0.85), (-1.2, 0.85)), "test": ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0))}
_Element = ElementTree.Element


class Axis(NamedTuple):
    """An axis: its label with unit, its ends, and whether its ticks read as per cent."""

    label: str
    low: float
    high: float


class Point(NamedTuple):
    """One seed in a chart: value with interval, what its verdict is, and what to say on hover."""

    value: float
    low: float | None
    high: float | None
    kind: str
    hover: str
    link: str = ""


class Line(NamedTuple):
    """One curve: name, style class, its (x, y) points, and the ends of the interval of each point or none."""

    name: str
    kind: str
    points: Sequence[tuple[float, float]]
    bounds: Sequence[tuple[float, float]] = ()


class Band(NamedTuple):
    """A level drawn across the chart, or the stretch between two levels, with its name."""

    name: str
    low: float
    high: float


class Bar(NamedTuple):
    """One stacked bar: its name and the (part, share, low, high) it consists of; shares add up to at most 1."""

    name: str
    parts: Sequence[tuple[str, float, float | None, float | None]]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers within ``low`` .. ``high``, about ``count`` of them."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def padded(values: Iterable[float], floor: float | None = None, margin: float = 0.06) -> tuple[float, float]:
    """Ends of an axis that holds all ``values`` with some air, not below ``floor``."""
    known = list(values)
    low, high = min(known), max(known)
    air = margin * (high - low) or abs(high) * margin or 1.0
    return (low - air if floor is None else max(floor, low - air)), high + air


def interval_chart(
    points: Sequence[Point], x_label: str, y: Axis, description: str, bands: Sequence[Band] = (), height: int = 320
) -> Markup:
    """Points in the order given, each with its interval; verdicts by shape and colour; ``bands`` behind them."""
    plot = _plot(WIDTH, height, Axis(x_label, 0.0, len(points) + 1.0), y, description)
    for band in bands:
        _draw_band(plot, band, _LEFT + 14 + 6.5 * len(band.name))  # seeds are sorted: the upper left is free
    radius = max(1.4, min(5.0, 0.36 * (plot.x(2) - plot.x(1))))
    placed = list(enumerate(points, start=1))
    many = len(points) > _DENSE
    if many:
        plot.svg.set("class", "chart wide dense")
        placed.sort(key=lambda pair: pair[1].kind != "inconclusive")  # what is drawn last lies on top
        _draw_whiskers(plot, placed)
        placed = [(place, _plain(point)) for place, point in placed]
    for place, point in placed:
        size = radius if point.kind == "inconclusive" else max(radius, 3.0)
        _draw_point(plot, point, plot.x(place), size, terse=many)
    _ticks_x(plot, [tick for tick in ticks(1, len(points), 8) if tick == int(tick) and 1 <= tick <= len(points)])
    _verdict_legend(plot.svg, points)
    return _markup(plot.svg)


def line_chart(
    lines: Sequence[Line], x: Axis, y: Axis, description: str, bands: Sequence[Band] = (), ends: Sequence[Point] = ()
) -> Markup:
    """Curves named in a legend; ``ends`` are single results drawn at the right edge. Made to stand two in a row."""
    plot = _plot(_HALF, 290, x, y, description, room=24 * len(ends))
    for band in bands:
        _draw_band(plot, band, (_LEFT + plot.right) / 2)
    for line in lines:
        path = " ".join(f"{_short(plot.x(px))},{_short(plot.y(py))}" for px, py in line.points)
        _add(plot.svg, "polyline", {"class": f"curve {line.kind}", "points": path})
        for (px, _), (low, high) in zip(line.points, line.bounds, strict=False):
            whisker = {"class": f"whisker {line.kind}"}
            _add(plot.svg, "line", whisker, x1=plot.x(px), x2=plot.x(px), y1=plot.y(low), y2=plot.y(high))
        for px, py in line.points:
            mark = _mark(plot.svg, line.kind, plot.x(px), plot.y(py), 3.2)
            _add(mark, "title").text = f"{line.name}, {x.label} {text(px, 0)}: {text(py)}"
    for place, point in enumerate(ends, start=1):
        _draw_point(plot, point, plot.x(x.high) + 24 * place, 5)
    _ticks_x(plot, [tick for tick in ticks(x.low, x.high, 8) if tick == int(tick)])
    names = {line.kind: line.name for line in lines} | {point.kind: point.hover.split(":")[0] for point in ends}
    _legend(plot.svg, list(names), names)
    return _markup(plot.svg)


def bar_chart(bars: Sequence[Bar], x_label: str, description: str) -> Markup:
    """Stacked horizontal bars of shares 0..1, the first part with its interval."""
    left, row = 150, 34
    height = _TOP + row * len(bars) + _BOTTOM
    svg = _svg(height, description)
    along_x = _scale(0.0, 1.0, left, WIDTH - _RIGHT - 4)
    for tick in ticks(0, 1, 5):
        _grid_line(svg, x1=along_x(tick), x2=along_x(tick), y1=_TOP, y2=height - _BOTTOM)
        _text(svg, text(100 * tick, 0), along_x(tick), height - _BOTTOM + 17, "tick", anchor="middle")
    for index, bar in enumerate(bars):
        top = _TOP + row * index
        _text(svg, bar.name, left - 8, top + row / 2 + 4, "tick", anchor="end")
        _stack(svg, bar, along_x, top + 6, row - 12)
    _text(svg, x_label, (left + WIDTH - _RIGHT) / 2, height - 8, "label", anchor="middle")
    names = list(dict.fromkeys(part for bar in bars for part, *_ in bar.parts))
    _legend(svg, [f"part-{index}" for index in range(len(names))], {f"part-{i}": name for i, name in enumerate(names)})
    return _markup(svg)


def _stack(svg: _Element, bar: Bar, along_x: Callable[[float], float], top: float, thickness: float) -> None:
    start = 0.0
    for index, (part, share, low, high) in enumerate(bar.parts):
        box = _add(svg, "rect", {"class": f"part part-{index}"}, x=along_x(start), y=top, height=thickness,
                   width=max(0.0, along_x(min(1.0, start + share)) - along_x(start)))  # fmt: skip
        bounds = "" if low is None or high is None else f" ({text(100 * low, 1)} to {text(100 * high, 1)})"
        _add(box, "title").text = f"{bar.name}, {part}: {text(100 * share, 1)} %{bounds}"
        start += max(0.0, share)
    _, _, low, high = bar.parts[0]
    if low is not None and high is not None:
        middle, x1, x2 = top + thickness / 2, along_x(low), along_x(high)
        path = f"M{_short(x1)} {_short(middle)}H{_short(x2)}" + "".join(
            f"M{_short(x)} {_short(middle - 5)}v10" for x in (x1, x2)
        )
        for kind in ("bound-halo", "bound"):
            _add(svg, "path", {"class": kind, "d": path})


def heat_map(counts: Sequence[Sequence[int]], description: str, side: int = 128) -> Markup:
    """Counts as a square map, row 0 on top, darker for more; the darkest cell is the map's own maximum."""
    rows = len(counts)
    cell = side / rows
    svg = _svg(side, description, side, "heat")
    _add(svg, "rect", {"class": "heat-ground"}, x=0, y=0, width=side, height=side)
    most = max((count for row in counts for count in row), default=0)
    for y, row in enumerate(counts):
        for x, count in enumerate(row):
            if count:
                opacity = {"fill-opacity": _short(0.15 + 0.85 * count / most)}
                box = _add(svg, "rect", {"class": "heat-cell", **opacity}, x=x * cell, y=y * cell, width=cell,
                           height=cell)  # fmt: skip
                _add(box, "title").text = f"{count} pictures"
    return _markup(svg)


def scatter_square(points: Sequence[tuple[float, float, Point]], description: str, side: int = 340) -> Markup:
    """Seeds at their mean (x, y) in the picture, both 0..1, y downwards as in the picture."""
    left, top = 58, 30
    svg = _svg(side + top + 46, description, side + left + 20, "square")
    along, down = _scale(0.0, 1.0, left, left + side), _scale(0.0, 1.0, top, top + side)
    _add(svg, "rect", {"class": "plot"}, x=left, y=top, width=side, height=side)
    for tick in (0, 0.25, 0.5, 0.75, 1):
        _grid_line(svg, x1=along(tick), x2=along(tick), y1=top, y2=top + side)
        _grid_line(svg, x1=left, x2=left + side, y1=down(tick), y2=down(tick))
        _text(svg, text(tick, 2), along(tick), top + side + 17, "tick", anchor="middle")
        _text(svg, text(tick, 2), left - 6, down(tick) + 4, "tick", anchor="end")
    for x, y, point in points:
        mark = _mark(_link(svg, point.link), point.kind, along(x), down(y), 4.5)
        _add(mark, "title").text = point.hover
    _text(svg, "horizontal centre (0 left, 1 right)", left + side / 2, top + side + 38, "label", anchor="middle")
    _upright(svg, "vertical centre (0 top, 1 bottom)", top + side / 2)
    _verdict_legend(svg, [point for _, _, point in points])
    return _markup(svg)


class HeatColumn(NamedTuple):
    """One seed in a heat map: its number, and per row a score and whether it is marked; NaN draws nothing."""

    name: str
    scores: Sequence[float]
    marked: Sequence[bool]
    hover: str
    link: str = ""


def score_map(rows: Sequence[str], columns: Sequence[HeatColumn], description: str) -> Markup:
    """Scores of seeds (columns) in attributes (rows) in steps of one, from three below to three above the mean.

    One path a colour and one link a seed, so that a thousand cells stay small. A dot marks a cell.
    """
    left, top, tall = 172, _TOP + 6, 17
    wide = (WIDTH - left - _RIGHT) / max(1, len(columns))
    svg = _svg(top + tall * len(rows) + (38 if wide >= 7 else 12), description)
    paths: dict[int, list[str]] = {}
    for x, column in enumerate(columns):
        for y, score in enumerate(column.scores):
            if math.isfinite(score):
                level = max(-3, min(3, math.trunc(score)))
                corner = f"M{_short(left + x * wide)} {_short(top + y * tall)}"
                paths.setdefault(level, []).append(f"{corner}h{_short(wide)}v{tall}h-{_short(wide)}z")
    for level, cells in sorted(paths.items()):
        _add(svg, "path", {"class": f"score score-{level}", "d": "".join(cells)})
    for y, name in enumerate(rows):
        _text(svg, name, left - 8, top + (y + 0.7) * tall, "tick", anchor="end")
    for x, column in enumerate(columns):
        _heat_column(svg, column, left + x * wide, top, wide, tall)
    _score_legend(svg, left)
    return _markup(svg)


def _heat_column(svg: _Element, column: HeatColumn, x: float, top: float, wide: float, tall: float) -> None:
    """Marks of a seed, its number below, and its link over all."""
    for y, marked in enumerate(column.marked):
        if marked:
            _add(svg, "circle", {"class": "dot"}, cx=x + wide / 2, cy=top + (y + 0.5) * tall, r=min(1.9, 0.32 * wide))
    bottom = top + tall * len(column.scores)
    if wide >= 7:
        label = _text(svg, column.name[-6:], 0, 0, "tiny", anchor="end")
        label.set("transform", f"translate({_short(x + wide / 2 + 2.6)} {_short(bottom + 4)}) rotate(-90)")
    cover = _add(_link(svg, column.link), "rect", {"class": "cover"}, x=x, y=top, width=wide, height=bottom - top)
    _add(cover, "title").text = column.hover


def _score_legend(svg: _Element, left: float) -> None:
    x = left
    for level, name in (
        (-3, "−3 or less"),
        (-2, "−2"),
        (-1, "−1"),
        (0, "within 1"),
        (1, "+1"),
        (2, "+2"),
        (3, "+3 or more"),
    ):
        _add(svg, "rect", {"class": f"score score-{level}"}, x=x, y=7, width=11, height=11)
        _text(svg, name, x + 15, 17, "note")
        x += 30 + 7 * len(name)


def cluster_map(
    places: Sequence[tuple[float, float]], clusters: Sequence[int], points: Sequence[tuple[str, str]], description: str
) -> Markup:
    """Seeds at their places on a map whose axes mean nothing; the cluster by colour and by letter.

    Args:
        places: (x, y) of each seed, any unit.
        clusters: its cluster, from 0.
        points: what it says on hover, and its link.
        description: of the chart.

    """
    side, edge = 420, 26
    svg = _svg(side, description, side, "square")
    _add(svg, "rect", {"class": "plot"}, x=1, y=1, width=side - 2, height=side - 2)
    (x_low, x_high), (y_low, y_high) = ((min(ends), max(ends)) for ends in zip(*places, strict=True))
    along, down = _scale(x_low, x_high, edge, side - edge), _scale(y_low, y_high, side - edge, edge)
    radius = 9.0 if len(places) <= _LETTERS else 4.0
    for (x, y), cluster, (hover, link) in zip(places, clusters, points, strict=True):
        holder = _link(svg, link)
        kind = f"cluster cluster-{cluster}"
        mark = _add(holder, "circle", {"class": kind}, cx=along(x), cy=down(y), r=radius)
        _add(mark, "title").text = hover
        if len(places) <= _LETTERS:
            _text(holder, cluster_name(cluster), along(x), down(y) + 4, "letter", anchor="middle")
    return _markup(svg)


def cluster_name(cluster: int) -> str:
    """``A`` for the largest, and so on."""
    return chr(ord("A") + cluster)


def scatter_chart(points: Sequence[tuple[float, Point]], x: Axis, y: Axis, description: str, diagonal: bool) -> Markup:
    """Seeds at (x, a point's value), with the line of equal values where ``diagonal``; made to stand two in a row."""
    plot = _plot(_HALF, 420, x, y, description)
    steps = ticks(x.low, x.high)
    places = max((len(repr(step).partition(".")[2]) for step in steps if step != int(step)), default=0)
    for tick in steps:
        _grid_line(plot.svg, x1=plot.x(tick), x2=plot.x(tick), y1=_TOP, y2=plot.bottom)
        _text(plot.svg, text(tick, min(places, 4)), plot.x(tick), plot.bottom + 17, "tick", anchor="middle")
    low, high = max(x.low, y.low), min(x.high, y.high)
    if diagonal and low < high:
        ends = {"x1": plot.x(low), "y1": plot.y(low), "x2": plot.x(high), "y2": plot.y(high)}
        _add(plot.svg, "line", {"class": "level"}, **ends)
    radius = 4.5 if len(points) <= _DENSE else 2.5
    for across, point in sorted(points, key=lambda pair: pair[1].kind != "inconclusive"):
        mark = _mark(_link(plot.svg, point.link), point.kind, plot.x(across), plot.y(point.value), radius)
        _add(mark, "title").text = point.hover
    _verdict_legend(plot.svg, [point for _, point in points])
    return _markup(plot.svg)


def estimate_chart(rows: Sequence[tuple[str, Point]], x: Axis, description: str, level: float = 0.0) -> Markup:
    """Estimates below each other, each with its interval, around a ``level`` such as what chance gives."""
    left, row = 172, 24
    height = _TOP + row * len(rows) + _BOTTOM
    svg = _svg(height, description)
    along = _scale(x.low, x.high, left, WIDTH - _RIGHT - 4)
    steps = ticks(x.low, x.high, 6)
    places = max((len(repr(step).partition(".")[2]) for step in steps if step != int(step)), default=0)
    for tick in steps:
        _grid_line(svg, x1=along(tick), x2=along(tick), y1=_TOP, y2=height - _BOTTOM)
        _text(svg, text(tick, min(places, 4)), along(tick), height - _BOTTOM + 17, "tick", anchor="middle")
    if x.low <= level <= x.high:
        _add(svg, "line", {"class": "level"}, x1=along(level), x2=along(level), y1=_TOP, y2=height - _BOTTOM)
    for place, (name, point) in enumerate(rows):
        middle = _TOP + row * (place + 0.5)
        _text(svg, name, left - 8, middle + 4, "tick", anchor="end")
        if point.low is not None and point.high is not None:
            whisker = {"class": f"whisker {point.kind}"}
            ends = (min(max(end, x.low), x.high) for end in (point.low, point.high))
            x1, x2 = (along(end) for end in ends)
            _add(svg, "line", whisker, x1=x1, x2=x2, y1=middle, y2=middle)
        mark = _mark(svg, point.kind, along(min(max(point.value, x.low), x.high)), middle, 4.5)
        _add(mark, "title").text = point.hover
    _text(svg, x.label, (left + WIDTH - _RIGHT) / 2, height - 8, "label", anchor="middle")
    return _markup(svg)


class _Plot(NamedTuple):
    """A drawing with axes: the SVG, its size, and the scales from data to px."""

    svg: _Element
    right: float
    bottom: float
    x: Callable[[float], float]
    y: Callable[[float], float]


def _plot(width: float, height: float, x: Axis, y: Axis, description: str, room: float = 0.0) -> _Plot:
    """Axes, horizontal grid and labels; ``room`` px are left free at the right edge."""
    svg = _svg(height, description, width, "wide" if width == WIDTH else "half")
    right, bottom = width - _RIGHT, height - _BOTTOM
    along_y = _scale(y.low, y.high, bottom, _TOP)
    steps = ticks(y.low, y.high)
    places = max((len(repr(step).partition(".")[2]) for step in steps if step != int(step)), default=0)
    for tick in steps:
        _grid_line(svg, x1=_LEFT, x2=right, y1=along_y(tick), y2=along_y(tick))
        _text(svg, text(tick, min(places, 4)), _LEFT - 6, along_y(tick) + 4, "tick", anchor="end")
    _upright(svg, y.label, (bottom + _TOP) / 2)
    _add(svg, "line", {"class": "axis"}, x1=_LEFT, x2=right, y1=bottom, y2=bottom)
    _text(svg, x.label, (_LEFT + right) / 2, height - 8, "label", anchor="middle")
    return _Plot(svg, right, bottom, _scale(x.low, x.high, _LEFT + 8, right - 8 - room), along_y)


def _ticks_x(plot: _Plot, places: Sequence[float]) -> None:
    for place in places:
        _text(plot.svg, text(place, 0), plot.x(place), plot.bottom + 17, "tick", anchor="middle")


def _draw_point(plot: _Plot, point: Point, x: float, radius: float, terse: bool = False) -> None:
    """A mark with its interval, its link and what it says on hover; ``terse``: the link's name says it."""
    holder = _link(plot.svg, point.link)
    if point.low is not None and point.high is not None:
        whisker = {"class": f"whisker {point.kind}"}
        _add(holder, "line", whisker, x1=x, x2=x, y1=plot.y(point.low), y2=plot.y(point.high))
    mark = _mark(holder, point.kind, x, plot.y(point.value), radius)
    if terse and point.link:
        holder.set("aria-label", point.hover)
    else:
        _add(mark, "title").text = point.hover


def _plain(point: Point) -> Point:
    """A point among many: without an interval of its own, and without a word on what most of them are."""
    return point._replace(low=None, high=None, hover=point.hover.removesuffix(", inconclusive"))


def _draw_whiskers(plot: _Plot, placed: Sequence[tuple[int, Point]]) -> None:
    """The intervals of many points, one path a verdict: a line for each would be a quarter of the page."""
    paths: dict[str, list[str]] = {}
    for place, point in placed:
        if point.low is not None and point.high is not None:
            low, high = plot.y(point.low), plot.y(point.high)
            paths.setdefault(point.kind, []).append(f"M{_short(plot.x(place))} {_short(low)}V{_short(high)}")
    for kind, lines in paths.items():
        _add(plot.svg, "path", {"class": f"whisker {kind}", "d": "".join(lines)})


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _svg(height: float, description: str, width: float = WIDTH, kind: str = "wide") -> _Element:
    view = f"0 0 {_short(width)} {_short(height)}"
    return ElementTree.Element(
        "svg", {"class": f"chart {kind}", "viewBox": view, "role": "img", "aria-label": description}
    )


def _draw_band(plot: _Plot, band: Band, name_ends: float) -> None:
    """A level or a stretch across the plot; its name ends at ``name_ends`` px."""
    top, bottom = plot.y(band.high), plot.y(band.low)
    if band.high > band.low:
        _add(plot.svg, "rect", {"class": "band"}, x=_LEFT, width=plot.right - _LEFT, y=top, height=bottom - top)
    else:
        _add(plot.svg, "line", {"class": "level"}, x1=_LEFT, x2=plot.right, y1=top, y2=top)
    _text(plot.svg, band.name, name_ends, top - 5, "note", anchor="end")


def _upright(svg: _Element, label: str, middle: float) -> None:
    """The vertical axis' label, read from below."""
    _text(svg, label, 0, 0, "label", anchor="middle").set("transform", f"translate(13 {_short(middle)}) rotate(-90)")


def _verdict_legend(svg: _Element, points: Sequence[Point]) -> None:
    _legend(svg, [kind for kind in ("golden", "inconclusive", "inferior") if any(p.kind == kind for p in points)])


def _legend(svg: _Element, kinds: Sequence[str], names: Mapping[str, str] | None = None) -> None:
    x = float(_LEFT)
    for kind in kinds:
        name = (names or {}).get(kind, kind)
        if kind.startswith("part-"):
            _add(svg, "rect", {"class": f"part {kind}"}, x=x, y=5, width=11, height=11)
            x += 2
        else:
            _mark(svg, kind, x + 5, 11, 4.5)
        _text(svg, name, x + 14, 15, "note")
        x += 30 + 7 * len(name)


def _mark(parent: _Element, kind: str, x: float, y: float, radius: float) -> _Element:
    """Triangle for golden, square for inferior and the control, diamond for the test, circle for all else."""
    attributes = {"class": f"mark {kind}"}
    if kind in _CORNERS:
        points = " ".join(f"{_short(x + radius * dx)},{_short(y + radius * dy)}" for dx, dy in _CORNERS[kind])
        return _add(parent, "polygon", {**attributes, "points": points})
    if kind in ("inferior", "control"):
        return _add(parent, "rect", attributes, x=x - radius, y=y - radius, width=2 * radius, height=2 * radius)
    return _add(parent, "circle", attributes, cx=x, cy=y, r=radius)


def _link(parent: _Element, target: str) -> _Element:
    """A link for the pointer only: the keyboard has the table's links, and need not step through every point."""
    return _add(parent, "a", {"href": target, "tabindex": "-1"}) if target else parent


def _grid_line(svg: _Element, **places: float) -> None:
    _add(svg, "line", {"class": "grid"}, **places)


def _text(parent: _Element, content: str, x: float, y: float, kind: str, anchor: str = "start") -> _Element:
    element = _add(parent, "text", {"class": kind, "text-anchor": anchor}, x=x, y=y)
    element.text = content
    return element


def _add(parent: _Element, tag: str, attributes: Mapping[str, str] | None = None, **places: float) -> _Element:
    numbers = {name: _short(value) for name, value in places.items()}
    return ElementTree.SubElement(parent, tag, {**(attributes or {}), **numbers})


def _short(value: float) -> str:
    """A coordinate with two places and no trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def _markup(svg: _Element) -> Markup:
    return Markup(ElementTree.tostring(svg, encoding="unicode"))  # noqa: S704 (ElementTree has escaped all text)
