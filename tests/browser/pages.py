"""Every page in each of its states, by name: where it is."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from playwright.sync_api import Page, Response

from tests.browser.site import Site

EVERY_COLUMN: Final = (
    "time,status,sender,recipient,reason,subject,reply,direction,folder,relay,attempts,done_at,"
    "delay_s,size_bytes,spam_score,login,client_ip,client_name,helo,tls,enhanced_status,queue_ids,"
    "message_id,host"
)
PAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "report": "/",
        "report-alice": "/?q=alice@example.com",
        "report-filtered": "/?status=error&q=alice@example.com",
        "report-columns": f"/?columns={EVERY_COLUMN}&limit=6",
        "report-nothing": "/?q=nobody.at.all@example.com",
        "report-bad-input": "/?since=yesterdayish",
        "report-older": "/?limit=5",
        "trace": "/trace",
        "trace-alias": "/trace?address=team@example.com",
        "trace-unknown": "/trace?address=nobody.here@example.com",
        "trace-outside": "/trace?address=buyer@gone.example",
        "summary": "/summary",
        "summary-sender": "/summary?by=sender",
        "summary-bad-input": "/summary?since=yesterdayish",
        "print": "/?print=1&q=alice@example.com",
        "message-delivered": "?sender=partner@example.net&recipient=team@example.com",
        "message-error": "?recipient=buyer@gone.example",
        "message-deferred": "?recipient=collector@full.example",
        "message-rejected": "?recipient=nobody.here@example.com",
        "message-filtered": "?recipient=anyone@void.example",
        "message-held": "?recipient=review@example.com",
    }
)
"""Paths; one that begins with ``?`` is the search for a mail, whose page is meant."""

OF_EACH_KIND: Final = ("report-filtered", "report-bad-input", "trace-alias", "message-error")


def show(page: Page, name: str, site: Site, *, scripts: bool = True) -> Response:
    """Goes to a page, and waits for what it fetches by itself."""
    answer = page.goto(where(name, site))
    assert answer is not None
    if scripts:
        fetched(page)
    return answer


def fetched(page: Page) -> None:
    """Returns once the page has what its script fetches."""
    page.wait_for_selector("[data-part]", state="detached")


def where(name: str, site: Site) -> str:
    """The path of a page; the mail of a search is looked up."""
    path = PAGES[name]
    if not path.startswith("?"):
        return path
    return f"/message/{site.rows(path[1:])[0]['id']}"
