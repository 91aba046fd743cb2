"""The whole way of an address through Postfix, as a tree.

The order: the door (smtpd(8)), cleanup(8), the content filter or trivial-rewrite(8)'s answer, the
delivery agent, the hosts. The tables that the first steps will ask are asked beforehand, all at
once. Raises what reading the settings raises: UnavailableError, ConfigError.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from posttrail import config
from posttrail.postconf import SettingsCache
from query.trace import hosts
from query.trace.dns import Dns
from query.trace.postfix import keys
from query.trace.postfix.agents import Hosts
from query.trace.postfix.entrance import Entrance
from query.trace.postfix.hop import Hop
from query.trace.postfix.prefetch import first_round
from query.trace.postfix.queue import Queue
from query.trace.postfix.resolve import open_router
from query.trace.postfix.smtp_settings import smtp_of
from query.trace.postfix.tables import TableError, Tables
from query.trace.postfix.world import WalkTooLongError, World, unknown
from query.trace.tree import Node, Question, Trace, judged, rfc3339


@dataclass(slots=True, kw_only=True)
class Walk:
    """One trace under way."""

    world: World
    hosts: Hosts
    question: Question
    queue: Queue = field(init=False)

    def __post_init__(self) -> None:
        self.queue = Queue(world=self.world, hosts=self.hosts)

    def trace(self) -> Trace:
        """The answer to the question."""
        address = keys.internal(self.question.address)
        hop = self.queue.hops.of_entry(self.question.entry)
        first_round(self.world, hop, address)
        sender = self._sender(hop)
        hop = replace(hop, sender=sender)
        root = self._walked(address, hop)
        if hop.note:
            root = replace(root, notes=(*root.notes, hop.note))
        return Trace(
            question=self.question,
            mta=f"postfix {self.world.settings.version}",
            as_of=rfc3339(self.world.started),
            root=judged(root),
            warnings=tuple(dict.fromkeys((*self._warnings(), *self.world.notes))),
        )

    def _walked(self, address: str, hop: Hop) -> Node:
        door = Entrance(world=self.world, queue=self.queue, question=self.question)
        try:
            return door.entered(address, hop)
        except (TableError, WalkTooLongError) as error:
            return unknown(address, str(error))
        except RecursionError:
            return unknown(address, "not followed further: forwarding is nested too deep")

    def _sender(self, hop: Hop) -> str:
        spoken = keys.internal(self.question.sender or "")
        return self.queue.cleanup(hop).sender(spoken)

    def _warnings(self) -> Iterable[str]:
        names = (
            "sender_dependent_default_transport_maps",
            "sender_dependent_relayhost_maps",
            "sender_bcc_maps",
        )
        used = [name for name in names if self.world.settings.words(name)]
        if used and self.question.sender is None:
            yield f"{', '.join(used)}: asked for the null sender; name one with --from"
        if self.world.settings.words("smtpd_milters") or self.world.settings.words(
            "non_smtpd_milters"
        ):
            yield "a milter may change or refuse a mail; no table tells how"


@dataclass(slots=True)
class PostfixWalker:
    """Walks as often as it is asked; what was read is kept while the files stay the same."""

    _config: config.Trace
    _dns: Dns
    _settings: SettingsCache
    _tables: Tables

    def trace(self, question: Question) -> Trace:
        """The way of one address."""
        settings = self._settings.read()
        router, why = open_router(settings, self._tables, socket=self._config.rewrite_socket)
        world = World(settings=settings, tables=self._tables, router=router)
        if why is not None:
            world.notes.append(f"transports are computed, not asked of the resolver: {why}")
        dns = self._dns.question()

        def found(nexthop: str, transport: str) -> hosts.Way:
            how = smtp_of(settings, transport, program=world.program(transport))
            return hosts.way(nexthop, how, dns)

        return Walk(world=world, hosts=found, question=question).trace()


def postfix_walker(named: config.Trace, dns: Dns) -> PostfixWalker:
    """The walker for the Postfix of the configuration directory in ``named``."""
    return PostfixWalker(named, dns, SettingsCache(named.config), Tables(named.config))
