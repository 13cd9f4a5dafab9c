"""The files that measuring leaves in a run's folder, written and read. Formats are in DESIGN section 5."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from seedml.errors import UserError
from seedml.features import weights_of
from seedml.files import atomic_path, atomic_write_bytes, sha256_of
from seedml.measurement.parts import Rows
from seedml.measurement.reference_files import ReferenceStatistics, reference_of_arrays

if TYPE_CHECKING:
    import pandas as pd

    from seedml.features import FeatureNetwork

IMAGES, FEATURES, REFERENCE = "images.parquet", "features.safetensors", "reference.safetensors"
FILES = (IMAGES, FEATURES, REFERENCE)
_KEYS = ("seed", "prompt_id", "split", "status")


@dataclass(frozen=True)
class Measurements:
    """A run's measured images.

    Attributes:
        images: one row a cell, failed ones included, sorted by (seed, prompt_id): seed, prompt_id, split, status, then
            attribute columns.
        features: N × D float32, one row an image, a seed's rows side by side; a memory map of the file.
        seeds: N int64, of the features' rows.
        prompt_ids: N int64, of the features' rows.
        reference: what to compare with.
        notes: network, its weights and resize rule of the features.

    """

    images: pd.DataFrame
    features: NDArray[np.float32]
    seeds: NDArray[np.int64]
    prompt_ids: NDArray[np.int64]
    reference: ReferenceStatistics
    notes: dict[str, str]

    @property
    def provenance(self) -> dict[str, object]:
        """What has to be the same where two FIDs are compared: network, weights, resize rule, and the reference."""
        reference: dict[str, object] = {"source": self.reference.source, "images": self.reference.n}
        reference |= {"sha256": self.reference.sha256} if self.reference.sha256 else {}
        return {**self.notes, "reference": reference}

    @property
    def columns(self) -> list[str]:
        """The attribute columns."""
        return [name for name in self.images.columns if name not in _KEYS]

    @property
    def seed_list(self) -> NDArray[np.int64]:
        """The study's seeds, ascending, failed ones included."""
        return np.unique(self.images["seed"].to_numpy(np.int64))

    def prompts_of(self, *splits: str) -> NDArray[np.int64]:
        """The prompt_ids of these splits, ascending; of all where none is named."""
        chosen = self.images["split"].isin(splits) if splits else slice(None)
        return np.unique(self.images.loc[chosen, "prompt_id"].to_numpy(np.int64))

    def reference_of(self, prompt_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The reference's features for these prompts, M' × D; all where it knows no prompts.

        Raises:
            UserError: the reference is a mean and a covariance alone.

        """
        return self.reference.features_of(prompt_ids)


def write_images(run_dir: Path, rows: Rows, cells: pd.DataFrame) -> None:
    """``images.parquet``: ``cells`` (seed, prompt_id, split, status) with what was measured; NaN where it failed."""
    table = cells.sort_values(["seed", "prompt_id"], ignore_index=True)
    good = (table["status"] == "ok").to_numpy()
    order = np.lexsort((rows.prompt_ids, rows.seeds))
    for name, keys in (("seed", rows.seeds), ("prompt_id", rows.prompt_ids)):
        same = np.array_equal(table[name].to_numpy()[good], keys[order])
        assert same, "a row for every image that did not fail"
    for name, values in rows.columns.items():
        column = np.full(len(table), np.nan, values.dtype)
        column[good] = values[order]
        table[name] = column
    with atomic_path(run_dir / IMAGES) as temporary:
        table.to_parquet(temporary, index=False)


def measured_columns(run_dir: Path) -> list[str]:
    """Attribute columns of ``images.parquet``."""
    import pyarrow.parquet as pq

    return [name for name in pq.read_schema(run_dir / IMAGES).names if name not in _KEYS]


def with_kept_columns(run_dir: Path, rows: Rows, columns: Sequence[str]) -> Rows:
    """Measured rows, sorted, with the columns that are in ``images.parquet`` already and were not measured anew.

    Args:
        run_dir: the run's folder.
        rows: all images, some columns.
        columns: all columns in the order they are wanted in.

    """
    import pandas as pd

    table = pd.read_parquet(run_dir / IMAGES)
    good = table[table["status"] == "ok"]
    for name, keys in (("seed", rows.seeds), ("prompt_id", rows.prompt_ids)):
        assert np.array_equal(good[name].to_numpy(), keys), "the same images as before"
    found = {name: rows.columns[name] if name in rows.columns else good[name].to_numpy() for name in columns}
    return rows._replace(columns=found)


def write_features(run_dir: Path, rows: Rows, reference: ReferenceStatistics, network: FeatureNetwork) -> None:
    """``features.safetensors`` and ``reference.safetensors``, of rows that are in memory."""
    write_streamed_features(run_dir, rows, [(rows.seeds, rows.prompt_ids, rows.features)], network)
    write_reference(run_dir, reference, network)


def write_reference(run_dir: Path, reference: ReferenceStatistics, network: FeatureNetwork) -> None:
    """``reference.safetensors``."""
    notes = _notes(network) | {"source": reference.source}
    notes |= {"sha256": reference.sha256} if reference.sha256 else {}
    atomic_write_bytes(run_dir / REFERENCE, safetensors_bytes(reference.arrays(), notes))


def _notes(network: FeatureNetwork) -> dict[str, str]:
    notes = {"network": network.name, "resize": network.resize, "dimension": str(network.dimension)}
    weights = weights_of(network)
    return notes | ({"weights": weights} if weights else {})


FeatureRows = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Seeds ``n``, prompt_ids ``n`` and features ``n × D`` of some images."""


def write_streamed_features(run_dir: Path, keys: Rows, parts: Iterable[FeatureRows], network: FeatureNetwork) -> None:
    """``features.safetensors`` with rows sorted by (seed, prompt_id), from parts in any order, one in memory at a time.

    Args:
        run_dir: the run's folder.
        keys: the seeds and prompt_ids of all rows; its features are not looked at.
        parts: their features.
        network: what made them.

    """
    order = np.lexsort((keys.prompt_ids, keys.seeds))
    seeds, prompt_ids = keys.seeds[order].astype("<i8"), keys.prompt_ids[order].astype("<i8")
    with atomic_path(run_dir / FEATURES) as temporary, temporary.open("wb") as stream:
        stream.write(_feature_header(len(order), network.dimension, _notes(network)))
        for array in (prompt_ids, seeds):  # the library's order: wide types first, then by name
            stream.write(array.data)
        _write_rows(stream, seeds, prompt_ids, parts)


def _feature_header(rows: int, dimension: int, notes: Mapping[str, str]) -> bytes:
    """The header that the library would write, notes sorted."""
    narrow, wide = 8 * rows, 4 * rows * dimension
    header: dict[str, object] = {"__metadata__": dict(sorted(notes.items()))}
    header["prompt_id"] = {"dtype": "I64", "shape": [rows], "data_offsets": [0, narrow]}
    header["seed"] = {"dtype": "I64", "shape": [rows], "data_offsets": [narrow, 2 * narrow]}
    span = [2 * narrow, 2 * narrow + wide]
    header["features"] = {"dtype": "F32", "shape": [rows, dimension], "data_offsets": span}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return len(text).to_bytes(8, "little") + text


def _write_rows(
    stream: BinaryIO, seeds: NDArray[np.int64], prompt_ids: NDArray[np.int64], parts: Iterable[FeatureRows]
) -> None:
    """Features to their places behind what is written already; ``seeds`` and ``prompt_ids`` are sorted."""
    start, written = stream.tell(), 0
    names, first = np.unique(seeds, return_index=True)
    last = np.append(first[1:], len(seeds))
    for own_seeds, own_prompts, features in parts:
        rows = np.ascontiguousarray(features, "<f4")
        for seed in np.unique(own_seeds):
            at = int(np.searchsorted(names, seed))
            own = np.flatnonzero(own_seeds == seed)
            places = first[at] + np.searchsorted(prompt_ids[first[at] : last[at]], own_prompts[own])
            assert np.array_equal(prompt_ids[places], own_prompts[own]), "a place for every image"
            for run in np.split(np.arange(len(own)), np.flatnonzero(np.diff(places) != 1) + 1):
                stream.seek(start + int(places[run[0]]) * rows.shape[1] * rows.itemsize)
                stream.write(rows[own[run]].data)
        written += len(rows)
    assert written == len(seeds), "features of every image"


def safetensors_bytes(arrays: Mapping[str, NDArray[Any]], notes: Mapping[str, str]) -> bytes:
    """A safetensors file whose bytes follow from its content: the library writes its notes in random order."""
    from safetensors.numpy import save

    data = save({key: np.ascontiguousarray(array) for key, array in arrays.items()}, dict(notes))
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
    assert len(text) == length, "only the order of the header changed"
    return data[:8] + text + data[8 + length :]


def load_measurements(run_dir: Path) -> Measurements:
    """What ``measure`` left in a run's folder.

    Raises:
        UserError: it did not run yet; or a file was replaced by one of another feature network.

    """
    import pandas as pd
    from safetensors import safe_open

    for name in FILES:
        if not (run_dir / name).is_file():
            raise UserError(f"{run_dir / name} is missing", remedy="run `seedml measure` first")
    with safe_open(run_dir / FEATURES, framework="numpy") as own:
        notes = dict(own.metadata())
        seeds, prompt_ids = own.get_tensor("seed"), own.get_tensor("prompt_id")
    with safe_open(run_dir / REFERENCE, framework="numpy") as other:
        other_notes = dict(other.metadata())
        arrays = {name: other.get_tensor(name) for name in other.keys()}  # noqa: SIM118
    source, digest = (other_notes.pop(key, default) for key, default in (("source", "unknown"), ("sha256", "")))
    reference = reference_of_arrays(arrays, source, digest)
    if notes != other_notes:
        raise UserError(
            f"{run_dir}: features and reference are of different networks or resize rules", given=str(other_notes),
            legal=str(notes), remedy="delete both files and run `seedml measure` again",
        )  # fmt: skip
    features = _map_features(run_dir / FEATURES)
    return Measurements(pd.read_parquet(run_dir / IMAGES), features, seeds, prompt_ids, reference, notes)


def _map_features(path: Path) -> NDArray[np.float32]:
    """The features of a file without reading them, N × D."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        entry = json.loads(stream.read(length))["features"]
    assert entry["dtype"] == "F32", "features are float32"
    shape = tuple(entry["shape"])
    if 0 in shape:
        return np.empty(shape, np.float32)  # nothing can be mapped
    return np.memmap(path, "<f4", "r", offset=8 + length + entry["data_offsets"][0], shape=shape)


def measured_hashes(run_dir: Path) -> dict[str, str]:
    """File name -> SHA-256 of what ``measure`` wrote: the inputs of every step after it."""
    return {name: sha256_of(run_dir / name) for name in FILES if (run_dir / name).is_file()}
