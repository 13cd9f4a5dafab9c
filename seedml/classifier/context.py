"""What a control of the classifier gets: the trained classifier, the study and its pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedml.classifier.experiment import Outcome
from seedml.classifier.split_images import SplitImages
from seedml.classifier.trained import TrainedClassifier
from seedml.grid import Tile
from seedml.shards.dataset import ShardDataset

if TYPE_CHECKING:
    from seedml.config import StudyConfig
    from seedml.tracking import Tracker


@dataclass(frozen=True)
class Context:
    """A classifier that is trained, and all that it was made of."""

    config: StudyConfig
    dataset: ShardDataset
    tiles: Sequence[Tile]
    prepare: Callable[[], Mapping[str, SplitImages]]
    """Opens the splits; indexes them first where they are not."""
    settings: Mapping[str, Any]
    """That decide what was learnt."""
    main: Outcome
    """Of the training on all seeds and prompts."""
    folder: Path
    """``runs/<name>/classifier``."""
    tracker: Tracker

    @property
    def chance(self) -> float:
        """The share that a guess among all seeds gets right."""
        return 1 / len(self.config.seed_list)

    @property
    def confidence(self) -> float:
        """Of intervals."""
        return self.config.statistics.confidence

    @property
    def threads(self) -> int:
        """That decode, filter or compute."""
        return self.config.trainer.threads or os.cpu_count() or 1

    @property
    def image_size(self) -> int:
        """Side in pixels that the classifier takes."""
        return self.config.classifier.image_size

    @cached_property
    def classifier(self) -> TrainedClassifier:
        """The best checkpoint, ready to be asked."""
        return TrainedClassifier(self.folder / "best.ckpt", self.config.trainer, self.config.seed_list)

    def shards(self, split: str) -> list[Path]:
        """The tars of a split."""
        return [self.dataset.shard(tile) for tile in self.tiles if tile.split == split]

    def prompt_ids(self, split: str) -> list[int]:
        """The prompts of a split, ascending."""
        return sorted({prompt_id for tile in self.tiles if tile.split == split for prompt_id in tile.prompt_ids})
