"""A mail with a DKIM signature that is right, and its public key as DNS tells it.

RFC 6376, rsa-sha256, simple canonicalization of header and body (3.4.1, 3.4.3); RSA of 2048 bits by
openssl(1). Raises ProgramError where openssl is missing or fails.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.bench import tool
from tests.bench.process import ProgramError

DOMAIN: Final = "pine-tulip.test"
SELECTOR: Final = "bench"
# Without a Message-ID: Postfix gives each mail its own, as it should be.
FIELDS: Final = (
    f"From: Anna Pine <anna@{DOMAIN}>",
    "To: <emil@fjord-vale.example>",
    "Subject: A word about the minutes of Tuesday",
    "Date: Wed, 01 Oct 2025 09:15:00 +0000",
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
)
LINE: Final = "The minutes say what was said, and what was not said is in no minutes.\r\n"


class Signed(NamedTuple):
    """The mail with CRLF at its line ends; the record at ``SELECTOR._domainkey.DOMAIN``."""

    mail: bytes
    record: str


def signed(place: Path, body_bytes: int = 5_000) -> Signed:
    """A mail with a body of about so many bytes; the key stays below ``place``."""
    key = place / "dkim.key"
    _openssl("genrsa", "-out", str(key), "2048")
    public = _openssl("rsa", "-in", str(key), "-pubout", "-outform", "DER")
    body = LINE * (body_bytes // len(LINE))
    digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
    names = ":".join(field.partition(":")[0].lower() for field in FIELDS)
    signature = (
        f"DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d={DOMAIN}; s={SELECTOR};\r\n"
        f"\th={names};\r\n\tbh={digest};\r\n\tb="
    )
    head = "".join(f"{field}\r\n" for field in FIELDS)
    proof = _openssl("dgst", "-sha256", "-sign", str(key), given=(head + signature).encode())
    text = base64.b64encode(proof).decode()
    mail = f"{signature}{text}\r\n{head}\r\n{body}".encode()
    return Signed(mail, f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}")


def _openssl(*words: str, given: bytes = b"") -> bytes:
    command = (tool("openssl", "openssl"), *words)
    done = subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)
    if done.returncode:
        raise ProgramError(f"openssl {words[0]}: {done.stderr.decode(errors='replace')[-300:]}")
    return done.stdout
