"""What smtpd(8) says to a recipient before it takes the mail.

Two clients are imagined: one from outside, and one that has proven itself (SASL login, or an
address in mynetworks). Restrictions are evaluated in smtpd_check_rcpt's order as far as they
depend on recipient and sender; what depends on the client (blocklists, client and HELO tables,
policy services) is not asked, and said. Raises ``WalkTooLongError``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from query.trace.postfix import keys
from query.trace.postfix.access import Action, Kind, action_of, split_status
from query.trace.postfix.restrictions import LISTS, PROVEN, restrictions
from query.trace.postfix.tables import Found, TableError
from query.trace.postfix.world import World

_OTHERS: Final = ("check_policy_service", "reject_rbl_client", "reject_rhsbl_",
                  "reject_unverified_", "reject_unknown_", "check_client_access",
                  "check_helo_access")  # fmt: skip
_LISTED: Final = {  # class → its tables, the code of the refusal, their name in it
    "local": (
        "local_recipient_maps",
        "unknown_local_recipient_reject_code",
        "local recipient",
    ),
    "virtual_mailbox": (
        "virtual_mailbox_maps",
        "unknown_virtual_mailbox_reject_code",
        "virtual mailbox",
    ),
    "relay": (
        "relay_recipient_maps",
        "unknown_relay_recipient_reject_code",
        "relay recipient",
    ),
}
_RELAY_DENIED: Final = "Relay access denied"
MOST_CLASSES: Final = 20  # nested restriction classes


class Client(Enum):
    """Who asks."""

    OUTSIDE = "a client from outside"
    PROVEN = "a client that has authenticated, or is in mynetworks,"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A reply, and the table or setting behind it."""

    reply: str  # "550 5.1.1 <x>: Recipient address rejected: User unknown"
    status: str
    restriction: str
    found: Found | None = None
    relaying: bool = False  # only because the address is not ours

    @property
    def temporary(self) -> bool:
        return self.reply.startswith("4")


@dataclass(slots=True, kw_only=True)
class Answer:
    """What one client hears and what the tables did on the way."""

    refusal: Refusal | None = None
    actions: list[tuple[Action, Found]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)  # tables that could not be asked
    not_asked: list[str] = field(default_factory=list)  # restrictions that depend on the client


class _Stop(Exception):
    """A list has come to its end: refused, or permitted."""

    def __init__(self, refusal: Refusal | None) -> None:
        self.refusal = refusal


@dataclass(slots=True, kw_only=True)
class Door:
    """The smtpd(8) service by which the mail comes in."""

    world: World
    service: str  # "smtp/inet"
    sender: str | None  # None: not named

    def ask(self, recipient: str, client: Client) -> Answer:
        """What it says to ``RCPT TO`` with the address, completed already."""
        answer = Answer()
        if recipient.casefold() == "postmaster":
            return answer
        visit = _Visit(door=self, recipient=recipient, client=client, answer=answer)
        for name in self._order():
            refusal = visit.list(name)
            if refusal is not None:
                answer.refusal = refusal
                return answer
        answer.refusal = visit.deferred
        discarded = any(action.kind is Kind.DISCARD for action, _ in answer.actions)
        if (
            answer.refusal is None
            and not discarded  # whoever is discarded need not exist
            and self.world.settings.get("smtpd_reject_unlisted_recipient", self.service) != "no"
        ):
            answer.refusal = visit.unlisted()
        return answer

    def _order(self) -> list[str]:
        first, last = "smtpd_relay_restrictions", "smtpd_recipient_restrictions"
        if self.world.settings.get("smtpd_relay_before_recipient_restrictions") == "no":
            first, last = last, first
        return [*list(LISTS)[:3], first, last]


@dataclass(slots=True, kw_only=True)
class _Visit:
    """One recipient of one client."""

    door: Door
    recipient: str
    client: Client
    answer: Answer
    listed: bool = False  # the recipient was looked up already
    deferred: Refusal | None = None
    _default: str = ""

    @property
    def world(self) -> World:
        return self.door.world

    def words(self, name: str) -> tuple[str, ...]:
        return self.world.settings.words(name, self.door.service)

    def get(self, name: str) -> str:
        return self.world.settings.get(name, self.door.service)

    def list(self, name: str) -> Refusal | None:
        self._default = LISTS[name]
        try:
            self._walk(self.words(name), 0)
        except _Stop as stop:
            return stop.refusal
        return None

    def _walk(self, words: Sequence[str], depth: int) -> None:
        warn = False
        for name, argument in restrictions(words, self._default):
            if name == "warn_if_reject":
                warn = True
                continue
            try:
                self._one(name, argument, depth)
            except _Stop as stop:
                if stop.refusal is None or not warn:
                    raise
            warn = False

    def _one(self, name: str, argument: str, depth: int) -> None:
        lower = name.lower()
        if lower in ("permit", "permit_auth_destination"):
            if lower == "permit" or self._ours():
                raise _Stop(None)
        elif lower in PROVEN:
            if self.client is Client.PROVEN:
                raise _Stop(None)
        elif lower in ("reject", "defer"):
            code, status = ("554", "5.7.1") if lower == "reject" else ("450", "4.3.2")
            self._refuse(code, status, "Access denied", name)
        elif lower in ("reject_unauth_destination", "defer_unauth_destination"):
            self._relay(lower)
        elif lower in ("reject_unlisted_recipient", "check_recipient_maps"):
            if (refusal := self.unlisted()) is not None:
                raise _Stop(refusal)
        elif lower == "reject_non_fqdn_recipient":
            self._non_fqdn(name)
        elif lower in ("check_recipient_access", "check_sender_access"):
            self._table(lower, argument, depth)
        elif lower.startswith(_OTHERS):
            self.answer.not_asked.append(f"{name} {argument}".strip())
        elif name in self.words("smtpd_restriction_classes") and depth < MOST_CLASSES:
            self._walk(self.words(name), depth + 1)

    def _refuse(self, code: str, status: str, text: str, by: str) -> None:
        raise _Stop(self._refusal(code, status, text, by))

    def _refusal(
        self, code: str, status: str, text: str, by: str, found: Found | None = None
    ) -> Refusal:
        shown = keys.external(self.recipient)
        what = "Sender" if by == "check_sender_access" else "Recipient"
        name = (self.door.sender or "") if what == "Sender" else shown
        reply = f"{code} {status} <{name}>: {what} address rejected: {text}"
        return Refusal(reply=reply, status=status, restriction=by, found=found)

    def _ours(self) -> bool:
        resolved = self.world.resolve(self.recipient, self.door.sender or "")
        return resolved.address_class in ("local", "virtual_alias", "virtual_mailbox", "relay")

    def _relay(self, name: str) -> None:
        if self._ours():
            return
        code, status = self.get("relay_domains_reject_code") or "554", "5.7.1"
        if name.startswith("defer"):
            code, status = str(int(code) - 100), "4.7.1"
        reply = f"{code} {status} <{keys.external(self.recipient)}>: {_RELAY_DENIED}"
        raise _Stop(Refusal(reply=reply, status=status, restriction=name, relaying=True))

    def _non_fqdn(self, name: str) -> None:
        domain = keys.split(self.recipient)[1].removesuffix(".")
        if "." not in domain and not domain.startswith("["):
            code = self.get("non_fqdn_reject_code") or "504"
            self._refuse(code, "5.5.2", "need fully-qualified address", name)

    def _table(self, name: str, table: str, depth: int) -> None:
        address = self.recipient
        if name == "check_sender_access":
            if self.door.sender is None:
                self.answer.not_asked.append(f"{name} {table}")
                return
            address = self.door.sender or self.get("smtpd_null_access_lookup_key") or "<>"
        parents = "smtpd_access_maps" in self.world.settings.words(
            "parent_domain_matches_subdomains"
        )
        wanted = keys.access_keys(address, self.world.delimiters, parents=parents)
        if address == "<>":
            wanted = [address]
        try:
            found = self.world.tables.find([table], wanted)
        except TableError as error:
            self.answer.unread.append(f"{name} {table}: {error}")
            return
        if found is not None:
            self._act(found, name, depth)

    def _act(self, found: Found, name: str, depth: int) -> None:
        action = action_of(
            found.value,
            reject_code=self.get("access_map_reject_code") or "554",
            defer_code=self.get("access_map_defer_code") or "450",
        )
        if action.kind is Kind.REJECT:
            refusal = self._refusal(action.code, action.status, action.text, name, found)
            raise _Stop(refusal)
        if action.kind is Kind.DEFER_IF_PERMIT:
            self.deferred = self._refusal(action.code, action.status, action.text, name, found)
        elif action.kind is Kind.LIST and depth < MOST_CLASSES:
            self._walk(action.text.replace(",", " ").split(), depth + 1)
        elif action.kind is not Kind.NOTHING:
            if action.kind is not Kind.PERMIT:
                self.answer.actions.append((action, found))
            if action.kind in (Kind.PERMIT, Kind.DISCARD):
                raise _Stop(None)

    def unlisted(self) -> Refusal | None:
        """reject_unlisted_recipient: is the recipient in the tables of its class?"""
        if self.listed or "no_unknown_recipient_checks" in self.words("receive_override_options"):
            return None
        self.listed = True
        try:
            return self._unlisted()
        except TableError as error:
            self.answer.unread.append(f"reject_unlisted_recipient: {error}")
            return None

    def _unlisted(self) -> Refusal | None:
        resolved = self.world.resolve(self.recipient, self.door.sender or "")
        address = resolved.recipient or self.recipient
        mapped = ("recipient_canonical_maps", "canonical_maps", "virtual_alias_maps")
        if any(self.world.find(self.words(name), address) for name in mapped):
            return None
        if resolved.transport in ("error", "retry"):
            return self._by_transport(resolved.transport, resolved.nexthop, resolved.address_class)
        if resolved.address_class not in _LISTED:
            return None
        name, code, words = _LISTED[resolved.address_class]
        maps = self.words(name)
        if not maps or (name == "local_recipient_maps" and self._reserved(address)):
            return None
        if self.world.find(maps, address) is not None:
            return None
        shown = self.get("show_user_unknown_table_name") != "no"
        text = "User unknown" + (f" in {words} table" if shown else "")
        by = f"reject_unlisted_recipient: {name}"
        return self._refusal(self.get(code) or "550", "5.1.1", text, by)

    def _reserved(self, address: str) -> bool:
        local = keys.split(address)[0].casefold()
        return local in ("postmaster", "mailer-daemon", self.world.delimiters.double_bounce)

    def _by_transport(self, transport: str, nexthop: str, address_class: str) -> Refusal:
        if transport == "retry":
            status, text = split_status(nexthop, "4.1.1")
            return self._refusal("450", status, text, "retry: transport")
        status, text = split_status(nexthop, "5.1.1")
        code = "550"
        if address_class == "virtual_alias":
            code = self.get("unknown_virtual_alias_reject_code") or "550"
        return self._refusal(code, status, text, "error: transport")
