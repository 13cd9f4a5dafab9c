"""What later steps make beyond the grid, counted before: against what they then make, and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seedml.applications.planned import later_lines, later_pictures, later_sentence
from seedml.config import StudyConfig
from seedml.files import atomic_write_json
from seedml.generation.warmup import Warmup
from seedml.prompts import load_prompts


def study(root: Path, seeds: str = "0:64", **sections: dict[str, Any]) -> StudyConfig:
    """160 prompts: 112 train, 16 val, 32 test; the bundled set has 440 more."""
    config = StudyConfig(name="later", seeds=seeds)
    config.runs.root = str(root)
    config.prompts.limit = 160
    config.sampler.steps = 4
    for section, values in sections.items():
        for key, value in values.items():
            setattr(getattr(config, section), key, value)
    return config


def counts(config: StudyConfig) -> dict[str, int]:
    return {later.use: later.images for later in later_pictures(config, load_prompts(config.prompts))}


def test_every_kind_is_counted(tmp_path: Path) -> None:
    config = study(tmp_path, apply={"run": ["high_fidelity", "diverse_sampling", "noise_swap", "inpainting"]})
    assert counts(config) == {
        "open_set": 8 * (2 + 16),  # held-out prompts × (known seeds made again and unseen ones)
        "unused_prompts": (48 - 32) * 64,  # all seeds
        "noise_swap": 32 * 3 * (4 + 2),  # pairs × prompts × places
        "inpainting": 64 * (24 + 12) * 2,  # seeds × pictures × tasks
    }


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"apply": {"run": ["high_fidelity"], "prompts": 20}}, {}),
        ({"apply": {"run": ["noise_swap"], "swap_steps": 10, "swap_pairs": 2}}, {"noise_swap": 2 * 3 * 12}),
        ({"apply": {"run": ["noise_swap"]}, "noise": {"step_seed": 3}}, {}),
        ({"apply": {"run": ["noise_swap"]}, "selection": {"golden": 60}}, {"noise_swap": 32 * 3 * 6}),
    ],
)  # fmt: skip
def test_settings_count(tmp_path: Path, sections: dict[str, Any], expected: dict[str, int]) -> None:
    assert counts(study(tmp_path, classifier={"controls": []}, **sections)) == expected


def test_unseen_seeds_are_shown_on_as_many_prompts_as_are_held_out(tmp_path: Path) -> None:
    few = study(tmp_path, classifier={"unseen_seeds": 40}, prompts={"splits": {"train": 150, "test": 5}})
    assert counts(few)["open_set"] == 5 * (2 + 40)


def test_of_many_seeds_only_chosen_and_random_ones_are_counted(tmp_path: Path) -> None:
    config = study(tmp_path, "0:4096", classifier={"controls": []}, apply={"run": ["high_fidelity"]})
    (later,) = later_pictures(config, load_prompts(config.prompts))
    assert (later.images, later.at_most) == (16 * (64 + 5 + 5), True)
    assert later.text() == "apply: at most 1,184 images of 16 prompts that the study leaves unused"


def test_what_is_done_is_not_counted(tmp_path: Path) -> None:
    config = study(tmp_path, apply={"run": ["high_fidelity", "noise_swap"]})
    done = (("classifier/controls/open_set", "open_set"), ("applications/noise_swap", "noise_swap"),
            ("applications/high_fidelity", "unused_prompts"))  # fmt: skip
    for file, use in done:
        assert use in counts(config)
        atomic_write_json(config.run_dir / f"{file}.json", {})
        assert use not in counts(config)
    assert later_lines(config, load_prompts(config.prompts)) == []
    assert later_sentence(config, load_prompts(config.prompts)) == ""


def test_a_folder_of_pictures_is_counted_by_its_masks(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    for name in ("a.jpg", "b.png", "b.mask.png", "c.webp", "d.png"):
        Image.new("RGB", (8, 8)).save(folder / name)
    sections = {"run": ["inpainting"], "inpaint_folder": str(folder), "inpaint_seeds": 10, "inpaint_model": "x/y"}
    config = study(tmp_path, classifier={"controls": []}, apply=sections)
    (later,) = later_pictures(config, load_prompts(config.prompts))
    assert later.images == (4 + 1) * 10
    assert later.seconds(config, warmup(1.0)) is None, "another model's time is not known"


def warmup(seconds_per_batch: float) -> Warmup:
    return Warmup(
        device="cpu", accelerated=False, devices_here=1, threads=1, batch_size=32, seconds_per_batch=seconds_per_batch,
        whole=True, seconds_per_prompt=0.0, images=8, failed=0, seconds_per_file=0.0, bytes_per_image=1.0,
        bytes_per_prompt=1, bytes_for_all_prompts=1, noise_bytes=1,
    )  # fmt: skip


def test_lines_say_how_many_and_how_long(tmp_path: Path) -> None:
    config = study(tmp_path, apply={"run": ["high_fidelity", "noise_swap"], "swap_steps": 8})
    prompts = load_prompts(config.prompts)
    lines = later_lines(config, prompts, warmup(2.0))
    assert lines == [
        "  later   classify: 144 images of seeds outside the study (open_set), about 10 s",
        "          apply: 1,024 images of 16 prompts that the study leaves unused, about 64 s",
        "          apply: 960 images of 96 noise swaps at 10 places, about 2 min",
        "          together 2,128 images beyond the grid, about 3 min on one device",
    ]
    assert [line.split(", about")[0] for line in lines] == later_lines(config, prompts)
    assert max(map(len, lines)) < 130
    assert later_sentence(config, prompts) == (
        "later: later steps make 2,128 images beyond the grid: 144 of seeds outside the study (open_set), 1,024 of 16 "
        "prompts that the study leaves unused, 960 of 96 noise swaps at 10 places"
    )
