"""``seedml compare runs/a runs/b …``: finished studies -> files, a page, and a W&B run; online also a W&B report.

Every study is compared with the first one. Nothing of the studies is changed, unless ``books=true`` asks for what was
found to be written into their seed books.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seedml.compare.carried_over import add_to_books, books_of, made_with, transfers
from seedml.compare.figures import (
    Figures,
    attribute_frame,
    flat_pair,
    pair_figures,
    seed_frame,
    study_figures,
    study_frame,
    transfer_figures,
)
from seedml.compare.pairs import PairComparison, compare_pair, order_by_distance
from seedml.compare.runs import StudiedRun, read_studied
from seedml.compare.settings import differing_settings
from seedml.config import StudyConfig, config_from
from seedml.config_text import split_override
from seedml.errors import UserError, unknown_name
from seedml.files import atomic_path, atomic_write_json, atomic_write_text, read_json
from seedml.tracking import open_tracker

if TYPE_CHECKING:
    from seedml.per_seed.transfer import Transfer
    from seedml.tracking import Tracker

STEP = "compare"
FILE, PAGE, SEEDS, ATTRIBUTES = "compare.json", "compare.html", "compare_seeds.parquet", "compare_attributes.parquet"
VERSION = 1
PERMUTATIONS = 2000
KEYS = (
    "name", "runs.root", "statistics.blocks", "statistics.permutations", "statistics.confidence", "statistics.seed",
    "statistics.resampling", "tracking.mode", "tracking.project", "tracking.entity", "tracking.group",
)  # fmt: skip
"""What can be set; the rest of a configuration is what the studies were made with, and that is settled."""
BOOKS = "books"
"""Whether what was found is written into the studies' seed books."""


class Comparison(NamedTuple):
    """Studies beside each other.

    Attributes:
        name: of the comparison.
        studies: the first is what the others are compared with.
        pairs: the first study and each other one.
        orders: whether two studies order their seeds alike by distance, for all pairs of places in ``studies``.
        differing: dotted setting -> its value in every study.
        confidence: coverage of all intervals.

    """

    name: str
    studies: tuple[StudiedRun, ...]
    pairs: tuple[PairComparison, ...]
    orders: Mapping[tuple[int, int], Transfer]
    differing: Mapping[str, Sequence[object]]
    confidence: float


def compare(words: Sequence[str]) -> Path:
    """Compare the studies in the folders among ``words``; ``key=value`` sets how. Returns the page's path.

    Raises:
        UserError: a folder without a finished study, too little in common, a key that changes nothing here, or a
            folder of that name that holds something else.

    """
    folders, overrides, into_books = _split(words)
    studies = read_studied(folders)
    config = _config(studies, overrides)
    books = books_of(studies) if into_books else {}
    out = config.run_dir
    _guard(out, [str(study.folder.resolve()) for study in studies])
    found = compare_studies(config, studies)
    figures = comparison_figures(found)
    settings = {"name": found.name, "studies": [study.name for study in studies],
                "differing": {key: [str(value) for value in values] for key, values in found.differing.items()},
                "statistics": {"confidence": found.confidence}}  # fmt: skip
    with open_tracker(config, STEP, out, settings=settings) as tracker:
        _write(out, found, figures)
        _tell(out, found, figures, tracker)
    add_to_books(books, transfers(found))
    if tracker.mode == "online":
        from seedml.compare.workspace import save

        save(found, config.tracking.entity or "", config.tracking.project, config.tracking.group or config.name)
    from seedml.compare.terminal import lines

    print("\n".join([*lines(found), f"page: {out / PAGE}"]))
    return out / PAGE


def _split(words: Sequence[str]) -> tuple[list[Path], list[str], bool]:
    """Folders, the words that set something, and whether the studies' seed books are added to."""
    given = [word for word in words if "=" in word and not Path(word).is_dir()]
    books, overrides = "false", []
    for word in given:
        key, text = split_override(word)
        if key not in (*KEYS, BOOKS):
            raise unknown_name("key of compare", key, (*KEYS, BOOKS))
        if key == BOOKS:
            books = text
        else:
            overrides.append(word)
    if books not in ("true", "false"):
        raise UserError(f"{BOOKS} has no legal value", given=books, legal="true or false", remedy=f"set {BOOKS}=true")
    return [Path(word).expanduser() for word in words if word not in given], overrides, books == "true"


def _config(studies: Sequence[StudiedRun], overrides: Sequence[str]) -> StudyConfig:
    """How to compare, as a configuration: what the first study is tracked by, then the command line."""
    first = studies[0].run.settings
    tracking = {
        key: value for key, value in (first.get("tracking") or {}).items() if key in ("mode", "project", "entity")
    }
    name = "compare-" + "-".join(study.name.replace("/", "-") for study in studies)
    values = {
        "name": name if len(name) <= 80 else f"{name[:60]}-and-{len(studies)}-studies", "tracking": tracking,
        "runs": {"root": str(studies[0].folder.parent)}, "model": {"path": "several", "name": "several"},
        "statistics": {"permutations": PERMUTATIONS},
    }  # fmt: skip
    return config_from(values, overrides)


def _guard(out: Path, folders: Sequence[str]) -> None:
    """Write into a new folder, or over an earlier comparison of the same studies."""
    if (out / FILE).is_file():
        before = read_json(out / FILE).get("folders")
        if before == list(folders):
            return
        raise UserError(f"{out} holds a comparison of other studies", given=", ".join(folders), legal=str(before),
                        remedy="choose another name=…, or delete the folder")  # fmt: skip
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is there and holds no comparison", remedy="choose another name=…")


def compare_studies(config: StudyConfig, studies: Sequence[StudiedRun]) -> Comparison:
    """Each study with the first, and the order of seeds by distance for all pairs."""
    first, *others = studies
    pairs = tuple(compare_pair(first, other, config.statistics) for other in others)
    orders = {(0, at): pair.order for at, pair in enumerate(pairs, start=1)}
    for one in range(1, len(studies)):
        for two in range(one + 1, len(studies)):
            orders[one, two] = order_by_distance(studies[one], studies[two], config.statistics)
    return Comparison(
        config.name, tuple(studies), pairs, orders, differing_settings(studies), config.statistics.confidence
    )


def comparison_figures(found: Comparison) -> Figures:
    """``compare.json``."""
    names = [study.name for study in found.studies]
    return {
        "version": VERSION, "name": found.name, "confidence": found.confidence,
        "folders": [str(study.folder.resolve()) for study in found.studies], "studies": names,
        "differing": {key: list(values) for key, values in found.differing.items()},
        "headlines": {study.name: study_figures(study) for study in found.studies},
        "fid_orders": [
            {"first": names[one], "second": names[two], **transfer_figures(order)}
            for (one, two), order in sorted(found.orders.items())
        ],
        "pairs": [pair_figures(pair) for pair in found.pairs],
        "made_with": {study.name: made_with(study) for study in found.studies},
        "transfer": {study: {other: transfer.as_json() for other, transfer in told.items()}
                     for study, told in transfers(found).items()},
    }  # fmt: skip


def _write(out: Path, found: Comparison, figures: Figures) -> None:
    """Figures and tables, then the page that shows them."""
    from seedml.compare.page import render

    for name, frame in ((SEEDS, seed_frame(found.pairs)), (ATTRIBUTES, attribute_frame(found.pairs))):
        with atomic_path(out / name) as temporary:
            frame.to_parquet(temporary, index=False)
    atomic_write_text(out / PAGE, render(found))
    atomic_write_json(out / FILE, figures)


def _tell(out: Path, found: Comparison, figures: Figures, tracker: Tracker) -> None:
    """The W&B run: every figure, three tables, the same cells side by side, and the files as artifacts."""
    from seedml.compare.page import side_by_side
    from seedml.report.tracked import strips

    pairs: list[Any] = figures["pairs"]
    for pair in pairs:
        tracker.summary(flat_pair(pair))
    tracker.table("compare/studies", study_frame(found.studies, found.differing))
    tracker.table("compare/seeds", seed_frame(found.pairs))
    tracker.table("compare/attributes", attribute_frame(found.pairs))
    grids = side_by_side(found)
    if grids:
        tracker.image("compare/same_cells", strips(tuple(grids)), "The same seeds and prompts in all studies")
    tracker.file(out / FILE, "comparison")
    tracker.file(out / PAGE, "report")
