"""Proves that mail flows: one mail by SMTP over loopback, and no trace of it left in the queue.

From the null sender, so that nothing is sent back, to an address whose mail qmgr(8) itself throws
away: that of ``double_bounce_sender``, in a domain of ``mydestination`` or at our own address. So
it takes the whole way, door, milters, cleanup(8), queue, and nobody finds it. Where no smtpd(8)
takes mail from loopback it is given to sendmail(1). RFC 5321; postqueue(1) -j. Raises nothing: a
proof that could not be made is told.
"""

import json
import re
import smtplib
import subprocess
import time
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any, Final

from posttrail import smtp_doors
from posttrail.errors import PosttrailError
from posttrail.postconf import Settings, program
from posttrail.smtp_doors import Door

WAIT_S: Final = 30.0
_POLL_S: Final = 0.1
_QUEUED: Final = re.compile(rb"queued as ([0-9A-Za-z]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What became of a test mail."""

    flows: bool
    said: str  # the server's reply, or what went wrong
    queue_id: str | None = None
    message_id: str | None = None  # None: it was not taken


def nobody(settings: Settings) -> str:
    """The address whose mail Postfix throws away, where it is local."""
    local = settings.get("double_bounce_sender") or "double-bounce"
    names = (each for each in settings.words("mydestination") if not set(each) & set(":/$"))
    domain = next(names, f"[{smtp_doors.interface(settings)}]")
    return f"{local.partition('@')[0]}@{domain}"


def prove(settings: Settings, directory: str, recipient: str = "") -> Proof:
    """Send a mail, to ``recipient`` instead of nobody; wait until the queue has done with it."""
    place, to = smtp_doors.door(settings), recipient or nobody(settings)
    mail = message(to)
    where = f"{place.host}:{place.port}" if place else "sendmail(1)"
    try:
        reply = _send(place, to, mail) if place else _submit(directory, to, mail)
        found, said = _QUEUED.search(reply), reply.decode("ascii", "replace")
        queue_id = found[1].decode() if found else None
        stuck = "" if found is None and place else _stuck(directory, queue_id, to)
    except (OSError, PosttrailError, smtplib.SMTPException, subprocess.SubprocessError) as error:
        return Proof(flows=False, said=f"{where}: {_words(error)}")
    return Proof(
        flows=not stuck,
        said=f"{said}, {stuck}" if stuck else said,
        queue_id=queue_id,
        message_id=mail["Message-ID"].strip("<>"),
    )


def message(to: str) -> EmailMessage:
    """The test mail; it says what it is."""
    mail = EmailMessage()
    mail["From"] = f"posttrail setup <{to}>"
    mail["To"] = to
    mail["Subject"] = "posttrail setup: mail flows (this can be deleted)"
    mail["Date"] = formatdate()
    mail["Message-ID"] = make_msgid("setup", "posttrail.invalid")
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("posttrail setup sends this before and after it changes main.cf.\n")
    return mail


def _send(place: Door, recipient: str, mail: EmailMessage) -> bytes:
    with smtplib.SMTP(place.host, place.port, timeout=WAIT_S) as client:
        client.ehlo_or_helo_if_needed()
        for code, text in (client.mail(""), client.rcpt(recipient)):
            if code >= 300:
                raise smtplib.SMTPResponseException(code, text)
        code, text = client.data(mail.as_bytes())
        if code >= 300:
            raise smtplib.SMTPResponseException(code, text)
    return text


def _submit(directory: str, recipient: str, mail: EmailMessage) -> bytes:
    command = [program("sendmail"), "-C", directory, "-i", "-f", "<>", "--", recipient]
    subprocess.run(command, input=mail.as_bytes(), check=True, timeout=WAIT_S, capture_output=True)
    return b"taken by sendmail(1)"


def _words(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return bytes(error.stderr).decode("utf-8", "replace").strip()
    if not isinstance(error, smtplib.SMTPResponseException):
        return str(error)
    text = error.smtp_error
    said = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    return f"{error.smtp_code} {said}"


def _stuck(directory: str, queue_id: str | None, recipient: str) -> str:
    """Why it is still in the queue; "" once it is gone."""
    deadline = time.monotonic() + WAIT_S
    while True:
        done = subprocess.run(
            [program("postqueue"), "-c", directory, "-j"],
            capture_output=True, text=True, check=False, timeout=WAIT_S,
        )  # fmt: skip
        if done.returncode == 0:
            listed = (json.loads(line) for line in done.stdout.splitlines())
            ours = [each for each in listed if _is_ours(each, queue_id, recipient)]
            if not ours:
                return ""
            if ours[0].get("queue_name") == "deferred":
                why = [each.get("delay_reason", "") for each in ours[0].get("recipients", ())]
                return f"but it is deferred: {'; '.join(why)}"
        if time.monotonic() > deadline:
            return f"but after {WAIT_S:.0f} s it is still in the queue"
        time.sleep(_POLL_S)


def _is_ours(entry: dict[str, Any], queue_id: str | None, recipient: str) -> bool:
    if queue_id is not None:
        return bool(entry.get("queue_id") == queue_id)
    return any(each.get("address") == recipient for each in entry.get("recipients", ()))
