"""Two studies whose truth is planted: what they share is found, what they do not share is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from planted_runs import plant_run, spread_offsets

from seedml.compare.pairs import PairComparison, compare_pair
from seedml.compare.runs import read_studied
from seedml.config import StatisticsConfig
from seedml.errors import UserError

STATISTICS = StatisticsConfig(permutations=300, blocks=8)
OFFSETS = spread_offsets(16)
SKY = {seed: 0.02 * seed for seed in OFFSETS}


def compared(*folders: Path) -> PairComparison:
    first, second = read_studied(folders)
    return compare_pair(first, second, STATISTICS)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``a``; ``alike``: the same seeds' effects, other luck, a brighter sky; ``other``: effects of its own."""
    root = tmp_path_factory.mktemp("planted")
    plant_run(root, "a", OFFSETS, SKY)
    plant_run(root, "alike", OFFSETS, SKY, draw=1, shift=0.3)
    plant_run(root, "other", spread_offsets(16, 5), {seed: SKY[15 - seed] for seed in SKY}, draw=2, noise="f")
    return root


@pytest.fixture(scope="module")
def alike(root: Path) -> PairComparison:
    return compared(root / "runs" / "a", root / "runs" / "alike")


@pytest.fixture(scope="module")
def other(root: Path) -> PairComparison:
    return compared(root / "runs" / "a", root / "runs" / "other")


def test_a_study_agrees_with_its_copy(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root / "runs" / "a", tmp_path / "copy"))
    pair = compared(root / "runs" / "a", copy)
    assert pair.order.spearman.value == pytest.approx(1)
    assert pair.level is not None
    assert [float(bound) for bound in pair.level] == pytest.approx([0, 0, 0])
    assert {name: (one.shared, one.first) for name, one in pair.overlaps.items()} == {
        "golden": (3, 3), "inferior": (3, 3), "best_quarter": (4, 4), "worst_quarter": (4, 4),
    }  # fmt: skip
    border, sky = pair.attributes
    assert (border.column, sky.column) == ("border", "sky")
    assert sky.shift.value == 0
    assert border.order is None  # never seen in either: there is no order to agree on
    there, back = pair.gains
    assert there is not None
    assert there == back


def test_planted_agreement_is_found_beyond_chance(alike: PairComparison) -> None:
    assert alike.order.spearman.value > 0.9
    assert alike.order.spearman.low > 0
    assert alike.order.p < 0.01
    assert alike.order.prompts_counted
    assert alike.overlaps["worst_quarter"].p < 0.05  # the best ones lie too close together to be told apart
    assert alike.same_noise is True
    there = alike.gains[0]
    assert there is not None
    assert float(there.gain.low) > 0
    assert float(there.chance.low) < 0 < float(there.chance.high)
    assert there.prompts == 12  # two fifths of 30


def test_a_planted_shift_lies_within_its_limits(alike: PairComparison, other: PairComparison) -> None:
    sky = alike.attributes[1]
    assert sky.shift.low < 0.3 + prompt_luck(alike) < sky.shift.high
    assert sky.shift_q < 0.01
    assert sky.order is not None
    assert sky.order.spearman.value > 0.9
    turned = other.attributes[1].order
    assert turned is not None
    assert turned.spearman.value < -0.9


def prompt_luck(pair: PairComparison) -> float:
    """The planted prompt effects of both studies are drawn anew: their mean difference is part of what is there."""
    one, two = (np.random.default_rng([draw, 2]).normal(size=30).mean() * 0.1 for draw in (0, 1))
    return float(two - one)


def test_studies_without_anything_in_common_are_not_said_to_agree(other: PairComparison) -> None:
    assert other.order.spearman.low < 0 < other.order.spearman.high
    assert other.same_noise is False  # compared as numbers, and said so


def test_false_agreement_is_as_rare_as_the_p_value_says(tmp_path: Path) -> None:
    """Twelve pairs of unrelated studies: p ≤ 0.05 in at most three (chance of more: 0.2 %)."""
    folders = [plant_run(tmp_path, str(at), spread_offsets(12, at), draw=at, prompts=10) for at in range(13)]
    first, *others = read_studied(folders)
    found = [compare_pair(first, study, STATISTICS).order.p for study in others]
    assert sum(p <= 0.05 for p in found) <= 3


def test_prompts_are_matched_by_their_text(tmp_path: Path) -> None:
    texts = [f"a picture of {number}" for number in range(20)]
    one = plant_run(tmp_path, "one", OFFSETS, SKY, prompts=texts)
    two = plant_run(tmp_path, "two", OFFSETS, SKY, prompts=[*texts[::-1], "and another"])
    pair = compared(one, two)
    assert pair.common.paired
    assert [(int(a), int(b)) for a, b in zip(*pair.common.prompts, strict=True)] == [(n, 19 - n) for n in range(20)]
    assert pair.order.spearman.value > 0.8


def test_other_prompts_are_compared_without_pairing(tmp_path: Path) -> None:
    one = plant_run(tmp_path, "one", OFFSETS, SKY, prompts=[f"one {number}" for number in range(20)])
    two = plant_run(tmp_path, "two", OFFSETS, SKY, draw=3, prompts=[f"two {number}" for number in range(24)])
    pair = compared(one, two)
    assert not pair.common.paired
    assert [len(prompts) for prompts in pair.common.prompts] == [20, 24]
    assert pair.level is None  # distances from other prompts mean other things
    assert pair.order.spearman.low > 0
    assert pair.attributes[1].shift.low < 0.1


def test_a_choice_is_never_judged_on_prompts_that_made_it(tmp_path: Path) -> None:
    """The second study's held-out prompts are among those the first one chose by."""
    texts = [f"a picture of {number}" for number in range(20)]
    one = plant_run(tmp_path, "one", OFFSETS, prompts=texts)
    two = plant_run(tmp_path, "two", OFFSETS, prompts=texts)
    study = read_studied([one, two])
    held_out = {study[0].texts[int(p)] for p in study[0].complete_prompts(("test",))}
    assert not held_out & study[0].chosen_by()
    import pandas as pd

    images = pd.read_parquet(two / "images.parquet")
    images["split"] = images["split"].map({"train": "test", "test": "train"})
    images.to_parquet(two / "images.parquet")
    pair = compared(one, two)
    assert pair.gains == (None, None)


def test_without_features_distances_are_the_studies_own(root: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(root / "runs" / "alike", tmp_path / "bare"))
    (bare / "features.safetensors").unlink()
    pair = compared(root / "runs" / "a", bare)
    assert not pair.order.prompts_counted
    assert pair.fid[1].values.tolist() == pytest.approx([offset**2 for _, offset in sorted(OFFSETS.items())])
    assert pair.level is None
    assert pair.gains[0] is None
    assert pair.gains[1] is not None  # the first study can judge what the second chose


def test_noise_of_another_shape_is_compared_as_numbers(root: Path, tmp_path: Path) -> None:
    wide = plant_run(tmp_path, "wide", OFFSETS, SKY, noise="e", shape=(4, 32, 32))
    assert compared(root / "runs" / "a", wide).same_noise is False
    silent = Path(shutil.copytree(root / "runs" / "a", tmp_path / "silent"))
    (silent / "seedbook.json").unlink()
    pair = compared(root / "runs" / "a", silent)
    assert pair.same_noise is None
    assert "golden" not in pair.overlaps


def test_too_few_common_seeds_are_refused(root: Path, tmp_path: Path) -> None:
    far = plant_run(tmp_path, "far", {seed + 13: offset for seed, offset in OFFSETS.items()})
    with pytest.raises(UserError, match="too few seeds in common; given: 3"):
        compared(root / "runs" / "a", far)


def test_images_that_failed_leave_their_prompt_out_of_both(root: Path, tmp_path: Path) -> None:
    import pandas as pd

    holed = Path(shutil.copytree(root / "runs" / "alike", tmp_path / "holed"))
    images = pd.read_parquet(holed / "images.parquet")
    images.loc[7, "status"] = "failed"
    images.loc[7, "sky"] = np.nan
    images.to_parquet(holed / "images.parquet")
    pair = compared(root / "runs" / "a", holed)
    assert [len(prompts) for prompts in pair.common.prompts] == [29, 29]
    assert json.loads((holed / "summary.json").read_text())["fid_rank_reliability"]
    assert pair.fid[1].halves is not None  # known of the study as it is: on all prompts that every seed has
