"""Pictures of seeds that the classifier never saw, made as the study's own were: same model, sampler, prompts, codec.

They are shown to the classifier and thrown away. Knows no classifier.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import TYPE_CHECKING

import torch

from seedml.generation.batches import work_batches
from seedml.generation.module import GeneratedBatch, GenerationModule
from seedml.generation.work import Work
from seedml.grid import Tile
from seedml.models.folder import local_model
from seedml.models.text_to_image import load_text_to_image
from seedml.shards.format import encode_image
from seedml.shards.reader import Sample

if TYPE_CHECKING:
    from seedml.config import StudyConfig
    from seedml.shards.dataset import ShardDataset

_SAME_NOISE = 2**32
"""torch's CPU generator gives seeds that differ by a multiple of it the same noise."""


def other_seeds(known: Sequence[int], how_many: int) -> tuple[int, ...]:
    """The smallest seeds whose noise is none of the known seeds'."""
    taken = {seed % _SAME_NOISE for seed in known}
    return tuple(islice((seed for seed in count() if seed not in taken), how_many))


def made_samples(
    config: StudyConfig, dataset: ShardDataset, seeds: Sequence[int], prompt_ids: Sequence[int]
) -> Iterator[Sample]:
    """One sample for each seed and prompt, as a shard of the study would hold it; failed images are left out.

    Args:
        config: the study.
        dataset: its images, for their prompts and their format.
        seeds: any.
        prompt_ids: some of the study's.

    Raises:
        UserError: the model is not on this machine, or cannot be used as configured.

    """
    local = replace(config, model=local_model(config.model))  # or the hub would be asked for a newer one
    device = _device(config.trainer.accelerator)
    texts = {prompt_id: dataset.prompts[prompt_id].text for prompt_id in prompt_ids}
    module = GenerationModule(lambda _: load_text_to_image(local, device), texts, config.noise)
    tile = Tile("test", 0, tuple(seeds), tuple(prompt_ids))
    for batch in work_batches(Work(tile, tuple(tile.cells())), config.sampler.batch_size):
        made = module.predict_step(batch)
        assert made is not None, "a batch gives a batch"
        yield from _samples(made.wait(), texts, dataset.image_format)


def _samples(made: GeneratedBatch, texts: dict[int, str], image_format: str) -> Iterator[Sample]:
    for row, cell in enumerate(made.cells):
        if not made.reason(row):
            encoded = encode_image(made.pixels(row), image_format)
            yield Sample(cell.seed, cell.prompt_id, texts[cell.prompt_id], "test", made.noise_sha256[row], encoded)


def _device(accelerator: str) -> torch.device:
    """Where the study's Trainer would compute."""
    found = None if accelerator == "cpu" else torch.accelerator.current_accelerator(check_available=True)
    return found or torch.device("cpu")
