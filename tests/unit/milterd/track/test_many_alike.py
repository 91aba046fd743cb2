"""A thousand mails that are alike cost no more each than ten: whoever sends them from outside.

Work is what is counted, not seconds: the calls that are made, those of the standard library too. An
index entry or a record that is read takes several.
"""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import Final

import pytest

from journal.events import Kind
from journal.records import FLAG_AMBIGUOUS, Record
from milterd.track.hearsay import TOLD
from milterd.track.kin import MOST
from tests.unit.milterd.track.feeds import Run, Story, line, other, rcpt, transaction
from tests.unit.milterd.track.test_joins import BOB, DSN, begin, dovecot, lmtp, sent

GROUP: Final = 10  # mails between two commits
KEEP: Final = 60  # messages that stay open: the others are in the journal alone
SAME: Final = "same@example.net"
GAP_S: Final = 0.4

Tell = Callable[[Story, int, float, str], None]
"""One mail more: its number, its time in seconds, its queue id."""

STORIES: dict[str, Tell] = {}


def alike(tell: Tell) -> Tell:
    STORIES[tell.__name__] = tell
    return tell


@alike
def one_message_id_from_a_client(story: Story, number: int, at: float, queue_id: str) -> None:
    port = 1024 + number
    story.spool.append(
        transaction(at, queue_id, [rcpt(BOB)], message_id=SAME, subject="s", port=port)
    )
    begin(story, at, queue_id, SAME)
    story.log += [
        sent(at + 0.3, "smtp", queue_id, BOB, "mx.example.org[192.0.2.9]:25", "250 2.0.0 Ok"),
        line(at + 0.3, "qmgr[2]", f"{queue_id}: removed"),
    ]


@alike
def one_message_id_given_back_by_a_program(
    story: Story, number: int, at: float, queue_id: str
) -> None:
    inner = "B" + queue_id[1:]
    begin(story, at, queue_id, SAME)
    story.log += [
        line(at + 0.2, "pickup[3]", f"{inner}: uid=110 from=<s@example.net>"),
        sent(at + 0.2, "pipe", queue_id, BOB, "spamfilter", "delivered via spamfilter service"),
        line(at + 0.2, "qmgr[2]", f"{queue_id}: removed"),
        line(at + 0.3, "cleanup[12]", f"{inner}: message-id=<{SAME}>"),
        line(at + 0.3, "qmgr[2]", f"{inner}: from=<s@example.net>, size=19, nrcpt=1 (queue active)"),
        sent(at + 0.3, "virtual", inner, BOB, "virtual", "delivered to maildir"),
        line(at + 0.4, "qmgr[2]", f"{inner}: removed"),
    ]  # fmt: skip


@alike
def one_message_id_handed_to_a_program(story: Story, number: int, at: float, queue_id: str) -> None:
    begin(story, at, queue_id, SAME)
    story.log += [
        sent(at + 0.2, "pipe", queue_id, BOB, "archive", "delivered via archive service"),
        line(at + 0.2, "qmgr[2]", f"{queue_id}: removed"),
    ]


@alike
def one_message_id_from_this_host(story: Story, number: int, at: float, queue_id: str) -> None:
    story.log += [
        line(at, "pickup[3]", f"{queue_id}: uid=110 from=<s@example.net>"),
        line(at, "cleanup[12]", f"{queue_id}: message-id=<{SAME}>"),
        line(at, "qmgr[2]", f"{queue_id}: from=<s@example.net>, size=19, nrcpt=1 (queue active)"),
        sent(at + 0.3, "virtual", queue_id, BOB, "virtual", "delivered to maildir"),
        line(at + 0.3, "qmgr[2]", f"{queue_id}: removed"),
    ]  # fmt: skip


@alike
def one_message_id_filed_by_dovecot(story: Story, number: int, at: float, queue_id: str) -> None:
    session = f"f3K0abcdEFghIJ{number:08d}"
    begin(story, at, queue_id, SAME)
    story.log.append(dovecot(at + 0.2, BOB, f"msgid=<{SAME}>: saved mail to INBOX", session))
    lmtp(story, at + 0.2, queue_id, BOB, session)


@alike
def one_session_of_dovecots(story: Story, number: int, at: float, queue_id: str) -> None:
    begin(story, at, queue_id, f"{number}@example.net")
    said = f"msgid=<{number}@example.net>: saved mail to INBOX"
    story.log.append(dovecot(at + 0.2, BOB, said))
    lmtp(story, at + 0.2, queue_id, BOB)


@alike
def one_message_id_in_one_session_of_dovecots(
    story: Story, number: int, at: float, queue_id: str
) -> None:
    begin(story, at, queue_id, SAME)
    story.log.append(dovecot(at + 0.2, BOB, f"msgid=<{SAME}>: saved mail to INBOX"))
    lmtp(story, at + 0.2, queue_id, BOB)


@alike
def one_message_id_named_by_dovecots_lda(
    story: Story, number: int, at: float, queue_id: str
) -> None:
    begin(story, at, queue_id, SAME)
    story.log += [
        other(at + 0.2, "dovecot", f"lda(bob): msgid=<{SAME}>: saved mail to Spam"),
        sent(at + 0.2, "pipe", queue_id, BOB, "dovecot", "delivered via dovecot service"),
        line(at + 0.3, "qmgr[2]", f"{queue_id}: removed"),
    ]


def spamd(at: float) -> bytes:
    text = (
        "spamd: result: . -1 - ALL scantime=0.1,size=9,user=x,uid=1,required_score=5.0,"
        f"rhost=::1,raddr=::1,rport=1,mid=<{SAME}>,autolearn=no"
    )
    return other(at, "spamd[5]", text)


@alike
def one_message_id_named_by_a_filter(story: Story, number: int, at: float, queue_id: str) -> None:
    begin(story, at, queue_id, SAME)
    story.log += [
        spamd(at + 0.2),
        sent(at + 0.3, "virtual", queue_id, BOB, "virtual", "delivered to maildir"),
        line(at + 0.3, "qmgr[2]", f"{queue_id}: removed"),
    ]


@alike
def one_message_id_that_only_a_filter_names(
    story: Story, number: int, at: float, queue_id: str
) -> None:
    story.log.append(spamd(at))


def noqueue(at: float, port: str = "") -> bytes:
    return line(at, "smtpd[11]", f"NOQUEUE: reject: RCPT from x[192.0.2.5]{port}: 550 5.1.1"
                f" <{BOB}>: User unknown; from=<s@example.net> to=<{BOB}> proto=SMTP helo=<x>")  # fmt: skip


@alike
def one_refusal_in_the_log(story: Story, number: int, at: float, queue_id: str) -> None:
    story.log.append(noqueue(at))


@alike
def one_refusal_from_one_port(story: Story, number: int, at: float, queue_id: str) -> None:
    story.log.append(noqueue(at, ":4000"))


@alike
def one_refusal_that_both_tell(story: Story, number: int, at: float, queue_id: str) -> None:
    story.spool.append(
        transaction(
            at, "", [rcpt(BOB, refused=True)], port=1024 + number, stage="rcpt", aborted=True
        )
    )
    story.log.append(noqueue(at + 0.1))


@alike
def one_refusal_that_the_milter_tells(story: Story, number: int, at: float, queue_id: str) -> None:
    refused = [rcpt(BOB, refused=True)]
    story.spool.append(transaction(at, "", refused, port=4000, stage="rcpt", aborted=True))


@alike
def one_refusal_of_long_sessions(story: Story, number: int, at: float, queue_id: str) -> None:
    end = int((at + 500) * 1_000_000) + 1_790_000_000_000_000
    refused = [rcpt(BOB, refused=True)]
    more = {"port": 1024 + number, "stage": "rcpt", "aborted": True, "end": end}
    story.spool.append(transaction(at, "", refused, **more))
    story.log.append(noqueue(at + 0.1))


@alike
def one_queue_id_at_the_next_host(story: Story, number: int, at: float, queue_id: str) -> None:
    begin(story, at, queue_id, f"{number}@example.net")
    reply = "250 2.0.0 Ok: queued as CCCC3333"
    story.log += [
        sent(at + 0.3, "smtp", queue_id, BOB, "mx.example.org[192.0.2.9]:25", reply),
        line(at + 0.3, "qmgr[2]", f"{queue_id}: removed"),
    ]


def _policy(at: float) -> bytes:
    return other(at, "postgrey[7]", "action=pass, reason=triplet found, delay=2, client_name=mail."
                 "example.net, client_address=192.0.2.5, sender=s@example.net, recipient=" + BOB)  # fmt: skip


@alike
def one_client_and_sender_at_a_policy_daemon(
    story: Story, number: int, at: float, queue_id: str
) -> None:
    story.log.append(_policy(at))


@alike
def one_client_and_sender_let_through(story: Story, number: int, at: float, queue_id: str) -> None:
    story.log.append(_policy(at))
    begin(story, at, queue_id, f"{number}@example.net")


VERP: Final = "news-cat=example.org@example.com"


@alike
def one_sender_to_whom_notices_come(story: Story, number: int, at: float, queue_id: str) -> None:
    report = [DSN, "", "", "", ""]
    more = {"subject": "failure notice", "report": report, "port": 1024 + number}
    story.spool.append(transaction(at, queue_id, [rcpt(VERP)], sender="", **more))


@alike
def one_sender_that_notices_prove(story: Story, number: int, at: float, queue_id: str) -> None:
    begin(story, at, queue_id, f"{number}@example.net", VERP)
    one_sender_to_whom_notices_come(story, number, at + 0.3, "D" + queue_id[1:])


@alike
def notices_that_name_one_message_id(story: Story, number: int, at: float, queue_id: str) -> None:
    begin(story, at, queue_id, SAME, "ann@example.com")
    more = {"subject": "failure notice", "report": [DSN, "", f"<{SAME}>", "", ""]}
    story.spool.append(
        transaction(
            at + 0.3, "D" + queue_id[1:], [rcpt("ann@example.com")], sender="",
            port=1024 + number, **more,
        )
    )  # fmt: skip


class Work:
    """Counts calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> "Work":
        sys.setprofile(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _called(self, frame: FrameType, what: str, _: object) -> None:
        self.calls += what in ("call", "c_call")


def work_of(tell: Tell, tmp_path: Path, groups: tuple[int, ...]) -> list[int]:
    """The calls that each of some groups of mails cost, of a long row of them."""
    story = Story()
    run = Run(tmp_path, story)
    found = []
    for group in range(max(groups) + 1):
        for number in range(group * GROUP, (group + 1) * GROUP):
            tell(story, number, number * GAP_S, f"A{number:07X}")
        counted = group in groups
        with Work() if counted else nullcontext() as work:
            run.take("spool", len(story.spool))
            run.take("log", len(story.log))
            run.correlator.flush()
            run.writer.commit()
            run.correlator.evict(KEEP)
        if work is not None:
            found.append(work.calls)
    run.writer.close()
    return found


FEW: Final = 7 * GROUP
MANY: Final = 4 * FEW


@pytest.mark.parametrize("name", STORIES)
def test_the_cost_of_a_mail_is_flat(name: str, tmp_path: Path) -> None:
    few = [FEW // GROUP - 1 - back for back in range(3)]
    many = [MANY // GROUP - 1 - back for back in range(3)]
    found = work_of(STORIES[name], tmp_path, (*few, *many))
    early, late = sum(found[:3]), sum(found[3:])
    assert late < early * 1.3, f"{early // (3 * GROUP)} calls a mail, then {late // (3 * GROUP)}"


def records_of(tell: Tell, tmp_path: Path, count: int, *, again: bool = False) -> list[Record]:
    """What a row of mails comes to, 10 ms apart."""
    story = Story()
    for number in range(count):
        tell(story, number, number / 100, f"A{number:07X}")
    run = Run(tmp_path, story)
    for turn in range(2 if again else 1):
        if turn:
            run.restart(back=len(story.log) + len(story.spool))
        for _ in range(count):
            run.take("spool", 1)
            run.take("log", len(story.log) // count)
            run.commit(KEEP)
    return run.finish()


@pytest.mark.parametrize("name", [
    "one_message_id_handed_to_a_program",
    "one_message_id_from_this_host",
    "one_message_id_filed_by_dovecot",
    "one_message_id_in_one_session_of_dovecots",
    "one_message_id_named_by_a_filter",
    "one_queue_id_at_the_next_host",
])  # fmt: skip
def test_mails_that_are_alike_stay_messages_of_their_own(name: str, tmp_path: Path) -> None:
    count = 80
    found = records_of(STORIES[name], tmp_path, count)
    assert len(found) == count
    assert [len(record.message.rows) for record in found] == [1] * count


def test_what_others_say_of_many_is_nobodys_and_they_are_flagged(tmp_path: Path) -> None:
    found = records_of(STORIES["one_message_id_named_by_a_filter"], tmp_path, 80)
    told = [sum(event.kind == Kind.VERDICT for event in record.events) for record in found]
    assert sum(told) <= 2 * MOST
    assert max(told) <= TOLD
    assert sum(record.message.flags & FLAG_AMBIGUOUS for record in found) >= 50


def test_whom_a_program_gave_which_of_many_mails_back_is_not_guessed(tmp_path: Path) -> None:
    """Each comes back once: no message has two of them, whichever it is."""
    found = records_of(STORIES["one_message_id_given_back_by_a_program"], tmp_path, 60)
    assert max(len(record.message.queue_ids) for record in found) <= 2


@pytest.mark.parametrize("name", [
    "one_refusal_in_the_log", "one_refusal_from_one_port", "one_refusal_that_the_milter_tells",
    "one_refusal_that_both_tell",
])  # fmt: skip
def test_refusals_that_are_alike_are_each_there_once_however_often_read(
    name: str, tmp_path: Path
) -> None:
    count = 120
    found = records_of(STORIES[name], tmp_path, count, again=True)
    assert len(found) == count
    assert [len(record.message.rows) for record in found] == [1] * count
