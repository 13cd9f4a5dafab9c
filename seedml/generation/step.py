"""The step ``generate``: makes the images of a study that are not there yet. Run it again to go on after anything."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from seedml.errors import UserError
from seedml.generation.disk import check_space, full_disk_explained
from seedml.generation.plan import Plan, plan
from seedml.generation.prompt_report import report_on_prompts
from seedml.generation.work import Progress, Work, find_work, next_work
from seedml.grid import Tile, build_grid
from seedml.models.folder import model_facts, model_identity
from seedml.prompts import load_prompts
from seedml.shards.claims import Claims, leave_together
from seedml.shards.commit import remove_leftovers
from seedml.shards.dataset import FILE, ShardDataset, open_dataset, study_settings
from seedml.shards.format import Marker
from seedml.shards.mirror import Mirror, mirror_of
from seedml.shards.reader import read_shard
from seedml.summary import read_summary, update_summary
from seedml.tracking import is_rank_zero

if TYPE_CHECKING:
    import numpy as np
    import pytorch_lightning as pl
    from pytorch_lightning.strategies import Strategy

    from seedml.config import StudyConfig
    from seedml.prompts import Prompt
    from seedml.tracking import Tracker

SHEET = 4
"""Seeds and prompts on the sheet of samples that the tracker gets."""


def generate(config: StudyConfig, tracker: Tracker) -> None:
    """Make the shards of a study that are missing; with ``retry_failed``, also the images that failed.

    Any number of processes may do so at a time: they share the work, and each returns when all of it is done.

    Raises:
        UserError: the configuration cannot be carried out, the folder holds images made with other settings, or the
            disk is full.
        SystemExit: 143 after SIGTERM, 130 after Ctrl-C; finished tiles are whole, nothing else is left.

    """
    leads, planned = is_rank_zero(os.environ), plan(config)
    if leads:
        print(planned.text(), flush=True)
    if config.dry_run:
        return
    prompts = load_prompts(config.prompts)
    grid = build_grid(config, prompts)
    tiles = grid.tiles_for(config.shards)
    mirror = mirror_of(config)
    if mirror is not None:
        mirror.pull_small()  # what is finished there need not be made here
    if config.sampler.batch_size == 0:
        _fix_batch_size(config)
    weights = {"weights": model_identity(config.model)}  # fetches the model, which says whether it has a checker
    settings = study_settings(config, grid, prompts) | weights
    dataset = _existing(config, settings)
    made = dataset is None or bool(find_work(dataset, tiles, retry_failed=config.retry_failed))
    if made:
        if leads:
            _warn_of_prompts(config, prompts)
        started = time.monotonic()
        with full_disk_explained(config.shard_dir, lambda: _finished(config), len(tiles)):
            dataset = _make_missing(config, tracker, dataset, settings, prompts, tiles, planned)
        if leads:
            _add_seconds(config, time.monotonic() - started)
    assert dataset is not None, "a grid has at least one tile"
    remove_leftovers(dataset.folder)
    leave_together(dataset.folder)
    if mirror is not None:
        mirror.push_missing(FILE)
        mirror.pull([dataset.shard(tiles[0])])  # of which a sheet of samples is shown
    if leads:
        _record(config, tracker, dataset, tiles, made=made)


def _fix_batch_size(config: StudyConfig) -> None:
    """Find the largest batch that fits, or take the one that was found: before the settings are compared."""
    from seedml.generation.largest_batch import fix_batch_size

    fix_batch_size(config)


def _warn_of_prompts(config: StudyConfig, prompts: Sequence[Prompt]) -> None:
    """Say how many were left out because they are repetitions, and how many the text encoders cut."""
    for line in report_on_prompts(config, prompts).lines():
        print(f"seedml: warning: prompts {line}", file=sys.stderr, flush=True)


def _finished(config: StudyConfig) -> int:
    return len(open_dataset(config.shard_dir).shards()) if (config.shard_dir / FILE).is_file() else 0


def _make_missing(
    config: StudyConfig,
    tracker: Tracker,
    dataset: ShardDataset | None,
    settings: dict[str, Any],
    prompts: Sequence[Prompt],
    tiles: Sequence[Tile],
    planned: Plan,
) -> ShardDataset:
    """Begin the data set where there is none, and do what is left of the work, together with whoever else is at it."""
    trainer = make_trainer(config)
    with _threads(config, dataset, trainer) as threads:
        settings |= {"trainer": {"accelerator": trainer.strategy.root_device.type, "threads": threads}}
        dataset = dataset or _begin(config, settings, prompts)
        dataset.guard(settings)
        mirror = mirror_of(config)
        if mirror is not None:
            mirror.push_missing(FILE)
        remove_leftovers(dataset.folder)
        check_space(
            dataset.folder, at_least=planned.bytes_left_at_least, about=planned.bytes_left,
            warn=is_rank_zero(os.environ),
        )  # fmt: skip
        work = find_work(dataset, tiles, retry_failed=config.retry_failed)
        if work:  # else others were faster
            _make(config, tracker, dataset, work, trainer, mirror)
    return dataset


def _begin(config: StudyConfig, settings: dict[str, Any], prompts: Sequence[Prompt]) -> ShardDataset:
    """A new data set; another process may have begun the same one meanwhile."""
    dataset = ShardDataset(config.shard_dir, settings, _model(config), {p.prompt_id: p for p in prompts})
    if not (config.shard_dir / FILE).is_file():
        dataset.save(config)
    return open_dataset(config.shard_dir)


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
    """A Trainer for prediction that keeps nothing and says nothing. Several processes share only the folder.

    Raises:
        UserError: Lightning cannot make it: no such device, or not as many processes as were started.

    """
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    from seedml.lightning import ShareNothing

    try:
        trainer = _trainer(config, config.trainer.strategy)
        if trainer.world_size == 1:
            return trainer
        trainer = _trainer(config, strategy := ShareNothing())
        strategy.validate_processes()
        return trainer
    except (MisconfigurationException, ValueError) as error:
        given = {key: getattr(config.trainer, key) for key in ("accelerator", "devices", "num_nodes", "strategy")}
        raise UserError(
            f"Lightning cannot run with these trainer settings: {str(error).splitlines()[0].rstrip('.')}",
            given=", ".join(f"trainer.{key}={value}" for key, value in given.items()),
            remedy="match trainer.devices and trainer.num_nodes to the machine and to the processes that were started",
        ) from error


def _trainer(config: StudyConfig, strategy: str | Strategy) -> pl.Trainer:
    import pytorch_lightning as pl
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    from seedml.lightning import quiet_lightning

    with quiet_lightning():
        # Lightning would answer Slurm's signal with a checkpoint of a model that has none: see stopping.py
        plugins: list[Any] = [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []
        return pl.Trainer(
            accelerator=config.trainer.accelerator, devices=config.trainer.devices, num_nodes=config.trainer.num_nodes,
            strategy=strategy, plugins=plugins, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip


@contextmanager
def _threads(config: StudyConfig, dataset: ShardDataset | None, trainer: pl.Trainer) -> Iterator[int | None]:
    """Compute with the configured number of CPU threads, or with that of the images that are there already.

    The number of threads decides the last bit of an image made on a CPU, so it must not depend on how many processes
    there are; elsewhere it decides nothing (``None``).
    """
    import torch

    if trainer.strategy.root_device.type != "cpu":
        yield None
        return
    before, variable = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    earlier = dataset.settings["trainer"]["threads"] if dataset is not None else None
    threads = config.trainer.threads or earlier or _own_threads(before)
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # where it is unset, Lightning divides the cores by the processes
    try:
        yield threads
    finally:
        torch.set_num_threads(before)
        os.environ.pop("OMP_NUM_THREADS")
        if variable is not None:
            os.environ["OMP_NUM_THREADS"] = variable


def _own_threads(default: int) -> int:
    """Torch's own choice. Torchrun has it choose 1 without being asked, so there: the CPUs this process may use."""
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("OMP_NUM_THREADS") == "1":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return default


def _make(
    config: StudyConfig,
    tracker: Tracker,
    dataset: ShardDataset,
    work: Sequence[Work],
    trainer: pl.Trainer,
    mirror: Mirror | None,
) -> None:
    """Predict over the work that this process gets hold of; the writer commits it tile by tile."""
    import torch
    from torch.utils.data import DataLoader

    from seedml.generation.batches import WorkBatches
    from seedml.generation.module import GenerationModule
    from seedml.generation.stopping import StopRequests
    from seedml.generation.writer import TileWriter
    from seedml.lightning import quiet_lightning
    from seedml.models.text_to_image import load_text_to_image
    from seedml.progress import progress_bar

    module = GenerationModule(
        lambda device: load_text_to_image(config, device),
        {prompt_id: prompt.text for prompt_id, prompt in dataset.prompts.items()},
        config.noise,
    )
    images = sum(len(item.cells) for item in work)
    there = len(config.seed_list) * len(dataset.prompts) - images
    requests, rate, progress = StopRequests(), _Rate(tracker, there), Progress(dataset, work)
    with (
        requests.listening(),
        Claims(dataset.folder, progress.is_done) as claims,
        progress_bar("generate", total=images, unit="images", shown=is_rank_zero(os.environ)) as bar,
        quiet_lightning(),
    ):

        def on_tile(item: Work, marker: Marker) -> None:
            claims.release(item.tile.name)
            rate.tile_done(item, marker)

        writer = TileWriter(dataset, requests, bar.advance, on_tile, mirror)
        trainer.callbacks.append(writer)  # type: ignore[attr-defined]
        turns = next_work(work, claims, progress, on_elsewhere=lambda item: bar.advance(len(item.cells)))
        loader = DataLoader(WorkBatches(turns, config.sampler.batch_size), batch_size=None, num_workers=0)
        try:
            trainer.predict(module, loader, return_predictions=False)
        except torch.OutOfMemoryError as error:
            raise _batch_too_large(config) from error
        except BaseException:
            _explain_stop(config, writer.stopped_by)
            raise


def _batch_too_large(config: StudyConfig) -> UserError:
    from seedml.generation.largest_batch import was_found

    if was_found(config):
        return UserError(
            f"a batch of {config.sampler.batch_size} images, which sampler.batch_size=0 had found to fit, does not fit "
            "into the memory of the accelerator now",
            remedy="end what else uses that memory and go on, or choose another name=… with a smaller "
            "sampler.batch_size or sampler.decode=sliced",
        )
    return UserError(
        f"a batch of {config.sampler.batch_size} images does not fit into the memory of the accelerator",
        remedy="set sampler.batch_size=0 (the largest that fits is found) or a smaller one, or sampler.decode=sliced; "
        "where there are images already, also choose another name=…",
    )


def _explain_stop(config: StudyConfig, reason: BaseException | None) -> None:
    """Turn a signal into its exit status, with a word on how to go on. Other errors pass."""
    from seedml.generation.stopping import RequeuedError, StoppedError, launched_by_lightning, requeue

    if isinstance(reason, RequeuedError):
        requeue(os.environ)
    status = (
        reason.status if isinstance(reason, StoppedError) else 130 if isinstance(reason, KeyboardInterrupt) else None
    )
    if status is None:
        return
    if launched_by_lightning(os.environ):
        raise SystemExit(0) from None  # with another status Lightning would kill the first process, which says it all
    print(
        f"generate was stopped; finished shards are whole in {config.shard_dir}. Run the same command to go on.",
        file=sys.stderr,
    )
    raise SystemExit(status) from None


class _Rate:
    """Tells the tracker how fast images come, once a tile; counted from the images that are ``there`` already."""

    def __init__(self, tracker: Tracker, there: int) -> None:
        self._tracker, self._there = tracker, there
        self._images = self._failed = 0
        self._started = time.monotonic()

    def tile_done(self, work: Work, marker: Marker) -> None:
        self._images += len(work.cells)
        self._failed += marker.cells - marker.count
        seconds = max(time.monotonic() - self._started, 1e-9)
        self._tracker.log(
            {"generate/images_per_second": self._images / seconds, "generate/failed": self._failed},
            step=self._there + self._images,
        )


def _add_seconds(config: StudyConfig, seconds: float) -> None:
    """Add to the step's time: a study that was resumed took what all its runs took."""
    before = read_summary(config.run_dir).get("seconds")
    earlier = before.get("generate", 0.0) if isinstance(before, dict) else 0.0
    update_summary(config.run_dir, {"seconds": {"generate": round(earlier + seconds, 3)}})


def _record(config: StudyConfig, tracker: Tracker, dataset: ShardDataset, tiles: Sequence[Tile], *, made: bool) -> None:
    markers = dataset.markers(tiles)
    images = sum(marker.count for marker in markers.values())
    failed = sum(marker.cells for marker in markers.values()) - images
    update_summary(config.run_dir, {"images": images, "images_failed": failed})
    if made:
        tracker.summary({"images": images, "images_failed": failed, "shards": len(tiles)})
        sheet, caption = sample_sheet(dataset, tiles[0])
        tracker.image("generate/samples", sheet, caption)
        tars = {dataset.shard(tile).name: marker.sha256 for tile, marker in markers.items()}
        facts = {"images": images, "images_failed": failed, "fingerprint": dataset.fingerprint}
        tracker.references("dataset", "dataset", dataset.folder, tars, facts)


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
