"""Lists of domains as mydestination and relay_domains are written: names, tables, files, ``!``.

After postconf(5) and DOMAIN lists in parent_domain_matches_subdomains. Raises TableError, also
for a file of patterns that cannot be read.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from posttrail.postconf import split
from query.trace.nexthop import literal
from query.trace.postfix import keys
from query.trace.postfix.tables import TableError, Tables

_TABLE: Final = re.compile(r"[A-Za-z][\w-]*:")
_LABEL: Final = re.compile(r"[A-Za-z0-9_\x80-\U0010ffff](?:[A-Za-z0-9_\x80-\U0010ffff-]*)")
LONGEST_LABEL: Final = 63
LONGEST_NAME: Final = 255


def listed(words: Sequence[str], domain: str, tables: Tables, *, parents: bool | None) -> bool:
    """Is the domain in the list? ``parents``: a name stands for its subdomains too (True), or
    ``.name`` does (False); None: for neither, the list is one of plain strings."""
    folded = domain.casefold()
    for word in _expanded(words):
        name = word.lstrip("!")
        if _matches(name, folded, tables, parents=parents):
            return (len(word) - len(name)) % 2 == 0
    return False


def _expanded(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        name = word.lstrip("!")
        if not name.startswith("/"):
            yield word
            continue
        negated = word[: len(word) - len(name)]
        yield from (negated + each for each in _expanded(_file(name)))


def _file(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            lines = [line for line in stream if not line.lstrip().startswith("#")]
    except OSError as error:
        raise TableError(path, error.strerror or str(error)) from None
    return [word for line in lines for word in split(line)]


def _matches(name: str, domain: str, tables: Tables, *, parents: bool | None) -> bool:
    if _TABLE.match(name):
        forms = [domain] if parents is None else keys.domain_keys(domain, parents=parents)
        return tables.find([name], forms) is not None
    pattern = name.casefold()
    if domain == pattern:
        return True
    if parents:
        return domain.endswith(f".{pattern}")
    return parents is False and pattern.startswith(".") and domain.endswith(pattern)


def inside(domain: str) -> str | None:
    """The address in ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]``; None of anything else."""
    if not (domain.startswith("[") and domain.endswith("]")):
        return None
    text = domain[1:-1]
    named = text[:5].casefold() == "ipv6:"
    address = literal(text[5:] if named else text)
    return address if address and (":" in address) is named else None


def valid(domain: str) -> bool:
    """Would Postfix take it for the name of a mail host, or an address literal?"""
    if domain.startswith("["):
        return inside(domain) is not None
    labels = domain.split(".")
    return (
        len(domain) <= LONGEST_NAME
        and not domain.replace(".", "").isdigit()
        and all(
            _LABEL.fullmatch(label) and len(label) <= LONGEST_LABEL and not label.endswith("-")
            for label in labels
        )
    )
