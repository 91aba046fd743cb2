"""What a reply means, in plain words and offline: by its text or by its codes.

The most telling wins: a text that a large provider or an MTA is known to write, else the enhanced
status code (RFC 3463 and the registry of RFC 5248), else the reply code (RFC 5321 4.2.3). What is
known to none stays unexplained. The words are data, ``query/words/*.toml``. Raises nothing.
"""

import re
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Final

_ENHANCED: Final = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.]\d)")
_REPLY: Final = re.compile(r"(?<![\d.])([245]\d\d)(?=[ -]|$)")
_AT_MOST: Final = 4096
"""Characters of a text that are looked at; RFC 5321 4.5.3.1.5 gives a reply line 512 octets."""
_NAMES: Final = re.compile(r"<[^<>]*>|\S+@\S+|\bhost \S+ said:")
"""Addresses and hosts in a text: their spelling means nothing."""
_TAKEN: Final = "The server took it."
_CLASSES: Final = {
    "2": "It succeeded.",
    "4": "It failed for now and is tried again.",
    "5": "It failed for good.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a reply means; ``docs/schema/explain.json``."""

    code: str | None  # "5.1.1" or "550": what was explained, None where the text alone was
    outcome: str | None  # what the first digit says (RFC 3463 3.1); None without a code
    says: str
    next: str | None  # what to do about it
    who: str | None  # whose text it is, where one of a large provider was known
    basis: str  # "text", "enhanced_status" or "reply_code": what was known


def explain(
    text: str, *, enhanced_status: str | None = None, reply_code: int | None = None
) -> Explanation | None:
    """The meaning of a reply; codes that are not given are looked for in the text."""
    text = text[:_AT_MOST]
    enhanced = enhanced_status or _enhanced_in(text)
    code = str(reply_code) if reply_code else _reply_in(text)
    named = enhanced or code
    found: Explanation | None = None
    if named.startswith("2"):
        found = _of_success(enhanced)
    else:
        found = _of_text(text) or _of_enhanced(enhanced) or _of_reply(code)
    if found is None:
        return None
    outcome = _CLASSES.get(named[0]) if named else None
    return replace(found, code=named or None, outcome=outcome)


def _enhanced_in(text: str) -> str:
    found = _ENHANCED.search(text)
    return found[0] if found else ""


def _reply_in(text: str) -> str:
    found = _REPLY.search(text)
    return found[0] if found else ""


def _of_success(enhanced: str) -> Explanation:
    """Of what was taken no text and no general code tells more."""
    known = _codes().get(enhanced.partition(".")[2], {})
    if not known or "next" in known:
        known = {"says": _TAKEN}
    return _made(known, "enhanced_status" if enhanced else "reply_code")


def _of_text(text: str) -> Explanation | None:
    whole = " ".join(text.casefold().split())
    nameless = _NAMES.sub(" ", whole)
    for known, parts in _texts():
        plain = whole if "who" in known else nameless
        if all(part.search(plain) for part in parts):
            return _made(known, "text")
    return None


def _of_enhanced(code: str) -> Explanation | None:
    known = _codes().get(code.partition(".")[2])
    return _made(known, "enhanced_status") if known else None


def _of_reply(code: str) -> Explanation | None:
    known = _replies().get(code)
    return _made(known, "reply_code") if known else None


def _made(known: dict[str, Any], basis: str) -> Explanation:
    return Explanation(
        code=None,
        outcome=None,
        says=known["says"],
        next=known.get("next"),
        who=known.get("who"),
        basis=basis,
    )


@cache
def _texts() -> list[tuple[dict[str, Any], list[re.Pattern[str]]]]:
    return [(known, [*map(_whole_word, known["has"])]) for known in _words("texts")["text"]]


def _whole_word(part: str) -> re.Pattern[str]:
    """Finds the part where no letter or digit goes on before it or, but for "*", behind it."""
    bare = part.removesuffix("*")
    before = r"(?<!\w)" if bare[0].isalnum() else ""
    behind = r"(?!\w)" if bare == part and bare[-1].isalnum() else ""
    return re.compile(before + re.escape(bare) + behind)


@cache
def _codes() -> dict[str, Any]:
    return _words("codes")


@cache
def _replies() -> dict[str, Any]:
    return _words("replies")


def _words(name: str) -> dict[str, Any]:
    return tomllib.loads((files("query") / "words" / f"{name}.toml").read_text("utf-8"))


def messages() -> list[str]:
    """Every sentence that may come out, each once: what a translation has to know."""
    entries = [*(known for known, _ in _texts()), *_codes().values(), *_replies().values()]
    found = [*_CLASSES.values(), _TAKEN]
    for entry in entries:
        found += [entry[key] for key in ("says", "next") if key in entry]
    return list(dict.fromkeys(found))
