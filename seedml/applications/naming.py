"""Which seed does the study's classifier name for a picture? Loads what ``classify`` left in a run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seedml.classifier.module import SeedClassifier
from seedml.files import read_json
from seedml.per_seed.balance import Ints


class Namer:
    """The trained classifier.

    Attributes:
        seeds: the seeds that it can name, ascending.

    """

    def __init__(self, module: SeedClassifier, image_size: int, device: torch.device) -> None:
        self._module, self._size, self._device = module.eval().to(device), image_size, device
        self.seeds: Sequence[int] = module.class_seeds

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Ints:
        """``N × 3 × H × W`` uint8 -> the seed named for each, ``N`` int64."""
        logits = self._module(reduced(images, self._size).to(self._device))
        names: Ints = np.asarray(self.seeds, np.int64)[logits.argmax(1).cpu().numpy()]
        return names


def load_namer(run_dir: Path, device: torch.device) -> Namer | None:
    """The run's classifier; ``None`` where none was trained."""
    metrics, checkpoint = run_dir / "classifier" / "metrics.json", run_dir / "classifier" / "best.ckpt"
    if not metrics.is_file() or not checkpoint.is_file():
        return None
    size: Any = read_json(metrics)["image_size"]
    module: SeedClassifier = SeedClassifier.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    return Namer(module, int(size), device)


def reduced(images: Tensor, size: int) -> Tensor:
    """``N × 3 × H × W`` uint8 -> ``N × 3 × S × S`` uint8 on the CPU: each pixel is the mean of those it replaces.

    As the classifier's own pictures were reduced, to the last bit.
    """
    if tuple(images.shape[2:]) == (size, size):
        return images.cpu()
    pictures = images.permute(0, 2, 3, 1).cpu().numpy()
    small = [np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BOX)) for one in pictures]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).contiguous()
