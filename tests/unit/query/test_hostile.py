"""Mail that means harm, in every form that anything of it is shown in: no form obeys it.

A terminal acts on no control or bidi character, a spreadsheet on no formula, JSON stays whole, a
page gets no element. What a log of ours says holds no word of it.
"""

import csv
import io
import json
import re

import pytest

from journal.events import Event, Kind, Source
from journal.records import Status
from tests.unit.query.conftest import NOON_US, Run, Shelf, row
from tests.unit.query.test_page import Browser, Elements

VALUES = (
    b"<script>alert(1)</script>@example.com",
    b'"><img src=x onerror=alert(1)>@example.com',
    b"' onmouseover='alert(1)@example.com",
    b"</td></tr></table><h1>@example.com",
    b"{{ 7 * 7 }}{% include 'frame.html' %}@example.com",
    b"\x1b]0;pwned\x07\x1b[2J\x1b[31mred@example.com",
    b"\x9b31mC1@example.com",
    "\u202egnp.exe@example.com".encode(),
    "\u2066isolate\u2069@example.com".encode(),
    "line\u2028separator@example.com".encode(),
    b"a\r\nSet-Cookie: x=1@example.com",
    b"nul\x00byte@example.com",
    b"\xff\xfe\x80@example.com",
    b'=HYPERLINK("http://x.example")@example.com',
    b"+1-1@example.com",
    b"@SUM(A1)@example.com",
    b"\t=1+1@example.com",
    b"javascript:alert(1)@example.com",
    b"x, status=sent (250 ok)@example.com",
    b"%(n)s %s {0} %n@example.com",
    b"a" * 5000 + b"@example.com",
)
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def harm(shelf: Shelf) -> Shelf:
    """A message for every value, which stands in every field."""
    for number, value in enumerate(VALUES):
        at_us = NOON_US + number * 1000
        shelf.put(
            row(
                value, final_recipient=value, folder=value, reply=value, relay=value,
                enhanced_status=value, status=Status.FILTERED, reason="junk",
            ),
            at_us=at_us, sender=value, subject=value, message_id=value, helo=value, login=value,
            client_name=value, client_ip=value, host=value, tls=value, queue_ids=(value,),
            events=(Event(at_us, Kind.PICKUP, Source.LOG, 1, value, (b"1", value, value)),),
        )  # fmt: skip
    shelf.close()
    return shelf


@pytest.mark.parametrize(
    "verb",
    [
        ("report", "--limit", "all"),
        ("report", "--limit", "all", "--format", "csv"),
        ("report", "--limit", "all", "--format", "json"),
        ("stats", "--by", "domain"),
        ("summary", "--by", "sender"),
        ("summary", "--by", "login", "--format", "json"),
        ("never", "--sender", "nobody@example.com", "--since", "2026-11-01"),
    ],
)
def test_no_verb_lets_a_control_character_out(harm: Shelf, run: Run, verb: tuple[str, ...]) -> None:
    ran = run(*verb)
    assert ran.code in (0, 1), ran.err
    assert not CONTROL.search(ran.out)
    assert not CONTROL.search(ran.err)


def test_every_row_is_shown_to_programs_as_it_is(harm: Shelf, run: Run) -> None:
    found = [
        json.loads(line)
        for line in run("report", "--limit", "all", "--format", "json").out.splitlines()
    ]
    assert [each["subject"] for each in reversed(found)] == [
        value.decode("utf-8", "backslashreplace") for value in VALUES
    ]


def test_no_cell_is_a_formula(harm: Shelf, run: Run) -> None:
    text = run("report", "--limit", "all", "--format", "csv").out
    cells = [cell for line in csv.reader(io.StringIO(text)) for cell in line]
    assert not [cell for cell in cells if cell.lstrip(" ").startswith(("=", "+", "-", "@"))]


def test_one_message_is_harmless_too(harm: Shelf, run: Run) -> None:
    ids = [json.loads(line)["id"] for line in run("report", "--format", "json").out.splitlines()]
    for id in ids[::5]:
        for form in ("text", "json"):
            shown = run("show", id, "--format", form)
            assert shown.code == 0
            assert not CONTROL.search(shown.out + shown.err)


def test_no_page_and_no_answer_has_more_elements_than_ours(
    harm: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    browser = Browser(harm)
    since = "since=2026-11-01&limit=500"
    rows = browser.get(f"/?{since}").text
    plain = len(Elements(rows).names)
    paths = [f"/?{since}", f"/?{since}&print=1", f"/summary?{since.partition('&')[0]}&by=sender"]
    paths += re.findall(r'href="(/message/[^"#]+)', rows)[::4]
    for path in paths:
        text = browser.get(path, accept="text/html").text
        elements = Elements(text)
        assert elements.names.count("script") <= 1
        assert not {"img", "iframe", "object", "base", "meta/"} & set(elements.names)
        assert elements.names.count("h1") == 1
        assert elements.acting == []
        assert not CONTROL.search(text), path
    assert plain > len(VALUES)
    for form in ("json", "ndjson", "csv"):
        text = browser.get(f"/v1/messages?{since}&format={form}").text
        assert not CONTROL.search(text.replace("\r\n", "\n"))
    assert "alert" not in caplog.text


def test_what_is_asked_is_harmless_when_it_comes_back(harm: Shelf) -> None:
    browser = Browser(harm)
    for value in VALUES:
        quoted = "".join(f"%{byte:02x}" for byte in value[:300])
        for path in (
            f"/?q={quoted}",
            f"/?since={quoted}",
            f"/trace?address={quoted}",
            f"/{quoted}",
        ):
            answer = browser.get(path, accept="text/html")
            elements = Elements(answer.text)
            assert answer.status_code < 500 or path.startswith("/trace"), path  # nobody traces here
            assert elements.acting == []
            assert "img" not in elements.names
            assert not CONTROL.search(answer.text)
            assert not CONTROL.search("".join(answer.headers.values()))
