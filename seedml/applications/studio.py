"""A study's model and measuring networks, for pictures beyond its grid: made or read, measured, and kept as tables.

Pictures of the study's own cells are read from its shards, all others are made as ``generate`` would make them. Knows
nothing of golden or diverse seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedml.applications.sheets import thumbnail
from seedml.attributes import Attribute, load_attributes
from seedml.features import load_network
from seedml.grid import Cell
from seedml.lightning import predicting_trainer
from seedml.measurement.module import MeasurementModule, TileBatch, needs_parser
from seedml.measurement.networks import feature_network
from seedml.measurement.parts import to_rows
from seedml.measurement.reference import make_reference
from seedml.measurement.reference_files import ReferenceFeatures
from seedml.models.bundled import draws_scenes
from seedml.models.text_to_image import ImageBatch, PromptEmbeddings, TextToImage, load_text_to_image
from seedml.noise import cell_noise
from seedml.per_seed.balance import Floats, Ints, balanced_cube
from seedml.per_seed.frechet import Reference
from seedml.progress import track
from seedml.shards.reader import Sample, SampleBatch, read_chosen

if TYPE_CHECKING:
    from seedml.config import StudyConfig
    from seedml.features import FeatureNetwork
    from seedml.grid import Tile
    from seedml.measurement import Measurements
    from seedml.prompts import Prompt
    from seedml.shards.dataset import ShardDataset

Picture = NDArray[np.uint8]
"""H × W × 3, 0..255."""


@dataclass(frozen=True)
class Trial:
    """Measured pictures of some seeds on some prompts, every seed on every prompt.

    Attributes:
        seeds: ``S`` int64, ascending.
        prompts: ``P``, by ``prompt_id``; those at which a seed has no picture are left out.
        features: ``S × P × D`` float32.
        columns: attribute column -> ``S × P`` float64; NaN where the picture does not tell.
        vectors: network -> ``S × P × D`` float32.
        pictures: (seed, prompt_id) -> small copies of the first prompts' pictures.

    """

    seeds: Ints
    prompts: tuple[Prompt, ...]
    features: NDArray[np.float32]
    columns: Mapping[str, Floats]
    vectors: Mapping[str, NDArray[np.float32]]
    pictures: Mapping[tuple[int, int], Picture] = field(default_factory=dict)

    def places(self, seeds: Iterable[int]) -> Ints:
        """Positions of seeds, in their order; all must be there."""
        wanted = np.array(list(seeds), np.int64)
        found = np.searchsorted(self.seeds, wanted)
        assert np.array_equal(self.seeds[found.clip(max=len(self.seeds) - 1)], wanted), "seeds of the trial"
        return found

    @property
    def prompt_ids(self) -> Ints:
        """``P`` int64."""
        return np.array([prompt.prompt_id for prompt in self.prompts], np.int64)


class _Part(NamedTuple):
    """Rows of a trial before they are put in order."""

    seeds: Ints
    prompt_ids: Ints
    features: NDArray[np.float32]
    columns: dict[str, NDArray[np.float32]]
    vectors: dict[str, NDArray[np.float32]]


class Studio:
    """Makes and measures pictures on one device; loads what it needs when it is first needed.

    Args:
        config: the study.
        dataset: its images.
        tiles: where these are.
        attributes: the attributes wanted, of those that the study measures.
        spaces: the networks whose vectors are wanted; names of ``seedml/features/``.

    """

    def __init__(
        self, config: StudyConfig, dataset: ShardDataset, tiles: Sequence[Tile], attributes: Sequence[str] = (),
        spaces: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.config, self.dataset, self.tiles = config, dataset, list(tiles)
        self._attributes = [name for name in config.measure.attributes if name in attributes]
        self._spaces = list(spaces)

    @cached_property
    def device(self) -> torch.device:
        """The first of the study's devices: applications are small."""
        return predicting_trainer(replace(self.config.trainer, devices=1, num_nodes=1), []).strategy.root_device

    @cached_property
    def model(self) -> TextToImage:
        """The study's model with its own sampler."""
        return load_text_to_image(self.config, self.device)

    @cached_property
    def network(self) -> FeatureNetwork:
        """What gives the features."""
        return feature_network(self.config)

    @cached_property
    def module(self) -> MeasurementModule:
        """Measures features, the attributes and the vectors of the spaces."""
        networks = self.config.measure.networks
        kinds = {name: path for name, path in networks.items() if name in self._attributes}
        attributes = load_attributes(self._attributes, kinds)
        return self._module(attributes)

    def _module(self, attributes: Mapping[str, Attribute]) -> MeasurementModule:
        scenes, given = draws_scenes(self.config.model.path), self.config.measure.networks
        spaces = [load_network(name, given.get(name), "apply.diverse_spaces") for name in self._spaces]
        spaces += [_named(name, path) for name, path in self.config.apply.distances.items()]
        parser = None
        if needs_parser(attributes, [self.network, *(spaces if scenes else [])], scenes=scenes):
            from seedml.models.bundled.parser import load_parser

            parser = load_parser()
        module = MeasurementModule(self.network, attributes, parser, spaces, scenes=scenes).eval()
        module.to(self.device)
        module.setup("predict")
        return module

    @cached_property
    def sizing_module(self) -> MeasurementModule:
        """The same without attributes: where seeds are in the spaces."""
        return self._module({})

    def trial(self, seeds: Sequence[int], prompts: Sequence[Prompt], shown: int = 0) -> Trial:
        """Measured pictures, read where the study has them and else made.

        Args:
            seeds: which; any order.
            prompts: at least two.
            shown: prompts, the first ones, whose pictures are kept small.

        """
        return self._tables(self.module, sorted(set(seeds)), prompts, shown)

    def places_in_spaces(self, seeds: Sequence[int], prompts: Sequence[Prompt]) -> Trial:
        """The same without attributes."""
        return self._tables(self.sizing_module, sorted(set(seeds)), prompts, 0)

    def _tables(self, module: MeasurementModule, seeds: Sequence[int], prompts: Sequence[Prompt], shown: int) -> Trial:
        keep = {prompt.prompt_id for prompt in prompts[:shown]}
        parts: list[_Part] = []
        pictures: dict[tuple[int, int], Picture] = {}
        for batch in self._pictures(seeds, prompts):
            parts.append(_measured(module, batch, self.device))
            pictures |= _small_copies(batch, keep)
        return _in_order(parts, np.array(seeds, np.int64), prompts, pictures)

    def _pictures(self, seeds: Sequence[int], prompts: Sequence[Prompt]) -> Iterator[SampleBatch]:
        """Batches of all cells, in any order; cells whose image failed are missing."""
        stored = [prompt for prompt in prompts if prompt.prompt_id in self.dataset.prompts]
        fresh = [prompt for prompt in prompts if prompt.prompt_id not in self.dataset.prompts]
        yield from self.read(seeds, stored)
        yield from self.make(seeds, fresh)

    def read(self, seeds: Sequence[int], prompts: Sequence[Prompt]) -> Iterator[SampleBatch]:
        """Pictures of the study, in batches, read from its shards."""
        wanted_seeds, wanted_prompts = set(seeds), {prompt.prompt_id for prompt in prompts}
        tiles = [
            tile
            for tile in self.tiles
            if wanted_prompts.intersection(tile.prompt_ids) and wanted_seeds.intersection(tile.seeds)
        ]
        held: list[Sample] = []
        for tile in track(tiles, "read pictures", unit="tiles") if tiles else []:
            for sample in read_chosen(self.dataset.shard(tile), wanted_prompts, wanted_seeds):
                held.append(sample)
                if len(held) == self.config.measure.batch_size:
                    yield _stacked(held)
                    held = []
        if held:
            yield _stacked(held)

    def make(self, seeds: Sequence[int], prompts: Sequence[Prompt]) -> Iterator[SampleBatch]:
        """Pictures of the study's model, sampler and noise, in batches."""
        if not prompts:
            return
        embeddings = self.model.embed([prompt.text for prompt in prompts])
        cells = [(Cell(seed, prompt.prompt_id), row) for row, prompt in enumerate(prompts) for seed in seeds]
        size = self.config.sampler.batch_size
        chunks = [cells[start : start + size] for start in range(0, len(cells), size)]
        for chunk in track(chunks, "make pictures", unit="batches"):
            rows = [row for _, row in chunk]
            made = self._sample([cell.seed for cell, _ in chunk], embeddings[rows])
            good = made.usable.nonzero()[:, 0].tolist()
            if not good:
                continue
            yield SampleBatch(
                made.images[good],
                torch.tensor([chunk[row][0].seed for row in good]),
                torch.tensor([chunk[row][0].prompt_id for row in good]),
                [prompts[rows[row]].text for row in good],
            )

    def _sample(self, seeds: Sequence[int], embeddings: PromptEmbeddings) -> ImageBatch:
        noise, generators = cell_noise(seeds, self.model.latent_shape, self.config.noise)
        return self.model.sample(embeddings, noise, generators)

    def reference(self, measured: Measurements, prompts: Sequence[Prompt]) -> Reference:
        """What pictures of these prompts are compared with: as the study's images are, of the same captions.

        Args:
            measured: the study's, with its reference.
            prompts: any.

        """
        ids = np.array([prompt.prompt_id for prompt in prompts], np.int64)
        known = measured.reference
        fresh = [prompt for prompt in prompts if prompt.prompt_id not in self.dataset.prompts]
        if fresh and isinstance(known, ReferenceFeatures) and not (known.prompt_ids < 0).any():
            made = make_reference(
                self.config.reference, fresh, self.network, self.module.embed, self.device,
                self.config.measure.batch_size,
            )  # fmt: skip
            assert isinstance(made, ReferenceFeatures), "rendered scenes are features"
            known = ReferenceFeatures(
                np.concatenate([known.features, made.features]),
                np.concatenate([known.prompt_ids, made.prompt_ids]), known.source, known.sha256,
            )  # fmt: skip
        moments = known.moments_of(ids)
        mean, covariance = torch.from_numpy(moments.mean), torch.from_numpy(moments.covariance)
        return Reference.of_gaussian(mean, covariance, moments.n or 0)


def _named(name: str, path: str) -> FeatureNetwork:
    """A network of the hub or of a folder, whose vectors go by a name of the user's."""
    from seedml.features.style import with_network

    network: FeatureNetwork = with_network(path)
    network.name = name
    return network


def _stacked(samples: Sequence[Sample]) -> SampleBatch:
    pixels = torch.from_numpy(np.stack([sample.pixels() for sample in samples])).permute(0, 3, 1, 2)
    return SampleBatch(
        pixels.contiguous(), torch.tensor([sample.seed for sample in samples]),
        torch.tensor([sample.prompt_id for sample in samples]), [sample.prompt for sample in samples],
    )  # fmt: skip


def _measured(module: MeasurementModule, batch: SampleBatch, device: torch.device) -> _Part:
    found = module.predict_step(TileBatch("", batch._replace(images=batch.images.to(device))), 0)
    rows = to_rows(found)
    vectors = {name: values.float().cpu().numpy() for name, values in found.vectors.items()}
    return _Part(rows.seeds, rows.prompt_ids, rows.features, rows.columns, vectors)


def _small_copies(batch: SampleBatch, keep: set[int]) -> dict[tuple[int, int], Picture]:
    cells = zip(batch.seeds.tolist(), batch.prompt_ids.tolist(), strict=True)
    return {cell: thumbnail(as_pixels(batch.images[row])) for row, cell in enumerate(cells) if cell[1] in keep}


def as_pixels(image: Tensor) -> Picture:
    """3 × H × W uint8 on any device -> H × W × 3."""
    return np.ascontiguousarray(image.cpu().numpy().transpose(1, 2, 0))


def _in_order(
    parts: Sequence[_Part], seeds: Ints, prompts: Sequence[Prompt], pictures: Mapping[tuple[int, int], Picture]
) -> Trial:
    of_seeds, of_prompts = (np.concatenate([part[at] for part in parts]) for at in (0, 1))
    features = np.concatenate([part.features for part in parts])
    cube = balanced_cube(features, of_seeds, of_prompts, seeds)
    columns = {
        name: np.concatenate([part.columns[name] for part in parts])[cube.position].astype(np.float64)
        for name in parts[0].columns
    }
    vectors = {name: np.concatenate([part.vectors[name] for part in parts])[cube.position] for name in parts[0].vectors}
    texts = {prompt.prompt_id: prompt for prompt in prompts}
    kept = tuple(texts[int(prompt_id)] for prompt_id in cube.prompt_ids)
    return Trial(cube.seeds, kept, features[cube.position], columns, vectors, pictures)
