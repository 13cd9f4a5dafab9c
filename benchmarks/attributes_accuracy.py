"""How right are the attributes? Prints one JSON object; docs/attributes.md quotes it.

    python benchmarks/attributes_accuracy.py [--scenes 5000] [--hard 40] [--photographs 6]

Against exact labels of freshly rendered scenes, of hand-made hard cases, and against what was done to photographs
(tests/attribute_cases.py, none of them used to set a threshold). Flags are scored by their accuracy in per cent, with
how many were missed and how many were false; numbers by the mean absolute error, depth by its rank correlation.
``unknown`` counts pictures on which a detector gives no answer; they are in no other figure.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from scipy.stats import spearmanr
from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch, attribute_names, load_attributes, measure_attributes
from seedml.models.bundled.parser import SceneParser, load_parser

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from attribute_cases import Cases, hard_scenes, photographs, rendered

FLAGS = ("grayscale", "grayscale_tinted", "border", "lettering")
RANKED = ("depth",)
TARGETS = {
    "accuracy_percent of grayscale, border and lettering": 99.0,
    "mean_error of sky, location_x, location_y and size": 0.02,
    "rank_correlation of depth": 0.95,
}
BATCH = 50
Found = dict[str, list[tuple[Tensor, Tensor]]]
"""Column -> (found, true) of each group of pictures."""


def main() -> None:
    """Measure and print."""
    options = parse()
    torch.set_num_threads(options.threads)
    attributes, parser = load_attributes([n for n in attribute_names() if n != "agreement"]), load_parser().folded()
    print(
        json.dumps(
            {
                "scenes": score_together(rendered(options.scenes), attributes, parser),
                "hard_scenes": score_apart(hard_scenes(options.hard), attributes, parser),
                "photographs": score_apart(photographs(crops=options.photographs), attributes, parser),
                "targets": TARGETS,
            },
            indent=1,
        )
    )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=5000)
    parser.add_argument("--hard", type=int, default=40, help="scenes of each hard kind")
    parser.add_argument("--photographs", type=int, default=6, help="crops of each photograph")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def score_together(groups: Iterable[Cases], attributes: dict[str, Attribute], parser: SceneParser) -> dict[str, object]:
    """One figure a column over all groups."""
    every: Found = {}
    for cases in groups:
        for column, pair in measured(cases, attributes, parser):
            every.setdefault(column, []).append(pair)
    return {column: score(column, pairs) for column, pairs in every.items()}


def score_apart(groups: Iterable[Cases], attributes: dict[str, Attribute], parser: SceneParser) -> dict[str, object]:
    """Figures of each group, and of all together under ``all``."""
    every: Found = {}
    apart: dict[str, object] = {}
    for cases in groups:
        pairs = dict(measured(cases, attributes, parser))
        apart[cases.name] = {column: score(column, [pair]) for column, pair in pairs.items()}
        for column, pair in pairs.items():
            every.setdefault(column, []).append(pair)
    return {"all": {column: score(column, pairs) for column, pairs in every.items()}, **apart}


def measured(
    cases: Cases, attributes: dict[str, Attribute], parser: SceneParser
) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Each column that has a truth, with what was found and what is true.

    Attributes that say nothing of the cases are not measured: reading letters takes long.
    """
    able = {n: a for n, a in attributes.items() if set(a.columns) & set(cases.truth)}
    parts = []
    with torch.inference_mode():
        for images in cases.images.split(BATCH):
            reading = parser.read(images) if cases.of_seedling else None
            parts.append(measure_attributes(able, AttributeBatch(images, [""] * len(images), reading)))
    for column, true in cases.truth.items():
        if column in parts[0]:
            yield column, (torch.cat([part[column] for part in parts]), true)


def score(column: str, pairs: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """The figures of one column."""
    found, true = (torch.cat(side).double() for side in zip(*pairs, strict=True))
    found, true = found[~true.isnan()], true[~true.isnan()]
    known = ~found.isnan()
    counts = {"n": len(found), **({"unknown": int((~known).sum())} if not known.all() else {})}
    found, true = found[known], true[known]
    if column in FLAGS:
        missed, false = int(((found == 0) & (true == 1)).sum()), int(((found == 1) & (true == 0)).sum())
        share = round(100 * (1 - (missed + false) / max(1, len(found))), 3)
        return {**counts, "accuracy_percent": share, "missed": missed, "false": false}
    error = {"mean_error": round((found - true).abs().mean().item(), 5)}
    if column in RANKED:
        error["rank_correlation"] = round(float(spearmanr(found, true).statistic), 4)
    return {**counts, **error}


if __name__ == "__main__":
    main()
