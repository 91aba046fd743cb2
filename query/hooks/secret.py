"""The signature of a webhook, as Standard Webhooks has it (standardwebhooks.com, version 1.0.0).

HMAC-SHA256 over ``ID.TIMESTAMP.BODY``, in base64, behind ``v1,``; the secret is ``whsec_`` and
base64 of 24 to 64 bytes. A file of several secrets, one a line, gives a signature of each: the
receiver changes to the new one while both hold. Raises SecretError.
"""

import base64
import binascii
import hmac
import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Final

from posttrail.errors import ConfigError

PREFIX: Final = "whsec_"
LEAST: Final = 24
MOST: Final = 64
_MOST_BYTES: Final = 4096


class SecretError(ConfigError):
    """The file has no secret that may be used."""


def read(path: Path) -> tuple[bytes, ...]:
    """The secrets in a file that not everybody may read."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MOST_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror}; posttrail-hookd must read it") from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise SecretError(f"{path}: everybody may read or write it: chmod o= {path}")
    found = tuple(_decoded(line, path) for line in text.split())
    if not found:
        raise SecretError(f"{path}: empty; {_how(path)}")
    return found


def _decoded(line: str, path: Path) -> bytes:
    try:
        raw = base64.b64decode(line.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raw = b""
    if not line.startswith(PREFIX) or not LEAST <= len(raw) <= MOST:
        raise SecretError(f"{path}: no secret; {_how(path)}")
    return raw


def _how(path: Path) -> str:
    return f'make one: echo "{PREFIX}$(openssl rand -base64 32)" > {path}'


def headers(id: str, at_s: int, body: bytes, secrets: tuple[bytes, ...]) -> dict[str, str]:
    """The three headers."""
    signed = f"{id}.{at_s}.".encode() + body
    signatures = (hmac.new(secret, signed, sha256).digest() for secret in secrets)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(
            f"v1,{base64.b64encode(each).decode()}" for each in signatures
        ),
    }
