"""Do the seeds that the paper's first author named do what was said of them? For every way of drawing noise, a table.

    python benchmarks/paper_probe.py shards/paper_probe shards/paper_probe-cuda …

The folders are those that ``seedml generate paper_probe`` and its variants leave (configs/paper_probe.yaml). Each
seed's mean of an attribute over the prompts, and whether the named seed has the most of it. A hint, not a test.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from seedml.attributes import AttributeBatch, load_attributes, measure_attributes
from seedml.shards.dataset import open_dataset
from seedml.shards.reader import read_shard

NAMED = {"grayscale": 12, "border": 16, "sky": 133}
"""Attribute -> the seed that was named for it, of Stable Diffusion 2.0."""


def seed_means(folder: Path) -> dict[int, dict[str, float]]:
    """Seed -> attribute -> mean over its pictures of a data set."""
    attributes = load_attributes([*NAMED])
    found: dict[int, list[Mapping[str, torch.Tensor]]] = {}
    for shard in open_dataset(folder).shards():
        for sample in read_shard(shard):
            pixels = torch.from_numpy(np.ascontiguousarray(sample.pixels())).permute(2, 0, 1)[None]
            measured = measure_attributes(attributes, AttributeBatch(pixels, [sample.prompt]))
            found.setdefault(sample.seed, []).append(measured)
    return {
        seed: {name: float(np.nanmean([float(row[name]) for row in rows])) for name in NAMED}
        for seed, rows in sorted(found.items())
    }


def agreed(means: Mapping[int, Mapping[str, float]]) -> dict[str, bool]:
    """Attribute -> whether the seed named for it has more of it than every other."""
    return {
        name: all(means[named][name] > row[name] for seed, row in means.items() if seed != named)
        for name, named in NAMED.items()
    }


def table(folder: Path, means: Mapping[int, Mapping[str, float]]) -> list[str]:
    """For people."""
    right = agreed(means)
    lines = [f"{folder}: {sum(right.values())} of {len(right)} named seeds are first", f"  {'seed':>6}"]
    lines[1] += "".join(f"{name:>12}" for name in NAMED)
    for seed, row in means.items():
        cells = "".join(f"{row[name]:>11.3f}{'*' if NAMED[name] == seed else ' '}" for name in NAMED)
        lines.append(f"  {seed:>6}{cells}")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for every folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="data sets, shards/<name>")
    for folder in parser.parse_args(arguments).folders:
        print("\n".join(table(folder, seed_means(folder))))
    print("* named for it")


if __name__ == "__main__":
    main()
