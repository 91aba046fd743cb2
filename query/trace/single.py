"""One address as it may be handed to a command: neither an option nor a list, its domain in ASCII.

Sendmail and Exim take ``a, b`` for two addresses, ``name <a>`` for a, and 8-bit letters for others
(RFC 5321 4.1.2 has none of these in an address). Raises UsageError for what is no single address.
"""

from typing import Final

from posttrail.errors import UsageError
from posttrail.text import safe

_NOT_BARE: Final = frozenset(",;:()<> ")


def single(address: str) -> str:
    """The address with its domain as an A-label."""
    if not address or any(ord(letter) < 32 or ord(letter) == 127 for letter in address):
        raise UsageError(f"not an address: {safe(address) or '(nothing)'}")
    local, at, domain = address.rpartition("@") if "@" in address else (address, "", "")
    if _NOT_BARE & set(_unquoted(local)) or not local:
        raise UsageError(f"not one address: {safe(address)}")
    if domain.startswith("["):
        if not domain.endswith("]") or any(letter in domain for letter in " ,<>()"):
            raise UsageError(f"not one address: {safe(address)}")
        return address
    if _NOT_BARE & set(domain):
        raise UsageError(f"not one address: {safe(address)}")
    if domain.isascii():
        return address
    from query.trace.dns import a_label  # dnspython takes its time to load

    label = a_label(domain)
    if label is None:
        raise UsageError(f"not a domain name: {safe(domain)}")
    return f"{local}{at}{label}"


def _unquoted(local: str) -> str:
    """What stands outside quotes."""
    bare, quoted, escaped = "", False, False
    for letter in local:
        if escaped:
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter == '"':
            quoted = not quoted
        elif not quoted:
            bare += letter
    return "<" if quoted or escaped else bare  # what does not end is no address
