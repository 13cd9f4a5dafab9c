"""A page of ours in a real Chromium: what it said, what it asked for, and its table of seeds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
              "--disable-background-networking"]  # fmt: skip


@contextmanager
def chromium(profile: Path, **options: Any) -> Iterator[Any]:
    """A browser that may use the clipboard."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        context = started.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=_ARGUMENTS, **options
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        yield context
        context.close()


class Visit:
    """The open page, and what it said and asked for."""

    def __init__(self, browser: Any, report: Path) -> None:
        self.page = browser.new_page()
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(report.as_uri())

    def column(self, title: str) -> tuple[int, list[str]]:
        """A column's number, and the keys of its visible rows from top to bottom."""
        titles = [text.strip() for text in self.page.locator("#seed-table thead th").all_inner_texts()]
        number = titles.index(title)
        keys = self.page.eval_on_selector_all(
            "#seed-table tbody tr:not([hidden])", f"rows => rows.map(row => row.cells[{number}].dataset.key)"
        )
        return number, keys

    def seeds(self) -> list[int]:
        """Seeds of the visible rows from top to bottom."""
        return [int(key) for key in self.column("Seed")[1]]

    def heading(self, title: str) -> Any:
        return self.page.locator("#seed-table thead button", has_text=title).first
