"""Real trainings that write down the images they saw: each once an epoch, in any processes, and interrupted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from epochs_seen import EPOCHS, Witness, data_of, study, trainer_of
from planted_shards import plant_shards, planted_picture

from seedml.lightning import quiet_lightning

TRAIN, TEST = 33, 9
PROGRAM = str(Path(__file__).with_name("epochs_seen.py"))
LAUNCHERS = {
    "lightning": [sys.executable, PROGRAM],
    "torchrun": [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", PROGRAM,
    ],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("launcher", "workers"), [("lightning", 2), ("torchrun", 0)])
def test_two_processes_see_every_image_once_an_epoch(tmp_path, launcher, workers):
    """33 images for two: one process has one more, and as many batches."""
    plant_shards(study(tmp_path), planted_picture)
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "RANK", "WORLD_", "LOCAL_"))
    }
    words = [*LAUNCHERS[launcher], str(tmp_path), "2", str(workers)]
    done = subprocess.run(words, capture_output=True, text=True, env=kept, timeout=540)
    seen = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("seen-*.json"))]
    assert len(seen) == 2, done.stderr[-2000:]
    epochs = list(zip(*(rank["trained"] for rank in seen), strict=True))
    assert len(epochs) == EPOCHS
    for ranks in epochs:
        assert [len(batches) for batches in ranks] == [5, 5]
        assert sorted(row for batches in ranks for batch in batches for row in batch) == list(range(TRAIN))
    assert len({str(ranks) for ranks in epochs}) == EPOCHS  # another order each time
    assert sorted(row for rank in seen for row in rank["tested"]) == list(range(TEST))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_stopped_in_mid_epoch_goes_on_with_the_images_it_had_not_seen(tmp_path, workers):
    """9 batches an epoch, a checkpoint every other step; step 13 fails, so it goes on with step 12, the second epoch's
    fourth."""
    plant_shards(study(tmp_path), planted_picture)
    runs = {}
    for name, fails_at in (("whole", None), ("stopped", 13)):
        module = Witness(fails_at)
        with quiet_lightning():
            try:
                trainer_of(tmp_path / name, 1).fit(module, data_of(study(tmp_path), tmp_path, workers))
            except RuntimeError as error:
                assert str(error) == "planted"  # noqa: PT017 (only one of the two fails)
        runs[name] = module.trained
    module = Witness()
    with quiet_lightning():
        checkpoint = tmp_path / "stopped" / "step=12.ckpt"
        trainer = trainer_of(tmp_path / "resumed", 1)
        trainer.fit(module, data_of(study(tmp_path), tmp_path, workers), ckpt_path=checkpoint, weights_only=True)
    assert trainer.global_step == 27
    for epoch in runs["whole"]:
        assert sorted(row for batch in epoch for row in batch) == list(range(TRAIN))
    assert runs["stopped"][1][:3] + module.trained[0] == runs["whole"][1]
    assert module.trained[1:] == runs["whole"][2:]


def test_a_checkpoint_of_the_end_of_an_epoch_begins_the_next(tmp_path):
    plant_shards(study(tmp_path), planted_picture)
    whole, resumed = Witness(), Witness()
    with quiet_lightning():
        trainer_of(tmp_path / "whole", 1).fit(whole, data_of(study(tmp_path), tmp_path, 0))
        checkpoint = tmp_path / "whole" / "step=18.ckpt"
        trainer_of(tmp_path / "resumed", 1).fit(
            resumed, data_of(study(tmp_path), tmp_path, 0), ckpt_path=checkpoint, weights_only=True
        )
    assert [epoch for epoch in resumed.trained if epoch] == whole.trained[2:]
