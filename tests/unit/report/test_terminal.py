"""How a study ends in a terminal, in a pipe and for a program: every number that of the summary."""

from __future__ import annotations

import io
import json
import re
import sys
import types
from pathlib import Path

import pytest
from rich.console import Console
from synthetic_run import make_run

from seedml.__main__ import main
from seedml.config import StudyConfig
from seedml.report.headline import headlines
from seedml.report.inputs import collect
from seedml.report.terminal import as_json, tell

TITLES = ("FID of the best seed", "FID of the worst seed", "Is there a seed effect?", "Does the ranking repeat?",
          "Which seed made it?", "The same with shuffled labels", "Do golden seeds hold? (FID gain)",
          "Are diverse seeds diverse?")  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    root = tmp_path_factory.mktemp("terminal")
    make_run(root)
    return in_folder(root)


def in_folder(root: Path) -> StudyConfig:
    config = StudyConfig(name="synthetic", seeds="0:12")
    config.shards.root, config.runs.root = str(root / "shards"), str(root / "runs")
    return config


def said(config: StudyConfig, terminal: bool, width: int = 100) -> str:
    out = io.StringIO()
    tell(config, Console(file=out, force_terminal=terminal, color_system="standard" if terminal else None, width=width))
    return out.getvalue()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_terminal_gets_every_headline_number_in_a_row_of_its_own(config: StudyConfig) -> None:
    coloured = said(config, terminal=True)
    lines = plain(coloured).splitlines()
    numbers = headlines(collect(config))
    assert [number.title for number in numbers] == list(TITLES)
    for number in numbers:
        (row,) = [line for line in lines if number.title in line]
        assert number.value in row
    assert "\x1b[" in coloured
    assert lines[-1] == f"report: {config.run_dir / 'report.html'}"


def test_colours_have_marks_beside_them(config: StudyConfig) -> None:
    lines = plain(said(config, terminal=True)).splitlines()
    marks = {number.title: {"good": "✓", "expected": "✓", "unclear": "?", "bad": "!"}.get(number.tone) for number in
             headlines(collect(config))}  # fmt: skip
    assert marks["Is there a seed effect?"] == "✓"
    for title, mark in marks.items():
        (row,) = [line for line in lines if title in line]
        assert row.split()[0] == (mark or title.split()[0])


def test_a_narrow_terminal_loses_nothing(config: StudyConfig) -> None:
    text = plain(said(config, terminal=True, width=60))
    assert all(number.value in text for number in headlines(collect(config)))


def test_a_pipe_gets_plain_lines_and_the_page_last(config: StudyConfig) -> None:
    text = said(config, terminal=False)
    assert "\x1b" not in text
    lines = text.splitlines()
    assert [line.split(": ")[0] for line in lines[:-1]] == list(TITLES)
    assert lines[-1] == f"report: {config.run_dir / 'report.html'}"
    assert any(line.startswith("Which seed made it?: 99.97\u202f%") for line in lines)


def test_seeds_that_were_chosen_are_listed(config: StudyConfig, tmp_path: Path) -> None:
    book = json.loads((config.run_dir / "seedbook.json").read_text())
    lines = plain(said(config, terminal=True)).splitlines()
    assert f"golden seeds: {', '.join(map(str, book['golden']))}" in lines
    assert f"inferior seeds: {', '.join(map(str, book['inferior']))}" in lines
    make_run(tmp_path, range(15))
    path = tmp_path / "runs/synthetic/seedbook.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"golden": list(range(12)), "inferior": []}))
    lines = plain(said(in_folder(tmp_path), terminal=True)).splitlines()
    assert "golden seeds: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more" in lines
    assert "inferior seeds: none beyond doubt" in lines


def test_an_unfinished_study_says_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "runs/synthetic").mkdir(parents=True)
    config = in_folder(tmp_path)
    assert said(config, terminal=False).count(": –") == len(TITLES)
    told = json.loads(as_json(config))
    assert told["report"] is None
    assert told["golden"] is None
    assert told["summary"] == {}


def test_a_program_gets_one_object_with_all_that_the_files_say(config: StudyConfig) -> None:
    told = json.loads(as_json(config))
    book = json.loads((config.run_dir / "seedbook.json").read_text())
    assert told["summary"] == json.loads((config.run_dir / "summary.json").read_text())
    assert {kind: told[kind] for kind in ("golden", "inferior", "diverse")} == {
        kind: book[kind] for kind in ("golden", "inferior", "diverse")
    }
    assert (told["name"], told["run"], told["shards"]) == ("synthetic", str(config.run_dir), str(config.shard_dir))
    assert told["seedbook"] == str(config.run_dir / "seedbook.json")


@pytest.fixture
def loud_study(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that print themselves and through a program they start, in place of the real ones."""
    import subprocess

    def step(config: StudyConfig) -> None:
        print("a step's own words", flush=True)
        subprocess.run(["/bin/echo", "words of its child"], check=True)

    study = types.ModuleType("seedml.study")
    study.STEPS = {"study": step, "generate": step, "plan": step, "verify": step}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seedml.study", study)


@pytest.mark.usefixtures("loud_study")
def test_with_json_nothing_else_is_on_stdout(config: StudyConfig, capfd: pytest.CaptureFixture[str]) -> None:
    roots = ["name=synthetic", f"runs.root={config.runs.root}", f"shards.root={config.shards.root}"]
    for words in (
        ["study", "smoke", "--json", "name=synthetic", *roots],
        ["generate", "smoke", "name=synthetic", *roots, "--json"],
    ):
        assert main(words) == 0
        out, err = capfd.readouterr()
        assert json.loads(out)["summary"]["seeds"] == 12
        assert out.count("\n") == 1
        assert "a step's own words" in err
        assert "words of its child" in err
    main(["study", "smoke", *roots])
    assert "words of its child" in capfd.readouterr().out, "stdout is itself again"


@pytest.mark.usefixtures("loud_study")
@pytest.mark.parametrize("words", [["verify", "smoke"], ["plan", "smoke"], ["study", "smoke", "dry_run=true"]])
def test_json_is_refused_where_it_says_nothing(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--json"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "--json says nothing to" in err
    assert len(err.splitlines()) == 1
