"""Who may see what: every search takes a ``Scope``, and there is no default one.

A mailbox sees the rows it received, each recipient its own only, so that a Bcc
stays hidden; and whole messages that it sent as proven by SASL login or local
uid. MAIL FROM proves nothing (RFC 5321 7.1): whoever writes another's address there
must not put rows into that one's report, so such mail is counted at most
(``query.summary``). A domain is all its mailboxes, its subdomains are other domains.
``user+x@`` is of ``user@`` (postconf(5), recipient_delimiter) as a recipient; a login is
one name only. What is out of scope is absent.
Raises ValueError for an address of nobody, and for a domain whose two spellings may be two domains.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from journal import address
from journal.records import Message, Recipient

Numbered = tuple[int, Recipient]
"""A row with its number, counted from 1 over the rows that the caller sees."""

_DEVIATIONS: Final = frozenset("\u00df\u1e9e\u03c2\u200c\u200d")
"""IDNA 2008 keeps these apart (UTS 46, "Deviations"), ``journal.address`` folds them away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What one caller may see; build it with ``of`` or ``all``, which fold the names."""

    operator: bool
    domains: frozenset[bytes]
    mailboxes: frozenset[bytes]
    logins: frozenset[bytes]  # further names that are this caller: "alice", "uid=1000"
    delimiters: bytes = address.DELIMITERS  # of subaddresses: query.recipient_delimiter

    @classmethod
    def all(cls, *, delimiters: bytes = address.DELIMITERS) -> "Scope":
        """The operator's: everything."""
        none: frozenset[bytes] = frozenset()
        return cls(operator=True, domains=none, mailboxes=none, logins=none, delimiters=delimiters)

    @classmethod
    def of(
        cls,
        *,
        domains: Iterable[bytes] = (),
        mailboxes: Iterable[bytes] = (),
        logins: Iterable[bytes] = (),
        delimiters: bytes = address.DELIMITERS,
    ) -> "Scope":
        """That of domains, of mailboxes, and of login names that are no addresses."""
        domains, mailboxes = tuple(domains), tuple(mailboxes)
        for name in (*domains, *mailboxes):
            _check_one_domain(name)
        made = cls(
            operator=False,
            domains=frozenset(map(address.fold_domain, domains)),
            mailboxes=frozenset(map(address.fold, mailboxes)),
            logins=frozenset(map(address.fold, logins)),
            delimiters=delimiters,
        )
        if b"" in made.domains | made.mailboxes | made.logins:
            raise ValueError("an empty name is nobody")
        return made

    def called(self, alias: Callable[[bytes], bytes]) -> "Scope":
        """The same caller, known by a further name each: the tokens of old days."""
        if self.operator:
            return self
        return replace(
            self,
            mailboxes=self.mailboxes | frozenset(map(alias, self.mailboxes)),
            logins=self.logins | frozenset(map(alias, self.logins)),
        )

    def sent(self, message: Message) -> bool:
        """Whether the caller is proven to have sent the message."""
        return self.is_login(message.login)

    def is_login(self, name: bytes | None) -> bool:
        """Whether a login is the caller's."""
        if not name:
            return False
        login = address.fold(name)
        if login in self.mailboxes or login in self.logins:
            return True
        return bool(self.domains) and address.domain(login) in self.domains

    def sees_whole(self, message: Message) -> bool:
        """Whether the caller may see every recipient of the message."""
        return self.operator or self.sent(message)

    def rows(self, message: Message) -> Iterator[Numbered]:
        """The rows that the caller may see, numbered as if there were no others."""
        rows: Iterable[Recipient] = message.rows
        if not self.sees_whole(message):
            rows = filter(self.received, rows)
        yield from enumerate(rows, 1)

    def received(self, row: Recipient) -> bool:
        """Whether a row is of one of the caller's addresses, before or after aliases."""
        return self.owns(row.recipient) or self.owns(row.final_recipient)

    def owns(self, name: bytes | None) -> bool:
        """Whether an address is one of the caller's."""
        if not name:
            return False
        folded = address.fold(name)
        if folded in self.mailboxes:
            return True
        if self.mailboxes and address.mailbox(folded, self.delimiters) in self.mailboxes:
            return True
        return bool(self.domains) and address.domain(folded) in self.domains


def _check_one_domain(name: bytes) -> None:
    """Nobody gets another's mail because two domains fold to one."""
    text = name.decode("utf-8", "replace")
    if not _DEVIATIONS.isdisjoint(text.rpartition("@")[2]):
        raise ValueError(f"{text} may be two domains: write it as an A-label (xn--...)")
