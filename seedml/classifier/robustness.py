"""The trained classifier on damaged test pictures: what is the seed's trace made of?

It was trained on whole pictures. So a figure at chance says that what is left does not look like a seed *to it*, not
that nothing is left: for that it has to be trained anew (``retraining.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np

from seedml.classifier.corruptions import Corruption
from seedml.classifier.evidence import exact_share
from seedml.classifier.trained import Pictures, TrainedClassifier, reduced_pixels
from seedml.progress import progress_bar
from seedml.shards.reader import Sample

_CHUNK = 64
UNTOUCHED = Corruption("intact", "the same pictures, untouched", lambda pixels: pixels)


def recognised(
    classifier: TrainedClassifier, samples: Iterable[Sample], total: int, damages: Sequence[Corruption],
    image_size: int, threads: int,
) -> tuple[Mapping[str, int], int]:  # fmt: skip
    """How many pictures it still names right after each damage, and how many pictures there were.

    Args:
        classifier: a trained one, which knows all seeds of the samples.
        samples: pictures at full size.
        total: about how many, for the progress bar.
        damages: done to each picture, each by itself, before it is reduced.
        image_size: side in pixels that the classifier takes.
        threads: that decode and damage.

    """
    right, count, rest = dict.fromkeys((damage.name for damage in damages), 0), 0, iter(samples)

    def views(sample: Sample) -> Pictures:
        whole = sample.pixels()
        return np.stack([reduced_pixels(damage.apply(whole), image_size) for damage in damages])

    with ThreadPoolExecutor(threads) as pool, progress_bar("damage images", total, "images") as bar:
        while chunk := list(islice(rest, _CHUNK)):
            pictures = np.stack(list(pool.map(views, chunk)), axis=1)  # damages × pictures × S × S × 3
            for damage, damaged in zip(damages, pictures, strict=True):
                right[damage.name] += int((classifier.places(damaged, [s.seed for s in chunk]) == 0).sum())
            count += len(chunk)
            bar.advance(len(chunk))
    return right, count


def robustness(
    classifier: TrainedClassifier, samples: Iterable[Sample], total: int, damages: Sequence[Corruption],
    image_size: int, threads: int, confidence: float,
) -> dict[str, dict[str, object]]:  # fmt: skip
    """Name of a damage -> accuracy with its exact interval, chance and a description; see :func:`recognised`."""
    every = [UNTOUCHED, *damages]
    right, count = recognised(classifier, samples, total, every, image_size, threads)
    chance = 1 / len(classifier.seeds)
    return {
        damage.name: exact_share(right[damage.name], count, confidence)
        | {"chance": chance, "description": damage.description}
        for damage in every
    }
