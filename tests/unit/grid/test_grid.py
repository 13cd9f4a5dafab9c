"""The grid: every cell in exactly one tile, in an order that follows from the configuration alone."""

from __future__ import annotations

from collections import Counter

import pytest

from seedml.config import ShardsConfig, load_config
from seedml.grid import Cell, Grid, build_grid
from seedml.prompts import Prompt, load_prompts

SPLITS = {"train": tuple(range(0, 26, 2)), "val": (1, 3), "test": (5, 7, 9, 11, 13)}


def test_key_is_the_contract() -> None:
    assert Cell(469, 12).key == "s0000000469_p0000012"
    assert Cell(2**63 - 1, 123).key == "s9223372036854775807_p0000123"


@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (4, 3), (7, 5), (100, 100), (10, 1)])
def test_tiles_cover_every_cell_once(shape: tuple[int, int]) -> None:
    grid = Grid(tuple(range(10)), SPLITS)
    tiles = grid.tiles(*shape)
    cells = Counter((tile.split, cell) for tile in tiles for cell in tile.cells())
    wanted = {(split, Cell(s, p)) for split, ids in SPLITS.items() for s in range(10) for p in ids}
    assert cells == dict.fromkeys(wanted, 1)
    assert sum(map(len, tiles)) == grid.n_images == 10 * 20
    for tile in tiles:
        assert len(tile.seeds) <= shape[0]
        assert len(tile.prompt_ids) <= shape[1]
        assert tile.cells() == sorted(tile.cells())
        assert len(tile) == len(tile.cells())


def test_numbering_within_each_split_and_names() -> None:
    names = [tile.name for tile in Grid((0, 1, 2), SPLITS).tiles(2, 5)]
    assert names == [
        *(f"train-{i:06d}" for i in range(6)),  # 13 prompts in 3 blocks × 3 seeds in 2 blocks
        "val-000000", "val-000001",
        "test-000000", "test-000001",
    ]  # fmt: skip


def test_blocks_are_of_nearly_equal_size() -> None:
    tiles = Grid(tuple(range(10)), {"test": (0,)}).tiles(4, 1)
    assert [tile.seeds for tile in tiles] == [(0, 1, 2, 3), (4, 5, 6), (7, 8, 9)]


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({}, (64, 15)),
        ({"target_images": 10}, (10, 1)),
        ({"tile_seeds": 8}, (8, 125)),
        ({"tile_prompts": 50}, (20, 50)),
        ({"tile_prompts": 2000}, (1, 2000)),
        ({"tile_seeds": 8, "tile_prompts": 3}, (8, 3)),
    ],
)
def test_tile_shape(settings: dict[str, int], shape: tuple[int, int]) -> None:
    assert Grid(tuple(range(64)), SPLITS).tile_shape(ShardsConfig(**settings)) == shape  # type: ignore[arg-type]


@pytest.mark.parametrize(("seeds", "prompts"), [(64, 160), (1024, 20_000), (3, 5), (2000, 7)])
def test_default_tiles_hold_at_most_the_target(seeds: int, prompts: int) -> None:
    tiles = Grid(tuple(range(seeds)), {"train": tuple(range(prompts))}).tiles_for(ShardsConfig())
    assert max(map(len, tiles)) <= 1000
    assert sum(map(len, tiles)) == seeds * prompts


def test_the_grid_of_a_study() -> None:
    config = load_config("smoke", ["seeds=[9,3]", "prompts.splits={train: 3, test: 2}"])
    prompts = load_prompts(config.prompts)
    grid = build_grid(config, list(reversed(prompts)))
    assert grid.seeds == (3, 9)
    assert list(grid.splits) == ["train", "test"]
    assert {p.prompt_id: p.split for p in prompts} == {i: s for s, ids in grid.splits.items() for i in ids}
    assert all(list(ids) == sorted(ids) for ids in grid.splits.values())
    assert (grid.n_prompts, grid.n_images) == (5, 10)
    assert build_grid(config, []).n_images == 0
    assert build_grid(config, [Prompt(4, "x", "val")]).splits == {"val": (4,)}
