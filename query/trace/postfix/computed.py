"""What trivial-rewrite(8) would say, computed from settings and tables where it cannot be asked.

After trivial-rewrite(8): forms are completed, the domain decides the class, transport_maps decide
before all else, relocated_maps end the way. Raises TableError.
"""

from collections.abc import Sequence
from typing import Final

from query.trace.postfix import keys
from query.trace.postfix.resolve import Resolved
from query.trace.postfix.settings import Settings
from query.trace.postfix.smtp_settings import own_addresses
from query.trace.postfix.tables import Found, Tables
from query.trace.tree import Source

MOST_ROUNDS: Final = 10  # of percent hacks


class ComputedRouter:
    """The stand-in for the resolver."""

    source = Source.COMPUTED

    def __init__(self, settings: Settings, tables: Tables) -> None:
        self._settings = settings
        self._tables = tables
        self._own: frozenset[str] | None = None

    def rewrite(self, address: str, rule: str = "local") -> str:
        """Completed by $myorigin and $mydomain; source routes, ``!`` and ``%`` undone."""
        get = self._settings.get
        if address.startswith("@") and ":" in address:
            address = address.partition(":")[2]
        local, at, domain = address.rpartition("@")
        if not at:
            local, domain = address, ""
        if not at and "!" in local and get("swap_bangpath") != "no" and not local.startswith('"'):
            host, _, user = local.partition("!")
            local, domain, at = user, host, "@"
        if not at and "%" in local and get("allow_percent_hack") != "no":
            local, _, domain = local.rpartition("%")
            at = "@"
        if not at:
            domain = get("myorigin") if get("append_at_myorigin") != "no" else ""
        elif "." not in domain and not domain.startswith("[") and domain:
            domain = self._dotted(domain)
        domain = domain.removesuffix(".")
        return f"{local}@{domain}" if domain else local

    def _dotted(self, domain: str) -> str:
        if self._settings.get("append_dot_mydomain") == "yes":
            return f"{domain}.{self._settings.get('mydomain')}"
        return domain

    def resolve(self, address: str, sender: str) -> Resolved:
        """Transport, next hop and class."""
        for _ in range(MOST_ROUNDS):
            local, domain = keys.split(address)
            if not self._is_local(domain) or "%" not in local:
                break
            if self._settings.get("allow_percent_hack") == "no":
                break
            user, _, host = local.rpartition("%")
            address = self.rewrite(f"{user}@{host}")
        return self._route(address, keys.split(address)[1], sender)

    def _route(self, address: str, domain: str, sender: str) -> Resolved:
        named = self._class(domain)
        channel, nexthop, found = self._by_class(named, domain, sender)
        moved = self._table("relocated_maps", address, domain)
        if moved is not None:
            text = f"5.1.6 User has moved to {moved.value}"
            return Resolved("error", text, address, named, False, self.source, moved)
        routed = self._transport(address, domain)
        if routed is not None:
            transport, _, where = routed.value.partition(":")
            if transport or where:
                channel = transport or channel
                nexthop = where or (domain if transport else nexthop)
            found = routed
        return Resolved(channel, nexthop, address, named, False, self.source, found)

    def _class(self, domain: str) -> str:
        if self._is_local(domain):
            return "local"
        for name, setting in (
            ("virtual_alias", "virtual_alias_domains"),
            ("virtual_mailbox", "virtual_mailbox_domains"),
            ("relay", "relay_domains"),
        ):
            if self._listed(setting, domain):
                return name
        return "default"

    def _by_class(self, named: str, domain: str, sender: str) -> tuple[str, str, Found | None]:
        get = self._settings.get
        if named == "virtual_alias":
            shown = get("show_user_unknown_table_name") != "no"
            table = " in virtual alias table" if shown else ""
            return "error", f"5.1.1 User unknown{table}", None
        setting = {
            "local": "local_transport",
            "virtual_mailbox": "virtual_transport",
            "relay": "relay_transport",
        }.get(named, "default_transport")
        found = None
        value = get(setting)
        if named == "default":
            found = self._by_sender("sender_dependent_default_transport_maps", sender)
            value = found.value if found else value
        channel, _, nexthop = value.partition(":")
        if nexthop:
            return channel, nexthop, found
        if named in ("default", "relay"):
            by = self._by_sender("sender_dependent_relayhost_maps", sender)
            relay = by.value if by else get("relayhost")
            return channel, relay or domain, by or found
        return channel, domain if named != "local" else get("myhostname"), found

    def _by_sender(self, setting: str, sender: str) -> Found | None:
        maps = self._settings.words(setting)
        if not maps:
            return None
        domain = keys.split(sender)[1]
        forms = [keys.external(sender), f"@{domain}"] if sender else ["<>"]
        found = self._tables.find(maps, forms)
        if found is None or found.value.upper() == "DUNNO":
            return None
        return found

    def _transport(self, address: str, domain: str) -> Found | None:
        maps = self._settings.words("transport_maps")
        if not maps:
            return None
        parents = "transport_maps" in self._settings.words("parent_domain_matches_subdomains")
        delimiters = keys.Delimiters(characters=self._settings.get("recipient_delimiter"))
        full = keys.address_keys(address, delimiters, local=False)
        forms = [key for key in full if not key.startswith("@")]
        forms += keys.domain_keys(domain, parents=parents)
        return self._tables.find(maps, [*forms, "*"])

    def _table(self, setting: str, address: str, domain: str) -> Found | None:
        maps = self._settings.words(setting)
        if not maps:
            return None
        delimiters = keys.Delimiters(characters=self._settings.get("recipient_delimiter"))
        forms = keys.address_keys(address, delimiters, local=self._is_local(domain))
        return self._tables.find(maps, list(forms))

    def _is_local(self, domain: str) -> bool:
        if domain.startswith("[") and domain.endswith("]"):
            address = domain[1:-1].removeprefix("IPv6:")
            if self._own is None:
                self._own = own_addresses(self._settings)
            return address in self._own
        return self._listed("mydestination", domain)

    def _listed(self, setting: str, domain: str) -> bool:
        parents = setting in self._settings.words("parent_domain_matches_subdomains")
        return self._match(self._settings.words(setting), domain, parents=parents)

    def _match(self, words: Sequence[str], domain: str, *, parents: bool) -> bool:
        folded = domain.casefold().removesuffix(".")
        for word in words:
            wanted, name = not word.startswith("!"), word.removeprefix("!")
            if self._one(name, folded, parents=parents):
                return wanted
        return False

    def _one(self, name: str, domain: str, *, parents: bool) -> bool:
        if name.startswith("/"):
            return self._match(_file(name), domain, parents=parents)
        if ":" in name and not name.startswith("["):
            forms = keys.domain_keys(domain, parents=True) if parents else [domain]
            return self._tables.find([name], forms) is not None
        folded = name.casefold()
        if domain == folded:
            return True
        if parents:
            return domain.endswith(f".{folded}")
        return folded.startswith(".") and domain.endswith(folded)


def _file(path: str) -> list[str]:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return [word for line in stream if not line.startswith("#") for word in line.split()]
