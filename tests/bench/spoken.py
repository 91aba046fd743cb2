"""One SMTP transaction as our milter hears it: what the spool has of a story's letter.

The record is made by milterd.transaction, of what Postfix 3.7 tells a milter that is
last in its list: refused recipients are seen (SMFIP_RCPT_REJ), the queue id comes with
the second RCPT or with DATA, and local mail has neither brackets nor port.
"""

from __future__ import annotations

from typing import NamedTuple

from milterd.spool import Body
from milterd.transaction import Session, Transaction, record, stored
from tests.bench.world import Client


class Rcpt(NamedTuple):
    """One RCPT; ``reason`` is that of a refusal (a reason of the report), else empty."""

    address: str
    reason: str = ""
    enhanced: str = ""
    text: str = ""


class Spoken:
    """From MAIL on; ``end`` closes it."""

    __slots__ = (
        "at_us", "client", "end_us", "local", "login", "message_id", "queue_id", "rcpts",
        "sender", "size", "stage", "tls",
    )  # fmt: skip

    def __init__(
        self, at_us: int, sender: str, client: Client, *, login: str = "", tls: str = ""
    ) -> None:
        self.at_us = self.end_us = at_us
        self.sender = sender
        self.client = client
        self.login = login
        self.tls = tls
        self.local = client.port == 0
        self.rcpts: list[Rcpt] = []
        self.stage = "mail"
        self.queue_id = self.message_id = ""
        self.size = 0

    def rcpt(self, address: str, reason: str = "", reply: str = "") -> None:
        """RCPT TO; of a refusal its reason and the whole reply."""
        enhanced, _, text = reply[4:].partition(" ")
        self.rcpts.append(Rcpt(address, reason, enhanced, text))
        self.stage = "rcpt"

    def end(self, at_us: int, stage: str, queue_id: str = "", message_id: str = "") -> None:
        """The transaction is over at ``stage``: "eom" when the whole message was heard."""
        self.end_us, self.stage = at_us, stage
        self.queue_id, self.message_id = queue_id, message_id

    def body(self) -> Body:
        """The record that posttrail-milterd makes of it."""
        client = self.client
        session = Session(client.name, client.ip, client.port, "smtpd", client.name, self.tls)
        said = Transaction(
            self.at_us, (self._path(self.sender),), self.login, "PLAIN" if self.login else ""
        )
        for address, reason, enhanced, text in self.rcpts:
            mailer, host = ("error", enhanced) if reason else ("smtp", "[127.0.0.1]:10024")
            said.add_recipient((self._path(address),), mailer, host, text)
        said.stage, said.queue_id = self.stage, self.queue_id
        if self.stage == "eom":
            said.add_field("message-id", f"<{self.message_id}>".encode())
        aborted = self.stage != "eom"
        body = record(session, said, end_us=self.end_us, aborted=aborted, subject=stored)
        assert body is not None
        return body

    def _path(self, address: str) -> bytes:
        return (address if self.local else f"<{address}>").encode()
