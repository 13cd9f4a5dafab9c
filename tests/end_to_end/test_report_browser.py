"""The page in a real Chromium: it works, asks nobody for anything, and serves keyboard, phone and paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from page_visit import CHROMIUM, Visit, chromium
from synthetic_run import make_run, settings

from seedml.report.inputs import read_run
from seedml.report.page import render

pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")

SEEDS = (*range(11), 2**62 + 1, 2**62 + 2)  # the last two are one number to a JavaScript that counts in doubles


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("browser")
    run_dir = make_run(root, SEEDS)
    table = pd.read_parquet(run_dir / "seeds.parquet")
    table.loc[table["seed"] == 2, ["sky_mean", "sky_low", "sky_high"]] = float("nan")
    table.to_parquet(run_dir / "seeds.parquet")
    path = run_dir / "report.html"
    path.write_text(render(read_run(run_dir, root / "shards/synthetic", "synthetic", settings())))
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def visit(browser: Any, report: Path) -> Iterator[Visit]:
    visit = Visit(browser, report)
    yield visit
    assert visit.messages == []
    assert [url for url in visit.requests if not url.startswith("data:")] == [report.as_uri()]
    visit.page.close()


def test_the_page_loads_with_all_its_pictures(visit: Visit) -> None:
    visit.page.wait_for_function("[...document.images].every(image => image.complete)")
    sizes = visit.page.evaluate("[...document.images].map(image => [image.naturalWidth, image.naturalHeight])")
    assert len(sizes) > 6 * len(SEEDS)
    assert {tuple(size) for size in sizes} == {(128, 128)}


def test_prompts_with_markup_stay_text(visit: Visit) -> None:
    assert visit.page.evaluate("window.hacked") is None
    assert visit.page.get_by_text("<script>window.hacked = true</script>").first.is_visible()


def test_the_policy_forbids_requests_and_foreign_scripts(browser: Any, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    assert page.evaluate("fetch('data:text/plain,x').then(() => 'sent', () => 'refused')") == "refused"
    page.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'window.hacked = true';
        document.body.append(script);
    }""")
    assert page.evaluate("window.hacked") is None
    page.close()


def test_every_heading_sorts_every_row_both_ways(visit: Visit) -> None:
    titles = [text.strip() for text in visit.page.locator("#seed-table thead th").all_inner_texts()]
    assert len(titles) > 10
    for number, title in enumerate(titles):
        button = visit.page.locator("#seed-table thead button").nth(number)
        for _ in range(2):
            button.click()
            order = visit.page.locator("#seed-table thead th").nth(number).get_attribute("aria-sort")
            _, keys = visit.column(title)
            known = [key for key in keys if key]
            assert len(keys) == len(SEEDS)
            assert keys[len(known) :] == [""] * (len(keys) - len(known)), "what is absent is last in both directions"
            if title == "Verdict":
                expected = sorted(known, reverse=order == "descending")
            else:
                expected = sorted(known, key=lambda key: (int(key) if key.isdigit() else float(key)),
                                  reverse=order == "descending")  # fmt: skip
            assert known == expected, (title, order)
            assert sorted(visit.seeds()) == sorted(SEEDS), "no row is lost or doubled"
        assert visit.page.locator('#seed-table th[aria-sort]:not([aria-sort="none"])').count() == 1


def test_sorting_moves_whole_rows(visit: Visit) -> None:
    before = dict(
        visit.page.eval_on_selector_all("#seed-table tbody tr", "rows => rows.map(r => [r.dataset.seed, r.innerText])")
    )
    visit.heading("Sky").click()
    after = dict(
        visit.page.eval_on_selector_all("#seed-table tbody tr", "rows => rows.map(r => [r.dataset.seed, r.innerText])")
    )
    assert before == after


def test_the_keyboard_sorts(visit: Visit) -> None:
    visit.heading("Seed").focus()
    visit.page.keyboard.press("Enter")
    assert visit.seeds() == sorted(SEEDS)
    visit.page.keyboard.press("Space")
    assert visit.seeds() == sorted(SEEDS, reverse=True)
    assert visit.page.locator("#table-status").inner_text().endswith("sorted by Seed, descending")


def test_the_filter_shows_only_the_verdict(visit: Visit, report: Path) -> None:
    import json

    book = json.loads((report.parent / "seedbook.json").read_text())
    for verdict in ("golden", "inferior", "inconclusive"):
        visit.page.select_option("#filter-verdict", verdict)
        expected = {card["seed"] for card in book["cards"] if card["verdict"] == verdict}
        assert set(visit.seeds()) == expected
        assert visit.page.locator("#table-status").inner_text() == f"{len(expected)} of {len(SEEDS)} seeds"
    visit.page.select_option("#filter-verdict", "")
    visit.page.fill("#filter-seed", "1")
    assert set(visit.seeds()) == {1, 10}
    visit.page.fill("#filter-seed", "")
    assert len(visit.seeds()) == len(SEEDS)


def test_seeds_and_code_are_copied(visit: Visit, report: Path) -> None:
    import json

    golden = json.loads((report.parent / "seedbook.json").read_text())["golden"]
    visit.page.get_by_role("button", name="Copy the seeds").click()
    assert visit.page.evaluate("navigator.clipboard.readText()") == ", ".join(map(str, golden))
    visit.page.get_by_role("button", name="Copy the code").click()
    code = visit.page.evaluate("navigator.clipboard.readText()")
    compile(code, "snippet", "exec")
    assert f"for seed in {golden!r}:" in code
    visit.page.select_option("#filter-verdict", "inferior")
    visit.page.get_by_role("button", name="Copy the listed seeds").click()
    assert visit.page.evaluate("navigator.clipboard.readText()") == ", ".join(map(str, visit.seeds()))


def test_a_seed_of_the_table_leads_to_its_pictures(visit: Visit) -> None:
    visit.page.locator('#seed-table a[href="#seed-7"]').click()
    card = visit.page.locator("#seed-7")
    assert card.evaluate("card => card.matches(':target')")
    assert card.locator("img").count() == 6
    assert all(alt.startswith("Seed 7: ") for alt in card.locator("img").evaluate_all("list => list.map(i => i.alt)"))


def test_controls_have_names(visit: Visit) -> None:
    for role in ("button", "combobox", "searchbox", "link"):
        named = visit.page.get_by_role(role)
        assert named.count() > 0, role
    nameless = visit.page.evaluate("""() => {
        const controls = [...document.querySelectorAll('button, a, select, input')].filter((c) => !c.closest('svg'));
        const name = (c) => c.textContent + (c.labels || []).length + (c.getAttribute('aria-label') || '');
        return controls.filter((c) => ['', '0'].includes(name(c).trim())).length;
    }""")
    assert nameless == 0


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (400, "dark"), (1280, "dark")])
def test_the_page_fits_its_window(browser: Any, report: Path, width: int, scheme: str) -> None:
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(20, 23, 26)") == (scheme == "dark")
    page.close()


def test_it_prints_without_controls_and_unfolded(visit: Visit) -> None:
    visit.page.emulate_media(media="print")
    assert not visit.page.locator(".controls").is_visible()
    assert not visit.page.locator("nav").is_visible()
    assert visit.page.pdf()[:5] == b"%PDF-"
    folded = visit.page.locator("details")
    assert folded.count() >= 3
    assert all(folded.evaluate_all("parts => parts.map(part => part.open)"))
    assert not visit.page.locator("#pick").is_visible()


def test_without_javascript_all_is_there_but_the_controls(browser: Any, report: Path, tmp_path: Path) -> None:
    with_script = report.read_text()
    bare = tmp_path / "bare.html"
    bare.write_text(with_script[: with_script.rindex("<script>")])
    page = browser.new_page()
    page.goto(bare.as_uri())
    assert page.locator("#seed-table tbody tr").count() == len(SEEDS)
    assert not page.locator(".controls").is_visible()
    page.close()
