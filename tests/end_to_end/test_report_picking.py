"""Sliders, pictures beside marks and the keyboard in charts, in a real Chromium."""

from __future__ import annotations

import json
import shlex
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

SEEDS = (*range(14), 2**62 + 1, 2**62 + 2)
ROLES = ("button", "slider", "combobox", "searchbox", "checkbox", "link", "region", "image")
ABSENT = 2
"""A seed without a number for the sky."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("picking")
    run_dir = make_run(root, SEEDS)
    table = pd.read_parquet(run_dir / "seeds.parquet")
    table.loc[table["seed"] == ABSENT, ["sky_mean", "sky_low", "sky_high"]] = float("nan")
    table.to_parquet(run_dir / "seeds.parquet")
    path = run_dir / "report.html"
    path.write_text(render(read_run(run_dir, root / "shards/synthetic", "synthetic", settings())))
    return path


@pytest.fixture(scope="module")
def numbers(report: Path) -> pd.DataFrame:
    return pd.read_parquet(report.parent / "seeds.parquet").set_index("seed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile"), has_touch=True) as started:
        yield started


@pytest.fixture
def visit(browser: Any, report: Path) -> Iterator[Visit]:
    visit = Visit(browser, report)
    yield visit
    assert visit.messages == []
    assert [url for url in visit.requests if not url.startswith("data:")] == [report.as_uri()]
    visit.page.close()


def slide(visit: Visit, column: str, end: str, place: int) -> None:
    """Move one end of a slider to ``place`` of 100."""
    thumb = visit.page.locator(f'.slider[data-column="{column}"] input[aria-label$="at {end}"]')
    thumb.evaluate("(thumb, place) => { thumb.value = place; thumb.dispatchEvent(new Event('input')); }", place)
    visit.page.evaluate("new Promise(requestAnimationFrame)")


def picked(visit: Visit) -> list[int]:
    """The seeds that the page says it will copy, in order."""
    return [
        int(seed) for seed in visit.page.locator("#picked-code .picked-seeds").inner_text()[1:-1].split(", ") if seed
    ]


def rows(visit: Visit) -> list[str]:
    return [str(text) for text in visit.page.locator("#picked th a").all_inner_texts()]


@pytest.fixture
def unfolded(visit: Visit) -> Visit:
    visit.page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    return visit


def test_at_first_all_seeds_fit_and_the_best_are_shown(unfolded: Visit, numbers: pd.DataFrame) -> None:
    ranked = [int(seed) for seed in numbers.sort_values("fid").index]
    assert picked(unfolded) == ranked
    assert rows(unfolded) == [f"Seed {seed}" for seed in ranked[:12]]
    assert unfolded.page.locator("#pick-status").inner_text() == f"{len(SEEDS)} of {len(SEEDS)} seeds fit"
    unfolded.page.get_by_role("button", name="Show more seeds").click()
    assert rows(unfolded) == [f"Seed {seed}" for seed in ranked]
    assert not unfolded.page.locator("#pick-more").is_visible()


@pytest.mark.parametrize(("column", "number"), [("sky", "sky_mean"), ("border", "border_share"), ("fid", "fid")])
@pytest.mark.parametrize(("least", "most"), [(0, 50), (50, 100), (30, 70), (100, 100), (0, 0)])
def test_a_slider_keeps_the_seeds_between_its_ends(
    unfolded: Visit, numbers: pd.DataFrame, column: str, number: str, least: int, most: int
) -> None:
    slide(unfolded, column, "most", most)
    slide(unfolded, column, "least", min(least, most))
    values = numbers[number]
    low, high = values.min(), values.max()
    ends = [low + (high - low) * place / 100 for place in (least, most)]
    fitting = values[(values >= ends[0]) & (values <= ends[1])]
    if (least, most) == (100, 100):
        assert set(fitting.index) == set(values.index[values == high])
    assert set(picked(unfolded)) == {int(seed) for seed in fitting.index}
    assert unfolded.page.locator("#pick-status").inner_text() == f"{len(fitting)} of {len(SEEDS)} seeds fit"


def test_sliders_work_together_and_reset(unfolded: Visit, numbers: pd.DataFrame) -> None:
    slide(unfolded, "sky", "least", 40)
    slide(unfolded, "size", "most", 60)
    unfolded.page.select_option("#pick-verdict", "-inferior")
    book = json.loads((Path(unfolded.page.url.removeprefix("file://")).parent / "seedbook.json").read_text())
    sky, size = (numbers[name] for name in ("sky_mean", "size_mean"))
    wanted = (sky >= sky.min() + 0.4 * (sky.max() - sky.min())) & (size <= size.min() + 0.6 * (size.max() - size.min()))
    expected = {int(seed) for seed in numbers.index[wanted]} - set(book["inferior"])
    assert set(picked(unfolded)) == expected
    assert ABSENT not in expected
    pale = unfolded.page.locator("#likeness-style svg a.out").evaluate_all(
        "all => all.map(a => a.getAttribute('href'))"
    )
    assert {int(link.removeprefix("#seed-")) for link in pale} == set(SEEDS) - expected
    unfolded.page.get_by_role("button", name="Reset").click()
    unfolded.page.evaluate("new Promise(requestAnimationFrame)")
    assert len(picked(unfolded)) == len(SEEDS)
    assert unfolded.page.locator("#likeness svg a.out").count() == 0
    assert set(unfolded.page.locator(".slider output").all_inner_texts()) == {"any"}


def test_the_ends_of_a_slider_do_not_pass_each_other(visit: Visit) -> None:
    slide(visit, "sky", "most", 30)
    slide(visit, "sky", "least", 80)
    ends = visit.page.locator('.slider[data-column="sky"] input')
    assert [ends.nth(place).input_value() for place in (0, 1)] == ["30", "30"]


def test_the_keyboard_moves_a_slider_and_it_says_its_value(visit: Visit, numbers: pd.DataFrame) -> None:
    thumb = visit.page.get_by_role("slider", name="Sky, at least")
    thumb.focus()
    for _ in range(5):
        visit.page.keyboard.press("ArrowRight")
    assert thumb.input_value() == "5"
    sky = numbers["sky_mean"]
    value = sky.min() + 0.05 * (sky.max() - sky.min())
    said = str(thumb.get_attribute("aria-valuetext"))
    assert said.startswith("at least ")
    assert float(said.removeprefix("at least ")) == pytest.approx(value, abs=0.001)


def test_the_order_is_the_one_asked_for(unfolded: Visit, numbers: pd.DataFrame) -> None:
    for value, sign in (("-1 sky", -1), ("1 sky", 1)):
        unfolded.page.select_option("#pick-order", value)
        unfolded.page.evaluate("new Promise(requestAnimationFrame)")
        sky = [numbers.loc[seed, "sky_mean"] for seed in picked(unfolded)]
        assert sky[:-1] == sorted(sky[:-1], reverse=sign < 0)
        assert picked(unfolded)[-1] == ABSENT


def test_each_row_shows_its_own_seeds_pictures_of_the_same_prompts(visit: Visit) -> None:
    alts = visit.page.eval_on_selector_all(
        "#picked tr",
        """rows => rows.map(
            row => [row.querySelector('th a').innerText, [...row.querySelectorAll('img')].map(image => image.alt)])""",
    )
    assert len(alts) == 12
    for seed, own in alts:
        assert len(own) == 6
        assert all(alt.startswith(f"{seed}: ") for alt in own)
        assert [alt.partition(": ")[2] for alt in own] == [alt.partition(": ")[2] for alt in alts[0][1]]


def test_what_is_ticked_is_copied_as_list_code_and_command(unfolded: Visit) -> None:
    page = unfolded.page
    slide(unfolded, "fid", "most", 40)
    before = picked(unfolded)
    page.get_by_role("checkbox", name=f"Take seed {before[1]}", exact=True).uncheck()
    expected = [before[0], *before[2:]]
    assert page.locator("#pick-status").inner_text().endswith("seeds fit, 1 unticked")
    page.get_by_role("button", name="Copy as list").click()
    assert page.evaluate("navigator.clipboard.readText()") == ", ".join(map(str, expected))
    page.get_by_role("button", name="Copy as Python").click()
    code = page.evaluate("navigator.clipboard.readText()")
    compile(code, "picked", "exec")
    assert f"for seed in {expected!r}:" in code
    page.get_by_role("button", name="Copy as command").click()
    words = shlex.split(page.evaluate("navigator.clipboard.readText()"))
    assert words[:2] == ["seedml", "sample"]
    assert words[2].endswith("runs/synthetic")
    assert words[4] == f"seeds=[{','.join(map(str, expected))}]"


def test_with_nothing_left_nothing_can_be_copied(visit: Visit) -> None:
    slide(visit, "fid", "least", 100)
    visit.page.select_option("#pick-verdict", "golden")
    visit.page.evaluate("new Promise(requestAnimationFrame)")
    assert rows(visit) == []
    assert all(button.is_disabled() for button in visit.page.locator("[data-pick]").all())


# --- pictures beside marks ---


def marks(visit: Visit, chart: str = "#likeness-style") -> Any:
    return visit.page.locator(f"{chart} svg.chart a")


def point_at(mark: Any) -> None:
    """Scroll first, and hover when the page has said that it scrolled: scrolling hides the pictures, as it should."""
    mark.scroll_into_view_if_needed()
    mark.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    mark.hover()


def shown_seed(visit: Visit) -> int:
    return int(visit.page.locator("#peek strong").inner_text().split()[1])


def test_a_mark_under_the_pointer_shows_its_seeds_pictures(visit: Visit) -> None:
    for chart in ("#likeness-style", "#fid", "#attribute-sky"):
        mark = marks(visit, chart).nth(3)
        point_at(mark.locator(".mark, .cluster"))
        seed = int(str(mark.get_attribute("href")).removeprefix("#seed-"))
        assert shown_seed(visit) == seed
        own = visit.page.locator(f"#seed-{seed} .strip img").evaluate_all("all => all.map(i => i.src)")
        assert visit.page.locator("#peek img").evaluate_all("all => all.map(i => i.src)") == own
        assert mark.locator("title").count() == 0, "the browser's own box would lie over ours"
    visit.page.keyboard.press("Escape")
    assert not visit.page.locator("#peek").is_visible()


def test_the_pictures_go_when_the_pointer_leaves(visit: Visit) -> None:
    point_at(marks(visit).nth(0).locator(".cluster"))
    assert visit.page.locator("#peek").is_visible()
    visit.page.mouse.move(5, 5)
    visit.page.wait_for_selector("#peek", state="hidden")


def test_a_number_in_the_table_shows_its_seed(visit: Visit) -> None:
    point_at(visit.page.locator('#seed-table a[href="#seed-7"]'))
    assert shown_seed(visit) == 7


def test_the_keyboard_walks_over_a_map_and_opens_a_seed(visit: Visit) -> None:
    links = marks(visit)
    assert links.evaluate_all("all => all.filter(a => a.tabIndex === 0).length") == 1, "one stop for the tab key"
    links.nth(0).focus()
    seen = {shown_seed(visit)}
    for key in ["ArrowLeft"] * 8 + ["ArrowDown"] * 8 + ["ArrowRight"] * 8 + ["ArrowUp"] * 8:
        visit.page.keyboard.press(key)
        link = visit.page.evaluate("document.activeElement.getAttribute('href')")
        assert f"#seed-{shown_seed(visit)}" == link
        seen.add(shown_seed(visit))
    assert len(seen) > len(SEEDS) // 2
    assert links.evaluate_all("all => all.filter(a => a.tabIndex === 0).length") == 1
    name = visit.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert name.startswith(f"Seed {shown_seed(visit)}: cluster ")
    seed = shown_seed(visit)
    visit.page.keyboard.press("Enter")
    assert visit.page.locator(f"#seed-{seed}").evaluate("card => card.matches(':target')")


def test_arrow_keys_go_through_a_ranking_in_its_order(visit: Visit, numbers: pd.DataFrame) -> None:
    ranked = [int(seed) for seed in numbers.sort_values("fid").index]
    marks(visit, "#fid").nth(0).focus()
    seen = [shown_seed(visit)]
    for _ in range(len(SEEDS) - 1):
        visit.page.keyboard.press("ArrowRight")
        seen.append(shown_seed(visit))
    assert seen == ranked
    visit.page.keyboard.press("Home")
    assert shown_seed(visit) == ranked[0]


def test_a_first_tap_shows_pictures_and_a_second_follows(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 400, "height": 800})
    mark = marks(visit).nth(4)
    seed = int(str(mark.get_attribute("href")).removeprefix("#seed-"))
    mark.locator(".cluster").tap()
    assert shown_seed(visit) == seed
    assert visit.page.evaluate("location.hash") == ""
    mark.locator(".cluster").tap()
    assert visit.page.evaluate("location.hash") == f"#seed-{seed}"


def test_the_table_keeps_seeds_that_are_starred_in_a_column(visit: Visit, numbers: pd.DataFrame) -> None:
    visit.page.select_option("#filter-starred", "border")
    assert set(visit.seeds()) == {int(seed) for seed in numbers.index[numbers["border_q_value"] <= 0.05]}
    visit.page.select_option("#filter-starred", "")
    assert len(visit.seeds()) == len(SEEDS)


def test_the_section_being_read_is_marked(visit: Visit) -> None:
    for part in ("headlines", "pick", "seeds"):
        visit.page.evaluate(f"document.getElementById('{part}').scrollIntoView({{behavior: 'instant'}})")
        visit.page.wait_for_selector(f'nav a[aria-current][href="#{part}"]')
        assert visit.page.locator("nav a[aria-current]").count() == 1


def test_the_methods_can_be_copied(visit: Visit) -> None:
    visit.page.get_by_role("button", name="Copy the text").click()
    text = visit.page.evaluate("navigator.clipboard.readText()")
    assert text.startswith(f"{len(SEEDS) * 14} pictures ({len(SEEDS)} seeds × 14 prompts")
    assert "torch 2.12.1" in text


def test_every_control_has_a_name_in_the_browsers_own_accessibility_tree(unfolded: Visit) -> None:
    session = unfolded.page.context.new_cdp_session(unfolded.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    controls: dict[str, list[str]] = {}
    for node in nodes:
        role = node.get("role", {}).get("value")
        if role in ROLES and not node["ignored"]:
            controls.setdefault(role, []).append(node.get("name", {}).get("value", "").strip())
    assert {"button", "slider", "combobox", "searchbox", "checkbox", "link", "image"} <= controls.keys()
    assert len(controls["slider"]) == len(set(controls["slider"])) > 10
    for role, names in controls.items():
        assert all(names), (role, names)
