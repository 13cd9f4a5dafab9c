"""The page as text: escaping, self-containment, determinism, and what it says when a step has not run."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic_run import NASTY, make_run, settings

from seedml.config import StudyConfig
from seedml.errors import UserError
from seedml.report import write_report
from seedml.report.inputs import read_run
from seedml.report.page import render
from seedml.tracking import NullTracker

SEEDS = tuple(range(12))
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Elements with their attributes and text, and whether tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def render_run(root: Path, name: str = "synthetic") -> str:
    return render(read_run(root / "runs" / name, root / "shards" / name, name, settings(name, root)))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    make_run(folder, SEEDS)
    return folder


@pytest.fixture(scope="module")
def html(root: Path) -> str:
    return render_run(root)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_tags_are_balanced_and_ids_are_unique(page: Page) -> None:
    assert page.unbalanced == []
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_inner_link_has_its_target(page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    targets = [attributes["href"] for attributes in page.all("a")]
    assert len(targets) > 3 * len(SEEDS)
    assert {target.removeprefix("#") for target in targets} <= ids
    assert all(target.startswith("#") for target in targets)


def test_user_text_is_escaped_everywhere(html: str, page: Page) -> None:
    assert NASTY not in html
    assert len(page.all("script")) == 1
    assert page.all("b") == []  # settings name the prompt file <b>prompts</b>.txt
    assert "<b>prompts</b>.txt" in page.text
    assert NASTY in page.text
    assert any(NASTY in attributes["alt"] for attributes in page.all("img"))


def test_nothing_is_loaded_from_elsewhere(html: str, page: Page) -> None:
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "data", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
    assert not re.search(r"url\(|@import|https?://", html)


def test_every_picture_has_text_and_its_true_size(page: Page) -> None:
    images = page.all("img")
    assert len(images) > 6 * len(SEEDS)
    assert all(attributes["alt"].startswith("Seed ") for attributes in images)
    assert {(attributes["width"], attributes["height"]) for attributes in images} == {("128", "128")}


def test_the_failed_cell_is_a_named_gap(tmp_path: Path) -> None:
    make_run(tmp_path, SEEDS[:6], nasty=False)  # seed 5 has a failed cell in the training prompts
    import pandas as pd

    images = tmp_path / "runs" / "synthetic" / "images.parquet"
    table = pd.read_parquet(images)
    table["split"] = table["split"].where(table["prompt_id"] != 1, "test")  # now it is among the first held-out ones
    table.to_parquet(images)
    page = Page(render_run(tmp_path))
    gaps = [attributes["aria-label"] for attributes in page.all("span") if attributes.get("class") == "gap"]
    assert gaps
    assert set(gaps) == {"Seed 5: no picture of “a blue ball on grass” (failed or not made)"}


def test_the_table_has_every_seed_with_its_numbers(root: Path, html: str) -> None:
    import pandas as pd

    table = pd.read_parquet(root / "runs" / "synthetic" / "seeds.parquet").set_index("seed")
    body = html.split('id="seed-table"')[1].split("</table>")[0]
    rows = re.findall(r'<tr data-seed="(\d+)" data-verdict="(\w+)">(.*?)</tr>', body, re.S)
    assert sorted(int(seed) for seed, _, _ in rows) == list(SEEDS)
    for seed, _, cells in rows:
        keys = re.findall(r'data-key="([^"]*)"', cells)
        assert int(keys[0]) == int(seed)
        assert int(keys[2]) == table.loc[int(seed), "fid_rank"]
        assert float(keys[3]) == table.loc[int(seed), "fid"]
        assert int(keys[4]) == table.loc[int(seed), "n"]
        assert float(keys[6]) == table.loc[int(seed), "grayscale_share"]
        assert float(keys[-1]) == table.loc[int(seed), "location_y_mean"]


def test_verdicts_are_the_seed_books(root: Path, html: str) -> None:
    import json

    book = json.loads((root / "runs" / "synthetic" / "seedbook.json").read_text())
    shown = dict(re.findall(r'<tr data-seed="(\d+)" data-verdict="(\w+)">', html))
    assert {int(seed): verdict for seed, verdict in shown.items()} == {
        card["seed"]: card["verdict"] for card in book["cards"]
    }


def test_headline_numbers_are_the_summarys(page: Page) -> None:
    for words in ("99.97 %", "99.80 to 100.00 %", "8.1 %", "p = 0.005", "0.83", "0.70 to 0.91", "20.0",
                  "none of 200 shuffles"):  # fmt: skip
        assert words in page.text


def test_the_same_inputs_give_the_same_bytes(root: Path, html: str) -> None:
    assert render_run(root) == html


def test_size_stays_below_ten_megabytes(html: str) -> None:
    assert len(html.encode()) < 10e6


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("seeds.parquet", "Per-seed statistics are not there yet."),
        ("summary.json", "Not there yet: the step “summarize” writes it."),
        ("seedbook.json", "Golden seeds are not chosen yet."),
        ("classifier/metrics.json", "The seed classifier is not trained yet."),
        ("images.parquet", "No pictures were found in the shards."),
    ],
)
def test_a_missing_file_gives_a_note(root: Path, tmp_path: Path, gone: str, words: str) -> None:
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    (tmp_path / "runs" / "synthetic" / gone).unlink()
    page = Page(render_run(tmp_path))
    assert words in page.text
    assert page.unbalanced == []


def test_an_empty_run_gives_a_page_of_notes(tmp_path: Path) -> None:
    (tmp_path / "runs" / "synthetic").mkdir(parents=True)
    page = Page(render_run(tmp_path))
    assert page.all("img") == []
    for step in ("summarize", "classify", "select"):
        assert f"seedml {step} …" in page.text


def test_seeds_without_golden_ones_say_so(root: Path, tmp_path: Path) -> None:
    import json

    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "runs" / "synthetic" / "seedbook.json"
    book = json.loads(path.read_text()) | {"golden": [], "inferior": [], "diverse": []}
    for card in book["cards"]:
        card["verdict"] = "inconclusive"
    path.write_text(json.dumps(book))
    text = Page(render_run(tmp_path)).text
    assert "Selection called no seed golden" in text
    assert "Seeds with the lowest FID" in text  # the ranking's ends are compared instead


class Told(NullTracker):
    """Remembers the files it is told of."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[tuple[Path, str]] = []

    def file(self, path: Path | str, kind: str) -> None:
        self.files.append((Path(path), kind))


def test_write_report_writes_the_page_of_a_study_and_tells_of_a_new_one(root: Path) -> None:
    config = StudyConfig(name="synthetic", seeds="0:12")
    config.shards.root, config.runs.root = str(root / "shards"), str(root / "runs")
    told = Told()
    path = write_report(config, told)
    assert path == root / "runs" / "synthetic" / "report.html"
    assert b"</html>" in path.read_bytes()
    assert told.files == [(path, "report")]
    written = path.stat().st_mtime_ns
    write_report(config, told)
    assert (path.stat().st_mtime_ns, len(told.files)) == (written, 1)
    path.write_text("torn")
    write_report(config, told)
    assert b"</html>" in path.read_bytes()
    assert len(told.files) == 2


def test_secrets_of_the_environment_are_struck_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "s3cr3t-value-of-mine")
    config = StudyConfig(name="synthetic", seeds="0:12")
    config.shards.root, config.runs.root = str(root / "shards"), str(root / "runs")
    config.model.path = "/models/s3cr3t-value-of-mine/sd"
    config.tracking.entity = "an-account"
    html = write_report(config, NullTracker()).read_text()
    assert "s3cr3t-value-of-mine" not in html
    assert "an-account" not in html


def test_an_unreadable_file_is_a_users_error(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    (tmp_path / "runs" / "synthetic" / "seedbook.json").write_text("{")
    with pytest.raises(UserError, match=r"seedbook\.json"):
        render_run(tmp_path)


def test_a_torn_shard_is_a_users_error(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    shard = tmp_path / "shards" / "synthetic" / "test-000000.tar"
    shard.write_bytes(shard.read_bytes()[: 10 * 512])  # between two headers: tarfile alone reads it without a word
    with pytest.raises(UserError, match=r"test-000000\.tar"):
        render_run(tmp_path)
