"""A single-use link opens the page of one mailbox; the port that takes it believes nobody else."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.site import Site
from tests.browser.test_looks import LAYOUT, VALIDITY, violations

HERS = "carol@example.com"


def minted(site: Site, address: str) -> str:
    """The path of a link that the command line made."""
    url = next(word for word in site.posttrail("link", address).split() if "://" in word)
    assert url.startswith(site.public)
    return url.removeprefix(site.public)


def wrong(page: Page) -> list[str]:
    found: list[str] = violations(page) + page.evaluate(LAYOUT) + page.evaluate(VALIDITY)
    return found


def test_a_link_opens_one_mailbox_once(visit: Visit, shown: Site) -> None:
    path = minted(shown, HERS)
    page = visit(path, url=shown.public).page
    expect(page.locator("main")).to_contain_text(HERS)
    assert wrong(page) == []
    page.get_by_role("button", name="Show my mail").click()
    expect(page.get_by_role("heading", name="Track Delivery")).to_be_visible()
    expect(page.locator(".scope")).to_contain_text(HERS)
    assert "token" not in page.url
    assert path not in page.content()
    seen = page.locator("td.c-recipient").all_inner_texts()
    assert len(seen) > 3
    assert all(HERS in text for text in seen)
    assert wrong(page) == []

    again = visit(path, url=shown.public)
    expect(again.page.locator("main")).to_contain_text("This link was used or is too old.")
    assert again.page.get_by_role("button").count() == 0
    assert wrong(again.page) == []
    told_only_of(again.complaints, 404)


def test_she_sees_no_mail_of_others(visit: Visit, shown: Site) -> None:
    tab = visit(minted(shown, HERS), url=shown.public)
    page = tab.page
    page.get_by_role("button", name="Show my mail").click()
    foreign = shown.rows("recipient=legal@strict.example")[0]["id"]
    page.goto(f"/message/{foreign}")
    expect(page.get_by_role("heading")).to_have_text("Nothing here")
    assert "strict.example" not in page.content()
    assert wrong(page) == []
    told_only_of(tab.complaints, 404)
    page.goto("/?q=legal@strict.example")
    expect(page.get_by_role("heading", name="Nothing found")).to_be_visible()


def test_of_a_mail_to_many_she_sees_her_own_row(visit: Visit, shown: Site) -> None:
    page = visit(minted(shown, HERS), url=shown.public).page
    page.get_by_role("button", name="Show my mail").click()
    hers = shown.rows(f"recipient={HERS}&message_id=demo-01@example.com")[0]["id"]
    page.goto(f"/message/{hers}")
    people = page.locator("article.recipient h3").all_inner_texts()
    assert len(people) == 1
    assert HERS in people[0]
    assert "alice@" not in page.content()
    assert "bob@" not in page.content()
    assert wrong(page) == []


def test_she_signs_out(visit: Visit, shown: Site) -> None:
    tab = visit(minted(shown, HERS), url=shown.public)
    page = tab.page
    page.get_by_role("button", name="Show my mail").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("main")).to_contain_text("You are signed out.")
    page.goto("/")
    assert HERS not in page.content()
    told_only_of(tab.complaints, 401)


def test_without_a_link_the_port_shows_nothing(visit: Visit, shown: Site) -> None:
    tab = visit("/", url=shown.public)
    assert "@example.com" not in tab.page.content()
    assert wrong(tab.page) == []
    told_only_of(tab.complaints, 401)


def told_only_of(complaints: list[str], status: int) -> None:
    """Chromium tells of each status; that is all it told."""
    assert complaints
    assert all(f"status of {status}" in words for words in complaints), complaints
    complaints.clear()
