"""Pictures -> what a trained classifier says of them, all logits kept. Trains nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from seedml.classifier.calibration import Floats, Integers
from seedml.classifier.trained import Pictures, TrainedClassifier, reduced_pixels
from seedml.progress import progress_bar
from seedml.shards.reader import Sample

CHUNK = 256


class Answers(NamedTuple):
    """What the network says of N pictures."""

    logits: Floats
    """N × K."""
    seeds: Integers
    """N: what really made them."""
    prompt_ids: Integers
    """N."""

    def of(self, rows: np.ndarray[Any, Any]) -> Answers:
        """Some of the pictures, by index or by N bool."""
        return Answers(self.logits[rows], self.seeds[rows], self.prompt_ids[rows])


class Chunk(NamedTuple):
    """A few samples and their pictures, decoded and reduced."""

    samples: list[Sample]
    pictures: Pictures
    """N × S × S × 3 uint8 0..255."""


def reduced_chunks(samples: Iterable[Sample], image_size: int, threads: int, at_once: int = CHUNK) -> Iterator[Chunk]:
    """Samples in their order, at most ``at_once`` at a time, decoded and reduced in ``threads`` threads."""
    rest = iter(samples)
    with ThreadPoolExecutor(threads) as pool:
        while chunk := list(islice(rest, at_once)):
            pictures = pool.map(lambda sample: reduced_pixels(sample.pixels(), image_size), chunk)
            yield Chunk(chunk, np.stack(list(pictures)))


def ask(
    classifier: TrainedClassifier, samples: Iterable[Sample], total: int, image_size: int, threads: int, doing: str
) -> Answers:
    """The network's answers to all samples.

    Args:
        classifier: a trained one.
        samples: pictures at full size, at least one.
        total: about how many, for the progress bar.
        image_size: side in pixels that the network takes.
        threads: that decode.
        doing: in two words, for the progress bar.

    """
    parts: list[Answers] = []
    with progress_bar(doing, total, "images") as bar:
        for chunk in reduced_chunks(samples, image_size, threads):
            seeds = np.array([sample.seed for sample in chunk.samples], np.int64)
            prompt_ids = np.array([sample.prompt_id for sample in chunk.samples], np.int64)
            logits = classifier.logits(chunk.pictures).numpy().astype(np.float64)
            parts.append(Answers(logits, seeds, prompt_ids))
            bar.advance(len(seeds))
    return Answers(*(np.concatenate(values) for values in zip(*parts, strict=True)))
