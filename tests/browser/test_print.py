"""A report on paper: the PDF that Chromium prints holds every row and says what it is of."""

import shutil
import subprocess
from email.message import EmailMessage
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import pdf
from tests.browser.conftest import Visit
from tests.browser.site import Site
from tests.integration.parts import client
from tests.waiting import wait_until

MANY = 300
PRINT_TELLS = "window.print = () => { document.documentElement.dataset.printed = '1'; }"
PAPERS = {"A4": (595, 842), "Letter": (612, 792)}  # points: ISO 216, ANSI Y14.1

pytestmark = pytest.mark.skipif(
    shutil.which("pdftotext") is None, reason="no pdftotext: apt-get install poppler-utils"
)


def printed(page: Page, paper: str, folder: Path) -> tuple[str, str]:
    """The text of the page's PDF, and what pdfinfo(1) tells of it."""
    path = folder / f"{paper}.pdf"
    pdf(page, path, paper)
    return run("pdftotext", "-raw", str(path), "-"), run("pdfinfo", str(path))


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def together(text: str) -> str:
    """Without the spaces and ends of lines that a layout puts between letters."""
    return "".join(text.split())


@pytest.fixture(scope="session")
def many(shown: Site) -> str:
    """A search that finds 300 rows."""
    people = [f"reader{number:03}@void.example" for number in range(MANY)]
    made = EmailMessage()
    made["Subject"] = "To very many"
    made["Message-ID"] = "<many@example.com>"
    made.set_content("x\n")
    with client(shown.stage.lab) as smtp:
        for start in range(0, MANY, 100):
            smtp.sendmail("lists@example.com", people[start : start + 100], made.as_bytes())
    wait_until(lambda: len(shown.rows("sender=lists@example.com&status=filtered")) == MANY)
    return "sender=lists@example.com"


@pytest.mark.parametrize("paper", PAPERS)
def test_a_printed_report_holds_rows_filter_scope_and_zone(
    paper: str, visit: Visit, shown: Site, tmp_path: Path
) -> None:
    page = visit("/?q=alice@example.com&tz=Europe/Berlin&print=1").page
    text, told = printed(page, paper, tmp_path)
    rows = shown.rows("address=alice@example.com")
    assert len(rows) > 3
    for row in rows:
        assert row["id"] in text
        for address in (row["sender"], row["final_recipient"] or row["recipient"]):
            assert not address or address in together(text)
    assert "alice@example.com" in text
    assert "30d" in text
    assert "all mail of this server" in text
    assert "Europe/Berlin" in text
    width, height = PAPERS[paper]
    size = next(line for line in told.splitlines() if line.startswith("Page size"))
    assert abs(float(size.split()[2]) - width) < 2, size
    assert abs(float(size.split()[4]) - height) < 2, size


@pytest.mark.parametrize("paper", PAPERS)
def test_three_hundred_rows_are_all_printed(
    paper: str, many: str, visit: Visit, shown: Site, tmp_path: Path
) -> None:
    page = visit(f"/?{many}&print=1").page
    text, told = printed(page, paper, tmp_path)
    for row in shown.rows(many):
        assert row["recipient"] in together(text), row["recipient"]
    pages = int(next(line.split()[1] for line in told.splitlines() if line.startswith("Pages")))
    assert pages > 5
    assert text.count("Reason") >= pages  # its head on every sheet


def test_the_link_prints_all_rows_and_not_only_the_page(many: str, visit: Visit) -> None:
    tab = visit("about:blank")
    tab.context.add_init_script(PRINT_TELLS)
    page = tab.page
    page.goto(f"/?{many}")
    page.get_by_role("link", name="Print all rows").click()
    expect(page.get_by_role("heading", name="Delivery report")).to_be_visible()
    assert page.locator("table.rows tbody tr").count() == MANY
    expect(page.locator("html[data-printed]")).to_be_attached()


def test_a_mail_is_printed_with_all_of_its_timeline(visit: Visit, tmp_path: Path) -> None:
    page = visit("/?q=buyer@gone.example").page
    page.get_by_role("link", name="View details").click()
    events = page.locator(".timeline li").count()
    text, _ = printed(page, "A4", tmp_path)
    assert events > 5
    assert f"{events}." in text
    assert "buyer@gone.example" in text
    assert "550 5.1.1" in text
    assert "Back to the report" not in text


def test_the_button_prints(visit: Visit) -> None:
    tab = visit("about:blank")
    tab.context.add_init_script(PRINT_TELLS)
    page = tab.page
    page.goto("/?q=buyer@gone.example")
    page.get_by_role("link", name="View details").click()
    page.get_by_role("button", name="Print").click()
    expect(page.locator("html[data-printed]")).to_be_attached()
