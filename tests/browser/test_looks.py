"""Every page in every look: axe-core finds nothing, nothing overlaps, no window scrolls sideways.

In light and on a phone also right to left, and whether the document is sound: ids, labels, tags.
"""

from pathlib import Path
from typing import Final

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page

from tests.browser.chromium import LOOKS, tab
from tests.browser.conftest import Visit
from tests.browser.pages import OF_EACH_KIND, PAGES, show
from tests.browser.site import Site
from tests.browser.tags import unbalanced

HERE: Final = Path(__file__).parent
LAYOUT: Final = (HERE / "layout.js").read_text()
VALIDITY: Final = (HERE / "validity.js").read_text()
RIGHT_TO_LEFT: Final = "() => { document.documentElement.dir = 'rtl' }"
AXE: Final = Axe()
COLOURS: Final[dict[str, object]] = {
    "runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
    "resultTypes": ["violations"],
}
"""What another scheme can change: the document and its boxes are those of light and phone."""


def violations(page: Page, options: dict[str, object] | None = None) -> list[str]:
    """What axe-core 4 finds wrong, each with where."""
    found = AXE.run(page, options=options or {"resultTypes": ["violations"]}).response["violations"]
    return [f"{each['id']}: {[node['target'] for node in each['nodes']]}" for each in found]


def complaints_of(tab_complaints: list[str]) -> list[str]:
    """Without the status 400 that a page of bad input has for good."""
    return [words for words in tab_complaints if "status of 400" not in words]


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_and_nothing_overlaps(look: str, shown: Site, browser: Browser) -> None:
    opened = tab(browser, shown.operator, **LOOKS[look])
    whole = look in ("light", "phone")
    options = None if whole else COLOURS
    wrong = {}
    for name in PAGES if look in ("light", "dark", "phone") else OF_EACH_KIND:
        text = show(opened.page, name, shown).text()
        found = violations(opened.page, options) + opened.page.evaluate(LAYOUT)
        if whole:
            found += opened.page.evaluate(VALIDITY) + unbalanced(text)
            opened.page.evaluate(RIGHT_TO_LEFT)
            found += [f"right to left: {each}" for each in opened.page.evaluate(LAYOUT)]
        wrong[name] = found
    opened.close()
    assert {name: found for name, found in wrong.items() if found} == {}
    assert complaints_of(opened.complaints) == []


@pytest.mark.parametrize("look", ["light", "phone"])
def test_with_all_filters_open_it_is_the_same(look: str, visit: Visit) -> None:
    page = visit("/?q=alice@example.com", **LOOKS[look]).page
    page.locator("summary").click()
    assert violations(page) + page.evaluate(LAYOUT) == []


def test_right_to_left_is_a_mirror(visit: Visit) -> None:
    page = visit("/?q=alice@example.com").page
    page.evaluate(RIGHT_TO_LEFT)
    brand, scope = page.locator(".brand").bounding_box(), page.locator(".scope").bounding_box()
    assert brand is not None
    assert scope is not None
    assert brand["x"] > scope["x"] + scope["width"]


def test_dark_is_dark(visit: Visit) -> None:
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = visit("/", color_scheme="light").page.evaluate(ground)
    dark = visit("/", color_scheme="dark").page.evaluate(ground)
    assert sum(map(int, light[4:-1].split(","))) > 3 * 240
    assert sum(map(int, dark[4:-1].split(","))) < 3 * 40


def test_forced_colours_keep_the_borders_of_what_can_be_chosen(visit: Visit) -> None:
    page = visit("/", **LOOKS["forced"]).page
    styles = page.locator(".chip").evaluate_all(
        "chips => chips.map(chip => getComputedStyle(chip).borderTopStyle)"
    )
    assert set(styles) == {"solid"}
    assert len(styles) == 6


def test_who_wants_no_motion_gets_none(visit: Visit) -> None:
    moving = """() => [...document.querySelectorAll("*")]
        .filter(each => parseFloat(getComputedStyle(each).transitionDuration) > 0
                     || getComputedStyle(each).animationName !== "none").length"""
    assert visit("/", reduced_motion="reduce").page.evaluate(moving) == 0


CONTRAST: Final = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const luminance = (colour) => {
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (each) => {
    const colour = getComputedStyle(each).backgroundColor;
    return colour !== "rgba(0, 0, 0, 0)" ? colour : each.parentElement ? ground(each.parentElement) : "white";
  };
  return [...document.querySelectorAll(".badge, .badge .icon, .chip, .chip .icon")].map((each) => {
    const style = getComputedStyle(each);
    const tone = each.localName === "svg" ? style.fill : style.color;
    const [low, high] = [luminance(tone), luminance(ground(each))].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_badges_as_drawn_have_their_contrast(scheme: str, visit: Visit) -> None:
    ratios = visit("/", color_scheme=scheme).page.evaluate(CONTRAST)
    assert len(ratios) > 24
    assert min(ratios) >= 4.5  # WCAG 2.2 1.4.3; a shape would do with 3, 1.4.11
