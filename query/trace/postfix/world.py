"""What one walk sees of the machine: settings, tables, resolver, users, files; and its bounds.

Everything that a step reads goes through a ``World``, so that a walk can be made over tables in
memory. Answers of the resolver are kept for the length of one walk. Raises what the parts raise:
``TableError`` for a table that cannot be read, ``WalkTooLongError`` beyond ``MOST_NODES``.
"""

import os
import pwd
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from posttrail.errors import PosttrailError
from query.trace.postfix import keys
from query.trace.postfix.patterns import Trust, is_random
from query.trace.postfix.resolve import Resolved, Router
from query.trace.postfix.tables import Found
from query.trace.tree import Node, Source, Step, Verdict, rfc3339

MOST_NODES: Final = 1000  # of one trace
MOST_DEPTH: Final = 150  # of virtual aliases in each other; Python's own limit is 1000 calls


class WalkTooLongError(PosttrailError):
    """The tree would grow beyond what a trace may cost."""

    def __init__(self) -> None:
        super().__init__(f"not followed further: a trace ends after {MOST_NODES} steps")


class SettingsLike(Protocol):
    """What the walk needs of ``Settings``."""

    @property
    def version(self) -> str: ...
    def get(self, name: str, service: str = "") -> str: ...
    def words(self, name: str, service: str = "") -> tuple[str, ...]: ...
    @property
    def services(self) -> Sequence["ServiceLike"]: ...


class ServiceLike(Protocol):
    """A line of master.cf."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def command(self) -> str: ...
    @property
    def arguments(self) -> Sequence[str]: ...


class TablesLike(Protocol):
    """What the walk needs of ``Tables``."""

    def prefetch(self, wanted: Iterable[tuple[str, str]]) -> None: ...
    def find(
        self, maps: Sequence[str], keys: Sequence[str], *, trust: Trust = Trust.ANY
    ) -> Found | None: ...
    def skipped(
        self, maps: Sequence[str], keys: Sequence[str], found: Found | None, *, trust: Trust
    ) -> str | None: ...


class User(NamedTuple):
    """An entry of passwd(5)."""

    name: str
    uid: int
    home: str
    shell: str


def user_of(name: str) -> User | None:
    """From the system's own database; None where there is no such user."""
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        return None
    return User(entry.pw_name, entry.pw_uid, entry.pw_dir, entry.pw_shell)


class FileText(NamedTuple):
    """A file that was read, and what local(8) wants to know of it."""

    text: str
    regular: bool
    world_writable: bool
    uid: int


def file_text(path: str) -> FileText:
    """Raises OSError. At most 1 MiB; a file that is not regular is not opened."""
    seen = os.stat(path)
    mode = seen.st_mode
    if not stat.S_ISREG(mode):
        return FileText("", regular=False, world_writable=bool(mode & 0o002), uid=seen.st_uid)
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        text = stream.read(1 << 20)
    return FileText(text, regular=True, world_writable=bool(mode & 0o002), uid=seen.st_uid)


@dataclass(slots=True, kw_only=True)
class World:
    """One walk's view; made anew for each trace."""

    settings: SettingsLike
    tables: TablesLike
    router: Router
    user_of: Callable[[str], User | None] = user_of
    file_text: Callable[[str], FileText] = file_text
    now: Callable[[], float] = time.time
    nodes: int = 0
    notes: list[str] = field(default_factory=list)  # of the whole trace
    started: float = 0.0
    delimiters: keys.Delimiters = field(init=False)
    _rewritten: dict[str, str] = field(default_factory=dict)
    _resolved: dict[tuple[str, str], Resolved] = field(default_factory=dict)
    _local: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started = self.now()
        self.delimiters = keys.Delimiters(
            characters=self.settings.get("recipient_delimiter"),
            requests_special=self.settings.get("owner_request_special") != "no",
            double_bounce=self.settings.get("double_bounce_sender") or "double-bounce",
        )

    def yes(self, name: str, service: str = "") -> bool:
        """A setting that is yes or no."""
        return self.settings.get(name, service).strip().lower() == "yes"

    def number(self, name: str, service: str = "", *, otherwise: int) -> int:
        """A setting that is a number."""
        value = self.settings.get(name, service).strip()
        return int(value) if value.isdigit() else otherwise

    def rewrite(self, address: str) -> str:
        """Completed as trivial-rewrite(8) does; internal form in and out."""
        if address not in self._rewritten:
            spoken = self.router.rewrite(keys.external(address))
            self._rewritten[address] = keys.internal(spoken)
        return self._rewritten[address]

    def resolve(self, address: str, sender: str) -> Resolved:
        """Transport, next hop and class of an address in internal form."""
        asked = (address, sender)
        if asked not in self._resolved:
            self._resolved[asked] = self.router.resolve(address, sender)
        return self._resolved[asked]

    def is_local(self, domain: str) -> bool:
        """Is it $myorigin, or a destination of local(8)?"""
        folded = domain.casefold()
        if folded not in self._local:
            self._local[folded] = folded == self.settings.get("myorigin").casefold() or (
                self.resolve(f"postmaster@{domain}", "").address_class == "local"
            )
        return self._local[folded]

    def keys_of(self, address: str) -> Mapping[str, str]:
        """Key → unmatched extension, for rewriting tables and tables of recipients."""
        domain = keys.split(address)[1]
        local = bool(domain) and self.is_local(domain)
        return keys.address_keys(address, self.delimiters, local=local)

    def find(
        self, maps: Sequence[str], address: str, *, trust: Trust = Trust.ANY
    ) -> tuple[Found, str] | None:
        """What the tables say of an address, and the extension that was left unmatched."""
        if not maps:
            return None
        forms = self.keys_of(address)
        found = self.trusted(maps, list(forms), trust)
        return None if found is None else (found, keys.unmatched_of(forms, found.key))

    def trusted(self, maps: Sequence[str], wanted: Sequence[str], trust: Trust) -> Found | None:
        """What the tables say to a program that does not trust all they can say."""
        found = self.tables.find(maps, wanted, trust=trust)
        if trust is not Trust.ANY:
            note = self.tables.skipped(maps, wanted, found, trust=trust)
            self.notes += [note] if note else []
        return found

    def ahead(
        self,
        addresses: Iterable[str],
        maps: Sequence[str] = (),
        *,
        also: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Ask what will be asked of these addresses, in one round: ``maps``, and their agent's."""
        wanted: list[tuple[str, str]] = list(also)
        for address in addresses:
            forms = list(self.keys_of(address))
            wanted += [(table, key) for table in maps for key in forms]
            resolved = self.resolve(address, "")
            agent = self.program(resolved.transport)
            service = f"{resolved.transport}/unix"
            if agent == "local":
                aliases = self.settings.words("alias_maps", service)
                wanted += [(table, key) for table in aliases for key in self._names(address)]
            elif agent == "virtual":
                boxes = self.settings.words("virtual_mailbox_maps", service)
                wanted += [(table, key) for table in boxes for key in forms]
        self.tables.prefetch(dict.fromkeys(wanted))

    def _names(self, address: str) -> list[str]:
        """What local(8) looks up: the user with extension and without, and their owners."""
        local = keys.split(address)[0].casefold()
        bare = keys.extension_of(local, self.delimiters)[0]
        names = dict.fromkeys((local, bare))
        return [*map(keys.external, names), *(f"owner-{name}" for name in names)]

    def service(self, transport: str) -> ServiceLike | None:
        """The line of master.cf behind a transport."""
        for service in self.settings.services:
            if service.type == "unix" and service.name == transport:
                return service
        return None

    def program(self, transport: str) -> str:
        """``smtp``, ``lmtp``, ``local`` ...; ``""``: there is no such transport."""
        service = self.service(transport)
        return os.path.basename(service.command.split()[0]) if service else ""

    def as_of(self, found: Found | None) -> str | None:
        """When the table was asked, if that was before this walk began."""
        if found is None or found.at >= self.started:
            return None
        return rfc3339(found.at)

    def spend(self) -> None:
        """Count one more node."""
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise WalkTooLongError

    def node(self, address: str, step: Step, **fields: Any) -> Node:
        """A node with the address as people write it."""
        self.spend()
        return Node(address=keys.external(address), step=step, **fields)

    def fired(self, address: str, step: Step, found: Found, children: Sequence[Node]) -> Node:
        """A step that a table has made."""
        return Node(
            address=keys.external(address),
            step=step,
            table=found.table,
            key=found.key,
            value=found.value,
            as_of=self.as_of(found),
            children=tuple(children),
            notes=said_of(found),
        )


def said_of(found: Found) -> tuple[str, ...]:
    """What is to be known of a table's answer."""
    return ("the table answers at random: the next mail may go otherwise",) * is_random(found.table)


def unknown(address: str, why: str, *, maps: Sequence[str] = ()) -> Node:
    """An end that could not be seen."""
    return Node(
        address=keys.external(address),
        step=Step.UNKNOWN,
        verdict=Verdict.UNKNOWN,
        source=Source.COMPUTED,
        table=" ".join(maps) or None,
        text=why,
    )
