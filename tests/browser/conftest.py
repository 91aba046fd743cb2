"""The page in real Chromium, over a journal that a real Postfix fed (``settled``).

Every test in this folder gets the marker ``integration`` and is skipped where there is no
Chromium or no root. A test that uses ``visit`` fails when a page of it complained: of scripts, of
the content security policy, of a file that is missing.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from posttrail.demo.stage import Stage
from tests.browser.chromium import PROGRAM, Tab, chromium, tab
from tests.browser.site import Site, site

HERE = Path(__file__).parent
Visit = Callable[..., Tab]
Refused = Callable[[int], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = []
    if PROGRAM is None:
        reasons.append("no Chromium: apt-get install chromium fonts-dejavu-core")
    if os.geteuid() != 0:
        reasons.append("a private Postfix needs root")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)
            for reason in reasons:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def shown(settled: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(settled, tmp_path_factory.mktemp("query")) as made:
        yield made


# Not for the session: while playwright runs, this thread has a running event loop, and no other
# test could have one of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def visit(shown: Site, browser: Browser) -> Iterator[Visit]:
    """``visit(path, look options...)``: a tab of an operator, or of nobody with ``url=``."""
    opened: list[Tab] = []

    def go(path: str, *, url: str = "", **options: object) -> Tab:
        made = tab(browser, url or shown.operator, **options)
        opened.append(made)
        made.page.goto(path)
        return made

    yield go
    for each in opened:
        each.close()
    complaints = [words for each in opened for words in each.complaints]
    assert complaints == []
