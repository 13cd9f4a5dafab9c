"""A batch of cells -> images: hashes, failures, text embeddings, checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from seedml.config import NoiseConfig
from seedml.generation.batches import CellBatch, work_batches
from seedml.generation.module import EmbeddingCache, GenerationModule
from seedml.generation.work import Work
from seedml.grid import Tile
from seedml.models.text_to_image import ImageBatch, PromptEmbeddings
from seedml.noise import initial_noise, noise_sha256

PROMPTS = {prompt_id: f"prompt {prompt_id}" for prompt_id in range(20)}


class FakeModel:
    """Paints the prompt's number and the noise's first value; says what it was asked."""

    latent_shape = (4, 2, 2)

    def __init__(self, broken: Sequence[int] = (), flat: Sequence[int] = ()) -> None:
        self.embedded: list[str] = []
        self.batch_sizes: list[int] = []
        self._broken, self._flat = broken, flat

    def embed(self, prompts: Sequence[str]) -> PromptEmbeddings:
        self.embedded += prompts
        numbers = torch.tensor([float(prompt.split()[1]) for prompt in prompts])
        return PromptEmbeddings(numbers[:, None, None], None, None, None)

    def sample(
        self, embeddings: PromptEmbeddings, noise: torch.Tensor, generators: Sequence[torch.Generator]
    ) -> ImageBatch:
        self.batch_sizes.append(len(noise))
        images = torch.zeros(len(noise), 3, 2, 2, dtype=torch.uint8)
        images[:, 0, 0, 0] = embeddings.prompt.flatten().to(torch.uint8)
        images[:, 1] = 255
        finite = torch.ones(len(noise), dtype=torch.bool)
        for row, number in enumerate(embeddings.prompt.flatten().tolist()):
            finite[row] = number not in self._broken
            if number in self._flat:
                images[row] = 9
        return ImageBatch(images, finite)


def batches(tile: Tile, size: int) -> list[CellBatch]:
    return list(work_batches(Work(tile, tuple(tile.cells())), size))


def module(model: FakeModel) -> GenerationModule:
    return GenerationModule(lambda device: model, PROMPTS, NoiseConfig())  # type: ignore[arg-type,return-value]


def test_padding_is_sampled_but_not_returned() -> None:
    model = FakeModel()
    made = [module(model).predict_step(batch) for batch in batches(Tile("train", 0, (1, 2, 3), (4, 5)), 4)]
    assert model.batch_sizes == [4, 4]
    assert [len(batch.images) for batch in made] == [4, 2]
    assert [cell for batch in made for cell in batch.cells] == Tile("train", 0, (1, 2, 3), (4, 5)).cells()
    assert [image[0, 0, 0].item() for batch in made for image in batch.images] == [4, 5, 4, 5, 4, 5]


def test_the_hash_is_that_of_the_seed_s_own_noise() -> None:
    (made,) = [module(FakeModel()).predict_step(batch) for batch in batches(Tile("train", 0, (8, 9), (4, 5)), 4)]
    for cell, sha in zip(made.cells, made.noise_sha256, strict=True):
        assert sha == noise_sha256(initial_noise([cell.seed], FakeModel.latent_shape)[0][0])


def test_images_that_are_none_are_told_with_a_reason() -> None:
    model = FakeModel(broken=[5], flat=[6])
    (made,) = [module(model).predict_step(batch) for batch in batches(Tile("train", 0, (8,), (4, 5, 6)), 3)]
    assert [made.reason(row) for row in range(3)] == ["", "non-finite pixels", "flat: every pixel has one value"]


def test_a_prompt_is_encoded_once_for_all_seeds_and_neighbouring_tiles() -> None:
    model, cache = FakeModel(), EmbeddingCache()
    first, same, next_tile = (Tile("train", i, (i,), ids) for i, ids in enumerate([(1, 2), (1, 2), (2, 3)]))
    for tile in (first, same, next_tile):
        for ids in (tile.prompt_ids, tile.prompt_ids[::-1]):
            rows = cache.rows(model, PROMPTS, tile, ids)  # type: ignore[arg-type]
            assert rows.prompt.flatten().tolist() == list(ids)
    assert model.embedded == ["prompt 1", "prompt 2", "prompt 3"]


@pytest.mark.filterwarnings("ignore:.*contains no parameters")  # true: the model is loaded from its own folder
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # Lightning's own, on newer torch
def test_a_checkpoint_loads_with_weights_only(tmp_path: Path) -> None:
    trainer = pl.Trainer(logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
    (batch,) = batches(Tile("train", 0, (1,), (2,)), 1)
    own = module(FakeModel())
    loader = torch.utils.data.DataLoader([batch], batch_size=None)
    trainer.predict(own, loader, return_predictions=False)
    trainer.save_checkpoint(tmp_path / "module.ckpt")
    GenerationModule.load_from_checkpoint(
        tmp_path / "module.ckpt", weights_only=True, load=lambda device: None, prompts=PROMPTS, noise=NoiseConfig()
    )
