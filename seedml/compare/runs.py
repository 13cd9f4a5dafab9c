"""A finished study's folder, read for comparison, and what two of them have in common.

Everything comes from the run's own folder; the shards add pictures, prompts and noise hashes where they still are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from seedml.callbacks import reference_for
from seedml.config import PromptsConfig
from seedml.config_text import read_yaml
from seedml.errors import UserError
from seedml.measurement.results import FEATURES, FILES, Measurements, load_measurements
from seedml.per_seed.balance import Floats, Ints, balanced_cube, table
from seedml.per_seed.first_order import EXACT, folds_of_cube, resampling_for
from seedml.per_seed.folds import Folds
from seedml.per_seed.transfer import RunSeeds
from seedml.prompts import load_prompts
from seedml.report.inputs import Run, read_run
from seedml.selection.seeds_of_run import SEEDS, seeds_of_run
from seedml.shards.dataset import FILE as DATASET
from seedml.shards.dataset import open_dataset
from seedml.tracking import without_secrets

if TYPE_CHECKING:
    import pandas as pd

CONFIG = "config.yaml"
FEATURE_BYTES = 4 << 30
"""Larger files of features are not read: distances then come from ``seeds.parquet``, without folds."""
_SHARED_PROMPTS = 0.5
"""Two studies are compared on their common prompts if these are at least this share of the smaller set."""


@dataclass(frozen=True)
class StudiedRun:
    """A finished study.

    Attributes:
        name: unlike that of any other study in the comparison.
        folder: ``runs/<name>``.
        run: what the report reads of it.
        fid: distance of every seed as the study has it, with noise hashes and reliability.
        measured: features and their reference; ``None`` where they are not there or too large.
        texts: prompt_id -> text; empty where not known.
        kept: distances that were asked for already: a grid of studies asks for the same ones in every pair.

    """

    name: str
    folder: Path
    run: Run
    fid: RunSeeds
    measured: Measurements | None
    texts: Mapping[int, str]
    kept: dict[tuple[bytes, bytes, str], Folds] = field(default_factory=dict, repr=False, compare=False)

    @property
    def images(self) -> pd.DataFrame:
        """One row a cell, failed ones included."""
        assert self.run.images is not None, "checked when it was read"
        return self.run.images

    def complete_prompts(self, splits: Sequence[str] = ()) -> Ints:
        """Prompts (of these splits, or of all) with an image of every seed, ascending."""
        cells = self.images[self.images["status"] == "ok"]
        if splits:
            cells = cells[cells["split"].isin(list(splits))]
        counts = cells.groupby("prompt_id").size()
        return np.sort(counts.index[counts == self.images["seed"].nunique()].to_numpy(np.int64))

    def chosen_by(self) -> frozenset[str]:
        """Texts of the prompts that its seeds were chosen on."""
        rows = self.images[self.images["split"] != "test"]
        return frozenset(self.texts[int(prompt)] for prompt in rows["prompt_id"].unique() if int(prompt) in self.texts)


def read_studied(folders: Sequence[Path]) -> list[StudiedRun]:
    """The studies in these folders, in their order.

    Raises:
        UserError: fewer than two; one twice; no finished study in a folder.

    """
    if len(folders) < 2:
        raise UserError("compare needs two studies or more", given=", ".join(map(str, folders)) or None,
                        legal="folders of finished studies", remedy="write seedml compare runs/a runs/b")  # fmt: skip
    places = [folder.resolve() for folder in folders]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise UserError("a study is given twice", given=str(twice), remedy="name every folder once")
    return [_read(folder, name) for folder, name in zip(folders, _names(places), strict=True)]


def _names(places: Sequence[Path]) -> list[str]:
    """The folders' own names, with as many parents as it takes to tell them apart."""
    for depth in range(1, max(len(place.parts) for place in places)):
        names = ["/".join(place.parts[-depth:]) for place in places]
        if len(set(names)) == len(names):
            return names
    return [str(place) for place in places]


def _read(folder: Path, name: str) -> StudiedRun:
    for file, step in ((SEEDS, "summarize"), ("images.parquet", "measure")):
        if not (folder / file).is_file():
            raise UserError(f"{folder} holds no finished study: {file} is missing",
                            remedy=f"run `seedml {step}` (or `seedml study`) of that study first")  # fmt: skip
    settings = without_secrets(read_yaml(folder / CONFIG), os.environ) if (folder / CONFIG).is_file() else {}
    shard_dir = _shard_dir(folder, settings)
    run = read_run(folder, shard_dir, name, settings)
    has_shards = (shard_dir / DATASET).is_file() and any(shard_dir.glob("*-[0-9]*.json"))
    fid = replace(seeds_of_run(folder, shard_dir=shard_dir if has_shards else None), name=name)
    return StudiedRun(name, folder, run, fid, _measured(folder, run), _texts(shard_dir, settings))


def _shard_dir(folder: Path, settings: Mapping[str, Any]) -> Path:
    """Where the study's images are: as its configuration says, from here or from beside its ``runs`` folder."""
    own = Path((settings.get("shards") or {}).get("root") or "shards") / str(settings.get("name") or folder.name)
    beside = folder.resolve().parent.parent / own
    return own if own.is_dir() or not beside.is_dir() else beside


def _measured(folder: Path, run: Run) -> Measurements | None:
    there = all((folder / name).is_file() for name in FILES)
    if not there or run.images is None or (folder / FEATURES).stat().st_size > FEATURE_BYTES:
        return None
    return replace(load_measurements(folder), images=run.images)  # the table once, not twice


def _texts(shard_dir: Path, settings: Mapping[str, Any]) -> dict[int, str]:
    if (shard_dir / DATASET).is_file():
        return {number: prompt.text for number, prompt in open_dataset(shard_dir).prompts.items()}
    if not settings.get("prompts"):
        return {}
    try:
        return {prompt.prompt_id: prompt.text for prompt in load_prompts(PromptsConfig(**settings["prompts"]))}
    except (UserError, TypeError):  # a file that is gone; keys of another version
        return {}


class Common(NamedTuple):
    """What two studies have in common.

    Attributes:
        seeds: numbers, ascending.
        prompts: prompt_ids in the first and in the second study, ``P`` and ``P'``.
        paired: whether these are the same prompts in the same order.

    """

    seeds: Ints
    prompts: tuple[Ints, Ints]
    paired: bool


def common_of(first: StudiedRun, second: StudiedRun) -> Common:
    """Seeds that both have, and the prompts to compare them on: the common ones if these are most, else each its own.

    Raises:
        UserError: fewer than four seeds in common, or fewer than two prompts that have an image of every seed.

    """
    seeds = np.intersect1d(first.fid.seeds, second.fid.seeds)
    if len(seeds) < 4:
        raise UserError(
            f"{first.name} and {second.name} have too few seeds in common", given=len(seeds), legal="four or more",
            remedy="run both studies with the same seeds",
        )  # fmt: skip
    own, other = first.complete_prompts(), second.complete_prompts()
    for study, prompts in ((first, own), (second, other)):
        if len(prompts) < 2:
            raise UserError(f"{study.name} has too few prompts with an image of every seed", given=len(prompts),
                            legal="two or more", remedy="make its missing images again (repair=true)")  # fmt: skip
    places = {second.texts[int(prompt)]: int(prompt) for prompt in other if int(prompt) in second.texts}
    pairs = [(int(prompt), places[text]) for prompt in own if (text := first.texts.get(int(prompt))) in places]
    if len(pairs) >= max(2.0, _SHARED_PROMPTS * min(len(own), len(other))):
        one, two = np.array(pairs, np.int64).T
        return Common(seeds, (one, two), True)
    return Common(seeds, (own, other), False)


def distances(study: StudiedRun, seeds: Ints, prompts: Ints, blocks: Ints, resampling: str) -> RunSeeds:
    """Distances of these seeds on these prompts, with folds where the study's features are there.

    Without features they are those of the study's own table, over all of its prompts.

    Args:
        study: what to look at.
        seeds: ascending.
        prompts: ids in the order of ``blocks``.
        blocks: the block of each prompt.
        resampling: ``auto``, ``exact`` or ``linear``.

    """
    if study.measured is None:
        at = np.searchsorted(study.fid.seeds, seeds)
        return replace(study.fid, seeds=seeds, values=study.fid.values[at], folds=None)
    folds = distance_folds(study, prompts, blocks, resampling)
    at = np.searchsorted(study.measured.seed_list, seeds)
    own = Folds(folds.full[at], folds.deleted[:, at], folds.sizes, folds.n)
    everything = len(prompts) == len(study.complete_prompts())  # reliability is known of the whole study alone
    return replace(study.fid, seeds=seeds, values=own.full, folds=own, halves=study.fid.halves if everything else None)


def distance_folds(study: StudiedRun, prompts: Ints, blocks: Ints, resampling: str) -> Folds:
    """Distances of all seeds of a study with features on these prompts (any order), and without each block of them."""
    key = (prompts.tobytes(), blocks.tobytes(), resampling)
    if key not in study.kept:
        study.kept[key] = _folds(study, prompts, blocks, resampling)
    return study.kept[key]


def _folds(study: StudiedRun, prompts: Ints, blocks: Ints, resampling: str) -> Folds:
    measured = study.measured
    assert measured is not None, "a study with features"
    cube = balanced_cube(measured.features, measured.seeds, measured.prompt_ids, measured.seed_list, prompts)
    assert len(cube.prompt_ids) == len(prompts), "prompts with an image of every seed"
    order, how = np.argsort(prompts), resampling_for(resampling, cube)
    folds = folds_of_cube(cube, reference_for(measured, cube.prompt_ids), blocks[order], how)
    if how == EXACT:
        return folds
    return folds._replace(deleted=folds.deleted[np.argsort(order)])  # every prompt is a block: back in their order


def attribute_table(study: StudiedRun, column: str, seeds: Ints, prompts: Ints) -> Floats:
    """An attribute ``S × P`` of these seeds (ascending) and prompts (any order); NaN where an image does not tell."""
    rows = study.images
    order = np.argsort(prompts)
    values = table(
        rows[column].to_numpy(np.float64), rows["seed"].to_numpy(np.int64), rows["prompt_id"].to_numpy(np.int64),
        seeds, prompts[order],
    )  # fmt: skip
    found = np.empty_like(values)
    found[:, order] = values
    return found
