"""Understand how a message came to Sendmail: ``from=`` lines, and who refused what.

Formats (Sendmail source: logsender() of headers.c, rscheck() of parseaddr.c, MILTER_REPLY and
smtp() of srvrsmtp.c, milter_data() of milter.c, usrerr() of err.c)::

    ID: from=A, size=N, class=N[, pri=N], nrcpts=N[, msgid=M][, bodytype=T][, proto=P]
        [, daemon=D][, tls_verify=V][, auth=M], relay=CLIENT
    ID: ruleset=NAME, arg1=X[, arg2=Y][, relay=CLIENT], reject=REPLY | discard | quarantine=TEXT
    ID: Milter: to=A | from=A | helo=H | cmd=data | data | connect: ..., reject=REPLY | discard
    ID: milter=NAME, quarantine=TEXT
    ID: A... TEXT                     (refused by Sendmail itself; the reply's code is not logged)
    ID: rejecting commands from CLIENT due to pre-greeting traffic after N seconds

A sender's address is read by its quotes and is cut after 200 bytes; the Message-ID is between
fields that only Sendmail writes, and these are read from their side. The arguments of a ruleset
are the client's words: its reply is what stands behind the last field. Raises nothing.
"""

from typing import Final

from journal.events import ABSENT, Event
from milterd.lines import scan
from milterd.lines.scan import UNKNOWN, Parsed, codes, make
from milterd.lines.sendmail_parts import NOBODY, Peer, bare, one_end, peer
from milterd.lines.syslog import Line

INSTANCE: Final = b"sendmail"
"""Daemon, queue runner and submission log under several tags, and are one system."""

_TAIL: Final = (b"auth", b"tls_verify", b"daemon", b"proto", b"bodytype")

_STAGES: Final = {
    b"check_relay": b"CONNECT",
    b"check_mail": b"MAIL",
    b"check_rcpt": b"RCPT",
    b"tls_client": b"MAIL",
}
_NO_MAIL: Final = frozenset(
    (
        b"check_vrfy", b"check_expn", b"check_etrn", b"trust_auth", b"tls_server", b"tls_rcpt",
        b"try_tls", b"authinfo", b"check_compat", b"srv_features", b"queuegroup", b"greet_pause",
    )
)  # fmt: skip
"""Rulesets that are asked of a command that brings no mail, or at delivery: ``to=`` tells then."""


# -- from= ----------------------------------------------------------------------------------


def sender(line: Line, queue_id: bytes, begin: int) -> Parsed:
    """The line whose ``from=`` is at ``begin``: client, envelope, Message-ID."""
    text = line.text
    begin += 5
    end = one_end(text, begin)
    if not text.startswith(b", size=", max(end, 0)):
        end = (
            begin + 200
            if text.startswith(b", size=", begin + 200)
            else text.find(b", size=", begin)
        )
    if end < 0:
        return UNKNOWN
    numbers, at = _numbers(text, end)
    if numbers is None:
        return UNKNOWN
    address = bare(text[begin:end])
    if address == b"<NONE>":
        address = ABSENT
    who, message_id = _tail(text, at)
    login = b"uid=" + who.login if who.login else b""
    events = [
        make(line, scan.CLIENT, queue_id, (who.name, who.ip, b"", login, b"", b"", b"", b"")),
        make(line, scan.QUEUED, queue_id, (address, *numbers, INSTANCE)),
    ]
    if message_id:
        events.append(make(line, scan.MESSAGE_ID, queue_id, (message_id, INSTANCE)))
    return events if who is not NOBODY else events[1:]


def _numbers(text: bytes, end: int) -> tuple[tuple[bytes, bytes] | None, int]:
    """Size and number of recipients, and what is behind them."""
    size = b""
    while text.startswith(b", ", end):
        key, found, rest = text[end + 2 : end + 40].partition(b"=")
        value = rest.partition(b",")[0].strip(b" ")
        if not found or key not in (b"size", b"class", b"pri", b"nrcpts"):
            break
        end += 3 + len(key) + len(rest.partition(b",")[0])
        if not value.lstrip(b"-").isdigit():
            return None, end
        if key == b"size":
            size = value
        elif key == b"nrcpts":
            return (size, value), end
    return None, end


def _tail(text: bytes, at: int) -> tuple[Peer, bytes]:
    """The client, and the Message-ID without its brackets."""
    who = NOBODY
    mark = text.rfind(b", relay=", at)
    if mark >= 0:
        named = text[mark + 8 :]
        who = NOBODY if named == b"[RESPONSE]" else peer(named)
        text = text[:mark]
    for key in _TAIL:
        mark = text.rfind(b", " + key + b"=", at)
        if mark >= 0 and text.find(b", ", mark + 2) < 0:
            text = text[:mark]
    if not text.startswith(b", msgid=", at):
        return who, b""
    return who, bare(text[at + 8 :].strip(b" "))


# -- refusals -------------------------------------------------------------------------------


def door(
    line: Line,
    queue_id: bytes,
    action: bytes,
    stage: bytes,
    reply: bytes,
    *,
    sender: bytes = ABSENT,
    recipient: bytes = b"",
    who: Peer = NOBODY,
) -> Event:
    """What was done to a command or a message, and with which words."""
    code, enhanced = codes(reply)
    return make(
        line,
        scan.DOOR,
        queue_id,
        (
            action, stage, code, enhanced, reply, sender, recipient,
            who.name, who.ip, b"", b"", b"", line.daemon,
        ),
    )  # fmt: skip


def ruleset(line: Line, queue_id: bytes, begin: int) -> Parsed:
    """The line whose ``ruleset=`` is at ``begin``."""
    text = line.text
    comma = text.find(b", arg1=", begin)
    name = text[begin + 8 : comma]
    if comma < 0:
        return UNKNOWN
    stage = _STAGES.get(name, b"DATA")  # check_data, check_eom, and those for header fields
    action, reply, end = _verdict(text, comma + 7, content=stage == b"DATA")
    if not action:
        return UNKNOWN
    if name in _NO_MAIL:
        return None
    mark = text.rfind(b", relay=", comma, end)
    who = peer(text[mark + 8 : end]) if mark >= 0 else NOBODY
    argument = text[comma + 7 : mark if mark >= 0 else end]
    if stage == b"CONNECT" and not who.ip:
        who = _arguments(argument)
    return door(
        line,
        queue_id,
        action,
        stage,
        reply,
        sender=bare(argument) if stage == b"MAIL" and name == b"check_mail" else ABSENT,
        recipient=bare(argument) if stage == b"RCPT" else b"",
        who=who,
    )


def _verdict(text: bytes, begin: int, *, content: bool) -> tuple[bytes, bytes, int]:
    """What a ruleset did, its words, and where they begin; b"" where it is not said.

    An address is passed over by its quotes, and its ruleset's reply may repeat it; the text of a
    header field is not repeated, so that there the last field that fits is Sendmail's.
    """
    if text.endswith(b", discard"):
        return b"discard", b"discarded", len(text) - 9
    begin = max(begin, 0 if content else one_end(text, begin))
    for key, action in ((b" reject=", b"reject"), (b" quarantine=", b"milter-hold")):
        at = text.rfind(key, begin) if content else text.find(key, begin)
        if at >= 0:  # some logs have no comma there
            return action, text[at + len(key) :], at - (text[at - 1 : at] == b",")
    return b"", b"", -1


def _arguments(text: bytes) -> Peer:
    """check_relay's arguments: the client's name and its address."""
    name, _, ip = text.partition(b", arg2=")
    return peer(name + b" [" + ip.removeprefix(b"IPv6:") + b"]") if ip else peer(name)


def milter(line: Line, queue_id: bytes, begin: int) -> Parsed:
    """The line whose ``Milter: `` is at ``begin``."""
    text = line.text
    rest = text[begin + 8 :]
    if rest.startswith(b"data, "):
        return _milter_door(line, queue_id, b"END-OF-MESSAGE", rest[4:])
    if rest.startswith(b"cmd=data, "):
        return _milter_door(line, queue_id, b"DATA", rest[8:])
    for key, stage in ((b"to=", b"RCPT"), (b"from=", b"MAIL"), (b"helo=", b"HELO")):
        if rest.startswith(key):
            end = one_end(rest, len(key))
            if end < 0 or not rest.startswith((b", reject=", b", discard"), end):
                end = max(rest.find(b", reject=", len(key)), rest.find(b", discard", len(key)))
            if end < 0:
                return None  # "Milter: from=A, continue" and the like: a log with more words
            address = bare(rest[len(key) : end])
            return _milter_door(
                line,
                queue_id,
                stage,
                rest[end:],
                sender=address if stage == b"MAIL" else ABSENT,
                recipient=address if stage == b"RCPT" else b"",
            )
    if rest.startswith(b"connect: host="):
        return _milter_connect(line, queue_id, rest)
    return None  # "Milter: connect to filters", "Milter: no active filter": nothing of a message


def _milter_door(
    line: Line,
    queue_id: bytes,
    stage: bytes,
    rest: bytes,
    *,
    sender: bytes = ABSENT,
    recipient: bytes = b"",
) -> Parsed:
    """The end of a line: ``, reject=REPLY`` or ``, discard``."""
    if rest == b", discard":
        # Whichever command a filter answers so: the whole message is taken and thrown away.
        return door(
            line, queue_id, b"milter-discard", b"END-OF-MESSAGE", b"discarded",
            sender=sender, recipient=recipient,
        )  # fmt: skip
    if not rest.startswith(b", reject="):
        return None
    return door(
        line, queue_id, b"milter-reject", stage, rest[9:], sender=sender, recipient=recipient
    )


def _milter_connect(line: Line, queue_id: bytes, rest: bytes) -> Parsed:
    """``connect: host=NAME, addr=IP, reject=REPLY | rejecting commands | ...``."""
    host, found, after = rest[14:].partition(b", addr=")
    ip, _, words = after.partition(b", ")
    if not found:
        return UNKNOWN
    who = peer(host + b" [" + ip + b"]") if host[:1] != b"[" else peer(host)
    reply = words.partition(b"=")[2] or words
    return door(line, queue_id, b"milter-reject", b"CONNECT", reply, who=who)


def quarantine(line: Line, queue_id: bytes, begin: int) -> Parsed:
    """``milter=NAME, quarantine=TEXT`` at ``begin``; a filter's other answers are told again."""
    name, found, text = line.text[begin + 7 :].partition(b", quarantine=")
    if not found or b", " in name:
        return None
    return door(line, queue_id, b"milter-hold", b"END-OF-MESSAGE", text)


def pregreeting(line: Line, queue_id: bytes, begin: int) -> Parsed:
    """``rejecting commands from CLIENT due to pre-greeting traffic`` at ``begin``."""
    who, found, _ = line.text[begin + 24 :].partition(b" due to pre-greeting traffic")
    if not found:
        return None  # "due to pre-greeting close": it did not wait, and said nothing
    words = line.text[begin:]
    return door(line, queue_id, b"reject", b"CONNECT", words, who=peer(who.strip(b" ")))


def told_client(line: Line, queue_id: bytes, begin: int) -> Parsed:
    """``ADDRESS... TEXT`` at ``begin``, as the client of a RCPT was told; None: another text."""
    text = line.text
    end = one_end(text, begin) if text[begin : begin + 1] == b"<" else text.find(b"... ", begin)
    if end < 0 or not text.startswith(b"... ", end):
        return UNKNOWN
    address = bare(text[begin:end])
    if b" " in address and address[:1] != b'"':
        return UNKNOWN
    return door(line, queue_id, b"reject", b"RCPT", text[begin:], recipient=address)
