"""The keys under which Postfix looks an address up, and what a table's value makes of it.

Addresses are in internal form (no quotes: ``b b@example.com``); keys and values of tables are in
external form (``"b b"@example.com``), as postmap(1) writes them. The order of the keys, and which
of them leave an address extension unmatched, is that of ADDRESS_REWRITING_README, canonical(5),
virtual(5), access(5) and aliases(5). Pure; raises nothing.
"""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Final

_ATOM: Final = r"[^\x00-\x20()<>@,;:\\\".\[\]\x7f]+"
_DOT_STRING: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*\Z")
_TO_ESCAPE: Final = re.compile(r'(["\\\r])')


@dataclass(frozen=True, slots=True, kw_only=True)
class Delimiters:
    """How a local part is split: ``recipient_delimiter`` and who is never split."""

    characters: str = ""  # any one of them; none: nothing is split
    requests_special: bool = True  # ownerreq_special
    double_bounce: str = "double-bounce"  # double_bounce_sender


def split(address: str) -> tuple[str, str]:
    """Local part and domain; ``""`` for a domain that is not there."""
    local, at, domain = address.rpartition("@")
    return (local, domain) if at else (address, "")


def external(address: str) -> str:
    """With the local part quoted where RFC 822 wants it."""
    local, at, domain = address.rpartition("@")
    if not at:
        local = address
    if local and not _DOT_STRING.match(local):
        escaped = _TO_ESCAPE.sub(r"\\\1", local)
        local = f'"{escaped}"'
    return f"{local}@{domain}" if at else local


_ROUTE: Final = re.compile(r'@[^@,:"]+(?:,@[^@,:"]+)*:')


def internal(address: str) -> str:
    """Without quotes and backslashes, and without a source route (RFC 5321 4.1.1.3, C)."""
    if route := _ROUTE.match(address):
        address = address[route.end() :]
    if '"' not in address and "\\" not in address:
        return address
    local, domain, quoted, index = [], "", False, 0
    while index < len(address):
        character = address[index]
        if character == "\\" and index + 1 < len(address):
            index += 1
            local.append(address[index])
        elif character == '"':
            quoted = not quoted
        elif character == "@" and not quoted and '"' not in address[index:]:
            domain = address[index:]
            break
        else:
            local.append(character)
        index += 1
    return "".join(local) + domain


def extension_of(local: str, delimiters: Delimiters) -> tuple[str, str]:
    """The user and the extension with its delimiter, which is ``""`` where there is none."""
    folded = local.casefold()
    if folded in ("postmaster", "mailer-daemon", delimiters.double_bounce.casefold()):
        return local, ""
    if "-" in delimiters.characters and delimiters.requests_special:
        if folded.startswith("owner-"):
            return local, ""
        if folded.endswith("-request") and len(folded) > len("-request"):
            return local, ""
    places = [place for each in delimiters.characters if (place := local.find(each)) >= 0]
    if not places or min(places) == 0:
        return local, ""
    return local[: min(places)], local[min(places) :]


def address_keys(address: str, delimiters: Delimiters, *, local: bool) -> dict[str, str]:
    """Key → the extension that this key leaves unmatched, in the order of the lookups.

    ``local`` says that the domain is $myorigin, in $mydestination or one of our addresses: then
    the bare user is tried, too. ``@domain`` leaves nothing unmatched: what a catch-all says is
    taken as it stands.
    """
    user, domain = split(address)
    bare, extension = extension_of(user, delimiters)
    found: dict[str, str] = {external(address): ""}
    if extension:
        found.setdefault(external(f"{bare}@{domain}"), extension)
    if local and domain:
        found.setdefault(external(user), "")
        if extension:
            found.setdefault(external(bare), extension)
    if domain:
        found.setdefault(f"@{domain}", "")
    return found


def access_keys(address: str, delimiters: Delimiters, *, parents: bool) -> list[str]:
    """The keys of an access(5) table for a mail address.

    ``parents``: smtpd_access_maps stands in parent_domain_matches_subdomains, so a domain's
    parents are tried by their names, otherwise as ``.parent``.
    """
    user, domain = split(address)
    bare, extension = extension_of(user, delimiters)
    keys = [external(address)]
    if extension:
        keys.append(external(f"{bare}@{domain}"))
    keys += domain_keys(domain, parents=parents)
    keys.append(external(user) + "@")
    if extension:
        keys.append(external(bare) + "@")
    return list(dict.fromkeys(keys))


def domain_keys(domain: str, *, parents: bool) -> list[str]:
    """A domain, then its parents, down to the last label."""
    labels = domain.split(".")
    dot = "" if parents else "."
    behind = [dot + ".".join(labels[index:]) for index in range(1, len(labels))]
    return [domain, *behind] if domain else []


def with_extension(address: str, extension: str) -> str:
    """``box@example.com`` and ``+tag`` → ``box+tag@example.com``."""
    if not extension:
        return address
    local, at, domain = address.rpartition("@")
    return f"{local}{extension}{at}{domain}" if at else address + extension


def results(value: str, address: str, unmatched: str) -> list[str]:
    """The addresses that a value stands for, in internal form, not yet completed by a domain.

    ``@other.example`` keeps the user and drops the unmatched extension (canonical(5)).
    """
    if value.startswith("@"):
        local = split(address)[0].removesuffix(unmatched)
        return [local + value]
    return [internal(each) for each in address_list(value)]


def address_list(value: str) -> list[str]:
    """The addresses of a list after RFC 822, in external form: commas or white space between
    them, comments and the words before ``<address>`` left out."""
    found: list[str] = []
    for part in _parts(value):
        words = _words(part)
        angle = [word for word in words if word.startswith("<") and word.endswith(">")]
        found += [word[1:-1] for word in angle] if angle else words
    return found


def _parts(value: str) -> list[str]:
    return _split(value, ",")


def _words(part: str) -> list[str]:
    return [word for word in _split(part, " \t\r\n\f\v") if word]


def _split(text: str, separators: Container[str]) -> list[str]:
    """At the separators outside quotes, comments and angles; comments are dropped."""
    parts, current = [], ""
    quoted, depth, angle, index = False, 0, False, 0
    while index < len(text):
        character = text[index]
        if character == "\\" and index + 1 < len(text):
            if not depth:
                current += text[index : index + 2]
            index += 2
            continue
        if character == '"' and not depth:
            quoted = not quoted
        elif not quoted and character == "(":
            depth += 1
        elif not quoted and character == ")" and depth:
            depth -= 1
            index += 1
            continue
        elif not quoted and character in "<>":
            angle = character == "<"
        if not depth and not quoted and not angle and character in separators:
            parts.append(current)
            current = ""
        elif not depth:
            current += character
        index += 1
    return [*parts, current]


def unmatched_of(keys: Mapping[str, str], key: str) -> str:
    """The extension that the key which was found left over; table types may fold its case."""
    if key in keys:
        return keys[key]
    folded = key.casefold()
    return next((rest for each, rest in keys.items() if each.casefold() == folded), "")
