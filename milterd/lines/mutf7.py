"""Decode the names of IMAP mailboxes as old servers log them.

Format: modified UTF-7 (RFC 3501 5.1.3): ``&``, base64 with ``,`` for ``/`` of UTF-16 units, ``-``;
``&-`` is ``&``. A name that is not wholly and strictly in this form is in the user's own
words already and comes back as it is (Dovecot since 2.0 logs UTF-8). Raises nothing.
"""

from binascii import Error, a2b_base64
from typing import Final

_TO_BASE64: Final = bytes.maketrans(b",", b"/")


def folder_name(name: bytes) -> bytes:
    """A mailbox name in UTF-8."""
    if b"&" not in name:
        return name
    plain, *runs = name.split(b"&")
    words = [plain]
    for run in runs:
        code, end, rest = run.partition(b"-")
        text = b"&" if end and not code else _decoded(code) if end else None
        if text is None:
            return name
        words += [text, rest]
    if not all(32 <= byte < 127 for byte in name):
        return name
    return b"".join(words)


def _decoded(code: bytes) -> bytes | None:
    """UTF-8 of the base64 between ``&`` and ``-``; None where a server would not write it so."""
    if b"/" in code or b"=" in code or len(code) % 4 == 1:
        return None
    try:
        units = a2b_base64(code.translate(_TO_BASE64) + b"=" * (-len(code) % 4), strict_mode=True)
        text = units.decode("utf-16-be")
    except (Error, UnicodeDecodeError):
        return None
    return None if any(" " <= letter <= "~" for letter in text) else text.encode("utf-8")
