"""Some images of a split in place of all of them, as they are or damaged; the classifier reads them as it reads all."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from seedml.classifier.cache import Images, Integers
from seedml.classifier.corruptions import Corruption
from seedml.classifier.split_images import SplitImages
from seedml.classifier.trained import reduced_pixels
from seedml.errors import UserError
from seedml.files import atomic_path
from seedml.progress import progress_bar
from seedml.shards.format import decode_image
from seedml.shards.tar_contents import NO_IMAGE

_CHUNK = 256


class ChosenImages(SplitImages):
    """Some rows of a split, in their order.

    Args:
        whole: the split.
        rows: which of its images, ascending.
        pixels: of these images, N × S × S × 3 uint8 in a ``.npy``; ``None`` = the split's own.

    """

    def __init__(self, whole: SplitImages, rows: Integers, pixels: Path | None = None) -> None:
        self._whole, self._chosen, self._pixels = whole, rows, pixels
        self.image_size, self.threads = whole.image_size, whole.threads

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def seeds(self) -> Integers:
        """N int64."""
        return self._whole.seeds[self._chosen]

    @property
    def prompt_ids(self) -> Integers:
        """N int64."""
        return self._whole.prompt_ids[self._chosen]

    def encoded(self, rows: Sequence[int] | Integers) -> list[bytes]:
        """The image files of these rows, undamaged."""
        return self._whole.encoded(self._chosen[np.asarray(rows, np.int64)])

    def pixels(self, rows: Sequence[int] | Integers, *, threads: int = 1) -> Images:
        """The images of these rows: N × S × S × 3 uint8 0..255, RGB."""
        chosen = np.asarray(rows, np.int64)
        if self._pixels is None:
            return self._whole.pixels(self._chosen[chosen], threads=threads)
        images: Images = np.load(self._pixels, mmap_mode="r")[chosen]
        return images


def images_of(
    split: SplitImages, *, seeds: Sequence[int] | None = None, prompt_ids: Sequence[int] | None = None
) -> Integers:
    """Ascending rows of the images of these seeds and prompts; ``None`` = of all."""
    wanted = np.ones(len(split), bool)
    if seeds is not None:
        wanted &= np.isin(split.seeds, np.asarray(seeds, np.int64))
    if prompt_ids is not None:
        wanted &= np.isin(split.prompt_ids, np.asarray(prompt_ids, np.int64))
    return np.flatnonzero(wanted)


def damaged_images(split: SplitImages, rows: Integers, damage: Corruption, path: Path, threads: int) -> ChosenImages:
    """Some images, each damaged at full size and then reduced; from ``path`` where they are there already.

    Args:
        split: of the images.
        rows: which of them.
        damage: done to each.
        path: a ``.npy`` that keeps them.
        threads: that decode and damage.

    Raises:
        UserError: an image cannot be read.

    """
    size = split.image_size

    def damaged(encoded: bytes) -> Images:
        try:
            return reduced_pixels(damage.apply(decode_image(encoded)), size)
        except NO_IMAGE as error:
            raise UserError(
                f"an image cannot be read: {error}", remedy="run `seedml verify` with repair=true"
            ) from error

    if not path.is_file():
        with atomic_path(path) as temporary, ThreadPoolExecutor(threads) as pool:
            shape = (len(rows), size, size, 3)
            kept = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            with progress_bar(f"damage images: {damage.name}", len(rows), "images") as bar:
                for start in range(0, len(rows), _CHUNK):
                    files = split.encoded(rows[start : start + _CHUNK])
                    kept[start : start + len(files)] = np.stack(list(pool.map(damaged, files)))
                    bar.advance(len(files))
            kept.flush()
    return ChosenImages(split, rows, path)
