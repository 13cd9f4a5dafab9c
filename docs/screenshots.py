"""Screenshots of a run's report, for these documents: ``python docs/screenshots.py runs/quickstart/report.html``.

Writes ``report-desktop.webp`` and ``report-phone.webp`` beside this file. Needs Chromium and playwright.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

VIEWS = {"desktop": (1280, 2000, "light"), "phone": (400, 1600, "dark")}
"""Name -> width and height in px, colour scheme."""


def main(report: Path) -> None:
    """Open the page in each view and keep its upper part."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("screenshots: no Chromium; on Debian: apt-get install chromium")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        )
        for name, (width, height, scheme) in VIEWS.items():
            page = context.new_page()
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme=scheme)
            page.goto(report.resolve().as_uri())
            image = Image.open(io.BytesIO(page.screenshot()))
            image.convert("RGB").save(Path(__file__).with_name(f"report-{name}.webp"), quality=82, method=6)
            page.close()
        context.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/screenshots.py runs/<name>/report.html")
    main(Path(sys.argv[1]))
