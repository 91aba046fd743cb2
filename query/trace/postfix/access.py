"""What the right side of an access(5) table says.

Pure; raises nothing. Replies look like those of smtpd(8): ``554 5.7.1 <x>: Recipient address
rejected: Access denied``.
"""

import re
from enum import Enum
from typing import Final, NamedTuple

_STATUS: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|\Z)")


class Kind(Enum):
    """What an action decides."""

    PERMIT = "permit"
    REJECT = "reject"  # 4xx or 5xx
    NOTHING = "nothing"  # DUNNO, and what does not touch the way of the mail
    FILTER = "filter"
    REDIRECT = "redirect"
    BCC = "bcc"
    DISCARD = "discard"
    HOLD = "hold"
    DEFER_IF_PERMIT = "defer_if_permit"
    LIST = "list"  # further restrictions


class Action(NamedTuple):
    """One decision; ``code`` and ``status`` stand for refusals only."""

    kind: Kind
    text: str = ""  # the argument, or the reply's words
    code: str = ""
    status: str = ""


_WORDS: Final = {
    "OK": Kind.PERMIT,
    "RELAY": Kind.PERMIT,
    "DUNNO": Kind.NOTHING,
    "WARN": Kind.NOTHING,
    "INFO": Kind.NOTHING,
    "PREPEND": Kind.NOTHING,
    "DEFER_IF_REJECT": Kind.NOTHING,
    "DEFER_IF_PERMIT": Kind.DEFER_IF_PERMIT,
    "FILTER": Kind.FILTER,
    "REDIRECT": Kind.REDIRECT,
    "BCC": Kind.BCC,
    "DISCARD": Kind.DISCARD,
    "HOLD": Kind.HOLD,
}


def action_of(value: str, *, reject_code: str = "554", defer_code: str = "450") -> Action:
    """The decision; the codes are access_map_reject_code and access_map_defer_code."""
    word, _, rest = value.strip().partition(" ")
    rest = rest.strip()
    upper = word.upper()
    if upper == "REJECT":
        return _refused(reject_code, "5.7.1", rest)
    if upper == "DEFER":
        return _refused(defer_code, "4.7.1", rest)
    if upper in _WORDS:
        kind = _WORDS[upper]
        if kind is Kind.DEFER_IF_PERMIT:
            refused = _refused(defer_code, "4.7.1", rest or "Service unavailable")
            return refused._replace(kind=kind)
        return Action(kind, rest)
    if value.strip().isdigit() and not rest:
        return Action(Kind.PERMIT)
    if re.fullmatch(r"[45]\d\d", word) and rest:
        return _refused(word, f"{word[0]}.0.0", rest)
    return Action(Kind.LIST, value.strip())


def _refused(code: str, status: str, text: str) -> Action:
    status, text = split_status(text, status)
    return Action(Kind.REJECT, text or "Access denied", code, status)


def split_status(text: str, otherwise: str) -> tuple[str, str]:
    """The enhanced status code (RFC 3463) at the front of a text, and what follows it."""
    found = _STATUS.match(text)
    return (found[1], text[found.end() :]) if found else (otherwise, text)
