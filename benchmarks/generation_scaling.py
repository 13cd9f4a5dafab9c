"""Does generation stay small, and do processes share the work? Prints one JSON object; the README quotes it.

    python benchmarks/generation_scaling.py [--tiles 20] [--tile-images 64] [--batch-size 16] [--repeats 3]

memory     peak memory (ru_maxrss) of `seedml generate` with so many tiles and with ten times as many
processes  images a second of two processes with one thread each on one folder, and of one process with one thread.
           Counted between the first tiles and the last ones, so without start and end
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

TIMES = 10
MOST_GROWTH, LEAST_SPEEDUP = 1.05, 1.8


def main() -> None:
    """Measure and print."""
    options = parse()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        study = Study(Path(folder), options)
        few, many, one, two = [], [], [], []
        for _ in range(options.repeats):
            few.append(study.peak(options.tiles))
            many.append(study.peak(options.tiles * TIMES))
            one.append(study.rate(options.tiles * 2, processes=1))
            two.append(study.rate(options.tiles * 2, processes=2))
    growth = statistics.median(many) / statistics.median(few)
    speedups = [both / alone for both, alone in zip(two, one, strict=True)]
    print(json.dumps({
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "cores": len(os.sched_getaffinity(0)),
        "model": options.model, "batch_size": options.batch_size, "images_in_a_tile": options.tile_images,
        "memory": {
            "tiles": [options.tiles, options.tiles * TIMES], "megabytes": [in_megabytes(few), in_megabytes(many)],
            "growth": round(growth, 4), "at_most": MOST_GROWTH,
        },
        "processes": {
            "images_per_second": {"one": [round(r, 2) for r in one], "two": [round(r, 2) for r in two]},
            "speedup": round(statistics.median(speedups), 3), "at_least": LEAST_SPEEDUP,
        },
        "versions": {name: version(name) for name in ("seedml", "torch", "diffusers")},
    }, indent=2))  # fmt: skip


def in_megabytes(kilobytes: list[int]) -> list[float]:
    """For people."""
    return [round(value * 1024 / 1e6, 1) for value in kilobytes]


def parse() -> argparse.Namespace:
    """The command line."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--tiles", type=int, default=20)
    arguments.add_argument("--tile-images", type=int, default=64, help="a multiple of --batch-size")
    arguments.add_argument("--batch-size", type=int, default=16)
    arguments.add_argument("--model", default="seedling", help="a name in configs/models, or a pipeline's folder")
    arguments.add_argument("--steps", type=int, help="sampling steps; default: the model's own")
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--folder", type=Path, help="on the disk to write to; default: the temporary folder's")
    options = arguments.parse_args()
    if options.tiles < 4:
        arguments.error("--tiles has to be 4 or more: two processes need a beginning, a middle and an end")
    if options.tile_images % options.batch_size:
        arguments.error("--tile-images has to be a multiple of --batch-size")
    return options


class Study:
    """Makes the same tiles again and again, each time in a new folder."""

    def __init__(self, root: Path, options: argparse.Namespace) -> None:
        self._root, self._options = root, options
        self._runs = 0

    def peak(self, tiles: int) -> int:
        """Memory of one process in kilobytes."""
        _, usage = self._run(tiles, 1)
        return max(usage)

    def rate(self, tiles: int, processes: int) -> float:
        """Images a second while all processes are at work."""
        root, _ = self._run(tiles, processes)
        ends = sorted(path.stat().st_mtime for path in (root / "shards" / "benchmark").glob("train-*.json"))
        assert len(ends) == tiles, "every tile is there"
        inside = ends[2 * processes : -processes]
        return (len(inside) - 1) * int(self._options.tile_images) / (inside[-1] - inside[0])

    def _run(self, tiles: int, processes: int) -> tuple[Path, list[int]]:
        """Where the tiles are, and the peak memory of each process in kilobytes."""
        self._runs += 1
        root = self._root / str(self._runs)
        root.mkdir()
        command = [sys.executable, "-m", "seedml", "generate", str(self._write(root, tiles))]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with (root / "said").open("w") as said:
            started = [
                subprocess.Popen(command, env=environment, stdout=said, stderr=said, cwd=root) for _ in range(processes)
            ]
            ended = [os.wait4(process.pid, 0) for process in started]
        assert all(status == 0 for _, status, _ in ended), (root / "said").read_text()
        return root, [usage.ru_maxrss for _, _, usage in ended]

    def _write(self, root: Path, tiles: int) -> Path:
        """A configuration with one tile for each seed."""
        model: Any = {"path": self._options.model} if Path(self._options.model).is_dir() else self._options.model
        settings = {
            "name": "benchmark", "seeds": f"0:{tiles}", "model": model,
            "prompts": {"limit": self._options.tile_images, "splits": {"train": 1.0}},
            "sampler": {"batch_size": self._options.batch_size, "steps": self._options.steps},
            "shards": {"root": str(root / "shards"), "tile_seeds": 1, "tile_prompts": self._options.tile_images},
            "runs": {"root": str(root / "runs")}, "trainer": {"accelerator": "cpu", "threads": 1},
            "tracking": {"mode": "disabled"},
        }  # fmt: skip
        path = root / "benchmark.yaml"
        path.write_text(yaml.safe_dump(settings))
        return path


if __name__ == "__main__":
    main()
