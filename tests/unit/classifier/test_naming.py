"""One picture -> its seed or none; unseen seeds as a control: on a tiny classifier that was really trained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planted_shards import plant_shards, planted_picture
from tiny_models import tiny_stable_diffusion, tiny_study

from seedml.__main__ import main
from seedml.classifier import explanation
from seedml.classifier.naming import name_seed, read_picture
from seedml.classifier.step import classify
from seedml.classifier.unseen import made_samples
from seedml.config import (
    ClassifierConfig,
    PromptsConfig,
    RunsConfig,
    ShardsConfig,
    StudyConfig,
    TrackingConfig,
    TrainerConfig,
)
from seedml.errors import UserError
from seedml.generation.step import generate
from seedml.shards.dataset import complete_dataset
from seedml.shards.format import encode_image
from seedml.shards.reader import Sample, read_shard
from seedml.tracking import NullTracker

SEEDS = 6


def study(folder: Path, **more: object) -> StudyConfig:
    return StudyConfig(
        name="tiny", seeds=f"0:{SEEDS}", prompts=PromptsConfig(limit=48, splits={"train": 24, "val": 16, "test": 8}),
        shards=ShardsConfig(root=str(folder / "shards")), runs=RunsConfig(root=str(folder / "runs")),
        classifier=ClassifierConfig(
            image_size=24, epochs=4, batch_size=24, learning_rate=3e-3, controls=["open_set", "grad_cam"],
            false_refusals=0.05,
        ),
        tracking=TrackingConfig(mode="disabled"), trainer=TrainerConfig(accelerator="cpu", precision="32-true"),
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


def planted_samples(
    _config: object, _dataset: object, seeds: Sequence[int], prompt_ids: Sequence[int]
) -> Iterator[Sample]:
    """Pictures that the planted study would have of other seeds."""
    for seed in seeds:
        for prompt_id in prompt_ids:
            encoded = encode_image(planted_picture(seed, prompt_id), "png")
            yield Sample(seed, prompt_id, "x", "test", "0" * 64, encoded)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    config = study(tmp_path_factory.mktemp("naming"))
    plant_shards(config, planted_picture)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explanation, "made_samples", planted_samples)
        classify(config, NullTracker())
    return config


def asked(config: StudyConfig, picture: np.ndarray, path: Path) -> StudyConfig:
    Image.fromarray(picture).save(path)
    return replace(config, image=str(path))


def metrics(config: StudyConfig) -> dict:
    return json.loads((config.run_dir / "classifier" / "metrics.json").read_text())


def test_a_picture_of_a_known_seed_is_named(finished: StudyConfig, tmp_path: Path) -> None:
    prompt_id = explanation.Subject(finished, *complete_dataset(finished)).prompt_ids("test")[0]
    answers = [
        name_seed(asked(finished, planted_picture(seed, prompt_id), tmp_path / "x.png")) for seed in range(SEEDS)
    ]
    assert sum(answer.seeds[0] == seed for seed, answer in enumerate(answers)) >= SEEDS - 1
    assert all(len(answer.seeds) == 5 and sum(answer.probabilities) <= 1.000001 for answer in answers)
    assert all(sorted(answer.probabilities, reverse=True) == list(answer.probabilities) for answer in answers)
    assert sum(answer.refused for answer in answers) <= 1


def test_what_is_like_no_known_seed_is_refused_in_words(finished: StudyConfig, tmp_path: Path) -> None:
    answer = name_seed(asked(finished, np.full((40, 50, 3), 128, np.uint8), tmp_path / "gray.png"))
    assert answer.size == (50, 40)
    refused = replace(answer, usualness=0.001)
    assert "none of the 6 known seeds" in refused.text()
    assert "the limit is 5.0 %" in refused.text()
    accepted = replace(answer, usualness=0.5, probabilities=[0.9999, 0.0001, 0, 0, 0], study_size=(24, 24))
    assert f"seed {answer.seeds[0]}, > 99.9 %" in accepted.text()
    assert "< 0.1 %" in accepted.text()
    assert "50 × 40 px where the study's pictures have 24 × 24" in accepted.text()


def test_the_calibration_is_kept_and_made_again_for_another_checkpoint(finished: StudyConfig, tmp_path: Path) -> None:
    path = finished.run_dir / "classifier" / "calibration.json"
    first = path.read_text()
    config = asked(finished, planted_picture(0, 0), tmp_path / "x.png")
    path.write_text(json.dumps({**json.loads(first), "checkpoint": "another", "temperature": 99.0}))
    name_seed(config)
    assert path.read_text() == first


def test_unseen_seeds_are_told_from_known_ones(finished: StudyConfig) -> None:
    found = metrics(finished)["open_set"]
    assert found["unseen_seeds"] == finished.classifier.unseen_seeds
    assert found["known_seeds"] == SEEDS
    assert found["auroc"]["n"] == 16 * 8
    assert found["auroc"]["low"] > 0.5  # six planted seeds are few, but far from chance
    assert found["auroc"]["low"] <= found["auroc"]["value"] <= found["auroc"]["high"]
    assert found["unseen_refused"]["value"] > found["known_refused"]["value"]
    assert found["remade"]["value"] > 0.9
    error = metrics(finished)["calibration"]["error"]
    assert 0 <= error["value"] <= 1
    assert error["chance"] <= error["chance_high"]


def test_maps_are_made_of_every_seed(finished: StudyConfig) -> None:
    from safetensors.numpy import load_file

    found = metrics(finished)["grad_cam"]
    assert found["intact"]["n"] == SEEDS * 8
    maps = load_file(finished.run_dir / "classifier" / "grad_cam.safetensors")
    assert maps["seeds"].tolist() == list(range(SEEDS))
    assert len(maps["picture_maps"]) == SEEDS * 8


def test_without_the_model_unseen_seeds_are_left_out_in_words(finished: StudyConfig) -> None:
    config = replace(finished, model=replace(finished.model, path="/no/such/folder"))
    found = explanation.open_set(explanation.Subject(config, *complete_dataset(finished)))
    assert list(found) == ["left_out"]
    assert "/no/such/folder" in found["left_out"]


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_no_picture_is_a_mistake_in_one_line(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"image= is no picture.*PNG, JPEG or WebP"):
        read_picture(path)


def test_no_classifier_yet_is_a_mistake_with_its_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    words = ["quickstart", f"runs.root={tmp_path}", f"image={tmp_path / 'x.png'}"]
    assert main(["classify", *words]) == 2
    assert "run `seedml classify quickstart` without image=" in capsys.readouterr().err
    assert main(["measure", *words]) == 2
    assert "image= says nothing to measure" in capsys.readouterr().err
    assert not list(tmp_path.glob("quickstart"))


def test_pictures_made_again_are_those_of_the_shards(tmp_path: Path) -> None:
    """What is made for unseen seeds is made as the study's pictures were: a known seed gives its own picture."""
    config = tiny_study(tmp_path, tiny_stable_diffusion(tmp_path / "sd"))
    generate(config, NullTracker())
    dataset, tiles = complete_dataset(config)
    stored = {(s.seed, s.prompt_id): s for tile in tiles for s in read_shard(dataset.shard(tile))}
    seeds, prompt_ids = sorted({seed for seed, _ in stored})[:2], sorted({prompt for _, prompt in stored})[:3]
    made = list(made_samples(config, dataset, seeds, prompt_ids))
    assert [(s.seed, s.prompt_id) for s in made] == [(seed, prompt) for seed in seeds for prompt in prompt_ids]
    for sample in made:
        own = stored[sample.seed, sample.prompt_id]
        assert sample.noise_sha256 == own.noise_sha256
        assert sample.prompt == own.prompt
        assert np.abs(sample.pixels().astype(int) - own.pixels().astype(int)).max() <= 1  # rounding of another batch
