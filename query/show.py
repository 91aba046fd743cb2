"""``posttrail show ID``: one message, by its id or by a queue id.

Exit codes: 0, 1 nothing found, and those of ``errors``. Where several messages
had the queue id the newest is shown, and stderr names the others.
"""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, TextIO

import click

from journal import keys
from journal.reader import Reader
from journal.records import Message, Record
from posttrail.cli import Globals
from posttrail.text import safe
from query import details, export, redact, source, text_table
from query.details import Details, Moment
from query.options import text_or_json
from query.rows import Row
from query.scope import Scope
from query.when import END_US

if TYPE_CHECKING:
    from query.answers import Answers


MOST: Final = 100
"""Messages of one queue id: short ids come back after seconds, on a busy host many times."""


@click.command("show")
@click.argument("id", metavar="ID")
@text_or_json
@click.pass_obj
def show(options: Globals, /, id: str, form: str) -> int:
    """One message: envelope, verdicts, every row, timeline with evidence. ID may be a queue id."""

    def work(answers: "Answers") -> int:
        every = answers.message(id)
        if not every:
            text_table.say(f"nothing found under {id}")
            return 1
        found, others = every[0], every[1:]
        if others:
            ids = " ".join(other.id for other in others)
            text_table.say(
                f"{id} was used {len(others) + 1} times, the newest is shown; also: {ids}"
            )
        if form == "json":
            sys.stdout.write(export.json_line(details.document(found), sys.stdout))
        else:
            sys.stdout.writelines(lines(found, sys.stdout))
        return 0

    return source.ask(options, work)


def told(reader: Reader, name: bytes, scope: Scope) -> Iterator[Details]:
    """The documents under an id or queue id, newest first; of a queue id at most ``MOST``."""
    id = keys.parse_id(name.decode("ascii", "replace"))
    record = None if id is None else reader.record(id)
    shown = None if record is None else tell(reader, record, scope)
    if shown is not None:
        yield shown
        return
    # What is out of scope takes the steps, and so the time, of what is absent.
    for message in by_queue_id(reader, name, scope)[:MOST]:
        record = reader.record(message.id)
        shown = None if record is None else tell(reader, record, scope)
        if shown is not None:
            yield shown


def tell(reader: Reader, record: Record, scope: Scope) -> Details | None:
    """The document of a record, its links looked up."""

    def linked(queue_id: bytes) -> bytes | None:
        found = [m for m in by_queue_id(reader, queue_id, scope) if queue_id in m.queue_ids]
        time_us = record.message.time_us
        return min(found, key=lambda m: abs(m.time_us - time_us)).id if found else None

    return details.details(record, scope, find=linked)


def by_queue_id(reader: Reader, queue_id: bytes, scope: Scope) -> list[Message]:
    """The messages with a queue id that the scope may see, newest first."""
    found: dict[bytes, Message] = {}
    for id, _status in reader.hits(keys.QUEUE_ID, queue_id, 0, END_US):
        whole = reader.message(id)
        if whole is None:
            continue
        message = redact.seen(whole, scope)
        if queue_id not in (*message.queue_ids, *message.next_queue_ids):
            continue
        if message.rows or scope.sees_whole(whole):
            found[message.id] = message
    return sorted(found.values(), key=lambda message: (message.time_us, message.id), reverse=True)


def lines(found: Details, out: TextIO) -> Iterator[str]:
    """The document for eyes."""
    status = text_table.face(found.status, out) if found.status else "no recipient: abandoned"
    yield f"{found.id}  {status}  {text_table.local(found.time)} {text_table.zone_name()}\n"
    yield from text_table.aligned(list(_envelope(found)), indent="  ")
    for row in found.rows:
        yield "\n"
        yield from _row(row, found, out)
    if found.verdicts:
        yield "\nverdicts\n"
        heading = ("filter", "verdict", "score", "reason", "event")
        yield from text_table.aligned([heading, *_verdicts(found)], indent="  ")
    yield "\ntimeline\n"
    yield from text_table.aligned([_moment(moment) for moment in found.timeline], indent="  ")
    for link in found.links:
        yield f"\n{link.relation}: {safe(link.queue_id)}  {link.id or 'not in the journal'}\n"


def _envelope(found: Details) -> Iterator[tuple[str, str]]:
    client = " ".join(filter(None, (found.client_name, found.client_ip and f"[{found.client_ip}]")))
    said: tuple[tuple[str, object], ...] = (
        ("host", found.host),
        ("instance", found.instance),
        ("queue ids", " ".join(found.queue_ids)),
        ("passed on as", " ".join(found.next_queue_ids)),
        ("sender", text_table.sender(found.sender)),
        ("message id", found.message_id),
        ("subject", found.subject),
        ("size", found.size_bytes is not None and f"{found.size_bytes:,} bytes"),
        ("client", client + (f" port {found.client_port}" if found.client_port else "")),
        ("helo", found.helo),
        ("login", found.login),
        ("tls", found.tls),
        ("spam score", found.spam_score is not None and f"{found.spam_score:g}"),
        ("sources", ", ".join(found.sources)),
        ("note", found.ambiguous and "ambiguous: a join that could be made in two ways was not"),
        ("note", found.attempts_dropped and f"{found.attempts_dropped} attempts not kept"),
    )
    return ((name, safe(str(value))) for name, value in said if value)


def _row(row: Row, found: Details, out: TextIO) -> Iterator[str]:
    event = next((evidence.event for evidence in found.evidence if evidence.row == row.row), None)
    folder = f" ({row.folder})" if row.folder else ""
    yield f"{row.row}. {text_table.recipients(row)}\n"
    done = row.done_at and text_table.local(row.done_at)
    said: tuple[tuple[str, object], ...] = (
        ("status", f"{text_table.face(row.status, out)}: {row.reason}{folder}"),
        ("reply", row.reply),
        ("enhanced status", row.enhanced_status),
        ("relay", row.relay),
        ("attempts", row.attempts),
        ("direction", row.direction),
        ("done at", done),
        ("delay", row.delay_s is not None and f"{row.delay_s:g} s"),
        ("evidence", event and f"event {event}"),
    )
    yield from text_table.aligned(
        [(name, safe(str(value))) for name, value in said if value], indent="   "
    )


def _verdicts(found: Details) -> Iterator[tuple[str, ...]]:
    for verdict in found.verdicts:
        score = "-" if verdict.score is None else f"{verdict.score:g}"
        said = verdict.filter, verdict.verdict, score, verdict.reason, str(verdict.event)
        yield tuple(safe(cell or "-") for cell in said)


def _moment(moment: Moment) -> tuple[str, ...]:
    said = " ".join(f"{name}={_quoted(value)}" for name, value in moment.fields.items())
    stamp = f"{text_table.local(moment.time)}.{moment.time[-4:-1]}"
    queue_id = safe(moment.queue_id or "-")
    return str(moment.event), stamp, moment.source, queue_id, moment.kind, said


def _quoted(value: str) -> str:
    """A value of the timeline; quoted where it would not be one word."""
    shown = safe(value)
    return f'"{shown}"' if not shown or " " in shown else shown
