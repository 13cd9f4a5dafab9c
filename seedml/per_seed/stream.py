"""Sums of many seeds while their images come in any order, with a bounded number of seeds in memory.

Tiles come prompt block by prompt block, so that all seeds are unfinished until the end, and 1,024 seeds × 16 blocks at
d = 2,048 are 275 GB of sums. What exceeds the bound waits in files; a complete seed is handed out and forgotten.
Does not know what is done with it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from seedml.per_seed.balance import Ints
from seedml.per_seed.moments import Moments, packed_size

_BYTES = 1 << 30


def seeds_that_fit(blocks: int, dimension: int, memory: int = _BYTES) -> int:
    """Seeds whose block sums are within ``memory`` bytes; at least 1."""
    return max(1, memory // (8 * blocks * packed_size(dimension)))


class MomentStream:
    """Block sums of unfinished seeds.

    Args:
        expected: ``S × B`` int64, images that each seed will have in each block.
        origin: ``d``, see :class:`~seedml.per_seed.moments.Moments`.
        limit: seeds whose sums may be in memory; the least recently fed of more is moved to a file.
        folder: for those files; leftovers of an earlier, interrupted stream in it are removed.

    Attributes:
        count: ``S × B`` int64, images that came so far.

    """

    def __init__(self, expected: Ints, origin: Tensor, limit: int, folder: Path) -> None:
        assert limit >= 1, "a seed has to be in memory to grow"
        self._expected, self._origin = torch.from_numpy(expected), origin.double()
        self._limit, self._folder = limit, folder
        self.count = torch.zeros_like(self._expected)
        self._live: dict[int, Moments] = {}  # the least recently fed first
        for path in folder.glob("*.safetensors"):
            path.unlink()

    def add(self, features: Tensor, seeds: Tensor, blocks: Tensor) -> list[int]:
        """Add rows ``N × d`` of ``seeds`` ``N`` and ``blocks`` ``N`` (indices); returns the seeds that this completes.

        Raises:
            AssertionError: more images of a seed and block than there are.

        """
        complete = []
        for seed in torch.unique(seeds).tolist():
            own = seeds == seed
            self._open(seed).add_rows(features[own], blocks[own])
            self.count[seed] += torch.bincount(blocks[own], minlength=self.count.shape[1])
            assert bool((self.count[seed] <= self._expected[seed]).all()), "an image was counted twice"
            if torch.equal(self.count[seed], self._expected[seed]):
                complete.append(seed)
        return complete

    def take(self, seed: int) -> Moments:
        """The sums of a seed so far, groups ``B``; the stream forgets them."""
        sums, path = self._live.pop(seed, None), self._path(seed)
        if not path.is_file():
            return sums if sums is not None else self._zeros()
        stored = Moments.load(path)
        path.unlink()
        return stored if sums is None else stored + sums

    @property
    def live(self) -> int:
        """Seeds whose sums are in memory."""
        return len(self._live)

    def _open(self, seed: int) -> Moments:
        while seed not in self._live and len(self._live) >= self._limit:
            self._put_away(next(iter(self._live)))
        sums = self._live.pop(seed) if seed in self._live else self._zeros()
        self._live[seed] = sums  # last: the most recently fed
        return sums

    def _put_away(self, seed: int) -> None:
        self.take(seed).save(self._path(seed))

    def _zeros(self) -> Moments:
        return Moments.zeros((self._expected.shape[1],), self._origin)

    def _path(self, seed: int) -> Path:
        return self._folder / f"{seed}.safetensors"
