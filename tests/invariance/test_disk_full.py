"""A full disk stops generation with one clear line; nothing is lost, and it goes on when there is space again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from small_disk import SmallDisk, small_disk
from tiny_models import tiny_stable_diffusion

from seedml.__main__ import main
from seedml.config import load_config
from seedml.generation.plan import plan

# diffusers' own, on numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
PAGE = 4096
AMPLE = 4 << 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", AMPLE) as mounted:
        yield mounted


def study(root: Path, model: Path, shards: Path) -> Path:
    """5 seeds × 9 prompts in 5 shards of 5 to 10 images, about 60 KB each."""
    path = root / "full.yaml"
    root.mkdir(exist_ok=True)
    settings = {
        "seeds": "0:5", "model": {"path": str(model)},
        "prompts": {"limit": 9, "splits": {"train": 5, "val": 2, "test": 2}},
        "sampler": {"steps": 2, "guidance_scale": 3.0, "batch_size": 4},
        "shards": {"root": str(shards), "tile_seeds": 5, "tile_prompts": 2}, "runs": {"root": str(root / "runs")},
        "trainer": {"accelerator": "cpu", "threads": 1}, "tracking": {"mode": "disabled"},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="module")
def uninterrupted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("whole")
    assert main(["generate", str(study(root, model, root / "shards"))]) == 0
    return contents(root / "shards")


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in the folder, hidden things too."""
    return {
        str(path.relative_to(folder)): b"a folder" if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def check_stop(status: int, error: str, found: dict[str, bytes], whole: dict[str, bytes]) -> None:
    """One line for the user, and only whole files are left."""
    assert status == 2
    last = [line for line in error.splitlines() if line.startswith("seedml: error: ")]
    assert len(last) == 1
    assert error.endswith(last[0] + "\n"), "nothing comes after it"
    assert "Traceback" not in error
    assert "no space is left on the disk" in last[0] or "is too small" in last[0]
    assert {name: whole.get(name) for name in found} == found, "only whole files, no temporary ones, no claims"


def test_a_full_disk_stops_with_one_line_and_loses_nothing(
    model: Path, tmp_path: Path, disk: SmallDisk, uninterrupted: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    """Room for two or three of the five shards."""
    config = study(tmp_path, model, disk.folder)
    disk.resize(60 * PAGE)
    assert (plan(load_config(str(config))).bytes_left_at_least or 0) < 60 * PAGE < 276_000, "else it would not begin"
    status = main(["generate", str(config)])
    captured = capfd.readouterr()
    found = contents(disk.folder)
    check_stop(status, captured.err, found, uninterrupted)
    done = [name for name in found if name.endswith(".tar")]
    assert len(done) in (2, 3)
    assert f"{len(done)} of 5 shards are finished and whole" in captured.err
    assert "seedml: warning: the disk of" in captured.err, "it was foreseen"

    assert main(["generate", str(config)]) == 2, "no space was made"
    check_stop(2, capfd.readouterr().err, contents(disk.folder), uninterrupted)
    assert contents(disk.folder) == found

    disk.resize(AMPLE)
    assert main(["generate", str(config)]) == 0
    assert contents(disk.folder) == uninterrupted
    assert capfd.readouterr().out.count("to make") == 1


def test_what_cannot_fit_is_not_begun(
    model: Path, tmp_path: Path, disk: SmallDisk, capfd: pytest.CaptureFixture[str]
) -> None:
    config = study(tmp_path, model, disk.folder)
    disk.resize(30 * PAGE)
    assert main(["generate", str(config)]) == 2
    error = capfd.readouterr().err
    assert "too small" in error
    assert "make space" in error
    assert not list(disk.folder.rglob("*.tar"))
    disk.resize(AMPLE)
    assert main(["generate", str(config)]) == 0


@pytest.mark.slow
def test_wherever_the_disk_is_full_nothing_is_lost(
    model: Path, tmp_path: Path, disk: SmallDisk, uninterrupted: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    """Page by page: in the middle of a tar, a table, a marker, a claim, or the description of the data set."""
    statuses = []
    for number, pages in enumerate([*range(36, 96, 2), 41, 57, 73]):
        disk.resize(pages * PAGE)
        shards = disk.folder / "shards"
        config = study(tmp_path / str(number), model, shards)
        statuses.append(main(["generate", str(config)]))
        error = capfd.readouterr().err
        if statuses[-1] != 0:
            check_stop(statuses[-1], error, contents(shards), uninterrupted)
        disk.resize(AMPLE)
        assert main(["generate", str(config)]) == 0
        assert contents(disk.folder / "shards") == uninterrupted
        capfd.readouterr()
        shutil.rmtree(shards)
    assert statuses.count(2) > 15
    assert statuses.count(0) > 0
