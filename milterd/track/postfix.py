"""From a line of a Postfix daemon to the one event that it tells.

Format: the last part of the tag names the daemon, and the daemon alone decides what a
line can mean: a text that looks like a delivery is one only when a delivery agent
wrote it. The grammars are in postfix_smtpd, postfix_door, postfix_queue and
postfix_delivery. Raises nothing, whatever the line.
"""

from collections.abc import Callable, Mapping
from typing import Final

from milterd.track import postfix_delivery, postfix_queue, postfix_smtpd, scan
from milterd.track.scan import UNKNOWN, Parsed, make
from milterd.track.syslog import Line

__all__ = ["DAEMONS", "IGNORED", "UNKNOWN", "Parsed", "parse"]

IGNORED: Final = frozenset(
    b"anvil dnsblog flush master post-install postalias postcat postconf postdrop postfix "
    b"postfix-script postfix-tls-script postfix-wrapper postkick postlock postlog postlogd "
    b"postmap postmulti postqueue proxymap proxywrite rewrite scache sendmail showq spawn "
    b"tlsmgr tlsproxy trivial-rewrite verify".split()
)
"""Postfix programs that never speak of one message's fate."""

_PARSERS: Final[Mapping[bytes, Callable[[Line], Parsed]]] = {
    b"smtpd": postfix_smtpd.smtpd,
    b"qmqpd": postfix_smtpd.smtpd,
    b"cleanup": postfix_smtpd.cleanup,
    b"postscreen": postfix_smtpd.postscreen,
    b"qmgr": postfix_queue.qmgr,
    b"nqmgr": postfix_queue.qmgr,
    b"oqmgr": postfix_queue.qmgr,
    b"pickup": postfix_queue.pickup,
    b"bounce": postfix_queue.bounce,
    b"defer": postfix_queue.bounce,
    b"trace": postfix_queue.bounce,
    b"postsuper": postfix_queue.postsuper,
} | dict.fromkeys(postfix_delivery.DELIVERY_AGENTS, postfix_delivery.parse)

DAEMONS: Final = frozenset(_PARSERS) | IGNORED
"""Every daemon that is known; a line of another program gives None."""

_OTHERS: Final = frozenset({b"cyrus", b"dovecot", b"amavis"})  # cyrus/lmtp is not ours
_LOSSES: Final = (
    b"begin to drop messages due to rate-limiting",  # rsyslog imuxsock, imjournal
    b"messages lost due to rate-limiting",
    b"due to rate-limiting",
)


def parse(line: Line) -> Parsed:
    """The event of a line; None: it tells nothing of a message; UNKNOWN: not understood."""
    parser = _PARSERS.get(line.daemon)
    if parser is None:
        return _other(line) if line.instance == line.daemon else None
    # A plain tag such as "smtpd" or "local" is another program's: Postfix's has two parts.
    if line.instance == line.daemon or line.instance in _OTHERS:
        return None
    return parser(line)


def _other(line: Line) -> Parsed:
    """Another program: of interest only when the log itself lost lines."""
    daemon, text = line.daemon, line.text
    if daemon == b"rsyslogd":
        lost = any(loss in text for loss in _LOSSES)
    elif daemon in (b"systemd-journald", b"systemd-journal", b"journal"):
        lost = text.startswith(b"Suppressed ") and b" messages from " in text
    else:
        return None
    return make(line, scan.GAP, b"", (b"log", b"rate_limited", text)) if lost else None
