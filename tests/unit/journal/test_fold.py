"""What a message's events come to: each promise of the model, one test."""

import itertools
import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journal import codec, kinds, places
from journal.events import ABSENT, FIELDS, Event, Kind, Source
from journal.fold import KEYS_DROPPED, fold
from journal.locality import Locality
from journal.records import Direction, Message, Recipient, Record, Status

SECOND = 1_000_000
INSIDE = Locality(local_domains=["example.com"])


def say(at_s: float, kind: Kind, queue_id: bytes = b"Q1", /, **fields: bytes) -> Event:
    """An event by the names of its fields; what is not named is absent."""
    named = dict.fromkeys(FIELDS[kind], b"")
    if "sender" in named and kind in (Kind.DOOR, Kind.TRANSACTION):
        named["sender"] = ABSENT
    assert set(fields) <= set(named), fields
    named.update(fields)
    milter = kind in (Kind.TRANSACTION, Kind.RCPT, Kind.VERDICT)
    source = Source.MILTER if milter else Source.LOG
    return Event(int(at_s * SECOND), int(kind), int(source), 7, queue_id, tuple(named.values()))


def folded(events: Iterable[Event], dropped: tuple[bytes, ...] = ()) -> Record:
    return fold(events, dropped, id=b"\0" * 8, host=b"mx.example.com", locality=INSIDE)


def rows(*events: Event) -> list[tuple[bytes | None, bytes | None, str, str]]:
    return [
        (row.recipient, row.final_recipient, Status(row.status).token, row.reason)
        for row in folded(events).message.rows
    ]


def client(at_s: float = 1, queue_id: bytes = b"Q1", ip: bytes = b"192.0.2.1") -> Event:
    return say(at_s, Kind.CLIENT, queue_id, client_name=b"mx.example.net", client_ip=ip)


def queued(at_s: float = 2, queue_id: bytes = b"Q1", sender: bytes = b"s@example.net") -> Event:
    return say(at_s, Kind.QUEUED, queue_id, sender=sender, size=b"900", nrcpt=b"1")


def tried(
    at_s: float,
    to: bytes,
    outcome: bytes = b"sent",
    queue_id: bytes = b"Q1",
    /,
    **fields: bytes,
) -> Event:
    given_ = {"daemon": b"virtual", "delay": b"0.5", "text": b"delivered to maildir", **fields}
    return say(at_s, Kind.DELIVERY, queue_id, final_recipient=to, outcome=outcome, **given_)


def transaction(at_s: float = 1, queue_id: bytes = b"Q1", /, **fields: bytes) -> Event:
    given_ = {"client_ip": b"192.0.2.1", "client_port": b"4711", "stage": b"eom", **fields}
    given_.setdefault("sender", b"s@example.net")
    given_.setdefault("end_at_us", b"%d" % int((at_s + 1) * SECOND))
    return say(at_s, Kind.TRANSACTION, queue_id, **given_)


def spoke(at_s: float, recipient: bytes, queue_id: bytes = b"Q1", /, **fields: bytes) -> Event:
    return say(at_s, Kind.RCPT, queue_id, recipient=recipient, **fields)


def door(at_s: float, action: bytes, stage: bytes, queue_id: bytes = b"", /, **f: bytes) -> Event:
    return say(at_s, Kind.DOOR, queue_id, action=action, stage=stage, **f)


# -- one leg ----------------------------------------------------------------------------


def test_the_log_alone_makes_a_whole_message() -> None:
    record = folded([client(), queued(), tried(3, b"a@example.com"), say(3, Kind.REMOVED)])
    message = record.message
    assert message.queue_ids == (b"Q1",)
    assert message.sender == b"s@example.net"
    assert message.size_bytes == 900
    assert message.client_ip == b"192.0.2.1"
    assert message.sources == 1 << Source.LOG
    (row,) = message.rows
    assert (row.status, row.reason) == (Status.DELIVERED, "stored")
    assert row.done_at_us == 3 * SECOND
    assert row.delay_ms == 500
    assert row.direction == Direction.INBOUND
    assert message.status == Status.DELIVERED


def test_the_milter_alone_makes_a_whole_message_in_progress() -> None:
    events = [
        transaction(helo=b"mx.example.net", message_id=b"m@example.net", subject=b"hi"),
        spoke(1, b"a@example.com"),
        spoke(1, b"nobody@example.com", refused=b"1", enhanced_status=b"5.1.1", text=b"no"),
    ]
    message = folded(events).message
    assert (message.message_id, message.subject, message.helo) == (
        b"m@example.net", b"hi", b"mx.example.net",
    )  # fmt: skip
    assert rows(*events) == [
        (b"a@example.com", b"a@example.com", "in_progress", "queued"),
        (b"nobody@example.com", None, "rejected", "unknown_user"),
    ]


def test_both_sources_make_one_row_a_recipient() -> None:
    events = [
        transaction(), spoke(1, b"A@example.com"), client(), queued(),
        tried(3, b"a@example.com"), say(3, Kind.REMOVED),
    ]  # fmt: skip
    assert rows(*events) == [(b"a@example.com", b"a@example.com", "delivered", "stored")]
    assert folded(events).message.sources == 1 << Source.LOG | 1 << Source.MILTER


def test_an_alias_to_several_mailboxes_has_a_row_each() -> None:
    events = [
        transaction(), spoke(1, b"info@example.com"), client(), queued(),
        tried(3, b"a@example.com", recipient=b"info@example.com"),
        tried(3, b"b@example.com", b"bounced", recipient=b"info@example.com", text=b"no"),
    ]  # fmt: skip
    assert rows(*events) == [
        (b"info@example.com", b"a@example.com", "delivered", "stored"),
        (b"info@example.com", b"b@example.com", "error", "bounced"),
    ]
    assert folded(events).message.status == Status.ERROR


def test_recipients_that_differ_in_case_are_one_row() -> None:
    events = [queued(), tried(3, b"A@example.com", b"deferred"), tried(4, b"a@Example.com")]
    assert rows(*events) == [(b"A@example.com", b"A@example.com", "delivered", "stored")]


def test_a_message_that_its_client_abandons_has_no_rows() -> None:
    assert rows(transaction(stage=b"abort:rcpt"), spoke(1, b"a@example.com")) == []
    assert rows(client()) == []
    assert folded([client()]).message.status == 15


def test_abort_is_not_failure_when_the_log_says_delivered() -> None:
    events = [
        transaction(stage=b"abort:data"), spoke(1, b"old@example.com"), queued(),
        tried(3, b"new@example.com", recipient=b"old@example.com"),
    ]  # fmt: skip
    assert rows(*events) == [(b"old@example.com", b"new@example.com", "delivered", "stored")]


def test_queued_without_any_delivery_is_in_progress_and_says_so() -> None:
    assert rows(client(), queued()) == [(None, None, "in_progress", "queued")]
    assert rows(client(), queued(), say(9, Kind.REMOVED)) == [
        (None, None, "in_progress", "unknown")
    ]


def test_a_recipient_without_a_line_at_removed_is_unknown() -> None:
    events = [
        transaction(), spoke(1, b"a@example.com"), spoke(1, b"b@example.com"), queued(),
        tried(3, b"a@example.com"), say(4, Kind.REMOVED),
    ]  # fmt: skip
    assert rows(*events)[1] == (b"b@example.com", b"b@example.com", "in_progress", "unknown")


def test_probes_are_not_mail() -> None:
    assert rows(queued(), tried(3, b"a@example.com", b"deliverable")) == []


def test_a_deferral_that_later_succeeds_counts_both_attempts() -> None:
    events = [queued(), tried(3, b"a@example.com", b"deferred", text=b"x"), queued(60)]
    assert rows(*events)[0][2:] == ("deferred", "other")
    assert folded(events).message.rows[0].done_at_us is None
    record = folded([*events, tried(61, b"a@example.com")])
    (row,) = record.message.rows
    assert (row.status, row.attempts, row.attempts_capped) == (Status.DELIVERED, 2, False)
    assert sum(event.kind == Kind.QUEUED for event in record.events) == 1


def test_expired_deleted_and_held_are_told_apart() -> None:
    base = [client(), queued(), tried(3, b"a@example.com", b"deferred", text=b"x")]
    assert rows(*base, say(9, Kind.EXPIRED))[0][2:] == ("error", "expired")
    assert rows(*base, say(9, Kind.DELETED))[0][2:] == ("error", "deleted")
    held = [*base, say(9, Kind.HELD, by=b"postsuper")]
    assert rows(*held)[0][2:] == ("in_progress", "held")
    assert rows(*held, say(10, Kind.RELEASED))[0][2:] == ("deferred", "other")
    assert rows(*held, tried(11, b"a@example.com"))[0][2:] == ("delivered", "stored")
    expired = folded([*base, say(9, Kind.EXPIRED)]).message.rows[0]
    assert expired.done_at_us == 9 * SECOND


def test_a_log_that_begins_in_the_middle_tells_the_sender_late() -> None:
    hop = tried(3, b"a@example.com", b"sent", next_queue_id=b"Q2", next_hop=b"queued")
    inner = [queued(4, b"Q2"), tried(5, b"a@example.com", b"sent", b"Q2")]
    assert folded([hop, *inner]).message.sender == b"s@example.net"
    expired = say(9, Kind.EXPIRED, word=b"expired", sender=b"s@example.net")
    assert folded([expired]).message.sender == b"s@example.net"
    assert rows(expired) == [(None, None, "error", "expired")]
    assert rows(say(9, Kind.DELETED, by=b"postsuper")) == [(None, None, "error", "deleted")]
    of_an_older_release = expired._replace(fields=expired.fields[:1])
    assert folded([of_an_older_release]).message.sender is None


def test_the_first_score_that_is_a_number_is_the_spam_score() -> None:
    verdicts = [
        say(1, Kind.VERDICT, filter=b"a", score=b"much"),
        say(1, Kind.VERDICT, filter=b"b", score=b""),
        say(2, Kind.VERDICT, filter=b"c", score=b"7.5"),
    ]
    assert folded([transaction(), *verdicts]).message.spam_score == 7.5
    assert folded([transaction(), verdicts[0]]).message.spam_score is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"250 2.0.0 Ok", 250),
        (b"host mx.example.net[192.0.2.1] said: 550-5.1.1 no", 550),
        (b"host mx.example.net[192.0.2.1] said: what", None),
        (b"connect to mx.example.net[192.0.2.1]:25: Connection refused", None),
        (b"999 lives", None),
        (b"2500 words", None),
    ],
)
def test_the_reply_code_is_the_one_that_was_spoken(text: bytes, code: int | None) -> None:
    event = tried(3, b"a@example.com", b"deferred", daemon=b"smtp", text=text, delay=b"soon")
    (row,) = folded([queued(), event]).message.rows
    assert (row.reply_code, row.delay_ms) == (code, None)


def test_what_only_a_door_or_pickup_says_of_the_sender() -> None:
    assert folded([say(1, Kind.PICKUP, uid=b"0", sender=b"root")]).message.sender == b"root"
    unnamed = door(1, b"reject", b"CONNECT")
    assert folded([unnamed]).message.sender is None
    named = door(2, b"reject", b"RCPT", sender=b"s@example.net", recipient=b"a@example.com")
    assert folded([unnamed, named]).message.sender == b"s@example.net"


def test_an_odd_client_address_is_not_inside() -> None:
    opened = client(ip=b"unknown")
    assert folded([opened, queued()]).message.rows[0].direction == Direction.INBOUND


def test_without_local_domains_the_delivery_agent_tells_where_mail_ends() -> None:
    opened = say(1, Kind.CLIENT, client_ip=b"127.0.0.1")

    def way(*events: Event) -> int | None:
        record = fold([opened, *events], id=b"\0" * 8, host=b"mx", locality=Locality())
        return record.message.rows[0].direction

    assert way(queued()) is None
    assert way(tried(3, b"a@example.com")) == Direction.INTERNAL
    assert way(tried(3, b"a@example.com", daemon=b"smtp")) == Direction.OUTBOUND


def test_what_is_said_twice_counts_once() -> None:
    late = say(5, Kind.REMOVED)
    assert rows(queued(), say(4, Kind.REMOVED), late) == [(None, None, "in_progress", "unknown")]


# -- the door ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.CLIENT, Kind.DELIVERY])
def test_a_line_read_with_and_without_its_tls_counts_once(kind: Kind) -> None:
    poor, rich = (say(1, kind, tls=tls) for tls in (b"", b"TLSv1.3 X"))
    for events in ([poor, rich], [rich, poor], [rich]):
        assert folded(events).events == (rich,)
    others = [
        say(2, kind), say(1, kind, b"Q2"), rich._replace(pid=8),
        say(1, kind, tls=b"TLSv1.2 Y"), rich._replace(fields=(*rich.fields[:-1], b"other")),
    ]  # fmt: skip
    for other in others:
        assert set(folded([rich, other]).events) == {rich, other}


def test_a_refusal_without_queue_id_is_a_message_with_one_row() -> None:
    refusal = door(
        1, b"reject", b"RCPT", reply_code=b"550", enhanced_status=b"5.1.1", text=b"User unknown",
        sender=b"s@example.net", recipient=b"x@example.com", client_name=b"c.example.net",
        client_ip=b"192.0.2.9", client_port=b"99", helo=b"c",
    )  # fmt: skip
    message = folded([refusal]).message
    assert (message.sender, message.client_ip, message.client_port, message.helo) == (
        b"s@example.net", b"192.0.2.9", 99, b"c",
    )  # fmt: skip
    (row,) = message.rows
    assert row[:4] == (b"x@example.com", None, Status.REJECTED, "unknown_user")
    assert (row.reply_code, row.enhanced_status, row.done_at_us) == (550, b"5.1.1", SECOND)
    assert message.queue_ids == ()


def test_a_refusal_before_rcpt_has_a_row_without_recipient() -> None:
    assert rows(door(1, b"reject", b"CONNECT", reply_code=b"554", text=b"go away")) == [
        (None, None, "rejected", "policy")
    ]


def test_milter_and_log_tell_of_one_refusal() -> None:
    line = door(1.5, b"reject", b"RCPT", reply_code=b"550", recipient=b"x@example.com", text=b"no")
    events = [
        transaction(1, b"", stage=b"abort:rcpt"),
        spoke(1, b"X@example.com", b"", refused=b"1"),
        line,
    ]
    assert rows(*events) == [(b"x@example.com", None, "rejected", "policy")]


def test_a_refused_and_an_accepted_recipient_of_one_message() -> None:
    events = [
        transaction(), spoke(1, b"a@example.com"), spoke(1, b"x@example.com", refused=b"1"),
        door(1, b"reject", b"RCPT", b"Q1", recipient=b"x@example.com", reply_code=b"550"),
        client(), queued(), tried(3, b"a@example.com"),
    ]  # fmt: skip
    assert set(rows(*events)) == {
        (b"a@example.com", b"a@example.com", "delivered", "stored"),
        (b"x@example.com", None, "rejected", "policy"),
    }


def test_a_refusal_at_the_end_of_data_is_for_every_recipient() -> None:
    events = [
        transaction(stage=b"eom"), spoke(1, b"a@example.com"), spoke(1, b"b@example.com"),
        door(2, b"milter-reject", b"END-OF-MESSAGE", b"Q1", recipient=b"b@example.com",
             enhanced_status=b"5.7.1", text=b"spam"),
    ]  # fmt: skip
    assert rows(*events) == [
        (b"a@example.com", None, "rejected", "spam"),
        (b"b@example.com", None, "rejected", "spam"),
    ]


def test_a_refusal_at_the_end_of_data_from_the_log_alone() -> None:
    refusal = door(2, b"reject", b"END-OF-MESSAGE", b"Q1", recipient=b"b@example.com")
    assert rows(client(), refusal) == [(b"b@example.com", None, "rejected", "policy")]
    too_large = door(2, b"too-large", b"DATA", b"Q1", reply_code=b"552", enhanced_status=b"5.3.4")
    assert rows(client(), too_large) == [(None, None, "rejected", "size")]


def test_a_discarded_message_is_filtered() -> None:
    at_access = door(1, b"discard", b"RCPT", recipient=b"a@example.com", sender=b"s@example.net")
    assert rows(at_access) == [(b"a@example.com", b"a@example.com", "filtered", "discarded")]
    at_header = door(1, b"discard", b"header", b"Q1", recipient=b"a@example.com")
    assert rows(client(), at_header)[0][2:] == ("filtered", "discarded")
    assert folded([at_access]).message.rows[0].done_at_us == SECOND


def test_a_filter_hold_is_quarantine_and_other_holds_are_not() -> None:
    quarantine = door(2, b"milter-hold", b"END-OF-MESSAGE", b"Q1", recipient=b"a@example.com")
    assert rows(client(), quarantine)[0][2:] == ("filtered", "quarantined")
    access = door(0.5, b"hold", b"RCPT", recipient=b"a@example.com")
    assert rows(access, client())[0][2:] == ("in_progress", "held")


# -- several legs -----------------------------------------------------------------------


def reinjected(*inner: Event) -> list[Event]:
    hop = {"daemon": b"smtp", "relay": b"127.0.0.1[127.0.0.1]:10024", "next_hop": b"queued"}
    return [
        client(1, b"Q1"), queued(2, b"Q1"),
        client(3, b"Q2", b"127.0.0.1"), queued(4, b"Q2"),
        tried(5, b"a@example.com", next_queue_id=b"Q2", text=b"250 queued as Q2", **hop),
        say(5, Kind.REMOVED, b"Q1"), *inner,
    ]  # fmt: skip


def test_a_filter_hop_is_not_delivery() -> None:
    assert rows(*reinjected()) == [(b"a@example.com", b"a@example.com", "in_progress", "queued")]


def test_the_inner_legs_outcome_counts() -> None:
    events = reinjected(tried(6, b"a@example.com", b"bounced", b"Q2", text=b"no"))
    assert rows(*events) == [(b"a@example.com", b"a@example.com", "error", "bounced")]
    message = folded(events).message
    assert message.queue_ids == (b"Q1", b"Q2")
    assert message.next_queue_ids == ()
    assert message.client_ip == b"192.0.2.1"


def test_an_alias_before_or_behind_the_filter_keeps_what_the_sender_said() -> None:
    behind = reinjected(
        tried(6, b"b@example.com", b"sent", b"Q2", recipient=b"a@example.com"),
        tried(6, b"c@example.com", b"sent", b"Q2", recipient=b"a@example.com"),
    )
    assert [row[:2] for row in rows(*behind)] == [
        (b"a@example.com", b"b@example.com"),
        (b"a@example.com", b"c@example.com"),
    ]
    before = [
        event._replace(fields=(event.fields[0], b"info@example.com", *event.fields[2:]))
        if event.kind == Kind.DELIVERY else event
        for event in reinjected()
    ]  # fmt: skip
    before.append(tried(6, b"a@example.com", b"sent", b"Q2"))
    assert rows(*before) == [(b"info@example.com", b"a@example.com", "delivered", "stored")]


def test_two_recipients_through_one_hop_keep_their_fates_apart() -> None:
    second = reinjected()[4]
    fields = list(second.fields)
    fields[2] = b"b@example.com"
    events = reinjected(
        second._replace(fields=tuple(fields)),
        tried(6, b"a@example.com", b"sent", b"Q2"),
        tried(6, b"b@example.com", b"deferred", b"Q2", text=b"x"),
    )
    assert [row[1:3] for row in rows(*events)] == [
        (b"a@example.com", "delivered"),
        (b"b@example.com", "deferred"),
    ]


@pytest.mark.parametrize("outcomes", [[b"sent"], [b"sent"] * 2, [b"deferred"] * 2 + [b"sent"] * 2])
def test_two_recipients_with_one_mailbox_through_one_hop_both_arrive(outcomes: list[bytes]) -> None:
    # carol@ and an alias to her; the inner queue file names her twice, or once (no duplicates)
    hop = {"daemon": b"smtp", "relay": b"127.0.0.1[127.0.0.1]:10025", "next_queue_id": b"Q2"}
    carol, team = b"carol@example.com", b"team@example.com"
    events = [
        client(), queued(),
        tried(3, carol, b"sent", **hop), tried(3, carol, b"sent", recipient=team, **hop),
        client(2, b"Q2", b"127.0.0.1"), queued(2, b"Q2"),
        *(tried(4 + n, carol, outcome, b"Q2") for n, outcome in enumerate(outcomes)),
    ]  # fmt: skip
    assert sorted(rows(*events)) == [
        (carol, carol, "delivered", "stored"), (team, carol, "delivered", "stored"),
    ]  # fmt: skip
    tries = {row.attempts for row in folded(events).message.rows}
    assert tries == {(len(outcomes) + 1) // 2}


def test_a_try_before_the_hop_counts_and_the_hop_does_not() -> None:
    hop = {"daemon": b"smtp", "relay": b"127.0.0.1[127.0.0.1]:10025"}
    events = [
        client(), queued(), tried(3, b"a@example.com", b"deferred", **hop),
        tried(4, b"a@example.com", b"sent", next_queue_id=b"Q2", **hop),
        client(4, b"Q2", b"127.0.0.1"), queued(4, b"Q2"),
    ]  # fmt: skip
    assert folded(events).message.rows[0].attempts == 1
    assert (
        folded([*events, tried(5, b"a@example.com", b"sent", b"Q2")]).message.rows[0].attempts == 2
    )


def test_a_recipient_of_several_that_the_inner_leg_names_otherwise_is_its_own_row() -> None:
    second = reinjected()[4]
    fields = list(second.fields)
    fields[2] = b"b@example.com"
    extra = tried(6, b"copy@example.com", b"sent", b"Q2")
    events = reinjected(second._replace(fields=tuple(fields)), extra)
    assert {row[0] for row in rows(*events)} == {
        b"a@example.com", b"b@example.com", b"copy@example.com",
    }  # fmt: skip


def test_an_alias_that_forwards_elsewhere_keeps_its_recipient() -> None:
    forwarded = {"daemon": b"local", "text": b"forwarded as Q2", "next_hop": b"forwarded"}
    events = [
        say(1, Kind.QUEUED, sender=b"s@example.net", instance=b"postfix-in"),
        tried(3, b"old@example.com", next_queue_id=b"Q2", **forwarded),
        queued(3, b"Q2"), tried(4, b"new@example.net", b"sent", b"Q2", daemon=b"smtp"),
    ]  # fmt: skip
    assert rows(*events) == [(b"old@example.com", b"new@example.net", "delivered", "relayed")]
    assert folded(events).message.instance == b"postfix-in"


def test_another_hosts_queue_id_is_no_hop() -> None:
    events = [queued(), tried(3, b"a@example.net", daemon=b"smtp", next_queue_id=b"FAR1")]
    assert rows(*events)[0][2:] == ("delivered", "relayed")
    assert folded(events).message.next_queue_ids == (b"FAR1",)


def test_a_requeued_message_goes_on_under_its_new_id() -> None:
    events = [
        client(), queued(), tried(3, b"a@example.com", b"deferred", text=b"x"),
        say(4, Kind.REQUEUED), say(5, Kind.PICKUP, b"Q2", uid=b"0", orig_queue_id=b"Q1"),
        queued(6, b"Q2"), tried(7, b"a@example.com", b"sent", b"Q2"),
    ]  # fmt: skip
    assert rows(*events) == [(b"a@example.com", b"a@example.com", "delivered", "stored")]
    assert folded(events).message.rows[0].attempts == 2


def test_a_loop_of_queue_ids_ends() -> None:
    events = [
        tried(1, b"a@example.com", b"sent", b"Q1", daemon=b"smtp", next_queue_id=b"Q2"),
        tried(2, b"a@example.com", b"sent", b"Q2", daemon=b"smtp", next_queue_id=b"Q1"),
    ]
    assert len(rows(*events)) == 1


# -- direction and login ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("login", "to", "direction"),
    [
        (b"alice", b"b@example.com", Direction.INTERNAL),
        (b"alice", b"b@example.net", Direction.OUTBOUND),
        (b"", b"b@example.com", Direction.INBOUND),
        (b"", b"b@example.net", Direction.INBOUND),
    ],
)
def test_direction(login: bytes, to: bytes, direction: Direction) -> None:
    opened = say(1, Kind.CLIENT, client_ip=b"192.0.2.1", login=login)
    (row,) = folded([opened, queued(), tried(3, to)]).message.rows
    assert row.direction == direction


def test_local_submission_is_from_inside_and_names_its_uid() -> None:
    events = [say(1, Kind.PICKUP, uid=b"1000", sender=b"bob"), queued(), tried(3, b"b@example.net")]
    message = folded(events).message
    assert message.login == b"uid=1000"
    assert message.rows[0].direction == Direction.OUTBOUND
    local = [transaction(client_port=b"", client_name=b"localhost"), spoke(1, b"b@example.com")]
    assert folded(local).message.client_ip is None
    assert folded(local).message.rows[0].direction == Direction.INTERNAL


def test_direction_is_unknown_where_nobody_said() -> None:
    assert folded([queued(), tried(3, b"a@example.com")]).message.rows[0].direction is None


# -- the set of events decides ----------------------------------------------------------


def many_tries(count: int) -> list[Event]:
    return [tried(10 + 60 * n, b"a@example.com", b"deferred", text=b"x") for n in range(count)]


@pytest.mark.parametrize("count", [9, 10, 11, 150, 200, 201, 400])
def test_attempts_are_capped_the_same_in_any_order(count: int) -> None:
    events = [queued(), *many_tries(count)]
    whole = folded(events)
    (row,) = whole.message.rows
    assert row.attempts == min(count, 200)
    assert row.attempts_capped == (count > 200)
    assert len(whole.events) == min(count, 10) + 1
    assert len(whole.dropped) == min(max(count - 10, 0), KEYS_DROPPED + 1)
    shuffled = events * 2
    random.Random(count).shuffle(shuffled)
    piecewise = folded(shuffled[:1])
    for event in shuffled[1:]:
        piecewise = folded([*piecewise.events, event], piecewise.dropped)
    assert piecewise == whole


STORY = [
    transaction(), spoke(1, b"info@example.com"), spoke(1, b"x@example.com", refused=b"1"),
    door(1, b"reject", b"RCPT", recipient=b"x@example.com", reply_code=b"550"),
    *reinjected(
        tried(6, b"b@example.com", b"deferred", b"Q2", recipient=b"a@example.com", text=b"x"),
        tried(9, b"b@example.com", b"sent", b"Q2", recipient=b"a@example.com"),
        say(10, Kind.REMOVED, b"Q2"),
    ),
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_order_and_number_of_events_folds_to_the_same_record(data: st.DataObject) -> None:
    picks = data.draw(st.lists(st.sampled_from(STORY), max_size=30))
    order = data.draw(st.permutations([*STORY, *picks]))
    cut = data.draw(st.integers(1, len(order) - 1))
    first = folded(order[:cut])
    assert folded([*first.events, *order[cut:]], first.dropped) == folded(STORY)


def test_plain_kinds_are_the_kinds() -> None:
    assert {name: int(kind) for name, kind in Kind.__members__.items()} == {
        name: value for name, value in vars(kinds).items() if name.isupper()
    }


def test_places_are_those_of_an_event() -> None:
    names = [*Event._fields[:5], "said"]
    assert [(name.upper(), place) for place, name in enumerate(names)] == [
        (name, value) for name, value in vars(places).items() if name.isupper()
    ]


def test_every_pair_of_events_folds_without_raising() -> None:
    kinds = [kind for kind in Kind if kind < Kind.CONNECT]
    for left, right in itertools.product(kinds, kinds):
        assert isinstance(folded([say(1, left), say(1, right)]).message, Message)


def test_rows_are_plain_recipients() -> None:
    assert all(isinstance(row, Recipient) for row in folded(STORY).message.rows)


# -- Sendmail -----------------------------------------------------------------------------


def said_by_sendmail(
    at_s: float, to: bytes, queue_id: bytes = b"Q1", controller: bytes = b""
) -> Event:
    return tried(at_s, to, b"sent", queue_id, daemon=b"local", text=b"Sent", controller=controller)


def spoken(at_s: float, *recipients: bytes) -> list[Event]:
    begun = say(
        at_s, Kind.TRANSACTION, client_ip=b"192.0.2.1", sender=b"s@example.net", stage=b"eom"
    )
    return [begun, *(say(at_s, Kind.RCPT, recipient=one) for one in recipients)]


def test_the_only_recipient_that_no_delivery_names_is_the_alias_of_those_nobody_spoke_of() -> None:
    events = [
        *spoken(1, b"team@example.com", b"carol@example.com"),
        queued(),
        *(said_by_sendmail(3, to) for to in (b"alice", b"bob", b"carol@example.com")),
    ]
    assert sorted(rows(*events), key=repr) == [
        (b"carol@example.com", b"carol@example.com", "delivered", "stored"),
        (b"team@example.com", b"alice", "delivered", "stored"),
        (b"team@example.com", b"bob", "delivered", "stored"),
    ]


def test_of_two_aliases_none_is_guessed() -> None:
    events = [
        *spoken(1, b"one@example.com", b"two@example.com"),
        queued(),
        said_by_sendmail(3, b"bob"),
    ]
    assert (b"bob", b"bob", "delivered", "stored") in rows(*events)
    assert len(rows(*events)) == 3


def test_who_controls_a_delivery_is_whom_it_was_for_unless_it_is_the_sender() -> None:
    events = [
        queued(sender=b"s@example.com"),
        said_by_sendmail(3, b"|/bin/x", controller=b"robot@example.com"),
        said_by_sendmail(3, b"bob@example.com", controller=b"s@example.com"),
    ]
    assert [row[:2] for row in rows(*events)] == [
        (b"bob@example.com", b"bob@example.com"),
        (b"robot@example.com", b"|/bin/x"),
    ]


@pytest.mark.parametrize(("size", "count"), [(b"0", b"1"), (b"900", b"0")])
def test_what_sendmail_did_not_take_has_no_row(size: bytes, count: bytes) -> None:
    assert rows(client(), say(2, Kind.QUEUED, sender=b"s@x.example", size=size, nrcpt=count)) == []


def test_a_client_that_left_in_the_middle_has_no_row() -> None:
    lost = say(2, Kind.DOOR, action=b"lost", stage=b"DATA")
    assert rows(client(), queued(), lost) == []


def test_a_place_in_the_queue_is_no_attempt() -> None:
    waiting = tried(2, b"bob@example.com", b"queued", text=b"")
    assert rows(queued(), waiting) == [
        (b"bob@example.com", b"bob@example.com", "in_progress", "queued")
    ]
    assert folded([queued(), waiting]).message.rows[0].attempts == 0


def test_a_line_read_without_its_login_is_the_same_line() -> None:
    poor = say(1, Kind.CLIENT, client_ip=b"192.0.2.1")
    rich = say(1, Kind.CLIENT, client_ip=b"192.0.2.1", login=b"bob", sasl_method=b"PLAIN", tls=b"x")
    for events in ([poor, rich], [rich, poor]):
        record = folded([*events, queued()])
        assert (record.message.login, len(record.events)) == (b"bob", 2)


@pytest.mark.parametrize("port", [b"65536", b"9" * 5_000, b"-1", b"1_0"])
@pytest.mark.parametrize("delay", [b"inf", b"nan", b"1e999", b"9" * 5_000])
def test_numbers_that_nothing_can_have_are_not_known(port: bytes, delay: bytes) -> None:
    door = transaction(client_port=port, size=b"9" * 5_000)
    record = folded([door, tried(3, b"b@example.com", delay=delay)])
    message = record.message
    assert (message.client_port, message.size_bytes) == (None, None)
    assert [row.delay_ms for row in message.rows] == [None]
    assert codec.decode(record.id, codec.encode(record, 1)) == record


@pytest.mark.parametrize("score", [b"nan", b"inf", b"-1e999", b"x"])
def test_a_score_that_is_no_number_is_none(score: bytes) -> None:
    verdict = say(1, Kind.VERDICT, filter=b"amavis", verdict=b"spam", score=score)
    assert folded([client(), verdict]).message.spam_score is None
