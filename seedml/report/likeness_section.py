"""All seeds beside each other: in all attributes at once, and by how alike their pictures look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from markupsafe import Markup

from seedml.per_seed.examples import clustered_order, standard_scores
from seedml.report.charts import HeatColumn, cluster_map, cluster_name, score_map
from seedml.report.galleries import PictureGrid, grid
from seedml.report.inputs import Attribute, Run
from seedml.report.numbers import finite, shown, text
from seedml.report.pictures import CellKey, Picture
from seedml.report.vocabulary import wording

if TYPE_CHECKING:
    from seedml.per_seed.balance import Floats

MARK = 0.01
"""q-value up to which a cell of the heat map has a dot."""
MOST_SEEDS = 128
"""Seeds in the heat map; of more, those that deviate most."""
KINDS = {
    "style": ("By style", "which colours, contrasts and textures go together, wherever they are in the picture"),
    "layout": ("By colour layout", "the mean colour in each cell of an 8 × 8 grid"),
    "object_layout": ("By object layout", "how often the object covers each cell of an 8 × 8 grid"),
}
"""Network -> heading, and what is alike in one of its clusters."""


class HeatMap(NamedTuple):
    """The heat map, its heading and a line on how to read it."""

    title: str
    chart: Markup
    note: str


class LikenessSection(NamedTuple):
    """One map of seeds: heading, sentences, chart and a seed of each cluster."""

    anchor: str
    title: str
    findings: tuple[str, ...]
    chart_title: str
    chart: Markup
    grid: PictureGrid


class ScoreTable(NamedTuple):
    """What the heat map shows: ``S`` seeds and ``A`` attributes in the order shown, scores ``S × A``."""

    seeds: tuple[int, ...]
    attributes: tuple[Attribute, ...]
    scores: Floats


def score_table(run: Run) -> ScoreTable | None:
    """Standard scores of the seeds' means, rows and columns ordered by likeness; ``None`` without statistics.

    Columns that only refine another one are left to the table of all seeds.
    """
    attributes = [a for a in run.attributes if not wording(a.column, a.share).detail]
    if len(run.seeds) < 2 or not attributes:
        return None
    means = np.array([[_value(run, row.seed, a.column) for a in attributes] for row in run.seeds])
    scores = standard_scores(means)
    varied = np.flatnonzero(np.nan_to_num(np.abs(scores)).max(axis=0) > 0)
    if not len(varied):
        return None
    scores = scores[:, varied]
    most = np.sort(np.argsort(-np.nan_to_num(np.abs(scores)).max(axis=1), kind="stable")[:MOST_SEEDS])
    across = most[clustered_order(scores[most])]
    down = clustered_order(scores.T)
    ordered = tuple(attributes[varied[place]] for place in down)
    return ScoreTable(tuple(run.seeds[place].seed for place in across), ordered, scores[np.ix_(across, down)])


def heat_map_section(run: Run) -> HeatMap | None:
    """The heat map; ``None`` without statistics."""
    table = score_table(run)
    if table is None:
        return None
    columns = [
        _column(run, seed, table.attributes, scores) for seed, scores in zip(table.seeds, table.scores, strict=True)
    ]
    names = [wording(a.column, a.share).title for a in table.attributes]
    left_out = len(run.seeds) - len(table.seeds)
    shown_are = f"the {len(table.seeds)} seeds that deviate most" if left_out else f"all {len(table.seeds)} seeds"
    title = f"Attributes of {shown_are}, in standard deviations from the mean seed"
    note = (
        f"Seeds and attributes are ordered by likeness. A dot: the seed differs from the average seed (q ≤ {MARK:g}, "
        f"Benjamini-Hochberg over all seeds of the study). A column leads to the seed’s pictures."
    )
    return HeatMap(title, score_map(names, columns, title), note)


def likeness_sections(run: Run, pictures: Mapping[CellKey, Picture]) -> list[LikenessSection]:
    """A section for each map that ``summarize`` made."""
    return [_section(run, pictures, name) for name in mapped(run)]


def mapped(run: Run) -> list[str]:
    """Networks by whose vectors seeds were mapped."""
    return [] if run.places is None else [name for name in KINDS if f"{name}_cluster" in run.places.columns]


def likeness_seeds(run: Run) -> list[int]:
    """Every seed that stands for a cluster."""
    return [seed for name in mapped(run) for seed in _representatives(run, name).values()]


def _section(run: Run, pictures: Mapping[CellKey, Picture], name: str) -> LikenessSection:
    assert run.places is not None, "mapped() looked"
    title, alike = KINDS[name]
    known = run.places.dropna(subset=[f"{name}_cluster"])
    clusters = [int(cluster) for cluster in known[f"{name}_cluster"]]
    places = list(zip(known[f"{name}_map_x"], known[f"{name}_map_y"], strict=True))
    seeds = [int(seed) for seed in known["seed"]]
    points = [
        (f"Seed {seed}: cluster {cluster_name(c)}", f"#seed-{seed}") for seed, c in zip(seeds, clusters, strict=True)
    ]
    how = str(run.summary.get(f"{name}_map", "map"))
    chart_title = f"Seeds by {title.removeprefix('By ')} ({how}), coloured by cluster"
    notes = {
        seed: f"cluster {cluster_name(cluster)}, {clusters.count(cluster)} seeds"
        for cluster, seed in _representatives(run, name).items()
    }
    pictured = grid(run, pictures, list(notes), "A seed from the middle of each cluster", notes)
    return LikenessSection(
        f"likeness-{name}", title, _findings(run, name, alike, how), chart_title,
        cluster_map(places, clusters, points, chart_title), pictured,
    )  # fmt: skip


def _findings(run: Run, name: str, alike: str, how: str) -> tuple[str, ...]:
    number, stability = finite(run.summary.get(f"{name}_clusters")), run.figure(f"{name}_stability")
    silhouette = run.figure(f"{name}_silhouette")
    method = str(run.settings.get("statistics", {}).get("clustering", "kmeans"))
    found = [f"Alike here means: {alike}, in the mean over a seed’s pictures."]
    if number and silhouette:
        method = {"kmeans": "K-means", "agglomerative": "Agglomerative clustering (Ward)"}.get(method, method)
        found.append(f"{method} finds {text(number, 0)} clusters (silhouette {text(silhouette.value, 2)}).")
    if stability:
        ends = (text(end, 2) for end in (stability.value, stability.low, stability.high))
        found.append(
            "Stability: clusters of two halves of the prompts agree with an adjusted Rand index of "
            "{} ({} to {} over random halvings); 1 is the same clusters, 0 what chance gives.".format(*ends)
        )
    if how == "t-SNE":
        found.append("Neighbours on the map are alike; far distances and directions mean nothing.")
    return tuple(found)


def _representatives(run: Run, name: str) -> dict[int, int]:
    """Cluster -> the seed nearest to the middle of its members on the map."""
    assert run.places is not None, "mapped() looked"
    known, found = run.places.dropna(subset=[f"{name}_cluster"]), {}
    labels = known[f"{name}_cluster"].to_numpy(dtype=int)
    for cluster in range(labels.max(initial=-1) + 1):
        members = known[labels == cluster]
        places = members[[f"{name}_map_x", f"{name}_map_y"]].to_numpy(dtype=float)
        nearest = np.linalg.norm(places - np.median(places, axis=0), axis=1).argmin()
        found[cluster] = int(members["seed"].iloc[int(nearest)])
    return found


def _column(run: Run, seed: int, attributes: tuple[Attribute, ...], scores: Floats) -> HeatColumn:
    row = run.row(seed)
    assert row is not None, "seeds come from the rows"
    marked = [row.q_values.get(attribute.column, 1.0) <= MARK for attribute in attributes]
    told = [
        f"{wording(a.column, a.share).title} {shown(row.values.get(a.column), a.share)}"
        for a, mark in zip(attributes, marked, strict=True) if mark
    ]  # fmt: skip
    hover = f"Seed {seed}: " + ("; ".join(told) if told else f"nothing with q ≤ {MARK:g}")
    return HeatColumn(str(seed), [float(score) for score in scores], marked, hover, f"#seed-{seed}")


def _value(run: Run, seed: int, column: str) -> float:
    row = run.row(seed)
    entry = None if row is None else row.values.get(column)
    return np.nan if entry is None else entry.value
