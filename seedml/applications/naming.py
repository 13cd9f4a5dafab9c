"""Which seed does the study's classifier name for a picture? Asks what ``classify`` left in a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from seedml.classifier.trained import TrainedClassifier, reduced_pixels
from seedml.per_seed.balance import Ints

if TYPE_CHECKING:
    from seedml.config import StudyConfig


class Namer:
    """The trained classifier.

    Attributes:
        seeds: the seeds that it can name, ascending.

    """

    def __init__(self, classifier: TrainedClassifier) -> None:
        self._classifier, self.seeds = classifier, classifier.seeds

    def __call__(self, images: Tensor) -> Ints:
        """``N × 3 × H × W`` uint8 -> the seed named for each, ``N`` int64."""
        size = self._classifier.module.image_size
        pictures = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        logits = self._classifier.logits(np.stack([reduced_pixels(picture, size) for picture in pictures]))
        names: Ints = self.seeds[logits.argmax(1).numpy()]
        return names


def checkpoint_of(run_dir: Path) -> Path | None:
    """The file of the run's classifier; ``None`` where its training is not over."""
    metrics, checkpoint = run_dir / "classifier" / "metrics.json", run_dir / "classifier" / "best.ckpt"
    return checkpoint if metrics.is_file() and checkpoint.is_file() else None


def load_namer(config: StudyConfig) -> Namer | None:
    """The run's classifier; ``None`` where none was trained.

    Raises:
        UserError: its file is damaged, or of other seeds than the study's.

    """
    checkpoint = checkpoint_of(config.run_dir)
    return Namer(TrainedClassifier(checkpoint, config.trainer, config.seed_list)) if checkpoint else None
