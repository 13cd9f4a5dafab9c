"""Does summarising a large study stay within a few GB of memory? Prints one JSON object.

    python benchmarks/summarize_memory.py [--seeds 1024] [--images 16] [--dimension 2048] [--permutations 200]
    python benchmarks/summarize_memory.py --seeds 2 --images 10000       # what one seed of full size needs

A run's folder is filled with synthetic features (float32, a spectrum that falls as Inception's does) and one attribute,
and `seedml summarize` is run on it as a process of its own, whose largest resident set the kernel reports. Memory grows
with seeds × images only by the tables of numbers per image; it grows with images × dimension by one seed's features.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from seedml.measurement.parts import Rows
from seedml.measurement.reference_files import ReferenceFeatures
from seedml.measurement.results import FEATURES, write_images, write_reference, write_streamed_features

COLUMNS = ("border", "border_width")


def main() -> None:
    """Measure one size of study and print what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1024)
    parser.add_argument("--images", type=int, default=16, help="images of each seed")
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--permutations", type=int, default=200)
    parser.add_argument("--resampling", default="auto", choices=("auto", "exact", "linear"))
    parser.add_argument("--folder", type=Path, default=None, help="where to put the features; default: temporary")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder, prefix="summarize-memory-") as folder:
        print(json.dumps(measure(wanted, Path(folder)), indent=2))


def measure(wanted: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Fill a run's folder, summarise it, look at what that took."""
    run = folder / "runs" / "synthetic"
    run.mkdir(parents=True)
    fill(run, wanted.seeds, wanted.images, wanted.dimension)
    config = folder / "synthetic.yaml"
    config.write_text(yaml.safe_dump({
        "name": "synthetic", "seeds": f"0:{wanted.seeds}", "model": "seedling",
        "prompts": {"set": "scenes", "limit": wanted.images}, "measure": {"attributes": ["border"]},
        "runs": {"root": str(folder / "runs")}, "tracking": {"mode": "disabled"},
        "statistics": {"permutations": wanted.permutations, "resampling": wanted.resampling},
    }))  # fmt: skip
    subprocess.run([sys.executable, "-m", "seedml", "summarize", str(config)], check=True)
    summary = json.loads((run / "summary.json").read_text())
    seconds = summary["seconds"]["summarize"]
    return {
        "seeds": wanted.seeds, "images_of_each_seed": wanted.images, "dimension": wanted.dimension,
        "resampling": summary["fid_resampling"], "permutations": wanted.permutations,
        "features_gb": round((run / FEATURES).stat().st_size / 1e9, 3),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9, 3),
        "seconds": round(seconds, 1), "seconds_per_seed": round(seconds / wanted.seeds, 4),
        "cpus": os.cpu_count(), "threads": os.environ.get("OMP_NUM_THREADS"), "device": summary["device"],
        "load_average": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def fill(run: Path, seeds: int, images: int, dimension: int) -> None:
    """What `measure` would leave, one seed in memory at a time."""
    seed_ids, prompt_ids = np.repeat(np.arange(seeds), images), np.tile(np.arange(images), seeds)
    generator = np.random.default_rng(0)
    columns = {name: generator.random(len(seed_ids), dtype=np.float32).round() for name in COLUMNS}
    rows = Rows(seed_ids, prompt_ids, np.empty((0, 0), np.float32), columns)
    cells = pd.DataFrame({"seed": seed_ids, "prompt_id": prompt_ids, "split": "train", "status": "ok"})
    write_images(run, rows, cells)
    network: Any = SimpleNamespace(name="synthetic", resize="none", dimension=dimension)
    write_streamed_features(run, rows, parts(seeds, images, dimension), network)
    reference = vectors(np.random.default_rng(1), 2 * dimension, dimension)
    write_reference(run, ReferenceFeatures(reference, np.full(len(reference), -1), "synthetic"), network)


def parts(seeds: int, images: int, dimension: int) -> Iterator[tuple[NDArray[np.int64], ...]]:
    """Each seed's features."""
    for seed in range(seeds):
        generator = np.random.default_rng([2, seed])
        features: Any = vectors(generator, images, dimension, shift=0.02 * generator.standard_normal())
        yield np.full(images, seed), np.arange(images), features


def vectors(generator: np.random.Generator, n: int, dimension: int, shift: float = 0.0) -> NDArray[np.float32]:
    """``n × dimension``: independent, with standard deviations that fall from 1 to 0.01; means of 0.4."""
    spread = np.geomspace(1, 0.01, dimension, dtype=np.float32)
    return spread * (generator.standard_normal((n, dimension), dtype=np.float32) + np.float32(shift)) + np.float32(0.4)


if __name__ == "__main__":
    main()
