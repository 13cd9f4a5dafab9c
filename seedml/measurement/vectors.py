"""Vectors of images that only their sums over a seed's prompts are kept of: style, layout.

A large study's vectors would fill disks; means of seeds, over all prompts or over halves of them, need one sum a seed
and block of prompts. ``<network>.safetensors`` in a run's folder: ``seed`` S, ``images`` S × B, ``total`` S × B × D.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seedml.files import atomic_write_bytes, sha256_of
from seedml.measurement.results import safetensors_bytes

if TYPE_CHECKING:
    import pandas as pd

    from seedml.features import FeatureNetwork

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCKS = 16
"""Blocks of prompts: neighbours are in different ones, as in the jackknife of FID."""


class SeedSums(NamedTuple):
    """Sums over some images.

    Attributes:
        seeds: ``S`` int64, ascending.
        images: ``S × B`` int64, how many each sum is of.
        total: ``S × B × D`` float64.

    """

    seeds: Ints
    images: Ints
    total: Floats


class PromptBlocks:
    """Which block an image's prompt is in; only prompts that every seed has an image of are in one.

    So means of seeds are over the same prompts, whatever failed. A seed without any image does not count.

    Args:
        cells: all cells of the study with ``seed``, ``prompt_id`` and ``status``.

    """

    def __init__(self, cells: pd.DataFrame) -> None:
        good = cells[cells["status"] == "ok"]
        images = good.groupby("prompt_id").size()
        self._prompts = np.sort(images.index[images == good["seed"].nunique()].to_numpy(np.int64))

    def of(self, prompt_ids: Ints) -> Ints:
        """``N`` int64: 0 … ``BLOCKS`` − 1, or −1 for prompts that are left out."""
        if not len(self._prompts):
            return np.full(len(prompt_ids), -1)
        places = np.searchsorted(self._prompts, prompt_ids).clip(max=len(self._prompts) - 1)
        return np.where(self._prompts[places] == prompt_ids, places % BLOCKS, -1)


def seed_sums(seeds: Ints, blocks: Ints, vectors: NDArray[np.floating]) -> SeedSums:
    """Sums of rows ``N × D``; rows of block −1 are passed over."""
    kept = blocks >= 0
    names, places = np.unique(seeds[kept], return_inverse=True)
    images = np.zeros((len(names), BLOCKS), np.int64)
    total = np.zeros((len(names), BLOCKS, vectors.shape[1]))
    np.add.at(images, (places, blocks[kept]), 1)
    np.add.at(total, (places, blocks[kept]), vectors[kept].astype(np.float64))
    return SeedSums(names, images, total)


def add_sums(parts: Iterable[SeedSums]) -> SeedSums:
    """The sums of all parts, one part in memory at a time."""
    found: dict[int, tuple[Ints, Floats]] = {}
    for part in parts:
        for seed, images, total in zip(part.seeds.tolist(), part.images, part.total, strict=True):
            old = found.get(seed)
            found[seed] = (images, total) if old is None else (old[0] + images, old[1] + total)
    seeds = sorted(found)
    images = [found[seed][0] for seed in seeds]
    return SeedSums(np.array(seeds, np.int64), np.array(images), np.array([found[seed][1] for seed in seeds]))


def sums_path(folder: Path, network: str, tile: str = "") -> Path:
    """Where a network's sums are: of one tile while measuring, of the study in the run's folder."""
    return folder / (f"{tile}.{network}.sums" if tile else f"{network}.safetensors")


def write_tile_sums(folder: Path, tile: str, sums: Mapping[str, SeedSums]) -> None:
    """Keep the sums of a tile, one file a network."""
    for network, part in sums.items():
        atomic_write_bytes(sums_path(folder, network, tile), safetensors_bytes(_arrays(part), {}))


def write_sums(run_dir: Path, name: str, network: FeatureNetwork, folder: Path, tiles: Sequence[str]) -> None:
    """``<name>.safetensors`` of a study from its tiles; none where the network says nothing of these images."""
    sums = add_sums(read_sums(sums_path(folder, name, tile)) for tile in tiles)
    target = sums_path(run_dir, name)
    if not sums.total.size or not np.isfinite(sums.total).all():
        target.unlink(missing_ok=True)
        return
    notes = {"resize": network.resize, "dimension": str(network.dimension), "version": network.version}
    atomic_write_bytes(target, safetensors_bytes(_arrays(sums), notes))


def read_sums(path: Path) -> SeedSums:
    """What :func:`write_sums` wrote."""
    from safetensors.numpy import load_file

    arrays = load_file(path)
    return SeedSums(arrays["seed"], arrays["images"], arrays["total"])


def sums_hashes(run_dir: Path, networks: Sequence[str]) -> dict[str, str]:
    """File name -> SHA-256 of the sums that are there: inputs of what is made of them."""
    paths = [sums_path(run_dir, network) for network in networks]
    return {path.name: sha256_of(path) for path in paths if path.is_file()}


def _arrays(sums: SeedSums) -> dict[str, NDArray[np.generic]]:
    return {"seed": sums.seeds, "images": sums.images, "total": sums.total}
