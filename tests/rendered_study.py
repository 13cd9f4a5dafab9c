"""A study whose pictures are rendered scenes: captions are obeyed, and how much the seed has to say is planted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from planted_shards import plant_shards

from seedml.captions import parse_caption
from seedml.config import StudyConfig
from seedml.models.bundled.parser import SceneParser
from seedml.models.bundled.scenes import draw, sample_scenes
from seedml.noise import seeded
from seedml.prompts import load_prompts
from seedml.shards.dataset import FILE, ShardDataset

MODEL = {
    "pipeline": "StableDiffusionPipeline", "latent_shape": [4, 16, 16], "steps": 4, "guidance_scale": 1.0,
    "scheduler": "DDIMScheduler", "dtype": "float32", "height": 128, "width": 128,
}  # fmt: skip


def study_config(folder: Path, seeds: str = "0:8", prompts: int = 20, **sections: dict[str, Any]) -> StudyConfig:
    """A small study in ``folder``."""
    config = StudyConfig(name="rendered", seeds=seeds)
    config.shards.root, config.runs.root = str(folder / "shards"), str(folder / "runs")
    config.shards.target_images = 40
    config.prompts.limit = prompts
    config.reference.images_per_prompt = 4
    config.statistics.permutations, config.statistics.bootstrap, config.statistics.blocks = 50, 200, 8
    config.tracking.mode = "disabled"
    config.trainer.accelerator = "cpu"
    for section, values in sections.items():
        for key, value in values.items():
            setattr(getattr(config, section), key, value)
    return config


def plant_scenes(config: StudyConfig, grip: float = 1.0, failed: Iterable[tuple[int, int]] = ()) -> ShardDataset:
    """Shards of rendered scenes.

    Args:
        config: the study.
        grip: share of images whose silent attributes are the seed's own; the rest draw theirs for each image.
        failed: cells (seed, prompt_id) without an image.

    """
    prompts = load_prompts(config.prompts)
    captions = [parse_caption(prompt.text) for prompt in prompts]
    pictures = {}
    for seed in config.seed_list:
        draws = [np.random.default_rng([5, seed, prompt.prompt_id]).random() for prompt in prompts]
        own = draw(sample_scenes(1000 + seed, np.zeros(len(prompts)), captions))
        free = draw(sample_scenes(7, [seed * 1000 + prompt.prompt_id for prompt in prompts], captions))
        mixed = torch.where((torch.tensor(draws) < grip)[:, None, None, None], own, free)
        for prompt, picture in zip(prompts, mixed.permute(0, 2, 3, 1).numpy(), strict=True):
            pictures[seed, prompt.prompt_id] = picture
    for cell in failed:
        del pictures[cell]
    dataset = plant_shards(config, lambda seed, prompt_id: pictures.get((seed, prompt_id)))
    path = dataset.folder / FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model": MODEL}))
    return dataset


def random_parser() -> SceneParser:
    """A parser that never learned anything: the same every time."""
    with seeded(0):
        parser = SceneParser((4, 8, 8, 16))
    return parser.eval().to(memory_format=torch.channels_last)
