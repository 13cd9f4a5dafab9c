"""The step ``measure``. Run it again to go on after anything; done tiles are not measured again.

Attributes and vectors that were added since, or whose version is another, are measured alone: features and all other
columns stay as they are.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from seedml.attributes import Attribute
from seedml.features import FeatureNetwork, weights_of
from seedml.files import fingerprint, finish_step, step_is_done, step_settings
from seedml.lightning import predicting_trainer, quiet_lightning, threads
from seedml.measurement.data import TileData
from seedml.measurement.module import MeasuredBatch, MeasurementModule, TileBatch, needs_parser
from seedml.measurement.networks import feature_network, measured_attributes, vector_networks
from seedml.measurement.parts import Rows, empty_rows, join, part_path, read_part, to_rows, write_part
from seedml.measurement.reference import check_reference, make_reference
from seedml.measurement.results import (
    FILES,
    measured_columns,
    measured_hashes,
    with_kept_columns,
    write_images,
    write_reference,
    write_streamed_features,
)
from seedml.measurement.vectors import PromptBlocks, SeedSums, add_sums, seed_sums, write_sums, write_tile_sums
from seedml.models.bundled import draws_scenes
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
            measurements made with other settings, or of attributes that are wanted no more.

    """
    wanted = _wanted(config)
    dataset, tiles = complete_dataset(config)
    settings: dict[str, object] = {
        "dataset": dataset.fingerprint,
        "features": _name_of(wanted.network),
        "attributes": wanted.versions_of_attributes,
        "reference": check_reference(config.reference, list(dataset.prompts.values()), wanted.network),
        "vectors": wanted.versions_of_vectors,
    }
    markers = dataset.markers(tiles)
    inputs = {tile.name: marker.sha256 for tile, marker in markers.items()}
    done = step_settings(config.run_dir, STEP)
    kept = step_is_done(config.run_dir, STEP, _as_far_as_done(settings, done)) and _all_there(config, inputs)
    todo = wanted
    if kept and done is not None:
        settings["reference"] = done["reference"]
        todo = wanted.without(done, measured_columns(config.run_dir))
    if kept and not todo.attributes and not todo.vectors:
        return
    started = time.monotonic()
    job = {"settings": settings, "inputs": inputs, "kept": kept, "columns": todo.columns, "vectors": [*todo.vectors]}
    folder = config.run_dir / ".measure" / fingerprint(job)[:16]
    module = todo.module(features=not kept, scenes=draws_scenes(config.model.path))
    with threads(config.trainer.threads):
        cells = _cells(dataset, tiles)
        if not _measure_tiles(config, dataset, markers, module, PromptBlocks(cells), folder):
            return
        names = [tile.name for tile, marker in markers.items() if marker.count]
        rows = _collect(folder, names, todo.attributes)
        if kept:
            rows = with_kept_columns(config.run_dir, rows, wanted.columns)
        else:
            _write_features(config, dataset, module, rows, names, folder)
        write_images(config.run_dir, rows, cells)
        for name, network in todo.vectors.items():
            write_sums(config.run_dir, name, network, folder, names)
    _tell(config, tracker, rows, time.monotonic() - started)
    record_inputs(config.run_dir, STEP, inputs)
    finish_step(config.run_dir, STEP, settings)
    shutil.rmtree(folder.parent)


class _Wanted(NamedTuple):
    """What is to be measured."""

    network: FeatureNetwork
    attributes: dict[str, Attribute]
    vectors: dict[str, FeatureNetwork]

    @property
    def columns(self) -> list[str]:
        return [column for attribute in self.attributes.values() for column in attribute.columns]

    @property
    def versions_of_attributes(self) -> dict[str, str]:
        return {name: attribute.version for name, attribute in self.attributes.items()}

    @property
    def versions_of_vectors(self) -> dict[str, str]:
        return {name: network.version for name, network in self.vectors.items()}

    def without(self, done: Mapping[str, Any], there: Collection[str]) -> _Wanted:
        """What of it is not done with these settings: new, of another version, or lacking a column."""
        attributes, vectors = done.get("attributes", {}), done.get("vectors", {})
        kept = {name for name, one in self.attributes.items() if attributes.get(name) == one.version}
        kept = {name for name in kept if set(self.attributes[name].columns) <= set(there)}
        return _Wanted(
            self.network,
            {name: one for name, one in self.attributes.items() if name not in kept},
            {name: one for name, one in self.vectors.items() if vectors.get(name) != one.version},
        )

    def module(self, *, features: bool, scenes: bool) -> MeasurementModule:
        """The network that measures it, in images of seedling's world (``scenes``) or of others."""
        parser, networks = None, [*(self.vectors.values() if scenes else []), *([self.network] if features else [])]
        if needs_parser(self.attributes, networks, scenes=scenes):
            from seedml.models.bundled.parser import load_parser

            parser = load_parser().folded()
        return MeasurementModule(
            self.network, self.attributes, parser, list(self.vectors.values()), features=features, scenes=scenes
        )


def _wanted(config: StudyConfig) -> _Wanted:
    return _Wanted(feature_network(config), measured_attributes(config), vector_networks(config))


def _name_of(network: FeatureNetwork) -> str:
    """A network's name; with weights of a user's its version, too, since other weights give other features."""
    return f"{network.name} {network.version}" if weights_of(network) else network.name


def _as_far_as_done(settings: Mapping[str, Any], done: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings as they would be if what was added or has another version since were still as it was."""
    if done is None:
        return dict(settings)
    changed = {**settings, "reference": _reference_as_done(settings["reference"], done.get("reference"))}
    for part in ("attributes", "vectors"):
        old = done.get(part, {})
        changed[part] = {name: old[name] for name in settings[part] if name in old}
    return changed if "vectors" in done else {name: value for name, value in changed.items() if name != "vectors"}


def _reference_as_done(wanted: Mapping[str, Any], done: object) -> Mapping[str, Any]:
    """The entry of a done step where it is the same reference: a folder was once recorded without its listing."""
    unlisted = {"path": wanted.get("path"), "sha256": ""}
    return unlisted if done == unlisted and wanted.keys() == unlisted.keys() else wanted


def _all_there(config: StudyConfig, inputs: Mapping[str, str]) -> bool:
    files = all((config.run_dir / name).is_file() for name in FILES)
    return files and made_from(config.run_dir, STEP, inputs)


def _write_features(
    config: StudyConfig, dataset: ShardDataset, module: MeasurementModule, rows: Rows, tiles: Sequence[str],
    folder: Path,
) -> None:  # fmt: skip
    """Features of the images and of what they are compared with."""
    network, prompts = module.network, list(dataset.prompts.values())
    reference = make_reference(
        config.reference, prompts, network, module.embed, module.device, config.measure.batch_size
    )
    parts = (read_part(folder, name) for name in track(tiles, "features", unit="tiles"))
    features = ((part.seeds, part.prompt_ids, part.features) for part in parts)
    write_streamed_features(config.run_dir, rows, features, network)
    write_reference(config.run_dir, reference, network)


def _measure_tiles(
    config: StudyConfig, dataset: ShardDataset, markers: dict[Tile, Marker], module: MeasurementModule,
    blocks: PromptBlocks, folder: Path,
) -> bool:  # fmt: skip
    """Measure the tiles that have no part yet. Returns whether this process is the one that goes on."""
    counts = {tile.name: marker.count for tile, marker in markers.items() if marker.count}
    todo = [tile for tile in markers if tile.name in counts and not part_path(folder, tile.name).is_file()]
    writer = PartWriter(folder, counts, blocks)
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
        blocks: which block of prompts an image counts to in sums of vectors.

    Attributes:
        advance: called with the number of images of each batch.

    """

    def __init__(self, folder: Path, counts: Mapping[str, int], blocks: PromptBlocks) -> None:
        self._folder, self._counts, self._blocks = folder, counts, blocks
        self.advance: Callable[[int], None] = lambda images: None
        self._open: dict[str, list[Rows]] = {}
        self._sums: dict[str, dict[str, list[SeedSums]]] = {}

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
        self._add_vectors(outputs, rows[-1])
        self.advance(len(outputs.seeds))
        if sum(len(part.seeds) for part in rows) == self._counts[outputs.tile]:
            sums = {name: add_sums(parts) for name, parts in self._sums.pop(outputs.tile, {}).items()}
            write_tile_sums(self._folder, outputs.tile, sums)  # before the part, which says that the tile is done
            write_part(self._folder, outputs.tile, join(self._open.pop(outputs.tile)))

    def _add_vectors(self, outputs: MeasuredBatch, rows: Rows) -> None:
        blocks, sums = self._blocks.of(rows.prompt_ids), self._sums.setdefault(outputs.tile, {})
        for name, vectors in outputs.vectors.items():
            own = seed_sums(rows.seeds, blocks, vectors.cpu().numpy())
            sums[name] = [add_sums([*sums.get(name, []), own])]


def _collect(folder: Path, tiles: Sequence[str], attributes: Mapping[str, Attribute]) -> Rows:
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
    tracker.uses("dataset")
    tracker.references("measurements", "measurements", config.run_dir, measured_hashes(config.run_dir))
