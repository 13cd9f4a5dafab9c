"""The step ``verify`` on a generated study: what it says, with which status, and that a repair restores every byte."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from tiny_models import tiny_stable_diffusion, tiny_study

from seedml.__main__ import main
from seedml.config import StudyConfig, resolved
from seedml.errors import UserError
from seedml.files import sha256_of
from seedml.generation import verification
from seedml.generation.step import generate
from seedml.generation.verification import verify
from seedml.models import text_to_image
from seedml.shards.verify import TileReport
from seedml.tracking import NullTracker

# diffusers' own, on numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHARDS = ("test-000000", "train-000000", "train-000001", "train-000002", "val-000000")
DEAD = ".train-000000.tar.elsewhere-1.1.1.tmp"
"""Written by a process of another machine, long ago."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    """A finished study of 45 images in 5 shards; tests leave it as it is."""
    model = tiny_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")
    config = tiny_study(tmp_path_factory.mktemp("study"), model)
    generate(config, NullTracker())
    return config


@pytest.fixture
def config(made: StudyConfig, tmp_path: Path) -> StudyConfig:
    """The same in a folder of its own, to damage."""
    shutil.copytree(made.shard_dir.parent, tmp_path / "shards")
    return tiny_study(tmp_path, Path(made.model.path or ""))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in the folder, hidden ones too."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.iterdir())}


def repaired(config: StudyConfig) -> StudyConfig:
    return dataclasses.replace(config, repair=True)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1024])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def edit_marker(folder: Path, name: str, **values: object) -> None:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def other_noise(folder: Path, name: str) -> None:
    """In the table; and let the marker vouch for it."""
    path = folder / f"{name}.parquet"
    table = pq.read_table(path)
    rows = [row | {"noise_sha256": "0" * 64} for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    edit_marker(folder, name, table_sha256=sha256_of(path))


def leave(path: Path) -> None:
    path.write_text("x")
    os.utime(path, (0, 0))


Damage = dict[str, Callable[[Path], object]]
"""First words of the line that names it -> how it is done."""

DAMAGES: list[Damage] = [
    {
        "test-000000.tar: missing tile": lambda folder: (folder / "test-000000.json").unlink(),
        "train-000000.tar: torn tar": lambda folder: cut(folder / "train-000000.tar"),
        "train-000001.tar: wrong hash": lambda folder: flip(folder / "train-000001.tar"),
        "train-000002.json: other fingerprint": lambda f: edit_marker(f, "train-000002", fingerprint="0" * 64),
    },
    {
        f"{DEAD}: leftover of a dead process": lambda folder: leave(folder / DEAD),
        "test-000000.json: damaged marker": lambda folder: (folder / "test-000000.json").write_text("{"),
        "train-000001.tar: table and tar disagree": lambda folder: other_noise(folder, "train-000001"),
        "train-000002.tar: torn tar": lambda folder: (folder / "train-000002.tar").unlink(),
        "val-000000.parquet: unreadable table": lambda folder: (folder / "val-000000.parquet").unlink(),
    },
]


def test_whole_shards_need_one_line_and_no_model(
    made: StudyConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_to_image, "load_text_to_image", lambda *_: pytest.fail("the model was loaded"))
    before = times(made.shard_dir)
    for config in (made, repaired(made)):
        verify(config)
    assert times(made.shard_dir) == before
    out, err = capsys.readouterr()
    size = sum(path.stat().st_size for path in made.shard_dir.glob("*.tar"))
    line = f"tiny: 5 of 5 shards whole: {size:,} bytes, 45 images, 0 failed; 0 other files in the folder"
    assert out.splitlines() == [line, line, "tiny: 0 shards made again, 0 leftovers removed"]
    assert "shards/s" in err


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_and_nothing_is_touched(
    config: StudyConfig, damage: Damage, capsys: pytest.CaptureFixture[str]
) -> None:
    for act in damage.values():
        act(config.shard_dir)
    files, before = contents(config.shard_dir), times(config.shard_dir)
    with pytest.raises(UserError, match=rf"{len(damage)} findings.*remedy: run the same command with repair=true"):
        verify(config)
    assert (contents(config.shard_dir), times(config.shard_dir)) == (files, before)
    lines = capsys.readouterr().out.splitlines()
    assert [": ".join(line.split(": ")[:2]) for line in lines[:-1]] == sorted(damage)
    assert lines[-1].startswith("tiny: 1 of 5 shards whole: ")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_repair_makes_the_damaged_shards_again_byte_by_byte_and_no_others(
    made: StudyConfig, config: StudyConfig, damage: Damage, capsys: pytest.CaptureFixture[str]
) -> None:
    for act in damage.values():
        act(config.shard_dir)
    before = times(config.shard_dir)
    verify(repaired(config))
    assert contents(config.shard_dir) == contents(made.shard_dir)
    after = times(config.shard_dir)
    remade = {name for name in SHARDS if after[f"{name}.json"] != before.get(f"{name}.json")}
    assert remade == {name.partition(".")[0] for name in damage if name[0] != "."}
    assert after["dataset.json"] == before["dataset.json"]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"tiny: 4 shards made again, {len(damage) - 4} leftover{'s' * (len(damage) == 4)} removed"
    verify(config)


def test_foreign_files_are_reported_and_stay(config: StudyConfig, capsys: pytest.CaptureFixture[str]) -> None:
    note = config.shard_dir / "notes.txt"
    note.write_text("mine")
    with pytest.raises(UserError, match="1 finding, listed above; remedy: move foreign files out of the folder"):
        verify(config)
    cut(config.shard_dir / "val-000000.tar")
    verify(repaired(config))
    assert note.read_text() == "mine"
    out = capsys.readouterr().out
    assert out.count("notes.txt: foreign file: ") == 2
    assert out.splitlines()[-1] == "tiny: 1 shard made again, 0 leftovers removed"


def test_no_data_set_and_other_settings_are_refused(config: StudyConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no images yet"):
        verify(tiny_study(tmp_path / "nowhere", Path(config.model.path or "")))
    before = contents(config.shard_dir)
    with pytest.raises(UserError, match=r"made with other settings: seeds; .*choose another name"):
        verify(repaired(dataclasses.replace(config, seeds="1:6")))
    assert contents(config.shard_dir) == before


def test_with_a_mirror_shards_are_fetched_and_not_made(
    made: StudyConfig, config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = tmp_path / "far" / "tiny"
    shutil.copytree(made.shard_dir, far)
    config = dataclasses.replace(config, shards=dataclasses.replace(config.shards, url=f"file://{far.parent}"))
    with monkeypatch.context() as patch:
        patch.setattr(text_to_image, "load_text_to_image", lambda *_: pytest.fail("the model was loaded"))
        (config.shard_dir / "train-000000.tar").unlink()  # as a user does who needs the space
        verify(config)
        flip(config.shard_dir / "train-000001.tar")
        (config.shard_dir / "train-000002.json").write_text("{")
        verify(repaired(config))
        assert contents(config.shard_dir) == contents(made.shard_dir)
    for folder in (config.shard_dir, far):
        flip(folder / "train-000001.tar")
    with pytest.raises(UserError, match=r"still damaged.*delete these shards behind shards\.url too"):
        verify(repaired(config))
    for ending in ("json", "tar", "parquet"):
        (far / f"train-000001.{ending}").unlink()
    verify(repaired(config))
    assert contents(config.shard_dir) == contents(far) == contents(made.shard_dir)


@pytest.mark.parametrize("unlinks", range(4))
def test_a_repair_that_is_broken_off_leaves_missing_tiles_only(
    made: StudyConfig, config: StudyConfig, monkeypatch: pytest.MonkeyPatch, unlinks: int
) -> None:
    """After any number of the damaged shard's files is gone; `seedml generate` ends it as well as another repair."""
    cut(config.shard_dir / "train-000001.tar")
    unlink, gone = Path.unlink, []

    def stop(path: Path, missing_ok: bool = False) -> None:
        if len(gone) == unlinks:
            raise KeyboardInterrupt
        gone.append(path.name)
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(verification, "generate", lambda *_: stop(Path()))
        patch.setattr(Path, "unlink", stop)
        with pytest.raises(KeyboardInterrupt):
            verify(repaired(config))
    assert gone == [f"train-000001.{ending}" for ending in ("json", "parquet", "tar")][:unlinks]
    if unlinks:
        generate(config, NullTracker())
    else:
        verify(repaired(config))
    assert contents(config.shard_dir) == contents(made.shard_dir)


def test_a_repair_that_does_not_help_says_so(config: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "generate", lambda *_: None)
    cut(config.shard_dir / "train-000001.tar")
    with pytest.raises(UserError, match="still damaged after its repair: 1 finding"):
        verify(repaired(config))


def test_other_bytes_than_before_are_not_passed_over(config: StudyConfig, capsys: pytest.CaptureFixture[str]) -> None:
    edit_marker(config.shard_dir, "train-000001", sha256="0" * 64)
    edit_marker(config.shard_dir, "train-000002", table_sha256="0" * 64)
    verify(repaired(config))
    lines = [line for line in capsys.readouterr().out.splitlines() if "made again with other bytes" in line]
    assert [line.partition(":")[0] for line in lines] == ["train-000001.tar"]


def test_a_shard_that_was_made_again_since_it_was_looked_at_is_not_removed(
    made: StudyConfig, config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two repairs at a time: the other one is done with a shard between our look at it and our removing it."""
    cut(config.shard_dir / "train-000001.tar")
    inspect, calls = verification._inspect, []

    def overtaken(*arguments: object) -> list[TileReport]:
        reports = inspect(*arguments)  # type: ignore[arg-type]
        calls.append(reports)
        if len(calls) == 1:
            for ending in ("tar", "json"):
                fresh = shutil.copy(made.shard_dir / f"train-000001.{ending}", config.shard_dir.parent)
                Path(fresh).replace(config.shard_dir / f"train-000001.{ending}")
        return reports

    monkeypatch.setattr(verification, "_inspect", overtaken)
    monkeypatch.setattr(verification, "generate", lambda *_: None)
    verify(repaired(config))
    assert [sum(len(report.findings) for report in reports) for reports in calls] == [1, 0]
    assert contents(config.shard_dir) == contents(made.shard_dir)


def test_only_the_first_process_looks(
    config: StudyConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(config.shard_dir / "train-000001.tar")
    before = contents(config.shard_dir)
    called: list[str] = []
    monkeypatch.setattr(verification, "generate", lambda config, _: called.append(config.name))
    with monkeypatch.context() as patch:  # below torchrun
        patch.setenv("RANK", "1")
        patch.setenv("TORCHELASTIC_RUN_ID", "x")
        verify(config)
        verify(repaired(config))
    assert called == []
    monkeypatch.setenv("LOCAL_RANK", "1")  # started by Lightning, in the middle of the first process's repair
    verify(repaired(config))
    assert called == ["tiny"]
    assert contents(config.shard_dir) == before
    assert capsys.readouterr().out == ""


def test_on_the_command_line(config: StudyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(resolved(config))))
    assert main(["verify", str(path)]) == 0
    capsys.readouterr()
    cut(config.shard_dir / "val-000000.tar")
    assert main(["verify", str(path)]) == 2
    out, err = capsys.readouterr()
    assert "val-000000.tar: torn tar: 1024 bytes where its marker says" in out
    assert [line for line in err.splitlines() if "verify" not in line] == [err.splitlines()[-1]]
    assert err.splitlines()[-1].startswith(f"seedml: error: {config.shard_dir} is not as it should be: 1 finding")
    assert main(["verify", str(path), "repair=true"]) == 0
    assert main(["verify", str(path)]) == 0
