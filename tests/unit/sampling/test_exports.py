"""Seeds for other programs: what the exported files make without seedml."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_book import raw_book, tiny_book
from tiny_families import tiny_flux, tiny_pixart, tiny_sana
from tiny_models import tiny_sdxl, tiny_stable_diffusion

from seedml.__main__ import main
from seedml.errors import UserError
from seedml.noise import initial_noise
from seedml.sampling import sample
from seedml.sampling.exports import comma_list
from seedml.sampling.snippet import snippet
from seedml.seedbook import SeedBook, sealed

PROMPT = 'a "red" ball\'s \\ shadow'
LEVELS = 2
"""Of 255: the rounding of another batch size."""
WITHOUT_SEEDML = """
import os, runpy, sys
sys.modules["seedml"] = None  # importing it fails
for folder in sys.argv[1:]:
    os.chdir(folder)
    runpy.run_path("program.py", run_name="__main__")
"""
SDE = {"algorithm_type": "sde-dpmsolver++"}
CASES: dict[str, dict[str, Any]] = {
    "deterministic": {"scheduler": "DDIMScheduler", "guidance_scale": 5.0},
    "stochastic": {"scheduler": "EulerAncestralDiscreteScheduler"},
    "options": {"scheduler": "DPMSolverMultistepScheduler", "scheduler_options": SDE, "steps": 4},
    "one initial noise": {"scheduler": "EulerAncestralDiscreteScheduler", "initial_seed": 5},
    "one step noise": {"scheduler": "EulerAncestralDiscreteScheduler", "step_seed": 5},
    "both from one seed": {"scheduler": "EulerAncestralDiscreteScheduler", "initial_seed": 5, "step_seed": 5},
    "xl": {"scheduler": "EulerAncestralDiscreteScheduler", "pipeline": "StableDiffusionXLPipeline", "steps": 2},
    "flux": {"scheduler": "FlowMatchEulerDiscreteScheduler", "scheduler_options": {"stochastic_sampling": True},
             "pipeline": "FluxPipeline", "model_options": {"call_options": {"max_sequence_length": 64}}},
    "pixart": {"scheduler": "EulerAncestralDiscreteScheduler", "pipeline": "PixArtSigmaPipeline",
               "model_options": {"call_options": {"clean_caption": False}}},
    "sana": {"scheduler": "DPMSolverMultistepScheduler", "scheduler_options": SDE, "pipeline": "SanaPipeline"},
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "sd": tiny_stable_diffusion(root / "sd"), "xl": tiny_sdxl(root / "xl"), "flux": tiny_flux(root / "flux"),
        "pixart": tiny_pixart(root / "pixart"), "sana": tiny_sana(root / "sana"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def books(models: dict[str, Path]) -> dict[str, SeedBook]:
    return {name: SeedBook.read(tiny_book(models.get(name, models["sd"]), **case)) for name, case in CASES.items()}


# diffusers' own, on numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def differences(folder: Path, book: SeedBook) -> list[int]:
    """Largest difference of each picture in the folder from seedml's own, in levels."""
    made = sample(book, PROMPT, book.golden()).made
    pixels = {picture.card.seed: picture.pixels.astype(int) for picture in made}
    if None in (book.recipe.initial_seed, book.recipe.step_seed):  # type: ignore[union-attr]
        assert np.abs(pixels[3] - pixels[7]).max() > 2 * LEVELS, "another seed must give another picture"
    return [int(np.abs(np.asarray(Image.open(folder / f"seed-{seed}.png")).astype(int) - own).max())
            for seed, own in pixels.items()]  # fmt: skip


def test_a_program_without_seedml_gives_the_same_pictures(books: dict[str, SeedBook], tmp_path: Path) -> None:
    for name in ("deterministic", "stochastic"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "program.py").write_text(snippet(books[name], books[name].golden(), PROMPT))
    command = [sys.executable, "-c", WITHOUT_SEEDML, *(str(path) for path in tmp_path.iterdir())]
    subprocess.run(command, check=True, capture_output=True, text=True)
    for folder in tmp_path.iterdir():
        assert max(differences(folder, books[folder.name])) <= LEVELS, folder.name


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("deterministic", "stochastic")])
def test_the_program_follows_other_settings(
    books: dict[str, SeedBook], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet(books[name], books[name].golden(), PROMPT), "program", "exec"), {})
    assert max(differences(tmp_path, books[name])) <= LEVELS


def test_the_program_refuses_another_noise(
    books: dict[str, SeedBook], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = books["deterministic"]
    code = snippet(book, book.golden(1), PROMPT).replace("manual_seed(seed)", "manual_seed(seed + 1)")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="seed 3: this is not the noise of its card"):
        exec(compile(code, "program", "exec"), {})
    assert not list(tmp_path.iterdir())


def test_the_bundled_model_is_a_folder_to_the_program() -> None:
    book = SeedBook.read(raw_book(model='x"""\nimport os'))
    code = snippet(book, book.golden(), PROMPT)
    compile(code, "program", "exec")
    assert "weights/seedling'" in code
    assert "\nimport os" not in code
    assert "import seedml" not in code
    assert "from seedml" not in code


def test_a_hub_model_keeps_its_revision() -> None:
    raw = raw_book(recipe=raw_book()["recipe"] | {"path": "owner/name", "variant": "fp16"})
    for card in raw["cards"]:
        card |= {"revision": "abc", "dtype": "float16"}
    book = SeedBook.read(raw)
    code = snippet(book, book.golden(), PROMPT)
    assert "MODEL = 'owner/name'" in code
    assert "revision='abc', variant='fp16'" in code
    assert "noise.to(DEVICE, torch.float16)" in code
    assert "dtype=torch.float32)" in code  # drawn as in the study, whatever the model computes in


def test_a_book_that_holds_code_in_place_of_names() -> None:
    book = SeedBook.read(raw_book(recipe=raw_book()["recipe"] | {"pipeline": "os.system('true') or Name"}))
    with pytest.raises(UserError, match="what is no name"):
        snippet(book, book.golden(), PROMPT)


def test_the_comma_list_says_what_seeds_are_not() -> None:
    book = SeedBook.read(raw_book())
    lines = comma_list(book, book.golden(3), "golden").splitlines()
    assert lines[-1] == "0, 1, 4"
    assert all(line.startswith("#") for line in lines[:-1])
    text = " ".join(lines)
    assert "128 × 128 px, DDIMScheduler, 4 steps" in text
    assert "Random number generator source" in text
    assert "batch_size 1" in text
    raw = raw_book()
    for card in raw["cards"]:
        card["generator_device"] = "cuda"
    on_cuda = SeedBook.read(raw)
    assert "ComfyUI draws on the CPU: there these seeds are other noise" in comma_list(on_cuda, on_cuda.golden(), "")


def saved(folder: Path, raw: dict[str, Any]) -> Path:
    path = folder / "seedbook.json"
    path.write_text(json.dumps(sealed(raw)))
    return path


def test_the_command_writes_all_three(models: dict[str, Path], tmp_path: Path) -> None:
    book = saved(tmp_path, tiny_book(models["sd"]))
    assert main(["export", str(book), "n=2", f"prompt={PROMPT}"]) == 0
    folder = tmp_path / "export"
    assert {path.name for path in folder.iterdir()} == {"diffusers_example.py", "seeds.txt", "noise.safetensors"}
    tensors = load_file(folder / "noise.safetensors")
    assert tensors.keys() == {"3", "7"}
    for seed, tensor in tensors.items():
        assert torch.equal(tensor, initial_noise([int(seed)], (4, 16, 16))[0][0])
    assert (folder / "noise.safetensors").stat().st_mode & 0o777 == 0o644
    assert repr(PROMPT) in (folder / "diffusers_example.py").read_text()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["export", str(book), "n=2", f"prompt={PROMPT}"]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "export is given no seed book"),
        (["n=3"], "export is given no seed book"),
        (["BOOK", "to=diffusers,a1111"], "unknown form in to=; given: 'a1111'; legal: diffusers, list, noise"),
        (["BOOK", "promt=x"], "unknown key of export; given: 'promt'"),
        (["BOOK", "n=4"], "there are 3 golden seeds"),
        (["BOOK", "to=list", "out=OUT"], "is there with other content"),
        (["BOOK", "to=list", "out=OUT/seeds.txt"], "is no folder"),
    ],
)
def test_mistakes(tmp_path: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    book, out = saved(tmp_path, tiny_book(tmp_path)), tmp_path / "out"
    out.mkdir()
    (out / "seeds.txt").write_text("mine")
    given = [word.replace("BOOK", str(book)).replace("OUT", str(out)) for word in words]
    assert main(["export", *given]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert (out / "seeds.txt").read_text() == "mine"


def test_a_book_of_the_first_version_has_no_program_but_a_list(tmp_path: Path) -> None:
    raw = tiny_book(tmp_path)
    del raw["recipe"]
    path = tmp_path / "seedbook.json"
    path.write_text(json.dumps(raw))
    assert main(["export", str(path)]) == 2
    assert not (tmp_path / "export").exists()
    assert main(["export", str(path), "to=list,noise"]) == 0


def test_noise_that_is_not_the_cards_is_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tiny_book(tmp_path)
    raw["cards"][1]["noise_sha256"] = "0" * 64
    assert main(["export", str(saved(tmp_path, raw)), "to=noise"]) == 2
    assert "the noise of seed 7 is not the one of its card here" in capsys.readouterr().err
