"""The mails of the demonstration, and what must become of each.

``MAILS`` is the list; ``send`` brings one to the private Postfix by smtplib or sendmail(1) and
says nothing of refusals, which some of them are for. What must come of it stands in ``fates``:
pairs of (recipient, final recipient or None) with a status and reason of docs/statuses.md.
Raises OSError or smtplib.SMTPException where Postfix does not answer at all.
"""

import smtplib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from typing import Literal

from posttrail.demo.lab import Lab
from posttrail.demo.postfix_files import BLOCKED_CLIENT, HOST, INSIDE_CLIENT, LOGIN

Way = Literal["mx", "inside", "submission", "sendmail", "filtered", "postscreen"]
OUTSIDE_CLIENT = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Fate:
    """The row that a recipient must end in."""

    recipient: str
    final_recipient: str | None
    status: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One message, the way it comes, and the rows it must end in."""

    subject: str
    sender: str
    fates: tuple[Fate, ...]
    way: Way = "mx"
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def recipients(self) -> list[str]:
        """Each recipient once: an alias has more rows than recipients."""
        return list(dict.fromkeys(fate.recipient for fate in self.fates))


def _to(recipient: str, status: str, reason: str) -> Fate:
    return Fate(recipient, None if status == "rejected" else recipient, status, reason)


GREYLISTED = "friend@slow.example"
"""Deferred at first, delivered once its message is flushed."""

TRACED = "team@example.com"
"""An alias of three mailboxes: what ``posttrail trace`` is shown with."""

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"
PARTNER = "partner@example.net"

MAILS: tuple[Mail, ...] = (
    Mail(
        subject="Minutes of Monday, by alias to three mailboxes",
        sender=PARTNER,
        fates=tuple(
            Fate("team@example.com", mailbox, "delivered", "stored")
            for mailbox in (ALICE, BOB, CAROL)
        ),
    ),
    Mail(
        subject="Offer, to one who is there and one who is gone",
        sender=ALICE,
        way="submission",
        fates=(
            _to(PARTNER, "delivered", "relayed"),
            _to("buyer@gone.example", "error", "bounced"),
        ),
    ),
    Mail(
        subject="Anybody home?",
        sender=PARTNER,
        fates=(_to("nobody.here@example.com", "rejected", "unknown_user"),),
    ),
    Mail(
        subject="One mailbox exists, the other does not",
        sender=PARTNER,
        fates=(
            _to(BOB, "delivered", "stored"),
            _to("bobby@example.com", "rejected", "unknown_user"),
        ),
    ),
    Mail(
        subject="Through you to somebody else",
        sender="stranger@example.org",
        fates=(_to("victim@elsewhere.example", "rejected", "relay_denied"),),
    ),
    Mail(
        subject="Cheap pills",
        sender="mallory@spam.example",
        fates=(_to(ALICE, "rejected", "policy"),),
    ),
    Mail(
        subject="From an address on the block list",
        sender="bot@spam.example",
        way="postscreen",
        fates=(_to(BOB, "rejected", "policy"),),
    ),
    Mail(
        subject="Your invoice (open the attachment!)",
        sender="billing@example.org",
        headers=(("X-Demo-Attachment", "eicar.com"),),
        fates=(_to(CAROL, "rejected", "virus"),),
    ),
    Mail(
        subject="See you on Friday, greylisted at first",
        sender=ALICE,
        way="submission",
        fates=(_to(GREYLISTED, "delivered", "relayed"),),
    ),
    Mail(
        subject="Holiday pictures, into a full mailbox",
        sender=BOB,
        way="inside",
        fates=(_to("collector@full.example", "deferred", "quota"),),
    ),
    Mail(
        subject="Status, to a server that is down",
        sender=CAROL,
        way="inside",
        fates=(_to("ops@down.example", "deferred", "connection"),),
    ),
    Mail(
        subject="Terms, refused after the message was sent",
        sender=BOB,
        way="inside",
        fates=(_to("legal@strict.example", "error", "bounced"),),
    ),
    Mail(
        subject="Into the void",
        sender=CAROL,
        way="inside",
        fates=(_to("anyone@void.example", "filtered", "discarded"),),
    ),
    Mail(
        subject="Application, held for review",
        sender="applicant@example.org",
        fates=(_to("review@example.com", "in_progress", "held"),),
    ),
    Mail(
        subject="Newsletter, through the content filter",
        sender="news@example.org",
        way="filtered",
        fates=(_to(CAROL, "delivered", "stored"),),
    ),
    Mail(
        subject="Forwarded by an alias of the local agent",
        sender="news@example.org",
        fates=(
            Fate("staff@lists.example.com", ALICE, "delivered", "stored"),
            Fate("staff@lists.example.com", PARTNER, "delivered", "relayed"),
        ),
    ),
    Mail(
        subject="Into the archive, by a pipe",
        sender=ALICE,
        way="inside",
        fates=(_to("box@archive.example", "delivered", "piped"),),
    ),
    Mail(
        subject="Disk report, from a local job",
        sender="cron@example.com",
        way="sendmail",
        fates=(_to(ALICE, "delivered", "stored"),),
    ),
    Mail(
        subject="A receipt from another server, with the null sender",
        sender="",
        fates=(_to(CAROL, "delivered", "stored"),),
    ),
)

NOTICES: tuple[Fate, ...] = (
    _to(ALICE, "delivered", "stored"),
    _to(BOB, "delivered", "stored"),
)
"""Bounces that Postfix itself sends: their sender is the null sender."""


def expected() -> Iterator[tuple[str, Fate]]:
    """(sender, fate) of every row that must settle."""
    for mail in MAILS:
        yield from ((mail.sender, fate) for fate in mail.fates)
    yield from (("", notice) for notice in NOTICES)


def message(mail: Mail, number: int) -> bytes:
    """The message as it goes over the wire."""
    made = EmailMessage()
    made["From"] = mail.sender or f"mailer-daemon@{HOST}"
    made["To"] = ", ".join(mail.recipients)
    made["Subject"] = mail.subject
    made["Date"] = formatdate()
    made["Message-ID"] = f"<demo-{number:02}@example.com>"
    for name, value in mail.headers:
        made[name] = value
    made.set_content("A message of the posttrail demonstration.\n")
    return made.as_bytes()


def send(lab: Lab, mail: Mail, number: int) -> None:
    """Brings one mail to the private Postfix."""
    content = message(mail, number)
    if mail.way == "sendmail":
        lab.sendmail(content, sender=mail.sender, recipients=mail.recipients)
        return
    try:
        with _client(lab, mail.way) as client:
            client.sendmail(mail.sender, mail.recipients, content)
    except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError):
        pass  # what it was sent for


def send_all(lab: Lab) -> None:
    """All of ``MAILS``, in their order."""
    for number, mail in enumerate(MAILS, 1):
        send(lab, mail, number)


def _client(lab: Lab, way: Way) -> smtplib.SMTP:
    """A client in the place that the mail comes from, ready to send."""
    ports = {
        "mx": lab.ports.mx,
        "inside": lab.ports.mx,
        "submission": lab.ports.submission,
        "filtered": lab.ports.filtered,
        "postscreen": lab.ports.postscreen,
    }
    sources = {"inside": INSIDE_CLIENT, "submission": INSIDE_CLIENT, "postscreen": BLOCKED_CLIENT}
    client = smtplib.SMTP(
        "127.0.0.1",
        ports[way],
        local_hostname="client.example.org",
        timeout=30,
        source_address=(sources.get(way, OUTSIDE_CLIENT), 0),
    )
    if way == "submission":
        client._host = HOST  # type: ignore[attr-defined] # the name the certificate is for
        client.starttls(context=ssl.create_default_context(cafile=lab.certificate))
        client.login(*LOGIN)
    return client
