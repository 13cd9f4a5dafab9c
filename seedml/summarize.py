"""The step ``summarize``: measured images -> ``seeds.parquet`` and the headline numbers of the study.

Describes all prompts, those of the test split included; choosing seeds is ``selection/``, which keeps them apart.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from seedml.attributes import load_attributes, share_columns
from seedml.callbacks import AttributeStatistics, PerSeedFid, reference_for, run_over_rows
from seedml.callbacks.likeness import example_table, seed_maps
from seedml.callbacks.per_seed_fid import fid_frame, fid_headline, half_splits
from seedml.config import resolved
from seedml.files import atomic_path, fingerprint, finish_step, step_is_done
from seedml.lightning import threads
from seedml.measurement import Measurements, load_measurements
from seedml.measurement.results import measured_hashes
from seedml.measurement.vectors import sums_hashes
from seedml.per_seed.balance import Cube, balanced_cube, prompt_blocks
from seedml.per_seed.first_order import EXACT, first_order, resampling_for
from seedml.per_seed.folds import Folds, deviations
from seedml.per_seed.frechet import Reference
from seedml.per_seed.influence import block_sums, first_order_halves
from seedml.per_seed.multiplicity import q_values
from seedml.per_seed.other_distances import other_folds
from seedml.per_seed.permutation import frechet_null, label_permutations, mean_null, permutation_p, spread
from seedml.per_seed.power import minimal_detectable_effect
from seedml.per_seed.reliability import SplitHalf, split_half
from seedml.per_seed.variance import seed_grip
from seedml.progress import track
from seedml.provenance import made_from, record_inputs
from seedml.summary import figure, update_summary
from seedml.tracking import is_rank_zero

if TYPE_CHECKING:
    import pandas as pd

    from seedml.config import StudyConfig
    from seedml.per_seed.balance import Floats, Ints
    from seedml.tracking import Tracker

STEP = "summarize"
SEEDS = "seeds.parquet"
EXAMPLES, MAP = "examples.parquet", "seed_map.parquet"
MOST_RANKED = 2_000
"""Seeds in the tracker's plot of ranks; of more, the best ones."""
_LIBRARIES = ("seedml", "torch", "pytorch-lightning", "diffusers", "transformers", "numpy", "scipy", "scikit-learn")


def summarize(config: StudyConfig, tracker: Tracker) -> None:
    """Per-seed statistics of a measured study.

    Raises:
        UserError: images are not measured yet; a seed has no image; other settings in the same folder.

    """
    if not is_rank_zero(os.environ):
        return  # one process does it
    measured = load_measurements(config.run_dir)
    settings = {"statistics": resolved(config)["statistics"]}
    inputs = measured_hashes(config.run_dir) | sums_hashes(config.run_dir, config.measure.vectors)
    there = all((config.run_dir / name).is_file() for name in (SEEDS, EXAMPLES, MAP))
    if step_is_done(config.run_dir, STEP, settings) and made_from(config.run_dir, STEP, inputs) and there:
        return
    started = time.monotonic()
    folder = config.run_dir / ".summarize" / fingerprint({"settings": settings, "inputs": inputs})[:16]
    with threads(config.trainer.threads):
        frame, headline = seed_statistics(config, measured, tracker, folder)
        places, alike = seed_maps(config.run_dir, measured.seed_list, config.measure.vectors, config.statistics)
        examples = example_table(measured)
    for name, table in ((SEEDS, frame), (EXAMPLES, examples), (MAP, places)):
        with atomic_path(config.run_dir / name) as temporary:
            table.to_parquet(temporary, index=False)
    _tell(config, tracker, frame, places)
    headline |= alike
    update_summary(config.run_dir, headline | {"seconds": {STEP: round(time.monotonic() - started, 3)}})
    tracker.summary({name: value for name, value in headline.items() if name not in ("versions", "device")})
    record_inputs(config.run_dir, STEP, inputs)
    finish_step(config.run_dir, STEP, settings)
    shutil.rmtree(folder.parent)


def _tell(config: StudyConfig, tracker: Tracker, frame: pd.DataFrame, places: pd.DataFrame) -> None:
    """The tables; how the seeds' numbers are distributed; the seeds in the order of their distances, one a row."""
    tracker.uses("measurements")
    tracker.table("seeds", frame)
    tracker.table("seed_map", places)
    tracker.file(config.run_dir / SEEDS, "per-seed-table", name="per-seed-table")
    for column in ("fid", *(name for name in frame.columns if name.endswith("_mean"))):
        tracker.histogram(f"seeds/{column}", frame[column].to_numpy())
    tracker.best({"ranked/fid": "min"})
    names = ["fid", "fid_low", "fid_high", "seed"]
    ranked = frame.nsmallest(MOST_RANKED, "fid_rank")[names]
    for rank, row in enumerate(ranked.to_dict("records"), start=1):
        tracker.log({f"ranked/{name}": row[name] for name in names}, step=rank)


def seed_statistics(
    config: StudyConfig, measured: Measurements, tracker: Tracker, folder: Path | None = None
) -> tuple[pd.DataFrame, dict[str, object]]:
    """``seeds.parquet`` as a table, and the headline numbers.

    Args:
        config: the study.
        measured: its measurements.
        tracker: is told the headline numbers.
        folder: where results of finished seeds are kept until all are; ``None`` keeps nothing.

    """
    cube = balanced_cube(measured.features, measured.seeds, measured.prompt_ids, measured.seed_list)
    if cube.dropped:
        print(
            f"summarize: {len(cube.dropped)} prompts lack the image of a seed and are left out for all", file=sys.stderr
        )
    reference = reference_for(measured, cube.prompt_ids)
    resampling = resampling_for(config.statistics.resampling, cube)
    shares = share_columns(load_attributes(config.measure.attributes))
    attributes = AttributeStatistics(cube.seeds, cube.prompt_ids, measured.columns, shares, config.statistics, tracker)
    study = _Study(config, measured, cube, reference, tracker, folder)
    fid = _exact_fid(study, attributes) if resampling == EXACT else _linear_fid(study, attributes)
    frame = fid.frame.merge(attributes.frame(), on="seed", validate="one_to_one")
    headline = _sizes(cube, measured) | _fid_headline(frame, fid.halves) | fid.spread
    headline |= {"fid_features": measured.provenance}
    headline |= _attribute_headline(attributes, config.statistics.confidence)
    headline |= {"fid_resampling": resampling} | _detectable(fid.folds, config.statistics.confidence)
    for name in config.statistics.distances:
        if name != "fid":
            columns, figures = _other_distance(name, study)
            for column, values in columns.items():
                frame[column] = values
            headline |= figures
            tracker.summary({f"{name}/{key}": value for key, value in figures.items()})
    return frame, headline | {"versions": _versions(), "device": device_name()}


class _Study(NamedTuple):
    """What the statistics are taken of."""

    config: StudyConfig
    measured: Measurements
    cube: Cube
    reference: Reference
    tracker: Tracker
    folder: Path | None


class _Fid(NamedTuple):
    """What the distances say."""

    frame: pd.DataFrame
    folds: Folds
    halves: SplitHalf | None
    spread: dict[str, object]


def _exact_fid(study: _Study, attributes: AttributeStatistics) -> _Fid:
    """Every fold and every shuffled seed has a decomposition of its own."""
    config, cube = study.config, study.cube
    fid = PerSeedFid(cube.seeds, cube.prompt_ids, study.reference, config.statistics, study.tracker, study.folder)
    run_over_rows(config.trainer, study.measured, [fid, attributes])
    frame = fid.frame()
    null = frechet_null(torch.from_numpy(cube.values), study.reference, _shuffles(config, cube))
    observed = float(spread(frame["fid"].to_numpy()[:, None])[0])
    assert fid.folds is not None, "the pass has ended"
    return _Fid(frame, fid.folds, fid.halves, _spread_figures(config, observed, observed, null, len(cube.prompt_ids)))


def _linear_fid(study: _Study, attributes: AttributeStatistics) -> _Fid:
    """One decomposition a seed; folds, halves and shuffled seeds are sums over tables seeds × prompts."""
    config, cube = study.config, study.cube
    run_over_rows(config.trainer, study.measured, [attributes], features=False)
    fid = first_order(cube, study.reference.to(statistics_device(config)), study.folder)
    folds, halves, statistics = fid.folds, None, config.statistics
    blocks = prompt_blocks(len(cube.prompt_ids), statistics.blocks)
    splits = half_splits(len(cube.seeds), int(blocks.max()) + 1, statistics.seed)
    if splits is not None:
        sides = first_order_halves(folds.full, *block_sums(fid.deletions, blocks), splits)
        halves = split_half(*sides, statistics.confidence)
    study.tracker.summary(fid_headline(cube.seeds, folds, halves))
    null = mean_null(fid.pooled[:, :, None], _shuffles(config, cube))[:, :, 0]
    observed, compared = (float(spread(values[:, None])[0]) for values in (folds.full, fid.pooled.mean(axis=1)))
    figures = _spread_figures(config, observed, compared, null, folds.n)
    return _Fid(fid_frame(cube.seeds, folds, statistics.confidence), folds, halves, figures)


def _detectable(folds: Folds, confidence: float) -> dict[str, object]:
    """The smallest deviation from the mean seed that this study would have found, at its typical error."""
    paired = folds.jackknife(deviations)
    tests = len(folds.full)
    if tests < 2 or not np.isfinite(paired.error).all():
        return {}
    smallest = minimal_detectable_effect(np.median(paired.error), paired.freedom, tests, 1 - confidence)
    return {"fid_mde": _figure(float(smallest), n=folds.n)} if np.isfinite(smallest) else {}


def _other_distance(name: str, study: _Study) -> tuple[dict[str, Floats], dict[str, object]]:
    """Columns of ``seeds.parquet`` and headline numbers of a distance beside FID."""
    config, cube = study.config, study.cube
    reference = study.reference.to(statistics_device(config))
    features = partial(study.measured.reference_of, cube.prompt_ids)
    folds = other_folds(name, cube, reference, features, config.statistics.seed)
    value, low, high = folds.jackknife().interval(config.statistics.confidence)
    q = q_values(folds.jackknife(deviations).p_value())
    figures: dict[str, object] = {}
    for place, at in (("best", int(value.argmin())), ("worst", int(value.argmax()))):
        figures[f"{name}_{place}"] = _figure(value[at], low[at], high[at], folds.n)
        figures[f"{name}_{place}_seed"] = int(cube.seeds[at])
    return {name: value, f"{name}_low": low, f"{name}_high": high, f"{name}_q_value": q}, figures


def _shuffles(config: StudyConfig, cube: Cube) -> Iterator[Ints]:
    """Permutations of seed labels within prompts, under a bar."""
    count, generator = config.statistics.permutations, np.random.default_rng([config.statistics.seed, 3])
    shuffles = label_permutations(len(cube.seeds), len(cube.prompt_ids), count, generator)
    return track(shuffles, "permutations", total=count)


def _spread_figures(
    config: StudyConfig, observed: float, compared: float, null: Floats, prompts: int
) -> dict[str, object]:
    """Does the gap between best and worst seed exceed that of shuffled seeds?

    Args:
        config: the study.
        observed: the gap between the distances.
        compared: the same to first order where the null is to first order: what the test is of.
        null: ``B × S``, distances of shuffled seeds up to what they share.
        prompts: behind each distance.

    """
    chance = spread(null[:, :, None])[:, 0]
    low, high = np.quantile(chance, [0.5 - config.statistics.confidence / 2, 0.5 + config.statistics.confidence / 2])
    figures: dict[str, object] = {
        "fid_spread": _figure(observed, n=prompts),
        "fid_spread_null_p": float(permutation_p(compared, chance)),
        "fid_spread_by_chance": _figure(float(chance.mean()), float(low), float(high), len(chance)),
    }
    return figures | ({} if compared == observed else {"fid_spread_first_order": _figure(compared, n=prompts)})


def _sizes(cube: Cube, measured: Measurements) -> dict[str, object]:
    failed = int((measured.images["status"] != "ok").sum())
    return {
        "images": len(measured.features), "images_failed": failed, "seeds": len(cube.seeds),
        "prompts": len(measured.prompts_of()), "prompts_left_out": len(cube.dropped),
    }  # fmt: skip


def _fid_headline(frame: pd.DataFrame, halves: SplitHalf | None) -> dict[str, object]:
    best, worst = (frame.iloc[int(at)] for at in (frame["fid"].argmin(), frame["fid"].argmax()))
    headline: dict[str, object] = {
        f"fid_{name}": _figure(row["fid"], row["fid_low"], row["fid_high"], int(row["n"]))
        for name, row in (("best", best), ("worst", worst))
    }
    headline |= {"fid_best_seed": int(best["seed"]), "fid_worst_seed": int(worst["seed"])}
    if halves is not None:
        value, low, high, reliability = halves
        headline["split_half_rank_correlation"] = _figure(value, low, high, len(frame))
        headline["fid_rank_reliability"] = _number(reliability)
    return headline


def _attribute_headline(attributes: AttributeStatistics, confidence: float) -> dict[str, object]:
    """Per column: the seed's share of the variance, and whether its spread exceeds chance."""
    headline: dict[str, object] = {}
    for name, result in attributes.results.items():
        value, low, high = (bound[0] for bound in result.shares)
        if np.isfinite(value):
            headline[f"seed_share_{name}"] = _figure(value, low, high, result.n)
        if np.isfinite(result.spread_p):
            headline[f"spread_null_p_{name}"] = result.spread_p
    value, low, high = map(float, seed_grip([result.components for result in attributes.results.values()], confidence))
    return headline | ({"seed_grip": _figure(value, low, high)} if np.isfinite(value) else {})


def _figure(value: float, low: float = np.nan, high: float = np.nan, n: int | None = None) -> dict[str, object]:
    """A headline number; limits that are not known are left out."""
    return figure(float(value), _number(low), _number(high), n)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}


def statistics_device(config: StudyConfig) -> str:
    """Where large decompositions are made: an accelerator in float64, where there is one and it is not refused."""
    return "cuda" if torch.cuda.is_available() and config.trainer.accelerator in ("auto", "gpu", "cuda") else "cpu"


def device_name() -> str:
    """What this machine computes on."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu ({platform.machine()})"
