"""A real browser, Debian's Chromium, without a window; its pages are watched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRAWN = (
    "document.querySelectorAll('.chart').length === "
    "document.querySelectorAll('.chart[data-drawn]').length"
)


@dataclass
class Watched:
    """A page that is open, and what it has done.

    Attributes:
        page: The page.
        errors: What its console or its scripts complained of.
        requests: Every address that it has asked for, but its own and data inside it.
        dialogs: Messages of dialogs that it has opened.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def run(self, script: str, argument: Any = None) -> Any:
        """Evaluate JavaScript in the page."""
        return self.page.evaluate(script, argument)

    @property
    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(self.run("document.documentElement.scrollWidth - window.innerWidth"))


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser."""
    with sync_playwright() as playwright:
        # As root, which containers run as, Chromium has no sandbox.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser, path: Path, width: int = 1280, dark: bool = False, touch: bool = False
) -> Iterator[Watched]:
    """Open a file in a window of this width and wait until every figure is drawn."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        has_touch=touch,
        permissions=["clipboard-read", "clipboard-write"],
    )
    watched = Watched(context.new_page())
    page, own = watched.page, path.resolve().as_uri()
    page.on("console", lambda m: m.type == "error" and watched.errors.append(m.text))
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.on("dialog", lambda d: (watched.dialogs.append(d.message), d.dismiss()))
    page.on(
        "request",
        lambda r: (
            r.url == own or r.url.startswith(("data:", "blob:")) or watched.requests.append(r.url)
        ),
    )
    page.goto(own)
    page.wait_for_function(DRAWN, timeout=60_000)
    try:
        yield watched
    finally:
        context.close()
