"""Who may see what: every search takes a ``Scope``, and there is no default one.

A mailbox sees the rows it received, each recipient its own only, so that a Bcc
stays hidden; and whole messages that it sent as proven by SASL login or local
uid. MAIL FROM proves nothing (RFC 5321 7.1). A domain is all its mailboxes. What
is out of scope is absent. Raises ValueError for an address of nobody.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from journal import address
from journal.records import Message, Recipient

Numbered = tuple[int, Recipient]
"""A row with its number, counted from 1 over all rows of the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What one caller may see; build it with ``of`` or ``all``, which fold the names."""

    operator: bool
    domains: frozenset[bytes]
    mailboxes: frozenset[bytes]
    logins: frozenset[bytes]  # further names that are this caller: "alice", "uid=1000"

    @classmethod
    def all(cls) -> "Scope":
        """The operator's: everything."""
        none: frozenset[bytes] = frozenset()
        return cls(operator=True, domains=none, mailboxes=none, logins=none)

    @classmethod
    def of(
        cls,
        *,
        domains: Iterable[bytes] = (),
        mailboxes: Iterable[bytes] = (),
        logins: Iterable[bytes] = (),
    ) -> "Scope":
        """That of domains, of mailboxes, and of login names that are no addresses."""
        made = cls(
            operator=False,
            domains=frozenset(map(address.fold_domain, domains)),
            mailboxes=frozenset(map(address.fold, mailboxes)),
            logins=frozenset(map(address.fold, logins)),
        )
        if b"" in made.domains | made.mailboxes | made.logins:
            raise ValueError("an empty name is nobody")
        return made

    def sent(self, message: Message) -> bool:
        """Whether the caller is proven to have sent the message."""
        if message.login is None:
            return False
        login = address.fold(message.login)
        if login in self.mailboxes or login in self.logins:
            return True
        return bool(self.domains) and address.domain(login) in self.domains

    def sees_whole(self, message: Message) -> bool:
        """Whether the caller may see every recipient of the message."""
        return self.operator or self.sent(message)

    def rows(self, message: Message) -> Iterator[Numbered]:
        """The rows that the caller may see."""
        whole = self.sees_whole(message)
        for number, row in enumerate(message.rows, 1):
            if whole or self._received(row):
                yield number, row

    def _received(self, row: Recipient) -> bool:
        return self.owns(row.recipient) or self.owns(row.final_recipient)

    def owns(self, name: bytes | None) -> bool:
        """Whether an address is one of the caller's."""
        if not name:
            return False
        folded = address.fold(name)
        if folded in self.mailboxes:
            return True
        return bool(self.domains) and address.domain(folded) in self.domains
