"""A finished run's folder -> one number a seed with the noise it stands for, to compare runs by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seedml.errors import UserError, unknown_name
from seedml.files import read_json
from seedml.per_seed.reliability import SplitHalf
from seedml.per_seed.transfer import RunSeeds
from seedml.selection.cards import noise_hashes
from seedml.shards.dataset import open_dataset
from seedml.summary import read_summary

SEEDS, BOOK = "seeds.parquet", "seedbook.json"
_OF_FID = ("fid", "split_half_rank_correlation", "fid_rank_reliability")


def seeds_of_run(run_dir: Path, column: str = "fid", shard_dir: Path | None = None) -> RunSeeds:
    """A column of a run's ``seeds.parquet``, for :func:`~seedml.per_seed.transfer.transfer`.

    Noise hashes come from the tables of ``shard_dir``, else from the seed book; without either there are none, and
    seeds cannot be called the same. Reliability is known of ``fid`` alone. The folds of a run are not kept on disk.

    Args:
        run_dir: ``runs/<name>``.
        column: ``fid`` or any other.
        shard_dir: ``shards/<name>``.

    Raises:
        UserError: not summarised yet; no such column; a seed without a value.

    """
    import pandas as pd

    path = run_dir / SEEDS
    if not path.is_file():
        raise UserError(f"{path} is missing", remedy="run `seedml summarize` first")
    table = pd.read_parquet(path)
    if column not in table.columns:
        raise unknown_name(f"column of {path}", column, [str(name) for name in table.columns if name != "seed"])
    noise, shape = _noise_of_shards(shard_dir) if shard_dir is not None else _noise_of_book(run_dir / BOOK)
    return RunSeeds(
        run_dir.name, table["seed"].to_numpy(np.int64), table[column].to_numpy(np.float64),
        halves=_halves(read_summary(run_dir)) if column == _OF_FID[0] else None, noise=noise, latent_shape=shape,
    )  # fmt: skip


def _noise_of_shards(shard_dir: Path) -> tuple[dict[int, str], tuple[int, ...]]:
    dataset = open_dataset(shard_dir)
    tables = [shard.with_suffix(".parquet") for shard in dataset.shards()]
    if not tables:
        raise UserError(f"{shard_dir} holds no finished shard", remedy="run `seedml generate` first")
    return noise_hashes(tables), tuple(dataset.model["latent_shape"])


def _noise_of_book(path: Path) -> tuple[dict[int, str], tuple[int, ...] | None]:
    if not path.is_file():
        return {}, None
    cards: Any = read_json(path)["cards"]
    return {int(card["seed"]): str(card["noise_sha256"]) for card in cards}, tuple(cards[0]["latent_shape"])


def _halves(summary: Mapping[str, Any]) -> SplitHalf | None:
    _, correlation, reliability = _OF_FID
    half = summary.get(correlation, {})
    if "low" not in half or summary.get(reliability) is None:
        return None
    return SplitHalf(half["value"], half["low"], half["high"], float(summary[reliability]))
