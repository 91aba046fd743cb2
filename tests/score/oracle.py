"""What a Postfix log says of each recipient, read a second time: small patterns, no shared code.

For logs whose source states no result. A queue file is followed from its first line to its last
(an id that begins anew is another queue file), to where a delivery says "queued as" or
"forwarded as" an id of the same host, and to the last word on each recipient. Of refusals the
lines are counted. Addresses here hold no blanks and no quotes.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.score.check import Check, Row, lines_of, rows, rows_of_lines

_LINE: Final = re.compile(
    r"^(?P<stamp>\w{3} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\S+) (?P<host>\S+)"
    r" (?:[\w.-]+/)+(?P<daemon>[\w-]+)\[\d+\]: (?P<text>.*)$"
)
_OWN: Final = re.compile(r"^(?P<id>[0-9A-Za-z]{4,}): ?(?P<rest>.*)$")
_TRY: Final = re.compile(
    r"^to=<?(?P<to>[^>, ]*)>?, (?:orig_to=<?(?P<orig>[^>, ]*)>?, )?.*?status=(?P<word>\w+)"
    r" ?\(?(?P<text>.*?)\)?$"
)
_NEXT: Final = re.compile(r"(?:queued|forwarded) as (\w+)\)*$")
_REFUSED: Final = re.compile(
    r"^(?:(?P<id>NOQUEUE|[0-9A-Za-z]{4,}): )?(?:milter-)?reject:"
    r" (?!VRFY|ETRN|AUTH|STARTTLS|CONNECT from \[)\S+ from \S*\[(?P<ip>[^]]*)\]"
    r"(?:.* to=<(?P<to>[^>]*)>)?"
)
_AGENTS: Final = frozenset(
    ("smtp", "lmtp", "local", "virtual", "pipe", "error", "retry", "discard", "qmgr", "cleanup")
)
_WORDS: Final = {"sent": "sent", "bounced": "error", "deferred": "deferred", "expired": "error"}
_STORED: Final = {"virtual": "stored", "lmtp": "stored", "smtp": "relayed", "pipe": "piped"}
_OURS: Final = {"delivered": "sent", "filtered": "sent", "error": "error", "deferred": "deferred"}


class _File:
    """One queue file."""

    def __init__(self, queue_id: str) -> None:
        self.queue_id = queue_id
        self.began = self.ended = self.gave_up = self.deleted = self.probe = False
        self.message_id = ""
        self.sender: str | None = None
        self.tries: dict[str, tuple[str, str, str]] = {}  # to → word, next id, orig_to
        self.agents: dict[str, str] = {}  # to → who delivers
        self.hop = False  # another queue file goes on here


def checks(path: Path, *, year: int | None = None) -> Iterator[Check]:
    """The last words of a log beside the rows of our report."""
    yield from _compare(path.name, lines_of(path), rows([path], year=year))


def halves(path: Path, *, year: int | None = None) -> Iterator[Check]:
    """A log cut in two: read in either order, it comes to the same rows as the whole."""
    lines = lines_of(path)
    whole = _said(rows([path], year=year))
    for number, cut in enumerate((len(lines) // 3, len(lines) // 2, len(lines) * 3 // 4)):
        with tempfile.TemporaryDirectory(prefix="posttrail-score-") as directory:
            logs = [Path(directory) / name for name in ("first.log", "second.log")]
            for log, part in zip(logs, (lines[:cut], lines[cut:]), strict=True):
                log.write_bytes(b"".join(line + b"\n" for line in part))
            got = _said(rows(logs[:: -1 if number % 2 else 1], year=year, apart=True))
        yield Check(f"{path.name} cut at {cut}", "rows from halves", whole, got)


def _said(found: list[Row]) -> list[str]:
    """Rows in an order of their own, without what names them."""
    return sorted(repr({k: v for k, v in row.items() if k not in ("id", "row")}) for row in found)


def checks_of_lines(name: str, lines: Sequence[str]) -> Iterator[Check]:
    """The same for lines that are in no file."""
    raws = [line.encode("utf-8", "surrogateescape") for line in lines]
    yield from _compare(name, raws, rows_of_lines(lines))


def _compare(name: str, lines: Sequence[bytes], found: list[Row]) -> Iterator[Check]:
    """Both, recipient by recipient and client by client."""
    files, refused = _read(lines)
    expected = Counter(_fates(files))
    got = Counter(_fate(row) for row in found if row["attempts"])
    for fate in sorted({*expected, *got}, key=str):
        queue_id, recipient, word = fate
        case = f"{name} {queue_id} {recipient}"
        yield Check(case, "status", (word, expected[fate]), (word, got[fate]))
    last = {file.queue_id: file for lives in files.values() for file in lives if len(lives) == 1}
    for row in found:
        if row["attempts"] and row["queue_ids"][-1] in last:
            yield from _details(name, last[row["queue_ids"][-1]], row)
    ours = Counter(row["client_ip"] for row in found if row["status"] == "rejected")
    for ip in sorted({*refused, *ours}, key=str):
        yield Check(f"{name} {ip}", "refusals", refused[ip], ours[ip])


def _details(name: str, file: _File, row: Row) -> Iterator[Check]:
    """What else the last queue file's lines say of a row."""
    case = f"{name} {file.queue_id} {row['final_recipient']}"
    if file.sender is not None and len(row["queue_ids"]) == 1:
        yield Check(case, "sender", file.sender, row["sender"])
    if file.message_id:
        yield Check(case, "message_id", file.message_id, row["message_id"])
    if row["status"] == "delivered" and row["final_recipient"]:
        agent = file.agents.get(row["final_recipient"].lower(), "")
        if agent in _STORED:
            yield Check(case, "reason", _STORED[agent], row["reason"])
    yield Check(case, "recipient", True, (row["final_recipient"] or "").lower() in file.tries)


def _read(
    lines: Sequence[bytes],
) -> tuple[dict[tuple[str, str], list[_File]], Counter[str]]:
    """Queue files by host and id, oldest first, and the refusals of each client."""
    files: dict[tuple[str, str], list[_File]] = {}
    refused: Counter[str] = Counter()
    seen: set[object] = set()
    for raw in lines:
        line = _LINE.match(raw.decode("utf-8", "surrogateescape").rstrip())
        if line is None:
            continue
        no = _REFUSED.match(line["text"])
        if no and line["daemon"] in ("smtpd", "cleanup", "postscreen"):
            # A milter may refuse one recipient twice; lines alike in all are one event.
            what = (no["id"], no["to"]) if no["id"] not in (None, "NOQUEUE") else line[0]
            refused[no["ip"]] += what not in seen
            seen.add(what)
            continue
        own = _OWN.match(line["text"])
        if own is None or own["id"] in ("NOQUEUE", "warning", "statistics", "fatal"):
            continue
        lives = files.setdefault((line["host"], own["id"]), [])
        begins = own["rest"].startswith(("client=", "uid="))
        if not lives or (begins and (lives[-1].began or lives[-1].ended)):
            lives.append(_File(own["id"]))
        _note(lives[-1], line["daemon"], own["rest"], begins=begins)
    return files, refused


def _note(file: _File, daemon: str, text: str, *, begins: bool) -> None:
    """One line about a queue file."""
    file.began = file.began or begins
    if text.startswith("message-id="):
        file.message_id = text[11:].strip("<> ")
    elif daemon == "qmgr" and (sent := re.match(r"from=<([^>]*)>, size=", text)):
        file.sender = sent[1]
    elif daemon == "postsuper" and text == "removed":
        file.deleted = file.ended = True
    elif daemon == "qmgr" and text == "removed":
        file.ended = True
    elif daemon == "qmgr" and re.search(r", status=(force-)?expired, returned", text):
        file.gave_up = True
    elif daemon in _AGENTS and (tried := _TRY.match(text)):
        hop = _NEXT.search(tried["text"]) if tried["word"] == "sent" else None
        file.probe = file.probe or tried["word"] in ("deliverable", "undeliverable")
        word = _WORDS.get(tried["word"], tried["word"])
        file.agents[tried["to"].lower()] = daemon
        file.tries[tried["to"].lower()] = word, hop[1] if hop else "", tried["orig"] or ""


def _fates(files: dict[tuple[str, str], list[_File]]) -> Iterator[tuple[str, str, str]]:
    """Queue id of the last hop, recipient there, and the last word on it, of each recipient."""
    for (host, _), lives in files.items():
        for file in lives:
            for _, next_id, _ in file.tries.values():
                inner = _inner(files, host, file, next_id)
                if inner is not None:
                    inner.hop = True
    for (host, _), lives in files.items():
        for file in lives:
            if file.probe:
                continue
            for recipient, (word, next_id, _) in file.tries.items():
                inner = _inner(files, host, file, next_id)
                if inner is not None and inner.tries:
                    continue  # told there
                if word == "deferred" and (file.gave_up or file.deleted):
                    word = "error"
                if inner is None:
                    yield file.queue_id, recipient, word


def _inner(
    files: dict[tuple[str, str], list[_File]], host: str, file: _File, next_id: str
) -> _File | None:
    """The queue file that one goes on as: of the same host and with the same Message-ID."""
    for inner in files.get((host, next_id), []) if next_id else []:
        same = not file.message_id or not inner.message_id or file.message_id == inner.message_id
        if inner is not file and same:
            return inner
    return None


def _fate(row: Row) -> tuple[str, str, str]:
    """The same of a row of ours: the last queue file is the one that decides."""
    recipient = (row["final_recipient"] or row["recipient"] or "").lower()
    status = str(row["status"])
    return str(row["queue_ids"][-1]), str(recipient), _OURS.get(status, status)
