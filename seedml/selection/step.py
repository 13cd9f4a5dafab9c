"""The step ``select``: measured images -> ``seedbook.json``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seedml.attributes import load_attributes, share_columns
from seedml.config import resolved
from seedml.errors import UserError
from seedml.files import atomic_write_json, finish_step, read_json, step_is_done
from seedml.lightning import threads
from seedml.measurement import Measurements, load_measurements
from seedml.measurement.results import measured_hashes
from seedml.per_seed.balance import Cube, Floats, table
from seedml.per_seed.columns import ColumnStatistics, column_statistics
from seedml.provenance import made_from, record_inputs
from seedml.seedbook import FILE as BOOK
from seedml.seedbook import VERSION, SeedBook, sealed
from seedml.selection.cards import cards, noise_hashes, origin, recipe
from seedml.selection.choice import CHOOSING, CONFIRMING, choose, side_of
from seedml.selection.confirmation import shrunken_deviations
from seedml.selection.diversity import joint_distances, mean_distances
from seedml.selection.held_out import confirm, named, top_quarters
from seedml.selection.ranking import rank_seeds
from seedml.selection.spaces import space_units
from seedml.shards.dataset import complete_dataset
from seedml.summary import update_summary
from seedml.tracking import is_rank_zero

if TYPE_CHECKING:
    from seedml.config import SelectionConfig, StudyConfig
    from seedml.tracking import Tracker

STEP = "select"
DIVERSITY_PROMPTS = 512
"""Of the selection prompts, at most so many tell how far apart seeds are: a thousand seeds take half a second each."""
_BY_BOTH = "best_quarter_by_fid_and_agreement"
_HEADLINE = ("golden_gain_held_out", "golden_gain_shrunken", "diversity_gain", "diversity_gain_over_any",
             "best_on_both", _BY_BOTH)  # fmt: skip


def select(config: StudyConfig, tracker: Tracker) -> None:
    """Choose seeds on the selection prompts, confirm them on the held-out ones, write the seed book.

    Raises:
        UserError: images are not measured yet; too few prompts that all seeds have; other settings in the same folder.

    """
    if not is_rank_zero(os.environ):
        return  # one process does it
    measured = load_measurements(config.run_dir)
    settings = {"selection": resolved(config)["selection"], "statistics": resolved(config)["statistics"]}
    inputs = measured_hashes(config.run_dir)
    there = _is_of_today(config.run_dir / BOOK, config.selection)
    if step_is_done(config.run_dir, STEP, settings) and made_from(config.run_dir, STEP, inputs) and there:
        return
    started = time.monotonic()
    with threads(config.trainer.threads):
        book = sealed(seed_book(config, measured))
    SeedBook.read(book)  # what is written can be read
    atomic_write_json(config.run_dir / BOOK, book)
    _tell(config, tracker, book, time.monotonic() - started)
    record_inputs(config.run_dir, STEP, inputs)
    finish_step(config.run_dir, STEP, settings)


def _is_of_today(path: Path, wanted: SelectionConfig) -> bool:
    """Whether there is a book of today's format and rules; an older one is written anew.

    An older one that ``apply`` added advice to was sealed in the newer format, but lacks the recipe all the same. Until
    November 2026 diverse seeds were chosen by their mean features.
    """
    book: dict[str, Any] = read_json(path) if path.is_file() else {}
    same_rule = book.get("rule", {}).get("diverse") == _diverse_rule(wanted)
    return book.get("version") == VERSION and book.get("recipe") is not None and same_rule


def seed_book(config: StudyConfig, measured: Measurements) -> dict[str, Any]:
    """``seedbook.json`` as a mapping; version and hash are the caller's to add."""
    dataset, tiles = complete_dataset(config)
    choosing, confirming = (side_of(measured, splits, config.statistics) for splits in (CHOOSING, CONFIRMING))
    if choosing is None:
        raise UserError(
            "selection needs prompts to choose seeds on", legal=f"two or more in the splits {' and '.join(CHOOSING)}",
            given=config.prompts.splits, remedy="give prompts.splits.train a larger share",
        )  # fmt: skip
    ranking = rank_seeds(choosing.folds, config.statistics.confidence)
    tables = _tables(measured, choosing.cube)
    choice = choose(config.selection, ranking, _distances(choosing.cube, tables))
    columns = _columns(config, tables)
    shrunken = shrunken_deviations(choosing.folds)
    confirmation = confirm(choice, choosing, confirming, shrunken, config.statistics)
    if "agreement" in columns and columns["agreement"].n and len(choosing.cube.seeds) >= 4:
        by_both = top_quarters(ranking, columns["agreement"], config.statistics.confidence)
        confirmation[_BY_BOTH] = named(by_both)
    hashes = noise_hashes([dataset.shard(tile).with_suffix(".parquet") for tile in tiles])
    shared, seeds = origin(config, dataset), choosing.cube.seeds
    return {
        "name": config.name,
        "model": config.model.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "rule": _rule(config, choosing.folds.n, confirming.folds.n if confirming else 0),
        "recipe": recipe(config, dataset),
        "cards": [
            {"seed": card["seed"], **shared, "noise_sha256": hashes[card["seed"]], **card}
            for card in cards(config, ranking, choosing, confirming, shrunken, columns)
        ],
        "golden": seeds[choice.golden].tolist(),
        "inferior": seeds[choice.inferior].tolist(),
        "diverse": seeds[choice.diverse].tolist(),
        "spaces": space_units(tables),
        "confirmation": confirmation,
        "advice": {},
    }


def _tables(measured: Measurements, cube: Cube) -> dict[str, Floats]:
    """Attribute column -> ``S × P`` on the selection prompts."""
    seeds, prompt_ids = (measured.images[name].to_numpy(np.int64) for name in ("seed", "prompt_id"))
    return {
        name: table(measured.images[name].to_numpy(np.float64), seeds, prompt_ids, cube.seeds, cube.prompt_ids)
        for name in measured.columns
    }


def _distances(cube: Cube, tables: Mapping[str, Floats]) -> Floats:
    """How far apart the seeds' pictures are, in features and, where it was measured, in their objects' places."""
    features = mean_distances(islice(cube.by_prompt(), DIVERSITY_PROMPTS))
    if len(features) < 2:
        return features
    places = [tables[name] for name in ("location_x", "location_y") if name in tables]
    if not places:
        return features
    parts = {"features": features, "position": mean_distances(np.stack(places, axis=2))}
    joint = joint_distances(parts, "features+position")
    return features if joint is None else joint


def _columns(config: StudyConfig, tables: Mapping[str, Floats]) -> dict[str, ColumnStatistics]:
    """Attribute statistics on the selection prompts."""
    shares = share_columns(load_attributes(config.measure.attributes))
    return {name: column_statistics(values, name in shares, config.statistics) for name, values in tables.items()}


def _rule(config: StudyConfig, chosen_on: int, confirmed_on: int) -> dict[str, object]:
    """How seeds were chosen, for whoever reads the book without this program."""
    wanted = config.selection
    return {
        "golden": f"at most {wanted.golden} seeds of smallest Fréchet distance, surely better than the mean seed",
        "inferior": f"at most {wanted.inferior} seeds of largest Fréchet distance, surely worse than the mean seed",
        "diverse": _diverse_rule(wanted),
        "false_discovery_rate": round(1 - config.statistics.confidence, 10),
        "features": config.measure.features,
        "chosen_on": {"splits": list(CHOOSING), "prompts": chosen_on},
        "confirmed_on": {"splits": list(CONFIRMING), "prompts": confirmed_on},
    }


def _diverse_rule(wanted: SelectionConfig) -> str:
    return (
        f"at most {wanted.diverse} seeds, none inferior, of largest mean distance between their pictures of one "
        "prompt, in features and, where it was measured, object position"
    )


def _tell(config: StudyConfig, tracker: Tracker, book: Mapping[str, Any], seconds: float) -> None:
    headline = {key: book["confirmation"][key] for key in _HEADLINE if key in book["confirmation"]}
    update_summary(config.run_dir, {**headline, "seconds": {STEP: round(seconds, 3)}})
    tracker.summary({**headline, **{name: book[name] for name in ("golden", "inferior", "diverse")}})
    tracker.uses("dataset", "measurements")
    tracker.file(config.run_dir / BOOK, "seedbook")
    for line in _lines(book):
        print(line, file=sys.stderr)


def _lines(book: Mapping[str, Any]) -> list[str]:
    """What the terminal says: the lists, what they are worth, and chance."""
    confirmation = book["confirmation"]
    lines = [
        f"{name} seeds: {', '.join(map(str, book[name])) or 'none beyond doubt'}"
        for name in ("golden", "inferior", "diverse")
    ]
    if "golden_gain_held_out" in confirmation:
        won, chance = confirmation["golden_gain_held_out"], confirmation["chance"]["golden_gain_held_out"]
        lines.append(f"held-out gain of the best seeds in FID: {_words(won)}; of seeds at random: {_words(chance)}")
    if "golden_gain_shrunken" in confirmation:
        picked, left = (confirmation[f"golden_gain_{name}"] for name in ("on_selection_prompts", "shrunken"))
        lines.append(f"on the prompts they were picked on: {_words(picked)}, of which not luck: {_words(left)}")
    if "best_on_both" in confirmation:
        lines.append(_shared("best on selection and on held-out prompts alike", confirmation["best_on_both"]))
    if _BY_BOTH in confirmation:
        lines.append(_shared("in the best quarter by FID and by caption agreement", confirmation[_BY_BOTH]))
    return lines


def _words(entry: Mapping[str, Any]) -> str:
    limits = f" ({entry['low']:.3g} to {entry['high']:.3g})" if "low" in entry else ""
    return f"{entry['value']:.3g}{limits}"


def _shared(what: str, entry: Mapping[str, Any]) -> str:
    chance = entry["chance"]
    by_chance = f"{chance['value']:.2g} ({chance['low']} to {chance['high']})"
    return f"{what}: {entry['value']} of {min(entry['of'])} seeds; by chance {by_chance}"
