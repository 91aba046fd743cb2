"""youyo: the record that its README shows, from both of its logs."""

from collections.abc import Iterator
from pathlib import Path

from tests.score.check import Check, read_jsonl, rows


def checks(folder: Path) -> Iterator[Check]:
    """Client, Message-ID, sender and what became of each recipient."""
    expected = next(read_jsonl(folder / "expected.jsonl"))
    for name in ("rfc3164.log", "iso8601.log"):
        found = {
            row["final_recipient"]: row
            for row in rows([folder / name])
            if expected["qid"] in row["queue_ids"]
        }
        yield Check(name, "rows", len(expected["recipients"]), len(found))
        for recipient in expected["recipients"]:
            row = found.get(recipient["to"], {})
            yield Check(name, "status", "delivered", row.get("status"))
            yield Check(name, "sender", expected["sender"], row.get("sender"))
            yield Check(name, "message_id", expected["msgid"], row.get("message_id"))
            yield Check(name, "client", expected["client"], row.get("client_name"))
