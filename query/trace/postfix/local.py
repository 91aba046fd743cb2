"""What local(8) does with a recipient: aliases(5), :include:, commands, files, forwarding.

The order is that of local(8): aliases of the user with extension, then without; what was expanded
from a list with an owner or from an :include: file goes back through cleanup(8); then .forward
and the mailbox (``mailbox.py``). A table, file or home directory that this process cannot read is
UNKNOWN with its reason. Rights: what only the mail system may read is told by errno, and never
taken for absent. Raises ``WalkTooLongError``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from query.trace.postfix import keys
from query.trace.postfix.patterns import Trust
from query.trace.postfix.tables import Found, TableError
from query.trace.postfix.world import MOST_NODES, User, World, unknown
from query.trace.tree import Node, Step, Verdict

MOST_LEVELS: Final = 100  # local(8)'s own bound on nesting
LOCAL_TEXT: Final = "localuser to local delivery"
LOCAL_ROUTER: Final = "localuser"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What comes down from an alias to its members."""

    sender: str = ""
    owner: str | None = None  # set: other local users are not delivered in place
    expanded_from: str | None = None  # the alias whose members these are
    kind: str = ""  # alias, include, forward: which allow_mail_to_* applies
    unmatched: str = ""  # the extension with its delimiter, to be added to members
    user: User | None = None  # whose .forward this is
    above: tuple[str, ...] = ()  # aliases on the way
    delivered: frozenset[str] = frozenset()  # Delivered-To: of mail that came round
    marks: frozenset[str] = frozenset()  # what this delivery will add to them
    level: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A local recipient taken apart, folded as local(8) does."""

    address: str
    local: str
    user: str
    extension: str  # with its delimiter


Indirect = Callable[[str, Attributes], Node]
Mailbox = Callable[["Local", Parts, Attributes], Node]
Resolve = Callable[[str, Attributes], tuple[str, bool] | Node]


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """One delivery by local(8); ``seen`` is its filter of duplicates."""

    world: World
    transport: str = "local"
    indirect: Indirect  # back through cleanup(8)
    passed: Callable[[str, str, Attributes], Node]  # (address, transport:nexthop)
    mailbox: Mailbox
    seen: set[tuple[str, ...]] = field(default_factory=set)

    @property
    def service(self) -> str:
        return f"{self.transport}/unix"

    def words(self, name: str) -> tuple[str, ...]:
        return self.world.settings.words(name, self.service)

    def recipient(self, address: str, come: Attributes) -> Node:
        """Deliver to one address of a local domain."""
        come = deeper(come)
        if come.level > MOST_LEVELS:
            return loop(self.world, address, "recipient nesting limit exceeded")
        if self.again("recipient", str(come.level), address.casefold()):
            return same(self.world, address)
        if address.casefold() in come.delivered:
            return loop(self.world, address, f"mail forwarding loop for {keys.external(address)}")
        if not come.marks:
            come = replace(come, marks=frozenset({address.casefold()}))
        local, _ = keys.split(address.casefold())
        user, extension = keys.extension_of(local, self.world.delimiters)
        if "/" in extension:
            local, extension = user, ""
        if not user:
            return failed(self.world, address, "5.1.3", "null username in the address")
        parts = Parts(address=address, local=local, user=user, extension=extension)
        return self._switch(parts, come)

    def again(self, *what: str) -> bool:
        """Was this done before? Now it was."""
        if what in self.seen:
            return True
        self.seen.add(what)
        return False

    def _switch(self, parts: Parts, come: Attributes) -> Node:
        come = deeper(come)
        if node := self._alias(parts, parts.local, replace(come, unmatched="")):
            return node
        if parts.extension:
            carried = "alias" in self.words("propagate_unmatched_extensions")
            rest = parts.extension if carried else ""
            if node := self._alias(parts, parts.user, replace(come, unmatched=rest)):
                return node
        come = replace(come, unmatched=parts.extension)
        foreign = come.owner is not None and come.owner.casefold() != parts.user
        if foreign or come.kind == "include":
            return self._indirect(parts.address, come)
        return self.mailbox(self, parts, come)

    def _indirect(self, address: str, come: Attributes) -> Node:
        if self.again("indirect", address.casefold()):
            return same(self.world, address)
        return self.indirect(address, come)

    def _alias(self, parts: Parts, name: str, come: Attributes) -> Node | None:
        if come.expanded_from is not None and come.expanded_from.casefold() == name:
            return None
        come = deeper(come)
        maps = self.words("alias_maps")
        try:
            found = self.world.trusted(maps, _names(name), Trust.PARANOID) if maps else None
            if found is None:
                return None
            if name in come.above or come.level > MOST_LEVELS:
                return loop(self.world, parts.address, f"the alias {name} leads back to itself")
            come = self._owned(name, maps, come)
        except TableError as error:
            return unknown(parts.address, str(error), maps=maps)
        come = replace(come, expanded_from=name, kind="alias", above=(*come.above, name))
        return self._expanded(parts, found, replace(come, user=None))

    def _owned(self, name: str, maps: tuple[str, ...], come: Attributes) -> Attributes:
        """With the owner- alias as sender, where there is one (aliases(5))."""
        if self.world.delimiters.requests_special:
            owner = self.world.trusted(maps, [f"owner-{name}"], Trust.PARANOID)
            if owner is not None:
                expanded = self.world.yes("expand_owner_alias", self.service)
                named = keys.address_list(owner.value) if expanded else [f"owner-{name}"]
                sender = self.world.rewrite(keys.internal(named[0])) if named else come.sender
                return replace(come, sender=sender, owner=sender)
        if self.world.yes("reset_owner_alias", self.service):
            return replace(come, owner=None)
        return come

    def _expanded(self, parts: Parts, found: Found, come: Attributes) -> Node:
        self.world.spend()
        members = [keys.internal(each) for each in keys.address_list(found.value)]
        self._ahead(members)
        children = [self.token(each, parts, come) for each in members]
        if not children:
            children = [failed(self.world, parts.address, "4.3.0", "the alias has no members")]
        return self.world.fired(parts.address, Step.LOCAL_ALIAS, found, children)

    def _ahead(self, members: Sequence[str]) -> None:
        """Ask for all members at once."""
        named = [each for each in members if not each.startswith(("/", "~", "|", ":"))]
        try:
            addresses = [self.world.rewrite(each) for each in named[:MOST_NODES]]
            self.world.ahead(addresses, self.world.settings.words("virtual_alias_maps"))
        except TableError:
            return  # whoever needs the table says so

    def token(self, member: str, parts: Parts, come: Attributes) -> Node:
        """One member of an alias, an :include: file or a .forward, without its quotes."""
        if member.startswith("/"):
            return self.file(member, parts, come)
        if member.startswith("~"):
            return self._home(member, parts, come)
        if member.startswith("|"):
            return self.command(member[1:], parts, come)
        if member.lower().startswith(":include:"):
            return self.include(member[len(":include:") :], parts, come)
        return self.member(member, come)

    def member(self, address: str, come: Attributes) -> Node:
        """An address: delivered in place if it is ours, else through cleanup(8)."""
        come = deeper(come)
        rewritten = self.world.rewrite(address)
        resolved = self.world.resolve(rewritten, come.sender)
        if resolved.address_class == "fail":
            return failed(self.world, rewritten, "4.3.0", "address resolver failure")
        target = keys.with_extension(resolved.recipient or rewritten, come.unmatched)
        if resolved.transport == self.transport:
            return self.recipient(target, come)
        return self._indirect(target, come)

    def _home(self, member: str, parts: Parts, come: Attributes) -> Node:
        if not member.startswith("~/") or come.user is None:
            why = f"unknown home directory for: {member}"
            return failed(self.world, parts.address, "5.3.5", why)
        return self.file(come.user.home.rstrip("/") + member[1:], parts, come)

    def file(self, path: str, parts: Parts, come: Attributes) -> Node:
        """Delivery to /file/name, or to a maildir/ (allow_mail_to_files)."""
        if come.kind not in self.words("allow_mail_to_files"):
            return failed(self.world, parts.address, "5.7.1", f"mail to file is restricted: {path}")
        if self.again("file", path):
            return same(self.world, parts.address)
        gone = path == "/dev/null"
        return self.world.node(
            parts.address,
            Step.DISCARD if gone else Step.DELIVER,
            verdict=Verdict.DISCARDED if gone else Verdict.OK,
            transport=self.transport,
            address_class="local",
            mailbox=path,
            text=f"to the file {path}",
        )

    def command(self, command: str, parts: Parts, come: Attributes) -> Node:
        """Delivery to "|command" (allow_mail_to_commands)."""
        if come.kind not in self.words("allow_mail_to_commands"):
            why = f"mail to command is restricted: {command}"
            return failed(self.world, parts.address, "5.7.1", why)
        if self.again("command", command, come.user.name if come.user else ""):
            return same(self.world, parts.address)
        return self.world.node(
            parts.address,
            Step.DELIVER,
            transport=self.transport,
            address_class="local",
            command=command,
            text=f"to the command {command}",
        )

    def include(self, path: str, parts: Parts, come: Attributes) -> Node:
        """The members of an :include: file; each is looked up again."""
        if self.again("include", path, come.user.name if come.user else ""):
            return same(self.world, parts.address)
        come = deeper(come)
        node = self.world.node(parts.address, Step.INCLUDE, table=f":include:{path}")
        members = self._members(path, parts)
        if isinstance(members, Node):
            return replace(node, children=(members,))
        come = replace(
            come,
            kind="include",
            expanded_from=parts.local,
            owner=parts.address if come.owner is None else come.owner,
            unmatched=come.unmatched
            if "include" in self.words("propagate_unmatched_extensions")
            else "",
        )
        self._ahead(members)
        children = tuple(self.token(member, parts, come) for member in members)
        return replace(node, children=children, text=f"{len(children)} members")

    def _members(self, path: str, parts: Parts) -> list[str] | Node:
        """The list in the file, or the end that it is."""
        if not path.startswith("/"):
            return failed(self.world, parts.address, "5.3.5", f":include:{path}: a relative path")
        try:
            file = self.world.file_text(path)
        except FileNotFoundError:
            return failed(self.world, parts.address, "5.3.5", f":include:{path}: no such file")
        except OSError as error:
            return unknown(parts.address, f":include:{path}: not followed: {error.strerror}")
        if not file.regular or file.world_writable:
            why = "world writable" if file.regular else "not a regular file"
            return failed(self.world, parts.address, "5.3.5", f":include:{path}: {why}")
        return members_of(file.text)


def members_of(text: str) -> list[str]:
    """The members in a file: lines like the right side of an alias, ``#`` begins a comment."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [keys.internal(each) for line in lines for each in keys.address_list(line)]


def deeper(come: Attributes) -> Attributes:
    """One level further down, as local(8) counts: an alias takes four."""
    return replace(come, level=come.level + 1)


def _names(name: str) -> list[str]:
    return list(dict.fromkeys([keys.external(name), name]))


def same(world: World, address: str) -> Node:
    """The second of two that are delivered once."""
    return world.node(address, Step.SAME, text="stands in this tree already")


def loop(world: World, address: str, text: str) -> Node:
    """An end that leads back to where it came from."""
    return world.node(
        address, Step.REJECT, verdict=Verdict.LOOP, enhanced_status="5.4.6", text=text
    )


def failed(world: World, address: str, status: str, text: str) -> Node:
    """An end that local(8) returns (5.x.x) or tries again (4.x.x)."""
    verdict = Verdict.TEMPORARY if status.startswith("4") else Verdict.PERMANENT
    return world.node(address, Step.REJECT, verdict=verdict, enhanced_status=status, text=text)
