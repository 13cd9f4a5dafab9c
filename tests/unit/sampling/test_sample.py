"""Pictures from a book's seeds: what they equal, what is written, what is warned of and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from small_book import tiny_book
from tiny_models import tiny_stable_diffusion

from seedml.__main__ import main
from seedml.errors import UserError
from seedml.files import atomic_write_json
from seedml.models.quiet import quiet_libraries
from seedml.sampling import sample, settings_of
from seedml.seedbook import SeedBook, sealed

PROMPT = "a red ball on grass"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture
def book(model: Path) -> SeedBook:
    return SeedBook.read(tiny_book(model, seeds=(3, 7, 469, 11)))


@pytest.fixture
def run(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """``seedml sample`` on a book of four seeds in ``tmp_path``: exit status, stdout, stderr without the bar."""
    atomic_write_json(tmp_path / "seedbook.json", sealed(tiny_book(model, seeds=(3, 7, 469, 11))))

    def command(*words: str) -> tuple[int, str, str]:
        status = main(["sample", str(tmp_path), *words])
        out, err = capsys.readouterr()
        return status, out, "\n".join(line for line in err.splitlines() if line.startswith("seedml"))

    return command


def test_pictures_are_those_of_plain_diffusers(book: SeedBook, model: Path) -> None:
    made = sample(book, PROMPT, book.golden(3)).made
    with quiet_libraries():
        pipeline = StableDiffusionPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    for picture in made:
        alone = pipeline(
            PROMPT, num_inference_steps=3, guidance_scale=3.0, height=32, width=32,
            generator=torch.Generator("cpu").manual_seed(picture.card.seed),
        ).images[0]  # fmt: skip
        assert np.abs(np.asarray(alone).astype(int) - picture.pixels).max() <= 2


def test_groups_and_batches_do_not_change_pictures(book: SeedBook) -> None:
    together = sample(book, PROMPT, {"golden": book.golden(2), "random": book.these([469, 11])})
    assert {name: [picture.card.seed for picture in made] for name, made in together.groups().items()} == {
        "golden": [3, 7], "random": [469, 11]}  # fmt: skip
    alone = sample(book, PROMPT, book.these([11]), settings_of(book, ["sampler.batch_size=1"])).made[0]
    assert np.abs(alone.pixels.astype(int) - together.made[3].pixels).max() <= 2
    assert together.made[0].noise_sha256 == book.card(3).noise_sha256


def test_the_command_writes_pictures_a_sheet_and_what_was_made(run: Run, tmp_path: Path) -> None:
    status, out, warned = run(PROMPT, "n=2", "compare=random")
    assert (status, warned) == (0, "")
    assert "golden seeds: 3, 7" in out
    (folder,) = (tmp_path / "samples").iterdir()
    assert folder.name.startswith("a-red-ball-on-grass-")
    assert str(folder) in out
    record = json.loads((folder / "samples.json").read_text())
    files = [image["file"] for image in record["images"]]
    assert {path.name for path in folder.iterdir()} == {*files, "samples.json", "contact_sheet.png"}
    assert [(image["group"], image["seed"]) for image in record["images"]][:2] == [("golden", 3), ("golden", 7)]
    assert {image["group"] for image in record["images"][2:]} == {"random"}
    assert {image["seed"] for image in record["images"][2:]} == {469, 11}
    assert record["prompt"] == PROMPT
    assert record["made_with"]["steps"] == 3
    assert record["notes"] == []
    picture = Image.open(folder / "golden-3.png")
    assert picture.size == (32, 32)
    assert json.loads(picture.text["seedml"]) == {"prompt": PROMPT, "seed": 3, **record["made_with"]}
    assert (folder / "golden-3.png").stat().st_mode & 0o777 == 0o644


def test_the_same_request_is_not_made_twice_and_another_goes_elsewhere(run: Run, tmp_path: Path) -> None:
    run(PROMPT, "n=1")
    (folder,) = (tmp_path / "samples").iterdir()
    stamps = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    status, out, _ = run(PROMPT, "n=1")
    assert status == 0
    assert "there already" in out
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps
    run(PROMPT, "n=1", "sampler.steps=2")
    assert len(list((tmp_path / "samples").iterdir())) == 2


def test_an_interrupted_call_goes_on(run: Run, tmp_path: Path) -> None:
    run(PROMPT, "n=2")
    (folder,) = (tmp_path / "samples").iterdir()
    whole = (folder / "golden-7.png").read_bytes()
    for name in ("golden-7.png", "samples.json"):
        (folder / name).unlink()
    assert run(PROMPT, "n=2")[0] == 0
    assert (folder / "golden-7.png").read_bytes() == whole


def test_a_folder_with_something_else_is_left_alone(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "mine"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    status, _, err = run(PROMPT, "n=1", f"out={other}")
    assert status == 2
    assert "holds something else" in err
    assert [path.name for path in other.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("sampler.steps=2", "another number of steps (2, not 3)"),
        ("sampler.scheduler=EulerDiscreteScheduler", "another scheduler (EulerDiscreteScheduler, not DDIMScheduler)"),
        ("sampler.guidance_scale=1", "another guidance scale (1.0, not 3.0)"),
        ("model.height=48", "another latent shape"),
        ("noise.step_seed=5", "another seed of the step noise (5, not None)"),
    ],
)
def test_pictures_that_the_book_is_not_about(run: Run, word: str, says: str) -> None:
    status, _, warned = run(PROMPT, "n=1", word)
    assert status == 0
    assert says in warned
    assert "not known to hold" in warned
    assert ("another one than the cards describe" in warned) == (word == "model.height=48")


def test_another_model_is_warned_of(run: Run, model: Path, tmp_path: Path) -> None:
    other = tiny_stable_diffusion(tmp_path / "other", seed=1)
    raw = tiny_book(model, seeds=(3,), weights={"sha256": "f" * 64, "variant": None})
    atomic_write_json(tmp_path / "seedbook.json", sealed(raw))
    status, _, warned = run(PROMPT, f"model.path={other}")
    assert status == 0
    assert "another model (other, not tiny)" in warned
    assert "another set of weights (SHA-256 " in warned


def test_a_prompt_that_is_too_long_is_warned_of_with_what_is_lost(run: Run, tmp_path: Path) -> None:
    long = "a ball " * 9 + "on Grass and what is beyond the text encoder, Éclair"  # one token a letter, 77 in all
    status, _, warned = run(long, "n=1")
    assert status == 0
    assert "longer than the model's text encoder takes; it does not read " in warned
    lost = warned.partition("does not read ")[2].strip("'")
    assert long.endswith(lost)
    kept = len("".join(long.removesuffix(lost).split()))
    assert kept == 75
    (folder,) = (tmp_path / "samples").iterdir()
    assert lost in json.loads((folder / "samples.json").read_text())["notes"][0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "sample is given no prompt"),
        (["n=2"], "sample is given no prompt; given: 'n=2'"),
        (["sampler.steps=2"], "sample is given no prompt"),
        (["  "], "the prompt is empty"),
        ([""], "the prompt is empty"),
        ([PROMPT, "n=5"], "there are 4 golden seeds"),
        ([PROMPT, "by=style"], "brightness"),
        ([PROMPT, "where=high skyy"], "unknown tag in where=; given: 'high skyy'"),
        ([PROMPT, "where=x<0.1"], "the closest are 3 (location_x 0.7)"),
        ([PROMPT, "seeds=1"], "no card of seed 1"),
        ([PROMPT, "compare=golden"], "compare names the seeds that are chosen"),
        ([PROMPT, "compare=random"], "no random seed beside the chosen ones"),
        ([PROMPT, "prompts.limit=3"], "prompts.limit is no key here"),
        ([PROMPT, "steps=3"], "steps is no key here"),
        ([PROMPT, "sampler.stepz=3"], "sampler.stepz"),
        ([PROMPT, "another"], "'another' has no value"),
        ([PROMPT, "model.path=/nowhere"], "model.path"),
        ([PROMPT, "noise.generator_device=cuda"], "drawn on a CUDA device"),
        ([PROMPT, "trainer.accelerator=tpu"], "no such device here; given: 'trainer.accelerator=tpu'"),
    ],
)
def test_mistakes(model: Path, tmp_path: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tiny_book(model, seeds=(3, 7, 469, 11)) | {"spaces": {}}
    atomic_write_json(tmp_path / "seedbook.json", sealed(raw))
    if says == "drawn on a CUDA device" and torch.cuda.is_available():
        pytest.skip("needs a machine without CUDA")
    assert main(["sample", str(tmp_path / "seedbook.json"), *words]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["seedbook.json"]


def test_a_noise_that_is_not_the_cards_makes_no_picture(model: Path) -> None:
    raw: dict[str, Any] = tiny_book(model)
    raw["cards"][0]["noise_sha256"] = "0" * 64
    book = SeedBook.read(raw)
    with pytest.raises(UserError, match=r"the noise of seed 3 is not the one of its card here.*seedml verify"):
        sample(book, PROMPT, book.golden(1))


def test_a_book_of_the_first_version_finds_its_model_by_name(model: Path) -> None:
    raw = tiny_book(model) | {"model": "seedling"}
    del raw["recipe"]
    for card in raw["cards"]:
        card |= {"model": "seedling", "scheduler": "DDIMScheduler", "steps": 2}
    config = settings_of(SeedBook.read(raw), ["sampler.batch_size=4"])
    assert config.model.path == "bundled:seedling"
    assert (config.sampler.steps, config.sampler.batch_size) == (2, 4)
