"""A seed book of six seeds, made by hand: what is in it can be told by looking; and one of a tiny model's seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seedml.config import NoiseConfig
from seedml.noise import cell_noise, noise_sha256

GRAYSCALE = {0: 0.0, 1: 0.02, 2: 0.5, 3: 0.9, 4: 0.05, 5: 0.0}
LOCATION = {0: 0.7, 1: 0.45, 2: 0.3, 3: 0.5, 4: 0.6, 5: None}  # of seed 5 no image tells
FID = {0: 20.0, 1: 21.0, 2: 30.0, 3: 60.0, 4: 22.0, 5: 23.0}
VERDICT = {0: "golden", 1: "golden", 2: "inconclusive", 3: "inferior", 4: "golden", 5: "inconclusive"}
RECIPE = {
    "path": "bundled:seedling", "variant": None, "pipeline": "StableDiffusionPipeline", "height": 128, "width": 128,
    "scheduler_options": {}, "initial_seed": None, "step_seed": None, "weights": {}, "versions": {},
}  # fmt: skip


def raw_book(**changes: Any) -> dict[str, Any]:
    """The book as JSON gives it, without version and hash; ``changes`` replace whole fields."""
    return {
        "name": "small", "model": "seedling", "created": "2026-11-23T00:00:00+00:00", "rule": {}, "recipe": RECIPE,
        "cards": [raw_card(seed) for seed in FID], "golden": [0, 1], "inferior": [3], "diverse": [0, 3, 2],
        "spaces": {"layout": {"location_x": 0.1}, "style": {"grayscale": 0.5, "location_x": 0.1}},
        "confirmation": {}, "advice": {},
    } | changes  # fmt: skip


def raw_card(seed: int, /, **changes: Any) -> dict[str, Any]:
    """One card of it."""
    scores: dict[str, dict[str, Any]] = {
        "fid": {"value": FID[seed], "low": FID[seed] - 2, "high": FID[seed] + 2, "n": 8, "prompt_set": "scenes: train"},
        "fid_held_out": {"value": FID[seed] + 9, "n": 4, "prompt_set": "scenes: test"},
        "grayscale": {"value": GRAYSCALE[seed], "low": 0.0, "high": GRAYSCALE[seed] + 0.1, "n": 8},
        "location_x": {"n": 8} if LOCATION[seed] is None else {"value": LOCATION[seed], "n": 8},
    }
    return {
        "seed": seed, "model": "seedling", "revision": None, "generator_device": "cpu", "torch_version": "2.11.0",
        "latent_shape": [4, 16, 16], "dtype": "float32", "scheduler": "DDIMScheduler", "steps": 4,
        "guidance_scale": 1.0, "noise_sha256": "0" * 64, "scores": scores, "q_value": 0.01, "verdict": VERDICT[seed],
        "tags": ["high grayscale"] if seed == 3 else ["odd one"] if seed == 5 else [],
    } | changes  # fmt: skip


def tiny_book(model: Path, seeds: Sequence[int] = (3, 7, 469), **changes: Any) -> dict[str, Any]:
    """A book of seeds whose noise is real, on a model folder of ``tiny_models``.

    Args:
        model: the folder.
        seeds: of the cards; all golden, the first best.
        changes: of the cards (``scheduler``, ``steps`` …) and of the recipe (``scheduler_options``, ``pipeline`` …).

    """
    recipe = RECIPE | {"path": str(model), "height": 32, "width": 32}
    recipe |= {key: changes.pop(key) for key in list(changes) if key in {*recipe, "model_options"}}
    noise = NoiseConfig(initial_seed=recipe["initial_seed"], step_seed=recipe["step_seed"])  # type: ignore[arg-type]
    common = {"model": "tiny", "steps": 3, "guidance_scale": 3.0} | changes
    cards = []
    for at, seed in enumerate(seeds):
        own = cell_noise([seed], (4, 16, 16), noise)[0][0]
        card = raw_card(0, **common, noise_sha256=noise_sha256(own))
        cards.append(card | {"seed": seed, "scores": card["scores"] | {"fid": {"value": 20.0 + at, "n": 8}}})
    return raw_book(model="tiny", recipe=recipe, cards=cards, golden=list(seeds), inferior=[], diverse=list(seeds))
