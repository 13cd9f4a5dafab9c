"""Seed cards: all that is needed to remake one seed's noise and to trust its numbers (DESIGN section 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seedml.config import ModelConfig
from seedml.files import read_json
from seedml.per_seed.columns import ColumnStatistics
from seedml.per_seed.intervals import Interval
from seedml.selection.choice import CHOOSING, CONFIRMING, Side
from seedml.selection.confirmation import Shrunken
from seedml.selection.ranking import Ranking
from seedml.shards.dataset import FILE, ShardDataset, had_checker

if TYPE_CHECKING:
    from seedml.config import StudyConfig


def cards(
    config: StudyConfig, ranking: Ranking, choosing: Side, confirming: Side | None, shrunken: Shrunken,
    columns: Mapping[str, ColumnStatistics],
) -> list[dict[str, Any]]:  # fmt: skip
    """What the study found out about each seed, by seed: scores, q_value, verdict, tags."""
    confidence, source = config.statistics.confidence, config.prompts.set or config.prompts.file
    chosen_on, confirmed_on = (f"{source}: {'+'.join(splits)}" for splits in (CHOOSING, CONFIRMING))
    held_out = confirming.folds.intervals(confidence) if confirming else None
    without_luck = shrunken.interval(confidence)
    found = []
    for at, seed in enumerate(choosing.cube.seeds):
        scores = {"fid": _score(ranking.distances, at, ranking.n, chosen_on)}
        if np.isfinite(without_luck.value[at]):
            deviation = {"measured": float(shrunken.raw[at])} | _score(without_luck, at, ranking.n, chosen_on)
            scores["fid_deviation_shrunken"] = deviation
        if held_out is not None and confirming is not None:
            scores["fid_held_out"] = _score(held_out, at, confirming.folds.n, confirmed_on)
        scores |= {name: _score(result.means, at, result.n, chosen_on) for name, result in columns.items() if result.n}
        q = float(ranking.q[at])
        found.append(
            {
                "seed": int(seed), "scores": scores, "q_value": q if np.isfinite(q) else None,
                "verdict": str(ranking.verdict[at]), "tags": _tags(columns, at, 1 - confidence),
            }
        )  # fmt: skip
    return found


def _score(interval: Interval, at: int, n: int, prompt_set: str) -> dict[str, object]:
    """One number of a card; limits that are not known are left out."""
    numbers = {"value": interval.value[at], "low": interval.low[at], "high": interval.high[at]}
    known: dict[str, object] = {name: float(number) for name, number in numbers.items() if np.isfinite(number)}
    return known | {"n": n, "prompt_set": prompt_set}


def _tags(columns: Mapping[str, ColumnStatistics], at: int, level: float) -> list[str]:
    """What this seed does to pictures beyond doubt: ``high sky``, ``low size``."""
    found = []
    for name, result in columns.items():
        if result.q[at] <= level:
            side = "high" if result.means.value[at] > np.nanmean(result.means.value) else "low"
            found.append(f"{side} {name}")
    return found


def origin(config: StudyConfig, dataset: ShardDataset) -> dict[str, Any]:
    """What all cards of a study share: how its noise became pictures."""
    model = dataset.model
    versions: Any = read_json(dataset.folder / FILE).get("versions", {})
    return {
        "model": config.model.name, "revision": config.model.revision,
        "generator_device": config.noise.generator_device, "torch_version": versions.get("torch"),
        "latent_shape": list(model["latent_shape"]), "dtype": model["dtype"], "scheduler": model["scheduler"],
        "steps": model["steps"], "guidance_scale": model["guidance_scale"],
    }  # fmt: skip


def recipe(config: StudyConfig, dataset: ShardDataset) -> dict[str, Any]:
    """What beside the cards is needed to make the study's pictures again."""
    model, settings = dataset.model, dataset.settings
    versions: Any = read_json(dataset.folder / FILE).get("versions", {})
    return {
        "path": config.model.path, "variant": config.model.variant, "pipeline": model["pipeline"],
        "height": model["height"], "width": model["width"], "scheduler_options": config.model.scheduler_options,
        "initial_seed": config.noise.initial_seed, "step_seed": config.noise.step_seed,
        "weights": settings.get("weights", {}), "versions": versions, **_further(config.model, settings),
    }  # fmt: skip


def _further(model: ModelConfig, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What of the model's keys that few models need is not left at its default; a safety checker only if it was on."""
    default = ModelConfig()
    names = ("call_options", "config", "vae", "lora")
    changed = {name: getattr(model, name) for name in names if getattr(model, name) != getattr(default, name)}
    if had_checker(settings):
        changed["safety_checker"] = True
    return {"model_options": changed} if changed else {}


def noise_hashes(tables: Sequence[Path]) -> dict[int, str]:
    """Seed -> SHA-256 of its initial noise, from the shards' tables."""
    import pandas as pd

    rows = pd.concat([pd.read_parquet(path, columns=["seed", "noise_sha256"]) for path in tables]).drop_duplicates()
    assert rows["seed"].is_unique, "a seed's images of one study start from one noise"
    return {int(seed): str(noise) for seed, noise in rows.itertuples(index=False)}
