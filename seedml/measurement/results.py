"""The files that measuring leaves in a run's folder, written and read. Formats are in DESIGN section 5."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seedml.errors import UserError
from seedml.files import atomic_path, atomic_write_bytes, sha256_of
from seedml.measurement.parts import Rows
from seedml.measurement.reference import ReferenceFeatures

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
        features: N × D float32, one row an image.
        seeds: N int64, of the features' rows.
        prompt_ids: N int64, of the features' rows.
        reference: what to compare with.
        notes: network and resize rule of the features.

    """

    images: pd.DataFrame
    features: NDArray[np.float32]
    seeds: NDArray[np.int64]
    prompt_ids: NDArray[np.int64]
    reference: ReferenceFeatures
    notes: dict[str, str]

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
        """The reference's features for these prompts, M' × D; all where it knows no prompts."""
        if (self.reference.prompt_ids < 0).any():
            return self.reference.features
        return self.reference.features[np.isin(self.reference.prompt_ids, prompt_ids)]


def write_images(run_dir: Path, rows: Rows, cells: pd.DataFrame) -> None:
    """``images.parquet``: ``cells`` (seed, prompt_id, split, status) with what was measured; NaN where it failed."""
    import pandas as pd

    measured = pd.DataFrame({"seed": rows.seeds, "prompt_id": rows.prompt_ids, **rows.columns})
    table = cells.merge(measured, on=["seed", "prompt_id"], how="left", validate="one_to_one")
    table = table.sort_values(["seed", "prompt_id"], ignore_index=True)
    assert (table["status"] == "ok").sum() == len(rows.seeds), "a row for every image that did not fail"
    with atomic_path(run_dir / IMAGES) as temporary:
        table.to_parquet(temporary, index=False)


def write_features(run_dir: Path, rows: Rows, reference: ReferenceFeatures, network: FeatureNetwork) -> None:
    """``features.safetensors`` and ``reference.safetensors``."""
    notes = {"network": network.name, "resize": network.resize, "dimension": str(network.dimension)}
    own: dict[str, NDArray[Any]] = {"features": rows.features, "seed": rows.seeds, "prompt_id": rows.prompt_ids}
    others: dict[str, NDArray[Any]] = {"features": reference.features, "prompt_id": reference.prompt_ids}
    atomic_write_bytes(run_dir / FEATURES, _safetensors(own, notes))
    atomic_write_bytes(run_dir / REFERENCE, _safetensors(others, notes | {"source": reference.source}))


def _safetensors(arrays: Mapping[str, NDArray[Any]], notes: Mapping[str, str]) -> bytes:
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
        features, seeds, prompt_ids = (own.get_tensor(name) for name in ("features", "seed", "prompt_id"))
    with safe_open(run_dir / REFERENCE, framework="numpy") as other:
        other_notes = dict(other.metadata())
        reference = ReferenceFeatures(
            other.get_tensor("features"), other.get_tensor("prompt_id"), other_notes.pop("source", "unknown")
        )
    if notes != other_notes:
        raise UserError(
            f"{run_dir}: features and reference are of different networks or resize rules", given=str(other_notes),
            legal=str(notes), remedy="delete both files and run `seedml measure` again",
        )  # fmt: skip
    return Measurements(pd.read_parquet(run_dir / IMAGES), features, seeds, prompt_ids, reference, notes)


def measured_hashes(run_dir: Path) -> dict[str, str]:
    """File name -> SHA-256 of what ``measure`` wrote: the inputs of every step after it."""
    return {name: sha256_of(run_dir / name) for name in FILES if (run_dir / name).is_file()}
