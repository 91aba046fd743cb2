"""query.rows, export and text_table: every field, and nothing a terminal or spreadsheet obeys."""

import csv
import io
import json
import re
from dataclasses import fields

import pytest

from journal.records import Message, Recipient, Status
from posttrail import text
from query import export, rows, text_table
from query.rows import Row
from tests.unit.query.conftest import NOON_US, row

DESIGN_FIELDS = [
    "id", "row", "time", "host", "queue_ids", "direction", "sender", "recipient",
    "final_recipient", "status", "reason", "folder", "reply", "reply_code", "enhanced_status",
    "relay", "attempts", "done_at", "delay_s", "size_bytes", "message_id", "subject", "client_ip",
    "client_name", "client_port", "helo", "login", "tls", "spam_score", "sources",
]  # fmt: skip

HOSTILE = [
    b"\x1b]0;title\x07",
    b"\x1b[2Jclear",
    b"\xc2\x9b2J",
    b"\x9b2J",
    "safe\u202egpj.exe".encode(),
    "\u2066\u2069\u200f\u061c".encode(),
    "line\u2028sep".encode(),
    b"a\r\nInjected: x\x00\x08",
    b"\xff\xfe\xed\xa0\x80",
]


def message(*recipients: Recipient, word: bytes | None = b"word") -> Message:
    known = word is not None
    return Message(
        b"\x50\x00abcdef", NOON_US + 250_999, b"mx.example.com", b"postfix", (b"Q1", b"Q2"), word,
        2048 if known else None, word, word, word, word, 25 if known else None, word, word, word,
        1.5 if known else None, 0b11, 0, (), recipients,
    )  # fmt: skip


def made(word: bytes | None = b"word") -> Row:
    each = row(word, final_recipient=word, folder=word, reply=word, relay=word)
    return rows.make(message(each, word=word), 1, each)


def test_a_row_has_the_contracts_fields_in_its_order() -> None:
    assert [field.name for field in fields(Row)] == DESIGN_FIELDS
    assert list(rows.document(made())) == DESIGN_FIELDS


def test_a_row_says_what_its_message_says() -> None:
    each = row(b"to@example.org", final_recipient=b"final@example.org", folder=b"Junk")
    document = rows.document(rows.make(message(row(), each), 2, each))
    assert document == {
        "id": "a0062oj3chimc",
        "row": 2,
        "time": "2026-11-23T12:00:00.250Z",
        "host": "mx.example.com",
        "queue_ids": ["Q1", "Q2"],
        "direction": "outbound",
        "sender": "word",
        "recipient": "to@example.org",
        "final_recipient": "final@example.org",
        "status": "delivered",
        "reason": "relayed",
        "folder": "Junk",
        "reply": "250 2.0.0 Ok",
        "reply_code": 250,
        "enhanced_status": "2.0.0",
        "relay": "mx.example.org[192.0.2.25]:25",
        "attempts": 1,
        "done_at": "2026-11-23T12:00:01.500Z",
        "delay_s": 1.5,
        "size_bytes": 2048,
        "message_id": "word",
        "subject": "word",
        "client_ip": "word",
        "client_name": "word",
        "client_port": 25,
        "helo": "word",
        "login": "word",
        "tls": "word",
        "spam_score": 1.5,
        "sources": ["milter", "log"],
    }


def test_unknown_is_null_and_the_null_sender_is_empty() -> None:
    unknown = rows.document(made(None))
    assert unknown["sender"] is None
    assert unknown["final_recipient"] is None
    assert rows.document(made(b""))["sender"] == ""


@pytest.mark.parametrize("score", [float("inf"), float("nan"), None])
def test_a_score_that_json_cannot_spell_is_unknown(score: float | None) -> None:
    each = row()
    found = rows.make(message(each)._replace(spam_score=score), 1, each)
    assert found.spam_score is None


@pytest.mark.parametrize("word", HOSTILE)
def test_json_is_harmless_and_lossless(word: bytes) -> None:
    out = io.StringIO()
    assert export.write_json([made(word), made()], out) == 2
    first, second = out.getvalue().splitlines()
    assert not text.HOSTILE.search(first + second)
    assert json.loads(first)["subject"] == text.json_text(word)


def test_json_keeps_to_what_the_stream_can_spell() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert export.json_line({"subject": "δ"}, out) == '{"subject":"\\u03b4"}\n'


@pytest.mark.parametrize("word", HOSTILE)
def test_csv_is_harmless(word: bytes) -> None:
    out = io.StringIO()
    assert export.write_csv([made(word)], out) == 1
    assert not text.HOSTILE.search(out.getvalue().replace("\n", ""))
    heading, cells = csv.reader(io.StringIO(out.getvalue()))
    assert heading == DESIGN_FIELDS
    assert dict(zip(heading, cells, strict=True))["subject"].lstrip("'") == text.safe(
        text.json_text(word)
    )


@pytest.mark.parametrize(
    "cell",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"],  # noqa: RUF001
)
def test_a_csv_cell_is_no_formula(cell: str) -> None:
    assert export.inert(cell).startswith("'")
    out = io.StringIO()
    export.write_csv([made(cell.encode())], out)
    assert dict(zip(*csv.reader(io.StringIO(out.getvalue())), strict=True))["sender"][0] == "'"


def test_csv_tells_the_null_sender_from_an_unknown_one() -> None:
    out = io.StringIO()
    export.write_csv([made(b""), made(None)], out)
    null, unknown = csv.DictReader(io.StringIO(out.getvalue()))
    assert (null["sender"], unknown["sender"]) == ("<>", "")
    assert null["queue_ids"] == "Q1 Q2"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("word", HOSTILE)
@pytest.mark.parametrize("out", [io.StringIO, Terminal])
def test_a_table_is_harmless(
    word: bytes, out: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    stream = out()
    assert text_table.write_rows([made(word)], stream) == 1
    assert not text.HOSTILE.search(stream.getvalue().replace("\n", ""))


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_a_face_of_its_own(status: Status) -> None:
    faces = text_table.FACES
    assert set(faces) == {each.token for each in Status}
    assert len({face.icon for face in faces.values()}) == len(faces)
    each = row(status=status)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    text_table.write_rows([rows.make(message(each), 1, each)], stream)
    stream.seek(0)
    face = faces[status.token]
    assert f"{face.icon} {face.word}" in stream.read()


def test_a_terminal_that_lacks_the_icons_gets_the_words() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert text_table.face("error", stream) == "error"


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    coloured, plain, unwanted = Terminal(), io.StringIO(), Terminal()
    text_table.write_rows([made()], coloured)
    text_table.write_rows([made()], plain)
    monkeypatch.setenv("NO_COLOR", "1")
    text_table.write_rows([made()], unwanted)
    assert "\x1b[32m" in coloured.getvalue()
    assert "\x1b[3" not in plain.getvalue() + unwanted.getvalue()


@pytest.mark.parametrize(("columns", "lines"), [("80", 2), ("200", 1)])
def test_a_narrow_terminal_shows_all_but_the_end_of_the_reply(
    columns: str, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", columns)
    each = row(b"to@example.org", status=Status.ERROR, reason="bounced", reply=b"550 " * 60)
    stream = Terminal()
    text_table.write_rows([rows.make(message(each, word=b"from@example.com"), 1, each)], stream)
    shown = re.sub("\x1b\\[[0-9;]*m", "", stream.getvalue())
    for word in ("a0062oj3chimc", "✗ error", "bounced", "from@example.com", "to@example.org",
                 "550 550", "…"):  # fmt: skip
        assert word in shown
    _heading, _rule, *table = shown.strip().splitlines()
    assert len([line for line in table if line.strip()]) == lines
    assert all(len(line) <= int(columns) for line in shown.splitlines())


def test_columns_line_up_by_what_letters_take() -> None:
    lines = list(text_table.aligned([("日本", "x"), ("abcd", "y"), ("e\u0301", "z")]))
    assert lines == ["日本  x\n", "abcd  y\n", "e\u0301     z\n"]


def test_a_table_of_many_rows_has_one_heading() -> None:
    stream = io.StringIO()
    assert text_table.write_rows([made()] * 2500, stream, heading="counts\n") == 2500
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2502
    assert lines[0] == "counts"
    assert [number for number, line in enumerate(lines) if line.startswith("time ")] == [1]


def test_an_alias_shows_both_recipients() -> None:
    each = row(b"info@example.com", final_recipient=b"anna@example.com")
    shown = text_table.recipients(rows.make(message(each), 1, each))
    assert shown == "info@example.com → anna@example.com"


def test_the_heading_counts_and_names_the_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_table, "zone_name", lambda: "UTC (+0000)")
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    counts = {"delivered": 1200, "error": 1}
    assert text_table.heading(counts, "row", out) == (
        "1,201 rows: delivered 1,200, error 1; times in UTC (+0000)\n"
    )
    assert text_table.heading({}, "row", out) == "times in UTC (+0000)\n"
