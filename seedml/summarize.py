"""The step ``summarize``: measured images -> ``seeds.parquet`` and the headline numbers of the study.

Describes all prompts, those of the test split included; choosing seeds is ``selection/``, which keeps them apart.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch

from seedml.attributes import load_attributes, share_columns
from seedml.callbacks import AttributeStatistics, PassThrough, PerSeedFid, row_loader
from seedml.config import resolved
from seedml.files import atomic_path, finish_step, step_is_done
from seedml.lightning import predicting_trainer, quiet_lightning, threads
from seedml.measurement import Measurements, load_measurements
from seedml.measurement.results import measured_hashes
from seedml.per_seed.balance import Cube, balanced_cube
from seedml.per_seed.frechet import Reference
from seedml.per_seed.permutation import frechet_null, label_permutations, permutation_p, spread
from seedml.progress import track
from seedml.provenance import made_from, record_inputs
from seedml.summary import figure, update_summary
from seedml.tracking import is_rank_zero

if TYPE_CHECKING:
    import pandas as pd

    from seedml.config import StudyConfig
    from seedml.per_seed.balance import Floats
    from seedml.tracking import Tracker

STEP = "summarize"
SEEDS = "seeds.parquet"
_LIBRARIES = ("seedml", "torch", "pytorch-lightning", "diffusers", "transformers", "numpy", "scipy")


def summarize(config: StudyConfig, tracker: Tracker) -> None:
    """Per-seed statistics of a measured study.

    Raises:
        UserError: images are not measured yet; a seed has no image; other settings in the same folder.

    """
    if not is_rank_zero(os.environ):
        return  # one process does it
    measured = load_measurements(config.run_dir)
    settings = {"statistics": resolved(config)["statistics"], "attributes": config.measure.attributes}
    inputs = measured_hashes(config.run_dir)
    there = (config.run_dir / SEEDS).is_file()
    if step_is_done(config.run_dir, STEP, settings) and made_from(config.run_dir, STEP, inputs) and there:
        return
    started = time.monotonic()
    with threads(config.trainer.threads):
        frame, headline = seed_statistics(config, measured, tracker)
    with atomic_path(config.run_dir / SEEDS) as temporary:
        frame.to_parquet(temporary, index=False)
    tracker.table("seeds", frame)
    update_summary(config.run_dir, headline | {"seconds": {STEP: round(time.monotonic() - started, 3)}})
    tracker.summary({name: value for name, value in headline.items() if name not in ("versions", "device")})
    record_inputs(config.run_dir, STEP, inputs)
    finish_step(config.run_dir, STEP, settings)


def seed_statistics(
    config: StudyConfig, measured: Measurements, tracker: Tracker
) -> tuple[pd.DataFrame, dict[str, object]]:
    """``seeds.parquet`` as a table, and the headline numbers."""
    cube = balanced_cube(measured.features, measured.seeds, measured.prompt_ids, measured.seed_list)
    if cube.dropped:
        print(
            f"summarize: {len(cube.dropped)} prompts lack the image of a seed and are left out for all", file=sys.stderr
        )
    reference = Reference.of_samples(torch.from_numpy(measured.reference_of(cube.prompt_ids)))
    fid = PerSeedFid(cube.seeds, cube.prompt_ids, reference, config.statistics, tracker)
    shares = share_columns(load_attributes(config.measure.attributes))
    attributes = AttributeStatistics(cube.seeds, cube.prompt_ids, measured.columns, shares, config.statistics, tracker)
    trainer = predicting_trainer(config.trainer, [fid, attributes], alone=True)
    with quiet_lightning():
        trainer.predict(PassThrough(), row_loader(measured), return_predictions=False)
    frame = fid.frame().merge(attributes.frame(), on="seed", validate="one_to_one")
    headline = _sizes(cube, measured) | _fid_headline(frame, fid)
    headline |= _spread_test(config, cube, reference, frame["fid"].to_numpy()) | _attribute_headline(attributes)
    return frame, headline | {"versions": _versions(), "device": device_name()}


def _sizes(cube: Cube, measured: Measurements) -> dict[str, object]:
    failed = int((measured.images["status"] != "ok").sum())
    return {
        "images": len(measured.features), "images_failed": failed, "seeds": len(cube.seeds),
        "prompts": len(measured.prompts_of()), "prompts_left_out": len(cube.dropped),
    }  # fmt: skip


def _fid_headline(frame: pd.DataFrame, fid: PerSeedFid) -> dict[str, object]:
    best, worst = (frame.iloc[int(at)] for at in (frame["fid"].argmin(), frame["fid"].argmax()))
    headline: dict[str, object] = {
        f"fid_{name}": _figure(row["fid"], row["fid_low"], row["fid_high"], int(row["n"]))
        for name, row in (("best", best), ("worst", worst))
    }
    headline |= {"fid_best_seed": int(best["seed"]), "fid_worst_seed": int(worst["seed"])}
    if fid.halves is not None:
        value, low, high, reliability = fid.halves
        headline["split_half_rank_correlation"] = _figure(value, low, high, len(frame))
        headline["fid_rank_reliability"] = _number(reliability)
    return headline


def _spread_test(config: StudyConfig, cube: Cube, reference: Reference, distances: Floats) -> dict[str, object]:
    """Does the gap between best and worst seed exceed that of shuffled seeds?"""
    count = config.statistics.permutations
    generator = np.random.default_rng([config.statistics.seed, 3])
    shuffles = label_permutations(len(cube.seeds), len(cube.prompt_ids), count, generator)
    null = frechet_null(torch.from_numpy(cube.values), reference, track(shuffles, "permutations", total=count))
    observed = float(spread(distances[:, None])[0])
    chance = spread(null[:, :, None])[:, 0]
    low, high = np.quantile(chance, [0.5 - config.statistics.confidence / 2, 0.5 + config.statistics.confidence / 2])
    return {
        "fid_spread": _figure(observed, n=len(cube.prompt_ids)),
        "fid_spread_null_p": float(permutation_p(observed, chance)),
        "fid_spread_by_chance": _figure(float(chance.mean()), float(low), float(high), count),
    }


def _attribute_headline(attributes: AttributeStatistics) -> dict[str, object]:
    """Per column: the seed's share of the variance, and whether its spread exceeds chance."""
    headline: dict[str, object] = {}
    for name, result in attributes.results.items():
        value, low, high = (bound[0] for bound in result.shares)
        if np.isfinite(value):
            headline[f"seed_share_{name}"] = _figure(value, low, high, result.n)
        if np.isfinite(result.spread_p):
            headline[f"spread_null_p_{name}"] = result.spread_p
    return headline


def _figure(value: float, low: float = np.nan, high: float = np.nan, n: int | None = None) -> dict[str, object]:
    """A headline number; limits that are not known are left out."""
    return figure(float(value), _number(low), _number(high), n)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}


def device_name() -> str:
    """What this machine computes on."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu ({platform.machine()})"
