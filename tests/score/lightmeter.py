"""lightmeter: the delivery results that a log correlator must report, one situation a file.

"received" is a delivery into a mailbox here, "incoming" any mail for here. Attempts are counted
over the rows of a file. Searches ignore the case of addresses, as the source asks.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.score import oracle
from tests.score.check import Check, Row, lines_of, read_jsonl, rows, rows_of_lines

_STATUS = {
    "sent": "delivered",
    "received": "delivered",
    "deferred": "deferred",
    "bounced": "error",
    "expired": "error",
}
_MIDDLE = "the log begins amid three chains, of which the source's tracker reports only the one"
_ORIGIN = "the line that tells where the message came from is before the log's beginning"


def checks(folder: Path) -> Iterator[Check]:
    """Each file's statements, and the words of its lines."""
    for case in read_jsonl(folder / "expected.jsonl"):
        path = folder / case["file"]
        name = path.stem.partition("_")[0]
        found = rows([path], year=2021)
        if "attempts" in case:
            yield from _attempts(name, case, found)
        by_recipient: dict[str, list[dict[str, Any]]] = {}
        for result in case.get("results", ()):
            if "recipient" in result:
                by_recipient.setdefault(result["recipient"], []).append(result)
            elif "recipient_domain" in result:
                by_recipient.setdefault("@" + result["recipient_domain"], []).append(result)
            elif "status" in result and by_recipient:  # a later try for the one before
                by_recipient[list(by_recipient)[-1]].append(result)
        for recipient, results in by_recipient.items():
            yield from _recipient(name, recipient, results, found)
        yield from _named(name, case, found)
        yield from _search(name, case, path)
        if "starting at any later line" in case.get("also", ""):
            lines = [raw.decode() for raw in lines_of(path)]
            for start in range(1, len(lines), 3):
                found = rows_of_lines(lines[start:], year=2021)
                yield Check(f"{name} from line {start + 1}", "rows", True, len(found) <= 2)
    for path in sorted((folder / "files").glob("*.log")):
        yield from oracle.checks(path, year=2021)
        if len(lines_of(path)) > 20:
            yield from oracle.halves(path, year=2021)


def _attempts(name: str, case: dict[str, Any], found: list[Row]) -> Iterator[Check]:
    """Delivery results of the whole file."""
    attempts = sum(row["attempts"] for row in found)
    yield Check(name, "attempts", case["attempts"], attempts, _MIDDLE if name == "6" else "")


def _recipient(
    name: str, recipient: str, results: list[dict[str, Any]], found: list[Row]
) -> Iterator[Check]:
    """One recipient's row."""
    mine = [row for row in found if (row["final_recipient"] or "").endswith(recipient)]
    yield Check(name, "recipient", 1, len(mine))
    if len(mine) != 1:
        return
    row, last = mine[0], results[-1]
    if len(results) > 1:
        yield Check(name, "attempts", len(results), row["attempts"])
    if "status" in last:
        yield Check(name, "status", _STATUS[last["status"]], row["status"])
    first = results[0]
    if "direction" in first:
        ways = {"outbound": "outbound", "inbound": "incoming", "internal": "incoming"}
        argued = _ORIGIN if row["direction"] is None and row["client_ip"] is None else ""
        got = ways.get(row["direction"])
        yield Check(name, "direction", first["direction"], got, argued)
    plain = {
        "sender": "sender", "msgid": "message_id", "size_original": "size_bytes",
        "dsn": "enhanced_status", "client": "client_name",
    }  # fmt: skip
    for theirs, ours in plain.items():
        if theirs in first:
            yield Check(name, theirs, first[theirs], row[ours])
    if "sender_domain" in first:
        yield Check(name, "sender", first["sender_domain"], row["sender"].partition("@")[2])
    if "qid" in first:
        yield Check(name, "queue id", True, first["qid"] in row["queue_ids"])
    if "time" in first:
        yield Check(name, "time", first["time"], row["done_at"][5:].replace(".000", ""))


def _named(name: str, case: dict[str, Any], found: list[Row]) -> Iterator[Check]:
    """Messages that the source names by queue id."""
    if "messages" in case:
        yield Check(name, "messages", case["messages"], len({row["id"] for row in found}))
    for word, way in (("sent", ("outbound",)), ("received", ("inbound", "internal"))):
        for queue_id in case.get(word, ()):
            mine = [row for row in found if queue_id in row["queue_ids"]]
            yield Check(name, "direction", True, all(row["direction"] in way for row in mine))
            yield Check(name, "status", ["delivered"], [row["status"] for row in mine])
    for reply in case.get("replies", ()):
        mine = [row for row in found if reply["qid"] in row["queue_ids"]]
        got = [(row["sender"], row["recipient"]) for row in mine]
        yield Check(name, "recipient", [(reply["sender"], reply["recipient"])], got)


def _search(name: str, case: dict[str, Any], path: Path) -> Iterator[Check]:
    """Pairs of sender and recipient (or domains, or nothing) that find the row, or do not."""
    for wanted, pairs in case.get("search", {}).items():
        for sender, recipient in pairs:
            filters = {
                key: value if "@" in value else f"@{value}"
                for key, value in (("sender", sender), ("recipient", recipient))
                if value
            }
            hits = rows([path], year=2021, filters=filters)
            yield Check(name, "search", wanted == "found", bool(hits))
