"""What smtp(8) and lmtp(8) make of a next hop: the hosts they connect to, in order, or why none.

RFC 5321 5.1 (MX, else the address of the name itself), RFC 7505 (null MX), RFC 7672 (DANE: only
where MX, address and TLSA are all secure), RFC 8461 (MTA-STS: the record is reported, the policy is
not fetched); where these leave it open, Postfix: its own place in a list of mail hosts ends that
list, a fallback relay comes after any failure but a loop, and a relayhost that cannot be found is a
mistake of ours that returns no mail. Enhanced status codes are Postfix's. Nothing is connected to.
Decides only; what DNS says comes through ``Names``. Raises nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from query.trace.addresses import Addresses, Names
from query.trace.dns import Answer, Lookup
from query.trace.nexthop import Destination, destination, sites
from query.trace.smtp import Smtp as Smtp
from query.trace.tree import SMTP_PORT, Host, Verdict, line

MAX_MX: Final = 10  # of one domain; further ones are counted, not looked up


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Where a next hop leads."""

    hosts: tuple[Host, ...] = ()  # in order; one without addresses says in ``trouble`` why
    verdict: Verdict = Verdict.OK
    enhanced_status: str | None = None
    text: str = ""  # the first host, or why there is none
    notes: tuple[str, ...] = ()
    socket: str | None = None  # of a next hop unix:/path
    transport: str | None = None  # best_mx_transport: who takes what would come back to us
    literal: bool = False  # every host was named by the configuration itself, in brackets

    @property
    def lines(self) -> tuple[str, ...]:
        """One line for each address."""
        return tuple(line(host, address) for host in self.hosts for address in host.addresses)


class _Failure(NamedTuple):
    """Why a destination has no host."""

    verdict: Verdict
    code: str | None
    text: str


@dataclass(frozen=True, slots=True)
class _Reached:
    """What one destination came to."""

    hosts: tuple[Host, ...] = ()
    failure: _Failure | None = None
    last: bool = False  # we are one of its mail hosts: no other destination is tried


def way(nexthop: str, how: Smtp, names: Names) -> Way:
    """Where the agent goes with a mail for this next hop."""
    if how.lmtp and nexthop.startswith("unix:"):
        path = nexthop.removeprefix("unix:")
        return Way(socket=path, text=f"socket {path}", literal=True)
    primary = sites(nexthop.removeprefix("inet:") if how.lmtp else nexthop)
    notes: list[str] = []
    finder = _Finder(how, names, notes, Addresses(how, names, notes))
    hosts: list[Host] = []
    failure, failed_at = _Failure(Verdict.TEMPORARY, "4.3.0", "an empty next hop"), 0
    every = (*primary, *how.fallback_relay)
    for place, text in enumerate(every):
        reached = finder.reach(text)
        fallback = place >= len(primary)
        hosts += (replace(host, fallback=fallback) for host in reached.hosts)
        if reached.failure is not None:
            failure, failed_at = reached.failure, place
        if reached.last or failure.verdict is Verdict.UNKNOWN:
            break
    first = next((line(host, host.addresses[0]) for host in hosts if host.addresses), None)
    whole = Way(
        hosts=tuple(hosts),
        notes=tuple(dict.fromkeys(finder.notes)),
        literal=all(text.startswith("[") for text in every),
    )
    if first:
        passed = (f"passed over: {text}" for text in finder.failures)
        return replace(whole, text=first, notes=(*whole.notes, *passed))
    ours = failed_at >= len(primary) or (not how.lmtp and primary[:1] == (how.relayhost,))
    return _none(whole, failure, how, ours=ours)


def _none(whole: Way, failure: _Failure, how: Smtp, *, ours: bool) -> Way:
    """No host at all: return the mail, keep it, or give it to another transport."""
    verdict, code, text = failure
    if ours and verdict in (Verdict.PERMANENT, Verdict.LOOP):
        note = "A relayhost or fallback relay that cannot be used: the mail waits"
        whole = replace(whole, notes=(*whole.notes, note))
        verdict, code = Verdict.TEMPORARY, "4.3.5"
    elif verdict is Verdict.LOOP and how.best_mx_transport and not how.lmtp:
        return replace(
            whole, transport=how.best_mx_transport, text=f"{text}: {how.best_mx_transport} takes it"
        )
    return replace(whole, verdict=verdict, enhanced_status=code, text=text)


@dataclass(slots=True)
class _Finder:
    """Looks up destinations, and notes what people should know."""

    how: Smtp
    names: Names
    notes: list[str]
    find: Addresses
    failures: list[str] = field(default_factory=list)

    def reach(self, text: str) -> _Reached:
        """One destination of a next hop."""
        try:
            goal = destination(text, port=self.how.port)
        except ValueError as error:
            return self._failed(Verdict.TEMPORARY, "4.3.0", f"bad next hop {text}: {error}")
        if not self.how.inet_protocols:
            return self._failed(Verdict.TEMPORARY, "4.4.4", "all network protocols are disabled")
        by_mx = not (self.how.lmtp or goal.bracketed or goal.address or self._dns_off())
        return self._by_mx(goal) if by_mx else self._by_address(goal)

    def _dns_off(self) -> bool:
        return self.how.dns_support_level == "disabled"

    def _failed(
        self, verdict: Verdict, code: str | None, text: str, hosts: Sequence[Host] = ()
    ) -> _Reached:
        self.failures.append(text)
        loop = verdict is Verdict.LOOP
        return _Reached(tuple(hosts), _Failure(verdict, code, text), last=loop)

    def _by_mx(self, goal: Destination) -> _Reached:
        answer = self.names.ask(goal.host, "MX")
        name = answer.name
        self.find.alias(answer, "the domain")
        if answer.lookup is Lookup.FOUND:
            records = exchanges(answer.records)
            if any(target == "." for _, target in records):
                return self._null_mx(goal, records)
            return self._mail_hosts(goal, answer, records)
        if answer.lookup is Lookup.LIMIT:
            return self._failed(Verdict.UNKNOWN, None, f"{name}: {answer.trouble}")
        if answer.lookup.temporary and not self.how.ignore_mx_lookup_error:
            text = f"MX of {name}: {answer.trouble}"
            return self._failed(Verdict.TEMPORARY, "4.4.3", text)
        if answer.lookup.temporary:
            self.notes.append(
                f"MX of {name}: {answer.lookup.value}; ignore_mx_lookup_error has its address used"
            )
        return self._by_address(goal, known=answer)

    def _null_mx(self, goal: Destination, records: Sequence[tuple[int, str]]) -> _Reached:
        if len(records) > 1:
            self.notes.append(
                f"{goal.host} has a null MX beside others, against RFC 7505 3:"
                " Postfix heeds the null MX"
            )
        return self._failed(
            Verdict.PERMANENT, "5.1.0", f"{goal.host} takes no mail: null MX (RFC 7505)"
        )

    def _by_address(self, goal: Destination, known: Answer | None = None) -> _Reached:
        """The addresses of the name itself; ``known`` is what its MX lookup said."""
        host, lookup = self.find.host(goal.host, goal.port, known=known)
        if not host.addresses:
            code = "4.4.3" if lookup.temporary else "5.4.4"
            verdict = Verdict.TEMPORARY if lookup.temporary else Verdict.PERMANENT
            if lookup is Lookup.LIMIT:
                return self._failed(Verdict.UNKNOWN, None, f"{host.name}: {host.trouble}")
            what = "address" if known is None else "MX and address"
            return self._failed(verdict, code, f"{what} of {host.name}: {host.trouble}", (host,))
        if self._is_own(host) and self._detects_loops(goal):
            return self._failed(Verdict.LOOP, "5.4.6", f"mail for {goal.host} loops back to myself")
        if known is not None:
            self._sts(known.name)
            host = self.find.tlsa(host, mx_secure=True)
        return _Reached(self.find.limited((host,)))

    def _mail_hosts(
        self, goal: Destination, answer: Answer, records: Sequence[tuple[int, str]]
    ) -> _Reached:
        """The hosts of MX records, with everything that keeps some of them out."""
        if len(records) > MAX_MX:
            self.notes.append(
                f"{goal.host} has {len(records)} MX records: the first {MAX_MX} were looked up"
            )
        hosts, code, limited = [], "", False
        for preference, target in records[:MAX_MX]:
            host, lookup = self.find.host(target, goal.port, preference=preference)
            hosts.append(host)
            limited |= lookup is Lookup.LIMIT
            if lookup.temporary:
                code = "4.4.3"
            elif lookup is not Lookup.FOUND:  # a temporary failure outweighs a certain one
                code = "4.4.4" if code.startswith("4") else "5.4.4"
        found = [host for host in hosts if host.addresses]
        if not found:
            return self._no_mail_host(goal, hosts, "" if limited else code)
        kept, failure = self._before_us(goal, records[0][0], hosts)
        if failure is not None:
            return failure
        self._equal(kept)
        self._sts(answer.name)
        secure = answer.secure
        kept = [self.find.tlsa(host, mx_secure=secure) for host in kept]
        usable = self.find.limited(kept)
        if not any(host.addresses for host in usable):
            text = f"no mail host of {goal.host} can be trusted: {_troubles(usable)}"
            return self._failed(Verdict.TEMPORARY, "4.7.5", text, usable)
        return _Reached(usable, last=len(kept) < len(hosts))

    def _no_mail_host(self, goal: Destination, hosts: Sequence[Host], code: str) -> _Reached:
        text = f"no mail host of {goal.host} has an address: {_troubles(hosts)}"
        if not code:
            return self._failed(Verdict.UNKNOWN, None, text, hosts)
        if self.how.defer_if_no_mx_address_found:
            code = f"4{code[1:]}"
        verdict = Verdict.TEMPORARY if code.startswith("4") else Verdict.PERMANENT
        return self._failed(verdict, code, text, hosts)

    def _before_us(
        self, goal: Destination, best: int, hosts: list[Host]
    ) -> tuple[list[Host], _Reached | None]:
        """The hosts that are preferred to this machine, where it is one of them."""
        found = [host for host in hosts if host.addresses]
        own = next((host for host in found if self._is_own(host)), None)
        if own is None or own.preference is None or not self._detects_loops(goal):
            return hosts, None
        kept = [host for host in hosts if (host.preference or 0) < own.preference]
        if any(host.addresses for host in kept):
            self.notes.append(
                f"this machine is a mail host of {goal.host} at preference {own.preference}:"
                " only better ones are used"
            )
            return kept, None
        if found[0].preference != best:
            text = f"this machine is a mail host of {goal.host}, and no better one has an address"
            return kept, self._failed(Verdict.TEMPORARY, "4.4.4", text, kept)
        text = f"mail for {goal.host} loops back to myself"
        return kept, self._failed(Verdict.LOOP, "5.4.6", text)

    def _detects_loops(self, goal: Destination) -> bool:
        return not self.how.lmtp and goal.port == SMTP_PORT

    def _is_own(self, host: Host) -> bool:
        own = self.how.own_addresses
        return host.name in self.how.own_names or any(one in own for one in host.addresses)

    def _equal(self, hosts: Sequence[Host]) -> None:
        if not self.how.randomize_addresses:
            return
        for preference in sorted({host.preference or 0 for host in hosts}):
            equal = [host.name for host in hosts if (host.preference or 0) == preference]
            if len(equal) > 1:
                self.notes.append(
                    f"{', '.join(equal)} have equal preference: they are tried in random order"
                )

    def _sts(self, domain: str) -> None:
        answer = self.names.ask(f"_mta-sts.{domain}", "TXT")
        if any(text.startswith("v=STSv1;") for text in answer.records):
            self.notes.append(
                f"{domain} has an MTA-STS record (RFC 8461); its policy was not fetched"
            )


def exchanges(records: Iterable[str]) -> list[tuple[int, str]]:
    """MX records by preference, equal ones by name: ``(10, "mail.example.com")``."""
    pairs = (record.split() for record in records)
    return sorted((int(preference), target) for preference, target in pairs)


def _troubles(hosts: Iterable[Host]) -> str:
    return ", ".join(f"{host.name} {host.trouble}" for host in hosts if host.trouble)
