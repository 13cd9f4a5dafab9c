"""A trained classifier, asked about pictures: pixels -> the place of each one's true seed. Trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seedml.classifier.cache import Integers
from seedml.classifier.checkpoints import load_classifier
from seedml.classifier.split_images import shrunk
from seedml.pixels import Pixels

if TYPE_CHECKING:
    from seedml.config import TrainerConfig

Pictures = np.ndarray[Any, np.dtype[np.uint8]]
"""N × S × S × 3 uint8 0..255, RGB, reduced to what the network takes."""

BATCH = 256
"""Pictures in a forward pass."""


def reduced_pixels(pixels: Pixels, size: int) -> Pixels:
    """H × W × 3 -> ``size`` × ``size`` × 3; each pixel is the mean of those it replaces, as for training."""
    reduced: Pixels = np.array(shrunk(Image.fromarray(pixels), size))
    return reduced


class TrainedClassifier:
    """A checkpoint on a device, in float32, as its test was scored.

    Args:
        checkpoint: of a :class:`~seedml.classifier.module.SeedClassifier`.
        trainer: says which device.
        class_seeds: that it has to know, ascending; ``None`` = whichever it knows.

    Raises:
        UserError: the checkpoint is missing, damaged, of something else or of other seeds.

    """

    def __init__(self, checkpoint: Path, trainer: TrainerConfig, class_seeds: Sequence[int] | None = None) -> None:
        self._device = _device(trainer.accelerator)
        module = load_classifier(checkpoint, class_seeds)
        self.module = module.to(self._device).float()  # trainer.precision=bf16-true
        self.seeds: Integers = np.asarray(module.class_seeds, np.int64)
        """K int64, ascending: class i is ``seeds[i]``."""

    @torch.inference_mode()
    def logits(self, pictures: Pictures) -> Tensor:
        """N × K float32, on the CPU."""
        parts = []
        for start in range(0, len(pictures), BATCH):
            chunk = torch.from_numpy(pictures[start : start + BATCH]).permute(0, 3, 1, 2)
            parts.append(self.module(chunk.to(self._device)).float().cpu())
        return torch.cat(parts)

    def places(self, pictures: Pictures, seeds: Sequence[int]) -> Integers:
        """N int64: the place of each picture's own seed among all, by logit; 0 = named first. Ties count against it."""
        labels = torch.from_numpy(np.searchsorted(self.seeds, np.asarray(seeds, np.int64)))
        logits = self.logits(pictures)
        truth = logits.gather(1, labels[:, None])
        places: Integers = ((~(logits < truth)).sum(1) - 1).numpy()
        return places


def _device(accelerator: str) -> torch.device:
    """Where Lightning would compute."""
    if accelerator == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    mps = accelerator in ("auto", "mps") and torch.backends.mps.is_available()
    return torch.device("mps" if mps else "cpu")
