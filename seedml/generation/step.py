"""The step ``generate``: makes the images of a study that are not there yet. Run it again to go on after anything."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from seedml.generation.plan import plan
from seedml.grid import Tile, build_grid
from seedml.models.folder import model_facts, model_identity
from seedml.prompts import load_prompts
from seedml.shards.commit import remove_leftovers
from seedml.shards.dataset import FILE, ShardDataset, open_dataset, study_settings
from seedml.shards.format import Marker
from seedml.shards.reader import read_shard
from seedml.summary import read_summary, update_summary

if TYPE_CHECKING:
    import numpy as np
    import pytorch_lightning as pl

    from seedml.config import StudyConfig
    from seedml.tracking import Tracker

SHEET = 4
"""Seeds and prompts on the sheet of samples that the tracker gets."""


def generate(config: StudyConfig, tracker: Tracker) -> None:
    """Make the shards of a study that are missing.

    Raises:
        UserError: the configuration cannot be carried out, or the folder holds images made with other settings.
        SystemExit: 143 after SIGTERM, 130 after Ctrl-C; finished tiles are whole, nothing else is left.

    """
    print(plan(config).text())
    if config.dry_run:
        return
    prompts = load_prompts(config.prompts)
    grid = build_grid(config, prompts)
    tiles = grid.tiles_for(config.shards)
    settings = study_settings(config, grid, prompts) | {"weights": model_identity(config.model)}
    dataset = _existing(config, settings)
    missing = tiles if dataset is None else dataset.missing(tiles)
    if missing:
        started = time.monotonic()
        trainer = make_trainer(config)
        with _threads(config, dataset, trainer) as threads:
            settings |= {"trainer": {"accelerator": trainer.strategy.root_device.type, "threads": threads}}
            if dataset is None:
                dataset = ShardDataset(config.shard_dir, settings, _model(config), {p.prompt_id: p for p in prompts})
                dataset.save(config)
            dataset.guard(settings)
            remove_leftovers(dataset.folder)
            _make(config, tracker, dataset, missing, trainer)
        _add_seconds(config, time.monotonic() - started)
    assert dataset is not None, "a grid has at least one tile"
    _record(config, tracker, dataset, tiles, made=bool(missing))


def _existing(config: StudyConfig, settings: dict[str, Any]) -> ShardDataset | None:
    """The study's data set if it was begun; refuses one of other settings."""
    if not (config.shard_dir / FILE).is_file():
        return None
    dataset = open_dataset(config.shard_dir)
    dataset.guard(settings, only=list(settings))
    return dataset


def _model(config: StudyConfig) -> dict[str, Any]:
    """What the model makes of the settings, for whoever wants to make the same image elsewhere."""
    facts = model_facts(config)
    return {
        "pipeline": facts.pipeline, "latent_shape": list(facts.latent_shape), "steps": facts.sampling.steps,
        "guidance_scale": facts.sampling.guidance_scale, "scheduler": facts.sampling.scheduler,
        "dtype": facts.sampling.dtype, "height": facts.sampling.height, "width": facts.sampling.width,
    }  # fmt: skip


def make_trainer(config: StudyConfig) -> pl.Trainer:
    """A Trainer for prediction that keeps nothing and says nothing."""
    import pytorch_lightning as pl

    from seedml.lightning import quiet_lightning

    with quiet_lightning():
        return pl.Trainer(
            accelerator=config.trainer.accelerator, devices=config.trainer.devices, num_nodes=config.trainer.num_nodes,
            strategy=config.trainer.strategy, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip


@contextmanager
def _threads(config: StudyConfig, dataset: ShardDataset | None, trainer: pl.Trainer) -> Iterator[int | None]:
    """Compute with the configured number of CPU threads, or with that of the images that are there already.

    The number of threads decides the last bit of an image made on a CPU; elsewhere it decides nothing (``None``).
    """
    import torch

    if trainer.strategy.root_device.type != "cpu":
        yield None
        return
    before = torch.get_num_threads()
    earlier = dataset.settings["trainer"]["threads"] if dataset is not None else None
    threads = config.trainer.threads or earlier or before
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(before)


def _make(
    config: StudyConfig, tracker: Tracker, dataset: ShardDataset, missing: Sequence[Tile], trainer: pl.Trainer
) -> None:
    """Predict over the missing tiles; the writer commits them one by one."""
    from torch.utils.data import DataLoader

    from seedml.generation.batches import PendingTiles
    from seedml.generation.module import GenerationModule
    from seedml.generation.writer import TileWriter
    from seedml.lightning import quiet_lightning
    from seedml.models.text_to_image import load_text_to_image
    from seedml.progress import progress_bar

    module = GenerationModule(
        lambda device: load_text_to_image(config, device),
        {prompt_id: prompt.text for prompt_id, prompt in dataset.prompts.items()},
        config.noise,
    )
    loader = DataLoader(PendingTiles(missing, config.sampler.batch_size), batch_size=None, num_workers=0)
    images = sum(map(len, missing))
    rate = _Rate(tracker)
    with progress_bar("generate", total=images, unit="images") as bar, quiet_lightning():
        writer = TileWriter(dataset, on_images=bar.advance, on_tile=rate.tile_done)
        trainer.callbacks.append(writer)  # type: ignore[attr-defined]
        try:
            trainer.predict(module, loader, return_predictions=False)
        except BaseException:
            _explain_stop(config, writer.stopped_by)
            raise


def _explain_stop(config: StudyConfig, reason: BaseException | None) -> None:
    """Turn a signal into its exit status, with a word on how to go on. Other errors pass."""
    from seedml.generation.writer import TerminatedError

    status = 143 if isinstance(reason, TerminatedError) else 130 if isinstance(reason, KeyboardInterrupt) else None
    if status is not None:
        print(
            f"generate was stopped; finished shards are whole in {config.shard_dir}. Run the same command to go on.",
            file=sys.stderr,
        )
        raise SystemExit(status) from None


class _Rate:
    """Tells the tracker how fast images come, once a tile."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._images = self._failed = 0
        self._started = time.monotonic()

    def tile_done(self, tile: Tile, marker: Marker) -> None:
        self._images += marker.cells
        self._failed += marker.cells - marker.count
        seconds = max(time.monotonic() - self._started, 1e-9)
        self._tracker.log(
            {"generate/images_per_second": self._images / seconds, "generate/failed": self._failed}, step=self._images
        )


def _add_seconds(config: StudyConfig, seconds: float) -> None:
    """Add to the step's time: a study that was resumed took what all its runs took."""
    before = read_summary(config.run_dir).get("seconds")
    earlier = before.get("generate", 0.0) if isinstance(before, dict) else 0.0
    update_summary(config.run_dir, {"seconds": {"generate": round(earlier + seconds, 3)}})


def _record(config: StudyConfig, tracker: Tracker, dataset: ShardDataset, tiles: Sequence[Tile], *, made: bool) -> None:
    markers = dataset.markers(tiles).values()
    images = sum(marker.count for marker in markers)
    failed = sum(marker.cells for marker in markers) - images
    update_summary(config.run_dir, {"images": images, "images_failed": failed})
    if made:
        tracker.summary({"images": images, "images_failed": failed, "shards": len(tiles)})
        sheet, caption = sample_sheet(dataset, tiles[0])
        tracker.image("generate/samples", sheet, caption)


def sample_sheet(dataset: ShardDataset, tile: Tile) -> tuple[np.ndarray[Any, Any], str]:
    """The tile's first seeds (columns) and prompts (rows) on one sheet, H × W × 3 uint8, and a caption."""
    import numpy as np

    seeds, prompt_ids = tile.seeds[:SHEET], tile.prompt_ids[:SHEET]
    height, width = dataset.model["height"], dataset.model["width"]
    sheet = np.zeros((height * len(prompt_ids), width * len(seeds), 3), np.uint8)
    for sample in read_shard(dataset.shard(tile)):
        if sample.seed in seeds and sample.prompt_id in prompt_ids:
            top, left = prompt_ids.index(sample.prompt_id) * height, seeds.index(sample.seed) * width
            sheet[top : top + height, left : left + width] = sample.pixels()
    rows = "; ".join(dataset.prompts[prompt_id].text for prompt_id in prompt_ids)
    return sheet, f"columns: seeds {', '.join(map(str, seeds))}; rows: {rows}"
