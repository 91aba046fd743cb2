"""What became of a mail, read from the log of a Postfix whose every transport has its own name there.

A mail is known by its Message-ID, which it keeps when local(8) forwards it or a filter gives it back;
hosts that were tried stand in lines of the same process before the recipient's. Pure; raises nothing.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from query.trace.tree import Trace

_LINE = re.compile(r"\S+ +\d+ \S+ \S+ postfix/(?:([\w.-]+)/)?([\w-]+)\[(\d+)\]: (.*)")
_MESSAGE_ID = re.compile(r"(\w+): (?:resent-)?message-id=<([^>]*)>")
_STATUS = re.compile(
    r"(\w+): to=<([^>]*)>, (?:orig_to=<[^>]*>, )?relay=(.*?), (?:conn_use=\d+, )?delay=\S+, delays=\S+, "
    r"dsn=([\d.]+), status=(\w+) \((.*)\)$"
)
_TRIED = re.compile(r"connect to (\S+?)\[([^\]]+)\]:(\d+): ")
_RELAY = re.compile(r"(\S+?)\[([^\]]+)\]:(\d+)$")
_ONWARD = re.compile(r"(?:queued|forwarded) as (\w+)")
_VERIFIED = re.compile(r"Verified TLS connection established to (\S+?)\[")


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One recipient line."""

    address: str
    transport: str  # by the name of the service in the log
    tried: tuple[str, ...]  # "127.0.1.1:25", in order; the last one took it if the status is sent
    relay: str
    status: str  # sent, deferred, bounced
    dsn: str
    text: str
    verified: bool = False  # by DANE, of the host that took it


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What Postfix did with one mail."""

    refused: str | None  # the reply, at RCPT or after the data
    ends: tuple[End, ...]
    discarded: bool  # by an access table: no queue file was made
    lines: tuple[str, ...]  # the evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All that was seen; keys are "group: case"."""

    truths: dict[str, Truth]
    traces: dict[str, dict[str, Trace]]  # mode → case → the answer
    connections: dict[str, int] = field(default_factory=dict)  # opened while a mode traced
    strangers: dict[str, int] = field(default_factory=dict)  # datagrams nobody listened to
    seconds: dict[str, float] = field(default_factory=dict)


class _Processes:
    """What each delivery process has said since its last mail: hosts that it tried."""

    def __init__(self) -> None:
        self._tried: dict[str, list[str]] = {}
        self._verified: dict[str, bool] = {}
        self._owner: dict[str, tuple[str, ...] | None] = {}
        self.lines: dict[str, list[str]] = {}

    def heard(self, pid: str, words: str, line: str) -> None:
        """A line without a queue id."""
        tried, verified = _TRIED.match(words), _VERIFIED.match(words)
        if not (tried or verified):
            return
        if self._owner.get(pid) is not None:
            self._fresh(pid, None)
        if tried:
            self._tried.setdefault(pid, []).append(f"{tried[2]}:{tried[3]}")
        self._verified[pid] = self._verified.get(pid, False) or bool(verified)
        self.lines.setdefault(pid, []).append(line)

    def _fresh(self, pid: str, owner: tuple[str, ...] | None) -> None:
        self._tried[pid], self._verified[pid], self._owner[pid] = [], False, owner

    def of(self, pid: str, owner: tuple[str, ...], relay: str) -> tuple[tuple[str, ...], bool]:
        """The hosts of a recipient line, and whether DANE was verified; ``owner``: its delivery."""
        if self._owner.get(pid) is None:
            self._owner[pid] = owner
        elif self._owner[pid] != owner:
            self._fresh(pid, owner)
        hosts = list(self._tried.get(pid, ()))
        last = _RELAY.match(relay)
        if last and f"{last[2]}:{last[3]}" not in hosts:
            hosts.append(f"{last[2]}:{last[3]}")
        return tuple(hosts), self._verified.get(pid, False)


def read(log: str) -> Callable[[str, str, str | None], Truth]:
    """Gives a function: Message-ID, recipient, the reply that refused it → what became of it."""
    mails: dict[str, str] = {}  # queue id → Message-ID
    ends: dict[str, list[End]] = {}
    lines: dict[str, list[str]] = {}
    processes = _Processes()
    for line in log.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        transport, program, pid, words = match.groups()
        if found := _MESSAGE_ID.match(words):
            mails[found[1]] = found[2]
        message = mails.get(words.partition(":")[0])
        if message is None:
            processes.heard(pid, words, line)
            continue
        if found := _STATUS.match(words):
            lines.setdefault(message, []).extend(processes.lines.pop(pid, []))
            queue_id, address, relay, dsn, status, text = found.groups()
            owner = (queue_id, text if relay == "none" else relay)
            tried, verified = processes.of(pid, owner, relay)
            onward = _ONWARD.search(text)
            if onward is None or mails.get(onward[1]) != message:
                end = End(
                    address=address, transport=transport or program, tried=tried, relay=relay,
                    status=status, dsn=dsn, text=text, verified=verified,
                )  # fmt: skip
                ends.setdefault(message, []).append(end)
        lines.setdefault(message, []).append(line)

    def truth(message: str, recipient: str, refused: str | None) -> Truth:
        mark = f"<{recipient}>: Recipient address triggers DISCARD action"
        return Truth(
            refused=refused,
            ends=tuple(ends.get(message, ())),
            discarded=mark in log,
            lines=tuple(lines.get(message, ())),
        )

    return truth
