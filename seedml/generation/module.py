"""A batch of cells -> a batch of images, as a LightningModule. Knows no file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedml.config import NoiseConfig
from seedml.generation.batches import CellBatch
from seedml.generation.work import Work
from seedml.grid import Cell, Tile
from seedml.models.text_to_image import PromptEmbeddings, TextToImage
from seedml.noise import cell_noise, noise_sha256


class GeneratedBatch(NamedTuple):
    """The images of a batch's real cells, in memory or on their way there: :meth:`wait` before looking at them."""

    work: Work
    cells: list[Cell]
    """N."""
    images: Tensor
    """N × 3 × H × W uint8 0..255, on the CPU."""
    finite: Tensor
    """N bool, on the CPU: whether the decoder gave numbers."""
    noise_sha256: list[str]
    """N: of each initial noise as drawn."""
    last: bool
    """Whether this batch ends its tile."""
    arrived: torch.cuda.Event | None = None
    """When the images are in memory; ``None`` where they are."""

    def wait(self) -> GeneratedBatch:
        """Return when the images are in memory."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self

    def pixels(self, row: int) -> NDArray[np.uint8]:
        """The image of that row, H × W × 3."""
        return np.ascontiguousarray(self.images[row].numpy().transpose(1, 2, 0))

    def reason(self, row: int) -> str:
        """Why the image of that row is no image; empty where it is one.

        By numpy, as this runs in encoding threads: torch would start a team of OpenMP threads for each of them, and
        with more threads than cores none spins any more, those of the model neither (a sixth of its speed).
        """
        if not self.finite[row]:
            return "non-finite pixels"
        image = self.images[row].numpy()
        return "flat: every pixel has one value" if image.min() == image.max() else ""


class GenerationModule(pl.LightningModule):
    """Holds a text-to-image model and the prompts.

    Lightning neither moves nor casts the model: its dtype is ``sampler.dtype``, whatever the trainer's precision is.

    Args:
        load: makes the model for a device; called when prediction starts.
        prompts: prompt_id -> text.
        noise: where each image's noise comes from.

    """

    def __init__(
        self, load: Callable[[torch.device], TextToImage], prompts: Mapping[int, str], noise: NoiseConfig
    ) -> None:
        super().__init__()
        self._load, self._prompts, self._noise = load, prompts, noise
        self._model: TextToImage | None = None
        self._embeddings = EmbeddingCache()

    @property
    def model(self) -> TextToImage:
        """The model, loaded on this process's device."""
        if self._model is None:
            self._model = self._load(self.device)
        return self._model

    def on_predict_start(self) -> None:
        """Load the model before the first batch, so that a broken one is found at once."""
        self.model  # noqa: B018 (loads)

    def transfer_batch_to_device(
        self, batch: CellBatch | None, device: torch.device, dataloader_idx: int
    ) -> CellBatch | None:
        """Cells are integers; what goes to the device is made from them there."""
        return batch

    def predict_step(self, batch: CellBatch | None, *_: Any) -> GeneratedBatch | None:
        """CellBatch -> GeneratedBatch. All of the batch is sampled, padding too: the shape decides the last bit."""
        if batch is None:
            return None
        seeds = [cell.seed for cell in batch.cells]
        noise, generators = cell_noise(seeds, self.model.latent_shape, self._noise)
        embeddings = self._embeddings.rows(
            self.model, self._prompts, batch.work.tile, [c.prompt_id for c in batch.cells]
        )
        made = self.model.sample(embeddings, noise, generators)
        (images, finite), arrived = _to_memory(*(part[: batch.real] for part in made))
        return GeneratedBatch(
            batch.work,
            batch.cells[: batch.real],
            images,
            finite,
            _hashes(seeds, noise, batch.real),
            batch.last,
            arrived,
        )


class EmbeddingCache:
    """The text embeddings of the tile at hand: each prompt is encoded once, and the next tile reuses what it shares."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}
        self._embeddings: PromptEmbeddings | None = None

    def rows(
        self, model: TextToImage, prompts: Mapping[int, str], tile: Tile, prompt_ids: Sequence[int]
    ) -> PromptEmbeddings:
        """One row for each of ``prompt_ids``, which are among the tile's."""
        if self._embeddings is None or any(prompt_id not in self._rows for prompt_id in tile.prompt_ids):
            self._fill(model, prompts, tile.prompt_ids)
        assert self._embeddings is not None, "filled above"
        return self._embeddings[[self._rows[prompt_id] for prompt_id in prompt_ids]]

    def _fill(self, model: TextToImage, prompts: Mapping[int, str], wanted: Sequence[int]) -> None:
        kept = [prompt_id for prompt_id in wanted if prompt_id in self._rows]
        new = [prompt_id for prompt_id in wanted if prompt_id not in self._rows]
        parts = [model.embed([prompts[prompt_id] for prompt_id in new])]
        if kept and self._embeddings is not None:
            parts.insert(0, self._embeddings[[self._rows[prompt_id] for prompt_id in kept]])
        self._embeddings = PromptEmbeddings.join(parts)
        self._rows = {prompt_id: row for row, prompt_id in enumerate([*kept, *new])}


def _hashes(seeds: Sequence[int], noise: Tensor, count: int) -> list[str]:
    """Of the first ``count`` rows; cells of one seed share their noise, so it is hashed once."""
    by_seed: dict[int, str] = {}
    for seed, row in zip(seeds[:count], noise, strict=False):
        if seed not in by_seed:
            by_seed[seed] = noise_sha256(row)
    return [by_seed[seed] for seed in seeds[:count]]


def _to_memory(*parts: Tensor) -> tuple[list[Tensor], torch.cuda.Event | None]:
    """Start copying to the CPU and return at once: the accelerator goes on with the next batch meanwhile."""
    if parts[0].device.type != "cuda":
        return [part.cpu() for part in parts], None
    copies = [torch.empty(part.shape, dtype=part.dtype, pin_memory=True) for part in parts]
    for copy, part in zip(copies, parts, strict=True):
        copy.copy_(part, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()
    return copies, arrived
