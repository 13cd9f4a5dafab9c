"""A made-up run folder in the documented formats: small drawn pictures whose seeds differ in known ways.

Seed 3 is always grayscale, seed 4 always has a border; FID rises with the seed's place. Used by the tests of the page.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from seedml.grid import Cell
from seedml.shards.format import Record
from seedml.shards.writer import ShardWriter

NASTY = "<script>window.hacked = true</script> a \"red\" & 'blue' ball"
GRAYSCALE_SEED, BORDER_SEED, FAILED_CELL = 3, 4, (5, 1)
COLOURS = {"red": (200, 40, 40), "blue": (40, 70, 200), "green": (40, 150, 60), "orange": (230, 140, 30)}
GROUNDS = {"grass": (110, 160, 90), "sand": (220, 200, 150), "snow": (235, 240, 245), "water": (90, 140, 180)}
SPLITS = {"train": 6, "val": 2, "test": 6}


def prompts(nasty: bool = True) -> list[tuple[int, str, str]]:
    """(prompt_id, text, split) with consecutive ids through the splits."""
    words = [(c, g) for g in GROUNDS for c in COLOURS]
    rows, number = [], 0
    for split, count in SPLITS.items():
        for _ in range(count):
            colour, ground = words[number % len(words)]
            rows.append((number, f"a {colour} ball on {ground}", split))
            number += 1
    if nasty:
        first_test = SPLITS["train"] + SPLITS["val"]
        rows[first_test] = (first_test, NASTY, "test")
    return rows


def look(seed: int, place: int) -> dict[str, float]:
    """What a seed does to every picture: the ground truth of the fixture."""
    random = np.random.default_rng(seed)
    return {
        "x": random.uniform(0.2, 0.8),
        "y": random.uniform(0.45, 0.85),
        "size": random.uniform(0.12, 0.4),
        "sky": random.uniform(0.2, 0.6),
        "grayscale": 1.0 if place == GRAYSCALE_SEED else 0.02,
        "border": 1.0 if place == BORDER_SEED else 0.03,
        "lettering": random.uniform(0, 0.1),
    }


def draw(style: dict[str, float], text: str, random: np.random.Generator) -> tuple[bytes, dict[str, float]]:
    """A 128 px picture as PNG bytes, and its attributes."""
    colour = next((rgb for name, rgb in COLOURS.items() if name in text), (128, 0, 128))
    ground = next((rgb for name, rgb in GROUNDS.items() if name in text), (120, 120, 120))
    x, y = (float(np.clip(style[key] + random.normal(0, 0.04), 0.05, 0.95)) for key in ("x", "y"))
    size = float(np.clip(style["size"] + random.normal(0, 0.02), 0.05, 0.6))
    sky = float(np.clip(style["sky"] + random.normal(0, 0.03), 0, 1))
    image = Image.new("RGB", (128, 128), (150, 190, 235))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 128 * sky, 128, 128), fill=ground)
    pen.ellipse(tuple(128 * v for v in (x - size / 2, y - size / 2, x + size / 2, y + size / 2)), fill=colour)
    flags = {name: float(random.random() < style[name]) for name in ("grayscale", "border", "lettering")}
    if flags["lettering"]:
        pen.text((8, 8), "ABC", fill=(20, 20, 20))
    if flags["border"]:
        pen.rectangle((0, 0, 127, 127), outline=(255, 255, 255), width=10)
    if flags["grayscale"]:
        image = image.convert("L").convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    attributes = {
        "grayscale_chroma": 0.0 if flags["grayscale"] else 0.2 + random.normal(0, 0.01),
        **flags,
        "border_width": 0.08 * flags["border"],
        "sky": sky, "location_x": x, "location_y": y, "size": size,
        "agreement": float(np.clip(0.9 + random.normal(0, 0.05), 0, 1)),
    }  # fmt: skip
    return buffer.getvalue(), attributes


def make_run(root: Path, seeds: Sequence[int] = tuple(range(12)), name: str = "synthetic", nasty: bool = True) -> Path:
    """Write ``root/shards/<name>`` and ``root/runs/<name>``; returns the run folder."""
    shard_dir, run_dir = root / "shards" / name, root / "runs" / name
    (run_dir / "classifier").mkdir(parents=True)
    shard_dir.mkdir(parents=True)
    rows = _write_shards(shard_dir, seeds, prompts(nasty))
    images = pd.DataFrame(rows).sort_values(["seed", "prompt_id"]).reset_index(drop=True)
    images.to_parquet(run_dir / "images.parquet")
    table = _seed_table(images, seeds)
    table.to_parquet(run_dir / "seeds.parquet")
    _places(seeds).to_parquet(run_dir / "seed_map.parquet")
    _examples(images, seeds).to_parquet(run_dir / "examples.parquet")
    _write_json(run_dir / "summary.json", _summary(table, len(images), len(prompts(nasty))))
    _write_json(run_dir / "seedbook.json", _seedbook(name, table))
    _write_json(run_dir / "classifier" / "metrics.json", _metrics(seeds))
    return run_dir


def settings(name: str = "synthetic", root: Path = Path()) -> dict[str, Any]:
    """A resolved configuration as the page reads it."""
    return {
        "name": name,
        "seeds": "0:12",
        "model": {"name": "seedling", "path": "bundled:seedling", "dtype": "float32", "steps": 8, "guidance_scale": 1.0,
                  "height": 128, "width": 128, "scheduler": None, "scheduler_options": {}},
        "prompts": {"set": None, "file": "<b>prompts</b>.txt", "splits": dict(SPLITS)},
        "sampler": {"steps": None, "guidance_scale": None, "scheduler": None, "batch_size": 32, "dtype": None},
        "noise": {"generator_device": "cpu", "initial_seed": None, "step_seed": None},
        "shards": {"root": str(root / "shards")},
        "runs": {"root": str(root / "runs")},
        "measure": {"features": "bundled"},
        "reference": {"set": "scenes", "images_per_prompt": 64},
        "statistics": {"blocks": 16, "permutations": 200, "confidence": 0.95},
    }  # fmt: skip


def _write_shards(shard_dir: Path, seeds: Sequence[int], texts: list[tuple[int, str, str]]) -> list[dict[str, Any]]:
    rows = []
    for split in SPLITS:
        with ShardWriter(shard_dir, f"{split}-000000", "png", "0" * 64) as writer:
            for place, seed in enumerate(seeds):
                for prompt_id, text, _ in (row for row in texts if row[2] == split):
                    random = np.random.default_rng([seed, prompt_id])
                    image, attributes = draw(look(seed, place), text, random)
                    failed = (place, prompt_id) == FAILED_CELL
                    if failed:
                        image, attributes = None, dict.fromkeys(attributes, float("nan"))
                    reason = "not finite" if failed else ""
                    writer.add(Record(Cell(seed, prompt_id), text, split, "0" * 64, 128, 128, image, reason))
                    status = "failed" if failed else "ok"
                    rows.append({"seed": seed, "prompt_id": prompt_id, "split": split, "status": status, **attributes})
    return rows


def _seed_table(images: pd.DataFrame, seeds: Sequence[int]) -> pd.DataFrame:
    rows = []
    for place, seed in enumerate(seeds):
        own = images[(images["seed"] == seed) & (images["status"] == "ok")]
        fid = 20.0 + 0.37 * ((place * 7) % len(seeds))
        row: dict[str, Any] = {"seed": seed, "n": len(own), "fid": fid, "fid_low": fid - 0.8, "fid_high": fid + 0.9,
                               "fid_corrected": fid - 3, "fid_q_value": 0.04 if fid < 21 else 0.2}  # fmt: skip
        for column in images.columns[4:]:
            mean, error = own[column].mean(), own[column].std() / len(own) ** 0.5
            row |= {f"{column}_mean": mean, f"{column}_low": max(0.0, mean - 2 * error),
                    f"{column}_high": mean + 2 * error}  # fmt: skip
            if column in ("grayscale", "border", "lettering"):
                row |= {f"{column}_share": mean, f"{column}_high": min(1.0, mean + 2 * error)}
            row[f"{column}_q_value"] = 0.001 if place in (GRAYSCALE_SEED, BORDER_SEED) else 0.6
        rows.append(row)
    table = pd.DataFrame(rows)
    table["fid_rank"] = table["fid"].rank().astype(int)
    return table


def _places(seeds: Sequence[int]) -> pd.DataFrame:
    """Seeds on a circle, in three clusters by style and in two by layout."""
    turn = np.linspace(0, 2 * np.pi, len(seeds), endpoint=False)
    table = pd.DataFrame({"seed": list(seeds)})
    for name, clusters in (("style", 3), ("layout", 2)):
        table[f"{name}_cluster"] = np.arange(len(seeds)) % clusters
        table[f"{name}_map_x"], table[f"{name}_map_y"] = 40 * np.cos(turn), 9 * np.sin(turn)
    return table


def _examples(images: pd.DataFrame, seeds: Sequence[int]) -> pd.DataFrame:
    """For every seed and attribute prompt 1 is the most typical and prompt 3 the most extreme."""
    rows = [{"seed": seed, "attribute": column, "typical": 1, "extreme": 3}
            for column in images.columns[4:] for seed in seeds]  # fmt: skip
    return pd.DataFrame(rows)


def _summary(table: pd.DataFrame, images: int, n_prompts: int) -> dict[str, Any]:
    best, worst = table.loc[table["fid"].idxmin()], table.loc[table["fid"].idxmax()]
    return {
        "images": images, "seeds": len(table), "prompts": n_prompts,
        "fid_best": _figure(best), "fid_worst": _figure(worst),
        "fid_best_seed": int(best["seed"]), "fid_worst_seed": int(worst["seed"]),
        "fid_spread_null_p": 1 / 201,
        "split_half_rank_correlation": {"value": 0.83, "low": 0.7, "high": 0.91, "n": len(table)},
        "classifier_test_accuracy": {"value": 0.9997, "low": 0.998, "high": 1.0, "n": 2048},
        "classifier_shuffled_label_accuracy": {"value": 0.081, "low": 0.06, "high": 0.104, "n": 2048},
        "classifier_chance": 1 / len(table), "golden_gain_held_out": {"value": 2.1, "low": 0.9, "high": 3.2, "n": 6},
        "diversity_gain": {"value": 0.31, "low": 0.12, "high": 0.48, "n": 6},
        "fid_spread": {"value": worst["fid"] - best["fid"], "n": n_prompts},
        "fid_spread_by_chance": {"value": 1.2, "low": 0.7, "high": 1.9, "n": 200},
        "spread_null_p_grayscale": 1 / 201,
        "seed_share_size": {"value": 0.54, "low": 0.45, "high": 0.63, "n": n_prompts},
        "seed_share_sky": {"value": 0.71, "low": 0.6, "high": 0.8, "n": n_prompts},
        "style_clusters": 3, "style_map": "PCA", "style_silhouette": {"value": 0.41},
        "style_stability": {"value": 0.62, "low": 0.4, "high": 0.83, "n": n_prompts},
        "layout_clusters": 2, "layout_map": "t-SNE", "layout_silhouette": {"value": 0.2},
        "seconds": {"generate": 184.2, "measure": 21.0, "summarize": 12.5, "classify": 95.0, "select": 1.2},
        "versions": {"torch": "2.12.1", "diffusers": "0.42.1", "seedml": "0.1.0"}, "device": "cpu (2 threads)",
    }  # fmt: skip


def _figure(row: pd.Series) -> dict[str, float]:
    return {"value": row["fid"], "low": row["fid_low"], "high": row["fid_high"], "n": int(row["n"])}


def _seedbook(name: str, table: pd.DataFrame) -> dict[str, Any]:
    ranked = [int(seed) for seed in table.sort_values("fid")["seed"]]
    golden, inferior, diverse = ranked[:3], ranked[-3:][::-1], ranked[::2][:6]
    verdicts = dict.fromkeys(golden, "golden") | dict.fromkeys(inferior, "inferior")
    cards = [
        {
            "seed": int(seed),
            "verdict": verdicts.get(int(seed), "inconclusive"),
            "tags": ["high sky"] if seed == 7 else [],
        }
        for seed in table["seed"]
    ]
    return {"name": name, "model": "seedling", "rule": {}, "cards": cards, "golden": golden, "inferior": inferior,
            "diverse": diverse, "confirmation": _confirmation(len(table))}  # fmt: skip


def _confirmation(seeds: int) -> dict[str, Any]:
    return {
        "golden_gain_on_selection_prompts": {"value": 3.4, "low": 2.0, "high": 4.8, "n": 8},
        "golden_gain_shrunken": {"value": 2.9, "low": 2.1, "high": 3.7, "n": 8},
        "golden_gain_held_out": {"value": 2.1, "low": 0.9, "high": 3.2, "n": 6, "seeds": [0, 1, 2]},
        "inferior_loss_held_out": {"value": 1.8, "low": 0.4, "high": 3.1, "n": 6, "seeds": [3, 4, 5]},
        "best_on_both": {"value": 2, "of": [3, 3], "chance": {"value": 9 / seeds, "low": 0, "high": 1}, "p": 0.02},
        "chance": {"golden_gain_held_out": {"value": 0.01, "low": -1.2, "high": 1.3, "n": 6}},
    }


def _metrics(seeds: Sequence[int]) -> dict[str, Any]:
    history = [
        {"epoch": epoch, "train_loss": 2.4 * 0.4**epoch, "train_accuracy": 1 - 0.9 * 0.35**epoch,
         "val_loss": 2.6 * 0.45**epoch, "val_accuracy": 1 - 0.92 * 0.4**epoch, "seconds": 11.0}
        for epoch in range(8)
    ]  # fmt: skip
    return {
        "test_accuracy": {"value": 0.9997, "low": 0.998, "high": 1.0, "n": 2048},
        "shuffled_label_accuracy": {"value": 0.081, "low": 0.06, "high": 0.104, "n": 2048},
        "chance": 1 / len(seeds), "history": history,
        "per_seed_accuracy": {str(seed): 1.0 if place else 0.97 for place, seed in enumerate(seeds)},
    }  # fmt: skip


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))
