"""Latents of many scenes and the noise each is trained with.

Latents are computed once: encoding them anew at every step would cost as much as the denoiser. Noise is drawn anew
every epoch and handed out to the latents by optimal transport, so that the paths from noise to picture cross less
and few sampling steps suffice (Pooladian et al. 2023, arXiv 2304.14772; Li et al. 2024, arXiv 2406.12303). It is
handed out among scenes of equal colour and ground only, so that under every such caption noise stays normal
(Cheng and Schwing 2025, arXiv 2503.10636).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from seedml.captions import GROUNDS
from seedml.files import atomic_path
from seedml.models.bundled.autoencoder import pictures
from seedml.models.bundled.scenes import sample_scenes
from seedml.progress import track

_BATCH = 64


class LatentStream(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """Batches ``first`` … ``last - 1`` of shuffled epochs over stored latents; rank r of w takes every w-th row.

    Args:
        latents: N×4×16×16 float16.
        captions: N×3 int64.
        seed: of the order and of the noise.
        batch_size: rows a step and rank.
        first: first step.
        last: one past the last step.
        rank: this process.
        world: processes.

    """

    def __init__(
        self,
        latents: Tensor,
        captions: Tensor,
        seed: int,
        batch_size: int,
        first: int,
        last: int,
        rank: int,
        world: int,
    ) -> None:
        self.latents, self.captions, self.seed, self.batch_size = latents, captions, seed, batch_size
        self.first, self.last, self.rank, self.world = first, last, rank, world

    def __len__(self) -> int:
        return self.last  # Lightning counts the batches before a resumption, too

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        together = self.batch_size * self.world
        an_epoch = max(1, len(self.latents) // together)
        for epoch in range(self.first // an_epoch, -(-self.last // an_epoch)):
            rng = np.random.default_rng((self.seed, epoch))
            order = torch.from_numpy(rng.permutation(len(self.latents)))
            noise = matched_noise(self.latents, self.captions, rng)
            first, last = (min(max(step - epoch * an_epoch, 0), an_epoch) for step in (self.first, self.last))
            for place in range(first, last):
                rows = order[place * together + self.rank : (place + 1) * together : self.world]
                yield self.latents[rows].float(), noise[rows], self.captions[rows]


def matched_noise(latents: Tensor, captions: Tensor, rng: np.random.Generator) -> Tensor:
    """Standard normal noise, each row given to one of the latents of its colour and ground by optimal transport.

    Args:
        latents: N×4×16×16.
        captions: N×3 int64 (object, colour, ground).
        rng: where the noise comes from.

    Returns:
        N×4×16×16 float32: as a whole the very numbers drawn, in another order of rows.

    """
    noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
    matched = torch.empty_like(noise)
    group = captions[:, 1] * len(GROUNDS) + captions[:, 2]
    for key in torch.arange(int(group.max()) + 1):
        rows = (group == key).nonzero()[:, 0]
        gain = latents[rows].float().flatten(1) @ noise[rows].flatten(1).T  # the rest of the squared distance is fixed
        _, partner = linear_sum_assignment(gain.numpy(), maximize=True)
        matched[rows] = noise[rows[torch.from_numpy(partner)]]
    return matched


class LatentData(LightningDataModule):
    """Stored latents of the first ``count`` scenes of a stream, encoded where they are not there yet.

    Args:
        autoencoder: folder of the trained autoencoder; the latents are kept beside it.
        count: how many scenes.
        seed: which stream of scenes, and the order of the epochs.
        batch_size: rows a step and process.
        steps: length of the whole training in optimiser steps.

    """

    def __init__(self, autoencoder: Path, count: int, seed: int, batch_size: int, steps: int) -> None:
        super().__init__()
        self.autoencoder, self.count, self.seed = autoencoder, count, seed
        self.batch_size, self.steps = batch_size, steps

    @property
    def path(self) -> Path:
        """The file of stored latents."""
        return self.autoencoder.parent / f"latents-{self.seed}-{self.count}.safetensors"

    def prepare_data(self) -> None:
        """Encode the scenes once, on one process."""
        if not self.path.exists():
            _encode(self.autoencoder, self.seed, self.count, self.path)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
        """Batches from the trainer's current step on."""
        from safetensors.torch import load_file

        trainer = self.trainer
        assert trainer is not None
        stored = load_file(self.path)
        stream = LatentStream(
            stored["latents"], stored["captions"].long(), self.seed, self.batch_size, trainer.global_step, self.steps,
            trainer.global_rank, trainer.world_size,
        )  # fmt: skip
        return DataLoader(stream, batch_size=None)


@torch.inference_mode()
def _encode(autoencoder: Path, seed: int, count: int, path: Path) -> None:
    """Write scaled latents (float16, about unit variance) and captions of ``count`` scenes."""
    from diffusers import AutoencoderKL
    from safetensors.torch import save_file

    device = "cuda" if torch.cuda.is_available() else "cpu"
    vae = AutoencoderKL.from_pretrained(autoencoder).eval().to(device, memory_format=torch.channels_last)
    latents, captions = torch.empty(count, 4, 16, 16, dtype=torch.float16), torch.empty(count, 3, dtype=torch.int8)
    for start in track(range(0, count, _BATCH), f"encode scenes, {_BATCH} a step"):
        rows = slice(start, min(start + _BATCH, count))
        scenes = sample_scenes(seed, range(rows.start, rows.stop)).to(device)
        images = pictures(scenes).contiguous(memory_format=torch.channels_last)
        latents[rows] = (vae.encode(images).latent_dist.mean * vae.config.scaling_factor).half().cpu()
        captions[rows] = torch.tensor(scenes.captions(), dtype=torch.int8)
    with atomic_path(path) as temporary:
        save_file({"latents": latents, "captions": captions}, temporary)
