"""Statistics refuse what must not be compared, with the remedy: through the public functions and the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rendered_study import study_config
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from seedml.__main__ import main
from seedml.config import StudyConfig, resolved
from seedml.errors import UserError
from seedml.measurement import load_measurements
from seedml.measurement.reference_files import ReferenceMoments
from seedml.measurement.results import FILES
from seedml.per_seed.balance import UnequalSamplesError, balanced_cube, require_equal_samples
from seedml.per_seed.folds import fold_distances
from seedml.per_seed.frechet import Reference, frechet_distances_of_samples
from seedml.per_seed.moments import Moments

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a step of a study as the command line does: exit status and what it said."""

    def run(step: str, config: StudyConfig, *words: str) -> tuple[int, str]:
        from omegaconf import OmegaConf

        path = tmp_path / "study.yaml"
        path.write_text(OmegaConf.to_yaml(OmegaConf.create(resolved(config))))
        capsys.readouterr()
        status = main([step, str(path), *words])
        return status, capsys.readouterr().err

    return run


@pytest.fixture
def measured(fresh: StudyConfig, finished: StudyConfig) -> StudyConfig:
    """The study of ``finished``, measured and nothing more."""
    fresh.run_dir.mkdir(parents=True)
    for name in FILES:
        shutil.copy(finished.run_dir / name, fresh.run_dir / name)
    return fresh


def _keep(config: StudyConfig, kept: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    """Leave only some rows (seed, prompt_id) of the study's features."""
    path = config.run_dir / "features.safetensors"
    with safe_open(path, framework="numpy") as stream:
        notes = stream.metadata()
    arrays = load_file(path)
    rows = kept(arrays["seed"], arrays["prompt_id"])
    save_file({name: np.ascontiguousarray(array[rows]) for name, array in arrays.items()}, path, metadata=notes)


def _one_line(said: str) -> str:
    """The error, which is the last line and the only one of its kind."""
    lines = [line for line in said.splitlines() if line.startswith("seedml: error: ")]
    assert len(lines) == 1
    assert "Traceback" not in said
    return lines[0]


@pytest.mark.parametrize("step", ["summarize", "select"])
def test_a_seed_without_images_is_named(measured: StudyConfig, command: Command, step: str) -> None:
    _keep(measured, lambda seeds, prompts: seeds != 5)
    status, said = command(step, measured)
    assert status == 2
    assert "seeds have no image, the first is 5" in _one_line(said)
    assert "remedy: make the images again (repair=true)" in said


@pytest.mark.parametrize("step", ["summarize", "select"])
def test_seeds_with_hardly_a_prompt_in_common_are_not_compared(
    measured: StudyConfig, command: Command, step: str
) -> None:
    _keep(measured, lambda seeds, prompts: (prompts % 8 == seeds) | (prompts == 0))
    status, said = command(step, measured)
    assert status == 2
    assert "prompts have an image of every seed; legal: two or more; remedy: " in _one_line(said)


def test_one_prompt_is_too_few(measured: StudyConfig, command: Command) -> None:
    _keep(measured, lambda seeds, prompts: prompts == 7)
    status, said = command("summarize", measured)
    assert status == 2
    assert "only 1 of 1 prompts" in _one_line(said)


@pytest.mark.parametrize(("key", "value"), [("network", "inception"), ("resize", "bicubic"), ("dimension", "2048")])
@pytest.mark.parametrize("step", ["summarize", "select"])
def test_a_reference_of_another_network_or_resize_rule_is_refused(
    measured: StudyConfig, command: Command, step: str, key: str, value: str
) -> None:
    path = measured.run_dir / "reference.safetensors"
    with safe_open(path, framework="numpy") as stream:
        notes = stream.metadata() | {key: value}
    save_file(load_file(path), path, metadata=notes)
    status, said = command(step, measured)
    assert status == 2
    assert "different networks or resize rules" in _one_line(said)
    assert value in said
    assert "remedy: " in said


@pytest.mark.parametrize(
    ("name", "arrays", "words"),
    [
        ("stats.pkl", {}, "of no known kind"),
        ("stats.npz", {"arr_0": np.zeros((3, 64))}, "holds no reference statistics; given: ['arr_0']; legal: "),
        ("stats.npz", {"mu": np.zeros(2048), "sigma": np.eye(2048)}, "another network"),
        ("stats.npz", {"mu": np.zeros(64), "sigma": np.eye(64), "network": "inception"}, "another network or resize"),
        ("stats.npz", {"features": np.zeros((5, 64)), "resize": "none"}, "another network or resize"),
        ("stats.npz", {"mu": np.zeros(64), "sigma": -np.eye(64)}, "negative variance"),
    ],
)
def test_a_reference_that_cannot_be_one_is_refused_by_measure(
    fresh: StudyConfig, command: Command, tmp_path: Path, name: str, arrays: dict[str, np.ndarray], words: str
) -> None:
    path = tmp_path / name
    with path.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    status, said = command("measure", fresh, f"reference.path={path}")
    assert status == 2
    assert words in _one_line(said)
    assert "remedy: " in said


def test_mean_and_covariance_alone_are_a_reference_for_the_whole_study(
    fresh: StudyConfig, command: Command, tmp_path: Path
) -> None:
    """``mu`` and ``sigma`` as other programs write them: FID of every seed is the distance from that Gaussian."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(200, 64)) @ generator.normal(size=(64, 64)) / 8
    path = tmp_path / "stats.npz"
    np.savez(path, mu=vectors.mean(axis=0), sigma=np.cov(vectors, rowvar=False))
    fresh.reference.path = str(path)  # type: ignore[assignment]
    for step in ("measure", "summarize", "select"):
        status, said = command(step, fresh)
        assert status == 0, said
    found = load_measurements(fresh.run_dir)
    assert isinstance(found.reference, ReferenceMoments)
    assert "n unknown" in found.reference.source
    with pytest.raises(UserError, match="KID and CMMD need its feature vectors"):
        found.reference_of(np.arange(3))
    import pandas as pd

    table = pd.read_parquet(fresh.run_dir / "seeds.parquet")
    reference = Reference.of_samples(torch.from_numpy(vectors))
    for row in table.itertuples():
        own = found.features[(found.seeds == row.seed) & (found.prompt_ids != 2)]  # one seed lacks prompt 2
        alone = frechet_distances_of_samples(torch.from_numpy(np.array(own)), reference)
        assert row.fid == pytest.approx(float(alone), rel=1e-6)


def test_unequal_numbers_of_images_are_not_compared() -> None:
    with pytest.raises(UnequalSamplesError, match=r"between 9 and 10 images.*remedy: keep the prompts that every seed"):
        require_equal_samples(np.array([10, 9, 10]))
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(30, 3)))
    moments = Moments.zeros((2, 4), torch.zeros(3))
    moments.add_rows(features, torch.arange(30) % 8)  # the second seed has fewer images in two blocks
    reference = Reference.of_samples(features)
    with pytest.raises(UnequalSamplesError, match="between 3 and 4 images"):
        fold_distances(moments, reference)


def test_fewer_than_two_images_have_no_distance() -> None:
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 1, 4)))
    reference = Reference.of_samples(features[:, 0])
    with pytest.raises(ValueError, match="two images or more"):
        frechet_distances_of_samples(features, reference)
    with pytest.raises(ValueError, match="two images or more"):
        Moments.of(features).gaussian()
    with pytest.raises(UnequalSamplesError, match=r"only 1 of 1 prompts.*legal: two or more"):
        balanced_cube(features[:, 0].numpy(), np.arange(3), np.zeros(3, np.int64))


def test_the_study_refuses_a_file_of_no_known_format_before_the_first_image(command: Command, tmp_path: Path) -> None:
    config = study_config(tmp_path, "0:2", 10)
    (tmp_path / "stats.pt").write_bytes(b"PK")
    status, said = command("study", config, f"reference.path={tmp_path / 'stats.pt'}")
    assert status == 2
    assert "of no known kind" in _one_line(said)
    assert not config.shard_dir.exists()
