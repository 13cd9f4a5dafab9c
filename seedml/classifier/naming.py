"""Which seed made this one picture, or none of the known ones? ``seedml classify <config> image=picture.png``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from seedml.classifier.calibration import known_score
from seedml.classifier.explanation import CHECKPOINT, Subject, stored_calibration
from seedml.classifier.trained import TrainedClassifier, reduced_pixels
from seedml.errors import UserError
from seedml.files import read_json
from seedml.pixels import Pixels, rgb_pixels
from seedml.shards.dataset import FILE, complete_dataset

if TYPE_CHECKING:
    from seedml.config import StudyConfig

NAMED = 5
"""Seeds that an answer names, at most."""


@dataclass(frozen=True)
class Naming:
    """The answer for one picture."""

    path: Path
    seeds: Sequence[int]
    """The likeliest first."""
    probabilities: Sequence[float]
    """Of each, calibrated, if one of the known seeds made the picture."""
    known: int
    """Seeds that the classifier knows."""
    usualness: float
    """Share of validation pictures that look as little like one of a known seed, or less."""
    limit: float
    """``classifier.false_refusals``: at or below it, the picture is called of none of them."""
    size: tuple[int, int]
    """Width and height of the picture in pixels."""
    study_size: tuple[int, int] | None
    """Of the study's pictures; ``None`` where the study does not say."""

    @property
    def refused(self) -> bool:
        """Whether the answer is: none of the known seeds."""
        return self.usualness <= self.limit

    def text(self) -> str:
        """The answer in a few lines."""
        usual = f"{_percent(self.usualness)} of validation pictures look as little like one, or less"
        if self.refused:
            head = f"{self.path}: none of the {self.known} known seeds"
            lines = [f"({usual}; the limit is {_percent(self.limit)})", "if it was one of them all the same:"]
        else:
            head = f"{self.path}: seed {self.seeds[0]}, {_percent(self.probabilities[0])}"
            lines = [f"({usual}, so one of the {self.known} known seeds may have made it)"]
        width = max(len(str(seed)) for seed in self.seeds)
        named = [
            f"  seed {seed:<{width}}  {_percent(probability)}"
            for seed, probability in zip(self.seeds, self.probabilities, strict=True)
        ]
        return "\n".join([head, *lines, *named, *self._caveats()])

    def _caveats(self) -> list[str]:
        if self.study_size is None or self.study_size == self.size:
            return []
        width, height = self.study_size
        return [f"note: it has {self.size[0]} × {self.size[1]} px where the study's pictures have {width} × {height}: "
                "a seed is the same noise at that size only"]  # fmt: skip


def _percent(share: float) -> str:
    """With one place, and never as certain as 0 or 100 % where it is not."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return "> 99.9 %" if 0.9995 <= share < 1 else f"{100 * share:.1f} %"


def name_seed(config: StudyConfig) -> Naming:
    """What the study's classifier says of the picture ``config.image``.

    Raises:
        UserError: the file is no picture, or the study has no trained classifier yet.

    """
    assert config.image is not None, "the caller looked"
    path = Path(config.image).expanduser()
    pixels = read_picture(path)
    checkpoint = config.run_dir / "classifier" / CHECKPOINT
    if not checkpoint.is_file():
        raise UserError(
            f"{config.run_dir} has no trained classifier yet",
            remedy=f"run `seedml classify {config.name}` without image=…",
        )
    classifier = TrainedClassifier(checkpoint, config.trainer, config.seed_list)
    calibration = stored_calibration(checkpoint.parent) or Subject(config, *complete_dataset(config)).calibration
    logits = classifier.logits(reduced_pixels(pixels, classifier.module.image_size)[None]).numpy().astype(np.float64)
    probabilities = calibration.probabilities(logits)[0]
    first = np.argsort(-probabilities, kind="stable")[:NAMED]
    return Naming(
        path, classifier.seeds[first].tolist(), probabilities[first].tolist(), len(classifier.seeds),
        float(calibration.usualness(known_score(logits))[0]), config.classifier.false_refusals,
        (pixels.shape[1], pixels.shape[0]), _study_size(config.shard_dir),
    )  # fmt: skip


def _study_size(shard_dir: Path) -> tuple[int, int] | None:
    """Width and height of the study's pictures, where its shards are here and say so."""
    path = shard_dir / FILE
    model = read_json(path).get("model") if path.is_file() else None
    width, height = (model.get("width"), model.get("height")) if isinstance(model, dict) else (None, None)
    return (int(width), int(height)) if width and height else None


def read_picture(path: Path) -> Pixels:
    """The picture in a file, of any kind that Pillow reads.

    Raises:
        UserError: there is no such file, or no picture in it.

    """
    try:
        with Image.open(path) as image:
            return rgb_pixels(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"image= is no picture that can be read ({str(error) or type(error).__name__})", given=str(path),
            legal="a PNG, JPEG or WebP file", remedy="check the path",
        ) from error  # fmt: skip
