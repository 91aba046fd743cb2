"""The one box: what a text is that somebody pasted, most likely reading first.

Shapes: an address (RFC 5321 4.1.2) or @domain, a bare domain, an IP address with or without
brackets, a queue id of Postfix (short and long), Sendmail or Exim, an id of ours, a Message-ID
(RFC 5322 3.6.4), each also as a log writes it (``to=<...>``). What is nothing of that is words.
A Message-ID and an address may look the same: then there are two readings, and who finds
nothing by the first one tries the next. Pure; raises nothing.
"""

import os
import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from journal import address, keys
from query.filters import Filters


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One meaning of the text."""

    what: str  # address, domain, queue_id, id, message_id, client_ip, text, nothing
    filters: Filters  # of a report
    id: str | None = None  # of a message of ours: to be shown, no filter finds it


_MOST: Final = 1000
_PAIR: Final = re.compile(
    r"(from|to|orig_to|sender|recipient|message-?id|client|queue_?id|login|sasl_username)"
    r"\s*[=:]\s*(.+)",
    re.IGNORECASE | re.DOTALL,
)
_FILTER: Final = {
    "from": "sender", "sender": "sender", "to": "recipient", "orig_to": "recipient",
    "recipient": "recipient", "messageid": "message_id", "client": "client_ip",
    "queueid": "queue_id", "login": "login", "saslusername": "login", "origto": "recipient",
}  # fmt: skip
_QUEUE_IDS: Final = (
    re.compile(r"[0-9A-F]{6,16}"),  # Postfix, short: microseconds and inode, in hex
    re.compile(r"[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]{10,}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]+"),
    re.compile(r"[0-9A-Za-z]{8}[0-9]{6,8}"),  # Sendmail
    re.compile(r"[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}"),  # Exim
)
_LABEL: Final = r"(?!-)[^\s\x00-\x20@<>()\[\]\\,;:\"/.]{1,63}"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_MANY: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.[^\W\d_][^\s@.]*\.?")  # no IP, no version
_HEX_WORD: Final = re.compile(r"[A-F]+|[0-9]+")  # a word or a number as well


def readings(text: str) -> tuple[Reading, ...]:
    """What the text may be; never empty."""
    text = text.strip()[:_MOST]
    if not text:
        return (Reading(what="nothing", filters={}),)
    pair = _PAIR.fullmatch(text)
    if pair:
        said = _said(pair[1], pair[2].strip())
        if said:
            return (said,)
    return _bare(text)


def filters(text: str) -> Filters:
    """Those of the likeliest reading that has any."""
    return next((each.filters for each in readings(text) if each.filters), {})


def _said(name: str, value: str) -> Reading | None:
    """A name and a value as a log, a header or a form writes them."""
    known = _FILTER[re.sub(r"[-_]", "", name.lower())]
    inner = _unwrapped(value)
    if known in ("sender", "recipient"):
        if inner == "" and known == "sender":
            return Reading(what="address", filters={known: "<>"})
        name = _address(inner) or (f"@{domain}" if (domain := _at_domain(inner)) else "")
        return Reading(what="address", filters={known: name}) if name else None
    if known == "client_ip":
        found = _ip(value[value.find("[") :] if "[" in value else value)
        return Reading(what="client_ip", filters={known: found}) if found else None
    if known == "queue_id":
        return Reading(what="queue_id", filters={known: value})
    return Reading(what=known, filters={known: inner}) if inner else None


def _bare(text: str) -> tuple[Reading, ...]:
    words = Reading(what="text", filters={"text": text})
    bare = _unwrapped(text)
    if found := _ip(text):
        return (Reading(what="client_ip", filters={"client_ip": found}),)
    if domain := _at_domain(bare):
        return (Reading(what="domain", filters={"address": f"@{domain}"}),)
    if named := _named(text):
        return (Reading(what="address", filters={"address": named}),)
    if name := _address(bare):
        person = Reading(what="address", filters={"address": name})
        letter = Reading(what="message_id", filters={"message_id": bare})
        return (letter, person) if _is_letter(text, bare) else (person, letter)
    if text.startswith("<") and text.endswith(">") and not re.search(r"\s", bare) and bare:
        return (Reading(what="message_id", filters={"message_id": bare}), words)
    if keys.parse_id(text) is not None:
        ours = Reading(what="id", filters={}, id=text.lower())
        return (ours, Reading(what="queue_id", filters={"queue_id": text}))
    if _is_queue_id(text):
        letter = Reading(what="queue_id", filters={"queue_id": text})
        return (letter, words) if _HEX_WORD.fullmatch(text) else (letter,)
    if _MANY.fullmatch(text):
        return (Reading(what="domain", filters={"address": f"@{text}"}), words)
    return (words,)


def _unwrapped(text: str) -> str:
    """Without what a log, a mail program or a browser puts around."""
    text = text.strip().rstrip(",;").strip()
    if text[:7].lower() == "mailto:":
        text = text[7:].partition("?")[0]
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1].strip()
    return text


def _named(text: str) -> str:
    """The address of ``Name <address>``."""
    if not text.endswith(">") or text.startswith("<"):
        return ""
    name, begins, inner = text[:-1].rpartition("<")
    return _address(inner.strip()) if begins and name.strip() else ""


def _address(text: str) -> str:
    """The address that the text is, or nothing."""
    folded = address.fold(os.fsencode(text)).decode("utf-8", "surrogateescape")
    local, at, name = folded.rpartition("@")
    if not at or not local or not _is_host(name):
        return ""
    quoted = len(local) > 1 and local[0] == local[-1] == '"'
    return text if quoted or not re.search(r'[\s<>"(),:;\\@\[\]]', local) else ""


def _is_host(name: str) -> bool:
    return bool(_DOMAIN.fullmatch(name) or re.fullmatch(r"\[[0-9A-Fa-f:.IPv]+\]", name))


def _at_domain(text: str) -> str:
    """The domain of ``@domain`` or ``*@domain``."""
    name = text.removeprefix("*")
    return name[1:] if name[:1] == "@" and _DOMAIN.fullmatch(name[1:]) else ""


def _ip(text: str) -> str:
    bare = text.strip().removeprefix("[").removesuffix("]")
    bare = bare[5:] if bare[:5].lower() == "ipv6:" else bare
    try:
        return str(ip_address(bare)) if "%" not in bare else ""
    except ValueError:
        return ""


def _is_queue_id(text: str) -> bool:
    return any(shape.fullmatch(text) for shape in _QUEUE_IDS)


def _is_letter(text: str, bare: str) -> bool:
    """Whether what may be an address is rather a Message-ID: in <>, or long and full of digits."""
    left = bare.rpartition("@")[0]
    digits = sum(char.isdigit() for char in left)
    return (text.startswith("<") and digits >= 4) or (len(left) > 18 and digits >= 8)
