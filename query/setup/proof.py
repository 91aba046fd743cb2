"""Proves that mail flows: one mail by SMTP over loopback, and no trace of it left in the queue.

From the null sender, so that nothing is sent back, with a subject that says what it is. RFC 5321;
postqueue(1) -j. Raises nothing: a proof that could not be made is told.
"""

import json
import re
import smtplib
import subprocess
import time
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import make_msgid
from typing import Final

from posttrail.postconf import Service, Settings, program, split

WAIT_S: Final = 30.0
_POLL_S: Final = 0.2
_QUEUED: Final = re.compile(rb"queued as ([0-9A-Za-z]+)")
_SMTPD: Final = frozenset({"smtpd", "postscreen"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What became of a test mail."""

    flows: bool
    said: str  # the server's reply, or what went wrong
    queue_id: str | None = None


def door(settings: Settings) -> tuple[str, int] | None:
    """Address and port of an SMTP service that loopback reaches; None where there is none."""
    for service in settings.services:
        if service.type == "inet" and service.command in _SMTPD:
            found = _place(service, settings)
            if found is not None:
                return found
    return None


def _place(service: Service, settings: Settings) -> tuple[str, int] | None:
    host, _, port = service.name.rpartition(":")
    number = {"smtp": 25, "submission": 587}.get(port, int(port) if port.isdecimal() else 0)
    if not number:
        return None
    named = host.strip("[]") or _interface(settings)
    return named, number


def _interface(settings: Settings) -> str:
    names = split(settings.get("inet_interfaces"))
    local = [name for name in names if name.startswith("127.")]
    if local or not names or names[0] in ("all", "loopback-only", "localhost"):
        return local[0] if local else "127.0.0.1"
    return names[0]


def prove(settings: Settings, directory: str, recipient: str) -> Proof:
    """Send a mail and wait until the queue has done with it."""
    place = door(settings)
    if place is None:
        return Proof(flows=False, said="master.cf has no smtpd that loopback reaches")
    try:
        reply = _send(place, recipient)
    except (OSError, smtplib.SMTPException) as error:
        return Proof(flows=False, said=f"{place[0]}:{place[1]}: {_words(error)}")
    found = _QUEUED.search(reply)
    said = reply.decode("ascii", "replace")
    if found is None:
        return Proof(flows=True, said=said)
    queue_id = found[1].decode()
    if not _left_queue(queue_id, directory):
        late = f"{said}, and after {WAIT_S:.0f} s it is still in the queue"
        return Proof(flows=False, said=late, queue_id=queue_id)
    return Proof(flows=True, said=said, queue_id=queue_id)


def _send(place: tuple[str, int], recipient: str) -> bytes:
    mail = EmailMessage()
    mail["From"] = f"posttrail setup <{recipient}>"
    mail["To"] = recipient
    mail["Subject"] = "posttrail setup: mail flows (this can be deleted)"
    mail["Message-ID"] = make_msgid("setup", "posttrail.invalid")
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("posttrail setup sends this before and after it changes main.cf.\n")
    with smtplib.SMTP(*place, timeout=WAIT_S) as client:
        client.ehlo_or_helo_if_needed()
        for code, text in (client.mail(""), client.rcpt(recipient)):
            if code >= 300:
                raise smtplib.SMTPResponseException(code, text)
        code, text = client.data(mail.as_bytes())
        if code >= 300:
            raise smtplib.SMTPResponseException(code, text)
    return text


def _words(error: Exception) -> str:
    if not isinstance(error, smtplib.SMTPResponseException):
        return str(error)
    text = error.smtp_error
    said = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    return f"{error.smtp_code} {said}"


def _left_queue(queue_id: str, directory: str) -> bool:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        done = subprocess.run(
            [program("postqueue"), "-c", directory, "-j"],
            capture_output=True, text=True, check=False, timeout=WAIT_S,
        )  # fmt: skip
        ids = {json.loads(line).get("queue_id") for line in done.stdout.splitlines()}
        if done.returncode == 0 and queue_id not in ids:
            return True
        time.sleep(_POLL_S)
    return False
