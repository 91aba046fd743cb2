"""Pictures of every page in every look: ``python -m tests.browser.screenshots [FOLDER]``.

Those named ``docs-`` are the ones of docs/pictures. A private Postfix runs all mails of the demonstration first, which needs root. Exit codes: 0 made;
69 no Chromium. What it prints are the paths of the pictures.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser

from posttrail.demo.stage import folder
from posttrail.errors import EX_UNAVAILABLE
from tests.browser.chromium import LOOKS, PROGRAM, chromium, tab
from tests.browser.pages import PAGES, show
from tests.browser.site import Site, site
from tests.settled import settled_stage

FOLDER: Final = Path("build/screenshots")
MORE_LOOKS: Final[Mapping[str, Mapping[str, Any]]] = {
    "no-script": {"java_script_enabled": False},
    "german": {"locale": "de-DE"},
}
DOCS: Final[Mapping[str, Mapping[str, Any]]] = {
    "report-alice": {"viewport": {"width": 1200, "height": 780}},
    "message-error": {"viewport": {"width": 1000, "height": 960}},
}


def main(target: Path) -> int:
    """All of it."""
    if PROGRAM is None:
        print("no chromium here: apt-get install chromium", file=sys.stderr)
        return EX_UNAVAILABLE
    target.mkdir(parents=True, exist_ok=True)
    with (
        folder(None, keep=False) as directory,
        settled_stage(directory) as stage,
        site(stage, directory) as shown,
        chromium() as browser,
    ):
        for path in take(shown, browser, target):
            print(path)
    return 0


def take(shown: Site, browser: Browser, target: Path) -> Iterator[Path]:
    """A picture of each page in each look."""
    for look, options in {**LOOKS, **MORE_LOOKS}.items():
        opened = tab(browser, shown.operator, **options)
        for name in PAGES:
            show(opened.page, name, shown, scripts=options.get("java_script_enabled", True))
            path = target / f"{name}-{look}.png"
            opened.page.screenshot(path=path, full_page=True)
            yield path
        opened.close()
    for name, options in DOCS.items():
        opened = tab(browser, shown.operator, **options)
        show(opened.page, name, shown)
        path = target / f"docs-{name}.png"
        opened.page.screenshot(path=path)
        yield path
        opened.close()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
