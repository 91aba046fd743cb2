"""Understand smtpd, cleanup and postscreen: how a message comes in, or does not.

Formats: see postfix_door for refusals; besides (smtpd.c, cleanup_message.c)::

    connect from NAME[IP][:PORT]              disconnect from NAME[IP][:PORT] ehlo=1 ...
    Anonymous TLS connection established from NAME[IP]: TLSv1.3 with cipher ...
    QID: client=NAME[IP][, sasl_method=M][, sasl_username=U][, sasl_sender=S]
         [, orig_queue_id=Q][, orig_client=NAME[IP]]
    QID: message-id=<M>
    warning: connect to Milter service SOCKET: REASON
    warning: QID: queue file size limit exceeded
    QID: removed (canceled|discarded)

Raises nothing.
"""

from typing import Final

from journal.events import ABSENT
from milterd.lines import scan
from milterd.lines.postfix_delivery import delivery
from milterd.lines.postfix_door import ACTIONS, SILENT, door
from milterd.lines.scan import UNKNOWN, Parsed, after_colon, client, make, queue_id_end, tls
from milterd.lines.syslog import Line

_SMTPD_CHATTER: Final = (
    b"lost connection after ",
    b"timeout after ",
    b"too many errors after ",
    b"improper command pipelining after ",
    b"non-SMTP command from ",
    b"SSL_accept",
    b"SSL3 alert",
    b"setting up TLS connection",
    b"initializing the server-side TLS",
    b"discarding EHLO keywords",
    b"fatal: ",
    b"error: ",
    b"panic: ",
    b"table ",
    b"dictionary has changed",
    b"statistics: ",
    b"Unverified: ",
    b"Verified: ",
    b"Trusted: ",
    b"Untrusted: ",
    b"NOQUEUE: client=",  # before a proxy filter: no queue file will have this name
    b"NOQUEUE: abort: ",
    b"NOQUEUE: lost connection after ",
    b"NOQUEUE: timeout after ",
    b"NOQUEUE: too many errors after ",
    b"mapping DSN status ",
    b"skipping address family ",
    b"using backwards-compatible",
    b"Illegal address syntax",
    b"support for restriction",
    b"Refusing STARTTLS",
    b"Refusing TLS service",
    b"Wrapper-mode request dropped",
    b"daemon started",
    b"sql_select option missing",
    b"auxpropfunc error",
    b"send attr ",
    b"name_mask: ",
    b"match_",
    b"certificate ",
    b"client certificate ",
    b"Peer ",
)
_POSTSCREEN_CHATTER: Final = (
    b"CONNECT from ",
    b"DISCONNECT ",
    b"PASS ",
    b"PREGREET ",
    b"HANGUP ",
    b"DNSBL rank ",
    b"COMMAND ",
    b"NON-SMTP COMMAND ",
    b"BARE NEWLINE ",
    b"BARE ",
    b"UNKNOWN ",
    b"WHITELIST",
    b"BLACKLIST",
    b"ALLOWLIST",
    b"DENYLIST",
    b"DATA without ",
    b"cache ",
    b"warning: ",
    b"fatal: ",
    b"error: ",
    b"panic: ",
    b"statistics: ",
    b"close database ",
    b"discarding EHLO keywords",
    b"entering STRESS mode",
    b"leaving STRESS mode",
    b"NOQUEUE: reject: CONNECT from ",
    b"reject: connect from ",
    b"reject: CONNECT from ",
    b"table ",
    b"NOQUEUE: BARE",
    b"BDAT without ",
    b"using backwards-compatible",
    b"[",  # "[IP]:PORT: replacing command ..."
)
_SESSION_ENDS: Final = (
    b"lost connection after ", b"timeout after ", b"too many errors after ", b"reply filter ",
)  # fmt: skip
_WORDS: Final = ACTIONS | SILENT  # before 2.3 they came first, without NOQUEUE
_TOO_LARGE: Final = b": queue file size limit exceeded"
_MILTER_DOWN: Final = b"warning: connect to Milter service "
_ESTABLISHED: Final = b"TLS connection established from "


def smtpd(line: Line) -> Parsed:
    """One line of the SMTP server (and of qmqpd)."""
    text = line.text
    if text.startswith(b"connect from "):
        found = client(text, 13)
        return make(line, scan.CONNECT, b"", found[:3]) if found else UNKNOWN
    if text.startswith(b"disconnect from "):
        found = client(text, 16)
        return make(line, scan.DISCONNECT, b"", (found[1],)) if found else UNKNOWN
    colon = queue_id_end(text)
    if colon > 0 and text[:colon] not in _WORDS:
        begin = after_colon(text, colon)
        if text[begin : begin + 7] == b"client=":
            return _client(line, text[:colon], begin + 7)
        if text.startswith(_SESSION_ENDS, begin):  # since 3.9 with the queue id
            return None
        return _action(line, text[:colon], begin)
    if text.startswith(b"warning: "):
        return _warning(line)
    mark = text.find(_ESTABLISHED, 0, 50)
    if mark >= 0:
        found = client(text, mark + len(_ESTABLISHED))
        if found is None:
            return UNKNOWN
        return make(line, scan.TLS_IN, b"", (found[1], tls(text[found[3] :].lstrip(b": "))))
    if text.startswith(_SMTPD_CHATTER) or b"rate limit exceeded: " in text[:70]:
        return None
    if text.startswith(b"NOQUEUE:"):
        return _action(line, b"", after_colon(text, 7))
    if text.startswith(b"Connection concurrency limit exceeded: "):
        return None
    return None if b"]: replacing command " in text else _action(line, b"", 0)


def _action(line: Line, queue_id: bytes, begin: int) -> Parsed:
    """``ACTION: STAGE from ...`` at ``begin``."""
    text = line.text
    if line.daemon == b"qmqpd" and b" while " in text:  # "NAME[IP]: lost connection while ..."
        return None
    end = text.find(b":", begin, begin + 40)
    if end < 0:
        return UNKNOWN
    return door(line, queue_id, text[begin:end], after_colon(text, end))


def _client(line: Line, queue_id: bytes, begin: int) -> Parsed:
    """A queue file opened for a client; its fields keep Postfix's order."""
    text = line.text
    found = client(text, begin)
    if found is None:
        return UNKNOWN
    name, ip, port, end = found
    if end == len(text):
        return make(line, scan.CLIENT, queue_id, (name, ip, port, b"", b"", b"", b"", b""))
    values = _options(text, end)
    method, login, _sender, orig_id, orig_client = values
    fields = (name, ip, port, login, method, b"", orig_client, orig_id)
    return make(line, scan.CLIENT, queue_id, fields)


_OPTIONS: Final = (
    b", sasl_method=",
    b", sasl_username=",
    b", sasl_sender=",
    b", orig_queue_id=",
    b", orig_client=",
)


def _options(text: bytes, at: int) -> list[bytes]:
    """The values of the optional fields: each ends where a later one, or the line, does.

    A login may hold ``, client=``, never a field that comes before its own.
    """
    values = [b""] * len(_OPTIONS)
    rest = text[at:]
    for index, key in enumerate(_OPTIONS):
        if rest.startswith(key):
            value = rest[len(key) :]
            for later in _OPTIONS[index + 1 :]:
                value = value.partition(later)[0]
            values[index] = value
            rest = rest[len(key) + len(value) :]
    return values


def _warning(line: Line) -> Parsed:
    """Two of the many warnings are about a message, or about us."""
    text = line.text
    if text.startswith(_MILTER_DOWN):
        return make(line, scan.GAP, b"", (b"milter", b"milter_unreachable", text[9:]))
    if text.endswith(_TOO_LARGE):
        queue_id = text[9 : -len(_TOO_LARGE)]
        if queue_id.isalnum():
            fields = (
                b"too-large", b"DATA", b"552", b"5.3.4", text[11 + len(queue_id) :],
                ABSENT, b"", b"", b"", b"", b"", b"", line.daemon,
            )  # fmt: skip
            return make(line, scan.DOOR, queue_id, fields)
    return None


def cleanup(line: Line) -> Parsed:
    """One line of cleanup: Message-ID, header checks, milters' verdicts."""
    text = line.text
    colon = queue_id_end(text)
    if colon < 0:
        if text.startswith(b"warning: "):
            return _warning(line)
        return None if text.startswith(_SMTPD_CHATTER) else UNKNOWN
    begin = after_colon(text, colon)
    queue_id = text[:colon]
    if text[begin : begin + 11] == b"message-id=":
        return make(
            line, scan.MESSAGE_ID, queue_id, (_message_id(text[begin + 11 :]), line.instance)
        )
    if text.startswith(b"resent-message-id=", begin):
        return None  # RFC 5322 3.6.6: names the resending, not the message
    if text.startswith(b"to=", begin):  # an expansion that cannot be: bounced by cleanup
        return delivery(line, queue_id, begin)
    if text.startswith(b"removed (", begin):  # since 3.11: "canceled" or "discarded"
        return make(line, scan.REMOVED, queue_id, ())
    if text.startswith(b"status=deferred (", begin) or b" map lookup problem -- " in text:
        return None
    return _action(line, queue_id, begin)


def _message_id(value: bytes) -> bytes:
    """What stands between the first ``<`` and the next ``>``, as the milter reads it; else all.

    A sender may write on behind it, and a long line may be cut before its end.
    """
    begin = value.find(b"<")
    if begin < 0:
        return value.strip(b" ")
    end = value.find(b">", begin)
    if end >= 0:
        return value[begin + 1 : end]
    return value[1:] if begin == 0 else value.strip(b" ")


def postscreen(line: Line) -> Parsed:
    """One line of postscreen; only what it says to RCPT names a message."""
    text = line.text
    if text.startswith(_POSTSCREEN_CHATTER):
        return None
    if text.startswith(b"NOQUEUE:"):
        return _action(line, b"", after_colon(text, 7))
    return None if _ESTABLISHED in text[:60] else _action(line, b"", 0)
