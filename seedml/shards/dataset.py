"""A study's folder of shards: what it was made with, what is there and what is missing. Makes no image."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedml.config import resolved
from seedml.errors import UserError
from seedml.files import differing_keys, fingerprint, read_json
from seedml.grid import Cell, Grid, Tile, build_grid
from seedml.models.sources import keeps_checker
from seedml.prompts import Prompt, load_prompts
from seedml.shards.commit import pending_path
from seedml.shards.format import FAILED, FORMAT_VERSION, Marker
from seedml.shards.mirror import mirror_of
from seedml.shards.reader import read_marker
from seedml.tracking import is_struck, without_secrets

if TYPE_CHECKING:
    from seedml.config import StudyConfig

FILE = "dataset.json"
_LIBRARIES = ("seedml", "torch", "diffusers", "transformers", "pillow", "numpy")
_ELSEWHERE = ("tracking", "trainer", "runs", "plan", "dry_run", "retry_failed", "repair", "image")
"""Sections of the configuration that say nothing of the images."""


@dataclass(frozen=True)
class ShardDataset:
    """A folder with a ``dataset.json``."""

    folder: Path
    settings: Mapping[str, Any]
    """All that determines the bytes."""
    model: Mapping[str, Any]
    """What the model said of itself: latent shape, scheduler, steps … as they were used."""
    prompts: Mapping[int, Prompt]
    """prompt_id -> prompt: the split table."""
    recorded: str = ""
    """The fingerprint as ``dataset.json`` has it, where secrets were struck out of the settings there."""

    @property
    def fingerprint(self) -> str:
        """Hash of the settings as they were before secrets were struck out of them; every marker carries it."""
        return self.recorded or fingerprint(self.settings)

    @property
    def image_format(self) -> str:
        """``png``, ``webp`` or ``jpg``."""
        return str(self.settings["shards"]["format"])

    def shard(self, tile: Tile) -> Path:
        """Where the tile's tar is, or will be."""
        return self.folder / f"{tile.name}.tar"

    def shards(self, split: str | None = None) -> list[Path]:
        """The tars that exist (have a marker), of one split or of all, sorted by name."""
        markers = sorted(self.folder.glob(f"{split or '*'}-[0-9]*.json"))
        return [path.with_suffix(".tar") for path in markers]

    def markers(self, tiles: Sequence[Tile]) -> dict[Tile, Marker]:
        """The markers of those tiles that are done.

        Raises:
            UserError: a tile was made with other settings than its folder says.

        """
        present = {path.name for path in self.folder.glob("*.json")}
        found = {tile: read_marker(self.shard(tile)) for tile in tiles if f"{tile.name}.json" in present}
        foreign = next((tile for tile, marker in found.items() if marker.fingerprint != self.fingerprint), None)
        if foreign is not None:
            raise UserError(
                f"{self.shard(foreign)} was made with other settings than {self.folder / FILE} says",
                remedy="move it away and run `seedml generate` again",
            )
        return found

    def missing(self, tiles: Sequence[Tile]) -> list[Tile]:
        """The tiles that are not done, in their order."""
        done = self.markers(tiles)
        return [tile for tile in tiles if tile not in done]

    def failed(self, tile: Tile) -> list[Cell]:
        """The cells of a finished tile that gave no image, sorted by (seed, prompt_id)."""
        import pyarrow.parquet as pq

        table = pq.read_table(self.shard(tile).with_suffix(".parquet"), columns=["seed", "prompt_id", "status"])
        return sorted(Cell(row["seed"], row["prompt_id"]) for row in table.to_pylist() if row["status"] == FAILED)

    def guard(self, settings: Mapping[str, Any], *, only: Sequence[str] | None = None) -> None:
        """Refuse to go on with other settings than these images were made with. Another secret is no other setting.

        Args:
            settings: today's.
            only: the top-level keys to compare; default all.

        Raises:
            UserError: names the keys that differ. Nothing is touched.

        """
        keys = self.settings.keys() | settings.keys() if only is None else set(only)
        if self.fingerprint == fingerprint(self._otherwise(_plain(settings), keys)):
            return
        struck = (without_secrets(side, os.environ) for side in (self.settings, _plain(settings)))
        old, new = ({key: _whole(side).get(key) for key in keys} for side in struck)
        differing = differing_keys(old, new)
        if differing:
            raise UserError(
                f"{self.folder} holds images made with other settings: {', '.join(differing)}",
                given=_brief(new, differing), legal=_brief(old, differing),
                remedy=f"choose another name=…, put the old settings back, or delete {self.folder}",
            )  # fmt: skip

    def _otherwise(self, settings: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
        """The settings of these images, but those of these keys as given."""
        own = {key: value for key, value in self.settings.items() if key not in keys}
        return own | {key: value for key, value in settings.items() if key in keys}

    def save(self, config: StudyConfig) -> None:
        """Write ``dataset.json``. It names no place, so that a folder can be moved and two are compared; no secret."""
        said = without_secrets(resolved(config), os.environ)
        configuration = {key: value for key, value in said.items() if key not in _ELSEWHERE}
        configuration["shards"] = {k: v for k, v in configuration["shards"].items() if k not in ("root", "url")}
        content = {
            "format": FORMAT_VERSION, "name": config.name, "fingerprint": self.fingerprint,
            "settings": without_secrets(self.settings, os.environ), "model": self.model, "config": configuration,
            "splits": [prompt._asdict() for prompt in self.prompts.values()],
            "versions": {name: version(name) for name in _LIBRARIES},
        }  # fmt: skip
        with pending_path(self.folder / FILE) as temporary:
            temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _whole(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """With what it means that a study says nothing of a safety checker, for people who are told what differs."""
    if "model" not in settings:
        return settings
    return {**settings, "model": {"safety_checker": False, **settings["model"]}}


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back: tuples are lists."""
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain


def _brief(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    """The values behind dotted names, shortened."""
    shown = []
    for name in names:
        value: Any = settings
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        text = str(value)
        shown.append(f"{name}={text if len(text) <= 40 else text[:37] + '...'}")
    return ", ".join(shown)


def study_settings(config: StudyConfig, grid: Grid, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """All that determines the bytes and follows from the configuration and, if it is here, from the model's index.

    What only a machine with the model can say (``weights``, ``trainer``) is added by whoever generates. Secrets are in
    it: what is one depends on the machine, the fingerprint must not. Whoever writes it down strikes them out.
    """
    model, sampler = config.model, config.sampler
    tile_seeds, tile_prompts = grid.tile_shape(config.shards)
    settings = {
        "format": FORMAT_VERSION,
        "seeds": grid.seeds,
        "prompts": fingerprint({str(p.prompt_id): [p.split, p.text] for p in prompts}),
        "model": {
            "name": model.name, "revision": model.revision, "variant": model.variant, "height": model.height,
            "width": model.width, "scheduler_options": model.scheduler_options, **_set(
                call_options=model.call_options, safety_checker=_keeps_checker(config)),
        },
        "sampler": {
            "steps": sampler.steps, "guidance_scale": sampler.guidance_scale, "scheduler": sampler.scheduler,
            "batch_size": sampler.batch_size, "dtype": sampler.dtype,
            **_set(decode=sampler.decode, compile=sampler.compile),
        },
        "noise": resolved(config)["noise"],
        "shards": {"format": config.shards.format, "tile_seeds": tile_seeds, "tile_prompts": tile_prompts},
    }  # fmt: skip
    return _plain(settings)


def _set(**values: Any) -> dict[str, Any]:
    """Those that are not left at nothing: settings of later versions do not change fingerprints of earlier studies."""
    return {name: value for name, value in values.items() if value}


def _keeps_checker(config: StudyConfig) -> bool:
    """Whether images pass the model's safety checker; where the model is not here, as the images were made."""
    try:
        return keeps_checker(config.model, download=False)
    except UserError:  # not on this machine, or no good: whoever makes images says so
        made = (config.shard_dir / FILE).is_file()
        return config.model.safety_checker and (not made or had_checker(open_dataset(config.shard_dir).settings))


def had_checker(settings: Mapping[str, Any]) -> bool:
    """Whether a study's images passed the model's safety checker: not where nothing is said of it."""
    return bool(settings["model"].get("safety_checker", False))


def settle_batch_size(config: StudyConfig) -> None:
    """Where the configuration leaves the batch's size open (0), put what the study's images were made with into it."""
    path = config.shard_dir / FILE
    if config.sampler.batch_size == 0 and path.is_file():
        sampler = open_dataset(config.shard_dir).settings["sampler"]
        config.sampler.batch_size = int(sampler["batch_size"])
        config.sampler.decode = config.sampler.decode or sampler.get("decode")


def open_dataset(folder: Path) -> ShardDataset:
    """The data set in ``folder``, whatever study made it.

    Raises:
        UserError: there is none, or its ``dataset.json`` cannot be read.

    """
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{folder} holds no images yet", remedy="run `seedml generate` first")
    content: Any = read_json(path)
    try:
        prompts = {row["prompt_id"]: Prompt(row["prompt_id"], row["text"], row["split"]) for row in content["splits"]}
        settings = content["settings"]
        recorded = str(content["fingerprint"]) if is_struck(settings) else ""
        return ShardDataset(folder, settings, content["model"], prompts, recorded)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not as seedml writes it ({error!r})", remedy=f"delete {folder}") from error


def complete_dataset(config: StudyConfig) -> tuple[ShardDataset, list[Tile]]:
    """The study's finished data set and its tiles, for the steps that read images.

    Raises:
        UserError: nothing there, made with other settings, or tiles are missing.

    """
    prompts = load_prompts(config.prompts)
    grid = build_grid(config, prompts)
    mirror = mirror_of(config)
    if mirror is not None:
        mirror.pull_small()
    dataset = open_dataset(config.shard_dir)
    settle_batch_size(config)
    settings = study_settings(config, grid, prompts)
    dataset.guard(settings, only=list(settings))
    config.model.safety_checker = had_checker(dataset.settings)  # what is made later is made as the images were
    tiles = grid.tiles_for(config.shards)
    missing = dataset.missing(tiles)
    if missing:
        raise UserError(
            f"{config.shard_dir} lacks {len(missing)} of {len(tiles)} shards, the first is {missing[0].name}",
            remedy="run `seedml generate` with the same configuration to make the rest",
        )
    if mirror is not None:
        mirror.pull([dataset.shard(tile) for tile in tiles])
    return dataset, tiles
