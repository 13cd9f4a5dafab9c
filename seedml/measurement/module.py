"""The measuring network as a LightningModule: images in, features and attributes out. Reads and writes no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from seedml.attributes import Attribute, AttributeBatch, measure_attributes
from seedml.shards.reader import SampleBatch

if TYPE_CHECKING:
    from seedml.features import FeatureNetwork
    from seedml.models.bundled.parser import SceneParser, SceneReading


class TileBatch(NamedTuple):
    """Images of one tile."""

    tile: str
    """The tile's name."""
    samples: SampleBatch


class MeasuredBatch(NamedTuple):
    """What is known of N images after measuring, on the module's device."""

    tile: str
    """The tile's name; empty where rows come from a table."""
    seeds: Tensor
    """N int64."""
    prompt_ids: Tensor
    """N int64."""
    features: Tensor
    """N × D float32."""
    columns: dict[str, Tensor]
    """Attribute column -> N float32; NaN where the image does not tell."""
    vectors: Mapping[str, Tensor] = MappingProxyType({})
    """Network -> N × D float32, of those whose sums alone are kept."""


class MeasurementModule(pl.LightningModule):
    """Measures batches in ``predict_step``.

    Args:
        network: gives the features.
        attributes: name -> attribute.
        parser: the scene parser; needed where a network or an attribute needs its reading. It runs once a batch.
        summed: networks of which only sums of vectors are wanted.
        features: whether features are wanted; else they are ``N × 0``.
        scenes: whether the images are of seedling's world. Else the parser's reading means nothing, attributes do not
            see it, and the rules for other pictures hold.

    """

    def __init__(
        self, network: FeatureNetwork, attributes: Mapping[str, Attribute], parser: SceneParser | None,
        summed: Sequence[FeatureNetwork] = (), *, features: bool = True, scenes: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network, self.attributes, self.parser = network, dict(attributes), parser
        self.summed, self._features, self._scenes = list(summed), features, scenes
        self._networks = nn.ModuleList(a.network for a in attributes.values() if a.network is not None)

    def setup(self, stage: str) -> None:
        """Move the network where Lightning has moved us; modules of ours it moves by itself."""
        self.network = self.network.to(self.device)
        self.summed = [network.to(self.device) for network in self.summed]

    @torch.inference_mode()
    def predict_step(self, batch: TileBatch, batch_idx: int) -> MeasuredBatch:
        """Measure one batch: ``N × 3 × H × W`` uint8 with N prompts."""
        samples = batch.samples
        reading = self._read(samples.images)
        scene = reading if self._scenes else None
        batch_of_images = AttributeBatch(samples.images, samples.prompts, scene)
        columns = measure_attributes(self.attributes, batch_of_images)
        features = self.network(samples.images, reading) if self._features else torch.empty(len(samples.images), 0)
        vectors = {
            network.name: network(samples.images, scene if network.needs_reading else reading)
            for network in self.summed
        }
        return MeasuredBatch(batch.tile, samples.seeds, samples.prompt_ids, features, columns, vectors)

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """Features alone: ``N × 3 × H × W`` uint8 -> ``N × D`` float32."""
        return self.network(images, self._read(images) if self.network.needs_reading else None)

    def _read(self, images: Tensor) -> SceneReading | None:
        return None if self.parser is None else self.parser.read(images)


def needs_parser(
    attributes: Mapping[str, Attribute], networks: Sequence[FeatureNetwork], *, scenes: bool = True
) -> bool:
    """Whether the scene parser has to run; attributes only have a use for it where the images are seedling's."""
    by_network = any(network.needs_reading for network in networks)
    return by_network or (scenes and any(attribute.needs_reading for attribute in attributes.values()))
