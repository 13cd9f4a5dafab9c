"""The control ``noise_regression``: the study's pictures and the noise they were made from, put to the regression.

That a seed can be recognised needs a trace that its pictures share. That this trace is the initial noise itself is
shown by reading noise back from pictures of seeds, and of prompts, that the regression has never seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seedml.classifier.full_size import chosen_samples, some_prompts
from seedml.classifier.noise_regression import CELLS, MARGIN, NoiseRegression
from seedml.grid import Tile
from seedml.noise import Shape, initial_noise, noise_sha256
from seedml.progress import Bar, progress_bar
from seedml.shards.reader import Sample

if TYPE_CHECKING:
    from seedml.config import StudyConfig
    from seedml.shards.dataset import ShardDataset

FEWEST_SEEDS = 8
"""One a fold; fewer say nothing."""
MOST_SEEDS, MOST_PROMPTS = 128, 48
"""Of each split. Time grows with them: on quickstart R² is 0.053 from 40 prompts and 0.054 from 112."""
_SUMS_BYTES = 1 << 29
"""What the mean features of all seeds may take; it bounds the seeds of models with large latents."""


def noise_readback(config: StudyConfig, dataset: ShardDataset, tiles: Sequence[Tile], threads: int) -> dict[str, Any]:
    """``metrics.json``'s ``noise_regression``; ``{"skipped": why}`` where the noise of the pictures cannot be had.

    Args:
        config: the study.
        dataset: its pictures.
        tiles: all of them.
        threads: that decode.

    Raises:
        UserError: a shard is damaged.

    """
    seeds = chosen_seeds(config, dataset)
    why = _obstacle(config, dataset, seeds)
    if why:
        return {"skipped": why}
    shape = _latent_shape(dataset)
    assert shape is not None, "an obstacle"
    noise, _ = initial_noise(seeds, shape, config.noise.generator_device)
    noise = noise.cpu()
    recorded = recorded_noise(map(dataset.shard, tiles), seeds)
    foreign = [seed for seed, field in zip(seeds, noise, strict=True) if recorded.get(seed) != noise_sha256(field)]
    if foreign:
        return {"skipped": f"the noise drawn here for seed {foreign[0]} is not the one that its pictures record"}
    regression = NoiseRegression(noise, seed=config.classifier.seed)
    prompts = {
        split: some_prompts((p for tile in tiles if tile.split == split for p in tile.prompt_ids), 1, MOST_PROMPTS)
        for split in ("train", "test")
    }
    _feed(regression, dataset, tiles, seeds, prompts, shape, threads)
    settings = config.statistics
    result = regression.result(settings.confidence, settings.bootstrap, settings.seed)
    height, width = CELLS * shape[1], CELLS * shape[2]
    return {
        **result, "seeds": len(seeds), "prompts": {split: len(ids) for split, ids in prompts.items()},
        "description": (
            f"ridge regression of the {shape[0]} × {shape[1]} × {shape[2]} initial noise on patches of "
            f"{(CELLS + 2 * MARGIN) ** 2} pixels of the picture at {width} × {height}; R² on held-out seeds and prompts"
        ),
    }  # fmt: skip


def _latent_shape(dataset: ShardDataset) -> Shape | None:
    """C, H, W of the model's latents; ``None`` where it does not say, or packs them in another way."""
    shape = dataset.model.get("latent_shape")
    if not isinstance(shape, list | tuple) or len(shape) != 3:
        return None
    channels, height, width = map(int, shape)
    return channels, height, width


def chosen_seeds(config: StudyConfig, dataset: ShardDataset) -> tuple[int, ...]:
    """The study's seeds, ascending, or as many of them, drawn at random, as memory and time allow."""
    shape = _latent_shape(dataset) or (1, 1, 1)
    bytes_of_one = 4 * 3 * (CELLS + 2 * MARGIN) ** 2 * shape[1] * shape[2]
    most = max(FEWEST_SEEDS, min(MOST_SEEDS, _SUMS_BYTES // bytes_of_one))
    order = np.random.default_rng(config.classifier.seed).permutation(np.asarray(config.seed_list, np.int64))
    return tuple(sorted(order[:most].tolist()))


def _obstacle(config: StudyConfig, dataset: ShardDataset, seeds: Sequence[int]) -> str:
    """Why the noise of this study's pictures cannot be regressed on; empty where it can."""
    if _latent_shape(dataset) is None:
        return "the data set does not say the shape of the model's latents"
    if len(seeds) < FEWEST_SEEDS:
        return f"{len(seeds)} seeds are too few: it takes {FEWEST_SEEDS}"
    if config.noise.initial_seed is not None:
        return "all pictures start from the noise of one seed (noise.initial_seed)"
    if config.noise.generator_device == "cuda" and not torch.cuda.is_available():
        return "the noise was drawn on a GPU, and there is none here to draw it again"
    return ""


def recorded_noise(shards: Iterable[Path], seeds: Iterable[int]) -> dict[int, str]:
    """Seed -> SHA-256 of its initial noise as the tables beside the shards record it, for seeds that have an image."""
    import pyarrow.parquet as pq

    wanted, found = set(seeds), dict[int, str]()
    for shard in shards:
        if wanted <= found.keys():
            break
        table = pq.read_table(shard.with_suffix(".parquet"), columns=["seed", "noise_sha256"]).to_pydict()
        for seed, digest in zip(table["seed"], table["noise_sha256"], strict=True):
            if seed in wanted and digest:
                found.setdefault(seed, digest)
    return found


def _feed(
    regression: NoiseRegression, dataset: ShardDataset, tiles: Sequence[Tile], seeds: Sequence[int],
    prompts: Mapping[str, frozenset[int]], shape: Shape, threads: int,
) -> None:  # fmt: skip
    """Training pictures, the fit, test pictures."""
    place = {seed: at for at, seed in enumerate(seeds)}
    total = len(seeds) * sum(map(len, prompts.values()))
    with ThreadPoolExecutor(threads) as pool, progress_bar("read noise back", total, "images") as bar:
        for split, take in (("train", regression.learn), ("test", regression.test)):
            shards = [dataset.shard(tile) for tile in tiles if tile.split == split]
            samples = chosen_samples(shards, prompts[split], frozenset(seeds))
            for seed, of_seed in groupby(samples, key=lambda sample: sample.seed):
                take(place[seed], _pictures(list(of_seed), shape, pool, bar))
            if split == "train":
                regression.fit()


def _pictures(samples: Sequence[Sample], shape: Shape, pool: ThreadPoolExecutor, bar: Bar) -> Tensor:
    """N × 3 × (2·h) × (2·w) float32 -1..1."""
    size = (CELLS * shape[2], CELLS * shape[1])

    def reduced(sample: Sample) -> Tensor:
        picture = Image.fromarray(sample.pixels()).resize(size, Image.Resampling.BOX)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)

    stacked = torch.stack(list(pool.map(reduced, samples)))
    bar.advance(len(samples))
    return stacked.float() / 127.5 - 1
