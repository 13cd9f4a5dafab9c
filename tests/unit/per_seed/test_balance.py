from __future__ import annotations

import numpy as np
import pytest

from seedml.errors import UserError
from seedml.per_seed.balance import (
    UnequalSamplesError,
    balanced_cube,
    complete_prompts,
    prompt_blocks,
    require_equal_samples,
    table,
)


def _rows(seeds: list[int], prompts: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One row a cell in shuffled order; the value tells the cell."""
    cells = np.array([(s, p) for s in seeds for p in prompts])
    cells = cells[np.random.default_rng(0).permutation(len(cells))]
    return np.stack([cells[:, 0] * 100.0 + cells[:, 1], -cells[:, 1] * 1.0], 1), cells[:, 0], cells[:, 1]


def test_every_cell_is_in_its_place() -> None:
    cube = balanced_cube(*_rows([3, 7, 469], [0, 2, 5, 9]))
    assert cube.seeds.tolist() == [3, 7, 469]
    assert cube.prompt_ids.tolist() == [0, 2, 5, 9]
    assert cube.dropped == ()
    for s, seed in enumerate(cube.seeds):
        for p, prompt in enumerate(cube.prompt_ids):
            assert cube.values[s, p].tolist() == [seed * 100 + prompt, -prompt]


def test_a_prompt_that_one_seed_lacks_is_left_out_for_all() -> None:
    values, seeds, prompts = _rows([1, 2, 3], [0, 1, 2, 3])
    kept = ~((seeds == 2) & (prompts == 1))
    cube = balanced_cube(values[kept], seeds[kept], prompts[kept])
    assert cube.prompt_ids.tolist() == [0, 2, 3]
    assert cube.dropped == (1,)
    assert cube.values[:, :, 0].tolist() == [[100, 102, 103], [200, 202, 203], [300, 302, 303]]


def test_wrong_rows_raise_with_the_remedy() -> None:
    values, seeds, prompts = _rows([1, 2], [0, 1, 2])
    with pytest.raises(UnequalSamplesError, match=r"1 seeds have no image, the first is 5.*remedy"):
        balanced_cube(values, seeds, prompts, expected=np.array([1, 2, 5]))
    with pytest.raises(UnequalSamplesError, match="occurs twice"):
        balanced_cube(np.vstack([values, values[:1]]), np.append(seeds, seeds[0]), np.append(prompts, prompts[0]))
    kept = (seeds == 1) | (prompts == 2)
    with pytest.raises(UnequalSamplesError, match=r"only 1 of 3 prompts.*two or more"):
        balanced_cube(values[kept], seeds[kept], prompts[kept])
    assert issubclass(UnequalSamplesError, UserError)


def test_unequal_counts_are_refused() -> None:
    assert require_equal_samples(np.array([5, 5, 5])) == 5
    with pytest.raises(UnequalSamplesError, match="between 4 and 5 images"):
        require_equal_samples(np.array([5, 4, 5]))


def test_a_table_has_nan_where_there_is_no_row_and_loses_those_prompts() -> None:
    values, seeds, prompts = _rows([1, 2], [0, 1, 2])
    kept = ~((seeds == 2) & (prompts == 1))
    found = table(values[kept, 0], seeds[kept], prompts[kept], np.array([1, 2]), np.array([0, 1, 2]))
    np.testing.assert_array_equal(found, [[100, 101, 102], [200, np.nan, 202]])
    np.testing.assert_array_equal(complete_prompts(found), [[100, 102], [200, 202]])
    some = table(values[:, 0], seeds, prompts, np.array([2]), np.array([1, 2]))
    np.testing.assert_array_equal(some, [[201, 202]])


@pytest.mark.parametrize(("prompts", "blocks"), [(160, 16), (35, 8), (3, 16), (1, 4)])
def test_blocks_differ_by_one_prompt_at_most(prompts: int, blocks: int) -> None:
    sizes = np.bincount(prompt_blocks(prompts, blocks))
    assert len(sizes) == min(prompts, blocks)
    assert sizes.sum() == prompts
    assert sizes.max() - sizes.min() <= 1
