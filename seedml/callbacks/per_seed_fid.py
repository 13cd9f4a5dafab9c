"""Fréchet distance of every seed: sums over batches, distances and intervals at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from seedml.callbacks.ranks import add_over_ranks
from seedml.measurement.module import MeasuredBatch
from seedml.per_seed.balance import Ints, prompt_blocks
from seedml.per_seed.folds import Folds, deviations, fold_distances, half_distances
from seedml.per_seed.frechet import Reference
from seedml.per_seed.moments import Moments
from seedml.per_seed.multiplicity import q_values
from seedml.per_seed.reliability import SplitHalf, random_halves, split_half

if TYPE_CHECKING:
    import pandas as pd

    from seedml.config import StatisticsConfig
    from seedml.tracking import Tracker

HALVES = 32
"""Random splits of the prompt blocks behind the split-half correlation."""


class PerSeedFid(Callback):
    """Holds float64 sums per seed and prompt block; distances, intervals and reliability follow from them.

    Args:
        seeds: the study's seeds, ascending.
        prompt_ids: prompts that every seed has, ascending; images of others are passed over.
        reference: what to measure from.
        statistics: blocks, confidence, seed of the resampling.
        tracker: is told the headline numbers.

    Attributes:
        folds: after the pass, the distances.
        halves: after the pass, how well two halves of the prompts agree; ``None`` with fewer than four of either.

    """

    def __init__(
        self, seeds: Ints, prompt_ids: Ints, reference: Reference, statistics: StatisticsConfig, tracker: Tracker
    ) -> None:
        self._seeds, self._prompt_ids, self._reference = seeds, prompt_ids, reference
        self._statistics, self._tracker = statistics, tracker
        self._blocks = prompt_blocks(len(prompt_ids), statistics.blocks)
        self._n_blocks = int(self._blocks.max()) + 1
        self._moments = Moments.zeros((len(seeds), self._n_blocks), reference.mean)
        self.folds: Folds | None = None
        self.halves: SplitHalf | None = None

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: MeasuredBatch, *args: Any
    ) -> None:
        """Add a batch to the sums."""
        prompts = outputs.prompt_ids.cpu().numpy()
        kept = np.isin(prompts, self._prompt_ids)
        seeds = np.searchsorted(self._seeds, outputs.seeds.cpu().numpy()[kept])
        blocks = self._blocks[np.searchsorted(self._prompt_ids, prompts[kept])]
        groups = torch.from_numpy(seeds * self._n_blocks + blocks)
        self._moments.add_rows(outputs.features.cpu()[torch.from_numpy(kept)], groups)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Turn the sums into statistics; tell the tracker."""
        own = self._moments
        count, total, outer = (add_over_ranks(trainer, sums) for sums in (own.count, own.total, own.outer))
        moments = Moments(count, total, outer, own.origin)
        self.folds = fold_distances(moments, self._reference)
        if self._n_blocks >= 4 and len(self._seeds) >= 4:
            splits = random_halves(self._n_blocks, HALVES, np.random.default_rng([self._statistics.seed, 1]))
            first, second = half_distances(moments, splits, self._reference)
            self.halves = split_half(first, second, self._statistics.confidence)
        if trainer.is_global_zero:
            self._tell(self.folds.full)

    def _tell(self, distances: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        best, worst = int(distances.argmin()), int(distances.argmax())
        told = {"fid/best": distances[best], "fid/worst": distances[worst], "fid/mean": distances.mean()}
        told |= {"fid/best_seed": self._seeds[best], "fid/worst_seed": self._seeds[worst]}
        if self.halves is not None:
            told["fid/split_half_rank_correlation"] = self.halves.correlation
        self._tracker.summary(told)

    def frame(self) -> pd.DataFrame:
        """One row a seed: seed, n, fid, fid_low, fid_high, fid_rank, fid_corrected, fid_q_value.

        ``fid`` is the distance at this n, as other libraries give it, and the limits are its own. ``fid_corrected`` has
        the bias of small n taken out to first order. ``fid_q_value``: does this seed differ from the mean seed?
        """
        import pandas as pd

        assert self.folds is not None, "the pass has not ended"
        interval = self.folds.intervals(self._statistics.confidence)
        order = np.lexsort((self._seeds, interval.value))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(1, len(order) + 1)
        return pd.DataFrame(
            {
                "seed": self._seeds, "n": self.folds.n, "fid": interval.value, "fid_low": interval.low,
                "fid_high": interval.high, "fid_rank": rank, "fid_corrected": self.folds.jackknife().corrected,
                "fid_q_value": q_values(self.folds.jackknife(deviations).p_value()),
            }
        )  # fmt: skip
