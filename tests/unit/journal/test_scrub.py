"""Scrubbing: every spelling goes, nobody else's rows change, and again is the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal import kinds
from journal.erased import Erased
from journal.events import ABSENT, Event
from journal.fold import fold
from journal.forget import Forget
from journal.locality import Locality
from journal.placeholders import is_placeholder
from journal.records import Record
from journal.scrub import Scrubber

KEY = bytes(range(32))
WHO = b"alice@example.com"
NOW_US = 1_700_000_000_000_000
HERE = Locality(local_domains=["example.com"])


def forgetting(*names: bytes, delimiters: bytes = b"+") -> Forget:
    erased = Erased(KEY)
    for name in names or (WHO,):
        erased = erased.with_address(name, NOW_US, delimiters)
    return Forget(erased)


@pytest.fixture
def scrubber() -> Scrubber:
    found = forgetting().at(NOW_US)
    assert found is not None
    return found


NAMES = [
    b"alice@example.com",
    b"Alice@EXAMPLE.com",
    b"<alice@example.com>",
    b'"alice"@example.com',
    b"alice@example.com.",
    b"alice+lists@example.com",
    b"prvs=3056d9f5a1=alice@example.com",
    b"btv1==0123==alice@example.com",
    b"list-alice=example.com@lists.example.net",
    b"SRS0=HHH=TT=example.com=alice@forward.example.net",
    b"SRS1=HHH=fwd.example.net==HHH=TT=example.com=alice@relay.example.net",
    b"alice%example.com@relay.example.net",
]


@pytest.mark.parametrize("name", NAMES)
def test_an_address_goes_in_every_spelling(scrubber: Scrubber, name: bytes) -> None:
    new = scrubber.name(name)
    assert b"alice" not in new.lower()
    assert b"erased" in new.lower()


TEXTS = [
    b"550 5.1.1 <alice@example.com>: Recipient address rejected",
    b"X-Forwarded to=alice@example.com, relay=local",
    b"ORCPT=rfc822;alice+2Btag@example.com",
    b"see https://mx.example.net/u?m=alice%40example.com&x=1",
    b"bounce for alice=40example.com",
    b"alice\\x40example.com said no",
    b"host said: example.com!alice unknown",
    b"create maildir /var/vmail/example.com/alice/tmp: Permission denied",
    b"'Alice@Example.Com' is over quota",
    b"mailto:alice&#64;example.com",
    b"/var/vmail/alice@example.com/Maildir",
    b"...alice@example.com",
    b'"alice"@example.com: no',
    b"spf=pass smtp.mailfrom=alice@example.com;",
    b"al\\ice@example.com".replace(b"l\\i", b"li") + b": \\alice\\@example.com",
]


@pytest.mark.parametrize("text", TEXTS)
def test_words_of_programs_lose_it(scrubber: Scrubber, text: bytes) -> None:
    new = scrubber.text(text)
    assert b"alice" not in new.lower()
    assert new != text


@pytest.mark.parametrize(
    "name",
    [
        b"big-alice@example.com",
        b"alice@example.net",
        b"alice@sub.example.com",
        b"alice.b@example.com",
        b"malice@example.com",
        b"alice",
        b"",
        ABSENT,
        b"bob@example.com",
    ],
)
def test_others_stay(scrubber: Scrubber, name: bytes) -> None:
    assert scrubber.name(name) == name
    assert scrubber.text(b"550 <%b>: no" % name) == b"550 <%b>: no" % name


def test_a_domain_in_another_script_is_one_in_both_forms() -> None:
    finder = forgetting("jürgen@bücher.example".encode()).at(NOW_US)
    assert finder is not None
    for name in ("jürgen@xn--bcher-kva.example", "JÜRGEN@bücher.example"):
        assert is_placeholder(finder.name(name.encode()))
        assert "rgen" not in finder.text(f"<{name}>: no".encode()).decode().lower()


def test_spellings_of_one_address_stay_apart_and_fold_to_one(scrubber: Scrubber) -> None:
    from journal.address import fold

    one, other = scrubber.name(WHO), scrubber.name(b"Alice@example.com")
    assert one != other
    assert fold(one) == fold(other)
    assert scrubber.name(b"alice+a@example.com") != scrubber.name(b"alice+b@example.com")


def event(kind: int, *fields: bytes, at_us: int = 0, queue_id: bytes = b"4bXyz0123456z") -> Event:
    return Event(NOW_US - 1000 + at_us, kind, 1, 7, queue_id, fields)


def delivery(to: bytes, text: bytes = b"250 ok", at_us: int = 5) -> Event:
    return event(
        kinds.DELIVERY, b"smtp", b"", to, b"mx.example.net[192.0.2.1]:25", b"1", b"", b"2.0.0",
        b"sent", text, b"", b"", b"", b"", b"", at_us=at_us,
    )  # fmt: skip


def sent_by(sender: bytes, *recipients: bytes) -> list[Event]:
    return [
        event(kinds.CLIENT, b"pc.example.org", b"198.51.100.7", b"", b"alice", b"PLAIN", b"", b"",
              b"", b""),
        event(kinds.MESSAGE_ID, b"20251125.1@pc.example.org", b"", b"holiday", at_us=1),
        event(kinds.QUEUED, sender, b"100", b"1", b"postfix", at_us=2),
        *(delivery(one, at_us=5 + number) for number, one in enumerate(recipients)),
    ]  # fmt: skip


def folded(events: list[Event]) -> Record:
    return fold(events, id=bytes(8), host=b"mx", locality=HERE)


def test_what_it_sent_loses_subject_and_message_id_and_bare_login() -> None:
    record = forgetting().record(folded(sent_by(WHO, b"bob@example.net")))
    message = record.message
    assert is_placeholder(message.sender or b"")
    assert is_placeholder(message.login or b"")
    assert message.subject == b"erased"
    assert (message.message_id or b"").startswith(b"erased")
    assert message.rows == folded(sent_by(WHO, b"bob@example.net")).message.rows
    assert b"alice" not in repr(record).encode()
    assert b"holiday" not in repr(record).encode()


def test_what_began_later_is_as_usual() -> None:
    young = [each._replace(at_us=each.at_us + 5_000) for each in sent_by(WHO, b"bob@example.net")]
    record = folded(young)
    assert forgetting().record(record) is record


def test_the_same_events_read_again_change_nothing() -> None:
    """A log imported again joins the record that was scrubbed, and is the same events."""
    events = sent_by(b"bob@example.net", WHO, b"carol@example.org")
    forget = forgetting()
    kept = forget.record(folded(events))
    scrubber = forget.at(NOW_US - 1000)
    assert scrubber is not None
    again = scrubber.events([*kept.events, *map(scrubber.event, events)])
    assert folded(again) == kept


def test_attempts_that_were_let_go_stay_counted() -> None:
    tries = [delivery(WHO, b"450 try %d" % n, at_us=n * 1_000_000 - 90_000_000)._replace(
        fields=(*delivery(WHO).fields[:7], b"deferred", b"450 try %d" % n, b"", b"", b"", b"", b"")
    ) for n in range(30)]  # fmt: skip
    before = folded(tries)
    forget = forgetting()
    after = forget.record(before)
    assert [row.attempts for row in before.message.rows] == [30]
    scrubber = forget.at(0)
    assert scrubber is not None
    again = fold(
        [*after.events, *scrubber.events(tries)], after.dropped, id=bytes(8), host=b"mx",
        locality=HERE,
    )  # fmt: skip
    assert [row.attempts for row in again.message.rows] == [30]


local = st.sampled_from([b"alice", b"Alice", b"alice+x", b"bob", b"big-alice", b'"a b"', b"carol"])
domain = st.sampled_from([b"example.com", b"EXAMPLE.com", b"example.net", b"mx.example.com"])
address = st.builds(lambda a, b: a + b"@" + b, local, domain)
words = st.sampled_from([b"250 ok", b"550 <%b> no", b"'%b' over quota", b"x %b=y", b"%b"])
text = st.builds(lambda word, name: word.replace(b"%b", name), words, address)


@given(sender=address, recipients=st.lists(st.tuples(address, text), max_size=5))
def test_only_placeholders_change_and_counts_never(
    sender: bytes, recipients: list[tuple[bytes, bytes]]
) -> None:
    events = [event(kinds.QUEUED, sender, b"100", b"1", b"postfix")]
    events += [delivery(to, said, at_us=n) for n, (to, said) in enumerate(recipients)]
    before = folded(events)
    forget = forgetting()
    after = forget.record(before)
    assert forget.record(after) == after  # twice is once
    assert len(after.message.rows) == len(before.message.rows)
    for old, new in zip(before.message.rows, after.message.rows, strict=True):
        assert old[2:4] == new[2:4]
        assert old[6:8] + old[9:] == new[6:8] + new[9:]
        is_hers = (old.final_recipient or b"").lower() in (
            b"alice@example.com", b"alice+x@example.com",
        )  # fmt: skip
        assert is_hers == (new.final_recipient != old.final_recipient)
    # What the fold makes of the scrubbed events has the same rows and counts.
    refolded = folded(list(after.events)).message
    assert [(row.status, row.direction) for row in refolded.rows] == [
        (row.status, row.direction) for row in before.message.rows
    ]


@given(st.binary(max_size=300), st.sampled_from([b"", b"alice@example.com", b"=example.com=alice"]))
def test_any_bytes_can_be_scrubbed_twice(noise: bytes, name: bytes) -> None:
    scrubber = forgetting().at(0)
    assert scrubber is not None
    for scrub in (scrubber.text, scrubber.name, scrubber.references):
        once = scrub(noise + name + noise)
        assert scrub(once) == once


def test_it_is_linear_in_the_text() -> None:
    import time

    scrubber = forgetting().at(0)
    assert scrubber is not None
    for unit in (b'"@example.com', b"a=example.com=", b"example.com/", b"\\@example.com", b"a-"):
        began = time.process_time()
        scrubber.text(unit * (65_536 // len(unit)))
        assert time.process_time() - began < 5
