"""Finished run folders whose truth is planted: how far seeds are from the reference, what they do to an attribute.

No picture, model or detector: features and attributes are drawn here, in the files that the steps would leave.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from seedml.config import PromptsConfig
from seedml.measurement.results import FEATURES, REFERENCE, safetensors_bytes
from seedml.prompts import load_prompts

DIMENSION = 4
NOTES = {"network": "planted", "resize": "none", "dimension": str(DIMENSION)}
SPLITS = {"train": 0.6, "test": 0.4}


def plant_run(
    root: Path, name: str, offsets: Mapping[int, float], sky: Mapping[int, float] | None = None, *, draw: int = 0,
    prompts: int | Sequence[str] = 30, shift: float = 0.0, noise: str = "0", shape: Sequence[int] = (4, 16, 16),
    golden: int = 3, settings: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write ``root/runs/<name>``.

    Args:
        root: folder of all runs.
        name: of this one.
        offsets: seed -> distance of its features from the reference's mean; its FID is about the square.
        sky: seed -> its part of the attribute ``sky``; 0 where it is not named.
        draw: other numbers, other luck.
        prompts: how many of the bundled set, or texts.
        shift: added to ``sky`` of every image.
        noise: what the noise hashes begin with.
        shape: of the latents.
        golden: how many seeds the book lists, best ones.
        settings: further sections of ``config.yaml``.

    """
    folder = root / "runs" / name
    folder.mkdir(parents=True)
    section = _prompts_section(root, name, prompts)
    listed = load_prompts(PromptsConfig(**section))
    seeds = sorted(offsets)
    keys = [(seed, prompt) for seed in seeds for prompt in listed]
    random = np.random.default_rng([draw, 1])
    of_prompts = np.random.default_rng([draw, 2]).normal(size=len(listed)) * 0.1
    place = {prompt.prompt_id: at for at, prompt in enumerate(listed)}
    features = random.normal(size=(len(keys), DIMENSION)).astype(np.float32)
    features[:, 0] += np.array([offsets[seed] for seed, _ in keys], np.float32)
    images = pd.DataFrame(
        {
            "seed": [seed for seed, _ in keys], "prompt_id": [prompt.prompt_id for _, prompt in keys],
            "split": [prompt.split for _, prompt in keys], "status": "ok",
            "sky": [(sky or {}).get(seed, 0.0) + shift + of_prompts[place[prompt.prompt_id]] for seed, prompt in keys]
            + random.normal(size=len(keys)) * 0.05,
            "border": np.zeros(len(keys)),
        }
    )  # fmt: skip
    images.to_parquet(folder / "images.parquet")
    arrays: dict[str, NDArray[Any]] = {"seed": images["seed"].to_numpy(), "prompt_id": images["prompt_id"].to_numpy()}
    (folder / FEATURES).write_bytes(safetensors_bytes(arrays | {"features": features}, NOTES))
    reference = {
        "features": np.random.default_rng(9).normal(size=(400, DIMENSION)).astype(np.float32),
        "prompt_id": np.full(400, -1),
    }
    (folder / REFERENCE).write_bytes(safetensors_bytes(reference, NOTES | {"source": "planted"}))
    _write_results(folder, images, offsets, golden, noise, shape)
    said = {"name": name, "prompts": section, "sampler": {"guidance_scale": 1.0}} | dict(settings or {})
    (folder / "config.yaml").write_text(yaml.safe_dump(said))
    return folder


def _prompts_section(root: Path, name: str, prompts: int | Sequence[str]) -> dict[str, Any]:
    if isinstance(prompts, int):
        return {"set": "scenes", "limit": prompts, "splits": dict(SPLITS)}
    path = root / f"{name}.txt"
    path.write_text("\n".join(prompts))
    return {"file": str(path), "splits": dict(SPLITS)}


def _write_results(
    folder: Path, images: pd.DataFrame, offsets: Mapping[int, float], golden: int, noise: str, shape: Sequence[int]
) -> None:
    seeds = sorted(offsets)
    table = pd.DataFrame({"seed": seeds, "n": images["prompt_id"].nunique(), "fid": [offsets[s] ** 2 for s in seeds]})
    table["fid_low"], table["fid_high"] = table["fid"] - 0.5, table["fid"] + 0.5
    table["fid_rank"] = table["fid"].rank()
    for column in ("sky", "border"):
        table[f"{column}_mean"] = images.groupby("seed")[column].mean().to_numpy()
    table["border_share"] = table["border_mean"]
    table.to_parquet(folder / "seeds.parquet")
    ranked = [int(seed) for seed in table.sort_values("fid")["seed"]]
    cards = [{"seed": s, "noise_sha256": f"{noise}{s:063d}", "latent_shape": list(shape), "verdict": "inconclusive"}
             for s in seeds]  # fmt: skip
    book = {"cards": cards, "golden": ranked[:golden], "inferior": ranked[::-1][:golden], "diverse": [],
            "confirmation": {"golden_gain_held_out": {"value": 1.0, "seeds": ranked[:3]}}}  # fmt: skip
    (folder / "seedbook.json").write_text(json.dumps(book))
    summary = {
        "images": len(images), "seeds": len(seeds), "fid_best": {"value": 1.5, "low": 1.0, "high": 2.0, "n": 30},
        "split_half_rank_correlation": {"value": 0.8, "low": 0.6, "high": 0.9, "n": len(seeds)},
        "fid_rank_reliability": 0.89, "seed_grip": {"value": 0.4, "low": 0.3, "high": 0.5},
        "golden_gain_held_out": {"value": 1.0, "low": 0.4, "high": 1.6, "n": 12},
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))


def spread_offsets(seeds: int, draw: int = 0) -> dict[int, float]:
    """Offsets of seeds 0 … in a random order: every ranking is as likely as any other."""
    order = np.random.default_rng([draw, 3]).permutation(seeds)
    return {seed: float(0.4 + 2.0 * place / seeds) for seed, place in enumerate(order)}
