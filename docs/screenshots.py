"""Screenshots of a run's report, for these documents: ``python docs/screenshots.py runs/quickstart/report.html``.

Writes ``report-<view>.webp`` beside this file. Needs Chromium and playwright.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from playwright.sync_api import sync_playwright


def top(page: Any) -> None:
    """The page as it opens."""


def picker(page: Any) -> None:
    """Seeds with much sky and a low FID."""
    at_section(page, "pick")
    for column, end, place in (("sky", "least", 45), ("fid", "most", 50)):
        thumb = page.locator(f'.slider[data-column="{column}"] input[aria-label$="at {end}"]')
        thumb.evaluate("(thumb, place) => { thumb.value = place; thumb.dispatchEvent(new Event('input')); }", place)
    page.wait_for_timeout(300)


def seed_map(page: Any) -> None:
    """A seed of the map by style, with its pictures beside it."""
    at_section(page, "likeness")
    page.locator("#likeness-style svg.chart a .cluster").nth(7).hover()
    page.wait_for_timeout(300)


def at_section(page: Any, name: str) -> None:
    """Scroll there; once more when what lies above it has taken its true height."""
    for _ in range(3):
        page.evaluate("name => document.getElementById(name).scrollIntoView({behavior: 'instant'})", name)
        page.wait_for_timeout(200)


class View(NamedTuple):
    """A window's width and height in px, its colour scheme, and what is done in it."""

    width: int
    height: int
    scheme: str
    act: Callable[[Any], None]


VIEWS = {
    "desktop": View(1280, 2000, "light", top),
    "phone": View(400, 1600, "dark", top),
    "picker": View(1280, 1150, "light", picker),
    "picker-phone": View(400, 1600, "light", picker),
    "map": View(1280, 760, "dark", seed_map),
}


def main(report: Path) -> None:
    """Open the page in each view and keep what the window shows."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("screenshots: no Chromium; on Debian: apt-get install chromium")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        )
        for name, view in VIEWS.items():
            page = context.new_page()
            page.set_viewport_size({"width": view.width, "height": view.height})
            page.emulate_media(color_scheme=view.scheme)
            page.goto(report.resolve().as_uri())
            view.act(page)
            image = Image.open(io.BytesIO(page.screenshot()))
            image.convert("RGB").save(Path(__file__).with_name(f"report-{name}.webp"), quality=82, method=6)
            page.close()
        context.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/screenshots.py runs/<name>/report.html")
    main(Path(sys.argv[1]))
