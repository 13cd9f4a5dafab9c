"""A model is a configuration: ``smoke`` on tiny Stable Diffusion and SDXL folders, from the command line on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from tiny_models import tiny_sdxl, tiny_stable_diffusion

from seedml.__main__ import main
from seedml.config import load_config
from seedml.models.bundled import parser as bundled_parser
from seedml.models.bundled import seedling_folder
from seedml.models.quiet import quiet_libraries
from seedml.noise import seeded
from seedml.shards.dataset import complete_dataset
from seedml.shards.reader import read_shard

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),  # of the libraries that read along
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # Lightning's own, on newer torch
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "sd": tiny_stable_diffusion(root / "sd"),
        "sdxl": tiny_sdxl(root / "sdxl"),
        "turbo": tiny_sdxl(root / "turbo", turbo=True),
    }


def words(tmp_path: Path, model: str, *more: str) -> list[str]:
    """Command line of a small study on a model."""
    return [
        "smoke", f"model={model}", "seeds=0:4", "prompts.limit=8", f"shards.root={tmp_path / 'shards'}",
        f"runs.root={tmp_path / 'runs'}", "trainer.accelerator=cpu", "tracking.mode=disabled", *more,
    ]  # fmt: skip


def model_file(tmp_path: Path, folder: Path, **settings: object) -> str:
    """A model configuration, as in ``configs/models/``."""
    lines = [f"path: {folder}", *(f"{key}: {json.dumps(value)}" for key, value in settings.items())]
    path = tmp_path / "tiny.yaml"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


CASES = {
    "one step without guidance": ("sd", {"steps": 1, "guidance_scale": 0.0}),
    "several steps with guidance": ("sd", {"steps": 3, "guidance_scale": 7.5, "scheduler": "DDIMScheduler"}),
    "a stochastic scheduler": ("sd", {"steps": 3, "guidance_scale": 3.0, "scheduler": "DDPMScheduler"}),
    "SDXL": ("sdxl", {"steps": 2, "guidance_scale": 5.0}),
    "SDXL Turbo": ("turbo", {"steps": 1, "guidance_scale": 0.0}),
    "bfloat16": ("sd", {"steps": 1, "dtype": "bfloat16"}),
}


@pytest.mark.parametrize("case", CASES)
def test_generate_on_any_model(folders: dict[str, Path], tmp_path: Path, case: str) -> None:
    name, settings = CASES[case]
    # smoke's own sampler.steps would come before the model's
    given = words(tmp_path, model_file(tmp_path, folders[name], **settings), "sampler.steps=null")
    assert main(["generate", *given]) == 0
    dataset, tiles = complete_dataset(load_config(given[0], given[1:]))
    samples = [sample for tile in tiles for sample in read_shard(dataset.shard(tile), check_hash=True)]
    assert len(samples) == 4 * 8
    assert len({sample.encoded for sample in samples}) == 4 * 8, "no two images are alike"
    assert {key: dataset.model[key] for key in settings} == settings


def test_the_whole_study_on_stable_diffusion(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps, with a scene parser that has learnt nothing: what the numbers say is not the point."""
    with seeded(0), torch.no_grad():
        parser = bundled_parser.SceneParser((8, 16, 16, 32)).train()
        for _ in range(20):  # its normalisation learns what noise looks like, so that features are of normal size
            parser(torch.rand(8, 3, 128, 128))
        parser.save(tmp_path / "parser")
    monkeypatch.setattr(bundled_parser, "parser_folder", lambda: tmp_path / "parser")
    model = model_file(tmp_path, folders["sd"], steps=1, guidance_scale=0.0)
    assert main(["study", *words(tmp_path, model, "sampler.steps=null")]) == 0
    run = tmp_path / "runs" / "smoke"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["images"] == 32
    assert (run / "report.html").is_file()
    assert (run / "seedbook.json").is_file()


def plain_image(folder: Path, prompt: str, seed: int, steps: int, guidance: float) -> np.ndarray:
    with quiet_libraries():
        pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    source = torch.Generator("cpu").manual_seed(seed)
    image = pipeline(prompt, num_inference_steps=steps, guidance_scale=guidance, generator=source).images[0]
    return np.asarray(image).astype(int)


@pytest.mark.skipif(not seedling_folder().is_dir(), reason="the bundled model is not trained yet")
def test_seedling_in_a_batch_of_32_equals_plain_diffusers_alone(tmp_path: Path) -> None:
    """Every row of a batch of 32, with the sampler that the package's configuration names."""
    given = words(tmp_path, "seedling", "sampler.steps=null", "sampler.batch_size=32", "prompts.limit=16")
    assert main(["generate", *given]) == 0
    config = load_config(given[0], given[1:])
    dataset, tiles = complete_dataset(config)
    samples = list(read_shard(dataset.shard(tiles[0])))[:32]
    assert len(samples) == 32
    steps, guidance = config.sampler.steps, config.sampler.guidance_scale
    for sample in samples:
        alone = plain_image(seedling_folder(), sample.prompt, sample.seed, steps or 0, guidance or 0.0)
        assert np.abs(sample.pixels() - alone).max() <= 2, f"seed {sample.seed}, {sample.prompt!r}"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model.path=./nope", "model.path: no such folder"),
        ("sampler.scheduler=DDINScheduler", "did you mean 'DDIMScheduler'"),
        ("model.height=4096001", "model.height"),
        ("seeds=0,0", "seeds"),
    ],
)
def test_a_user_s_mistake_is_one_line_and_status_2(
    folders: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], word: str, message: str
) -> None:
    assert main(["generate", *words(tmp_path, model_file(tmp_path, folders["sd"]), word)]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.strip() and not line.startswith("generate ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "remedy" in lines[0]


def test_other_settings_are_status_2_and_nothing_is_touched(
    folders: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = words(tmp_path, model_file(tmp_path, folders["sd"], steps=1))
    assert main(["generate", *given]) == 0
    shards = tmp_path / "shards" / "smoke"
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in shards.iterdir()}
    assert main(["generate", *given, "sampler.guidance_scale=2.0"]) == 2
    assert "sampler.guidance_scale" in capfd.readouterr().err.splitlines()[-1]
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in shards.iterdir()} == before


@pytest.mark.slow
def test_a_terminated_program_ends_with_143_says_how_to_go_on_and_goes_on(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """The installed program itself, in its own process."""
    model = model_file(tmp_path, folders["sd"], steps=100)
    given = words(tmp_path, model, "sampler.steps=null", "sampler.batch_size=4", "shards.target_images=8")
    command = [sys.executable, "-m", "seedml", "generate", *given]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    shards = tmp_path / "shards" / "smoke"
    while not list(shards.glob("train-*.json")):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "Run the same command to go on" in err
    assert "Traceback" not in err
    assert [path for path in shards.iterdir() if path.name.startswith(".")] == []
    done = {path: path.read_bytes() for path in shards.glob("*-*")}
    assert main(["generate", *given]) == 0
    complete_dataset(load_config(given[0], given[1:]))
    assert {path: path.read_bytes() for path in done} == done
