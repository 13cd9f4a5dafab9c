"""``report.html``: one page that holds everything it shows. No network, no foreign script, no font, no time stamp.

Sections are made by the other modules of this package; here they are joined and rendered. The page is made anew on
every call: it takes seconds, and the same inputs give the same bytes. What a step that did not run would have given is
a line that names the step. A content security policy inside the page forbids every request and every script but ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from seedml.config import StudyConfig
from seedml.files import atomic_write_text
from seedml.report import charts, galleries
from seedml.report.applications_section import application_sections
from seedml.report.attribute_sections import (
    attribute_sections,
    example_cells,
    featured_seeds,
    seed_points,
    value_range,
)
from seedml.report.classifier_section import classifier_section
from seedml.report.headline import headlines, permutation_statement
from seedml.report.inputs import Run, collect
from seedml.report.likeness_section import heat_map_section, likeness_sections, likeness_seeds
from seedml.report.methods import methods
from seedml.report.methods_text import failed_images
from seedml.report.numbers import text
from seedml.report.picker import picker
from seedml.report.pictures import CellKey, Picture, read_pictures
from seedml.report.rendering import rendered
from seedml.report.seed_table import seed_table
from seedml.report.selection_section import selection_findings
from seedml.report.tracked import tell_pictures
from seedml.report.usage import caveats, snippet
from seedml.report.variance_section import variance_section
from seedml.tracking import Tracker

FILE = "report.html"
_NO_FIGURES = ("versions", "device", "seconds")
"""What a run's summary holds beside its headline numbers."""


def write_report(config: StudyConfig, tracker: Tracker) -> Path:
    """Write ``runs/<name>/report.html`` from whatever steps have run, and hand it to the tracker if it is a new one.

    Raises:
        UserError: a file of the run folder is there but cannot be read.

    """
    run = collect(config)
    pictures = shown_pictures(run)
    path, page = config.run_dir / FILE, render(run, pictures)
    if not path.exists() or path.read_bytes() != page.encode():
        atomic_write_text(path, page)
        tracker.file(path, "report")
        tracker.summary({name: value for name, value in run.summary.items() if name not in _NO_FIGURES})
        tell_pictures(run, pictures, tracker)
    return path


def shown_pictures(run: Run) -> dict[CellKey, Picture]:
    """Every picture on the page."""
    best, worst = galleries.best_and_worst(run)
    featured = [*best, *worst, *run.chosen("diverse"), *featured_seeds(run), *likeness_seeds(run)]
    cells = galleries.cells_needed(run, featured) | example_cells(run)
    return read_pictures(run.shard_dir, cells, galleries.side_for(len(galleries.all_seeds(run))))


def render(run: Run, pictures: Mapping[CellKey, Picture] | None = None) -> str:
    """The whole page for ``run``; pictures are read where they are not given."""
    return rendered("report.html.j2", _context(run, shown_pictures(run) if pictures is None else pictures))


def _context(run: Run, pictures: Mapping[CellKey, Picture]) -> dict[str, Any]:
    best, worst = galleries.best_and_worst(run)
    cards = galleries.seed_cards(run, pictures)
    return {
        "run": run,
        "facts": _facts(run),
        "headlines": headlines(run),
        "comparison": _comparison(run, pictures, best, worst),
        "selection": selection_findings(run),
        "fid_chart": _fid_chart(run),
        "permutation": permutation_statement(run),
        "attributes": attribute_sections(run, pictures),
        "heat_map": heat_map_section(run),
        "likeness": likeness_sections(run, pictures),
        "variance": variance_section(run),
        "classifier": classifier_section(run, pictures),
        "diverse": _diverse(run, pictures),
        "applications": application_sections(run),
        "usage": _usage(run, pictures),
        "table": seed_table(run),
        "cards": cards,
        "picker": picker(run, cards),
        "methods": methods(run),
        "has_pictures": bool(pictures),
    }


def _facts(run: Run) -> list[tuple[str, str]]:
    """Model, size of the grid and sampler, as (name, value) pairs for the page's head."""
    model, sampler = run.settings.get("model", {}), run.settings.get("sampler", {})
    facts = [("Model", str(model.get("name") or model.get("path") or "unknown"))]
    for key in ("seeds", "prompts", "images"):
        figure = run.figure(key)
        if figure:
            facts.append((key.capitalize(), text(figure.value, 0)))
    if failed_images(run):
        facts.append(("Failed images", text(failed_images(run), 0)))
    given = {**model, **{key: value for key, value in sampler.items() if value is not None}, **run.model}
    if given.get("width") and given.get("height"):
        facts.append(("Picture size", f"{given['width']} × {given['height']} px"))
    for name, key in (("Steps", "steps"), ("Guidance", "guidance_scale"), ("Scheduler", "scheduler")):
        if given.get(key) is not None:
            facts.append((name, str(given[key])))
    return facts


def _comparison(
    run: Run, pictures: Mapping[CellKey, Picture], best: Sequence[int], worst: Sequence[int]
) -> list[galleries.PictureGrid]:
    """Grids of the best and the worst seeds; empty without pictures."""
    if not pictures:
        return []
    names = (
        ("Golden seeds" if run.chosen("golden") else "Seeds with the lowest FID", best),
        ("Inferior seeds" if run.chosen("inferior") else "Seeds with the highest FID", worst),
    )
    return [galleries.grid(run, pictures, seeds, name) for name, seeds in names if seeds]


def _fid_chart(run: Run) -> Markup:
    """Chart of every seed's FID, best first; empty before ``summarize``."""
    ranked = sorted((row for row in run.seeds if row.fid), key=lambda row: (row.fid.value if row.fid else 0, row.seed))
    if not ranked:
        return Markup("")
    points = seed_points(ranked, "fid", share=False)
    low, high = value_range(points)
    mean = sum(point.value for point in points) / len(points)
    description = (
        f"FID per seed, sorted, with intervals: from {text(points[0].value)} for seed {ranked[0].seed} "
        f"to {text(points[-1].value)} for seed {ranked[-1].seed}."
    )
    axis = charts.Axis("FID (lower is better)", low, high)
    return charts.interval_chart(
        points, "rank of the seed", axis, description, [charts.Band("mean of all seeds", mean, mean)]
    )


def _diverse(run: Run, pictures: Mapping[CellKey, Picture]) -> galleries.PictureGrid | None:
    seeds = run.chosen("diverse")
    if not seeds or not pictures:
        return None
    return galleries.grid(run, pictures, seeds, "Diverse seeds")


def _usage(run: Run, pictures: Mapping[CellKey, Picture]) -> dict[str, Any] | None:
    """The diffusers snippet for the golden seeds; ``None`` before selection found any."""
    golden = run.chosen("golden")
    if not golden:
        return None
    prompts = galleries.prompt_texts(pictures)
    prompt = prompts[min(prompts)] if prompts else "a photo of a mug"
    return {
        "code": snippet(run.settings, golden, prompt, run.model),
        "seeds": ", ".join(str(seed) for seed in golden),
        "caveats": caveats(run.settings),
    }
