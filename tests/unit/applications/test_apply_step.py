"""The step on a study of rendered scenes: no weights are tested, but that its parts fit and its files say all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rendered_study import plant_scenes, random_parser, study_config
from tiny_models import tiny_stable_diffusion

from seedml.applications import apply, check_applications
from seedml.applications.naming import load_namer
from seedml.applications.planned import later_pictures
from seedml.applications.step import Bench, _can_run, _need_sets, figures_of
from seedml.classifier.module import SeedClassifier
from seedml.classifier.trained import reduced_pixels
from seedml.config import ModelConfig, SamplerConfig, StudyConfig
from seedml.errors import UserError
from seedml.files import atomic_write_json, read_json
from seedml.measurement import measure
from seedml.prompts import load_prompts
from seedml.report.page import write_report
from seedml.seedbook import sealed
from seedml.selection import select
from seedml.shards.dataset import complete_dataset
from seedml.summarize import summarize
from seedml.tracking import NullTracker


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyConfig]:
    """8 seeds × 20 prompts; pictures of the study are rendered scenes, further ones come from a tiny model."""
    root = tmp_path_factory.mktemp("apply")
    config = study_config(root, "0:8", 20)
    config.model = ModelConfig(path=str(tiny_stable_diffusion(root / "model")))
    config.sampler = SamplerConfig(steps=2, guidance_scale=1.0, batch_size=16, scheduler="DDIMScheduler")
    config.apply.prompts, config.apply.diverse, config.apply.choosing_prompts = 6, 2, 2
    config.apply.diverse_spaces, config.apply.swap_pairs, config.apply.swap_prompts = (
        ["features+position", "style"],
        3,
        1,
    )
    plant_scenes(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seedml.models.bundled.parser.load_parser", lambda *_args, **_kwargs: random_parser())
        for module in ("seedml.measurement.step", "seedml.applications.studio"):
            patch.setattr(f"{module}.draws_scenes", lambda path: True)
        for step in (measure, summarize, select):
            step(config, NullTracker())
        apply(config, NullTracker())
        yield config


def _read(config: StudyConfig, name: str) -> dict[str, Any]:
    text = (config.run_dir / "applications" / f"{name}.json").read_text()
    found: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return found


def test_every_application_leaves_figures_and_a_sheet(study: StudyConfig) -> None:
    for name in study.apply.run:
        assert (study.run_dir / "applications" / f"{name}.png").is_file()
        assert _read(study, name)["prompts"] == {"n": 6, "test": 4, "unused": 2}
    summary = json.loads((study.run_dir / "summary.json").read_text())
    assert {"golden_seed_fid_gain", "diverse_features_gain", "swap_initial_noise_nearer_first"} <= summary.keys()
    assert {f"apply.{name}" for name in study.apply.run} <= summary["seconds"].keys()


def test_every_figure_has_its_n_and_its_interval_holds_it(study: StudyConfig) -> None:
    for name in study.apply.run:
        found = _read(study, name)
        figures = figures_of(found) + [entry for place in found.get("curve", []) for entry in figures_of(place)]
        assert figures
        for key, entry in figures:
            assert "n" in entry or "sets" in entry, key
            if "low" in entry:
                assert entry["low"] - 1e-9 <= entry["value"] <= entry["high"] + 1e-9, key


def test_sets_are_of_distinct_seeds_of_the_study(study: StudyConfig) -> None:
    sets = _read(study, "diverse_sampling")["sets"]
    assert {name.rpartition(".")[0] for name in sets} >= {"features+position.max_sum", "style.k_medoids"}
    for entry in sets.values():
        assert len(set(entry["seeds"])) == 2
        assert set(entry["seeds"]) <= set(study.seed_list)


def test_what_was_planned_is_what_was_made(study: StudyConfig, tmp_path: Path) -> None:
    fresh = deepcopy(study)
    fresh.runs.root, fresh.classifier.controls = str(tmp_path), []
    planned = {later.use: later.images for later in later_pictures(fresh, load_prompts(study.prompts))}
    unused, seeds = _read(study, "high_fidelity")["prompts"]["unused"], len(study.seed_list)
    found = _read(study, "noise_swap")
    assert planned == {"unused_prompts": unused * seeds, "noise_swap": len(found["pairs"]) * len(found["curve"])}
    assert later_pictures(replace(study, classifier=fresh.classifier), load_prompts(study.prompts)) == []


def test_the_headline_is_of_the_set_that_was_configured(study: StudyConfig) -> None:
    found = _read(study, "diverse_sampling")
    assert found["headline"] == "features+position.max_sum.not_inferior"
    assert "headline_wanted" not in found


def test_another_headline_set_is_spoken_of(study: StudyConfig, capsys: pytest.CaptureFixture[str]) -> None:
    """No pool of golden seeds is large enough: the file, the terminal and the page say which set stands for it."""
    config, before = deepcopy(study), study.run_dir
    config.runs.root = str(before.parent.parent / "other")
    shutil.copytree(before, config.run_dir)
    for path in config.run_dir.glob(".steps/apply*"):
        path.unlink()
    raw = read_json(config.run_dir / "seedbook.json")
    cards = [card | {"verdict": "inconclusive"} for card in raw["cards"]]  # type: ignore[attr-defined]
    atomic_write_json(config.run_dir / "seedbook.json", sealed(raw | {"cards": cards, "golden": [], "inferior": []}))
    config.apply.run, config.apply.diverse_among = ["diverse_sampling"], "golden"
    apply(config, NullTracker())
    found = _read(config, "diverse_sampling")
    assert found["headline_wanted"] == "features+position.max_sum.golden"
    assert found["headline_why_not"] == "fewer than 2 seeds are golden"
    assert found["headline"] in found["sets"]
    told = "features+position.max_sum.golden cannot be made (fewer than 2 seeds are golden); "
    assert f"{told}{found['headline']} stands for it" in capsys.readouterr().err
    page = write_report(config, NullTracker()).read_text()
    assert "not the set that was fixed before, features+position, max sum, golden: it could not be made" in page
    assert "Which set stands here was fixed before" in write_report(study, NullTracker()).read_text()


def test_the_curve_runs_from_one_seed_to_the_other(study: StudyConfig) -> None:
    found = _read(study, "noise_swap")
    assert [place["place"] for place in found["curve"]] == [-1, 0, 1, 2]
    assert found["curve"][0]["closeness"]["value"] == 0
    assert found["curve"][-1]["closeness"]["value"] == 1
    assert not found["classifier"]


def test_the_page_shows_them(study: StudyConfig) -> None:
    page = write_report(study, NullTracker()).read_text()
    for anchor in ("high-fidelity", "diverse-sampling", "noise-swap"):
        assert f'id="{anchor}"' in page


def test_done_is_done_and_other_settings_are_refused(study: StudyConfig) -> None:
    paths = sorted((study.run_dir / "applications").iterdir())
    before = [path.read_bytes() for path in paths]
    apply(study, NullTracker())
    assert [path.read_bytes() for path in paths] == before
    study.apply.best_of += 1
    try:
        with pytest.raises(UserError, match=r"apply\.best_of"):
            apply(study, NullTracker())
    finally:
        study.apply.best_of -= 1


def test_a_run_without_a_seed_book_is_refused(study: StudyConfig, tmp_path: Path) -> None:
    other = study_config(tmp_path, "0:8", 20)
    with pytest.raises(UserError, match="seedml select"):
        apply(other, NullTracker())


def test_a_book_that_was_changed_is_refused(study: StudyConfig) -> None:
    path = study.run_dir / "seedbook.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"golden"', b'"inferior"', 1))
    try:
        with pytest.raises(UserError, match="changed after it was written"):
            apply(study, NullTracker())
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("noise_swap", {"noise": {"initial_seed": 3}}, "noise of their own"),
        ("diverse_sampling", {"apply": {"diverse": 9}}, "takes 9 seeds, and there are 8"),
    ],
)
def test_what_cannot_be_tried_out_is_left_out_and_the_rest_goes_on(
    study: StudyConfig, name: str, change: dict[str, dict[str, Any]], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(deepcopy(study), *complete_dataset(study), read_json(study.run_dir / "seedbook.json"))
    for section, values in change.items():
        for key, value in values.items():
            setattr(getattr(bench.config, section), key, value)
    run = bench.config.apply.run
    assert [kind for kind in run if _can_run(bench, kind)] == [kind for kind in run if kind != name]
    assert why in capsys.readouterr().err
    bench.config.apply.run = [name]
    with pytest.raises(UserError, match=why):
        _can_run(bench, name)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"prompts": {"splits": {"train": 500, "val": 99, "test": 1}, "limit": None}}, "no part in choosing"),
        ({"apply": {"diverse_spaces": ["features+styel"]}}, r"unknown feature network \(apply.diverse_spaces\)"),
        ({"apply": {"run": ["inpainting"], "inpaint_folder": "nowhere"}}, "no such folder"),
    ],
)
def test_a_study_is_refused_before_its_first_image(change: dict[str, dict[str, Any]], why: str) -> None:
    config = StudyConfig()
    check_applications(config, load_prompts(config.prompts))
    for section, values in change.items():
        for key, value in values.items():
            setattr(getattr(config, section), key, value)
    prompts = load_prompts(config.prompts)
    with pytest.raises(UserError, match=why):
        check_applications(config, prompts)


def test_the_runs_classifier_names_the_seeds_of_pictures(study: StudyConfig, tmp_path: Path) -> None:
    config = deepcopy(study)
    config.runs.root = str(tmp_path)
    assert load_namer(config) is None
    seeds = config.seed_list
    module = SeedClassifier("resnet18", list(seeds), image_size=16).eval()
    folder = config.run_dir / "classifier"
    folder.mkdir(parents=True)
    torch.save({"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams), "history": [],
                "pytorch-lightning_version": "2.0.0"}, folder / "best.ckpt")  # fmt: skip
    assert load_namer(config) is None  # still training
    atomic_write_json(folder / "metrics.json", {})
    namer = load_namer(config)
    assert namer is not None
    images = torch.randint(0, 256, (3, 3, 48, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    small = [reduced_pixels(image.permute(1, 2, 0).numpy(), 16) for image in images]
    with torch.inference_mode():
        expected = module(torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2)).argmax(1)
    assert namer(images).tolist() == [seeds[place] for place in expected.tolist()]
    config.seeds = "0:7"
    with pytest.raises(UserError, match="other seeds"):
        load_namer(config)


def test_pictures_of_the_study_are_read_and_not_made_again(study: StudyConfig) -> None:
    from seedml.applications.studio import Studio

    dataset, tiles = complete_dataset(study)
    studio = Studio(study, dataset, tiles, ("size",))
    test = [prompt for prompt in dataset.prompts.values() if prompt.split == "test"][:2]
    found = studio.trial([3, 1], test, shown=1)
    assert "model" not in vars(studio)
    assert found.seeds.tolist() == [1, 3]
    assert found.features.shape[:2] == found.columns["size"].shape == (2, 2)
    assert found.pictures.keys() == {(1, test[0].prompt_id), (3, test[0].prompt_id)}
    batch = next(studio.read([1], test[:1]))
    assert torch.equal(
        batch.images[0].permute(1, 2, 0), torch.from_numpy(np.array(found.pictures[1, test[0].prompt_id]))
    )


def test_too_few_seeds_for_a_set_are_refused(study: StudyConfig) -> None:
    dataset, tiles = complete_dataset(study)
    bench = Bench(study, dataset, tiles, {"cards": []})
    bench.sets = {}
    with pytest.raises(UserError, match=r"apply\.diverse"):
        _need_sets(bench)


def test_the_book_may_list_no_golden_seed(study: StudyConfig, tmp_path: Path) -> None:
    book: dict[str, Any] = read_json(study.run_dir / "seedbook.json")
    atomic_write_json(tmp_path / "book.json", book | {"golden": []})
    bench = Bench(study, *complete_dataset(study), read_json(tmp_path / "book.json"))
    assert bench.listed("golden") == bench.order[:4]
