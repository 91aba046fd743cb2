"""A Postfix in memory: settings, tables and resolver as the walk asks them, no process started."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from query.trace.hosts import Way
from query.trace.postfix.patterns import Trust
from query.trace.postfix.queue import Queue
from query.trace.postfix.resolve import Resolved
from query.trace.postfix.tables import Found, TableError
from query.trace.postfix.walker import Walk
from query.trace.postfix.world import FileText, User, World
from query.trace.tree import Host, Node, Question, Source, Trace, Verdict, ends

MAIN = {
    "myorigin": "local.test",
    "mydestination": "local.test",
    "recipient_delimiter": "+",
    "double_bounce_sender": "double-bounce",
    "owner_request_special": "yes",
    "propagate_unmatched_extensions": "canonical, virtual",
    "canonical_classes": "envelope_sender, envelope_recipient, header_sender, header_recipient",
    "recipient_canonical_classes": "envelope_recipient, header_recipient",
    "sender_canonical_classes": "envelope_sender, header_sender",
    "masquerade_classes": "envelope_sender, header_sender, header_recipient",
    "enable_original_recipient": "yes",
    "virtual_alias_recursion_limit": "1000",
    "virtual_alias_expansion_limit": "1000",
    "allow_mail_to_commands": "alias, forward",
    "allow_mail_to_files": "alias, forward",
    "forward_path": "$home/.forward${recipient_delimiter}${extension}, $home/.forward",
    "alias_maps": "hash:aliases",
    "mail_spool_directory": "/var/mail",
    "local_recipient_maps": "unix:passwd.byname hash:aliases",
    "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination",
    "smtpd_reject_unlisted_recipient": "yes",
    "unknown_virtual_alias_reject_code": "550",
    "show_user_unknown_table_name": "yes",
    "virtual_mailbox_base": "/var/vmail",
}
MASTER = {
    "smtp/inet": "smtpd",
    "pickup/unix": "pickup",
    "cleanup/unix": "cleanup",
    "local/unix": "local",
    "virtual/unix": "virtual",
    "lmtp/unix": "lmtp",
    "smtp/unix": "smtp",
    "relay/unix": "smtp",
    "error/unix": "error",
    "retry/unix": "error",
    "discard/unix": "discard",
}


@dataclass
class Settings:
    main: Mapping[str, str]
    overrides: Mapping[str, Mapping[str, str]]
    master: Mapping[str, str]
    version: str = "3.7.11"

    def get(self, name: str, service: str = "") -> str:
        own = self.overrides.get(service, {})
        return own[name] if name in own else self.main.get(name, "")

    def words(self, name: str, service: str = "") -> tuple[str, ...]:
        return tuple(re.findall(r"\{[^}]*\}|[^\s,]+", self.get(name, service)))

    @property
    def services(self) -> list[Any]:
        return [
            SimpleNamespace(
                name=name.rpartition("/")[0],
                type=name.rpartition("/")[2],
                command=command,
                arguments=tuple(command.split()[1:]),
            )
            for name, command in self.master.items()
        ]


@dataclass
class Tables:
    """Tables by name; one whose name begins with pcre: maps the full key by pattern."""

    tables: Mapping[str, Mapping[str, str] | str]  # a string: why it cannot be read
    at: float = 100.0
    asked: list[tuple[str, str]] = field(default_factory=list)
    rounds: int = 0

    def prefetch(self, wanted: Iterable[tuple[str, str]]) -> None:
        self.rounds += 1
        self.asked += list(wanted)

    def find(
        self, maps: Sequence[str], keys: Sequence[str], *, trust: Trust = Trust.ANY
    ) -> Found | None:
        for key in keys:
            for name in maps:
                table = self.tables.get(name, {})
                if isinstance(table, str):
                    raise TableError(name, table)
                if name.startswith("pcre:"):
                    value = self._pattern(table, key) if key == keys[0] else None
                else:
                    value = table.get(key.lower())
                if value is not None:
                    return Found(name, key, value, self.at)
        return None

    def skipped(
        self, maps: Sequence[str], keys: Sequence[str], found: Found | None, *, trust: Trust
    ) -> str | None:
        return None

    def _pattern(self, table: Mapping[str, str], key: str) -> str | None:
        return next((value for each, value in table.items() if re.search(each, key)), None)


@dataclass
class Resolver:
    """Classes by domain, transports by class or address."""

    settings: Settings
    transports: Mapping[str, str] = field(default_factory=dict)
    source: Source = Source.MTA

    def rewrite(self, address: str, rule: str = "local") -> str:
        if "@" not in address:
            return f"{address}@{self.settings.get('myorigin')}"
        return address

    def resolve(self, address: str, sender: str) -> Resolved:
        domain = address.rpartition("@")[2].lower()
        name, where = self._class(domain)
        named = self.transports.get(address) or self.transports.get(domain) or where
        transport, _, nexthop = named.partition(":")
        return Resolved(transport, nexthop or domain, address, name, False, self.source, None)

    def _class(self, domain: str) -> tuple[str, str]:
        for name, setting, where in (
            ("local", "mydestination", "local:"),
            (
                "virtual_alias",
                "virtual_alias_domains",
                "error:5.1.1 User unknown in virtual alias table",
            ),
            (
                "virtual_mailbox",
                "virtual_mailbox_domains",
                self.settings.get("virtual_transport") or "virtual:",
            ),
            ("relay", "relay_domains", "relay:"),
        ):
            if domain in self.settings.words(setting):
                return name, where
        return "default", "smtp:"


@dataclass
class Postfix:
    """One machine; its tables hold what a test gives them."""

    main: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, str] | str] = field(default_factory=dict)
    overrides: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    master: Mapping[str, str] = field(default_factory=dict)
    transports: Mapping[str, str] = field(default_factory=dict)
    users: Sequence[str] = ()
    files: Mapping[str, FileText | OSError] = field(default_factory=dict)
    now: float = 100.0

    def world(self) -> World:
        settings = Settings({**MAIN, **self.main}, self.overrides, {**MASTER, **self.master})
        known = {"unix:passwd.byname": dict.fromkeys(self.users, "x")}
        return World(
            settings=settings,
            tables=Tables({**known, **self.tables}),
            router=Resolver(settings, self.transports),
            user_of=self._user,
            file_text=self._file,
            now=lambda: self.now,
        )

    def trace(self, address: str, *, sender: str | None = None, entry: str = "smtp") -> Trace:
        question = Question(address=address, sender=sender, entry=entry)
        return Walk(world=self.world(), hosts=remote, question=question).trace()

    def ends(self, address: str, *, sender: str | None = None, entry: str = "smtp") -> list[Node]:
        return list(ends(self.trace(address, sender=sender, entry=entry).root))

    def finals(self, address: str, entry: str = "smtp") -> list[str]:
        return [node.address for node in self.ends(address, entry=entry)]

    def _user(self, name: str) -> User | None:
        return User(name, 1000, f"/home/{name}", "/bin/sh") if name in self.users else None

    def _file(self, path: str) -> FileText:
        file = self.files.get(path, FileNotFoundError(2, "No such file or directory"))
        if isinstance(file, OSError):
            raise file
        return file


def text(content: str, *, uid: int = 1000, open_to_all: bool = False) -> FileText:
    return FileText(content, regular=True, world_writable=open_to_all, uid=uid)


def remote(nexthop: str, transport: str) -> Way:
    """Every next hop has one host."""
    host = Host(name=f"mx.{nexthop}", addresses=("192.0.2.1",), preference=10)
    return Way(
        hosts=(host,),
        verdict=Verdict.OK,
        enhanced_status=None,
        text=f"lookuphost via mx.{nexthop} [192.0.2.1] MX=10",
        notes=(),
    )


def made(postfix: Postfix) -> Queue:
    return Queue(world=postfix.world(), hosts=remote)
