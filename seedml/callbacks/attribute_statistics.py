"""What each seed's images have in common: means and shares of every attribute, with intervals and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from seedml.callbacks.ranks import add_over_ranks
from seedml.measurement.module import MeasuredBatch
from seedml.per_seed.balance import Ints
from seedml.per_seed.columns import ColumnStatistics, column_statistics

if TYPE_CHECKING:
    import pandas as pd

    from seedml.config import StatisticsConfig
    from seedml.tracking import Tracker


class AttributeStatistics(Callback):
    """Holds the table seeds × prompts of every column; means, intervals, tests and variance shares follow from it.

    Args:
        seeds: the study's seeds, ascending.
        prompt_ids: prompts that every seed has, ascending; images of others are passed over.
        columns: attribute columns.
        share_columns: those of them that are 0 or 1.
        statistics: resampling, confidence.
        tracker: is told the headline numbers.

    Attributes:
        results: after the pass, column -> its statistics.

    """

    def __init__(
        self, seeds: Ints, prompt_ids: Ints, columns: list[str], share_columns: frozenset[str],
        statistics: StatisticsConfig, tracker: Tracker,
    ) -> None:  # fmt: skip
        self._seeds, self._prompt_ids, self._columns = seeds, prompt_ids, columns
        self._share_columns, self._statistics, self._tracker = share_columns, statistics, tracker
        shape = (len(columns), len(seeds), len(prompt_ids))
        self._values = torch.zeros(shape, dtype=torch.float32)  # as measured
        self._known = torch.zeros(shape[1:], dtype=torch.uint8)
        self.results: dict[str, ColumnStatistics] = {}

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: MeasuredBatch, *args: Any
    ) -> None:
        """Put a batch into the table."""
        prompts = outputs.prompt_ids.cpu().numpy()
        kept = np.isin(prompts, self._prompt_ids)
        rows = torch.from_numpy(np.searchsorted(self._seeds, outputs.seeds.cpu().numpy()[kept]))
        places = torch.from_numpy(np.searchsorted(self._prompt_ids, prompts[kept]))
        for index, name in enumerate(self._columns):
            self._values[index, rows, places] = outputs.columns[name].cpu()[torch.from_numpy(kept)]
        self._known[rows, places] += 1

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Turn the table into statistics; tell the tracker."""
        known = add_over_ranks(trainer, self._known)
        assert bool((known <= 1).all()), "an image was counted twice"
        for index, name in enumerate(self._columns):
            values = add_over_ranks(trainer, self._values[index])
            table = torch.where(known == 1, values.double(), torch.nan).numpy()
            self.results[name] = column_statistics(table, name in self._share_columns, self._statistics)
        if trainer.is_global_zero:
            shares = {f"seed_share/{name}": result.shares.value[0] for name, result in self.results.items()}
            spreads = {f"spread_null_p/{name}": result.spread_p for name, result in self.results.items()}
            self._tracker.summary(shares | spreads)

    def frame(self) -> pd.DataFrame:
        """One row a seed: seed, then ``<column>_mean``, ``_low``, ``_high``, ``_share`` (0/1 columns), ``_q_value``."""
        import pandas as pd

        table: dict[str, Any] = {"seed": self._seeds}
        for name, result in self.results.items():
            table |= {f"{name}_mean": result.means.value, f"{name}_low": result.means.low}
            table |= {f"{name}_high": result.means.high}
            if name in self._share_columns:
                table[f"{name}_share"] = result.means.value
            table[f"{name}_q_value"] = result.q
        return pd.DataFrame(table)
