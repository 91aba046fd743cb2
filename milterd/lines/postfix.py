"""From a line of a Postfix daemon to what it tells.

Format: the last part of the tag names the daemon, and the daemon alone decides what a
line can mean: a text that looks like a delivery is one only when a delivery agent
wrote it. The grammars are in postfix_smtpd, postfix_door, postfix_queue and
postfix_delivery. Raises nothing, whatever the line.
"""

from collections.abc import Callable, Mapping
from typing import Final

from milterd.lines import postfix_delivery, postfix_queue, postfix_smtpd
from milterd.lines.scan import UNKNOWN, Parsed
from milterd.lines.syslog import Line

__all__ = ["DAEMONS", "IGNORED", "UNKNOWN", "Parsed", "parse"]

IGNORED: Final = frozenset(
    b"anvil dnsblog flush master post-install postalias postcat postconf postdrop postfix "
    b"postfix-script postfix-tls-script postfix-wrapper postkick postlock postlog postlogd "
    b"postmap postmulti postqueue proxymap proxywrite rewrite scache sendmail showq spawn "
    b"nbdb_reindexd posttls-finger tlsmgr tlsproxy trivial-rewrite verify".split()
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


def parse(line: Line) -> Parsed:
    """The event of a line; None: it tells nothing of a message; UNKNOWN: not understood."""
    parser = _PARSERS.get(line.daemon)
    return None if parser is None else parser(line)
