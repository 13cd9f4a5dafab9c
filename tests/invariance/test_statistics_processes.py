"""Statistics do not depend on how many processes hold the sums: two real ones, joined by gloo."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SCRIPT = """
import sys
import numpy as np, torch
import pytorch_lightning as pl
from seedml.callbacks import AttributeStatistics, PassThrough, PerSeedFid
from seedml.callbacks import per_seed_fid
from seedml.config import StatisticsConfig, TrainerConfig
from seedml.lightning import predicting_trainer
from seedml.measurement.module import MeasuredBatch
from seedml.per_seed.frechet import Reference
from seedml.tracking import NullTracker

out, devices, order, size, limit = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
S, P, D = 6, 21, 8
if limit:
    per_seed_fid.seeds_that_fit = lambda *_: limit
generator = np.random.default_rng(0)
seeds, prompts = (a.ravel() for a in np.meshgrid(np.arange(S) * 7, np.arange(P) * 3, indexing="ij"))
features = torch.from_numpy(generator.normal(size=(len(seeds), D)) + 0.3 * (seeds[:, None] % 5) + 50).float()
sky = torch.from_numpy(generator.random(len(seeds))).float()
places = {"seeds": np.arange(len(seeds)), "tiles": np.argsort(prompts, kind="stable"),
          "shuffled": np.random.default_rng(2).permutation(len(seeds))}[order]
parts = torch.from_numpy(places).split(size)
class Own(pl.LightningDataModule):
    def predict_dataloader(self):
        mine = parts[self.trainer.global_rank :: self.trainer.world_size]
        batches = [MeasuredBatch("", torch.from_numpy(seeds)[i], torch.from_numpy(prompts)[i], features[i],
                                 {"sky": sky[i]}) for i in mine]
        return torch.utils.data.DataLoader(Batches(batches), batch_size=None)
class Batches(torch.utils.data.IterableDataset):
    def __init__(self, batches): self.batches = batches
    def __iter__(self): return iter(self.batches)
if __name__ == "__main__":
    statistics = StatisticsConfig(blocks=4, permutations=20, bootstrap=50)
    reference = Reference.of_samples(torch.from_numpy(np.random.default_rng(1).normal(size=(400, D)) + 50))
    ids = np.arange(S) * 7, np.arange(P) * 3
    fid = PerSeedFid(*ids, reference, statistics, NullTracker())
    attributes = AttributeStatistics(*ids, ["sky"], frozenset(), statistics, NullTracker())
    place = TrainerConfig(accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto")
    trainer = predicting_trainer(place, [fid, attributes])
    trainer.predict(PassThrough(), datamodule=Own(), return_predictions=False)
    assert trainer.world_size == devices
    frame = fid.frame().merge(attributes.frame(), on="seed")
    frame["halves"] = fid.halves.correlation
    frame.to_parquet(f"{out}-{trainer.global_rank}.parquet")
    if devices > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
"""


def _frame(folder: Path, processes: int, order: str, batch: int, limit: int) -> list[pd.DataFrame]:
    """What each process found."""
    script = folder / "statistics_processes.py"
    script.write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = folder / f"{processes}-{order}-{batch}-{limit}"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    arguments = [str(out), str(processes), order, str(batch), str(limit)]
    subprocess.run([sys.executable, script, *arguments], check=True, env=environment, cwd=folder, timeout=200)
    return [pd.read_parquet(f"{out}-{rank}.parquet") for rank in range(processes)]


@pytest.mark.slow
@pytest.mark.parametrize(("order", "batch", "limit"), [("seeds", 10, 0), ("tiles", 13, 0), ("shuffled", 5, 1)])
def test_two_processes_find_what_one_finds(tmp_path: Path, order: str, batch: int, limit: int) -> None:
    expected = _frame(tmp_path, 1, "seeds", 50, 0)[0]
    for found in _frame(tmp_path, 2, order, batch, limit):
        pd.testing.assert_frame_equal(found, expected, rtol=1e-9, atol=1e-12)
    assert np.isfinite(expected.to_numpy()).all()
