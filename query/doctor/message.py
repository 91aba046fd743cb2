"""A test message, sent and waited for: from the mail server's door to a row of the journal.

By SMTP where this machine may send to Postfix (``smtp_doors.door``), else to 127.0.0.1:25; where
nobody answers there, by the command sendmail(1). Its Message-ID is looked for in the journal until
the milter and the log have told of it, or the time is over. Raises nothing.
"""

import secrets
import shlex
import smtplib
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final

from journal.events import Source
from journal.keys import MESSAGE_ID, id_text
from journal.reader import Reader
from journal.records import Message, Status
from posttrail import smtp_doors
from posttrail.errors import PosttrailError
from posttrail.smtp_doors import Door
from query.doctor.finding import Finding, Seen
from query.doctor.names import check
from query.doctor.place import POSTFIX, Place

SEND_S: Final = 10.0
BOTH_S: Final = 5.0
"""A row is there: so long the other source may take to tell of it, and the outcome to come."""
_LOOK_S: Final = 0.05
_USUAL: Final = Door("127.0.0.1", 25)
_RESERVE_S: Final = 1.0  # to tell the outcome before the time is over
_LOG: Final = 1 << Source.LOG | 1 << Source.JOURNALD
_MILTER: Final = 1 << Source.MILTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What the journal said of it."""

    id: str
    after_s: float  # until there was a row
    status: str
    settled_s: float | None  # until the status was another than in_progress
    sources: int


def mail(address: str, number: str) -> EmailMessage:
    """The message; it says what it is."""
    made = EmailMessage()
    made["From"] = made["To"] = address
    made["Subject"] = "posttrail doctor: a test message"
    made["Date"] = formatdate()
    made["Message-ID"] = f"<{number}>"
    made["Auto-Submitted"] = "auto-generated"  # nobody's vacation answers it
    made.set_content("posttrail doctor sent this to see a message through. Nothing need be done.")
    return made


def run(place: Place) -> list[Finding]:
    """Send, and wait."""
    this = check("test-message")
    if not place.send:
        return [this.unchecked("it is sent only with --send ADDRESS")]
    number = f"posttrail-doctor-{secrets.token_hex(8)}@{socket.gethostname()}"
    began = time.monotonic()
    try:
        how = _sent(place, mail(place.send, number))
    except (OSError, smtplib.SMTPException, subprocess.SubprocessError) as error:
        told = Seen(place.send, str(error) or type(error).__name__)
        return [this.problem("the mail server does not take the test message", told,
                             mend=_status(place))]  # fmt: skip
    try:
        with Reader.open(place.journal) as reader:
            found = _awaited(reader, number.encode(), began, place)
    except PosttrailError as error:
        return [this.unchecked(f"it was sent {how}, and the journal cannot be read: {error}")]
    return [decided(found, how, time.monotonic() - began, place)]


def decided(found: Arrived | None, how: str, waited_s: float, place: Place) -> Finding:
    """The finding over what became of it."""
    this = check("test-message")
    sent = Seen(place.send, f"sent {how}")
    if found is None:
        return this.problem(
            f"the test message is not in the journal after {waited_s:.0f} s",
            sent,
            mend=(
                place.restart("trackd"),
                f"posttrail doctor --only message --send {shlex.quote(place.send)}",
            ),
        )
    status = found.status.replace("_", " ")
    if found.settled_s is not None:
        status += f" after {found.settled_s:.2f} s"
    row = Seen(f"posttrail show {found.id}", f"a row after {found.after_s:.2f} s, {status}")
    if not found.sources & _MILTER:
        return this.warning(
            "the test message was seen in the log, not by the milter", sent, row,
            mend="posttrail doctor --only milter; posttrail doctor --only mta",
        )  # fmt: skip
    if not found.sources & _LOG:
        return this.problem(
            "the test message was seen by the milter, not in the log", sent, row,
            mend="posttrail doctor --only log",
        )  # fmt: skip
    return this.ok(f"the test message was in the journal after {found.after_s:.2f} s", sent, row)


def _sent(place: Place, message: EmailMessage) -> str:
    """How it was handed over."""
    address = place.send
    door = (smtp_doors.door(place.postfix) if place.postfix else None) or _USUAL
    limit = max(0.1, min(SEND_S, place.left_s() - _RESERVE_S))
    try:
        client = smtplib.SMTP(door.host, door.port, timeout=limit)
    except OSError:
        subprocess.run(
            _sendmail(place, address), input=message.as_bytes(), check=True, timeout=limit,
            capture_output=True,
        )  # fmt: skip
        return "by the command sendmail"
    with client:
        client.sendmail(address, [address], message.as_bytes())
    return f"by SMTP to {door.host}:{door.port}"


def _sendmail(place: Place, address: str) -> Sequence[str]:
    where = ("-C", place.etc) if place.etc else ()
    return ("/usr/sbin/sendmail", *where, "-i", "-f", address, "--", address)


def _awaited(reader: Reader, number: bytes, began: float, place: Place) -> Arrived | None:
    """Until both sources have told of it and it has settled, or no longer than it takes."""
    found: Arrived | None = None
    while place.left_s() > _RESERVE_S:
        now = time.monotonic() - began
        for message in _messages(reader, number):
            if message.rows:
                found = _updated(found, message, now)
        if found is not None:
            both = found.sources & _MILTER and found.sources & _LOG
            if (both and found.settled_s is not None) or now - found.after_s > BOTH_S:
                return found
        time.sleep(_LOOK_S)
    return found


def _messages(reader: Reader, number: bytes) -> Iterator[Message]:
    for id, _ in reader.hits(MESSAGE_ID, number):
        message = reader.message(id)
        if message is not None and message.message_id == number:
            yield message


def _updated(found: Arrived | None, message: Message, now: float) -> Arrived:
    status = Status(message.status)
    settled = None if status is Status.IN_PROGRESS else now
    return Arrived(
        id=id_text(message.id),
        after_s=now if found is None else found.after_s,
        status=status.token,
        settled_s=settled if found is None or found.settled_s is None else found.settled_s,
        sources=message.sources,
    )


def _status(place: Place) -> str:
    """The command that starts the mail server."""
    if place.mta == POSTFIX and place.etc:
        return f"postfix -c {shlex.quote(place.etc)} start"
    return f"systemctl restart {place.mta or 'postfix'}"
