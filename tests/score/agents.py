"""What Dovecot and amavis say of a recipient's mail, read a second time: no shared code.

For logs whose source states no result. Dovecot's line of an LMTP session tells the folder or what a
script did; Postfix's reply names the session. amavis' line tells a score and names a queue id.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.score.check import Check, Row, lines_of, rows

_SAVED: Final = re.compile(
    r"/lmtp\[\d+\]: (?P<id>\w+): to=<(?P<to>[^>]*)>.*"
    r" status=sent \(250 2\.0\.0 <[^>]*> (?P<session>\S+) Saved\)$"
)
_SESSION: Final = re.compile(
    r" dovecot: lmtp\((?P<user>[^)]*)\)(?:<\d+><(?P<new>[^>]*)>: |: (?P<old>\S+): )"
    r".*?msgid=\S*: (?P<did>.*?) *$"
)
_AMAVIS: Final = re.compile(
    r" amavis\[\d+\]: \([\w-]+\) (?:Passed|Blocked) .*? -> (?P<to><.*?>), .*, Hits: (?P<hits>-?[\d.]+),"
)
_IDS: Final = re.compile(r", (?:Queue-ID|queued_as): (\w+)")
_FOLDER: Final = re.compile(r"(?:saved mail to (\S.*)|stored mail into mailbox '(.*)')$")
_JUNK: Final = ("junk", "spam")


def checks(path: Path, *, year: int | None = None) -> Iterator[Check]:
    """Each statement of the two beside the row that it is about."""
    lines = [raw.decode("utf-8", "surrogateescape") for raw in lines_of(path)]
    found = rows([path], year=year)
    known: dict[tuple[str, str], Row] = {}
    for row in found:
        for queue_id in row["queue_ids"]:
            known[queue_id, (row["final_recipient"] or "").lower()] = row
    yield from _dovecot(path.name, lines, known)
    yield from _amavis(path.name, lines, known)


def _dovecot(
    name: str, lines: Sequence[str], known: Mapping[tuple[str, str], Row]
) -> Iterator[Check]:
    """Folder and status of what was handed over by LMTP."""
    sessions: dict[str, list[str]] = {}
    for line in lines:
        if told := _SESSION.search(line):
            sessions.setdefault(told["new"] or told["old"], []).append(told["did"])
    for line in lines:
        saved = _SAVED.search(line)
        if saved is None or saved["session"] not in sessions:
            continue
        row = known.get((saved["id"], saved["to"].lower()), {})
        case = f"{name} {saved['id']} {saved['to']}"
        folder, fate = _fate(sessions[saved["session"]])
        yield Check(case, "folder", folder, row.get("folder"))
        yield Check(case, "filed", fate, (row.get("status"), row.get("reason")))


def _fate(done: Sequence[str]) -> tuple[str | None, tuple[str, str]]:
    """Folder, status and reason of all that was done in one session."""
    for did in done:
        if stored := _FOLDER.search(did):
            folder = stored[1] or stored[2]
            junk = folder.split("/")[-1].split(".")[-1].lower().startswith(_JUNK)
            return folder, ("filtered", "junk") if junk else ("delivered", "stored")
    for did in done:
        if "rejected message from" in did:
            return None, ("error", "bounced")
        if "forwarded to" in did:
            return None, ("delivered", "relayed")
    return None, ("filtered", "discarded")


def _amavis(
    name: str, lines: Sequence[str], known: Mapping[tuple[str, str], Row]
) -> Iterator[Check]:
    """The score of each recipient whose queue file is in the log."""
    for line in lines:
        told = _AMAVIS.search(line)
        if told is None:
            continue
        for recipient in re.findall(r"<([^<>]*)>", told["to"]):
            ids = _IDS.findall(line)
            about = [row for one in ids if (row := known.get((one, recipient.lower())))]
            for row in about[:1]:
                case = f"{name} {ids[0]} {recipient}"
                yield Check(case, "score", float(told["hits"]), row["spam_score"])
