"""All controls on a tiny planted study: what each says, that they can be asked for later, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from planted_shards import plant_shards, planted_picture

from seedml.classifier import controls, experiment, learning_curve, retraining
from seedml.classifier.chosen_images import ChosenImages, damaged_images, images_of
from seedml.classifier.corruptions import Corruption, corruptions, flipped
from seedml.classifier.full_size import some_prompts
from seedml.classifier.noise_readback import noise_readback
from seedml.classifier.split_images import SplitImages, open_splits
from seedml.classifier.step import classify
from seedml.classifier.trained import reduced_pixels
from seedml.config import (
    CONTROLS,
    ClassifierConfig,
    PromptsConfig,
    RunsConfig,
    ShardsConfig,
    StatisticsConfig,
    StudyConfig,
    TrackingConfig,
    TrainerConfig,
)
from seedml.errors import UserError
from seedml.noise import initial_noise, noise_sha256
from seedml.shards.dataset import FILE, complete_dataset, open_dataset
from seedml.tracking import open_tracker, read_journal

SEEDS, SIDE = 8, 24
MINE = ["shuffled_labels", "corruptions", "noise_regression", "learning_curve", "retrained"]


def study(folder: Path, name: str = "tiny", **classifier: object) -> StudyConfig:
    options = {"image_size": 16, "epochs": 3, "batch_size": 16, "learning_rate": 3e-3, "controls": []}
    return StudyConfig(
        name=name, seeds=f"0:{SEEDS}", prompts=PromptsConfig(limit=16, splits={"train": 8, "val": 2, "test": 6}),
        shards=ShardsConfig(root=str(folder / "shards")), runs=RunsConfig(root=str(folder / "runs")),
        classifier=ClassifierConfig(**{**options, **classifier}),  # type: ignore[arg-type]
        statistics=StatisticsConfig(bootstrap=100), tracking=TrackingConfig(mode="disabled"),
        trainer=TrainerConfig(accelerator="cpu", precision="32-true"),
    )  # fmt: skip


def run(config: StudyConfig) -> dict:
    with open_tracker(config, "classify", config.run_dir) as tracker:
        classify(config, tracker)
    return json.loads((config.run_dir / "classifier" / "metrics.json").read_text())


def other_study(folder: Path) -> StudyConfig:
    """The same pictures, said to be of other steps."""
    config = study(folder, "other")
    config.sampler.steps = 7
    return config


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("controls")
    plant_shards(study(folder), planted_picture)
    plant_shards(other_study(folder), planted_picture)
    return folder


@pytest.fixture(scope="module")
def finished(planted):
    """The classifier alone; then all controls of the finished study, with a glance at what was trained."""
    alone = run(study(planted))
    checkpoint = planted / "runs" / "tiny" / "classifier" / "best.ckpt"
    before = checkpoint.stat().st_mtime_ns
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in (
            (learning_curve, "PROMPT_POINTS", 1), (learning_curve, "SEED_POINTS", 1),
            (retraining, "RETRAINED", ("grayscale",)),
        ):  # fmt: skip
            patch.setattr(module, name, value)
        config = study(planted, controls=MINE, transfer=[str(planted / "shards" / "other")])
        metrics = run(config)
    assert checkpoint.stat().st_mtime_ns == before
    return config, alone, metrics


def test_controls_are_added_to_a_classifier_that_is_trained_already(finished):
    _, alone, metrics = finished
    assert set(alone["controls"]) == {"unseen_prompts"}
    for key in alone.keys() - {"controls"}:
        assert metrics[key] == alone[key], key
    assert metrics["controls"]["unseen_prompts"] == alone["controls"]["unseen_prompts"]


def test_every_figure_has_its_interval_its_n_chance_and_a_description(finished):
    _, _, metrics = finished
    damages = [damage.name for damage in corruptions(16)]
    names = {"unseen_prompts", "shuffled_labels", "intact", *damages, "retrained_grayscale"}
    assert set(metrics["controls"]) == names
    for name, entry in metrics["controls"].items():
        assert entry["low"] <= entry["value"] <= entry["high"], name
        assert entry["n"] == SEEDS * 6
        assert entry["chance"] == pytest.approx(1 / SEEDS)
        assert entry["description"]


def test_untouched_pictures_read_from_the_shards_give_the_figure_of_the_training(finished):
    _, _, metrics = finished
    assert metrics["controls"]["intact"]["value"] == metrics["test_accuracy"]["value"]


def test_learning_curve_counts_what_it_was_trained_on(finished):
    _, _, metrics = finished
    curve = metrics["learning_curve"]
    sizes = {over: [(p["prompts"], p["seeds"], p["images"], p["n"]) for p in points] for over, points in curve.items()}
    whole = (8, SEEDS, 8 * SEEDS, 6 * SEEDS)
    assert sizes == {"prompts": [(4, SEEDS, 4 * SEEDS, 6 * SEEDS), whole], "seeds": [(8, 4, 32, 24), whole]}
    assert [p["epochs"] for p in curve["prompts"]] == [6, 3]  # as many steps on half the images
    assert [p["chance"] for p in curve["seeds"]] == [1 / 4, 1 / SEEDS]
    assert curve["prompts"][-1]["value"] == metrics["test_accuracy"]["value"]


def test_pictures_of_another_data_set_that_are_the_same_give_the_same_figure(finished):
    _, _, metrics = finished
    (found,) = metrics["transfer"]
    assert found["value"] == metrics["test_accuracy"]["value"]  # the test prompts are all that training did not see
    assert (found["n"], found["prompts"], found["seeds"], found["seeds_of_same_noise"]) == (SEEDS * 6, 6, SEEDS, SEEDS)
    assert found["differs"] == ["sampler.steps"]
    assert found["chance"] == pytest.approx(1 / SEEDS)


def test_noise_that_is_not_recorded_is_not_regressed_on(finished):
    _, _, metrics = finished
    assert "shape of the model's latents" in metrics["noise_regression"]["skipped"]


def test_the_journal_has_the_tables(finished):
    config, _, metrics = finished
    events = [e for e in read_journal(config.run_dir / "tracking" / "classify.jsonl") if e["event"] == "table"]
    rows = {event["key"]: event["rows"] for event in events}
    assert rows["classifier/controls"] == len(metrics["controls"])
    assert rows["classifier/learning_curve"] == 4
    assert rows["classifier/transfer"] == 1


def test_done_is_done_and_a_control_of_other_settings_is_refused(finished, monkeypatch):
    config, _, metrics = finished
    monkeypatch.setattr(experiment, "_trainer", None)  # nothing may be trained
    assert run(config) == metrics
    fewer = replace(config, classifier=replace(config.classifier, controls=[], transfer=[]))
    assert run(fewer) == metrics
    other = replace(config, classifier=replace(config.classifier, control_epochs=7))
    with pytest.raises(UserError, match=r"shuffled_labels\.json was made with other settings: control_epochs.*delete"):
        run(other)


def transfers(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "classifier" / "controls").glob("transfer-*.json"))


@pytest.fixture
def copied(planted, finished, tmp_path):
    """The finished study with the other data set, in a place of their own."""
    for name in ("runs", "shards"):
        shutil.copytree(planted / name, tmp_path / name)
    for name in transfers(tmp_path / "runs" / "tiny"):
        (tmp_path / "runs" / "tiny" / "classifier" / "controls" / name).unlink()
    own = study(tmp_path, transfer=[str(tmp_path / "shards" / "other")])
    run(own)
    return own


def test_another_data_set_that_was_made_again_is_looked_at_again(copied, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "_trainer", None)
    path = copied.run_dir / "classifier" / "controls" / transfers(copied.run_dir)[0]
    before = path.stat().st_mtime_ns
    run(copied)
    assert path.stat().st_mtime_ns == before
    shutil.rmtree(tmp_path / "shards" / "other")
    plant_shards(other_study(tmp_path), lambda seed, prompt_id: planted_picture(seed, prompt_id) if seed != 3 else None)
    (found,) = run(copied)["transfer"]
    assert found["n"] == (SEEDS - 1) * 6
    assert transfers(copied.run_dir) == [path.name]
    after = path.read_bytes()
    shutil.rmtree(tmp_path / "shards" / "other")
    assert run(copied)["transfer"] == [found]  # what is gone cannot be looked at again: the finding stays
    assert path.read_bytes() == after


def test_two_spellings_of_one_folder_count_once(copied, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "_trainer", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("shards")
    copied.classifier.transfer = ["shards/other", "./shards/other/", "link/other", str(tmp_path / "shards" / "other")]
    assert len(run(copied)["transfer"]) == 1
    assert len(transfers(copied.run_dir)) == 1


def test_a_finding_under_an_older_name_of_the_folder_is_replaced(copied, monkeypatch):
    monkeypatch.setattr(experiment, "_trainer", None)
    folder = copied.run_dir / "classifier" / "controls"
    (path,) = folder.glob("transfer-*.json")
    content = json.loads(path.read_text())
    del content["made_from"]
    path.rename(folder / "transfer-00000000.json").write_text(json.dumps(content))
    assert len(run(copied)["transfer"]) == 1
    assert transfers(copied.run_dir) == [path.name]


def test_findings_that_a_kill_kept_from_the_metrics_get_there(finished, monkeypatch):
    config, alone, metrics = finished
    monkeypatch.setattr(experiment, "_trainer", None)
    path = config.run_dir / "classifier" / "metrics.json"
    path.write_text(json.dumps(alone))  # as they were before the controls were asked for
    (config.run_dir / ".steps" / "classify.inputs.json").write_text("{}")
    assert run(config) == metrics


def test_nothing_large_is_left_behind(finished):
    config, _, _ = finished
    left = {path.name for path in (config.run_dir / "classifier").rglob("*") if path.suffix in (".ckpt", ".npy")}
    assert left == {"best.ckpt"}


@pytest.mark.parametrize("names", [["all"], ["all", "corruptions"]])
def test_all_means_all(names):
    assert ClassifierConfig(controls=names).controls == list(CONTROLS)
    assert controls.CONTROLS.keys() == set(CONTROLS)


def test_an_unknown_control_is_refused():
    with pytest.raises(UserError, match=r"classifier\.controls.*corruption'.*did you mean 'corruptions'"):
        ClassifierConfig(controls=["corruption"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": "100:104"}, "none of the study's seeds"),
        ({"prompts": PromptsConfig(limit=16, splits={"train": 8})}, "trained on all prompts"),
    ],
)
def test_a_data_set_that_proves_nothing_is_refused_before_training(planted, tmp_path, monkeypatch, change, message):
    monkeypatch.setattr(experiment, "_trainer", None)
    plant_shards(replace(study(tmp_path, "useless"), **change), planted_picture)
    config = study(planted, transfer=[str(tmp_path / "shards" / "useless")])
    config.runs.root = str(tmp_path / "runs")
    with pytest.raises(UserError, match=message):
        run(config)
    config.classifier.transfer = [str(tmp_path / "nothing")]
    with pytest.raises(UserError, match="holds no images yet"):
        run(config)


# --- parts of a split ------------------------------------------------------------------------------------------------


@pytest.fixture
def split(planted, tmp_path) -> SplitImages:
    dataset, tiles = complete_dataset(study(planted))
    return open_splits(dataset, tiles, 12, tmp_path / "cache")["train"]


def test_chosen_images_are_the_splits_own(split):
    prompts = sorted(set(split.prompt_ids.tolist()))[::3]
    rows = images_of(split, seeds=[1, 5], prompt_ids=prompts)
    chosen = ChosenImages(split, rows)
    expected = [(seed, prompt) for seed in (1, 5) for prompt in prompts]
    assert list(zip(chosen.seeds.tolist(), chosen.prompt_ids.tolist(), strict=True)) == expected
    assert np.array_equal(chosen.pixels([2, 0]), split.pixels(rows[[2, 0]]))
    assert chosen.encoded([1]) == split.encoded(rows[[1]])
    assert len(chosen) == len(rows) == len(expected)


def test_damaged_images_are_damaged_at_full_size_and_kept(split, tmp_path):
    rows = images_of(split, seeds=[2, 3])
    path = tmp_path / "kept" / "train.npy"
    chosen = damaged_images(split, rows, Corruption("flip", "", flipped), path, threads=2)
    for place, (seed, prompt) in enumerate(zip(chosen.seeds, chosen.prompt_ids, strict=True)):
        assert np.array_equal(chosen.pixels([place])[0], reduced_pixels(flipped(planted_picture(seed, prompt)), 12))
    again = damaged_images(split, rows, Corruption("broken", "", lambda pixels: 1 / 0), path, threads=2)
    assert np.array_equal(again.pixels(range(len(rows))), chosen.pixels(range(len(rows))))


def test_halves_are_below_the_whole_and_not_too_few():
    assert learning_curve.halves(112, 4, 2) == [7, 14, 28, 56]
    assert learning_curve.halves(9, 3, 4) == [4]
    assert learning_curve.halves(3, 3, 4) == []


def test_prompts_are_drawn_where_there_are_too_many():
    assert some_prompts(range(5, 45), 10) == frozenset(range(5, 45))
    few = some_prompts(range(40), 1024)
    assert len(few) == 8
    assert few == some_prompts(reversed(range(40)), 1024)  # whatever their order
    assert len(some_prompts(range(40), 10_000)) == 1


# --- noise -----------------------------------------------------------------------------------------------------------

SHAPE = (2, 8, 8)


def noise_study(folder: Path, record_noise: bool = True) -> StudyConfig:
    """Pictures that are their seed's noise enlarged, in gray, under noise of their own."""
    config = study(folder)
    noise, _ = initial_noise(range(SEEDS), SHAPE)

    def draw(seed: int, prompt_id: int) -> np.ndarray:
        own = np.random.default_rng([seed, prompt_id]).normal(size=SHAPE[1:])
        field = 128 + 25 * (noise[seed, 0].numpy() + own)
        return np.clip(field.repeat(2, 0).repeat(2, 1)[:, :, None].repeat(3, 2), 0, 255).astype(np.uint8)

    digests = [noise_sha256(field) for field in noise]
    dataset = plant_shards(config, draw, digests.__getitem__ if record_noise else lambda seed: "0" * 64)
    path = dataset.folder / FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model": {"latent_shape": list(SHAPE)}}))
    return config


def test_planted_noise_is_read_back_from_the_studys_own_pictures(tmp_path):
    config = noise_study(tmp_path)
    dataset, tiles = complete_dataset(config)
    found = noise_readback(config, dataset, tiles, threads=2)
    first, second = found["by_channel"]
    assert first["value"] == pytest.approx(0.5, abs=0.12)
    assert abs(second["value"]) < 0.12
    assert (found["seeds"], found["prompts"]) == (SEEDS, {"train": 8, "test": 6})
    assert found["one_picture"]["p"] == pytest.approx(0.01)


def test_noise_that_differs_from_what_is_recorded_is_not_used(tmp_path):
    config = noise_study(tmp_path, record_noise=False)
    dataset, tiles = complete_dataset(config)
    assert "not the one that its pictures record" in noise_readback(config, dataset, tiles, threads=1)["skipped"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"initial_seed": 3}, "start from the noise of one seed"),
        pytest.param(
            {"generator_device": "cuda"}, "drawn on a GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU"),
        ),
    ],
)  # fmt: skip
def test_noise_that_cannot_be_had_is_said(planted, change, why, tmp_path):
    config = noise_study(tmp_path)
    config.noise = replace(config.noise, **change)
    dataset = open_dataset(config.shard_dir)
    assert why in noise_readback(config, dataset, [], threads=1)["skipped"]
