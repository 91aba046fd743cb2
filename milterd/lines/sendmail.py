"""From a line of Sendmail to what it tells.

Format: ``ID: WORDS`` under the tags of ``TAGS`` (sendmail -L names them). The first word tells
the kind: ``from=`` and refusals are read by sendmail_door, ``to=`` by sendmail_delivery,
notices, sessions and all that tells nothing here. Raises nothing, whatever the line.
"""

from typing import Final

from milterd.lines import scan, sendmail_delivery, sendmail_door
from milterd.lines.scan import UNKNOWN, Parsed, make
from milterd.lines.sendmail_parts import bare, host, id_end, part, peer, unescape
from milterd.lines.syslog import Line

TAGS: Final[tuple[bytes, ...]] = (
    b"sendmail", b"sm-mta", b"sm-msp-queue", b"sm-msp", b"sm-que", b"sm-client", b"sm-msa",
    b"sm-acceptingconnections",
)  # fmt: skip

_NOTICES: Final = {
    b"DSN": b"sender non-delivery",
    b"return to sender": b"sender non-delivery",
    b"sender notify": b"sender delay",
    b"postmaster notify": b"postmaster non-delivery",
}
_EXPIRED: Final = b"Cannot send message "
_SUCCESS: Final = b"Return receipt"

_CHATTER: Final = (
    b"STARTTLS", b"AUTH", b"SYSERR", b"Authentication-Warning: ", b"alias ", b"forward ",
    b"starting daemon", b"stopping daemon", b"restarting ", b"started as: ", b"started with: ",
    b"lost input channel ", b"timeout waiting for input ", b"collect: ", b"clone ",
    b"SMTP outgoing connect ", b"SMTP ", b"connect from ", b"Milter (", b"Milter accept",
    b"Milter add", b"Milter change", b"Milter delete", b"Milter insert", b"Milter read",
    b"Milter message", b"Milter chgfrom", b"milter_", b"milter=", b"makeconnection",
    b"gethostbyaddr", b"gethostbyname", b"hash map", b"runqueue", b"rejecting connections ",
    b"accepting connections", b"rejecting new messages", b"accepting new messages",
    b"delaying ", b"delaying=", b"grew WorkList", b"WorkList ", b"low on space", b"queueup",
    b"unable to ", b"cannot ", b"can't ", b"could not ", b"daemon ", b"config error", b"ERROR",
    b"Warning: ", b"WARNING: ", b"NOTICE: ", b"POSSIBLE ATTACK", b"Truncated ", b"Fixed MIME",
    b"Dropped invalid", b"truncated ", b"headers too large", b"header overflow",
    b"message size ", b"Message exceeds", b"too many ", b"Too many ", b"possible SMTP attack",
    b"unauthorized PIPELINING", b"server=", b"tls_", b"conn_limits", b"engine=", b"problem ",
    b"Possible SMTP", b"invalid domain name", b"smtpquit: ", b"sync_dir", b"sm_", b"ldap",
    b"timeout ", b"in background", b"finis", b"disconnect", b"unlink", b"unlock", b"locked",
    b"dowork", b"assigned id", b"dropenvelope", b"sendenvelope", b"changed", b"too young",
    b"poststats", b"error: ", b"Sending ",
    b"--- ", b"-- ", b"quarantine=", b"Saved message ", b"cert ", b"Bad line",
    b"fill_fd", b"safesasl", b"getauth", b"usershellok", b"dns", b"clt_features", b"stat=",
    b"control socket", b"persistent queue runner", b"proc_list_probe", b"dumping state",
    b"include ", b"filesys_update", b"Losing", b"inconsistent", b"x-connect", b"milter: ",
    b"split: ", b"setsender", b"mail_esmtp", b"deferring ", b"premature EOM", b"opening ",
)  # fmt: skip
"""Lines that tell nothing of a message's fate, or what another line tells of each recipient."""

_REPLIES: Final = (
    b"Access denied", b"Need MAIL", b"Need RCPT", b"Polite people", b"No such ", b"Command ",
    b"Requested ", b"Connection ", b"Please ", b"Denied", b"Fix ", b"rejecting ",
    b"Header error", b"Message ", b"Sender ", b"Nested MAIL", b"Syntax error", b"syntax error",
    b"Syntax Error", b"closing connection", b"bad ", b"Bad ", b"Domain ", b"invalid ", b"Invalid ",
)  # fmt: skip
"""Words for a client that named no recipient; each refused one has a line of its own."""

_SESSION: Final = (
    b" did not issue MAIL/EXPN/VRFY/ETRN", b" [rejected]", b"]: VRFY ", b"]: EXPN ", b"]: vrfy ",
    b"]: expn ", b"]: Vrfy ", b"]: Expn ", b"(may be forged): ", b": possible SMTP attack: ",
    b": Possible SMTP RCPT flood", b": SMTP violation, ", b": probable open proxy: ", b": ETRN ",
    b": SMTP MAIL protocol error: ", b": SMTP RCPT protocol error: ", b" protocol error: ",
    b" unsafe directory path", b" has bad shell ", b" writable ", b": dangerous ",
    b" aliases, longest ", b": fcntl", b" closing connection", b" rejection", b": unlink-fail",
)  # fmt: skip
"""Lines that begin with the client's name or a file's, and what is said of it."""


def parse(line: Line) -> Parsed:
    """The events of a line; None: it tells nothing of a message; UNKNOWN: not understood."""
    text = line.text
    if b"\\" in text:
        text = unescape(text)
        line = line._replace(text=text)
    end = id_end(text)
    if end < 0:
        if text.startswith(b"NOQUEUE: "):
            return _words(line, b"", 9)
        return _words(line, b"", 0)
    number, begin = part(text, end)
    if number < 0:
        return UNKNOWN
    if number > 1:
        return None  # the rest of a line whose beginning was told before
    return _words(line, text[:end], begin)


def _words(line: Line, queue_id: bytes, begin: int) -> Parsed:
    """What stands behind the queue id."""
    text = line.text
    if queue_id:
        if text.startswith(b"to=", begin):
            return sendmail_delivery.parse(line, queue_id, begin)
        if text.startswith(b"from=", begin):
            return sendmail_door.sender(line, queue_id, begin)
    if text.startswith(b"Milter: ", begin):
        return sendmail_door.milter(line, queue_id, begin)
    if text.startswith(b"ruleset=", begin):
        return sendmail_door.ruleset(line, queue_id, begin)
    if text.startswith(b"rejecting commands from ", begin):
        return sendmail_door.pregreeting(line, queue_id, begin)
    if text.startswith((b"STARTTLS=", b"AUTH="), begin):
        return _session(line, begin)
    return _of_message(line, queue_id, begin) if queue_id else _chatter(line, begin)


def _of_message(line: Line, queue_id: bytes, begin: int) -> Parsed:
    """Rarer lines about one queue file."""
    text = line.text
    if text.startswith(b"milter=", begin):
        return sendmail_door.quarantine(line, queue_id, begin)
    if text.startswith(b"done; delay=", begin):
        return make(line, scan.REMOVED, queue_id, ())
    if text.startswith(b"discarded", begin) and len(text) == begin + 9:
        return sendmail_door.door(line, queue_id, b"discard", b"END-OF-MESSAGE", b"discarded")
    if text.startswith(b"unquarantine", begin) and len(text) == begin + 12:
        return make(line, scan.RELEASED, queue_id, (b"operator",))
    if text.startswith(b"quarantine=", begin):
        return make(line, scan.HELD, queue_id, (b"operator", text[begin + 11 :]))
    if text.startswith((b"collect: premature EOM", b"collect: unexpected close"), begin):
        return sendmail_door.door(line, queue_id, b"lost", b"DATA", text[begin:])
    if text.startswith(b"SYSERR(", begin):
        return _system_error(line, queue_id, begin)
    if text.startswith(b"Losing ", begin):
        return make(line, scan.DELETED, queue_id, (b"sendmail",))
    child = id_end(text[begin : begin + 24])
    if child > 0 and text.startswith(b": ", begin + child):
        return _notice(line, queue_id, text[begin : begin + child], begin + child + 2)
    if text.startswith(b"<-- ", begin):
        return None  # what the client said, from log level 15 on
    told = UNKNOWN if text[begin : begin + 1] == b"<" else _chatter(line, begin)
    return sendmail_door.told_client(line, queue_id, begin) if told is UNKNOWN else told


def _notice(line: Line, queue_id: bytes, child: bytes, begin: int) -> Parsed:
    """``ID: ID2: KIND: TEXT``: a notice was made; or the message was taken apart."""
    kind, _, text = line.text[begin:].partition(b": ")
    if kind == b"clone":  # the recipients of a list with an owner go on under a queue id of its own
        owner = text.removeprefix(b"owner=")
        return make(line, scan.PICKUP, child, (b"", owner, queue_id))
    word = _NOTICES.get(kind)
    if word is None:
        return UNKNOWN
    if kind == b"DSN" and text.startswith(_SUCCESS):
        word = b"sender delivery status"
    notice = make(line, scan.NOTICE, queue_id, (word, child))
    if text.startswith(_EXPIRED):
        return [make(line, scan.EXPIRED, queue_id, (b"expired",)), notice]
    return notice


def _system_error(line: Line, queue_id: bytes, begin: int) -> Parsed:
    """``SYSERR(USER): TEXT``: a client that went silent in the middle, or mail that loops."""
    words = line.text[begin:].partition(b"): ")[2]
    if words.startswith(b"collect: "):
        return sendmail_door.door(line, queue_id, b"lost", b"DATA", words)
    if words.startswith(b"Too many hops "):  # no ``to=`` tells of it; the first recipient is named
        _, found, recipient = words.rpartition(b", to ")
        if not found:
            return UNKNOWN  # cut
        return sendmail_delivery.failed(line, queue_id, bare(recipient), b"5.4.6", words)
    return None


def _session(line: Line, begin: int) -> Parsed:
    """TLS and login of a session; they are tied to its messages by the process."""
    text = line.text[begin:]
    kind, _, rest = text.partition(b", relay=")
    if kind == b"AUTH=server" and rest:
        name, found, rest = rest.partition(b", authid=")
        login, _, mech = rest.rpartition(b", mech=")
        if found and login:
            method = mech.partition(b",")[0]
            return make(line, scan.LOGIN, b"", (peer(name).ip, login, method))
        return None
    if kind not in (b"STARTTLS=server", b"STARTTLS=client"):
        return None
    named, found, _ = rest.partition(b"version=")
    version, _, cipher = rest[len(named) + 8 :].partition(b", verify=")
    mark = cipher.find(b", cipher=")
    if not found or mark < 0:
        return None
    tls = version + b" " + cipher[mark + 9 :].partition(b",")[0]
    who = peer(named.rstrip(b" ").removesuffix(b","))
    if kind == b"STARTTLS=server":
        return make(line, scan.TLS_IN, b"", (who.ip, tls))
    return make(line, scan.TLS_OUT, b"", (host(who.name), tls))


def _chatter(line: Line, begin: int) -> Parsed:
    """Whether a line is known to tell nothing of a message."""
    text = line.text
    if text.startswith(_CHATTER, begin) or text.startswith(_REPLIES, begin):
        return None
    for words in _SESSION:
        if text.find(words, begin) >= 0:
            return None
    return UNKNOWN
