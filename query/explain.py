"""What a reply means, in plain words and offline: by its text or by its codes.

The most telling wins: a text that a large provider or an MTA is known to write, else the enhanced
status code (RFC 3463 and the registry of RFC 5248), else the reply code (RFC 5321 4.2.3). What is
known to none stays unexplained. The words are data, ``query/words/*.toml``. Raises nothing.
"""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

_ENHANCED: Final = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.]\d)")
_REPLY: Final = re.compile(r"(?<![\d.])([245]\d\d)(?=[ -]|$)")
_AT_MOST: Final = 4096
"""Characters of a text that are looked at; RFC 5321 4.5.3.1.5 gives a reply line 512 octets."""
_ADDRESSES: Final = re.compile(
    r"<[^<>]*>|(?<!\S)\S+@\S+|\bhost \S+ (?:said|refused to talk to me):"
    r"|\bsubject(?: was)?[: =]+(?:\"[^\"]*\"|'[^']*')|\bsubject: .*"
)
"""Addresses, the host that spoke, and subjects in a text: their spelling means nothing."""
_NAMES: Final = re.compile(
    r"(?:https?://|\bwww\.)\S+|(?<!\S)\S*\[[0-9a-f.:]+\]|(?<![\w.-])[\w-]+(?:\.[\w-]+)*\.[a-z][a-z0-9-]+"
)
"""Hosts and links: they mean nothing but in the text of whom they name."""
_TAKEN: Final = "The server took it."
_CLASSES: Final = {
    "2": "It succeeded.",
    "4": "It failed for now and is tried again.",
    "5": "It failed for good.",
}

_Found = tuple[dict[str, Any], str]
"""An entry of the data, and the basis."""


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
    text: str,
    *,
    enhanced_status: str | None = None,
    reply_code: int | None = None,
    final: bool = False,
) -> Explanation | None:
    """The meaning of a reply; codes that are not given are looked for in the text.

    ``final``: nothing is tried again, whatever the code says (a message that expired).
    """
    text = text[:_AT_MOST]
    enhanced = enhanced_status or _enhanced_in(text)
    code = str(reply_code) if reply_code else _reply_in(text)
    named = enhanced or code
    found: _Found | None
    if named.startswith("2"):
        found = _of_success(enhanced)
    else:
        found = _of_text(text) or _of_enhanced(enhanced) or _of_reply(code)
    if found is None:
        return None
    given_up = final or named.startswith("5")
    outcome = _CLASSES.get("5" if given_up else named[:1])
    known, basis = found
    return Explanation(
        code=named or None,
        outcome=outcome,
        says=known["says"],
        next=known.get("final" if given_up and "final" in known else "next"),
        who=known.get("who"),
        basis=basis,
    )


def _enhanced_in(text: str) -> str:
    found = _ENHANCED.search(text)
    return found[0] if found else ""


def _reply_in(text: str) -> str:
    found = _REPLY.search(text)
    return found[0] if found else ""


def _of_success(enhanced: str) -> _Found:
    """Of what was taken no text and no general code tells more."""
    known = _codes().get(enhanced.partition(".")[2], {})
    if not known or "next" in known:
        known = {"says": _TAKEN}
    return known, "enhanced_status" if enhanced else "reply_code"


def _of_text(text: str) -> _Found | None:
    whole = " ".join(text.casefold().split())
    addressless = _without(_ADDRESSES, whole)
    nameless = _without(_NAMES, addressless)
    for entry in _texts():
        if entry.fits(whole, addressless, nameless):
            return entry.known, "text"
    return None


def _without(names: re.Pattern[str], text: str) -> str:
    return " ".join(names.sub(" ", text).split())


def _of_enhanced(code: str) -> _Found | None:
    known = _codes().get(code.partition(".")[2])
    return (known, "enhanced_status") if known else None


def _of_reply(code: str) -> _Found | None:
    known = _replies().get(code)
    return (known, "reply_code") if known else None


@dataclass(frozen=True, slots=True)
class _Phrase:
    """Whole words in a text; behind those with "*" letters and digits may go on."""

    bare: str
    whole: re.Pattern[str]

    @classmethod
    def of(cls, part: str) -> "_Phrase":
        bare = part.removesuffix("*")
        before = r"(?<!\w)" if bare[0].isalnum() else ""
        behind = r"(?!\w)" if bare == part and bare[-1].isalnum() else ""
        return cls(bare, re.compile(before + re.escape(bare) + behind))

    def stands_in(self, text: str) -> bool:
        return self.bare in text and self.whole.search(text) is not None


@dataclass(frozen=True, slots=True)
class _Entry:
    """One of texts.toml."""

    known: dict[str, Any]
    all_of: tuple[_Phrase, ...]
    any_of: tuple[_Phrase, ...]

    @classmethod
    def of(cls, known: dict[str, Any]) -> "_Entry":
        phrases = (map(_Phrase.of, known.get(key, ())) for key in ("has", "any"))
        return cls(known, *map(tuple, phrases))

    def fits(self, whole: str, addressless: str, nameless: str) -> bool:
        text = nameless
        if "addresses" in self.known:
            text = whole
        elif "who" in self.known or "names" in self.known:
            text = addressless
        if not all(phrase.stands_in(text) for phrase in self.all_of):
            return False
        return not self.any_of or any(phrase.stands_in(text) for phrase in self.any_of)


@cache
def _texts() -> list[_Entry]:
    return [_Entry.of(known) for known in _words("texts")["text"]]


@cache
def _codes() -> dict[str, Any]:
    return _words("codes")


@cache
def _replies() -> dict[str, Any]:
    return _words("replies")


def _words(name: str) -> dict[str, Any]:
    return tomllib.loads((files("query") / "words" / f"{name}.toml").read_text("utf-8"))


def texts() -> list[dict[str, Any]]:
    """The entries of texts.toml, in their order."""
    return [entry.known for entry in _texts()]


def messages() -> list[str]:
    """Every sentence that may come out, each once: what a translation has to know."""
    entries = [*texts(), *_codes().values(), *_replies().values()]
    found = [*_CLASSES.values(), _TAKEN]
    for entry in entries:
        found += [entry[key] for key in ("says", "next", "final") if key in entry]
    return list(dict.fromkeys(found))
