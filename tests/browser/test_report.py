"""Track Delivery: search, filters, columns, details, exports, and what is told when none of it fits."""

import csv
import json
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.site import Site

ROWS = "table.rows tbody tr"


def cells(page: Page, name: str) -> list[str]:
    """The text of a column."""
    return page.locator(f"{ROWS} td.c-{name}").all_inner_texts()


def search(page: Page, text: str) -> None:
    page.get_by_role("searchbox").fill(text)
    page.get_by_role("button", name="Run Report").click()


def test_the_one_box_finds_what_an_address_sent_and_got(visit: Visit, shown: Site) -> None:
    page = visit("/").page
    search(page, "alice@example.com")
    expect(page.locator(".understood")).to_contain_text("alice@example.com")
    found = list(zip(cells(page, "sender"), cells(page, "recipient"), strict=True))
    assert all("alice@example.com" in " ".join(pair) for pair in found)
    assert len(found) == len(shown.rows("address=alice@example.com"))
    assert len(found) > 3


def test_the_one_box_takes_a_domain_and_a_message_id(visit: Visit) -> None:
    page = visit("/").page
    search(page, "strict.example")
    assert cells(page, "recipient") == ["legal@strict.example"]
    search(page, "Message-ID: <demo-10@example.com>")
    assert cells(page, "recipient") == ["collector@full.example"]


def test_a_chip_filters_and_gives_back(visit: Visit) -> None:
    page = visit("/?q=alice@example.com").page
    before = len(cells(page, "status"))
    chip = page.locator(".chip.error")
    number = int(chip.locator(".number").inner_text())
    chip.click()
    assert len(cells(page, "status")) == number > 0
    assert {text.strip().lower() for text in cells(page, "status")} == {"error"}
    expect(chip).to_have_attribute("aria-current", "true")
    others = page.locator(".chip.delivered .number")
    assert int(others.inner_text()) > 0  # what it would show, and not what is shown now
    chip.click()
    assert len(cells(page, "status")) == before


def test_the_columns_are_chosen_on_the_page(visit: Visit) -> None:
    page = visit("/?q=collector@full.example").page
    page.locator("summary").click()
    page.get_by_label("Subject", exact=True).check()
    page.get_by_label("Reason", exact=True).uncheck()
    page.get_by_role("button", name="Run Report").click()
    heads = page.locator("table.rows thead th").all_inner_texts()
    assert heads == ["Time", "Status", "From", "To", "Subject", "Details"]
    assert cells(page, "subject") == ["Holiday pictures, into a full mailbox"]
    assert "q=collector%40full.example" in page.url  # a search can be kept as a bookmark


def test_details_show_every_recipient_and_their_evidence(visit: Visit) -> None:
    page = visit("/?q=buyer@gone.example").page
    page.get_by_role("link", name="View details").click()
    people = page.locator("article.recipient h3").all_inner_texts()
    assert any("buyer@gone.example" in person for person in people)
    assert any("partner@example.net" in person for person in people)
    expect(page.locator("dl.envelope").first).to_contain_text("TLSv1.3")
    failed = page.locator("article.recipient.error")
    expect(failed).to_contain_text("There is no mailbox with this name at that domain.")
    failed.get_by_role("link", name="event").click()
    evidence = page.locator(".timeline li:target")
    expect(evidence).to_contain_text("buyer@gone.example")
    expect(evidence).to_contain_text("550 5.1.1")


def test_a_mail_leads_to_the_notice_about_it_and_back(visit: Visit) -> None:
    page = visit("/?q=legal@strict.example").page
    page.get_by_role("link", name="View details").click()
    first = page.url.partition("#")[0]
    notice = page.locator("section", has=page.locator("#links")).get_by_role("link").first
    notice.click()
    expect(page.locator("dl.envelope").first).to_contain_text("null sender")
    page.locator("section", has=page.locator("#links")).get_by_role("link").first.click()
    assert page.url.partition("#")[0] == first


def test_exports_hold_the_rows_of_the_search(visit: Visit, shown: Site, tmp_path: Path) -> None:
    page = visit("/?q=alice@example.com").page
    expected = {row["id"] for row in shown.rows("address=alice@example.com")}
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    download.value.save_as(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        assert {row["id"] for row in csv.DictReader(file)} == expected
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    download.value.save_as(tmp_path / "rows.ndjson")
    lines = (tmp_path / "rows.ndjson").read_text().splitlines()
    *rows, end = map(json.loads, lines)
    assert {row["id"] for row in rows} == expected
    assert end == {"end": True}


def test_the_pages_of_a_report_follow_each_other(visit: Visit, shown: Site) -> None:
    page = visit("/?q=alice@example.com&limit=3").page
    seen = page.locator(f"{ROWS} td.actions a").count()
    while (older := page.get_by_role("link", name="Older rows")).count():
        older.click()
        seen += page.locator(f"{ROWS} td.actions a").count()
    assert seen == len(shown.rows("address=alice@example.com"))


def test_nothing_found_is_said(visit: Visit) -> None:
    page = visit("/?q=nobody.at.all@example.com").page
    expect(page.get_by_role("heading", name="Nothing found")).to_be_visible()
    assert page.locator("table.rows").count() == 0


def test_bad_input_is_told_beside_the_form_that_keeps_it(visit: Visit) -> None:
    tab = visit("/")
    page = tab.page
    page.locator("summary").click()
    page.get_by_label("Not older than").fill("yesterdayish")
    page.get_by_role("button", name="Run Report").click()
    expect(page.get_by_role("alert")).to_contain_text("yesterdayish")
    expect(page.get_by_role("alert")).to_be_in_viewport()
    expect(page.get_by_label("Not older than")).to_have_value("yesterdayish")
    assert all("400" in words for words in tab.complaints)  # Chromium tells of the status
    tab.complaints.clear()
