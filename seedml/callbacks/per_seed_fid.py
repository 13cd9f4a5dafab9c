"""Fréchet distance of every seed: sums over batches; a seed's distances as soon as it is complete."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from seedml.callbacks.ranks import add_over_ranks
from seedml.measurement.module import MeasuredBatch
from seedml.per_seed.balance import Floats, Ints, UnequalSamplesError, prompt_blocks
from seedml.per_seed.folds import (
    Folds,
    SeedDistances,
    deviations,
    has_folds,
    join_distances,
    join_halves,
    seed_distances,
)
from seedml.per_seed.frechet import Reference
from seedml.per_seed.kept import KeptRows
from seedml.per_seed.moments import Moments
from seedml.per_seed.multiplicity import q_values
from seedml.per_seed.reliability import SplitHalf, random_halves, split_half
from seedml.per_seed.stream import MomentStream, seeds_that_fit

if TYPE_CHECKING:
    import pandas as pd

    from seedml.config import StatisticsConfig
    from seedml.tracking import Tracker

HALVES = 32
"""Random splits of the prompt blocks behind the split-half correlation."""


class PerSeedFid(Callback):
    """Holds float64 sums per prompt block of the seeds that are not complete; the statistics follow from distances.

    With several processes the sums of all wait for the end, where they are added seed by seed.

    Args:
        seeds: the study's seeds, ascending.
        prompt_ids: prompts that every seed has, ascending; images of others are passed over.
        reference: what to measure from.
        statistics: blocks, confidence, seed of the resampling.
        tracker: is told the headline numbers.
        folder: where distances of complete seeds are kept for a pass that goes on after this one was stopped, and sums
            that exceed the memory wait; ``None`` = a temporary one.

    Attributes:
        folds: after the pass, the distances.
        halves: after the pass, how well two halves of the prompts agree; ``None`` with fewer than four of either.

    """

    def __init__(
        self, seeds: Ints, prompt_ids: Ints, reference: Reference, statistics: StatisticsConfig, tracker: Tracker,
        folder: Path | None = None,
    ) -> None:  # fmt: skip
        self._seeds, self._prompt_ids, self._reference = seeds, prompt_ids, reference
        self._statistics, self._tracker, self._folder = statistics, tracker, folder
        self._blocks = prompt_blocks(len(prompt_ids), statistics.blocks)
        self._sizes = np.bincount(self._blocks)
        self._splits = half_splits(len(seeds), len(self._sizes), statistics.seed)
        self._n_folds = len(self._sizes) if has_folds(self._sizes) else 0
        width = 1 + self._n_folds + 2 * (0 if self._splits is None else len(self._splits))
        self._kept = KeptRows(folder / "seeds" if folder else None, width)
        self._table = np.zeros((len(seeds), width))
        self._resumed = np.zeros(len(seeds), bool)
        self._opened = ExitStack()
        self.folds: Folds | None = None
        self.halves: SplitHalf | None = None

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take up what an interrupted pass kept, and make room for the rest."""
        folder = self._folder or Path(self._opened.enter_context(TemporaryDirectory(prefix="seedml-sums-")))
        expected = np.tile(self._sizes, (len(self._seeds), 1))
        limit = seeds_that_fit(len(self._sizes), len(self._reference.mean))
        waiting = folder / f"sums-{trainer.global_rank}"
        self._stream = MomentStream(expected, self._reference.mean, limit, waiting)
        for seed in range(len(self._seeds)) if trainer.world_size == 1 else ():
            row = self._kept.get(seed)
            if row is not None:
                self._table[seed], self._resumed[seed] = row, True

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: MeasuredBatch, *args: Any
    ) -> None:
        """Add a batch to the sums; take the distances of the seeds that it completes."""
        prompts = outputs.prompt_ids.cpu().numpy()
        seeds = np.searchsorted(self._seeds, outputs.seeds.cpu().numpy())
        kept = np.isin(prompts, self._prompt_ids) & ~self._resumed[seeds]
        blocks = self._blocks[np.searchsorted(self._prompt_ids, prompts[kept])]
        features = outputs.features.cpu()[torch.from_numpy(kept)]
        complete = self._stream.add(features, torch.from_numpy(seeds[kept]), torch.from_numpy(blocks))
        for seed in complete if trainer.world_size == 1 else ():
            self._finish(seed, self._stream.take(seed))

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Turn distances into statistics; tell the tracker."""
        self._require_all(trainer)
        if trainer.world_size > 1:
            self._finish_over_ranks(trainer)
        self._opened.close()
        distances = [self._distances(row) for row in self._table]
        self.folds = join_distances(distances, self._sizes)
        if self._splits is not None:
            self.halves = split_half(*join_halves(distances), self._statistics.confidence)
        if trainer.is_global_zero:
            self._tracker.summary(fid_headline(self._seeds, self.folds, self.halves))

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave no temporary file."""
        self._opened.close()

    def frame(self) -> pd.DataFrame:
        """:func:`fid_frame` of the pass."""
        assert self.folds is not None, "the pass has not ended"
        return fid_frame(self._seeds, self.folds, self._statistics.confidence)

    def _finish(self, seed: int, moments: Moments) -> None:
        full, deleted, halves = seed_distances(moments, self._reference, self._splits)
        self._table[seed] = np.concatenate([[full], deleted, halves.ravel()])
        self._kept.put(seed, self._table[seed])

    def _distances(self, row: Floats) -> SeedDistances:
        """What :meth:`_finish` put into a row."""
        return SeedDistances(row[0], row[1 : 1 + self._n_folds], row[1 + self._n_folds :].reshape(2, -1))

    def _finish_over_ranks(self, trainer: pl.Trainer) -> None:
        """Add the sums seed by seed; each rank takes the distances of its share."""
        for seed in range(len(self._seeds)):
            own = self._stream.take(seed)
            count, total, packed = (add_over_ranks(trainer, part) for part in (own.count, own.total, own.packed))
            if seed % trainer.world_size == trainer.global_rank:
                self._finish(seed, Moments(count, total, packed, own.origin))
        self._table = add_over_ranks(trainer, torch.from_numpy(self._table)).numpy()

    def _require_all(self, trainer: pl.Trainer) -> None:
        """Every image once."""
        counts = add_over_ranks(trainer, self._stream.count).numpy()[~self._resumed]
        assert (counts <= self._sizes).all(), "an image was counted twice"
        if (counts < self._sizes).any():
            raise UnequalSamplesError(
                f"seeds have between {counts.sum(1).min()} and {counts.sum(1).max()} of {self._sizes.sum()} images: "
                "they cannot be compared",
                remedy="delete the run's folder and measure again",
            )


def half_splits(seeds: int, blocks: int, seed: int) -> Ints | None:
    """Splits of the blocks for the split-half correlation, ``HALVES × B``; ``None`` with fewer than four of either."""
    if min(seeds, blocks) < 4:
        return None
    return random_halves(blocks, HALVES, np.random.default_rng([seed, 1]))


def fid_headline(seeds: Ints, folds: Folds, halves: SplitHalf | None) -> dict[str, object]:
    """What the tracker is told of the distances."""
    distances = folds.full
    best, worst = int(distances.argmin()), int(distances.argmax())
    told = {"fid/best": distances[best], "fid/worst": distances[worst], "fid/mean": distances.mean()}
    told |= {"fid/best_seed": seeds[best], "fid/worst_seed": seeds[worst]}
    return told | ({} if halves is None else {"fid/split_half_rank_correlation": halves.correlation})


def fid_frame(seeds: Ints, folds: Folds, confidence: float) -> pd.DataFrame:
    """One row a seed: seed, n, fid, fid_low, fid_high, fid_rank, fid_corrected, fid_q_value.

    ``fid`` is the distance at this n, as other libraries give it, and the limits are its own. ``fid_corrected`` has
    the bias of small n taken out to first order. ``fid_q_value``: does this seed differ from the mean seed?
    """
    import pandas as pd

    interval = folds.intervals(confidence)
    order = np.lexsort((seeds, interval.value))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    return pd.DataFrame(
        {
            "seed": seeds, "n": folds.n, "fid": interval.value, "fid_low": interval.low,
            "fid_high": interval.high, "fid_rank": rank, "fid_corrected": folds.jackknife().corrected,
            "fid_q_value": q_values(folds.jackknife(deviations).p_value()),
        }
    )  # fmt: skip
