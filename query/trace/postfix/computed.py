"""What trivial-rewrite(8) would say, computed from settings and tables where it cannot be asked.

After trivial-rewrite(8), transport(5) and postconf(5): forms are completed, local domains are
stripped until a foreign one stands, the domain decides the class, transport_maps decide before all
but a virtual alias domain, relocated_maps end the way. transport_maps and the tables by sender are
read without rules that take ``$1`` from the address. Raises TableError.
"""

from collections.abc import Sequence
from typing import Final

from posttrail.postconf import Settings
from query.trace.nexthop import literal
from query.trace.postfix import domains, keys, tokens
from query.trace.postfix.patterns import Trust
from query.trace.postfix.resolve import Resolved
from query.trace.postfix.smtp_settings import own_addresses
from query.trace.postfix.tables import Found, Tables
from query.trace.postfix.tokens import AT, QUOTED, Token
from query.trace.tree import Source

SERVICE: Final = "rewrite/unix"
BAD: Final = ("error", "5.1.3 bad address syntax")  # what qmgr(8) makes of it
_DOTTED: Final = (tokens.LITERAL, ".")
_CLASSES: Final = (
    ("virtual_alias", "virtual_alias_domains"),
    ("virtual_mailbox", "virtual_mailbox_domains"),
    ("relay", "relay_domains"),
)
_TRANSPORTS: Final = {
    "local": "local_transport",
    "virtual_mailbox": "virtual_transport",
    "relay": "relay_transport",
    "default": "default_transport",
}


class ComputedRouter:
    """The stand-in for the resolver."""

    source = Source.COMPUTED

    def __init__(self, settings: Settings, tables: Tables) -> None:
        self._settings = settings
        self._tables = tables
        self._own: frozenset[str] | None = None
        self._notes: list[str] = []  # of the address that is resolved

    def _get(self, name: str) -> str:
        return self._settings.get(name, SERVICE)

    def _words(self, name: str) -> tuple[str, ...]:
        return self._settings.words(name, SERVICE)

    def _parents(self, setting: str) -> bool:
        return setting in self._words("parent_domain_matches_subdomains")

    def rewrite(self, address: str, rule: str = "local") -> str:
        """Completed by $myorigin and $mydomain; source routes, ``!`` and ``%`` undone."""
        tree = self._completed(tokens.scan(address))
        if address and not tree:
            return '""'
        text = keys.external(tokens.internal(tree))
        return f'""{text}' if text.startswith("@") else text

    def _completed(self, tree: list[Token]) -> list[Token]:
        if not tree or tree in ([AT], [Token(QUOTED, "")]):
            return []
        colon = tokens.first(tree, ":")
        if tree[0] == AT and colon >= 0:
            tree = tree[colon + 1 :]
        if tokens.last(tree, "@") < 0:
            tree = self._with_domain(tree)
        at = tokens.last(tree, "@")
        domain = tree[at + 1 :]
        if (
            at > 0
            and domain
            and self._get("append_dot_mydomain") == "yes"
            and not any(token.kind in _DOTTED for token in domain)
        ):
            tree = [*tree, tokens.DOT, *tokens.scan(self._get("mydomain"))]
        return tokens.undotted(tree)

    def _with_domain(self, tree: list[Token]) -> list[Token]:
        bang, percent = tokens.first(tree, "!"), tokens.last(tree, "%")
        if bang >= 0 and self._get("swap_bangpath") == "yes":
            return [*tree[bang + 1 :], AT, *tree[:bang]]
        if percent >= 0 and self._get("allow_percent_hack") == "yes":
            return [*tree[:percent], AT, *tree[percent + 1 :]]
        if self._get("append_at_myorigin") == "yes" and self._get("myorigin"):
            return [*tree, AT, *tokens.scan(self._get("myorigin"))]
        return tree

    def resolve(self, address: str, sender: str) -> Resolved:
        """Transport, next hop and class."""
        self._notes = []
        here, recipient = self._stripped(address)
        domain = recipient.rpartition("@")[2]
        if self._get("resolve_numeric_domain") == "yes" and literal(domain):
            kept = f"[IPv6:{domain}]" if ":" in domain else f"[{domain}]"
            recipient, domain = f"{recipient.rpartition('@')[0]}@{kept}", kept
        if not domains.valid(domain):
            return Resolved(*BAD, recipient, "default", True, self.source, None)
        named = "local" if here else self._class(domain)
        channel, nexthop, found = self._by_class(named, domain, sender)
        if not channel:  # trivial-rewrite(8) takes no empty transport
            return Resolved("", "", recipient, "fail", False, self.source, None)
        if named != "virtual_alias":
            channel, nexthop, found = self._transported(
                recipient, domain, (channel, nexthop, found)
            )
        moved = self._maps("relocated_maps", recipient)
        if moved is not None:
            channel, nexthop, found = "error", f"5.1.6 User has moved to {moved.value}", moved
        if recipient.startswith("-") and self._get("allow_min_user") != "yes":
            return Resolved(*BAD, recipient, named, True, self.source, None)
        notes = tuple(dict.fromkeys(self._notes))
        return Resolved(channel, nexthop, recipient, named, False, self.source, found, notes)

    def class_of(self, address: str) -> str:
        """The class that its domain has; address in external form."""
        here, recipient = self._stripped(keys.internal(address))
        return "local" if here else self._class(recipient.rpartition("@")[2])

    def _stripped(self, address: str) -> tuple[bool, str]:
        """Is it ours, and the recipient: local domains are taken off until a foreign one stands."""
        dequoted = self._get("resolve_dequoted_address") == "yes"
        tree = tokens.scan(keys.external(address))
        saved: list[Token] = []
        for _ in range(len(address) + 100):
            tree = tokens.undotted(tree)
            if tree and tree[-1] == AT and self._get("resolve_null_domain") == "yes":
                tree = tree[:-1]
            at = tokens.last(tree, "@")
            if at >= 0:
                if tree[at + 1 :] and not self._is_local(tokens.internal(tree[at + 1 :])):
                    return False, tokens.internal(tree)
                tree, saved = tree[:at], tree[at:]
            again = self._again(tree, dequoted=dequoted)
            if again is None:
                break
            tree = again
        if saved:
            return True, tokens.internal([*tree, *saved])
        name = self._get("myhostname")
        return self._is_local(name), tokens.internal([*tree, AT, *tokens.scan(name)])

    def _again(self, tree: list[Token], *, dequoted: bool) -> list[Token] | None:
        """What is left is looked at again where it says more than a user; else None."""
        operators = ["@"]
        operators += ["!"] if self._get("swap_bangpath") == "yes" else []
        operators += ["%"] if self._get("allow_percent_hack") == "yes" else []
        if any(tokens.last(tree, each) >= 0 for each in operators):
            return self._completed(tree)
        if dequoted and len(tree) == 1 and tree[0].kind == QUOTED:
            text = tree[0].text
            operator = next((each for each in ("@", "%", "!") if each in text), "")
            if operator in operators:
                if operator == "%":
                    user, _, host = text.rpartition("%")
                    text = f"{user}@{host}"
                inner = keys.external(text) if operator != "!" else text
                return self._completed(tokens.scan(inner))
        if not tree or tree == [Token(QUOTED, "")]:
            return tokens.scan(self._get("empty_address_recipient"))
        return None

    def _is_local(self, domain: str) -> bool:
        name = domain.removesuffix(".")
        if not name or name.endswith("."):
            return False
        if domains.listed(self._words("mydestination"), name, self._tables, parents=None):
            return True
        address = domains.inside(name)
        if address is None:
            return False
        if self._own is None:
            self._own = own_addresses(self._settings)
        return address in self._own

    def _class(self, domain: str) -> str:
        for named, setting in _CLASSES:
            parents = self._parents(setting) if named == "relay" else None
            if domains.listed(self._words(setting), domain, self._tables, parents=parents):
                return named
        return "default"

    def _by_class(self, named: str, domain: str, sender: str) -> tuple[str, str, Found | None]:
        if named == "virtual_alias":
            shown = self._get("show_user_unknown_table_name") == "yes"
            return "error", "5.1.1 User unknown" + " in virtual alias table" * shown, None
        channel, nexthop, found = self._get(_TRANSPORTS[named]), domain, None
        if named == "default":
            found = self._by_sender("default_transport", sender)
            channel = found.value if found else channel
        if named in ("default", "relay"):
            nexthop, relayed = self._relayhost(domain, sender)
            found = found or relayed
        channel, _, explicit = channel.partition(":")
        return channel, explicit or nexthop, found

    def _relayhost(self, domain: str, sender: str) -> tuple[str, Found | None]:
        name = "sender_dependent_relayhost_maps"
        found = self._maps(name, sender or self._null("relayhost"), trust=Trust.LITERAL)
        if found is None or found.value.upper() == "DUNNO":
            return self._get("relayhost") or domain, None
        return found.value, found

    def _by_sender(self, what: str, sender: str) -> Found | None:
        name = f"sender_dependent_{what}_maps"
        found = self._maps(name, sender or self._null(what), trust=Trust.LITERAL)
        return None if found is None or found.value.upper() == "DUNNO" else found

    def _null(self, what: str) -> str:
        """How the null sender is looked up."""
        return self._get(f"empty_address_{what}_maps_lookup_key") or "<>"

    def _maps(self, setting: str, address: str, *, trust: Trust = Trust.ANY) -> Found | None:
        maps = self._words(setting)
        if not maps:
            return None
        domain = address.rpartition("@")[2] if "@" in address else ""
        local = bool(domain) and (
            domain.casefold() == self._get("myorigin").casefold() or self._is_local(domain)
        )
        forms = keys.address_keys(address, self._delimiters(), local=local)
        wanted = ["<>"] if address == "<>" else list(forms)
        return self._trusted(maps, wanted, trust)

    def _trusted(self, maps: Sequence[str], wanted: Sequence[str], trust: Trust) -> Found | None:
        found = self._tables.find(maps, wanted, trust=trust)
        if trust is not Trust.ANY:
            note = self._tables.skipped(maps, wanted, found, trust=trust)
            self._notes += [note] if note else []
        return found

    def _delimiters(self) -> keys.Delimiters:
        return keys.Delimiters(characters=self._get("recipient_delimiter"))

    def _transported(
        self, address: str, domain: str, so_far: tuple[str, str, Found | None]
    ) -> tuple[str, str, Found | None]:
        maps = self._words("transport_maps")
        if not maps:
            return so_far
        full = keys.address_keys(address, self._delimiters(), local=False)
        forms = [key for key in full if not key.startswith("@")]
        forms += keys.domain_keys(domain, parents=self._parents("transport_maps"))
        found = self._trusted(maps, forms, Trust.LITERAL)
        if found is None:  # also patterns are asked for the star, as it stands for a whole key
            found = self._trusted(maps, ["*"], Trust.LITERAL)
        if found is None:
            return so_far
        transport, _, nexthop = found.value.partition(":")
        if transport and not nexthop:
            failing = transport in ("error", "retry")
            nexthop = "Address is undeliverable" if failing else domain
        return transport or so_far[0], nexthop or so_far[1], found
