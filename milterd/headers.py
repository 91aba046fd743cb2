"""What earlier filters wrote into a message's header, as verdicts.

Reads Authentication-Results (RFC 8601), and by their filters' own custom X-Spam* (SpamAssassin,
amavis), X-Spamd* (rspamd) and X-Virus* (clamav-milter, amavis). A filter that had refused the
message would not have let it reach us, so every verdict is ``accept``; ``reason`` says what the
filter found: spam, ham, virus, clean, scanned, or an RFC 8601 result such as pass.

A sender can write such fields too. Milters put Authentication-Results above the first Received
field, so those below are not believed, and add X- fields at the end, so the last one counts.
Raises nothing: a field that makes no sense is no verdict.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

ENVELOPE: Final = frozenset({"message-id", "subject", "from", "date"})
REPORT: Final = (
    "content-type", "x-failed-recipients", "in-reply-to", "references", "auto-submitted",
)  # fmt: skip
"""What a notice says of the message it is about; the order is that of journal.events."""
OTHERS: Final = frozenset({"authentication-results", "received"})
PREFIXES: Final = ("x-spam", "x-virus")  # x-spamd too
EVIDENCE_CHARS: Final = 1000
VERDICTS: Final = 32  # of one message; more are a sender's joke

SCORE: Final = re.compile(r"\b(?:score|hits)=(-?\d{1,9}(?:\.\d{1,9})?)")
RSPAMD: Final = re.compile(r"\w{1,64}: (True|False) \[(-?\d{1,9}(?:\.\d{1,9})?) / ")
NUMBER: Final = re.compile(r"-?\d{1,9}(?:\.\d{1,9})?\Z")
RESULT: Final = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,30})\s*(?:/\s*\d+\s*)?=\s*([A-Za-z]{1,20})\b")
PIECE: Final = re.compile(r'"(?:\\.|[^"\\])*"?|[();]|\\.?|[^"();\\]+')


class Verdict(NamedTuple):
    """In the order the spool keeps them."""

    filter: str
    verdict: str
    reason: str
    score: str  # a decimal number, or ""
    evidence: str  # the field as it was, unfolded


@lru_cache(maxsize=256)
def wanted(name: str) -> str:
    """A field's name in lower case if such a field tells us something, else ""."""
    folded = name.lower()
    told = folded in ENVELOPE or folded in REPORT or folded in OTHERS or folded.startswith(PREFIXES)
    return folded if told else ""


def unfold(value: str) -> str:
    """A field's value on one line (RFC 5322 2.2.3)."""
    return value.replace("\r", "").replace("\n", "").strip()


def verdicts(fields: Iterable[tuple[str, str]]) -> list[Verdict]:
    """The verdicts of a message's fields (name in lower case, value unfolded), in their order."""
    found: list[Verdict] = []
    last: dict[str, str] = {}
    ours = True
    for name, value in fields:
        if name == "received":
            ours = False
        elif name == "authentication-results":
            found += _authentication(value) if ours else ()
        else:
            last[name] = value
    if last:
        found += _spam(last)
        found += _virus(last)
    return found[:VERDICTS]


def _authentication(value: str) -> list[Verdict]:
    """RFC 8601 2.2: the authserv-id, then one method and its result between semicolons."""
    server, *results = _split(value)
    matches = ((RESULT.match(part), part) for part in results)
    return [
        _accept(match[1].lower(), match[2].lower(), "", f"{server}; {part}")
        for match, part in matches
        if match
    ]


def _split(value: str) -> list[str]:
    """The parts between semicolons, without comments; quoted strings are whole."""
    parts = [""]
    depth = 0
    for piece in PIECE.findall(value):
        if piece == "(":
            depth += 1
        elif piece == ")":
            depth = max(0, depth - 1)
        elif depth == 0 and piece == ";":
            parts.append("")
        elif depth == 0:
            parts[-1] += piece
    return [part.strip() for part in parts]


def _spam(last: dict[str, str]) -> list[Verdict]:
    """Each filter once, from the field of it that says most."""
    found = []
    status = last.get("x-spam-status")
    if status is not None:
        score = SCORE.search(status)
        name = "amavis" if "tagged_above=" in status else "spamassassin"
        found.append(_accept(name, _spam_or_ham(status), score[1] if score else "", status))
    result = last.get("x-spamd-result")
    match = RSPAMD.match(result) if result is not None else None
    if result is not None and match:
        found.append(_accept("rspamd", _spam_or_ham(match[1]), match[2], result))
    if not found:
        found += _spam_flag(last)
    return found


def _spam_flag(last: dict[str, str]) -> list[Verdict]:
    """Filters that write a flag, a number, or both, and not their name."""
    flag = last.get("x-spam-flag", last.get("x-spam", ""))
    score = last.get("x-spam-score", "")
    if not NUMBER.match(score):
        score = ""
    reason = _spam_or_ham(flag)
    return [_accept("spam", reason, score, flag or score)] if reason or score else []


def _virus(last: dict[str, str]) -> list[Verdict]:
    status = last.get("x-virus-status", "")
    word = status[:8].lower()
    scanned = last.get("x-virus-scanned", "")
    name = "amavis" if "amavis" in scanned.lower() else "clamav"
    if word.startswith(("clean", "infected")):
        reason = "clean" if word.startswith("clean") else "virus"
        return [_accept(name, reason, "", status)]
    return [_accept(name, "scanned", "", scanned)] if scanned else []


def _spam_or_ham(word: str) -> str:
    folded = word[:5].lower()
    if folded.startswith(("yes", "true")):
        return "spam"
    return "ham" if folded.startswith(("no", "false")) else ""


def _accept(name: str, reason: str, score: str, evidence: str) -> Verdict:
    return Verdict(name, "accept", reason, score, evidence[:EVIDENCE_CHARS])
