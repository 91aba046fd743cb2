"""From what was said in one SMTP session to the spool's record of each transaction.

Knows RFC 5321's envelope and RFC 5322's header, nothing of libmilter: arguments and macros
come as they were spoken, bytes where the wire's bytes were kept, else text with
``surrogateescape``. Gathering does next to nothing, because the MTA waits for it; all reading
is done by ``record``, once, by whoever has the time. Raises nothing.
"""

import hashlib
from collections.abc import Callable
from typing import Final, NamedTuple

from milterd.headers import ENVELOPE, REPORT, unfold, verdicts
from milterd.spool import VERSION, Body

FIELDS: Final = 500  # header fields kept of one message; MTAs limit their bytes
VALUE_BYTES: Final = 4000  # kept of one field

SubjectRule = Callable[[str], str]


class Session(NamedTuple):
    """What holds for all transactions of a connection, until a new HELO."""

    name: str = ""
    ip: str = ""
    port: int = 0
    daemon: str = ""
    helo: str = ""
    tls: str = ""


class Transaction:
    """One transaction while it is spoken, from MAIL on."""

    __slots__ = ("arguments", "at_us", "auth", "fields", "login", "queue_id", "recipients", "stage")

    def __init__(self, at_us: int, arguments: tuple[bytes, ...], login: str, auth: str) -> None:
        self.at_us = at_us
        self.arguments = arguments
        self.login = login
        self.auth = auth
        self.queue_id = ""
        self.stage = "mail"
        self.recipients: list[tuple[tuple[bytes, ...], str, str, str]] = []
        self.fields: list[tuple[str, bytes]] = []

    def add_recipient(
        self, arguments: tuple[bytes, ...], mailer: str, host: str, address: str
    ) -> None:
        """One RCPT, with the macros ``{rcpt_mailer}``, ``{rcpt_host}`` and ``{rcpt_addr}``."""
        self.stage = "rcpt"
        self.recipients.append((arguments, mailer, host, address))

    def add_field(self, name: str, value: bytes) -> None:
        """One header field, its name in lower case."""
        if len(self.fields) < FIELDS:
            self.fields.append((name, value[:VALUE_BYTES]))

    def size_bytes(self) -> int:
        """About how much memory this takes."""
        values = sum([len(value) for _, value in self.fields])
        return 1000 + 300 * len(self.recipients) + values


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
