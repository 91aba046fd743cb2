"""query.show and details: all that is known, to those who may know it."""

import io
from typing import TYPE_CHECKING

from journal import keys
from journal.events import FIELDS, Event, Kind, Source
from journal.records import Record, Status
from posttrail import text
from query import show
from query.details import Details, details
from query.scope import Scope
from query.when import END_US
from tests.unit.query.conftest import NOON_US, row

if TYPE_CHECKING:
    from tests.unit.query.conftest import Shelf

ALL = Scope.all()


def event(kind: Kind, at: int = 0, queue_id: bytes = b"QID1", **fields: bytes) -> Event:
    """An event ``at`` milliseconds after noon; what is not given is empty."""
    assert set(fields) <= set(FIELDS[kind])
    values = tuple(fields.get(name, b"") for name in FIELDS[kind])
    source = Source.MILTER if kind in (Kind.TRANSACTION, Kind.RCPT, Kind.VERDICT) else Source.LOG
    return Event(NOON_US + at * 1000, kind, source, 4711, queue_id, values)


ANNA, BERT = b"anna@example.com", b"bert@example.org"
EVENTS = (
    event(Kind.TRANSACTION, sender=b"from@example.com", client_ip=b"192.0.2.1", stage=b"eom"),
    event(Kind.RCPT, recipient=ANNA),
    event(Kind.RCPT, recipient=BERT),
    event(
        Kind.VERDICT, filter=b"rspamd", verdict=b"accept", score=b"1.5", reason=b"BAYES_HAM(-3.00)"
    ),
    event(Kind.QUEUED, 10, sender=b"from@example.com", size=b"2048", nrcpt=b"2"),
    event(Kind.DELIVERY, 20, final_recipient=ANNA, outcome=b"sent", text=b"delivered to mailbox"),
    event(Kind.DELIVERY, 30, final_recipient=BERT, outcome=b"deferred", text=b"450 later"),
    event(Kind.DELIVERY, 40, final_recipient=BERT, outcome=b"bounced", text=b"550 no such user"),
    event(Kind.NOTICE, 50, notice=b"sender non-delivery notification", notice_queue_id=b"NOT1"),
    event(Kind.REMOVED, 60),
)
ROWS = (
    row(ANNA, reply=b"delivered to mailbox", reason="stored"),
    row(BERT, reply=b"550 no such user", status=Status.ERROR, reason="bounced"),
)


def told(shelf: "Shelf", name: bytes, scope: Scope = ALL) -> Details | None:
    return next(show.told(shelf.source.reader, name, scope), None)


def known(found: Details | None) -> Details:
    assert found is not None
    return found


def test_an_id_shows_the_envelope_the_rows_and_the_timeline(shelf: "Shelf") -> None:
    message = shelf.put(*ROWS, events=EVENTS)
    found = known(told(shelf, keys.id_text(message.id).encode()))
    assert found.id == keys.id_text(message.id)
    assert found.status == "error"
    assert [each.row for each in found.rows] == [1, 2]
    assert [moment.event for moment in found.timeline] == list(range(1, len(EVENTS) + 1))
    assert found.timeline[7].fields == {
        "final_recipient": "bert@example.org",
        "outcome": "bounced",
        "text": "550 no such user",
    }
    assert found.timeline[0].source == "milter"
    assert found.timeline[4].time == "2026-11-23T12:00:00.010Z"


def test_each_row_names_the_event_that_set_its_status(shelf: "Shelf") -> None:
    shelf.put(*ROWS, events=EVENTS)
    found = known(told(shelf, b"QID1"))
    assert [(each.row, each.event) for each in found.evidence] == [(1, 6), (2, 8)]


def test_each_mailbox_of_an_alias_rests_on_its_own_delivery(shelf: "Shelf") -> None:
    team = b"team@example.org"
    rows = [row(team, final_recipient=name, reply=b"delivered to maildir") for name in (ANNA, BERT)]
    events = [
        event(
            Kind.DELIVERY,
            number,
            recipient=team,
            final_recipient=name,
            outcome=b"sent",
            text=b"delivered to maildir",
        )
        for number, name in enumerate((ANNA, BERT), start=1)
    ]
    shelf.put(*rows, events=tuple(events))
    assert [each.event for each in known(told(shelf, b"QID1")).evidence] == [1, 2]


def test_a_deletion_counts_more_than_the_last_reply(shelf: "Shelf") -> None:
    events = (*EVENTS[4:7], event(Kind.DELETED, 99, by=b"postsuper"))
    gone = row(BERT, status=Status.ERROR, reason="deleted", reply=b"450 later")
    shelf.put(gone, events=events)
    assert known(told(shelf, b"QID1")).evidence[0].event == 4


def test_a_waiting_row_rests_on_what_took_it_in(shelf: "Shelf") -> None:
    waiting = row(
        ANNA, status=Status.IN_PROGRESS, reason="queued", reply=None, done_at_us=None, attempts=0
    )
    shelf.put(waiting, events=EVENTS[:5])
    assert known(told(shelf, b"QID1")).evidence[0].event == 5


def test_a_verdict_names_its_filter_and_event(shelf: "Shelf") -> None:
    shelf.put(*ROWS, events=EVENTS)
    (verdict,) = known(told(shelf, b"QID1")).verdicts
    assert (verdict.filter, verdict.verdict, verdict.score) == ("rspamd", "accept", 1.5)
    assert (verdict.reason, verdict.event) == ("BAYES_HAM(-3.00)", 4)


def test_a_notice_and_its_parent_are_linked(shelf: "Shelf") -> None:
    parent = shelf.put(*ROWS, events=EVENTS)
    origin = event(Kind.PARENT, 50, b"NOT1", parent_queue_id=b"QID1", notice=b"non-delivery")
    notice = shelf.put(row(), queue_ids=(b"NOT1",), sender=b"", events=(origin,))
    (down,), (up,) = known(told(shelf, b"QID1")).links, known(told(shelf, b"NOT1")).links
    assert (down.relation, down.id) == ("notice", keys.id_text(notice.id))
    assert (up.relation, up.id) == ("parent", keys.id_text(parent.id))


def test_a_link_to_a_message_the_journal_lacks_keeps_its_queue_id(shelf: "Shelf") -> None:
    shelf.put(*ROWS, events=EVENTS)
    (link,) = known(told(shelf, b"QID1")).links
    assert (link.queue_id, link.id) == ("NOT1", None)


def test_a_reused_queue_id_shows_the_newest_and_names_the_others(shelf: "Shelf") -> None:
    old = shelf.put(row(), queue_ids=(b"SAME",))
    new = shelf.put(row(), queue_ids=(b"SAME",), at_us=NOON_US + 9 * 86_400_000_000)
    found = show.told(shelf.source.reader, b"SAME", ALL)
    assert [each.id for each in found] == [keys.id_text(new.id), keys.id_text(old.id)]


def test_a_queue_id_is_told_by_its_case(shelf: "Shelf") -> None:
    shelf.put(row(), queue_ids=(b"3yBcD",))
    assert told(shelf, b"3yBcD") is not None
    assert told(shelf, b"3YBCD") is None


def test_an_abandoned_transaction_is_found(shelf: "Shelf") -> None:
    events = (event(Kind.TRANSACTION, sender=b"from@example.com", stage=b"abort:data"),)
    message = shelf.put(events=events)
    found = known(told(shelf, keys.id_text(message.id).encode()))
    assert (found.status, found.rows) == (None, [])
    assert "abandoned" in next(show.lines(found, io.StringIO()))


def test_what_is_not_there_is_nothing(shelf: "Shelf") -> None:
    shelf.put(row())
    for name in (b"NOSUCHID", b"0000000000000", b"", "δ".encode(), b"\xff" * 13):
        assert told(shelf, name) is None


def test_a_recipient_sees_nothing_of_the_others(shelf: "Shelf") -> None:
    message = shelf.put(*ROWS, events=EVENTS, next_queue_ids=(b"NEXT",))
    found = known(told(shelf, keys.id_text(message.id).encode(), Scope.of(mailboxes=[ANNA])))
    assert [each.row for each in found.rows] == [1]
    assert found.status == "delivered"
    assert "bert" not in repr(found)
    assert "nrcpt" not in repr(found)
    assert found.links == []
    assert found.next_queue_ids == []
    assert [moment.event for moment in found.timeline] == [1, 2, 3, 4, 5, 6]
    assert found.evidence[0].event == 5


def test_a_member_of_an_alias_sees_nothing_of_the_other_members(shelf: "Shelf") -> None:
    team = b"team@example.com"
    rows = [row(team, final_recipient=name) for name in (ANNA, BERT)]
    events = (
        event(Kind.RCPT, recipient=team),
        *(event(Kind.DELIVERY, 1, recipient=team, final_recipient=name) for name in (ANNA, BERT)),
    )
    shelf.put(*rows, events=events)
    found = known(told(shelf, b"QID1", Scope.of(mailboxes=[BERT])))
    assert "anna" not in repr(found)
    assert len(found.timeline) == 2


def test_a_proven_sender_sees_it_all(shelf: "Shelf") -> None:
    shelf.put(*ROWS, events=EVENTS, login=b"carl@example.com")
    found = known(told(shelf, b"QID1", Scope.of(mailboxes=[b"carl@example.com"])))
    assert len(found.timeline) == len(EVENTS)


def test_out_of_scope_is_as_absent(shelf: "Shelf") -> None:
    message = shelf.put(*ROWS, events=EVENTS)
    stranger = Scope.of(mailboxes=[b"x@example.net"])
    assert told(shelf, b"QID1", stranger) is None
    assert told(shelf, keys.id_text(message.id).encode(), stranger) is None
    assert details(Record(message, EVENTS, ()), stranger, find=lambda _: None) is None


def test_the_text_form_is_harmless(shelf: "Shelf") -> None:
    evil = b"\x1b[2J\xc2\x9b\xe2\x80\xae\xff\r\n"
    events = [
        event(kind, number, **dict.fromkeys(FIELDS[kind], evil))
        for number, kind in enumerate(Kind)
        if kind < Kind.CONNECT
    ]
    shelf.put(
        row(evil, final_recipient=evil, reply=evil, folder=evil, relay=evil, enhanced_status=evil),
        events=tuple(event._replace(queue_id=evil) for event in events),
        host=evil, instance=evil, queue_ids=(evil, b"QID1"), sender=evil, message_id=evil,
        subject=evil, client_ip=evil, client_name=evil, helo=evil, login=evil, tls=evil,
        next_queue_ids=(evil,),
    )  # fmt: skip
    shown = "".join(show.lines(known(told(shelf, b"QID1")), io.StringIO()))
    assert shown.count("\\x1b[2J") > 30
    assert not text.HOSTILE.search(shown.replace("\n", ""))


def test_the_text_form_has_it_all(shelf: "Shelf") -> None:
    shelf.put(*ROWS, events=EVENTS)
    shown = "".join(show.lines(known(told(shelf, b"QID1")), io.StringIO()))
    for word in ("from@example.com", "192.0.2.1", "TLSv1.3", "2. bert@example.org", "event 8",
                 "BAYES_HAM(-3.00)", 'text="550 no such user"', "notice: NOT1"):  # fmt: skip
        assert word in shown


def test_the_search_for_a_queue_id_spans_all_days(shelf: "Shelf") -> None:
    shelf.put(row(), queue_ids=(b"OLD",), at_us=0)
    shelf.put(row(), queue_ids=(b"LATE",), at_us=END_US - 1)
    assert told(shelf, b"OLD") is not None
    assert told(shelf, b"LATE") is not None


KEPT = (
    *EVENTS[:3],
    event(
        Kind.VERDICT, 5, filter=b"amavis", verdict=b"accept", score=b"7.5", reason=b"spam",
        evidence=b"Passed SPAMMY <from@example.com> -> <anna@example.com>,<bert@example.org>",
    ),
    event(
        Kind.VERDICT, 6, filter=b"amavis", verdict=b"quarantine", reason=b"banned", recipient=BERT,
    ),
    event(
        Kind.DOOR, 7, action=b"milter-reject", stage=b"END-OF-MESSAGE", reply_code=b"451",
        enhanced_status=b"4.7.1", text=b"Try again later",
    ),
    event(Kind.DOOR, 8, action=b"milter-hold", stage=b"END-OF-MESSAGE", text=b"kept"),
    event(Kind.DOOR, 9, action=b"milter-header-replace", stage=b"header", text=b"x"),
    event(Kind.DOOR, 9, action=b"reject", stage=b"RCPT", reply_code=b"550", text=b"x"),
    event(
        Kind.FILED, 20, b"SESSION", program=b"lmtp", action=b"stored", user=ANNA, folder=b"Junk",
    ),
    event(Kind.FILED, 21, b"SESSION:2", program=b"lmtp", action=b"stored", user=BERT),
    event(Kind.LATE_BOUNCE, 90, recipient=BERT, notice_queue_id=b"NOT1", text=b"Returned mail"),
)  # fmt: skip
JUNKED = (
    row(ANNA, status=Status.FILTERED, reason="junk", folder=b"Junk"),
    row(BERT, status=Status.ERROR, reason="late_bounce", reply=b"Returned mail"),
)


def test_verdicts_are_what_filters_say_and_what_milters_made_postfix_do(shelf: "Shelf") -> None:
    shelf.put(*JUNKED, events=KEPT)
    found = known(told(shelf, b"QID1"))
    assert [(each.filter, each.verdict, each.reason) for each in found.verdicts] == [
        ("amavis", "accept", "spam"),
        ("amavis", "quarantine", "banned"),
        ("milter", "tempfail", "temporary"),
        ("milter", "quarantine", "kept"),
    ]


def test_a_folder_and_a_late_bounce_rest_on_the_events_that_tell_of_them(shelf: "Shelf") -> None:
    shelf.put(*JUNKED, events=KEPT)
    found = known(told(shelf, b"QID1"))
    kinds = {moment.event: moment.kind for moment in found.timeline}
    assert [kinds[each.event] for each in found.evidence] == ["filed", "late_bounce"]
    assert ("late_bounce", "NOT1") in [(link.relation, link.queue_id) for link in found.links]


def test_a_recipient_sees_of_filters_and_agents_what_is_its_own(shelf: "Shelf") -> None:
    shelf.put(*JUNKED, events=KEPT)
    found = known(told(shelf, b"QID1", Scope.of(mailboxes=[ANNA])))
    assert [each.verdict for each in found.verdicts] == ["accept"]
    assert [moment.fields.get("folder") for moment in found.timeline if moment.kind == "filed"] == [
        "Junk"
    ]
    assert "bert" not in repr(found)
