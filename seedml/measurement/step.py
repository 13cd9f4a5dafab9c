"""The step ``measure``. Run it again to go on after anything; done tiles are not measured again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from seedml.attributes import Attribute, load_attributes
from seedml.features import FeatureNetwork, load_network
from seedml.files import fingerprint, finish_step, step_is_done
from seedml.lightning import predicting_trainer, quiet_lightning, threads
from seedml.measurement.data import TileData
from seedml.measurement.module import MeasuredBatch, MeasurementModule, TileBatch, needs_parser
from seedml.measurement.parts import Rows, empty_rows, join, part_path, read_part, to_rows, write_part
from seedml.measurement.reference import check_reference, make_reference
from seedml.measurement.results import FILES, write_images, write_reference, write_streamed_features
from seedml.progress import progress_bar, track
from seedml.provenance import made_from, record_inputs
from seedml.shards.dataset import complete_dataset
from seedml.summary import update_summary

if TYPE_CHECKING:
    import pandas as pd

    from seedml.config import StudyConfig
    from seedml.grid import Tile
    from seedml.shards.dataset import ShardDataset
    from seedml.shards.format import Marker
    from seedml.tracking import Tracker

STEP = "measure"


def measure(config: StudyConfig, tracker: Tracker) -> None:
    """Measure every image of the study and its reference.

    Raises:
        UserError: images are missing; an unknown network or attribute; no reference can be had; the run's folder holds
            measurements made with other settings.

    """
    network, attributes = load_network(config.measure.features), load_attributes(config.measure.attributes)
    dataset, tiles = complete_dataset(config)
    settings = {
        "dataset": dataset.fingerprint,
        "features": network.name,
        "attributes": {name: attribute.version for name, attribute in attributes.items()},
        "reference": check_reference(config.reference, list(dataset.prompts.values())),
    }
    markers = dataset.markers(tiles)
    inputs = {tile.name: marker.sha256 for tile, marker in markers.items()}
    if step_is_done(config.run_dir, STEP, settings) and made_from(config.run_dir, STEP, inputs) and _all_there(config):
        return
    started = time.monotonic()
    folder = config.run_dir / ".measure" / fingerprint({"settings": settings, "inputs": inputs})[:16]
    module = _module(network, attributes)
    with threads(config.trainer.threads):
        leads = _measure_tiles(config, dataset, markers, module, folder)
        if not leads:
            return
        names = [tile.name for tile, marker in markers.items() if marker.count]
        rows = _collect(folder, names, attributes)
        write_images(config.run_dir, rows, _cells(dataset, tiles))
        reference = make_reference(
            config.reference,
            list(dataset.prompts.values()),
            network,
            module.embed,
            module.device,
            config.measure.batch_size,
        )
        parts = (read_part(folder, name) for name in track(names, "features", unit="tiles"))
        write_streamed_features(
            config.run_dir, rows, ((part.seeds, part.prompt_ids, part.features) for part in parts), network
        )
        write_reference(config.run_dir, reference, network)
    _tell(config, tracker, rows, time.monotonic() - started)
    record_inputs(config.run_dir, STEP, inputs)
    finish_step(config.run_dir, STEP, settings)
    shutil.rmtree(folder.parent)


def _all_there(config: StudyConfig) -> bool:
    return all((config.run_dir / name).is_file() for name in FILES)


def _module(network: FeatureNetwork, attributes: dict[str, Attribute]) -> MeasurementModule:
    parser = None
    if needs_parser(network, attributes):
        from seedml.models.bundled.parser import load_parser

        parser = load_parser()
    return MeasurementModule(network, attributes, parser)


def _measure_tiles(
    config: StudyConfig, dataset: ShardDataset, markers: dict[Tile, Marker], module: MeasurementModule, folder: Path
) -> bool:
    """Measure the tiles that have no part yet. Returns whether this process is the one that goes on."""
    counts = {tile.name: marker.count for tile, marker in markers.items() if marker.count}
    todo = [tile for tile in markers if tile.name in counts and not part_path(folder, tile.name).is_file()]
    writer = PartWriter(folder, counts)
    trainer = predicting_trainer(config.trainer, [writer])
    data = TileData([dataset.shard(tile) for tile in todo], config.measure.batch_size)
    with _bar(trainer, counts, [tile.name for tile in todo]) as writer.advance, quiet_lightning():
        trainer.predict(module, datamodule=data, return_predictions=False)
    trainer.strategy.barrier("measured")  # prediction ends rank by rank
    module.to(trainer.strategy.root_device)
    return trainer.is_global_zero


@contextmanager
def _bar(trainer: pl.Trainer, counts: Mapping[str, int], todo: Sequence[str]) -> Iterator[Callable[[int], None]]:
    """A bar over all images, moved by the first rank at the pace of its own share; other ranks are silent."""
    if not trainer.is_global_zero:
        yield lambda images: None
        return
    total, left = sum(counts.values()), sum(counts[tile] for tile in todo)
    own = sum(counts[tile] for tile in todo[:: trainer.world_size])
    with progress_bar("measure", total=total, unit="images", completed=total - left) as bar:
        yield lambda images: bar.advance(round(images * left / own))


class PartWriter(Callback):
    """Collects each tile's rows and keeps them when the tile is complete.

    Args:
        folder: where parts go.
        counts: tile -> images in it.

    Attributes:
        advance: called with the number of images of each batch.

    """

    def __init__(self, folder: Path, counts: Mapping[str, int]) -> None:
        self._folder, self._counts = folder, counts
        self.advance: Callable[[int], None] = lambda images: None
        self._open: dict[str, list[Rows]] = {}

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: MeasuredBatch,
        batch: TileBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add a batch; write its tile's part if that was the last of it."""
        rows = self._open.setdefault(outputs.tile, [])
        rows.append(to_rows(outputs))
        self.advance(len(outputs.seeds))
        if sum(len(part.seeds) for part in rows) == self._counts[outputs.tile]:
            write_part(self._folder, outputs.tile, join(self._open.pop(outputs.tile)))


def _collect(folder: Path, tiles: Sequence[str], attributes: dict[str, Attribute]) -> Rows:
    """All rows without their features, sorted, columns in the configured order."""
    columns = [column for attribute in attributes.values() for column in attribute.columns]
    rows = join([empty_rows(columns), *(read_part(folder, tile, features=False) for tile in tiles)]).sorted()
    return rows._replace(columns={name: rows.columns[name] for name in columns})


def _cells(dataset: ShardDataset, tiles: Sequence[Tile]) -> pd.DataFrame:
    """Every requested cell: seed, prompt_id, split, status."""
    import pandas as pd

    names = ["seed", "prompt_id", "split", "status"]
    tables = [pd.read_parquet(dataset.shard(tile).with_suffix(".parquet"), columns=names) for tile in tiles]
    return pd.concat(tables, ignore_index=True)


def _tell(config: StudyConfig, tracker: Tracker, rows: Rows, seconds: float) -> None:
    images = len(rows.seeds)
    update_summary(config.run_dir, {"seconds": {STEP: round(seconds, 3)}})
    mean = {
        f"measure/{name}": float(np.nanmean(values))
        for name, values in rows.columns.items()
        if np.isfinite(values).any()
    }
    tracker.summary({"measure/images": images, "measure/images_per_second": images / max(seconds, 1e-9), **mean})
