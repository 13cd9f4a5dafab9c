"""The probe's table: means of the named seeds' pictures, and whether what was said of a seed is so."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from tiny_models import tiny_stable_diffusion, tiny_study

from seedml.attributes import AttributeBatch, grayscale
from seedml.config import PromptsConfig
from seedml.generation.step import generate
from seedml.shards.dataset import open_dataset
from seedml.shards.reader import read_shard
from seedml.tracking import NullTracker

# diffusers' own, on numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SEEDS = [12, 16, 133, 469, 696]


@pytest.fixture(scope="module")
def probe() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "paper_probe.py"
    spec = importlib.util.spec_from_file_location("paper_probe", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["paper_probe"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probe")
    prompts = PromptsConfig(limit=3, splits={"train": 1, "val": 1, "test": 1})
    config = tiny_study(folder, tiny_stable_diffusion(folder / "sd"), seeds=SEEDS, prompts=prompts)
    generate(config, NullTracker())
    return config.shard_dir


def test_means_are_those_of_the_pictures(probe: ModuleType, pictures: Path) -> None:
    means = probe.seed_means(pictures)
    assert list(means) == SEEDS
    by_seed: dict[int, list[float]] = {}
    for shard in open_dataset(pictures).shards():
        for sample in read_shard(shard):
            image = torch.from_numpy(sample.pixels().copy()).permute(2, 0, 1)[None]
            by_seed.setdefault(sample.seed, []).append(
                float(grayscale.measure(AttributeBatch(image, [""]))["grayscale"])
            )
    for seed in SEEDS:
        assert len(by_seed[seed]) == 3
        assert means[seed]["grayscale"] == pytest.approx(float(np.mean(by_seed[seed])), abs=1e-6)


def test_a_named_seed_has_the_most(probe: ModuleType) -> None:
    plain = dict.fromkeys(("grayscale", "border", "sky"), 0.1)
    means = {seed: dict(plain) for seed in SEEDS}
    means[12]["grayscale"] = means[16]["border"] = means[469]["sky"] = 0.9
    assert probe.agreed(means) == {"grayscale": True, "border": True, "sky": False}
    lines = probe.table(Path("shards/x"), means)
    assert lines[0] == "shards/x: 2 of 3 named seeds are first"
    assert "0.900*" in next(line for line in lines if line.split()[0] == "12")


def test_a_tie_is_no_lead(probe: ModuleType) -> None:
    means = {seed: dict.fromkeys(("grayscale", "border", "sky"), 0.0) for seed in SEEDS}
    assert not any(probe.agreed(means).values())


def test_the_command(probe: ModuleType, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe.main([str(pictures)])
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(SEEDS) + 1
