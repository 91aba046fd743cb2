"""Understand the lines about queue files: qmgr, pickup, bounce, postsuper.

Formats (Postfix source, the log calls of qmgr_active.c, pickup.c, bounce_*_service.c,
postsuper.c)::

    QID: from=<A>, size=N[, nrcpt=N] (queue active)
    QID: from=<A>, status=expired|force-expired, returned to sender
    QID: removed
    QID: uid=N from=<A>[ orig_id=QID]
    QID: sender non-delivery|delay|delivery status notification: QID
    QID: removed|requeued|placed on hold|released from hold|expired

A sender may write what it likes into its address, so qmgr's lines are read from their
end, where only Postfix writes. Raises nothing.
"""

from typing import Final

from journal.events import Event
from milterd.lines import scan
from milterd.lines.postfix_delivery import delivery
from milterd.lines.scan import UNKNOWN, Parsed, Unknown, after_colon, make, queue_id_end
from milterd.lines.syslog import Line

_CHATTER: Final = (b"warning: ", b"fatal: ", b"error: ", b"panic: ", b"table ", b"statistics: ")
_ACTIVE: Final = b" (queue active)"
_SUMMARIES: Final = (
    b"Deleted: ",
    b"Requeued: ",
    b"Placed on hold: ",
    b"Released from hold: ",
    b"Force-expired: ",
    b"Expired: ",
    b"Renamed to match inode number: ",
)
_BOUNCE_CHATTER: Final = (b"warning: ", b"postmaster notice", b"not sending ", b"status=deferred (")
_EXPIRED: Final = (b"expired", b"force-expired")


def qmgr(line: Line) -> Parsed:
    """One line of the queue manager."""
    text = line.text
    colon = queue_id_end(text)
    if colon < 0:
        return None if text.startswith(_CHATTER) else UNKNOWN
    begin = after_colon(text, colon)
    queue_id = text[:colon]
    rest = text[begin:]
    if rest == b"removed":
        return make(line, scan.REMOVED, queue_id, ())
    if rest.startswith(b"from="):
        return _queued(line, queue_id, begin + 5)
    if rest.startswith(b"to="):  # before 2.6 the queue manager deferred by itself
        return delivery(line, queue_id, begin)
    if rest.startswith((b"skipped, still being delivered", b"warning: ", b"sender delay")):
        return None
    return None if rest.startswith(b"status=deferred (") else UNKNOWN


def _queued(line: Line, queue_id: bytes, begin: int) -> Event | Unknown:
    """``from=`` of qmgr: the message enters the active queue, or has expired."""
    text = line.text
    if text.endswith(_ACTIVE):
        sender, found, rest = text[begin : -len(_ACTIVE)].rpartition(b", size=")
        if not found:
            return UNKNOWN
        size, _, count = rest.partition(b", nrcpt=")
        if not size.isdigit() or not (count.isdigit() or not count):
            return UNKNOWN
        fields = (_bare(sender), size, count, line.instance)
        return make(line, scan.QUEUED, queue_id, fields)
    for word in _EXPIRED:
        end = b", status=" + word + b", returned to sender"
        if text.endswith(end):
            return make(line, scan.EXPIRED, queue_id, (word, _bare(text[begin : -len(end)])))
    return UNKNOWN  # cut: the sender may be as well


def _bare(address: bytes) -> bytes:
    """An address without its brackets, where it has them."""
    return address[1:-1] if address[:1] == b"<" and address[-1:] == b">" else address


def pickup(line: Line) -> Parsed:
    """One line of pickup: a message from the sendmail command."""
    text = line.text
    colon = queue_id_end(text)
    if colon < 0:
        return None if text.startswith(_CHATTER) else UNKNOWN
    begin = after_colon(text, colon)
    sender_at = text.find(b" from=", begin)
    uid = text[begin + 4 : sender_at]
    if not text.startswith(b"uid=", begin) or sender_at < 0 or not uid.lstrip(b"-").isdigit():
        return UNKNOWN
    sender, mark, old = text[sender_at + 6 :].rpartition(b" orig_id=")
    if not mark:
        sender, old = old, b""  # rpartition puts all of it last
    elif not old.isalnum():
        sender, old = sender + mark + old, b""
    return make(line, scan.PICKUP, text[:colon], (uid, _bare(sender), old))


def bounce(line: Line) -> Parsed:
    """One line of bounce (also run as defer and trace): a notice was sent."""
    text = line.text
    colon = queue_id_end(text)
    if colon < 0:
        return None if text.startswith(_CHATTER) else UNKNOWN
    begin = after_colon(text, colon)
    notice, mark, child = text[begin:].partition(b" notification: ")
    if mark and child.replace(b"_", b"0").isalnum() and len(notice) < 40:
        return make(line, scan.NOTICE, text[:colon], (notice, child))
    return None if text.startswith(_BOUNCE_CHATTER, begin) else UNKNOWN


def postsuper(line: Line) -> Parsed:
    """One line of postsuper: what an operator did to a queue file."""
    text = line.text
    colon = queue_id_end(text)
    if colon < 0 or text.startswith(_SUMMARIES):
        return None if text.startswith(_CHATTER + _SUMMARIES) or colon < 0 else UNKNOWN
    queue_id, verb = text[:colon], text[after_colon(text, colon) :]
    if verb == b"removed":
        return make(line, scan.DELETED, queue_id, (b"postsuper",))
    if verb == b"requeued":
        return make(line, scan.REQUEUED, queue_id, (b"postsuper",))
    if verb == b"placed on hold":
        return make(line, scan.HELD, queue_id, (b"postsuper", b""))
    if verb == b"released from hold":
        return make(line, scan.RELEASED, queue_id, (b"postsuper",))
    return None if verb == b"expired" else UNKNOWN  # expired: qmgr says so itself, next
