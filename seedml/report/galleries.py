"""Which pictures the page shows, and in what rows: always the same prompts for every seed, none picked by eye.

The prompts shown are the first held-out ones (the bundled prompt set is in a shuffled order, so its beginning is a fair
sample); with too few of those, validation and training prompts follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from seedml.report.inputs import Run, SeedRow
from seedml.report.numbers import interval, shown, text
from seedml.report.pictures import SIDE, CellKey, Picture, fitting
from seedml.report.vocabulary import wording

COLUMNS = 6
"""Prompts beside each other in a grid of pictures."""
BUDGET = 4096
"""Pictures read for all seeds together, at most; how many are shown depends on their size too (``CARDS_TAKE``)."""
CARDS_TAKE = 5_000_000
"""Characters of data URIs for every seed's own pictures: a third of a page of 15 MB."""
MANY = 334
"""Seeds from which on all pictures of the page are ``SMALL``."""
SMALL = 96
"""Longest side of a picture on a page of many seeds, px."""
STRIP = 5
"""Prompts beside each other where a seed's own examples follow."""
EXAMPLES = ("most typical of the seed", "most extreme of the seed")
"""Headings of a seed's own examples."""
ROWS = 5
"""Seeds at most in one comparison."""
_SPLITS = ("test", "val", "train")


class Frame(NamedTuple):
    """One place in a grid: the picture with its alternative text, or none and the reason."""

    picture: Picture | None
    alt: str


class GridRow(NamedTuple):
    """One seed's pictures: its number, verdict, a line on it, one frame a prompt, and a chart before them or none."""

    seed: int
    verdict: str
    note: str
    frames: tuple[Frame, ...]
    tags: tuple[str, ...] = ()
    chart: Markup = Markup("")


class PictureGrid(NamedTuple):
    """Rows of seeds, columns of prompts; ``chart_title`` heads the column of charts where there is one."""

    caption: str
    prompts: tuple[str, ...]
    rows: tuple[GridRow, ...]
    chart_title: str = ""


def prompts_shown(run: Run) -> tuple[int, ...]:
    """Up to ``COLUMNS`` prompt ids whose pictures are shown, held-out ones first."""
    if run.images is None:
        return ()
    chosen: list[int] = []
    for split in _SPLITS:
        known = run.images.loc[run.images["split"] == split, "prompt_id"].unique()
        chosen += sorted(int(prompt) for prompt in known)
    return tuple(chosen[:COLUMNS])


def prompts_per_seed(seeds: int) -> int:
    """How many pictures each seed's own card shows at most, within the page's budget."""
    return max(1, min(COLUMNS, BUDGET // max(1, seeds)))


def side_for(seeds: int) -> int:
    """Longest side of an embedded picture on a page of so many seeds, px."""
    return SIDE if seeds < MANY else SMALL


def cells_needed(run: Run, featured: Sequence[int]) -> set[CellKey]:
    """Every cell the page shows: all seeds on a few prompts, the featured seeds on all shown prompts."""
    prompts = prompts_shown(run)
    seeds = all_seeds(run)
    few = prompts[: prompts_per_seed(len(seeds))]
    return {(seed, prompt) for seed in seeds for prompt in few} | {
        (seed, prompt) for seed in featured for prompt in prompts
    }


def all_seeds(run: Run) -> list[int]:
    """The seeds of the study, from the statistics or, before there are any, from the measurements."""
    return [row.seed for row in run.seeds] or _seeds_of_images(run)


def _seeds_of_images(run: Run) -> list[int]:
    return [] if run.images is None else sorted(int(seed) for seed in run.images["seed"].unique())


def best_and_worst(run: Run) -> tuple[list[int], list[int]]:
    """The seeds to compare: golden and inferior where selection has found some, else the ends of the FID ranking."""
    ranked = [row.seed for row in sorted((r for r in run.seeds if r.rank is not None), key=lambda row: row.rank or 0)]
    few = min(ROWS, len(ranked) // 2)
    best = list(run.chosen("golden"))[:ROWS] or ranked[:few]
    worst = list(run.chosen("inferior"))[:ROWS] or list(reversed(ranked[len(ranked) - few :]))
    return best, worst


def extremes(run: Run, column: str, highest: bool, count: int) -> list[SeedRow]:
    """The ``count`` seeds with the highest (or lowest) value of ``column``; equal values in order of seed."""
    known = [row for row in run.seeds if column in row.values]
    sign = -1 if highest else 1
    return sorted(known, key=lambda row: (sign * row.values[column].value, row.seed))[:count]


def grid(
    run: Run,
    pictures: Mapping[CellKey, Picture],
    seeds: Sequence[int],
    caption: str,
    notes: Mapping[int, str] | None = None,
    columns: int = COLUMNS,
) -> PictureGrid:
    """Rows for ``seeds`` in the order given, on the shown prompts; ``notes`` replace the line on a seed's FID."""
    prompts = prompts_shown(run)[:columns]
    texts = prompt_texts(pictures)
    rows = []
    for seed in seeds:
        row = run.row(seed)
        frames = tuple(_frame(pictures.get((seed, p)), seed, texts.get(p, f"prompt {p}")) for p in prompts)
        note = (notes or {}).get(seed) or (fid_note(row) if row else "")
        verdict, tags = (row.verdict, row.tags) if row else ("inconclusive", ())
        rows.append(GridRow(seed, verdict, note, frames, tuple(plain_tag(tag) for tag in tags)))
    return PictureGrid(caption, tuple(texts.get(prompt, f"prompt {prompt}") for prompt in prompts), tuple(rows))


def seed_cards(run: Run, pictures: Mapping[CellKey, Picture]) -> PictureGrid | None:
    """Every seed's own pictures, by seed number; ``None`` without seeds or pictures."""
    seeds = all_seeds(run)
    if not seeds or not pictures:
        return None
    prompts = prompts_shown(run)[: prompts_per_seed(len(seeds))]
    few, kept = fitting(pictures, seeds, prompts, CARDS_TAKE)
    return grid(run, few, seeds, "All seeds", columns=len(kept))


def with_examples(run: Run, pictures: Mapping[CellKey, Picture], plain: PictureGrid, column: str) -> PictureGrid:
    """A grid whose rows end with the seed's most typical and its most extreme picture for an attribute."""
    if not run.examples:
        return plain
    texts = prompt_texts(pictures)
    rows = []
    for row in plain.rows:
        prompts = run.examples.get((row.seed, column), (-1, -1))
        own = (_frame(pictures.get((row.seed, p)), row.seed, texts.get(p, f"prompt {p}")) for p in prompts)
        rows.append(row._replace(frames=(*row.frames, *own)))
    return plain._replace(prompts=plain.prompts + EXAMPLES, rows=tuple(rows))


def prompt_texts(pictures: Mapping[CellKey, Picture]) -> dict[int, str]:
    """Prompt id -> the text that stands in the shard beside the picture."""
    return {prompt: picture.prompt for (_, prompt), picture in sorted(pictures.items()) if picture.prompt}


def plain_tag(tag: str) -> str:
    """``high border_width`` -> ``high border width``; tags of another form stay as they are."""
    side, _, column = tag.partition(" ")
    return f"{side} {wording(column).title.lower()}" if side in ("high", "low") and column else tag


def fid_note(row: SeedRow) -> str:
    """``FID 21.6 (21.0 to 22.2), rank 1``."""
    if row.fid is None:
        return ""
    bounds = f" ({interval(row.fid)})" if row.fid.has_interval else ""
    rank = f", rank {text(row.rank, 0)}" if row.rank else ""
    return f"FID {shown(row.fid)}{bounds}{rank}"


def _frame(picture: Picture | None, seed: int, prompt: str) -> Frame:
    if picture is None:
        return Frame(None, f"Seed {seed}: no picture of “{prompt}” (failed or not made)")
    return Frame(picture, f"Seed {seed}: {prompt}")
