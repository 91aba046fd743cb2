"""Understand Sendmail's ``to=`` lines: what became of recipients.

Format (Sendmail source, logdelivery() of deliver.c)::

    ID: to=LIST[, ctladdr=A[ (UID/GID)]], delay=D[, xdelay=D][, mailer=M][, pri=N]
        [, relay=HOST[ [IP]]][, quarantine=TEXT][, dsn=X.Y.Z][, ntries=N][, stage=S]
        [, reply=REPLY], stat=TEXT

It is logged by a delivery (always with ``xdelay=``), when a message is put into the queue
(stat=queued, stat=quarantined), and for all recipients of a message that was refused or
given up before it was queued, there without ``mailer=``. ``reply=`` and ``stat=`` hold the other
side's words, which may imitate what follows: only a failed try has a ``reply=``, and its
``dsn=`` stands before it. Raises nothing.
"""

from typing import Final

from journal.events import ABSENT, Event
from milterd.lines import scan
from milterd.lines.scan import UNKNOWN, Parsed, make
from milterd.lines.sendmail_parts import addresses, bare, one_end, relay, seconds
from milterd.lines.syslog import Line

MAILERS: Final = {
    # Mailers of cf/mailer/*.m4, as the agents of Postfix that do the same: where does it end?
    b"local": b"local",
    b"*file*": b"local",
    b"lmtp": b"lmtp",
    b"cyrus": b"lmtp",
    b"cyrusbb": b"lmtp",
    b"cyrusv2": b"lmtp",
    b"cyrusv2d": b"lmtp",
    b"esmtp": b"smtp",
    b"smtp": b"smtp",
    b"smtp8": b"smtp",
    b"dsmtp": b"smtp",
    b"esmtpds": b"smtp",
    b"relay": b"relay",
    b"prog": b"pipe",
    b"procmail": b"pipe",
    b"maildrop": b"pipe",
    b"dovecot": b"pipe",
    b"usenet": b"pipe",
    b"fax": b"pipe",
    b"discard": b"discard",
}
"""A mailer with another name is kept under that: the site defined it, and we do not know it."""

_KEYS: Final = (
    b"delay", b"xdelay", b"mailer", b"tls_verify", b"pri", b"relay", b"quarantine", b"dsn",
    b"ntries", b"stage",
)  # fmt: skip
_FOR_NOW: Final = (b"Deferred", b"Operating system error", b"I/O error")  # EX_TEMPFAIL and 4.0.0
_GIVEN_UP: Final = frozenset(
    {b"aborted by sender", b"RSET", b"rset", b"HELO", b"helo", b"EHLO", b"ehlo", b"STARTTLS"}
)
"""The client began anew or left: nothing was refused, nothing was taken."""
_BROKEN: Final = (b"timeout waiting for input ", b"collect: ", b"lost input channel ")
_OURS: Final = (b"127.0.0.1", b"::1")


def parse(line: Line, queue_id: bytes, begin: int) -> Parsed:
    """The line whose ``to=`` is at ``begin``."""
    text = line.text
    recipients, end = addresses(text, begin + 3)
    controller = b""
    if end >= 0 and text.startswith(b", ctladdr=", end):
        controller, end = _controller(text, end + 10)
    if end < 0 or not recipients or not text.startswith(b", delay=", end):
        return UNKNOWN
    found = _fields(text, end)
    if found is None:
        return UNKNOWN
    values, reply, stat = found
    if stat == b"quarantined":
        reason = values.get(b"quarantine", b"")
        return [_door(line, queue_id, b"milter-hold", one, reason) for one in recipients]
    if stat == b"queued":
        return [
            _attempt(line, queue_id, one, controller, values, b"queued", b"") for one in recipients
        ]
    tried = b"mailer" in values or b"xdelay" in values or stat.startswith((b"Sent", b"Deferred"))
    if not tried:
        return _undelivered(line, queue_id, recipients, stat)
    outcome = _outcome(values.get(b"dsn", b""), reply, stat)
    words = _said(values, reply, stat)
    return [_attempt(line, queue_id, one, controller, values, outcome, words) for one in recipients]


def _controller(text: bytes, begin: int) -> tuple[bytes, int]:
    """Who controls the delivery, without the numbers of the user and group, and where it ends.

    The address may be shortened in its middle and then has no end of its own.
    """
    end = one_end(text, begin)
    at = text.find(b", delay=", max(end, begin))
    if end < 0 or at < 0:
        return b"", at
    address, found, rest = text[begin:at].rpartition(b" (")
    numbers = rest.removesuffix(b")").replace(b"/", b"").replace(b"-", b"")
    return (bare(address) if found and numbers.isdigit() else bare(text[begin:at])), at


def failed(line: Line, queue_id: bytes, recipient: bytes, dsn: bytes, text: bytes) -> Event:
    """A failure of which no ``to=`` line tells."""
    return _attempt(line, queue_id, recipient, b"", {b"dsn": dsn}, b"bounced", text)


def _fields(text: bytes, end: int) -> tuple[dict[bytes, bytes], bytes, bytes] | None:
    """What stands between the list and ``stat=``, by key; the other side's reply; and stat."""
    values: dict[bytes, bytes] = {}
    while text.startswith(b", ", end):
        begin = end + 2
        equals = text.find(b"=", begin)
        if equals < 0:
            return None
        key = text[begin:equals]
        if key == b"stat":
            return values, b"", text[equals + 1 :]
        if key == b"reply":
            at = text.find(b", stat=", equals)
            if at < 0:
                return values, text[equals + 1 :], b""
            return values, text[equals + 1 : at], text[at + 7 :]
        if key not in _KEYS or key in values:
            return None
        end = text.find(b", ", equals)
        if key == b"quarantine":  # a filter's words
            end = max(text.find(b", dsn=", equals), text.find(b", stat=", equals))
        if end < 0:
            return None
        values[key] = text[equals + 1 : end]
    return None


def _outcome(dsn: bytes, reply: bytes, stat: bytes) -> bytes:
    """The MTA's word for the result of a try."""
    if not reply and (stat == b"Sent" or stat.startswith((b"Sent (", b"Sent, "))):
        return b"sent"
    if stat.startswith(b"Deferred") and dsn[:1] != b"5":
        return b"deferred"
    if dsn[:1] == b"2" and not reply:
        return b"sent"
    if dsn[:1] == b"4" or (not dsn and stat.startswith(_FOR_NOW)):
        return b"deferred"
    return b"bounced"


def _said(values: dict[bytes, bytes], reply: bytes, stat: bytes) -> bytes:
    """What is in stat=, and behind it the reply of the other side where the line has it."""
    if not reply:
        return stat
    stat = stat.removesuffix(reply).rstrip(b": ")  # "Deferred: 450 ..." repeats it
    return stat + b" (host " + relay(values.get(b"relay", b"")) + b" said: " + reply + b")"


def _attempt(
    line: Line,
    queue_id: bytes,
    recipient: bytes,
    controller: bytes,
    values: dict[bytes, bytes],
    outcome: bytes,
    text: bytes,
) -> Event:
    """One try for one recipient, or its place in the queue."""
    mailer = values.get(b"mailer", b"")
    daemon = MAILERS.get(mailer, mailer)
    where = relay(values.get(b"relay", b""))
    if not where and daemon not in (b"smtp", b"relay") and outcome != b"queued":
        where = mailer
    if mailer == b"*file*" and text == b"Sent":
        text = b"delivered to file: " + recipient
    next_id = _next(text) if outcome == b"sent" else b""
    return make(
        line,
        scan.DELIVERY,
        queue_id,
        (
            daemon, b"", recipient, where, seconds(values.get(b"delay", b"")), b"",
            values.get(b"dsn", b""), outcome, text, b"", next_id, b"queued" if next_id else b"",
            controller if mailer != b"relay" else b"",  # the submission's: its sender
        ),
    )  # fmt: skip


def _next(text: bytes) -> bytes:
    """The queue id that the next host gave the message; b"" where it does not say."""
    said = text[6:-1] if text[:6] == b"Sent (" and text[-1:] == b")" else b""
    head, found, _ = said.partition(b" Message accepted for delivery")
    if not found:
        mark = said.rfind(b"queued as ")
        begin = mark + 10 if mark >= 0 else 6 if said[:6] == b"OK id=" else -1
        head = said[begin:].split(None, 1)[0] if 0 <= begin < len(said) else b""
    word = head.rpartition(b" ")[2].rstrip(b").,;")
    known = len(word) <= 64 and word.replace(b"_", b"0").replace(b"-", b"0").isalnum()
    return word if known else b""


def _undelivered(line: Line, queue_id: bytes, recipients: list[bytes], stat: bytes) -> Parsed:
    """The recipients of a message that never came into the queue."""
    if stat in _GIVEN_UP:
        return None
    if stat == b"discarded":
        return [_door(line, queue_id, b"discard", one, stat) for one in recipients]
    return [_door(line, queue_id, b"reject", one, stat) for one in recipients]


def _door(line: Line, queue_id: bytes, action: bytes, recipient: bytes, text: bytes) -> Event:
    """What was done with the whole message, as told of one recipient."""
    code, enhanced = scan.codes(text)
    if text.startswith(_BROKEN):
        enhanced = enhanced or b"4.4.1"  # the server's last word is 421 4.4.1 or 451 4.4.1
    return make(
        line,
        scan.DOOR,
        queue_id,
        (
            action, b"END-OF-MESSAGE", code, enhanced, text, ABSENT, recipient,
            b"", b"", b"", b"", b"", line.daemon,
        ),
    )  # fmt: skip
