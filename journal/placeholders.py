"""What stands in a record for an erased address: ``erased`` and hexadecimal digits.

No delimiter of subaddresses (``recipient_delimiter``) is among these characters. Behind it
stands the domain of the address, where it had one. Pure; raises nothing.
"""

import re
from typing import Final

WORD: Final = b"erased"
WORD_BYTES: Final = 4
"""Random bytes that stand for one address; a subaddress has two more, of its hash."""
ANYWHERE: Final = re.compile(rb"erased[0-9a-f]{8}", re.IGNORECASE)
_WHOLE: Final = re.compile(rb"<?erased[0-9a-f]{8}(?:[0-9a-f]{4})?(?:@[^@]*)?", re.IGNORECASE)
_ID: Final = re.compile(rb"erased[0-9a-f]{16}")


def is_placeholder(name: bytes) -> bool:
    """Whether something stands there for what was erased."""
    return _WHOLE.fullmatch(name) is not None


def is_erased_id(message_id: bytes) -> bool:
    """The same of a Message-ID."""
    return _ID.fullmatch(message_id) is not None


def base(name: bytes) -> bytes:
    """The word of an erased address, of any of its spellings and subaddresses."""
    return name.removeprefix(b"<").lower()[: len(WORD) + 2 * WORD_BYTES]
