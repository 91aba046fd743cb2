"""The words of the page that stand in tables: columns, directions, verdicts, steps of a trace.

The sentences are the source of the translations (``tools/messages``). Pure; raises nothing.
"""

from typing import Final

COLUMNS: Final = {
    "time": "Time",
    "status": "Status",
    "sender": "From",
    "recipient": "To",
    "reason": "Reason",
    "subject": "Subject",
    "reply": "What was said",
    "direction": "Direction",
    "folder": "Folder",
    "relay": "Server",
    "attempts": "Tries",
    "done_at": "Settled at",
    "delay_s": "Took",
    "size_bytes": "Size",
    "spam_score": "Spam score",
    "login": "Login",
    "client_ip": "Client address",
    "client_name": "Client name",
    "helo": "HELO",
    "tls": "TLS",
    "enhanced_status": "Status code",
    "queue_ids": "Queue ids",
    "message_id": "Message-ID",
    "host": "Host",
}
"""Every column that can be chosen, by the field of a row."""
DIRECTIONS: Final = {
    "inbound": "from outside",
    "outbound": "to outside",
    "internal": "inside",
}
RELATIONS: Final = {
    "parent": "This is a notice about",
    "notice": "There was a notice",
    "late_bounce": "It came back with",
}
NEAR: Final = {
    "sender": "From this sender",
    "sender_domain": "From this domain",
    "client": "Refused from this client",
    "recipient": "Refused to this recipient",
}
"""What was seen instead of a mail that never came (query.never)."""
GROUPS: Final = {"domain": "Domain", "login": "Login", "sender": "Sender"}
"""What a summary can be by (query.summary)."""
VERDICTS: Final = {
    "ok": "will be delivered",
    "discarded": "will be thrown away",
    "unknown": "cannot be told",
    "temporary": "would have to wait",
    "permanent": "would be returned",
    "loop": "goes in circles",
    "rejected_at_smtp": "is refused at the door",
}
"""How a way ends, by the verdict of a node."""
STEPS: Final = {
    "rewrite": "is completed",
    "canonical": "is rewritten",
    "masquerade": "is rewritten",
    "virtual_alias": "is an alias",
    "local_alias": "is an alias",
    "include": "is a list",
    "forward": "forwards",
    "bcc": "a copy goes along",
    "relocated": "has moved",
    "access": "a rule decides",
    "content_filter": "goes through a filter",
    "deliver": "",
    "discard": "",
    "reject": "",
    "same": "stands in this tree already",
    "unknown": "",
}


def sentences() -> list[str]:
    """The sentences of the tables above, for the catalogue."""
    tables = (COLUMNS, DIRECTIONS, RELATIONS, NEAR, GROUPS, VERDICTS, STEPS)
    return [word for table in tables for word in table.values()]
