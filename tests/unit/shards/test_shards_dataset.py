"""A study's folder: what it was made with, what is missing, and that other settings are refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from shard_samples import record

from seedml.config import NoiseConfig, PromptsConfig, SamplerConfig, ShardsConfig, StudyConfig
from seedml.errors import UserError
from seedml.grid import Tile, build_grid
from seedml.prompts import load_prompts
from seedml.shards.dataset import ShardDataset, complete_dataset, open_dataset, study_settings
from seedml.shards.writer import ShardWriter


def study(root: Path, **changes: Any) -> StudyConfig:
    shards = ShardsConfig(root=str(root), target_images=8)
    return StudyConfig(
        name="study", **({"seeds": "0:4", "prompts": PromptsConfig(limit=10), "shards": shards} | changes)
    )


def dataset(config: StudyConfig) -> tuple[ShardDataset, list[Tile]]:
    prompts = load_prompts(config.prompts)
    grid = build_grid(config, prompts)
    settings = study_settings(config, grid, prompts) | {"weights": "w", "trainer": {"accelerator": "cpu", "threads": 1}}
    made = ShardDataset(config.shard_dir, settings, {"height": 8, "width": 8}, {p.prompt_id: p for p in prompts})
    made.save(config)
    return made, grid.tiles_for(config.shards)


def finish(made: ShardDataset, tile: Tile, fingerprint: str | None = None) -> None:
    with ShardWriter(made.folder, tile.name, "png", fingerprint or made.fingerprint) as writer:
        for cell in tile.cells():
            writer.add(record(cell, split=tile.split))


def test_it_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    made, _ = dataset(study(tmp_path))
    assert open_dataset(made.folder) == made
    content = json.loads((made.folder / "dataset.json").read_text())
    assert content["fingerprint"] == made.fingerprint
    assert content["config"]["seeds"] == "0:4"
    assert {row["split"] for row in content["splits"]} == {"train", "val", "test"}
    assert [row["prompt_id"] for row in content["splits"]] == list(range(10))
    assert {"torch", "diffusers"} <= content["versions"].keys()


def test_it_names_no_place(tmp_path: Path) -> None:
    first, _ = dataset(study(tmp_path / "a"))
    second, _ = dataset(study(tmp_path / "b"))
    assert (first.folder / "dataset.json").read_bytes() == (second.folder / "dataset.json").read_bytes()


def test_missing_tiles_are_those_without_marker(tmp_path: Path) -> None:
    made, tiles = dataset(study(tmp_path))
    assert made.missing(tiles) == tiles
    finish(made, tiles[1])
    (made.folder / f"{tiles[2].name}.tar").write_text("a tar without a marker is no shard")
    assert made.missing(tiles) == [tiles[0], *tiles[2:]]
    assert made.shards() == [made.shard(tiles[1])]
    assert made.shards("test") == []


def test_a_tile_of_other_settings_is_not_taken_for_ours(tmp_path: Path) -> None:
    made, tiles = dataset(study(tmp_path))
    finish(made, tiles[0], fingerprint="0" * 64)
    with pytest.raises(UserError, match=f"{tiles[0].name}.tar was made with other settings"):
        made.missing(tiles)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seeds": "1:5"}, "seeds"),
        ({"seeds": "0:5"}, "seeds, shards.tile_prompts, shards.tile_seeds"),
        ({"prompts": PromptsConfig(limit=9)}, "prompts"),
        ({"prompts": PromptsConfig(limit=10, splits={"train": 0.5, "test": 0.5})}, "prompts"),
        ({"sampler": SamplerConfig(steps=3)}, "sampler.steps"),
        ({"sampler": SamplerConfig(batch_size=8, dtype="bfloat16")}, "sampler.batch_size, sampler.dtype"),
        ({"noise": NoiseConfig(step_seed=3)}, "noise.step_seed"),
        ({"shards": "webp"}, "shards.format"),
        ({"shards": 12}, "shards.tile_prompts"),
    ],
)
def test_other_settings_are_refused_by_name_and_nothing_is_touched(
    tmp_path: Path, changes: dict[str, Any], key: str
) -> None:
    made, _ = dataset(study(tmp_path))
    before = {path: path.read_bytes() for path in made.folder.iterdir()}
    if "shards" in changes:
        field = "format" if isinstance(changes["shards"], str) else "target_images"
        old = ShardsConfig(root=str(tmp_path), target_images=8)
        changes = {"shards": dataclasses.replace(old, **{field: changes["shards"]})}
    with pytest.raises(UserError, match=f"holds images made with other settings: {key}; given.*legal.*remedy"):
        complete_dataset(study(tmp_path, **changes))
    assert {path: path.read_bytes() for path in made.folder.iterdir()} == before


def test_the_same_grid_written_otherwise_is_the_same(tmp_path: Path) -> None:
    made, tiles = dataset(study(tmp_path))
    for tile in tiles:
        finish(made, tile)
    found, same_tiles = complete_dataset(study(tmp_path, seeds="[3,0,1,2]"))
    assert found == made
    assert same_tiles == tiles


def test_an_unfinished_or_absent_data_set_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no images yet.*seedml generate"):
        complete_dataset(study(tmp_path))
    made, tiles = dataset(study(tmp_path))
    finish(made, tiles[0])
    with pytest.raises(UserError, match=rf"lacks {len(tiles) - 1} of {len(tiles)} shards.*{tiles[1].name}.*generate"):
        complete_dataset(study(tmp_path))


def test_a_broken_dataset_file_is_refused(tmp_path: Path) -> None:
    made, _ = dataset(study(tmp_path))
    for text in ("", "{}", "[1]", '{"splits": [{}]}'):
        (made.folder / "dataset.json").write_text(text)
        with pytest.raises(UserError, match=r"dataset\.json"):
            open_dataset(made.folder)
