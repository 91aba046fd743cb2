"""exim-testsuite: the main logs that Exim must write in its own tests, read by their flags.

The scorer reads ids, flags and addresses at their fixed places by patterns of its own: a
row for each id and final address, whose status its last flag says; a rejected row for each
``rejected``. The suite puts one date and the same ids into all its logs: here every line
gets a second of its own and every log ids of its own, and all are imported at once.
"""

import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from milterd.lines import programs
from tests.score.check import Check, Row, lines_of, rows, splitter_of, told_of

_BEGIN: Final = datetime(2026, 11, 20, tzinfo=UTC)
_STAMP: Final = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?(?: [+-]\d{4})? ")
_ID: Final = rb"([0-9A-Za-z]{6}-[0-9A-Za-z]+-[0-9A-Za-z]+)"
_FLAG: Final = re.compile(rb"(?:\[\d+\] )?" + _ID + rb" (=>|->|>>|\*>|\*\*|==) (.*)", re.DOTALL)
_ARRIVAL: Final = re.compile(
    rb"(?:\[\d+\] )?" + _ID + rb" (?:<=|\(=) ((?:\"[^\"]*\")?\S+) (.*)", re.DOTALL
)
_DONE: Final = re.compile(
    rb"(?:\[\d+\] )?"
    + _ID
    + rb" (Completed|Frozen|frozen by|[Uu]nfrozen by|removed by|cancelled by)"
)
_REFUSED: Final = re.compile(
    rb"(?:\[\d+\] )?(?:[HU]=.* )F=<(.*?)>(?: A=\S+)? (?:temporarily )?rejected RCPT <(.*?)>"
)
_ORIGINAL: Final = re.compile(
    rb'(.*?) <((?:"(?:[^"\\]|\\.)*"@)?[^<>]*)>(?= [A-Z]=| defer| routing| :|:|$)'
)
_NOBODY: Final = (b"blackhole", b"discarded", b"mua_wrapper")
_PLAIN: Final = re.compile(rb"(\S+?)(?=:? |:?$)")


_ARGUED: Final = {
    "0243.log:2": "the address was an alias of /dev/null and had an answer written by a transport"
    " of its own: what was done last counts",
    "0597.log:34": "two logs in one: the second, from here, is of before the first, in which the"
    " message was delivered and completed",
    "0597.log:35": "as 0597.log:34",
}


class Word(NamedTuple):
    """What a flag said of an address."""

    number: int
    flag: str
    final: str
    original: str
    rest: str


def checks(folder: Path) -> Iterator[Check]:
    """Every log's words, and that no line of the reject logs raises."""
    logs = sorted((folder / "log").iterdir())
    made = [_made(number, lines_of(path)) for number, path in enumerate(logs)]
    with tempfile.TemporaryDirectory(prefix="posttrail-exim-") as directory:
        whole = Path(directory) / "mainlog"
        whole.write_bytes(b"\n".join(line for lines in made for line in lines) + b"\n")
        found = rows([whole])
    by_id: dict[str, list[Row]] = defaultdict(list)
    for row in found:
        for queue_id in row["queue_ids"]:
            by_id[queue_id].append(row)
    refused = {row["time"][:19]: row for row in found if row["status"] == "rejected"}
    for path, lines in zip(logs, made, strict=True):
        yield from _of_log(path.name, lines, by_id)
        yield from _of_door(path.name, lines, refused)
    for path in sorted((folder / "rejectlog").iterdir()):
        lines = lines_of(path)
        splitter = splitter_of(lines)
        parsed = [line for raw in lines if (line := splitter.parse(raw)) is not None]
        read = sum(told_of(programs.parse(line)) != "unknown" for line in parsed)
        yield Check(f"rejectlog/{path.name}", "reject log read", len(parsed), read)


def _made(number: int, lines: list[bytes]) -> list[bytes]:
    """The lines with ids of this log's own and a second each; those without a stamp left out."""
    found: list[bytes] = []
    begin = _BEGIN + timedelta(minutes=20 * number)
    for line in lines:
        stamp = _STAMP.match(line)
        if stamp is not None:
            at = begin + timedelta(seconds=len(found))
            text = line[stamp.end() :].replace(b"10Hm", b"%04d" % number)
            found.append(at.strftime("%Y-%m-%d %H:%M:%S ").encode() + text)
    return found


def _of_log(name: str, lines: list[bytes], by_id: dict[str, list[Row]]) -> Iterator[Check]:
    """The words of one log."""
    words: dict[tuple[str, str, str], Word] = {}
    ends: dict[str, list[tuple[int, str]]] = defaultdict(list)
    arrived: set[str] = set()
    splitter = splitter_of([line for line in lines if _ARRIVAL.match(line[20:])] or lines[:1])
    for number, raw in enumerate(lines):
        text = raw[20:]
        case = f"{name}:{number + 1}"
        if (arrival := _ARRIVAL.match(text)) is not None:
            queue_id = arrival[1].decode()
            arrived.add(queue_id)
            yield from _of_arrival(case, arrival, by_id[queue_id])
        elif (flag := _FLAG.match(text)) is not None:
            line = splitter.parse(raw)
            told = told_of(programs.parse(line)) if line else "unknown"
            yield Check(case, "lines understood", True, told != "unknown")
            word = _word(number, flag)
            if word is not None:
                words[flag[1].decode(), _key(word), word.original or word.final] = word
        elif (done := _DONE.match(text)) is not None:
            ends[done[1].decode()].append((number, done[2].decode().lower()))
    for (queue_id, _, _), word in words.items():
        yield _of_word(f"{name}:{word.number + 1}", word, by_id[queue_id], ends[queue_id])


def _word(number: int, flag: "re.Match[bytes]") -> Word | None:
    """The addresses of a delivery line; None for an answer, and where no address is."""
    text = flag[3]
    found = _ORIGINAL.match(text) if text[:1] in b"|/>s:" else None
    plain = _PLAIN.match(text)
    if found is None and plain is not None and text[plain.end() :].startswith((b" <", b" (")):
        found = _ORIGINAL.match(text)
    if found is not None:
        final, original = found[1].partition(b" (")[0], found[2]
        rest = text[found.end() :]
    elif plain is not None:
        final, original, rest = plain[1], b"", text[plain.end() :]
    else:
        return None
    if final.startswith(b">") or (final in _NOBODY and not original):
        return None
    parts = (final, original, rest)
    return Word(number, flag[2].decode(), *(part.decode("utf-8", "replace") for part in parts))


def _key(word: Word) -> str:
    """The final address: a local delivery's is logged without its domain."""
    if word.final.startswith(("|", "/", ":", "save ")) or word.final == "discarded":
        return word.original
    return word.final.rpartition("@")[0].lower() or word.final.lower()


def _of_word(
    case: str,
    word: Word,
    ours: list[Row],
    ends: list[tuple[int, str]],
) -> Check:
    """The status of the row that the last flag of an address is about."""
    mine = [row for row in ours if _is_for(row, word)]
    got: Any = sorted({row["status"] for row in mine})
    taken = re.search(r" OK id=(\S+?)\"", word.rest)
    if taken is not None and any(taken[1] in row["queue_ids"] for row in ours):
        return Check(case, "status", "went on under the next id", "went on under the next id")
    expected = _status(word, ends)
    return Check(case, "status", expected, got[0] if len(got) == 1 else got, _ARGUED.get(case, ""))


def _status(word: Word, ends: list[tuple[int, str]]) -> str:
    """What a flag and what was done to the message afterwards make of it."""
    if word.flag in ("=>", "->", ">>", "*>"):
        nowhere = word.final in (":blackhole:", "discarded", "/dev/null") and " T=" not in word.rest
        return (
            "filtered" if nowhere or word.flag == "*>" or "bypassed" in word.rest else "delivered"
        )
    if word.flag == "**":
        return "error"
    status = "deferred"
    for number, end in ends:
        if end.startswith(("removed", "cancelled")):
            return "error"
        if number > word.number:
            status = "in_progress" if end.startswith("frozen") else "deferred"
    return status


def _is_for(row: Row, word: Word) -> bool:
    """Whether a row is of the address that a line names."""
    recipient, final = row["recipient"] or "", row["final_recipient"] or ""
    original = word.original or word.final
    if recipient.lower() != original.lower() and final.lower() != original.lower():
        return False
    if "@" in word.final and not word.final.startswith(("|", "/", ":", "save ")):
        return final.lower() == word.final.lower() or '"' in final
    if word.final.startswith(("|", "/", ":", "save ")) or word.final == "discarded":
        return final.lower() == original.lower()
    return final.partition("@")[0].lower() == word.final.lower() or '"' in final


def _of_arrival(case: str, arrival: "re.Match[bytes]", ours: list[Row]) -> Iterator[Check]:
    """Sender, client, Message-ID and login of a message."""
    if not ours:
        yield Check(case, "message", True, False)
        return
    row = ours[0]
    if row["queue_ids"] != [arrival[1].decode()]:
        return  # one message with another queue file: what the first knew of it counts
    sender = "" if arrival[2] == b"<>" else arrival[2].decode("utf-8", "replace")
    yield Check(case, "sender", sender, row["sender"])
    fields = arrival[3].decode("utf-8", "replace")
    host = re.search(r"\bH=[^\[]*?(?:\(.*?\) )?\[([^\[\]]*)\](?= |:)", " " + fields)
    yield Check(case, "client", host[1] if host else None, row["client_ip"])
    named = re.search(r" id\*?=(\S+)", fields)
    yield Check(case, "message_id", named[1] if named else None, row["message_id"])
    login = re.search(r" A=[^ :]+:([^ :]+)", fields)
    if login:
        yield Check(case, "login", login[1], row["login"])
    subject = re.search(r' T="((?:[^"\\]|\\.)*)"', fields)
    if subject:
        yield Check(case, "subject", re.sub(r"\\(.)", r"\1", subject[1]), row["subject"])


def _of_door(name: str, lines: list[bytes], refused: dict[str, Row]) -> Iterator[Check]:
    """The refused recipients of one log: each line has a second of its own."""
    for number, raw in enumerate(lines):
        found = _REFUSED.match(raw[20:])
        if found is not None:
            row = refused.get(raw[:19].decode().replace(" ", "T"), {})
            expected = tuple(value.decode("utf-8", "replace") for value in found.groups())
            got = row.get("sender"), row.get("recipient")
            yield Check(f"{name}:{number + 1}", "refused recipient", expected, got)
