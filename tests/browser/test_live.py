"""What is new is told and moves nothing; the page of a mail tells when it settles."""

from playwright.sync_api import Page, expect

from posttrail.demo import mails
from posttrail.demo.mails import Fate, Mail
from tests.browser.chromium import Tab
from tests.browser.conftest import Visit
from tests.browser.pages import fetched
from tests.browser.site import Site

DOWN = "ops@down.example"
"""Its server does not answer, so that a mail to it waits."""


def listening(tab: Tab, path: str) -> Page:
    """The page, once its stream of news is open."""
    with tab.page.expect_response(lambda answer: "/v1/events" in answer.url) as stream:
        tab.page.goto(path)
    assert stream.value.status == 200
    fetched(tab.page)
    return tab.page


def send(site: Site, number: int, sender: str, recipient: str, *, subject: str) -> None:
    fate = Fate(recipient, recipient, "", "")
    mail = Mail(subject=subject, sender=sender, way="inside", fates=(fate,))
    mails.send(site.stage.lab, mail, number)


def places(page: Page) -> list[dict[str, float]]:
    """Where each row is, with the id of its mail."""
    found: list[dict[str, float]] = page.locator("table.rows tbody tr").evaluate_all(
        "rows => rows.map(row => [row.querySelector('a').pathname, row.getBoundingClientRect().toJSON()])"
    )
    return found


def test_a_new_mail_is_told_and_moves_no_row(visit: Visit, shown: Site) -> None:
    page = listening(visit("about:blank"), "/?q=carol@example.com")
    before = places(page)
    assert len(before) > 3
    news = page.get_by_role("status")
    expect(news).to_be_empty()
    send(shown, 71, "bob@example.com", "carol@example.com", subject="Fresh off the press")
    expect(news).to_have_text("1 new, show")
    assert places(page) == before
    news.get_by_role("link").click()
    expect(page.locator("table.rows tbody tr")).to_have_count(len(before) + 1)
    expect(page.get_by_role("status")).to_be_empty()


def test_what_is_not_of_the_search_is_no_news(visit: Visit, shown: Site) -> None:
    page = listening(visit("about:blank"), "/?q=bob@example.com&status=delivered")
    send(shown, 72, "alice@example.com", "carol@example.com", subject="Not for bob")
    send(shown, 73, "alice@example.com", "bob@example.com", subject="For bob")
    expect(page.get_by_role("status")).to_have_text("1 new, show")


def test_the_page_of_a_mail_tells_of_its_next_try(visit: Visit, shown: Site) -> None:
    [row] = shown.rows(f"recipient={DOWN}")
    assert row["status"] == "deferred"
    page = listening(visit("about:blank"), f"/message/{row['id']}")
    news = page.get_by_role("status")
    expect(news).to_contain_text("not settled yet")
    shown.stage.lab.flush(shown.stage.lab.deferred(DOWN) or "")
    expect(news).to_have_text("There is news of this mail, show")
    news.get_by_role("link").click()
    expect(page.locator("article.recipient dl")).to_contain_text(f"Tries{row['attempts'] + 1}")
    expect(page.get_by_role("status")).to_contain_text("not settled yet")
