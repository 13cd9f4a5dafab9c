from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rendered_study import plant_scenes, study_config

from seedml.config import StudyConfig
from seedml.measurement import load_measurements, measure
from seedml.measurement.results import FILES
from seedml.per_seed.frechet import Reference, frechet_distances_of_samples
from seedml.seedbook import sealed
from seedml.selection import select
from seedml.selection.step import seed_book
from seedml.summarize import summarize
from seedml.tracking import NullTracker

CARD = {
    "seed", "model", "revision", "generator_device", "torch_version", "latent_shape", "dtype", "scheduler", "steps",
    "guidance_scale", "noise_sha256", "scores", "verdict", "tags",
}  # fmt: skip


@pytest.fixture(scope="module")
def book(finished: StudyConfig) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((finished.run_dir / "seedbook.json").read_text())
    return found


def test_the_book_has_a_whole_card_for_every_seed(book: dict[str, Any]) -> None:
    assert [card["seed"] for card in book["cards"]] == list(range(8))
    for card in book["cards"]:
        assert card.keys() >= CARD
        assert (card["latent_shape"], card["steps"], card["scheduler"]) == ([4, 16, 16], 4, "DDIMScheduler")
        assert card["noise_sha256"] == "0" * 64
        assert card["torch_version"] == version("torch")
        assert card["verdict"] in ("golden", "inferior", "inconclusive")
        assert card["scores"]["fid"]["prompt_set"] == "scenes: train+val"
        assert card["scores"]["fid_held_out"]["prompt_set"] == "scenes: test"
    assert {"golden", "inferior", "diverse", "rule", "confirmation", "model", "name", "created"} <= book.keys()


def test_scores_are_distances_on_the_prompts_they_name(finished: StudyConfig, book: dict[str, Any]) -> None:
    measured = load_measurements(finished.run_dir)
    for splits, score in ((("train", "val"), "fid"), (("test",), "fid_held_out")):
        prompts = np.setdiff1d(measured.prompts_of(*splits), [2])  # one seed lacks the image of prompt 2
        reference = Reference.of_samples(torch.from_numpy(measured.reference_of(prompts)))
        for card in book["cards"]:
            rows = (measured.seeds == card["seed"]) & np.isin(measured.prompt_ids, prompts)
            alone = frechet_distances_of_samples(torch.from_numpy(measured.features[rows]), reference)
            assert card["scores"][score]["value"] == pytest.approx(float(alone), rel=1e-6)
            assert card["scores"][score]["n"] == len(prompts)


def test_lists_follow_from_cards(book: dict[str, Any]) -> None:
    cards = {card["seed"]: card for card in book["cards"]}
    by_distance = sorted(cards, key=lambda seed: cards[seed]["scores"]["fid"]["value"])
    assert book["golden"] == [seed for seed in by_distance[:4] if cards[seed]["verdict"] == "golden"]
    assert book["inferior"] == [seed for seed in by_distance[:-5:-1] if cards[seed]["verdict"] == "inferior"]
    assert len(set(book["diverse"])) == len(book["diverse"])
    assert all(cards[seed]["verdict"] != "inferior" for seed in book["diverse"])


def test_the_confirmed_gain_is_that_of_the_listed_seeds_on_held_out_prompts(
    finished: StudyConfig, book: dict[str, Any]
) -> None:
    held_out = {card["seed"]: card["scores"]["fid_held_out"]["value"] for card in book["cards"]}
    gain = book["confirmation"]["golden_gain_held_out"]
    expected = np.mean(list(held_out.values())) - np.mean([held_out[seed] for seed in gain["seeds"]])
    assert gain["value"] == pytest.approx(expected)
    assert gain["low"] <= gain["value"] <= gain["high"]
    loss = book["confirmation"]["inferior_loss_held_out"]
    expected = np.mean([held_out[seed] for seed in loss["seeds"]]) - np.mean(list(held_out.values()))
    assert loss["value"] == pytest.approx(expected)
    chance = book["confirmation"]["chance"]["golden_gain_held_out"]
    assert chance["low"] < 0 < chance["high"]
    assert book["confirmation"]["best_on_both"]["chance"]["value"] == pytest.approx(len(gain["seeds"]) ** 2 / 8)
    summary = json.loads((finished.run_dir / "summary.json").read_text())
    assert summary["golden_gain_held_out"] == gain
    assert summary["diversity_gain"] == book["confirmation"]["diversity_gain"]


def test_every_rule_that_intersects_two_lists_has_its_null_in_book_and_summary(
    finished: StudyConfig, book: dict[str, Any]
) -> None:
    summary = json.loads((finished.run_dir / "summary.json").read_text())
    for name in ("best_on_both", "best_quarter_by_fid_and_agreement"):
        rule = book["confirmation"][name]
        assert rule["chance"]["value"] == pytest.approx(np.prod(rule["of"]) / 8)
        assert rule["chance"]["low"] <= rule["chance"]["value"] <= rule["chance"]["high"] <= min(rule["of"])
        assert 0 < rule["p"] <= 1
        assert summary[name] == rule
    by_fid = sorted(book["cards"], key=lambda card: card["scores"]["fid"]["value"])[:2]
    by_agreement = sorted(book["cards"], key=lambda card: -card["scores"]["agreement"]["value"])[:2]
    shared = {card["seed"] for card in by_fid} & {card["seed"] for card in by_agreement}
    assert book["confirmation"]["best_quarter_by_fid_and_agreement"]["value"] == len(shared)


def test_the_shrunken_gain_is_that_of_the_cards_and_smaller_than_the_measured_one(
    finished: StudyConfig, book: dict[str, Any]
) -> None:
    cards = {card["seed"]: card["scores"] for card in book["cards"]}
    mean = np.mean([scores["fid"]["value"] for scores in cards.values()])
    for scores in cards.values():
        left = scores["fid_deviation_shrunken"]
        assert left["measured"] == pytest.approx(scores["fid"]["value"] - mean)
        assert abs(left["value"]) <= abs(left["measured"])
        assert left["low"] < left["value"] < left["high"]
        assert left["prompt_set"] == "scenes: train+val"
    confirmation = book["confirmation"]
    chosen = confirmation["golden_gain_held_out"]["seeds"]
    gain = confirmation["golden_gain_shrunken"]
    assert gain["value"] == pytest.approx(-np.mean([cards[s]["fid_deviation_shrunken"]["value"] for s in chosen]))
    assert 0 <= gain["value"] < confirmation["golden_gain_on_selection_prompts"]["value"]
    assert json.loads((finished.run_dir / "summary.json").read_text())["golden_gain_shrunken"] == gain


def test_test_prompts_have_no_part_in_choosing(finished: StudyConfig, book: dict[str, Any]) -> None:
    """Ruin every test image: lists, verdicts, tags and selection scores stay; only the confirmation changes."""
    measured = load_measurements(finished.run_dir)
    held_out = np.isin(measured.prompt_ids, measured.prompts_of("test"))
    noise = np.random.default_rng(0).normal(size=measured.features.shape).astype(np.float32) * 10
    features = np.where(held_out[:, None], noise, measured.features)
    images = measured.images.copy()
    lost = images["split"] == "test"
    for name in measured.columns:
        images.loc[lost, name] = np.random.default_rng(1).random(lost.sum(), dtype=np.float32)
    ruined = seed_book(finished, type(measured)(
        images, features, measured.seeds, measured.prompt_ids, measured.reference, measured.notes))  # fmt: skip
    for name in ("golden", "inferior", "diverse"):
        assert ruined[name] == book[name]
    for ours, theirs in zip(ruined["cards"], book["cards"], strict=True):
        assert (ours["verdict"], ours["tags"], ours["q_value"]) == (
            theirs["verdict"],
            theirs["tags"],
            theirs["q_value"],
        )
        for name in theirs["scores"].keys() - {"fid_held_out"}:
            assert ours["scores"][name] == theirs["scores"][name]
        assert ours["scores"]["fid_held_out"] != theirs["scores"]["fid_held_out"]
    assert ruined["confirmation"]["golden_gain_held_out"] != book["confirmation"]["golden_gain_held_out"]


def test_without_held_out_prompts_nothing_is_confirmed(fresh: StudyConfig, finished: StudyConfig) -> None:
    fresh.run_dir.mkdir(parents=True)
    for name in FILES:
        (fresh.run_dir / name).write_bytes((finished.run_dir / name).read_bytes())
    images = pd.read_parquet(fresh.run_dir / "images.parquet")
    images["split"] = "train"
    images.to_parquet(fresh.run_dir / "images.parquet")
    select(fresh, NullTracker())
    book = json.loads((fresh.run_dir / "seedbook.json").read_text())
    assert "golden_gain_held_out" not in book["confirmation"]
    assert "golden_gain_on_selection_prompts" in book["confirmation"]
    assert book["rule"]["confirmed_on"]["prompts"] == 0
    assert "fid_held_out" not in book["cards"][0]["scores"]


def test_done_is_done(finished: StudyConfig) -> None:
    path = Path(finished.run_dir / "seedbook.json")
    before = path.read_bytes()
    select(finished, NullTracker())
    assert path.read_bytes() == before


def test_a_book_of_another_rule_is_made_anew(fresh: StudyConfig, finished: StudyConfig) -> None:
    shutil.copytree(finished.run_dir, fresh.run_dir)
    path = fresh.run_dir / "seedbook.json"
    today = json.loads(path.read_text())
    rule = {
        **today["rule"],
        "diverse": "at most 8 seeds by farthest-point sampling of their mean features, none inferior",
    }
    path.write_text(json.dumps(sealed({**today, "rule": rule, "diverse": today["diverse"][::-1]})))
    select(fresh, NullTracker())
    found = json.loads(path.read_text())
    assert (found["rule"], found["diverse"]) == (today["rule"], today["diverse"])


def test_no_swap_of_a_diverse_seed_brings_their_pictures_farther_apart(finished: StudyConfig) -> None:
    """By an independent sum over pictures, in features and object position, each relative to the mean pair."""
    measured = load_measurements(finished.run_dir)
    config = dataclasses.replace(finished, selection=dataclasses.replace(finished.selection, diverse=3))
    book = seed_book(config, measured)
    prompts = np.setdiff1d(measured.prompts_of("train", "val"), [2])  # one seed lacks the image of prompt 2
    images = measured.images.set_index(["seed", "prompt_id"])
    cells = zip(measured.seeds.tolist(), measured.prompt_ids.tolist(), strict=True)
    features = dict(zip(cells, measured.features, strict=True))
    apart = {"features": np.zeros((8, 8)), "position": np.zeros((8, 8))}
    for a, b in itertools.permutations(range(8), 2):
        apart["features"][a, b] = np.mean([np.linalg.norm(features[a, p] - features[b, p]) for p in prompts])
        places = images[["location_x", "location_y"]]
        apart["position"][a, b] = np.nanmean(
            [np.linalg.norm(places.loc[a, p].to_numpy() - places.loc[b, p].to_numpy()) for p in prompts]
        )
    joint = sum(part / part[np.triu_indices(8, 1)].mean() for part in apart.values())
    allowed = [card["seed"] for card in book["cards"] if card["verdict"] != "inferior"]
    chosen = book["diverse"]
    assert len(chosen) == 3 < len(allowed), "there is something to swap"
    for leaving in chosen:
        for coming in set(allowed) - set(chosen):
            swapped = [coming if seed == leaving else seed for seed in chosen]
            assert joint[np.ix_(swapped, swapped)].sum() <= joint[np.ix_(chosen, chosen)].sum() * (1 + 1e-6)


@pytest.mark.parametrize(("seeds", "prompts"), [("5:6", 10), ("0:2", 3), ("0:3", 5)])
@pytest.mark.usefixtures("_parser")
def test_the_smallest_studies_end_with_a_book_and_numbers_that_json_can_hold(
    tmp_path: Path, seeds: str, prompts: int
) -> None:
    config = study_config(tmp_path, seeds, prompts)
    config.prompts.splits = {"train": prompts - 1, "test": 1} if prompts < 5 else {"train": prompts - 2, "test": 2}
    plant_scenes(config)
    for step in (measure, summarize, select):
        step(config, NullTracker())
    summary = json.loads((config.run_dir / "summary.json").read_text(), parse_constant=pytest.fail)
    book = json.loads((config.run_dir / "seedbook.json").read_text(), parse_constant=pytest.fail)
    assert len(book["cards"]) == summary["seeds"] == len(config.seed_list)
    assert (len(config.seed_list) > 1) == bool(book["confirmation"])  # nobody is better than average alone
    assert "split_half_rank_correlation" not in summary
