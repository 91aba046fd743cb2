"""query.httpd.page: what a browser is shown, with mail that means harm in the journal."""

import asyncio
import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from journal.records import Status
from posttrail.config import Config, Journal, Query
from query.httpd import app, page, page_words
from query.httpd.caller import Caller, How, Role
from query.httpd.facts import Facts
from query.httpd.main import make
from query.scope import Scope
from tests.unit.query.conftest import NOON_US, Shelf, row

OPERATOR = Caller(name="root", role=Role.OPERATOR, how=How.PEER, scope=Scope.all())
SINCE = "2026-11-01"


class Everybody:
    """Takes the place of the identification, which has tests of its own."""

    def __init__(self, who: Caller) -> None:
        self.who = who

    def identify(self, _facts: Facts) -> Caller:
        return self.who


class Browser:
    """Asks one application of one journal."""

    def __init__(self, shelf: Shelf, who: Caller = OPERATOR) -> None:
        shelf.close()
        state = shelf.directory.parent / "query" / "state.sqlite"
        settings = Config(journal=Journal(directory=shelf.directory), query=Query(state=state))
        self._service = make(settings)
        self._service.identity = Everybody(who)  # type: ignore[assignment]

    def get(self, path: str, **headers: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app.make(self._service))
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                return await client.get(path, headers=headers)

        try:
            return asyncio.run(ask())
        finally:
            self._service.keeper.close()


class Elements(HTMLParser):
    """The names of all elements, and those attributes that act."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.acting: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.acting += [each for each in attrs if each[0].startswith("on") or each[0] == "style"]


def test_a_report_shows_its_rows_and_counts(shelf: Shelf) -> None:
    shelf.put(
        row(
            b"alice@example.com",
            status=Status.ERROR,
            reason="bounced",
            enhanced_status=b"5.1.1",
            reply_code=550,
            reply=b"550 5.1.1 no",
        )
    )
    shelf.put(row(b"bob@example.com"))
    shown = Browser(shelf).get(f"/?q=alice@example.com&since={SINCE}")
    assert shown.status_code == 200
    assert "alice@example.com" in shown.text
    assert "bob@example.com" not in shown.text
    assert "returned to the sender" in shown.text
    assert "There is no mailbox with this name at that domain." in shown.text


def test_every_row_leads_to_its_message(shelf: Shelf) -> None:
    shelf.put(row(b"alice@example.com"), row(b"bob@example.com"))
    browser = Browser(shelf)
    links = re.findall(r'href="(/message/[^"#]+)', browser.get(f"/?since={SINCE}").text)
    assert len(links) == 2
    shown = browser.get(links[0])
    assert shown.status_code == 200
    assert "alice@example.com" in shown.text
    assert "bob@example.com" in shown.text


def test_what_is_absent_is_not_found(shelf: Shelf) -> None:
    shown = Browser(shelf).get("/message/0000000000000", accept="text/html")
    assert shown.status_code == 404


def test_what_means_nothing_is_told_beside_the_form(shelf: Shelf) -> None:
    shown = Browser(shelf).get("/?since=bogus")
    assert shown.status_code == 400
    assert "bogus" in shown.text
    assert "<form" in shown.text


def test_the_columns_that_were_chosen_are_shown(shelf: Shelf) -> None:
    shelf.put(row(b"alice@example.com"))
    browser = Browser(shelf)
    for name, words in page_words.COLUMNS.items():
        shown = browser.get(f"/?since={SINCE}&columns=time&columns={name}")
        assert f'data-name="{words}"' in shown.text


def test_a_printed_report_has_all_rows_and_says_what_it_is(shelf: Shelf) -> None:
    for number in range(60):
        shelf.put(row(b"r%d@example.com" % number), at_us=NOON_US + number)
    shown = Browser(shelf).get(f"/?since={SINCE}&print=1&tz=Europe/Berlin").text
    assert all(f"r{number}@example.com" in shown for number in range(60))
    assert "Europe/Berlin" in shown
    assert "all mail of this server" in shown
    assert f"since <bdi>{SINCE}" in shown


def test_mail_that_was_not_found_is_answered_with_what_is_known(shelf: Shelf) -> None:
    shelf.put(row(b"bob@example.com"), sender=b"other@example.net")
    shown = Browser(shelf).get(f"/?sender=alice@example.net&since={SINCE}").text
    assert "It was not seen." in shown  # nobody was recording
    assert "From this domain" in shown
    assert "other@example.net" in shown
    assert "No mail answers this search." in Browser(shelf).get("/?text=nothing").text


def test_the_sent_summary_counts_what_was_sent(shelf: Shelf) -> None:
    shelf.put(row(b"bob@example.org"), login=b"alice@example.com", sender=b"alice@example.com")
    browser = Browser(shelf)
    shown = browser.get(f"/summary?by=login&since={SINCE}")
    assert shown.status_code == 200
    assert "alice@example.com" in shown.text
    assert "Nothing was sent" in browser.get("/summary?until=2020-01-01&since=2019-01-01").text
    assert browser.get("/summary?since=bogus").status_code == 400


HOSTILE = b"<script>alert(1)</script>\"' onload=x \x1b[2J \xe2\x80\xae =1+1 \xff"


def test_text_from_mail_makes_no_element_and_no_control_character(shelf: Shelf) -> None:
    shelf.put(
        row(HOSTILE, reply=HOSTILE, folder=HOSTILE, relay=HOSTILE, reason="junk", status=Status.FILTERED),
        sender=HOSTILE, subject=HOSTILE, message_id=HOSTILE, helo=HOSTILE, login=HOSTILE,
        client_name=HOSTILE, host=HOSTILE, tls=HOSTILE, queue_ids=(HOSTILE,),
    )  # fmt: skip
    browser = Browser(shelf)
    columns = "&".join(f"columns={name}" for name in page_words.COLUMNS)
    plain = f"/?since={SINCE}&{columns}"
    paths = [
        plain,
        f"{plain}&print=1",
        f"/summary?since={SINCE}&by=sender",
        "/?q=%3Cscript%3E%1b",
        "/?since=%3Cb%3E%e2%80%ae",
    ]
    link = re.search(r'href="(/message/[^"#]+)', browser.get(plain).text)
    assert link
    for path in (*paths, link[1]):
        text = browser.get(path).text
        elements = Elements(text)
        assert elements.names.count("script") == 1, path  # our own
        assert elements.acting == []
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), path


def test_every_answer_forbids_what_a_page_does_not_need(shelf: Shelf) -> None:
    policy = Browser(shelf).get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", ["posttrail.css", "posttrail.js", "icon.svg"])
def test_the_page_has_its_files(shelf: Shelf, name: str) -> None:
    browser = Browser(shelf)
    first = browser.get(f"/static/{name}")
    assert first.status_code == 200
    again = browser.get(f"/static/{name}", **{"if-none-match": first.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("name", ["..%2fpage.py", "%2e%2e", "nothing.css", "posttrail.css%00"])
def test_no_other_file_is_served(shelf: Shelf, name: str) -> None:
    assert Browser(shelf).get(f"/static/{name}").status_code == 404


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, relative luminance of sRGB colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_every_text_colour_can_be_read_on_every_ground(scheme: int) -> None:
    style = (Path(page.__file__).parent / "static" / "posttrail.css").read_text()
    palettes = [
        dict(re.findall(r"--(\w+): (#\w{6})", body))
        for body in re.findall(r":root \{([^}]*)\}", style)
    ]
    colours = palettes[0] | palettes[scheme]
    for ground in ("paper", "shade"):
        for name in ("ink", "faint", "link", *Status.__members__):
            tone = colours[name.lower()]
            assert contrast(tone, colours[ground]) >= 4.5, (name, ground)
    assert contrast(colours["line"], colours["paper"]) >= 3


def test_the_box_is_read_in_another_way_where_the_likeliest_finds_nothing(shelf: Shelf) -> None:
    shelf.put(row(b"alice@example.com"), message_id=b"m1@example.com")
    shown = Browser(shelf).get(f"/?since={SINCE}&q=%3Cm1@example.com%3E").text
    assert "alice@example.com" in shown
    assert "message_id" in shown
