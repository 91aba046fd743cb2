"""The page without a mouse, and without scripts."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit

FOCUSED = """() => {
  const each = document.activeElement, style = getComputedStyle(each);
  const box = each.getBoundingClientRect();
  return {
    name: each.getAttribute("name") || each.textContent.trim().replace(/\\s+/g, " "),
    tag: each.localName,
    outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    seen: box.width > 0 && box.right > 0 && box.left < innerWidth && box.bottom > 0 && box.top < innerHeight,
  };
}"""


def tab_through(page: Page, most: int) -> list[dict[str, object]]:
    """What gets the focus, Tab by Tab, until it leaves the page."""
    stops: list[dict[str, object]] = []
    for _ in range(most):
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUSED)
        if stop["tag"] == "body":
            break
        stops.append(stop)
    return stops


def test_tab_goes_through_all_in_the_order_of_reading(visit: Visit) -> None:
    page = visit("/?q=buyer@gone.example").page
    stops = tab_through(page, 60)
    names = [str(stop["name"]) for stop in stops]
    order = ["Skip to the content", "posttrail", "Track Delivery", "q", "Run Report"]
    order += ["View details", "Print all rows", "CSV", "English"]
    places = [names.index(name) for name in order]
    assert places == sorted(places)
    assert places[0] == 0
    assert all(stop["outline"] for stop in stops), stops
    assert all(stop["seen"] for stop in stops), stops


def test_the_skip_link_leads_past_the_head(visit: Visit) -> None:
    page = visit("/").page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED)["name"] == "q"


def test_search_filter_and_details_by_keys_alone(visit: Visit) -> None:
    page = visit("/").page
    page.get_by_role("searchbox").focus()
    page.keyboard.type("alice@example.com")
    page.keyboard.press("Enter")
    expect(page.locator(".understood")).to_contain_text("alice@example.com")
    page.locator(".chip.error").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".chip.error")).to_have_attribute("aria-current", "true")
    page.get_by_role("link", name="View details").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Recipients")).to_be_visible()


def test_filters_open_by_keys(visit: Visit) -> None:
    page = visit("/").page
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED)["name"] == "since"


def test_without_scripts_all_but_news_works(visit: Visit) -> None:
    page = visit("/", java_script_enabled=False).page
    page.get_by_role("searchbox").fill("alice@example.com")
    page.get_by_role("button", name="Run Report").click()
    page.locator(".chip.error").click()
    expect(page.locator(".chip.error")).to_have_attribute("aria-current", "true")
    page.locator("summary").click()
    page.get_by_label("Subject", exact=True).check()
    page.get_by_role("button", name="Run Report").click()
    expect(page.locator("td.c-subject")).to_contain_text("Offer, to one who is there")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename.endswith(".csv")
    page.get_by_role("link", name="View details").click()
    expect(page.locator(".timeline li").first).to_be_visible()
    page.go_back()
    page.get_by_role("link", name="Print all rows").click()
    expect(page.get_by_role("heading", name="Delivery report")).to_be_visible()


def test_without_scripts_no_button_does_nothing(visit: Visit) -> None:
    page = visit("/?q=buyer@gone.example", java_script_enabled=False).page
    page.get_by_role("link", name="View details").click()
    assert page.get_by_role("button", name="Print").count() == 0
