"""``benchmarks/accelerator.py`` on a CPU with a tiny model: that it measures what it says, not how fast that is."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tiny_models import tiny_stable_diffusion

from seedml.models.text_to_image import load_text_to_image

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]
FOLDER = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("accelerator")


def test_rates_and_ratios(benchmark: ModuleType) -> None:
    seconds = {"one": [8.0, 10.0, 8.0], "best": [4.0, 4.0, 5.0], "seedml": [4.0, 2.0, 4.0], "bare": [2.0, 2.0, 2.0]}
    found = benchmark.figures(seconds, 16)
    assert found["images_per_second"] == {"one": 2.0, "best": 4.0, "seedml": 4.0, "bare": 8.0}
    assert {pair: (ratio["median"], ratio["reached"]) for pair, ratio in found["ratios"].items()} == {
        "seedml / one": (2.0, True), "seedml / best": (1.25, True), "seedml / bare": (0.5, False),
    }  # fmt: skip
    assert benchmark.fastest({4: 3.0, 8: 2.0, 16: 2.5}) == 8


def test_all_of_it_on_a_tiny_model(benchmark: ModuleType, tmp_path: Path) -> None:
    options = benchmark.parse(["--images", "32", "--repeats", "2", "--device", "cpu"])
    settings = {"dtype": "float32", "steps": 2, "guidance_scale": 3.0}
    config = benchmark.study(tmp_path, tiny_stable_diffusion(tmp_path / "tiny"), settings, options)
    result = {"model": "tiny"} | benchmark.measure(config, tmp_path, options)
    assert result["batch_size"]["seedml"] == 32
    assert all(rate > 0 for rate in result["images_per_second"].values())
    assert all(math.isnan(memory) for memory in result["peak_gigabytes"].values())
    assert len(list(tmp_path.rglob("*.tar"))) == 2, "seedml made the study in each turn"
    pictures = [len(list(folder.glob("*.png"))) for folder in tmp_path.iterdir() if folder.is_dir()]
    assert set(pictures) - {0} == {32}, "plain diffusers made all images"
    rows = benchmark.table([result]).splitlines()
    assert len(rows) == 2 + 4 + 3


def test_the_bare_computation_is_that_of_a_batch(benchmark: ModuleType, tmp_path: Path) -> None:
    options = benchmark.parse(["--device", "cpu", "--images", "16"])
    settings = {"dtype": "float32", "steps": 3, "guidance_scale": 3.0}
    config = benchmark.study(tmp_path, tiny_stable_diffusion(tmp_path / "tiny"), settings, options)
    config.sampler.batch_size = 4
    model = load_text_to_image(config)
    calls, decoded = benchmark.recorded(model, 4)
    assert [tuple(args[0].shape) for args, _ in calls] == [(8, 4, 16, 16)] * 3  # guidance runs on the empty text too
    assert [tuple(args[0].shape) for args, _ in decoded] == [(4, 4, 16, 16)]
    assert not torch.equal(calls[0][0][0], calls[1][0][0])
    assert benchmark.bare_seconds(model, 4) > 0
