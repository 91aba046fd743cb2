"""Understand refusals and other actions at the door: smtpd, cleanup, postscreen.

Formats (Postfix source: log_whatsup() of smtpd_check.c, cleanup_act_log() and
cleanup_milter.c, psc_smtpd.c)::

    smtpd, milters: ACTION: STAGE from NAME[IP]: REPLY; from=<A> to=<B> proto=P helo=<H>
                        [sasl_method=M] [sasl_username=U] [sasl_sender=S]
    postscreen:     reject: RCPT from [IP]:PORT: REPLY; from=<A>, to=<B>, proto=P, helo=<H>
    cleanup:        ACTION: header CONTENT from NAME[IP]; from=<A> to=<B> proto=P helo=<H>: TEXT
                    reject: mime-error ERROR: CONTENT from NAME[IP]; from=<A> to=<B>|<unknown>
    proxy filter:   proxy-reject: END-OF-MESSAGE: REPLY; from=<A> to=<B> proto=P helo=<H>

Content and the addresses that a reply repeats (without their quotes) are the client's
words and may imitate the fields, behind them an address in quotes may. Postfix takes
``<>;"`` and blanks out of a HELO. So the fields are where they can first be read, by
their quotes, to the very end of the line, better without a login, which may hold anything;
where that is nowhere, sender and recipient are left open. Raises nothing.
"""

from typing import Final, NamedTuple

from journal.events import ABSENT
from milterd.lines import scan
from milterd.lines.scan import UNKNOWN, Parsed, address_end, client, codes, make
from milterd.lines.syslog import Line

ACTIONS: Final = frozenset(
    prefix + action
    for prefix in (b"", b"milter-", b"milter-header-", b"milter-body-")
    for action in (b"reject", b"discard", b"hold", b"redirect", b"filter", b"bcc")
) | frozenset(
    (b"milter-quarantine", b"proxy-reject", b"proxy-accept", b"proxy-discard", b"proxy-hold")
)
"""What Postfix does to a message or its client, as logged."""

SILENT: Final = frozenset(
    prefix + action
    for prefix in (b"", b"milter-header-", b"milter-body-")
    for action in (
        b"reject_warning", b"warn", b"warning", b"info", b"permit", b"delay", b"sleep", b"trigger",
        b"replace", b"prepend", b"strip", b"pass", b"dunno", b"ignore", b"abort", b"accept",
        b"hangup",
    )
)  # fmt: skip
"""Actions that change nothing of a message's fate."""

_KEYS: Final = (b"; from=<", b"; to=<", b"; proto=", b"; helo=<", b"; sasl_method=")


_LOGINS: Final = (b"sasl_method=", b"sasl_username=", b"sasl_sender=")
_NO_MAIL: Final = frozenset((b"VRFY", b"ETRN", b"AUTH", b"STARTTLS"))  # a question, not a message
_NOBODY: Final = (b"", b"", b"")
_MAX_PLACES: Final = 16  # a line that has more of them was made to be misread


class _Fields(NamedTuple):
    """What the client said, as the end of the line has it."""

    at: int  # where the fields begin, the end of the line where there are none
    sender: bytes = ABSENT
    recipient: bytes = b""
    proto: bytes = b""
    helo: bytes = b""
    text: bytes = b""  # behind the fields


def door(line: Line, queue_id: bytes, action: bytes, begin: int) -> Parsed:
    """An action of smtpd, cleanup or postscreen; ``begin`` is where its stage begins."""
    if action in SILENT:
        return None
    if action not in ACTIONS:
        return UNKNOWN
    text = line.text
    if action.startswith(b"proxy-"):
        end = text.find(b":", begin)
        if end < 0:
            return UNKNOWN
        if action == b"proxy-accept" and not queue_id:
            queue_id = _behind(text[end + 1 :])
        return _reply(line, queue_id, action, text[begin:end], _NOBODY, end + 1)
    if text[begin : begin + 1].islower():
        return _content(line, queue_id, action, begin)
    end = text.find(b" from ", begin)
    if text[begin:end] in _NO_MAIL:
        return None
    found = client(text, end + 6) if end >= 0 else None
    if found is None or text[found[3] : found[3] + 1] not in (b":", b";"):
        return UNKNOWN
    return _reply(line, queue_id, action, text[begin:end], found[:3], found[3] + 1)


def _behind(reply: bytes) -> bytes:
    """The queue id that the server behind a proxy filter gave, b"" where the reply has none."""
    queue_id = reply.partition(b"; from=<")[0].rpartition(b"queued as ")[2].strip(b" .)")
    return queue_id if queue_id.isalnum() else b""


def _reply(
    line: Line,
    queue_id: bytes,
    action: bytes,
    stage: bytes,
    who: tuple[bytes, bytes, bytes],
    begin: int,
) -> Parsed:
    """The rest of a line whose stage and client are known: reply, then fields."""
    text = line.text
    fields = _find_fields(text, begin - 1, content=False)
    reply = text[begin : max(begin, fields.at)].strip(b" ").removesuffix(b";")
    return _event(line, queue_id, action, stage, reply, who, fields)


def _content(line: Line, queue_id: bytes, action: bytes, begin: int) -> Parsed:
    """header_checks and the like: the client's text stands before the fields."""
    fields = _find_fields(line.text, begin, content=True)
    stage, _, content = line.text[begin : fields.at].partition(b" ")
    if stage == b"mime-error" and fields.recipient == b"unknown":  # cleanup_message.c's word
        fields = fields._replace(recipient=b"")
    head, mark, origin = content.rpartition(b" from ")
    who = _NOBODY
    if mark:
        content = head
        who = found[:3] if (found := client(origin, 0)) else _NOBODY
    return _event(line, queue_id, action, stage, fields.text or content, who, fields)


def _event(
    line: Line,
    queue_id: bytes,
    action: bytes,
    stage: bytes,
    reply: bytes,
    who: tuple[bytes, bytes, bytes],
    fields: _Fields,
) -> Parsed:
    """The event itself."""
    code, enhanced = codes(reply)
    recipient = fields.recipient
    if action.endswith(b"redirect"):
        recipient = _new_recipient(reply) or recipient
    return make(
        line,
        scan.DOOR,
        queue_id,
        (
            action, stage, code, enhanced, reply, fields.sender, recipient,
            *who, fields.proto, fields.helo, line.daemon,
        ),
    )  # fmt: skip


def _new_recipient(reply: bytes) -> bytes:
    """The address that REDIRECT names, last in its text; b"" where none is."""
    address = reply.rpartition(b" triggers REDIRECT ")[2]
    return address if b"@" in address and b" " not in address else b""


def _find_fields(text: bytes, begin: int, *, content: bool) -> _Fields:
    """The fields: the first ``; KEY=`` from which the line can be read to its end.

    Behind them only content checks have text, in which no further fields can be.
    """
    places: list[int] = []
    for key in _KEYS:
        at = text.find(key, begin)
        while at >= 0 and len(places) < _MAX_PLACES:
            places.append(at)
            at = text.find(key, at + 1)
    places.sort()
    with_login: _Fields | None = None
    for at in places:
        fields, end = _read_fields(text, at)
        if end == len(text):
            return fields
        if text.startswith(_LOGINS, end) and with_login is None:
            with_login = fields
        if content and text[end : end + 1] == b":" and end > places[-1]:
            return fields._replace(text=text[end + 1 :].strip(b" "))
    if with_login is not None:
        return with_login
    if len(places) == 1:
        return _read_fields(text, places[0])[0]  # cut, or a HELO of before it was cleaned
    return _Fields(places[0] if places else len(text))


def _read_fields(text: bytes, begin: int) -> tuple[_Fields, int]:
    """The fields in Postfix's order, blanks or commas between, and where they end."""
    sender, at = _bracketed(text, begin + 2, b"from=<", ABSENT)
    recipient, at = _bracketed(text, at, b"to=<", b"")
    proto, helo = b"", b""
    if text.startswith(b"proto=", at):
        end = at + 6
        while end < at + 22 and text[end : end + 1].isalnum():  # ESMTP, SMTP, LMTP
            end += 1
        proto, at = text[at + 6 : end], _skip(text, end)
    if text.startswith(b"helo=<", at):
        end = text.find(b">", at)
        value = text[at + 6 : end] if end >= 0 else text[at + 6 :]
        if end < 0 or value.translate(None, b'<;" ') != value:
            return _Fields(begin, sender, recipient, proto, value), -1
        helo, at = value, _skip(text, end + 1)
    return _Fields(begin, sender, recipient, proto, helo), at


def _bracketed(text: bytes, at: int, key: bytes, absent: bytes) -> tuple[bytes, int]:
    """The address behind ``key`` at ``at``, and where the next field begins."""
    if not text.startswith(key, at):
        return absent, at
    begin = at + len(key)
    end = address_end(text, begin - 1)
    if end < 0 or (text[begin : begin + 1] != b'"' and text.find(b"<", begin, end) >= 0):
        return absent, -1  # cut, or the begin of an address that only looked like one
    return text[begin:end], _skip(text, end + 1)


def _skip(text: bytes, at: int) -> int:
    """Over what separates two fields: a blank, with a comma before it in postscreen."""
    if text[at : at + 1] == b",":
        at += 1
    return at + 1 if text[at : at + 1] == b" " else at
