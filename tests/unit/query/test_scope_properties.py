"""Whoever asks gets what the operator gets, less what is not theirs: random journals and scopes.

What is whose is decided here by who was meant when an address was made, never by reading it; so
the rules are written a second time. Every person has a token of their own in every spelling of
their address: where a token may stand in an answer is computed, and looked for in every byte.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journal import keys
from journal.events import FIELDS, Event, Kind, Source
from journal.records import Direction, Message, Status
from posttrail.errors import UsageError
from query import export, show, text_table
from query.match import Query
from query.scope import Scope
from query.when import Window
from tests.unit.query.conftest import NOON_US, Shelf, row

DOMAINS = (
    ("example.com", ["example.com", "EXAMPLE.com", "example.com."]),
    ("evil-example.com", ["evil-example.com"]),
    ("sub.example.com", ["sub.example.com", "Sub.Example.Com"]),
    ("xn--bcher-kva.example", ["xn--bcher-kva.example", "bücher.example", "BÜCHER.example"]),
)
PEOPLE = 12
ANY = Query(window=Window())
TOKEN = re.compile(r"p\d\dq")


@dataclass(frozen=True)
class Name:
    """An address: whom it means, and how it is spelled."""

    who: int
    spelled: bytes


@dataclass(frozen=True)
class To:
    """A row: whom the client named, and where it ended."""

    recipient: Name
    final: Name
    status: Status
    direction: Direction | None
    named: int  # somebody whom the reply names


@dataclass(frozen=True)
class Mail:
    """A message."""

    sender: Name
    login: int | None
    rows: tuple[To, ...]
    at_s: int


@dataclass(frozen=True)
class Eye:
    """A scope, by whom and which domains it holds."""

    people: frozenset[int]
    domains: frozenset[int]

    def owns(self, who: int) -> bool:
        return who in self.people or who % len(DOMAINS) in self.domains

    def sent(self, mail: Mail) -> bool:
        return mail.login is not None and self.owns(mail.login)

    def sees(self, mail: Mail, to: To) -> bool:
        return self.sent(mail) or self.owns(to.recipient.who) or self.owns(to.final.who)

    def may_read(self, mail: Mail) -> set[int]:
        """Whose tokens an answer about this message may hold."""
        seen = [to for to in mail.rows if self.sees(mail, to)]
        if not seen:
            return set()
        found = {mail.sender.who} | {to.recipient.who for to in seen}
        found |= {to.final.who for to in seen if self.owns(to.final.who)}
        return found | ({mail.login} if self.sent(mail) and mail.login is not None else set())


def plain(who: int) -> bytes:
    return f"p{who:02d}q@{DOMAINS[who % len(DOMAINS)][0]}".encode()


@st.composite
def names(draw: st.DrawFn, *, subaddress: bool = True) -> Name:
    who = draw(st.integers(0, PEOPLE - 1))
    local = draw(st.sampled_from([f"p{who:02d}q", f"P{who:02d}Q"]))
    if subaddress:
        local += draw(st.sampled_from(["", "", "+x", "+X+y", "+"]))
    local = draw(st.sampled_from([local, local, f'"{local}"']))
    domain = draw(st.sampled_from(DOMAINS[who % len(DOMAINS)][1]))
    address = f"{local}@{domain}"
    return Name(who, draw(st.sampled_from([address, f"<{address}>"])).encode())


ROWS = st.builds(
    To,
    recipient=names(),
    final=names(),
    status=st.sampled_from(Status),
    direction=st.sampled_from([None, *Direction]),
    named=st.integers(0, PEOPLE - 1),
) | st.builds(
    lambda name, status, direction: To(name, name, status, direction, name.who),
    names(),
    st.sampled_from(Status),
    st.sampled_from([None, *Direction]),
)
MAILS = st.lists(
    st.builds(
        Mail,
        sender=names(),
        login=st.none() | st.integers(0, PEOPLE - 1),
        rows=st.lists(ROWS, min_size=1, max_size=4).map(tuple),
        at_s=st.integers(-3, 3),
    ),
    min_size=1,
    max_size=8,
)
EYES = st.builds(
    Eye,
    people=st.frozensets(st.integers(0, PEOPLE - 1), max_size=2),
    domains=st.frozensets(st.integers(0, len(DOMAINS) - 1), max_size=1),
).filter(lambda eye: eye.people or eye.domains)


@st.composite
def scopes(draw: st.DrawFn, eye: Eye) -> Scope:
    """The scope in random spellings."""
    spelled = [draw(st.sampled_from([plain(who), plain(who).upper()])) for who in eye.people]
    domains = [draw(st.sampled_from(DOMAINS[at][1])).encode() for at in eye.domains]
    return Scope.of(mailboxes=spelled, domains=domains)


def reply(to: To) -> bytes:
    return b"host relayq[10.0.0.1] said: 550 5.1.1 <%b> no such user" % plain(to.named)


def events(mail: Mail) -> Iterator[Event]:
    def event(kind: Kind, **known: bytes) -> Event:
        values = tuple(known.get(name, b"") for name in FIELDS[kind])
        return Event(NOON_US, kind, Source.LOG, 4711, b"Q", values)

    login = b"" if mail.login is None else plain(mail.login)
    yield event(Kind.TRANSACTION, sender=mail.sender.spelled, login=login, helo=b"heloq")
    yield event(Kind.QUEUED, sender=mail.sender.spelled, nrcpt=b"%d" % len(mail.rows))
    for to in mail.rows:
        spoken, final = to.recipient.spelled, to.final.spelled
        yield event(Kind.RCPT, recipient=spoken, transport=b"relayq", text=reply(to))
        delivery = {"final_recipient": final, "text": reply(to), "relay": b"relayq[10.0.0.1]:25"}
        yield event(Kind.DELIVERY, recipient=spoken, outcome=b"sent", **delivery)
        yield event(Kind.DELIVERY, outcome=b"sent", **delivery)  # behind a filter: orig_to is gone
        yield event(Kind.FILED, user=final, folder=b"folderq", text=reply(to))
        yield event(Kind.VERDICT, recipient=spoken, filter=b"f", evidence=b"symbolq " + final)
        yield event(Kind.LATE_BOUNCE, recipient=final, text=reply(to), proof=spoken)


def put(shelf: Shelf, mail: Mail) -> Message:
    rows = [
        row(
            to.recipient.spelled, final_recipient=to.final.spelled, status=to.status,
            direction=to.direction, reply=reply(to), relay=b"relayq[10.0.0.1]:25",
        )
        for to in mail.rows
    ]  # fmt: skip
    return shelf.put(
        *rows, at_us=NOON_US + mail.at_s * 1_000_000, sender=mail.sender.spelled,
        login=None if mail.login is None else plain(mail.login), events=tuple(events(mail)),
        instance=b"instanceq", next_queue_ids=(b"NEXT",), commit=False,
    )  # fmt: skip


@contextmanager
def filled(mails: list[Mail]) -> Iterator[tuple[Shelf, dict[str, Mail]]]:
    with TemporaryDirectory() as directory:
        shelf = Shelf(Path(directory) / "journal")
        shelf.writer.commit()
        try:
            known = {keys.id_text(put(shelf, mail).id): mail for mail in mails}
            shelf.writer.commit()
            yield shelf, known
        finally:
            shelf.close()


EXAMPLES = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@EXAMPLES
@given(MAILS, EYES, st.data())
def test_a_scope_sees_the_operators_report_less_what_is_not_its_own(
    mails: list[Mail], eye: Eye, data: st.DataObject
) -> None:
    scope = data.draw(scopes(eye))
    with filled(mails) as (shelf, known):
        everything = list(shelf.source.rows(ANY, Scope.all()))
        wanted = [
            (each.id, each.time, each.recipient, each.status)
            for each in everything
            if eye.sees(known[each.id], known[each.id].rows[each.row - 1])
        ]
        found = list(shelf.source.rows(ANY, scope))
        assert [(each.id, each.time, each.recipient, each.status) for each in found] == wanted
        numbers: dict[str, list[int]] = {}
        for each in found:
            numbers.setdefault(each.id, []).insert(0, each.row)
        assert all(each == list(range(1, len(each) + 1)) for each in numbers.values())
        page = shelf.source.page(ANY, scope, limit=1)
        counted = [status for _, _, _, status in wanted]
        assert page.counts == {each: counted.count(each) for each in set(counted)}


@EXAMPLES
@given(MAILS, EYES, st.data())
def test_no_answer_holds_a_byte_of_others(mails: list[Mail], eye: Eye, data: st.DataObject) -> None:
    scope = data.draw(scopes(eye))
    with filled(mails) as (shelf, known):
        for id, mail in known.items():
            told = list(show.told(shelf.source.reader, id.encode(), scope))
            assert bool(told) == bool(eye.may_read(mail))
            rows = [each for each in shelf.source.rows(ANY, scope) if each.id == id]
            out = io.StringIO()
            for found in told:
                out.writelines(show.lines(found, out))
                out.write(repr(found))
            for write in (export.write_json, export.write_csv, text_table.write_rows):
                write(rows, out)
            said = out.getvalue().lower()
            others = {int(token[1:3]) for token in TOKEN.findall(said)} - eye.may_read(mail)
            assert not others
            for secret in ("relayq", "instanceq", "10.0.0.1", "symbolq", "4711", "nrcpt="):
                assert secret not in said
            if not eye.sent(mail):
                assert "next" not in [word for each in told for word in each.next_queue_ids]
                assert "heloq" not in said or mail.login is None


@EXAMPLES
@given(MAILS, EYES, st.integers(0, PEOPLE - 1), st.data())
def test_no_filter_finds_what_no_row_shows(
    mails: list[Mail], eye: Eye, who: int, data: st.DataObject
) -> None:
    scope = data.draw(scopes(eye))
    asked = Query(window=Window(), recipient=plain(who))
    with filled(mails) as (shelf, _):
        found = list(shelf.source.rows(asked, scope))
        shown = [
            each
            for each in shelf.source.rows(ANY, scope)
            if f"p{who:02d}q" in f"{each.recipient} {each.final_recipient}".lower()
        ]
        assert found == shown


@EXAMPLES
@given(MAILS, EYES, EYES, st.data())
def test_a_cursor_is_refused_in_every_other_scope(
    mails: list[Mail], eye: Eye, other: Eye, data: st.DataObject
) -> None:
    scope, foreign = data.draw(scopes(eye)), data.draw(scopes(other))
    with filled(mails) as (shelf, _):
        cursor = shelf.source.page(ANY, scope, limit=1).next
        if cursor is None:
            return
        shelf.source.page(ANY, data.draw(scopes(eye)), limit=1, cursor=cursor)  # however spelled
        for stranger in (foreign, Scope.all()):
            if stranger != scope:
                with pytest.raises(UsageError, match="another search"):
                    shelf.source.page(ANY, stranger, limit=1, cursor=cursor)


@EXAMPLES
@given(names(), EYES, st.data())
def test_every_spelling_is_owned_by_whom_it_means(
    name: Name, eye: Eye, data: st.DataObject
) -> None:
    assert data.draw(scopes(eye)).owns(name.spelled) == eye.owns(name.who)
