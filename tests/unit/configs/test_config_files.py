"""Every file in configs/ loads and plans on a machine that has neither its weights nor its prompts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from seedml.config import config_folders, config_names, load_config
from seedml.errors import UserError
from seedml.generation import estimate
from seedml.generation.estimate import MeasuredPlan, measured_plan
from seedml.generation.warmup import NotHereError, Warmup
from seedml.models.folder import find_model
from seedml.prompts import load_prompts

CHECKOUT = Path(__file__).parents[3] / "configs"
NAMES = sorted(path.stem for path in CHECKOUT.glob("*.yaml"))
PAPER = [name for name in NAMES if name.startswith("paper_")]
MARKS = ("[paper]", "[known]", "[weak]", "[recalled]", "[ours]")
WHOLE = {"paper_sd2": 23_040_000, "paper_sdxl_turbo": 23_040_000, "paper_inpainting": 102_400, "paper_probe": 15}
MINI = {"paper_sd2_mini": 12_800, "paper_sdxl_turbo_mini": 12_800, "paper_inpainting_mini": 12_800,
        "paper_probe_mini": 15}  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, no network, and no measuring: plans are to be had without."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)

    def nothing(*_: object) -> None:
        raise NotHereError("nothing is measured here")

    monkeypatch.setattr(estimate, "_warm_up", lambda *_: (None, "nothing is measured here"))


def planned(name: str, *words: str) -> MeasuredPlan:
    return measured_plan(load_config(name, words))


@pytest.mark.parametrize("name", NAMES)
def test_every_configuration_loads_and_plans(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    assert config.name == name
    found = measured_plan(config)
    assert found.plan.images == len(config.seed_list) * sum(found.plan.prompts.values())
    text = found.text()
    assert text.startswith(f"{name}: {found.plan.images:,} images")
    assert "not measured" in text
    assert list(tmp_path.iterdir()) == [], "a plan touches nothing"


def test_every_model_of_configs_loads() -> None:
    for path in sorted((CHECKOUT / "models").glob("*.yaml")):
        assert load_config("smoke", [f"model={path.stem}"]).model.name == path.stem


def test_names_come_from_the_checkout_alone() -> None:
    assert config_folders()[0] == CHECKOUT
    assert set(NAMES) == set(config_names())


@pytest.mark.parametrize(("name", "images"), [*WHOLE.items(), *MINI.items()])
def test_the_paper_in_numbers(name: str, images: int) -> None:
    assert planned(name).plan.images == images


def test_the_papers_scale() -> None:
    for name in ("paper_sd2", "paper_sdxl_turbo", "paper_inpainting"):
        assert load_config(name).seed_list == tuple(range(1024))
    for name in ("paper_sd2", "paper_sdxl_turbo"):
        splits = load_config(name).prompts.splits
        assert sum(splits.values()) == load_config(name).prompts.sample == 22_500
        assert (splits["val"], splits["test"]) == (1000, 1000)
    both = sum(planned(name).plan.images for name in ("paper_sd2", "paper_sdxl_turbo"))
    assert 46_000_000 < both < 46_500_000, "over 46 million images"
    named = {12, 16, 133, 469, 696}
    assert set(load_config("paper_probe").seed_list) == named == set(load_config("paper_probe_mini").seed_list)
    for name in ("paper_sd2_mini", "paper_sdxl_turbo_mini"):
        assert named < set(load_config(name).seed_list)
        assert len(load_config(name).seed_list) == 64


@pytest.mark.parametrize("name", PAPER)
def test_every_value_has_its_mark(name: str) -> None:
    """Each key of the prompts, model, sampler and noise says whether it is the paper's: no value without a mark."""
    lines = (CHECKOUT / f"{name}.yaml").read_text().splitlines()
    section = ""
    for line in lines:
        if line and not line.startswith((" ", "#")):
            section = line.split(":")[0]
        is_value = bool(re.match(r"\s*[a-z_]+: \S", line)) and not line.strip().startswith("#")
        if is_value and section in ("seeds", "model", "sampler", "noise", "reference", "shards"):
            assert any(mark in line for mark in MARKS), f"{name}: {line}"
    text = "\n".join(lines)
    for mark in re.findall(r"\[(?:paper|known|weak|recalled|ours)[^\]]*\]", text):
        assert mark in MARKS


@pytest.mark.parametrize("name", ["paper_sd2", "paper_sdxl_turbo"])
def test_a_large_plan_says_what_is_only_an_estimate(name: str) -> None:
    text = planned(name).text()
    for part in ("ESTIMATE, nothing was measured", "H100 SXM: ", "A100: ", "GPU hours", "formats png 9.",
                 "webp 3.", "jpg 3.", "sbatch --array=0-", f"generate {name}", "plan.warmups=warmups.json",
                 "planned for as many as prompts.splits names"):  # fmt: skip
        assert part in text, text
    assert max(map(len, text.splitlines())) < 170


def test_the_estimate_is_the_arithmetic_over_the_peak() -> None:
    """SD 2.0: 50 steps, guided, 0.804 a call, 2.515 to decode; 23.04 million images on 312 at 10 and 40 %."""
    found = {one.device: one.hours for one in planned("paper_sd2").hours}
    work = 23_040_000 * (50 * 2 * 0.804 + 2.515)
    assert found["A100"] == pytest.approx((work / (0.4 * 312) / 3600, work / (0.1 * 312) / 3600))
    turbo = {one.device: one.hours for one in planned("paper_sdxl_turbo").hours}
    assert turbo["A100"][1] == pytest.approx(23_040_000 * (1.589 + 2.515) / 31.2 / 3600)


def test_measured_warm_ups_of_other_machines_are_used(tmp_path: Path) -> None:
    config = load_config("paper_sd2")
    row = {"device": "NVIDIA A100", "sampled": estimate.gpu_hours.sampled_as(config), "seconds_per_image": 0.5,
           "batch_size": 64, "whole": True, "date": "2026-11-23"}  # fmt: skip
    other = {**row, "device": "NVIDIA L4", "sampled": {"model": {}, "sampler": {}}}
    (tmp_path / "warmups.json").write_text(json.dumps({"format": 1, "warmups": [row, other]}))
    before = (tmp_path / "warmups.json").read_bytes()
    text = planned("paper_sd2", "plan.warmups=warmups.json").text()
    assert "NVIDIA A100: 3,200 GPU hours (measured 2026-11-23: 2 images/s, batches of 64)" in text
    assert "ESTIMATE" not in text
    assert "NVIDIA L4" not in text, "it was measured on another model"
    assert "256 × NVIDIA A100: 12 h" in text, "the fewest that are done within a day, a power of two"
    assert (tmp_path / "warmups.json").read_bytes() == before, "nothing was measured, so nothing is kept"
    assert "NVIDIA A100" in planned("paper_sd2", "plan.warmups=warmups.json", "sampler.batch_size=8").text()
    assert "ESTIMATE" in planned("paper_sd2", "plan.warmups=warmups.json", "sampler.steps=20").text()


def test_what_is_measured_on_an_accelerator_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Warmup(
        device="NVIDIA H200", accelerated=True, devices_here=1, threads=None, batch_size=32, seconds_per_batch=8.0,
        whole=True, seconds_per_prompt=0.0, images=32, failed=0, seconds_per_file=0.0, bytes_per_image=300_000.0,
        bytes_per_prompt=1, bytes_for_all_prompts=0, noise_bytes=1,
    )  # fmt: skip
    monkeypatch.setattr(estimate, "_warm_up", lambda *_: (here, ""))
    assert "NVIDIA H200: 1,600 GPU hours (measured " in planned("paper_sd2").text()
    assert list(tmp_path.iterdir()) == [], "nothing is kept that was not asked for"
    planned("paper_sd2", "plan.warmups=kept.json")
    here = replace(here, seconds_per_batch=16.0)
    text = planned("paper_sd2", "plan.warmups=kept.json").text()
    assert "NVIDIA H200: 3,200 GPU hours (measured " in text, "the later measurement counts"
    assert "png 6.9" in text
    assert "png measured on 32 samples" in text
    here = replace(here, device="NVIDIA L4", seconds_per_batch=160.0)
    planned("paper_sd2", "plan.warmups=kept.json")
    monkeypatch.setattr(estimate, "_warm_up", lambda *_: (None, "nothing is measured here"))
    text = planned("paper_sd2", "plan.warmups=kept.json").text()
    assert "NVIDIA H200: 3,200 GPU hours" in text
    assert "NVIDIA L4: 32,000 GPU hours" in text
    (tmp_path / "kept.json").write_text("{}")
    with pytest.raises(UserError, match=r"plan\.warmups holds no warm-ups"):
        planned("paper_sd2", "plan.warmups=kept.json")


def test_what_one_gpu_does_in_a_day_is_not_divided() -> None:
    text = planned("paper_sd2_mini").text()
    assert "A100: 2.4 to 9.4 GPU hours" in text
    assert "sbatch" not in text


def test_probe_prompts_lie_beside_the_configurations() -> None:
    prompts = load_prompts(load_config("paper_probe").prompts)
    assert len(prompts) == 3


def test_mini_twins_are_parts_of_the_whole(tmp_path: Path) -> None:
    """With the captions there, the mini study's prompts are among the whole one's."""
    folder = tmp_path / "data/coco/annotations"
    folder.mkdir(parents=True)
    rows = [{"id": 7 * i, "image_id": i, "caption": f"caption number {i}"} for i in range(22_600)]
    (folder / "captions_val2014.json").write_text(json.dumps({"annotations": rows}))
    whole, mini = (load_prompts(load_config(name).prompts) for name in ("paper_sd2", "paper_sd2_mini"))
    assert (len(whole), len(mini)) == (22_500, 200)
    assert {prompt.prompt_id for prompt in mini} < {prompt.prompt_id for prompt in whole}
    assert "planned for as many" not in planned("paper_sd2").text()


def test_the_bundled_model_needs_nothing() -> None:
    assert find_model(load_config("paper_probe_mini").model, download=False).is_dir()
