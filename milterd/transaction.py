"""From what was said in one SMTP session to the spool's record of each transaction.

Knows RFC 5321's envelope and RFC 5322's header, nothing of libmilter: arguments and macros
come as they were spoken, bytes where the wire's bytes were kept, else text with
``surrogateescape``. Gathering does next to nothing, because the MTA waits for it; all reading
is done by ``record``, once, by whoever has the time. Raises nothing.
"""

import hashlib
import threading
from collections.abc import Callable
from typing import Final, NamedTuple

from milterd.headers import ENVELOPE, REPORT, unfold, verdicts
from milterd.spool import VERSION, Body

FIELDS: Final = 500  # header fields kept of one message; MTAs limit their bytes
VALUE_BYTES: Final = 4000  # kept of one field
FIELD_BYTES: Final = 100  # what Python takes for a field, about, beside its value
OWN_BYTES: Final = 8192  # of fields that every transaction may hold, whatever the others do
SHARE_BYTES: Final = 65_536  # that a transaction asks for where it has more
ROOM_BYTES: Final = 64 << 20  # of such shares in all: the unit's MemoryMax= is 256 MiB

SubjectRule = Callable[[str], str]


class Session(NamedTuple):
    """What holds for all transactions of a connection, until a new HELO."""

    name: str = ""
    ip: str = ""
    port: int = 0
    daemon: str = ""
    helo: str = ""
    tls: str = ""


class Room:
    """The memory that open transactions may take together for long headers.

    Callbacks of several sessions ask in several threads. A transaction asks once for each share,
    so nearly all mail never does.
    """

    def __init__(self, most_bytes: int = ROOM_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self.taken_bytes = 0
        self.dropped = 0  # header fields for which there was no room

    def take(self) -> int:
        """One share more; 0 where there is none left: then a field is counted as dropped."""
        with self._lock:
            if self.taken_bytes + SHARE_BYTES > self._most_bytes:
                self.dropped += 1
                return 0
            self.taken_bytes += SHARE_BYTES
            return SHARE_BYTES

    def give_back(self, size_bytes: int) -> None:
        """What a transaction had taken."""
        with self._lock:
            self.taken_bytes -= size_bytes


class Transaction:
    """One transaction while it is spoken, from MAIL on."""

    __slots__ = (
        "arguments", "at_us", "auth", "fields", "free_bytes", "login", "queue_id", "recipients",
        "room", "stage", "taken_bytes",
    )  # fmt: skip

    def __init__(
        self,
        at_us: int,
        arguments: tuple[bytes, ...],
        login: str,
        auth: str,
        room: Room | None = None,
    ) -> None:
        self.at_us = at_us
        self.arguments = arguments
        self.login = login
        self.auth = auth
        self.queue_id = ""
        self.stage = "mail"
        self.recipients: list[tuple[tuple[bytes, ...], str, str, str]] = []
        self.fields: list[tuple[str, bytes]] = []
        self.free_bytes = OWN_BYTES
        self.taken_bytes = 0  # of the room that all share
        self.room = room

    def add_recipient(
        self, arguments: tuple[bytes, ...], mailer: str, host: str, address: str
    ) -> None:
        """One RCPT, with the macros ``{rcpt_mailer}``, ``{rcpt_host}`` and ``{rcpt_addr}``."""
        self.stage = "rcpt"
        self.recipients.append((arguments, mailer, host, address))

    def add_field(self, name: str, value: bytes) -> None:
        """One header field, its name in lower case."""
        if len(self.fields) < FIELDS:
            value = value[:VALUE_BYTES]
            free_bytes = self.free_bytes - len(value) - FIELD_BYTES
            if free_bytes < 0 and self.room is not None:
                share = self.room.take()
                if not share:
                    return
                self.taken_bytes += share
                free_bytes += share
            self.free_bytes = free_bytes
            self.fields.append((name, value))

    def end(self) -> None:
        """Give back the room; what is kept is counted by the queue from now on."""
        if self.taken_bytes and self.room is not None:
            self.room.give_back(self.taken_bytes)
            self.taken_bytes = 0

    def size_bytes(self) -> int:
        """About how much memory this takes."""
        spoken = sum([len(argument) for one in self.recipients for argument in one[0]])
        fields = OWN_BYTES + self.taken_bytes - self.free_bytes
        return 1000 + 300 * len(self.recipients) + spoken + fields


def record(
    session: Session, said: Transaction, *, end_us: int, aborted: bool, subject: SubjectRule
) -> Body | None:
    """The record of a transaction that has ended; None when there was none.

    For a message that an access map discards, Postfix's cleanup opens a connection of its own
    (port 0) and breaks off before DATA: that phantom is no transaction.
    """
    if aborted and session.port == 0 and said.stage in ("mail", "rcpt"):
        return None
    address, *parameters = map(_text, said.arguments or (b"",))
    first, others = _header(said.fields)
    body: Body = {
        "v": VERSION,
        "t": "txn",
        "at": said.at_us,
        "end": end_us,
        "id": said.queue_id,
        "stage": said.stage,
        "aborted": aborted,
        "ip": session.ip,
        "port": session.port,
        "name": _name(session.name),
        "helo": session.helo,
        "tls": session.tls,
        "login": said.login,
        "auth": said.auth,
        "daemon": session.daemon,
        "params": parameters,
        "size": _size(parameters),
        "rcpts": [_recipient(*recipient) for recipient in said.recipients],
        "message_id": _message_id(first.get("message-id", "")),
        "subject": subject(first.get("subject", "")),
        "from": first.get("from", ""),
        "date": first.get("date", ""),
        "verdicts": verdicts(others) if others else [],
    }
    if said.arguments:
        body["sender"] = bare(address)
        report = [first.get(name, "") for name in REPORT]
        if not body["sender"] and any(report):  # may be a notice about a message of ours
            body["report"] = report
    return body


def bare(address: str) -> str:
    """An address without its angle brackets; local mail has none."""
    return address[1:-1] if address[:1] == "<" and address[-1:] == ">" else address


def hashed(key: bytes) -> SubjectRule:
    """Subjects that can be told apart, yet not read without the key."""

    def rule(subject: str) -> str:
        raw = subject.encode("utf-8", "surrogateescape")
        return "#" + hashlib.blake2b(raw, digest_size=8, key=key).hexdigest() if raw else ""

    return rule


def stored(subject: str) -> str:
    """Subjects as they are."""
    return subject


def off(subject: str) -> str:
    """No subjects."""
    return ""


def _name(name: str) -> str:
    """A client's name. Where it has none, Sendmail gives its address in brackets."""
    return "unknown" if name[:1] == "[" and name[-1:] == "]" else name


def _recipient(
    arguments: tuple[bytes, ...], mailer: str, host: str, address: str
) -> list[str | int | list[str]]:
    recipient, *parameters = map(_text, arguments)
    if mailer == "error":  # SMFIP_RCPT_REJ: host is the enhanced status, address the reply text
        return [bare(recipient), mailer, "", 1, host, address, parameters]
    nexthop = host.removesuffix(".")  # Sendmail's names are rooted
    return [bare(recipient), mailer, nexthop, 0, "", "", parameters]


def _header(fields: list[tuple[str, bytes]]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The fields we keep, the first of a name that says something, and those of verdicts."""
    first: dict[str, str] = {}
    others: list[tuple[str, str]] = []
    for name, value in fields:
        if name not in ENVELOPE and name not in REPORT:
            others.append((name, unfold(_text(value))))
        elif not first.get(name):
            first[name] = unfold(_text(value))
    return first, others


def _message_id(value: str) -> str:
    """What stands between the first ``<`` and the next ``>``, else all of it."""
    inner, closed, _ = value.partition("<")[2].partition(">")
    return inner if closed else value


def _size(parameters: list[str]) -> int | None:
    """The size the client declared (RFC 1870)."""
    for parameter in parameters:
        digits = parameter[5:]
        if parameter[:5].upper() == "SIZE=" and digits.isascii() and digits.isdigit():
            return int(digits[:18])
    return None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
