"""ETags of answers: they change when the journal does, with the asker, and with the question.

RFC 9110 8.8.3, 13.1.2. Weak, for the same rows may be spelled otherwise by a newer release. A
question about the last days is asked of another time each minute. Pure.
"""

from hashlib import blake2b
from typing import Final

MINUTE_S: Final = 60


def tag(key: bytes, *said: object) -> str:
    """The tag of all that an answer depends on; the key keeps the change number to ourselves."""
    raw = repr(said).encode("utf-8", "surrogatepass")
    return f'W/"{blake2b(raw, digest_size=12, key=key[:64]).hexdigest()}"'


def matches(header: str, tag: str) -> bool:
    """Whether If-None-Match names the tag (weak comparison)."""
    if header.strip() == "*":
        return True
    bare = tag.removeprefix("W/")
    return any(each.strip().removeprefix("W/") == bare for each in header.split(","))
