"""The measuring network as a LightningModule: images in, features and attributes out. Reads and writes no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class MeasurementModule(pl.LightningModule):
    """Measures batches in ``predict_step``.

    Args:
        network: gives the features.
        attributes: name -> attribute.
        parser: the scene parser; needed where network or an attribute needs its reading. It runs once a batch.

    """

    def __init__(
        self, network: FeatureNetwork, attributes: Mapping[str, Attribute], parser: SceneParser | None
    ) -> None:
        super().__init__()
        self.network, self.attributes, self.parser = network, dict(attributes), parser
        self._networks = nn.ModuleList(a.network for a in attributes.values() if a.network is not None)

    def setup(self, stage: str) -> None:
        """Move the network where Lightning has moved us; modules of ours it moves by itself."""
        self.network = self.network.to(self.device)

    @torch.inference_mode()
    def measure(self, images: Tensor, prompts: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """``N × 3 × H × W`` uint8 -> features ``N × D`` float32, and each attribute column ``N`` float32."""
        reading = self._read(images)
        columns = measure_attributes(self.attributes, AttributeBatch(images, prompts, reading))
        return self.network(images, reading), columns

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """Features alone: ``N × 3 × H × W`` uint8 -> ``N × D`` float32."""
        return self.network(images, self._read(images) if self.network.needs_reading else None)

    def _read(self, images: Tensor) -> SceneReading | None:
        return None if self.parser is None else self.parser.read(images)

    def predict_step(self, batch: TileBatch, batch_idx: int) -> MeasuredBatch:
        """Measure one batch."""
        samples = batch.samples
        features, columns = self.measure(samples.images, samples.prompts)
        return MeasuredBatch(batch.tile, samples.seeds, samples.prompt_ids, features, columns)


def needs_parser(network: FeatureNetwork, attributes: Mapping[str, Attribute]) -> bool:
    """Whether the scene parser has to run."""
    return network.needs_reading or any(attribute.needs_reading for attribute in attributes.values())
