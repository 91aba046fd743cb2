"""nested-container: a container's log lines inside of the host's: the last word on each recipient.

Also the number of tries, and since when a message was queued: the time of a try less its delay.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tests.score.check import Check, lines_of, only, read_jsonl, rows

_WORDS = {"delivered": "sent", "error": "bounced", "deferred": "deferred"}


def checks(folder: Path) -> Iterator[Check]:
    """Each file's statements."""
    for case in read_jsonl(folder / "expected.jsonl"):
        name = case["file"]
        found = [row for row in rows([folder / name]) if row["recipient"] is not None]
        got = {
            f"{row['queue_ids'][0]} {row['final_recipient']}": _WORDS.get(row["status"])
            for row in found
        }
        yield Check(name, "recipient", sorted(case["final"]), sorted(got))
        for key, word in case["final"].items():
            yield Check(name, "status", word, got.get(key))
        tries = case.get("tries", case["deferrals"] + 1 if "deferrals" in case else None)
        if tries is not None:
            yield Check(name, "attempts", [tries], [row["attempts"] for row in found])
        if "queued_since" in case:
            first = only(lines_of(folder / name)[0])
            # stamps have whole seconds
            since = int(first.get("at_us", 0)) // 1_000_000 - int(float(first.get("delay", 0)))
            got_since = datetime.fromtimestamp(since, UTC).isoformat()
            yield Check(
                name, "queued since", case["queued_since"].replace("Z", "+00:00"), got_since
            )
        if not case["final"] and "postsuper -d" in case.get("note", ""):
            gone = rows([folder / name])
            yield Check(name, "reason", ["deleted"], [row["reason"] for row in gone])
