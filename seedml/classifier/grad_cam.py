"""Where does the classifier look? Grad-CAM of each picture's own seed, averaged over the seed's pictures, and a test.

Grad-CAM (Selvaraju et al. 2017) and LayerCAM are pytorch-grad-cam's. A map is a claim: what it marks matters. So a
part of every picture is hidden by its own map and, for comparison, by the map of another seed's picture, which is of
the same kind and knows nothing of this one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from seedml.classifier.answers import reduced_chunks
from seedml.classifier.evidence import exact_share
from seedml.classifier.trained import Pictures, TrainedClassifier
from seedml.files import atomic_path
from seedml.progress import progress_bar
from seedml.shards.reader import Sample

FILE = "grad_cam.safetensors"
CHUNK = 128
"""Pictures that are looked at together."""
PROMPTS = 8
"""Held-out prompts whose pictures are looked at, the first ones, for every seed."""
HIDDEN = 0.1
"""Share of a picture that the test hides."""
CELLS = 7
"""Fewest cells a side of the layer that is looked at: what the last layer of a ResNet has at 224 pixels."""
SIDE = 16
"""Cells a side of the maps that are kept, at most."""

Maps = np.ndarray[Any, np.dtype[np.float32]]


class Layer(NamedTuple):
    """The layer that Grad-CAM looks at."""

    name: str
    module: nn.Module
    cells: tuple[int, int]
    """Rows and columns of its map."""
    last: bool
    """Whether no later layer has a map of more than one cell."""

    @property
    def method(self) -> str:
        """``GradCAM`` for the last layer; ``LayerCAM`` (Jiang et al. 2021) for earlier ones.

        Grad-CAM weighs a channel by its mean gradient, as if it mattered alike everywhere: so it does behind the last
        layer only. LayerCAM weighs each place by its own. (Hiding a tenth of quickstart's pictures, ``layer1`` at 32
        pixels: LayerCAM leaves 73 % right, 93 % by another seed's map; Grad-CAM 93 and 97 %.)
        """
        return "GradCAM" if self.last else "LayerCAM"


class Attention(NamedTuple):
    """Maps of a study's pictures, reduced to C × C cells."""

    seeds: np.ndarray[Any, np.dtype[np.int64]]
    """K, ascending."""
    seed_maps: Maps
    """K × C × C: mean over the seed's pictures; each picture's map has a mean of 1."""
    picture_seeds: np.ndarray[Any, np.dtype[np.int64]]
    """N."""
    picture_prompt_ids: np.ndarray[Any, np.dtype[np.int64]]
    """N."""
    picture_maps: Maps
    """N × C × C, 0..1 of the picture's highest."""

    def save(self, path: Path, notes: Mapping[str, str]) -> None:
        """Write it, whole or not at all; pictures' maps in 256 steps."""
        from safetensors.numpy import save_file

        arrays = self._asdict() | {"picture_maps": (255 * self.picture_maps).round().astype(np.uint8)}
        with atomic_path(path) as temporary:
            save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, temporary, dict(notes))


def watched_layer(network: nn.Module, image_size: int) -> Layer:
    """The deepest layer whose map has at least ``CELLS`` cells a side; of a picture too small for that, the finest one.

    Deep layers know seeds, shallow ones places. A ResNet ends in 7 × 7 cells at 224 pixels, but in a single one at 32.

    Args:
        network: N × 3 × S × S uint8 -> N × K.
        image_size: S.

    """
    found: list[tuple[str, nn.Module, tuple[int, int]]] = []

    def look(name: str, module: nn.Module, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            found.append((name, module, (output.shape[2], output.shape[3])))

    hooks = [
        module.register_forward_hook(lambda module, _, output, name=name: look(name, module, output))
        for name, module in network.named_modules()
    ]
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8, device=_device(network)))
    finally:
        for hook in hooks:
            hook.remove()
    assert found, "a torchvision classification network begins with a convolution"
    enough = min(CELLS, max(min(cells) for *_, cells in found))
    place = max(place for place, (*_, cells) in enumerate(found) if min(cells) >= enough)
    return Layer(*found[place], last=all(max(cells) == 1 for *_, cells in found[place + 1 :]))


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def attention_maps(network: nn.Module, layer: Layer, pictures: Pictures, labels: Iterable[int]) -> Maps:
    """The layer's map of one class for each picture: N × S × S, 0..1 of the picture's highest, or all 0.

    Args:
        network: N × 3 × S × S uint8 -> N × K logits, in evaluation mode.
        layer: one of its own.
        pictures: N × S × S × 3 uint8.
        labels: N classes.

    """
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    inputs = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    method = getattr(pytorch_grad_cam, layer.method)
    with torch.enable_grad(), method(network, [layer.module]) as class_map:
        maps = class_map(inputs, [ClassifierOutputTarget(int(label)) for label in labels])
    network.zero_grad(set_to_none=True)  # gradients of a network that is not trained any more
    return np.asarray(maps, np.float32)


def hide(pictures: Pictures, maps: Maps, share: float, seed: int = 0) -> Pictures:
    """The ``share`` of each picture where its map is highest, in the picture's mean colour.

    Args:
        pictures: N × S × S × 3 uint8.
        maps: N × S × S, about 0..1; equal values are taken in random order, or flat maps would always hide one side.
        share: 0..1.
        seed: of that order.

    """
    n, side = len(pictures), pictures.shape[1]
    flat = maps.reshape(n, -1) + 1e-6 * np.random.default_rng(seed).random((n, side * side), np.float32)
    count = round(share * side * side)
    hidden = np.zeros(flat.shape, bool)
    np.put_along_axis(hidden, np.argpartition(-flat, count - 1, axis=1)[:, :count], True, axis=1)
    colour = pictures.mean((1, 2), keepdims=True).round().astype(np.uint8)
    return np.where(hidden.reshape(n, side, side, 1), colour, pictures)


def examine(
    classifier: TrainedClassifier, network: nn.Module, samples: Iterable[Sample], total: int, *, image_size: int,
    threads: int, confidence: float,
) -> tuple[Attention, dict[str, Any]]:  # fmt: skip
    """Maps of all samples, and what hiding by them does to the accuracy.

    Args:
        classifier: a trained one.
        network: the same, for its gradients: N × 3 × S × S uint8 -> N × K logits.
        samples: held-out pictures of known seeds, two seeds at least among the first ``CHUNK``.
        total: about how many, for the progress bar.
        image_size: side in pixels that the network takes.
        threads: that decode.
        confidence: of the intervals.

    Returns:
        The maps; and ``method``, ``layer``, ``cells``, ``hidden`` (the share), and accuracies with exact intervals:
        ``intact``, with the highest part of the own map hidden (``most``), with its lowest part hidden (``least``), and
        with the highest part of another seed's map hidden (``by_chance``).

    """
    layer = watched_layer(network, image_size)
    kept, test = _Kept(classifier.seeds), _HidingTest(classifier)
    with progress_bar("Grad-CAM", total, "images") as bar:
        for chunk in reduced_chunks(samples, image_size, threads, CHUNK):
            seeds = np.array([sample.seed for sample in chunk.samples], np.int64)
            labels = np.searchsorted(classifier.seeds, seeds)
            maps = attention_maps(network, layer, chunk.pictures, labels)
            kept.add(chunk.samples, labels, maps)
            test.add(chunk.pictures, seeds, maps)
            bar.advance(len(seeds))
    about = {"method": layer.method, "layer": layer.name, "cells": list(layer.cells), "hidden": HIDDEN}
    return kept.attention(), about | test.figures(confidence)


class _HidingTest:
    """Counts of pictures that are still named right with a part hidden."""

    def __init__(self, classifier: TrainedClassifier) -> None:
        self._classifier = classifier
        self._right: Counter[str] = Counter()
        self._count = 0
        self._others: tuple[np.ndarray[Any, Any], Maps] | None = None

    def add(self, pictures: Pictures, seeds: np.ndarray[Any, Any], maps: Maps) -> None:
        """Hide, and ask again."""
        self._others = self._others or (seeds, maps)  # those of the first pictures serve all
        views = {
            "intact": pictures, "most": hide(pictures, maps, HIDDEN), "least": hide(pictures, -maps, HIDDEN),
            "by_chance": hide(pictures, _of_another_seed(seeds, *self._others, self._count), HIDDEN),
        }  # fmt: skip
        for name, view in views.items():
            self._right[name] += int((self._classifier.places(view, seeds.tolist()) == 0).sum())
        self._count += len(pictures)

    def figures(self, confidence: float) -> dict[str, Any]:
        """Accuracies by name."""
        chance = {"chance": 1 / len(self._classifier.seeds)}
        return {name: exact_share(right, self._count, confidence) | chance for name, right in self._right.items()}


def _of_another_seed(
    seeds: np.ndarray[Any, Any], other_seeds: np.ndarray[Any, Any], other_maps: Maps, draw: int
) -> Maps:
    """For each picture a map drawn at random from those of other seeds."""
    luck = np.random.default_rng([7, draw]).random((len(seeds), len(other_seeds)))
    chosen: Maps = other_maps[np.where(seeds[:, None] != other_seeds, luck, -1).argmax(1)]
    return chosen


class _Kept:
    """Maps reduced to a few cells, and their sums by seed."""

    def __init__(self, seeds: np.ndarray[Any, Any]) -> None:
        self._seeds = seeds
        self._cells: list[tuple[int, int]] = []
        self._maps: list[Maps] = []
        self._labels: list[np.ndarray[Any, Any]] = []

    def add(self, samples: Sequence[Sample], labels: np.ndarray[Any, Any], maps: Maps) -> None:
        self._cells += [(sample.seed, sample.prompt_id) for sample in samples]
        self._labels.append(labels)
        side = min(SIDE, maps.shape[1])
        self._maps.append(adaptive_avg_pool2d(torch.from_numpy(maps), side).numpy())

    def attention(self) -> Attention:
        maps, labels = np.concatenate(self._maps), np.concatenate(self._labels)
        level = maps.mean((1, 2), keepdims=True)
        known = level[:, 0, 0] > 0  # a map without a positive value says nothing
        sums = np.zeros((len(self._seeds), *maps.shape[1:]), np.float32)
        np.add.at(sums, labels[known], maps[known] / level[known])
        counts = np.bincount(labels[known], minlength=len(self._seeds))
        picture_seeds, prompt_ids = np.array(self._cells, np.int64).T
        means = (sums / np.maximum(counts, 1)[:, None, None]).astype(np.float32)
        return Attention(self._seeds, means, picture_seeds, prompt_ids, maps)
