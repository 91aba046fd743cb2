"""Whether what was asked for is an address at all, before any mail server is asked.

Taken: RFC 5321 mailboxes with quoted local parts and address literals, RFC 6531 letters, and a bare
local name, which the MTA completes with its own domain. An IDN is taken in both forms. Postfix's
``%`` and ``!`` routes are local parts like others. Raises UsageError saying what is wrong.
"""

import ipaddress
import re
from typing import Final

from posttrail.errors import UsageError
from posttrail.text import HOSTILE, safe
from query.trace.tree import Question

ENTRIES: Final = ("smtp", "submission", "pickup")
MOST_BYTES: Final = 1024  # RFC 5321 4.5.3.1 has 256 for a path; Postfix takes more
_ATOM: Final = re.compile(r"[^\s\"\\@,;:()<>\[\]]+")  # dots wherever Postfix takes them
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_LABEL: Final = re.compile(r"[^\W_]([\w-]*[^\W_])?|[\w-]+")
_LABEL_BYTES: Final = 63  # RFC 1035 2.3.4


def question(address: str, sender: str | None = None, entry: str = "smtp") -> Question:
    """What a walker is asked; the sender ``<>`` and ```` are the null sender."""
    if entry not in ENTRIES:
        raise UsageError(f"no such entry: {safe(entry)}; one of {', '.join(ENTRIES)}")
    if sender is not None:
        sender = _inside(sender)
        sender = checked(sender) if sender else ""
    return Question(address=checked(_inside(address)), sender=sender, entry=entry)


def checked(address: str) -> str:
    """The address itself, if it is one."""
    if not address:
        raise UsageError("not an address: nothing is there")
    if HOSTILE.search(address.translate(_BYTES)):
        raise UsageError(f"not an address, it has a control character: {safe(address)}")
    if len(address.encode("utf-8", "surrogateescape")) > MOST_BYTES:
        raise UsageError(f"not an address: longer than {MOST_BYTES} bytes")
    local, rest = _split(address)
    if not local:
        raise UsageError(f"not an address, nothing stands before the @: {safe(address)}")
    if rest is None:
        raise UsageError(f"not an address: {safe(address)}")
    if rest:
        _check_domain(rest[1:], address)
    return address


_BYTES: Final = dict.fromkeys(range(56448, 56576), "x")  # bytes that are no UTF-8: PEP 383


def _inside(text: str) -> str:
    return text[1:-1] if text.startswith("<") and text.endswith(">") else text


def _split(address: str) -> tuple[str, str | None]:
    """Local part, and ``@domain`` or nothing; None where what follows is neither."""
    found = _QUOTED.match(address) or _ATOM.match(address)
    if found is None:
        return "", None
    local, rest = found[0], address[found.end() :]
    if "@" in rest[1:] and rest.startswith("@"):  # user@inside@outside: the last one counts
        local, _, last = address.rpartition("@")
        rest = f"@{last}" if all(map(_ATOM.fullmatch, local.split("@"))) else ""
        return (local, rest) if rest else (local, None)
    return local, rest if not rest or rest.startswith("@") else None


def _check_domain(domain: str, address: str) -> None:
    if domain.startswith("["):
        if not domain.endswith("]") or not _is_literal(domain[1:-1]):
            raise UsageError(
                f"not an address, {safe(domain)} is no address literal: {safe(address)}"
            )
        return
    labels = domain.removesuffix(".").split(".")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise UsageError(f"not an address, {safe(domain)} is no domain: {safe(address)}")
        if label.isascii() and len(label) > _LABEL_BYTES:
            raise UsageError(f"not an address, a label of {safe(domain)} is longer than 63 bytes")


def _is_literal(text: str) -> bool:
    """``192.0.2.1`` or ``IPv6:2001:db8::1`` (RFC 5321 4.1.3)."""
    try:
        if text[:5].lower() == "ipv6:":
            return ipaddress.ip_address(text[5:]).version == 6
        return ipaddress.ip_address(text).version == 4
    except ValueError:
        return False
