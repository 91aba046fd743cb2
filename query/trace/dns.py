"""DNS for traces: one question at a time, within a budget, and nobody asked but the name servers.

RFC 1034 and 1035; RFC 6891 (EDNS with DO), RFC 6840 5.7 (AD), RFC 2308 (negative answers), names
in other scripts by UTS 46 (RFC 5891). What a name server says is told apart: no such name, no such
record, failure, refusal, silence, nobody there. AD is believed of a loopback resolver only, for
anybody on the way to another could set it. Nothing is raised but ConfigError for a name server
that is none; what goes wrong is in the answer.
"""

import ipaddress
import re
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdtypes.ANY.MX
import dns.rdtypes.ANY.TLSA
import dns.rdtypes.ANY.TXT
import dns.resolver

from posttrail.config import nameserver
from posttrail.errors import ConfigError

MAX_QUERIES: Final = 50  # sent in one trace, repeated ones too
MAX_TIME_S: Final = 5.0  # waited in one trace
MAX_CACHED: Final = 4096
MAX_TTL_S: Final = 300  # however long a name server lets us keep it: a trace is for a change, too
PATIENCE_S: Final = (1.0, 2.0)  # for one name server, first round and second
MAX_ALIASES: Final = 10  # CNAME after CNAME
HOSTS: Final = Path("/etc/hosts")

Server = tuple[str, int]
Exchange = Callable[[dns.message.Message, Server, float], dns.message.Message]


class Lookup(Enum):
    """What came of a question; the value is a word for people."""

    FOUND = "found"
    NODATA = "no such record"  # the name exists
    NXDOMAIN = "no such name (NXDOMAIN)"
    INVALID = "not a domain name"
    SERVFAIL = "failure (SERVFAIL)"  # or another code, or an answer that cannot be read
    REFUSED = "refused (REFUSED)"
    TIMEOUT = "timeout"
    DOWN = "resolver down"
    LIMIT = "limit of this trace reached"

    @property
    def absent(self) -> bool:
        """It is certain that there is no such record."""
        return self in _ABSENT

    @property
    def temporary(self) -> bool:
        """Asking later may help."""
        return self in _TEMPORARY


_ABSENT: Final = frozenset({Lookup.NODATA, Lookup.NXDOMAIN, Lookup.INVALID})
_TEMPORARY: Final = frozenset({Lookup.SERVFAIL, Lookup.REFUSED, Lookup.TIMEOUT, Lookup.DOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What DNS says of one name and type."""

    name: str  # as asked, an A-label without final dot
    kind: str  # MX, A, AAAA, TLSA, TXT
    lookup: Lookup
    records: tuple[str, ...] = ()  # "10 mx.example.com", "0 .", "192.0.2.1", "3 1 1 <hex>", a text
    canonical: str = ""  # the name at the end of its CNAMEs; "": there is none
    secure: bool | None = None  # by DNSSEC; None: the name server is not one to believe
    at: float = 0.0  # when it was asked, seconds since 1970
    ttl_s: int = 0
    why: str = ""  # who said so, where it is trouble: "name server 192.0.2.53: timeout"

    @property
    def trouble(self) -> str:
        """Why there are no records, for people."""
        return self.why or self.lookup.value


def a_label(name: str) -> str | None:
    """The form that stands in DNS, without final dot; None of what is no name of a host or domain.

    What Postfix would not look up, we do not: RFC 1123 2.1 with underscores, not digits alone.
    """
    try:
        text = dns.name.from_text(name, idna_codec=_CODEC).to_text(omit_final_dot=True)
    except (dns.exception.DNSException, UnicodeError):
        return None
    return text.lower() if _HOST_NAME.fullmatch(text) else None


def u_label(name: str) -> str | None:
    """The form for people, where it is another."""
    try:
        unicode = dns.name.from_text(name).to_unicode(omit_final_dot=True, idna_codec=_CODEC)
    except (dns.exception.DNSException, UnicodeError):
        return None
    return None if unicode == name else unicode


_LABEL: Final = "[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"(?=.*[^0-9.]){_LABEL}(\.{_LABEL})*", re.IGNORECASE)
_CODEC: Final = dns.name.IDNA_2008_UTS_46  # as Postfix, enable_idna2003_compatibility = no


def exchange(message: dns.message.Message, server: Server, timeout_s: float) -> dns.message.Message:
    """One question to one server and its answer: UDP, then TCP for what was cut off.

    Raises OSError (nobody there) and DNSException (silence, nonsense).
    """
    host, port = server
    until = time.monotonic() + timeout_s
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        udp.connect(server)  # so that a closed port says so
        try:
            return dns.query.udp(
                *(message, host, timeout_s, port),
                sock=udp,
                ignore_unexpected=True,
                raise_on_truncation=True,
                ignore_errors=True,
            )
        except dns.message.Truncated:
            return dns.query.tcp(message, host, max(0.1, until - time.monotonic()), port)


class Dns:
    """The name servers and what they have said lately; one for all traces of a program."""

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
        *,
        ticks: Callable[[], float] = time.monotonic,
        send: Exchange = exchange,
        hosts: Path = HOSTS,
    ) -> None:
        self.servers: tuple[Server, ...] = _servers(nameservers)
        self.clock = clock
        self.ticks = ticks
        self.send = send
        self.hosts = hosts
        self._cache: OrderedDict[tuple[str, str], Answer] = OrderedDict()
        self._lock = threading.Lock()

    def question(self) -> "Lookups":
        """The lookups of one trace, with a budget of their own."""
        return Lookups(self)

    def cached(self, name: str, kind: str) -> Answer | None:
        """What was said within its time to live."""
        with self._lock:
            answer = self._cache.get((name, kind))
            if answer is None:
                return None
            if not answer.at <= self.clock() < answer.at + answer.ttl_s:
                del self._cache[name, kind]
                return None
            self._cache.move_to_end((name, kind))
            return answer

    def keep(self, answer: Answer) -> None:
        """Remembers it, unless it is trouble: who mends his DNS wants to see it."""
        if answer.ttl_s <= 0 or answer.lookup not in _KEPT:
            return
        with self._lock:
            self._cache[answer.name, answer.kind] = answer
            while len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)


_KEPT: Final = frozenset({Lookup.FOUND, Lookup.NODATA, Lookup.NXDOMAIN})


def _servers(named: Sequence[str]) -> tuple[Server, ...]:
    """Those that are named, else those of resolv.conf(5); none where that cannot be read."""
    try:
        if named:
            return tuple(map(nameserver, named))
        system = dns.resolver.Resolver()
    except ValueError as error:
        raise ConfigError(f"trace.nameservers: a name server {error}") from None
    except dns.resolver.NoResolverConfiguration:
        return ()
    return tuple((str(server), system.port) for server in system.nameservers)


@dataclass(slots=True)
class Lookups:
    """The lookups of one trace. ``spent_s`` is time waited, ``queries`` what was sent."""

    parent: Dns
    queries: int = 0
    spent_s: float = 0.0
    limit: str | None = None  # which limit was reached
    _down: set[Server] = field(default_factory=set)

    def ask(self, name: str, kind: str) -> Answer:
        """The records of a name, at the end of its CNAMEs."""
        label = a_label(name)
        if label is None:
            return Answer(name=name, kind=kind, lookup=Lookup.INVALID, at=self.parent.clock())
        answer = last = self._one(label, kind)
        for _ in range(MAX_ALIASES):
            if last.lookup is not Lookup.NODATA or not last.canonical:
                return answer
            last = self._one(last.canonical, kind)
            answer = _joined(answer, last)
        why = f"{label}: more than {MAX_ALIASES} aliases in a row"
        return replace(answer, lookup=Lookup.SERVFAIL, why=why)

    def hosts_file(self, name: str) -> tuple[str, ...]:
        """The addresses that hosts(5) gives to a name; none where it cannot be read."""
        try:
            lines = self.parent.hosts.read_text("utf-8", "surrogateescape").splitlines()
        except OSError:
            return ()
        words = [line.partition("#")[0].lower().split() for line in lines]
        return tuple(line[0] for line in words if name.lower() in line[1:])

    def _one(self, name: str, kind: str) -> Answer:
        answer = self.parent.cached(name, kind)
        if answer is None:
            began = self.parent.ticks()
            answer = self._sent(name, kind, began)
            self.spent_s += self.parent.ticks() - began
            self.parent.keep(answer)
        return answer

    def _sent(self, name: str, kind: str, began: float) -> Answer:
        """Asks each server, those that kept silent twice."""
        try:
            message = dns.message.make_query(name, kind, want_dnssec=True)
        except dns.exception.DNSException:
            return Answer(name=name, kind=kind, lookup=Lookup.INVALID)
        message.flags |= dns.flags.AD
        trouble = Answer(
            name=name, kind=kind, lookup=Lookup.DOWN, at=self.parent.clock(), why="no name server"
        )
        waiting = list(self.parent.servers)
        for patience in PATIENCE_S:
            for server in tuple(waiting):
                left_s = MAX_TIME_S - self.spent_s - (self.parent.ticks() - began)
                if left_s <= 0 or self.queries >= MAX_QUERIES:
                    return self._limited(trouble)
                answer = self._try(message, server, min(patience, left_s), trouble)
                if answer.lookup not in _TEMPORARY:
                    return answer
                if answer.lookup is not Lookup.TIMEOUT:
                    waiting.remove(server)
                trouble = answer
        return trouble

    def _limited(self, answer: Answer) -> Answer:
        """Silence that used up the time is silence; else it was never asked."""
        many = self.queries >= MAX_QUERIES
        self.limit = f"{MAX_QUERIES} queries" if many else f"{MAX_TIME_S:g} s"
        if answer.lookup is Lookup.TIMEOUT:
            return answer
        return replace(answer, lookup=Lookup.LIMIT, why=f"{Lookup.LIMIT.value}: {self.limit}")

    def _try(
        self, message: dns.message.Message, server: Server, patience_s: float, blank: Answer
    ) -> Answer:
        if server in self._down:
            return _trouble(blank, Lookup.DOWN, server)
        self.queries += 1
        try:
            response = self.parent.send(message, server, patience_s)
        except dns.exception.Timeout:
            return _trouble(blank, Lookup.TIMEOUT, server)
        except OSError as error:
            self._down.add(server)
            return _trouble(blank, Lookup.DOWN, server, error.strerror or str(error))
        except dns.exception.DNSException as error:
            return _trouble(blank, Lookup.SERVFAIL, server, f"unreadable answer, {error}")
        blank = replace(blank, at=self.parent.clock(), why="")
        return read(response, blank, server)


def _trouble(blank: Answer, lookup: Lookup, server: Server, why: str = "") -> Answer:
    words = f"{lookup.value}, {why}" if why else lookup.value
    return replace(blank, lookup=lookup, why=f"name server {server[0]}: {words}")


def _joined(alias: Answer, target: Answer) -> Answer:
    """The answer to the first name of a chain of CNAMEs, of which the target is the next."""
    secure = None if alias.secure is None else bool(alias.secure and target.secure)
    return replace(
        target,
        name=alias.name,
        canonical=target.canonical or target.name,
        secure=secure,
        at=min(alias.at, target.at),
    )


def read(response: dns.message.Message, blank: Answer, server: Server) -> Answer:
    """What a message says about the name and type of ``blank``."""
    code = response.rcode()
    if code == dns.rcode.REFUSED:
        return _trouble(blank, Lookup.REFUSED, server)
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        other = "" if code == dns.rcode.SERVFAIL else dns.rcode.to_text(code)
        return _trouble(blank, Lookup.SERVFAIL, server, other)
    if not isinstance(response, dns.message.QueryMessage):
        return _trouble(blank, Lookup.SERVFAIL, server, "an answer to another question")
    try:
        chain = response.resolve_chaining()
    except dns.exception.DNSException as error:
        return _trouble(blank, Lookup.SERVFAIL, server, f"unreadable answer, {error}")
    lookup = Lookup.NXDOMAIN if code == dns.rcode.NXDOMAIN else Lookup.NODATA
    rdatas: Iterable[dns.rdata.Rdata] = chain.answer or ()
    return replace(
        blank,
        lookup=Lookup.FOUND if chain.answer else lookup,
        records=tuple(map(record_text, rdatas)),
        canonical=_text(chain.canonical_name) if chain.cnames else "",
        secure=bool(response.flags & dns.flags.AD) if _believed(server) else None,
        ttl_s=min(chain.minimum_ttl, MAX_TTL_S),
    )


def _believed(server: Server) -> bool:
    return ipaddress.ip_address(server[0].partition("%")[0]).is_loopback


def _text(name: dns.name.Name) -> str:
    """Lower case, without final dot; "." is the root."""
    return name.to_text(omit_final_dot=True).lower() if len(name) > 1 else "."


def record_text(rdata: dns.rdata.Rdata) -> str:
    """One record as ``Answer.records`` has it."""
    match rdata:
        case dns.rdtypes.ANY.MX.MX():
            return f"{rdata.preference} {_text(rdata.exchange)}"
        case dns.rdtypes.ANY.TLSA.TLSA():
            return f"{rdata.usage} {rdata.selector} {rdata.mtype} {rdata.cert.hex()}"
        case dns.rdtypes.ANY.TXT.TXT():
            return b"".join(rdata.strings).decode("utf-8", "backslashreplace")
    return rdata.to_text()
