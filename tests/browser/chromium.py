"""Debian's Chromium, driven by playwright; a tab says what the page complained of.

Looks: the ways in which a page is looked at, by name.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

PROGRAM: Final = shutil.which("chromium")
PHONE: Final = {"width": 390, "height": 844}
DESK: Final = {"width": 1280, "height": 900}
LOOKS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "light": {"viewport": DESK, "color_scheme": "light"},
        "dark": {"viewport": DESK, "color_scheme": "dark"},
        "phone": {"viewport": PHONE, "color_scheme": "light", "has_touch": True},
        "phone-dark": {"viewport": PHONE, "color_scheme": "dark", "has_touch": True},
        "forced": {"viewport": DESK, "color_scheme": "dark", "forced_colors": "active"},
    }
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, without a window."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=PROGRAM, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True)
class Tab:
    """A page of its own context, and what it complained of: console, scripts, policy."""

    page: Page
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)

    def close(self) -> None:
        """The context and all in it."""
        self.context.close()


def tab(browser: Browser, url: str, **options: Any) -> Tab:
    """A new tab on a site, with the options of a browser context."""
    context = browser.new_context(base_url=url, **{**LOOKS["light"], "locale": "en-GB", **options})
    context.set_default_timeout(10_000)
    made = Tab(context.new_page(), context)

    def heard(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            made.complaints.append(f"{made.page.url}: {message.text}")

    made.page.on("console", heard)
    made.page.on("pageerror", lambda error: made.complaints.append(f"{made.page.url}: {error}"))
    return made


def pdf(page: Page, path: Path, paper: str) -> None:
    """The page as it is printed."""
    page.pdf(path=path, format=paper, print_background=False, prefer_css_page_size=False)
