"""How many images a second do the default attributes measure? Prints one JSON object; docs/attributes.md quotes it.

    python benchmarks/attributes.py [--threads 2] [--repeats 5] [--batch 64]

Pictures are rendered scenes, enlarged for 512 pixels and with grain; they are in memory, so that nothing but measuring
counts. Two worlds: ``of_seedling``, where the scene parser reads every picture and counts, and ``others``, where rules
take its place. Reading letters (RapidOCR) is counted apart. The best of the repeats counts, for other work on the
machine only makes it slower; ``cpu_ms`` is the processor's time for an image, of one core, and depends less on it.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch, load_attributes, measure_attributes
from seedml.config import MeasureConfig
from seedml.models.bundled.parser import SceneParser, load_parser
from seedml.models.bundled.scenes import draw, sample_scenes

TARGETS = {"128": 400, "512": 60}  # images a second on two cores, scene parser included
READS_LETTERS = "lettering"


class Speed(NamedTuple):
    """Of one way to measure."""

    images_per_second: float
    cpu_ms: float
    """Processor time for an image, of one core."""


def main() -> None:
    """Measure and print."""
    options = parse()
    torch.set_num_threads(options.threads)
    attributes, parser = load_attributes(MeasureConfig().attributes), load_parser().folded()
    report: dict[str, object] = {"threads": options.threads, "targets": TARGETS}
    with torch.inference_mode():
        for side, batch in ((128, options.batch), (512, max(1, options.batch // 8))):
            images = pictures(side, batch)
            report[str(side)] = {
                "of_seedling": all_of(attributes, images, parser, options.repeats),
                "others": all_of(without_letters(attributes), images, None, options.repeats),
            }
        report["memory_mib"] = memory(attributes, parser, options.batch)
    print(json.dumps(report, indent=1))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64, help="images of 128 pixels at a time; an eighth of 512")
    return parser.parse_args()


def pictures(side: int, count: int, first: int = 0) -> Tensor:
    """``count × 3 × side × side`` uint8."""
    scenes = draw(sample_scenes(17, range(first, first + count))).float()
    large = torch.nn.functional.interpolate(scenes, (side, side), mode="bilinear")
    grain = torch.arange(side * side).view(side, side) * 40503 % 65536 // 8192 - 4  # -4 … 3, without a generator
    return (large + grain).clamp(0, 255).to(torch.uint8)


def without_letters(attributes: dict[str, Attribute]) -> dict[str, Attribute]:
    """All but the one that reads letters."""
    return {name: attribute for name, attribute in attributes.items() if name != READS_LETTERS}


def all_of(
    attributes: dict[str, Attribute], images: Tensor, parser: SceneParser | None, repeats: int
) -> dict[str, object]:
    """All together, and each by itself; in the parser's world the parser by itself too."""
    prompts = ["a red ball on grass"] * len(images)

    def together() -> None:
        reading = None if parser is None else parser.read(images)
        measure_attributes(attributes, AttributeBatch(images, prompts, reading))

    report: dict[str, object] = speed(together, len(images), repeats)._asdict()
    reading = None
    if parser is not None:
        reading = parser.read(images)
        report["parser_cpu_ms"] = speed(lambda: parser.read(images), len(images), repeats).cpu_ms
    each = {
        name: speed(
            lambda one=attribute: one.measure(AttributeBatch(images, prompts, reading)), len(images), repeats
        ).cpu_ms
        for name, attribute in attributes.items()
    }
    return {**report, "each_cpu_ms": each}


def speed(run: Callable[[], object], images: int, repeats: int) -> Speed:
    """The best of some runs, after one to warm up."""
    run()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Speed(round(images / min(walls), 1), round(1000 * min(cpus) / images, 3))


def memory(attributes: dict[str, Attribute], parser: SceneParser, batch: int) -> dict[str, float]:
    """Peak memory after some batches, and how much it has grown after ten times as many."""
    peaks = {}
    for name, batches in (("after_4_batches", 4), ("after_40_batches", 40)):
        for number in range(batches):
            images = pictures(128, batch, number * batch)
            measure_attributes(attributes, AttributeBatch(images, [""] * batch, parser.read(images)))
        peaks[name] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    return peaks


if __name__ == "__main__":
    main()
