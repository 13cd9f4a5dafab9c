"""``seedml compare``: what it writes, tells and refuses."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from planted_runs import plant_run, spread_offsets
from small_book import raw_book, raw_card
from synthetic_run import NASTY, make_run, prompts
from wandb_offline import OfflineRun, offline_runs

from seedml.__main__ import main
from seedml.compare.pairs import Gain
from seedml.compare.runs import read_studied
from seedml.compare.step import Comparison, compare_studies
from seedml.compare.wording import gain_sentence
from seedml.compare.workspace import build_report, build_workspace
from seedml.config import StudyConfig
from seedml.files import atomic_write_json
from seedml.per_seed.intervals import Interval
from seedml.seedbook import SeedBook, Transfer, sealed

OFFSETS = spread_offsets(12)
SKY = {seed: 0.02 * seed for seed in OFFSETS}
SECRET = "local-0123456789abcdef0123456789abcdef01234567"
FEW = ("statistics.permutations=50", "statistics.blocks=6")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("studies")
    plant_run(root, "a", OFFSETS, SKY, prompts=15)
    plant_run(root, "b", OFFSETS, SKY, draw=1, shift=0.3, prompts=15, settings={"sampler": {"guidance_scale": 3.0},
              "model": {"variant": SECRET}})  # fmt: skip
    plant_run(root, "c", spread_offsets(12, 5), SKY, draw=2, prompts=15, noise="f",
              settings={"sampler": {"guidance_scale": 7.5}})  # fmt: skip
    return root


@pytest.fixture(scope="module")
def compared(root: Path) -> Path:
    """``a``, ``b`` and ``c`` beside each other, tracked offline with a secret in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_API_KEY", SECRET)
        runs = root / "runs"
        assert main(["compare", *(str(runs / name) for name in "abc"), "name=all", "tracking.mode=offline", *FEW]) == 0
    return runs / "all"


@pytest.fixture(scope="module")
def figures(compared: Path) -> dict[str, Any]:
    return json.loads((compared / "compare.json").read_text())


def test_every_pair_and_every_order_is_in_the_figures(figures: dict[str, Any]) -> None:
    assert figures["studies"] == ["a", "b", "c"]
    assert figures["differing"] == {
        "sampler.guidance_scale": [1.0, 3.0, 7.5], "model.variant": [None, "(secret)", None],
    }  # fmt: skip
    assert [(one["first"], one["second"]) for one in figures["fid_orders"]] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [(pair["first"], pair["second"]) for pair in figures["pairs"]] == [("a", "b"), ("a", "c")]
    assert [pair["same_noise"] for pair in figures["pairs"]] == [True, False]
    for pair in figures["pairs"]:
        assert pair["fid"]["spearman"].keys() == {"value", "low", "high", "n"}
        assert pair["fid"]["chance"] == 0
        assert all({"value", "of", "chance", "p"} <= one.keys() for one in pair["overlap"].values())
        assert pair["gain"]["first_choice_in_second"].keys() >= {"value", "low", "high", "n", "chance"}


def test_tables_have_a_row_a_seed_and_a_row_an_attribute(compared: Path) -> None:
    seeds = pd.read_parquet(compared / "compare_seeds.parquet")
    assert list(seeds["seed"]) == list(range(12))
    assert seeds["b: fid"].tolist() == pytest.approx([OFFSETS[seed] ** 2 for seed in range(12)])
    attributes = pd.read_parquet(compared / "compare_attributes.parquet")
    assert sorted(zip(attributes["second"], attributes["attribute"], strict=True)) == [
        ("b", "border"), ("b", "sky"), ("c", "border"), ("c", "sky"),
    ]  # fmt: skip


class Page(HTMLParser):
    """Whether tags are balanced, and every element with its attributes."""

    VOID = ("meta", "link", "img", "input", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(html: str) -> Page:
    """A page that is whole, leads nowhere and loads nothing."""
    page = Page(html)
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"] for tag, attributes in page.elements if tag == "a"}
    assert {target.removeprefix("#") for target in targets} <= set(ids)
    assert not re.search(r"url\(|@import|https?://", html)
    return page


def test_the_page_is_whole_and_loads_nothing(compared: Path, figures: dict[str, Any]) -> None:
    html = (compared / "compare.html").read_text()
    page = checked(html)
    assert sum(attributes.get("id", "").startswith("seed-") for tag, attributes in page.elements if tag == "tr") == 12
    first = figures["pairs"][0]["fid"]["spearman"]["value"]
    assert f"{first:.2f}" in html
    assert "The same seed is another noise" in html


def test_w_and_b_gets_what_is_on_disk(compared: Path, figures: dict[str, Any]) -> None:
    (run,) = offline_runs(compared)
    assert (run.group, run.job_type, run.exit_code) == ("all", "compare", 0)
    assert run.config["differing"]["sampler.guidance_scale"] == ["1.0", "3.0", "7.5"]
    for pair in figures["pairs"]:
        prefix = f"{pair['first']} and {pair['second']}/"
        assert run.summary[f"{prefix}fid/spearman/value"] == pair["fid"]["spearman"]["value"]
        gain = pair["gain"]["first_choice_in_second"]
        assert run.summary[f"{prefix}gain/first_choice_in_second/low"] == gain["low"]
        assert run.summary[f"{prefix}same_noise"] == pair["same_noise"]
    assert {"compare/studies", "compare/seeds", "compare/attributes"} <= logged(run)
    assert {artifact.type for artifact in run.artifacts} >= {"comparison", "report"}


def logged(run: OfflineRun) -> set[str]:
    return {key.partition(".")[0] for row in run.history for key in row}  # a table is several keys


def test_no_secret_is_in_anything_that_is_written(compared: Path) -> None:
    for path in compared.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


def test_the_same_comparison_is_made_anew_and_another_one_is_not_overwritten(
    compared: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    before = (compared / "compare.html").read_bytes()
    runs = root / "runs"
    again = ["compare", *(str(runs / name) for name in "abc"), "name=all", "tracking.mode=disabled", *FEW]
    assert main(again) == 0
    assert (compared / "compare.html").read_bytes() == before
    assert main(["compare", str(runs / "b"), str(runs / "a"), "name=all"]) == 2
    assert "holds a comparison of other studies" in capsys.readouterr().err
    assert main(["compare", str(runs / "b"), str(runs / "a"), "name=c"]) == 2
    assert "is there and holds no comparison" in capsys.readouterr().err
    assert (compared / "compare.html").read_bytes() == before


def test_what_each_study_says_of_the_others_seeds_is_in_the_figures(figures: dict[str, Any], root: Path) -> None:
    told, names = figures["transfer"], figures["studies"]
    assert {study: sorted(others) for study, others in told.items()} == {
        study: sorted(set(names) - {study}) for study in names
    }  # fmt: skip
    for pair in figures["pairs"]:
        one, two = pair["first"], pair["second"]
        for chooser, judge, name in ((one, two, "first_choice_in_second"), (two, one, "second_choice_in_first")):
            entry = told[chooser][judge]
            assert entry["order"] == pair["fid"]["spearman"]
            assert entry["same_noise"] == pair["same_noise"]
            assert {key: entry["gain"][key] for key in entry["gain"]} == {
                key: pair["gain"][name][key] for key in ("value", "low", "high", "n")
            }  # fmt: skip
            assert entry["chance"]["value"] == pair["gain"][name]["chance"]["value"]
            assert entry["attributes"]["sky"] == pair["attributes"]["sky"]["order"]["spearman"]
            assert Transfer.read(entry, judge).as_json() == entry
    order = next(one for one in figures["fid_orders"] if (one["first"], one["second"]) == ("b", "c"))
    assert told["b"]["c"]["order"] == told["c"]["b"]["order"] == order["spearman"]
    assert "gain" not in told["b"]["c"]
    assert figures["made_with"]["b"]["guidance_scale"] == 3.0


@pytest.fixture
def booked(root: Path, tmp_path: Path) -> Path:
    """``a`` and ``b`` with whole seed books."""
    for name, steps in (("a", 4), ("b", 9)):
        folder = tmp_path / "runs" / name
        shutil.copytree(root / "runs" / name, folder)
        cards = [raw_card(0, seed=seed, steps=steps, noise_sha256=f"{seed:064x}") for seed in OFFSETS]
        raw = raw_book(name=name, cards=sorted(cards, key=lambda card: card["seed"]), golden=[0, 1], inferior=[2])
        atomic_write_json(folder / "seedbook.json", sealed(raw))
    return tmp_path / "runs"


def test_books_are_added_to_where_that_is_asked_for_and_nowhere_else(booked: Path) -> None:
    words = ["compare", str(booked / "a"), str(booked / "b"), "name=c", "tracking.mode=disabled", *FEW]
    before = {path: path.read_bytes() for path in booked.rglob("*") if path.is_file()}
    assert main(words) == 0
    assert {path: path.read_bytes() for path in before} == before
    assert main([*words, "books=true"]) == 0
    changed = {path.relative_to(booked).as_posix() for path in before if path.read_bytes() != before[path]}
    assert changed == {"a/seedbook.json", "b/seedbook.json"}
    figures = json.loads((booked / "c" / "compare.json").read_text())
    for name, other, steps in (("a", "b", 9), ("b", "a", 4)):
        book = SeedBook.load(booked / name)
        assert {study: transfer.as_json() for study, transfer in book.transfer.items()} == figures["transfer"][name]
        assert book.transfer[other].made_with["steps"] == steps
        assert replace(book, transfer={}) == SeedBook.read(json.loads(before[booked / name / "seedbook.json"]))
    after = {path: path.read_bytes() for path in before}
    assert main([*words, "books=true"]) == 0
    assert {path: path.read_bytes() for path in before} == after


def test_a_study_without_a_whole_book_is_refused_before_anything_is_written(
    booked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (booked / "b" / "seedbook.json").unlink()
    words = [str(booked / "a"), str(booked / "b"), "name=c", "books=true"]
    assert main(["compare", *words]) == 2
    assert "there is no seed book" in capsys.readouterr().err
    assert not (booked / "c").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{runs}/a", "{runs}/b", "books=yes"], "books has no legal value; given: 'yes'"),
        ([], "compare needs two studies or more"),
        (["{runs}/a"], "compare needs two studies or more"),
        (["{runs}/a", "{runs}/../runs/a"], "a study is given twice"),
        (["{runs}/a", "{runs}/nothing"], "holds no finished study: seeds.parquet is missing"),
        (["{runs}/a", "{runs}/b", "sampler.steps=3"], "unknown key of compare; given: 'sampler.steps'"),
        (["{runs}/a", "{runs}/b", "statistics.confidence=2"], "statistics.confidence has no legal value"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    words: list[str], said: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *(word.format(runs=root / "runs") for word in words)]) == 2
    line = capsys.readouterr().err.strip()
    assert said in line
    assert "\n" not in line


def test_names_tell_studies_of_one_name_apart(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "runs" / "a", tmp_path / "elsewhere" / "a")
    studies = read_studied([root / "runs" / "a", tmp_path / "elsewhere" / "a"])
    assert [study.name for study in studies] == ["runs/a", "elsewhere/a"]


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies with pictures and a prompt that tries to be a script."""
    root = tmp_path_factory.mktemp("pictured")
    for name in ("one", "two"):
        folder = make_run(root, tuple(range(8)), name)
        said = {"name": name, "shards": {"root": "shards"}, "model": {"name": "<i>m</i>" if name == "two" else "m"}}
        (folder / "config.yaml").write_text(yaml.safe_dump(said))
        rows = [{"prompt_id": number, "text": text, "split": split} for number, text, split in prompts()]
        content = {"settings": {}, "model": {"latent_shape": [4, 16, 16]}, "splits": rows}
        (root / "shards" / name / "dataset.json").write_text(json.dumps(content))
    return root


def test_the_same_cells_stand_side_by_side(pictured: Path) -> None:
    words = [str(pictured / "runs" / name) for name in ("one", "two")]
    assert main(["compare", *words, "tracking.mode=disabled", *FEW]) == 0
    html = (pictured / "runs" / "compare-one-two" / "compare.html").read_text()
    page = checked(html)
    assert NASTY not in html
    assert "<i>m</i>" not in html
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(pictures) >= 6 * 2 * 2
    alternatives = [attributes["alt"] for attributes in pictures]
    assert sum(text.startswith("Seed 0 in one: ") for text in alternatives) == sum(
        text.startswith("Seed 0 in two: ") for text in alternatives
    )


def comparison(root: Path) -> Comparison:
    config = StudyConfig(name="all")
    config.statistics.permutations, config.statistics.blocks = 50, 6
    return compare_studies(config, read_studied([root / "runs" / name for name in "abc"]))


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)] + [str(key) for key in value]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_report_and_workspace_are_valid_and_say_what_the_files_say(root: Path, figures: dict[str, Any]) -> None:
    """Built offline by W&B's own library, which checks them; read back from what it would send."""
    found = comparison(root)
    report = json.loads(build_report(found, "", "seedml", "all")._to_model().spec.model_dump_json(by_alias=True))
    said = strings(report)
    markdown = "\n".join(said)
    for pair in figures["pairs"]:
        assert f"{pair['fid']['spearman']['value']:.2f}" in markdown
        assert f"{pair['first']} and {pair['second']}" in said
    assert "sampler.guidance_scale" in markdown
    for table in ("compare/studies", "compare/seeds", "compare/attributes", "compare/same_cells"):
        assert table in said
    workspace = build_workspace(found, "", "seedml")._to_model().model_dump(by_alias=True, mode="json")
    assert "golden_gain_held_out.value" in "\n".join(strings(workspace))
    assert {"a", "b", "c"} <= set(strings(workspace))


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_the_report_is_saved_online_alone(mode: str, root: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("saved without an account")

    monkeypatch.setattr("seedml.compare.workspace.save", fail)
    words = [str(root / "runs" / name) for name in "ab"]
    assert main(["compare", *words, f"runs.root={tmp_path}", f"tracking.mode={mode}", *FEW]) == 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [(RuntimeError("no\nkey"), "the report was not saved (RuntimeError: no key)"), (None, "W&B: https://here")],
)
def test_a_server_s_fault_is_one_line(
    fault: Exception | None, said: str, root: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Saved:
        url = "https://here"

        def save(self) -> Saved:
            if fault is not None:
                raise fault
            return self

    from seedml.compare import workspace

    def make(*_: object) -> Saved:
        return Saved()

    monkeypatch.setattr(workspace, "build_report", make)
    monkeypatch.setattr(workspace, "build_workspace", make)
    workspace.save(None, "", "seedml", "all")  # type: ignore[arg-type]
    assert said in capsys.readouterr().err


def test_a_server_that_never_answers_is_not_waited_for(monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    import threading

    from seedml.compare import workspace

    class Silent:
        def save(self) -> None:
            threading.Event().wait(5)

    monkeypatch.setattr(workspace, "SAVE_SECONDS", 0.05)
    monkeypatch.setattr(workspace, "build_report", lambda *_: Silent())
    monkeypatch.setattr(workspace, "build_workspace", lambda *_: Silent())
    workspace.save(None, "", "seedml", "all")  # type: ignore[arg-type]
    assert "was not saved within" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [(3, 2, 4, "They carry over."), (1, 0.5, 1.5, "no more than chance"), (-3, -4, -2, "They are worse there.")],
)
def test_a_gain_has_to_beat_other_prompts_and_other_seeds(value: float, low: float, high: float, verdict: str) -> None:
    import numpy as np

    own = Interval(*(np.asarray(bound, float) for bound in (value, low, high)))
    chance = Interval(*(np.asarray(bound, float) for bound in (0, -2, 2)))
    assert verdict in gain_sentence("a", "b", Gain((1, 2), True, own, None, chance, 8))
