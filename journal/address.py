"""The one spelling under which an address is indexed, compared and counted.

RFC 5321 2.3.5, 4.1.2 (mailboxes, quoted local parts), RFC 5890 2.3.2.1 (A-labels),
RFC 6531 (UTF-8 in addresses). A folded address is a key, never shown. Letter case
is folded in the local part too: nobody delivers ``Bob@`` and ``bob@`` apart.
Raises nothing: what is not an address folds to some bytes of its own.
"""

import unicodedata
from typing import Final

# Printable ASCII without "@", and without what needs a second look: quotes, <> and backslash.
_PLAIN: Final = bytes(c for c in range(0x21, 0x7F) if c not in b'@"<>\\')
_ATEXT: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~."
)
_LABEL: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_DOTS: Final = str.maketrans("。．｡", "...")  # noqa: RUF001  (IDNA's other full stops)
_ROUNDS: Final = 6
DELIMITERS: Final = b"+"
"""What parts a mailbox from an extension where nobody says otherwise."""
_WHOLE: Final = (b"postmaster", b"mailer-daemon", b"double-bounce")


def fold(raw: bytes) -> bytes:
    """The canonical key of an address: fold(fold(x)) is fold(x)."""
    low = raw.lower()
    if low.translate(None, _PLAIN) == b"@" and low[-1] != 0x2E:
        return low
    # Undoing one spelling may uncover another (quotes inside brackets, bytes that now join).
    for _ in range(_ROUNDS):
        folded = _fold_once(raw)
        if folded == raw:
            break
        raw = folded
    return raw


def domain(raw: bytes) -> bytes:
    """The folded domain of an address, ``b""`` where it has none."""
    local, at, name = fold(raw).rpartition(b"@")
    return name if at and local else b""


def fold_domain(raw: bytes) -> bytes:
    """The canonical key of a bare domain; ``@example.org`` means ``example.org``."""
    return fold(b"x@" + raw.strip().removeprefix(b"@"))[2:]


def mailbox(folded: bytes, delimiters: bytes) -> bytes:
    """The mailbox that a folded address is a subaddress of; itself where it is none.

    postconf(5) recipient_delimiter: the first of the characters ends the name, and the name is
    not empty; the addresses of the mail system, ``owner-NAME`` and ``NAME-request`` are whole.
    """
    local, at, name = folded.rpartition(b"@")
    if not at:
        local, name = folded, b""
    quoted = local[:1] == b'"'
    places = [at for at in map(local.find, _each(delimiters)) if at >= 0]
    first = min(places, default=0)
    if first <= quoted or local in _WHOLE:
        return folded
    if b"-" in delimiters and (local[:6] == b"owner-" or local[-8:] == b"-request"):
        return folded
    if not quoted:
        return local[:first] + at + name
    return fold(local[:first] + b'"' + at + name)


def _each(delimiters: bytes) -> list[bytes]:
    return [delimiters[at : at + 1] for at in range(len(delimiters))]


def _fold_once(raw: bytes) -> bytes:
    text = raw.decode("utf-8", "surrogateescape").strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1].strip()
    local, at, name = _split(text)
    if not at:
        return _encode(_casefold(local))
    return _encode(_fold_local(local)) + b"@" + _encode(_fold_name(name))


def _split(text: str) -> tuple[str, str, str]:
    """Split at the "@" after the local part, which may hold others inside quotes."""
    if text.startswith('"'):
        end = _closing_quote(text)
        if text[end + 1 : end + 2] == "@":
            return text[: end + 1], "@", text[end + 2 :]
    local, at, name = text.rpartition("@")
    return (local, at, name) if at else (text, "", "")


def _closing_quote(text: str) -> int:
    at = 1
    while at < len(text) and text[at] != '"':
        at += 2 if text[at] == "\\" else 1
    return at


def _fold_local(local: str) -> str:
    if len(local) < 2 or local[0] != '"' or local[-1] != '"':
        return _casefold(local)
    word, escaped = [], False
    for char in local[1:-1]:
        if char == "\\" and not escaped:
            escaped = True
            continue
        word.append(char)
        escaped = False
    inner = _casefold("".join(word))
    if _is_dot_atom(inner):
        return inner
    return '"' + inner.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _is_dot_atom(word: str) -> bool:
    """RFC 5322 3.2.3, with the non-ASCII of RFC 6531 3.3."""
    if not word or word[0] == "." or word[-1] == "." or ".." in word:
        return False
    return all(char in _ATEXT or char > "\x7f" for char in word)


def _fold_name(name: str) -> str:
    name = _casefold(name.strip()).translate(_DOTS)
    if name.endswith("."):
        name = name[:-1]
    if name.startswith("["):  # RFC 5321 4.1.3, an address literal
        return name
    return ".".join(map(_a_label, name.split(".")))


def _a_label(label: str) -> str:
    """One DNS label as an A-label; a label that IDNA refuses stays as it is."""
    if label.isascii():
        return label
    try:
        ascii_label = label.encode("idna").decode("ascii")
    except UnicodeError:
        return label
    # Compatibility forms of "@" or "." must not turn one name into another one.
    return ascii_label if _LABEL.issuperset(ascii_label) else label


def _casefold(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
