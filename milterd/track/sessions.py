"""What lines without a queue id tell about the lines that follow from the same process.

smtpd and smtp log TLS before they name a queue id; an access map's HOLD is
logged before the queue file exists. Kept by (host, pid) from connect to disconnect,
and saved with the log's position so that a restart loses none of it. Where the later
half of a log is read first, its queue files wait for the session they were opened in.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from journal import kinds
from journal.events import Event
from journal.forget import Forget
from milterd.track.strays import Strays

Key = tuple[bytes, int]

LIVE: Final = "sessions/live"
"""The context in which trackd saves what it follows,"""
IMPORTED: Final = "sessions/import"
"""and the one of imports, whose lines are not of the processes that run now."""

MOST: Final = 20_000
"""Sessions remembered; beyond, the oldest are let go (a log without disconnect lines)."""

MOST_OUTBOUND: Final = 500
"""Delivery processes remembered. None of them says goodbye, and all are saved with a commit."""

MOST_HOLDS: Final = 500
"""Sessions remembered of which a HOLD waits for its queue file."""

MOST_OF_SESSION: Final = 100
"""HOLDs of one session that wait: one a recipient, until the first that is taken."""

MOST_ORPHANS: Final = 500
"""Queue files remembered whose session began in lines not read yet."""

SESSION_US: Final = 3_600_000_000
"""No queue file is opened longer than this after its session's TLS handshake or HOLD."""

_ENCRYPTING: Final = (b"smtp", b"lmtp", b"relay")


class Sessions:
    """The TLS and HOLD context of every process that is in a session."""

    def __init__(self) -> None:
        self._inbound: dict[Key, tuple[bytes, bytes, int]] = {}  # client IP, TLS, since
        self._outbound: dict[Key, tuple[bytes, bytes]] = {}
        self._logins: dict[Key, tuple[bytes, bytes, bytes, int]] = {}  # client IP, login, method
        self._holds: dict[Key, list[Event]] = {}
        self._begun: set[Key] = set()  # a session's begin or end was read
        self._orphans: dict[tuple[bytes, Event], None] = {}  # host, CLIENT: of sessions not begun
        self.strays = Strays()
        self.changed = False

    @property
    def known(self) -> bool:
        """Whether any TLS session or login is remembered."""
        return bool(self._inbound or self._outbound or self._logins)

    @property
    def holds(self) -> bool:
        """Whether a HOLD waits for its queue file."""
        return bool(self._holds)

    def note(self, event: Event, host: bytes) -> None:
        """Take a context event: CONNECT, TLS_IN, TLS_OUT, DISCONNECT, LOGIN."""
        key = (host, event.pid)
        if event.kind == kinds.TLS_IN:
            self._remember(key, (event.fields[0], event.fields[1], event.at_us))
        elif event.kind == kinds.TLS_OUT:
            self._outbound.pop(key, None)  # the newest last
            if len(self._outbound) >= MOST_OUTBOUND:
                del self._outbound[next(iter(self._outbound))]
            self._outbound[key] = (event.fields[0], event.fields[1])
            self.changed = True
        elif event.kind == kinds.LOGIN:
            _let_go(self._logins, key, event.at_us)
            ip, login, method = event.fields[:3]
            self._logins[key] = (ip, login, method, event.at_us)
            self.changed = True
        elif event.kind in (kinds.CONNECT, kinds.DISCONNECT):
            if len(self._begun) < MOST:
                self._begun.add(key)
            if self._inbound.pop(key, None) or self._logins.pop(key, None):
                self.changed = True
            if self._holds and self._holds.pop(key, None) is not None:
                self.changed = True

    def _remember(self, key: Key, session: tuple[bytes, bytes, int]) -> None:
        _let_go(self._inbound, key, session[2])
        self._inbound[key] = session
        self.changed = True

    def opened(self, event: Event, host: bytes) -> None:
        """A queue file (CLIENT); its session may have begun in lines that are read later."""
        if (host, event.pid) in self._begun or len(self._begun) >= MOST:
            return
        if not (event.fields[3] and event.fields[5]) and not self._is_held(event, host):
            if len(self._orphans) >= MOST_ORPHANS:
                del self._orphans[next(iter(self._orphans))]
            self._orphans[host, event] = None
            self.changed = True

    def orphans(self) -> list[tuple[bytes, Event]]:
        """The queue files whose session was read by now, at the end of earlier lines: once."""
        found = [
            (host, event)
            for host, event in self._orphans
            if self._is_held(event, host) or self.enrich(event, host) != event
        ]
        for orphan in found:
            del self._orphans[orphan]
        return found

    def _is_held(self, event: Event, host: bytes) -> bool:
        """Whether a HOLD waits for this queue file."""
        return any(
            hold.fields[8] == event.fields[1] and _soon(event.at_us - hold.at_us)
            for hold in self._holds.get((host, event.pid), ())
        )

    def _tls(self, event: Event, host: bytes) -> bytes:
        """The TLS of the session that a CLIENT event is of."""
        ip, tls, since_us = self._inbound.get((host, event.pid), (b"", b"", 0))
        return tls if ip == event.fields[1] and _soon(event.at_us - since_us) else b""

    def _login(self, event: Event, host: bytes) -> tuple[bytes, bytes] | None:
        """Name and method with which the session that a CLIENT event is of logged in."""
        ip, login, method, since_us = self._logins.get((host, event.pid), (b"", b"", b"", 0))
        return (login, method) if ip == event.fields[1] and _soon(event.at_us - since_us) else None

    def hold(self, event: Event, host: bytes) -> None:
        """An access map's HOLD, logged before its queue file exists."""
        key = (host, event.pid)
        if key not in self._holds and len(self._holds) >= MOST_HOLDS:
            del self._holds[next(iter(self._holds))]
        holds = self._holds.setdefault(key, [])
        holds.append(event)
        del holds[:-MOST_OF_SESSION]
        self.changed = True

    def take_holds(self, event: Event, host: bytes) -> list[Event]:
        """The HOLDs that wait for the queue file which this CLIENT event opens."""
        holds = self._holds.pop((host, event.pid), [])
        self.changed = self.changed or bool(holds)
        return holds

    def keep(self, event: Event, host: bytes) -> None:
        """Have a line that names no queue id wait for its message."""
        if self.strays.keep(event, host):
            self.changed = True

    def claim(self, host: bytes, name: bytes) -> list[Event]:
        """What waits for a Message-ID or a client, once."""
        found = self.strays.claim(host, name)
        self.changed = self.changed or bool(found)
        return found

    def enrich(self, event: Event, host: bytes) -> Event:
        """The event with the TLS of its session, where its own line does not say."""
        fields = event.fields
        if event.kind == kinds.CLIENT:
            tls = fields[5] or self._tls(event, host)
            login = (None if fields[3] else self._login(event, host)) or fields[3:5]
            if (*login, tls) != fields[3:6]:
                return event._replace(fields=(*fields[:3], *login, tls, *fields[6:]))
        elif event.kind == kinds.DELIVERY and fields[0] in _ENCRYPTING and not fields[9]:
            relay, tls = self._outbound.get((host, event.pid), (b"", b""))
            if relay and (relay == fields[3] or fields[3].startswith(relay + b"[")):
                return event._replace(fields=(*fields[:9], tls, *fields[10:]))
        return event

    def dump(self) -> bytes:
        """All of it as JSON, for the journal's state."""
        self.changed = False
        text = "latin-1"
        return json.dumps(
            {
                "in": [
                    [h.decode(text), p, ip.decode(text), t.decode(text), since_us]
                    for (h, p), (ip, t, since_us) in self._inbound.items()
                ],
                "out": [
                    [h.decode(text), p, r.decode(text), t.decode(text)]
                    for (h, p), (r, t) in self._outbound.items()
                ],
                "login": [
                    [h.decode(text), p, *(word.decode(text) for word in told), since_us]
                    for (h, p), (*told, since_us) in self._logins.items()
                ],
                "hold": [
                    [h.decode(text), [_plain(event) for event in events]]
                    for (h, _), events in self._holds.items()
                ],
                "orphans": [[h.decode(text), _plain(event)] for h, event in self._orphans],
                "strays": [[h.decode(text), _plain(event)] for h, event in self.strays.all()],
            }
        ).encode()

    def forget(self, erased: Forget) -> None:
        """Know no more of whoever was erased."""
        logins: dict[Key, tuple[bytes, bytes, bytes, int]] = {}
        for key, (ip, login, method, since_us) in self._logins.items():
            event = Event(since_us, kinds.LOGIN, 1, 0, b"", (ip, login, method))
            if not _may_be(event, erased):
                logins[key] = (ip, _scrubbed(event, erased).fields[1], method, since_us)
        self._logins = logins
        for key, held in self._holds.items():
            self._holds[key] = [_scrubbed(event, erased) for event in held]
        self._orphans = {
            (host, _scrubbed(event, erased)): None
            for host, event in self._orphans
            if not _may_be(event, erased)
        }
        self._wait([(host, _scrubbed(event, erased)) for host, event in self.strays.all()])

    def let_go(self, before_us: int) -> bool:
        """Know no more of what was told before an instant; whether anything was."""
        waiting = list(self.strays.all())
        strays = [(host, event) for host, event in waiting if event.at_us >= before_us]
        inbound = {key: told for key, told in self._inbound.items() if told[-1] >= before_us}
        logins = {key: told for key, told in self._logins.items() if told[-1] >= before_us}
        held = {
            key: [event for event in events if event.at_us >= before_us]
            for key, events in self._holds.items()
        }
        holds = {key: events for key, events in held.items() if events}
        orphans = {each: None for each in self._orphans if each[1].at_us >= before_us}
        after = inbound, logins, holds, orphans, strays
        if after == (self._inbound, self._logins, self._holds, self._orphans, waiting):
            return False
        self._inbound, self._logins, self._holds, self._orphans, _ = after
        self._wait(strays)
        return True

    def _wait(self, waiting: list[tuple[bytes, Event]]) -> None:
        """These wait for their messages, and no others."""
        self.strays = Strays()
        for host, event in waiting:
            self.strays.keep(event, host)
        self.changed = True

    def load(self, dumped: bytes) -> None:
        """Take up what ``dump`` gave."""
        kept = json.loads(dumped)
        text = "latin-1"
        for host, pid, ip, tls, since_us in kept["in"]:
            session = (ip.encode(text), tls.encode(text), since_us)
            self._inbound[host.encode(text), pid] = session
        for host, pid, relay, tls in kept["out"]:
            self._outbound[host.encode(text), pid] = (relay.encode(text), tls.encode(text))
        for host, pid, ip, login, method, since_us in kept.get("login", ()):
            told = (ip.encode(text), login.encode(text), method.encode(text), since_us)
            self._logins[host.encode(text), pid] = told
        for host, events in kept["hold"]:
            for plain in events:
                event = _event(plain)
                self._holds.setdefault((host.encode(text), event.pid), []).append(event)
        for host, plain in kept["orphans"]:
            self._orphans[host.encode(text), _event(plain)] = None
        for host, plain in kept.get("strays", ()):
            self.strays.keep(_event(plain), host.encode(text))


def _let_go(known: dict[Key, Any], key: Key, now_us: int) -> None:
    """Make room for a session's newest word: too many, and those too old to matter, go.

    Sendmail's sessions have no end in the log.
    """
    known.pop(key, None)
    while known:
        oldest = next(iter(known))
        if len(known) < MOST and now_us - known[oldest][-1] <= SESSION_US:
            return
        del known[oldest]


def _soon(us: int) -> bool:
    """Whether a queue file may be of a session that began this long before."""
    return 0 <= us <= SESSION_US


def _may_be(event: Event, erased: Forget) -> bool:
    scrubber = erased.at(event.at_us)
    return scrubber is not None and scrubber.may_be(event)


def _scrubbed(event: Event, erased: Forget) -> Event:
    scrubber = erased.at(event.at_us)
    return event if scrubber is None else scrubber.event(event)


def _plain(event: Event) -> list[object]:
    fields = [field.decode("latin-1") for field in event.fields]
    queue_id = event.queue_id.decode("latin-1")
    return [event.at_us, event.kind, event.source, event.pid, queue_id, fields]


def _event(plain: Sequence[Any]) -> Event:
    at_us, kind, source, pid, queue_id, fields = plain
    told = tuple(field.encode("latin-1") for field in fields)
    return Event(at_us, kind, source, pid, queue_id.encode("latin-1"), told)
