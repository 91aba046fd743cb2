"""The made-up mail server of the benches: who writes to whom, from where, under which ids.

Everything is drawn from one seeded generator, so the same seed is the same world.
Names are example domains (RFC 2606), addresses are documentation ranges (RFC 5737,
RFC 3849). Queue ids are Postfix's long form (enable_long_queue_ids = yes), or the short
one, where an id comes again once its file is gone.
"""

from __future__ import annotations

import heapq
from bisect import bisect
from itertools import accumulate
from random import Random
from typing import Final, NamedTuple

LOCAL_DOMAINS: Final = ("example.com", "example.org", "lists.example.net")
SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND
SILENT_S: Final = 61
"""bounce(8) and local(8) do not say that they open a queue file: what follows a file of the
same id more closely cannot be told apart, so it does not happen here."""
REUSE_S: Final = 10
"""A short id comes again no sooner: real ones do after whole seconds, yet once in a million."""
ABANDONED_S: Final = 3_700
"""The same for a file that ended without a word."""

BASE52: Final = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
_NAMES: Final = (
    "anna ben carla david emma felix greta hugo ines jonas klara lukas marie nils olivia paul "
    "quinn rosa simon tara ulla viktor wanda xenia yara zeno billing contact info newsletter "
    "noreply office orders press sales service shop support team updates"
)
_WORDS: Final = (
    "amber birch cedar delta ember fjord grove harbor iris juniper krill lumen maple nova "
    "ocean pine quartz river slate tulip umbra vale willow xylo yarrow zephyr"
)
_HOUR_WEIGHTS: Final = (
    1.0, 0.8, 0.7, 0.7, 0.8, 1.2, 2.0, 3.5, 6.0, 7.5, 8.0, 7.5,
    6.5, 7.0, 7.5, 7.0, 6.5, 5.5, 4.0, 3.0, 2.5, 2.0, 1.6, 1.3,
)  # fmt: skip


class Client(NamedTuple):
    """A host that connects to us, or that we connect to."""

    name: str
    ip: str
    port: int = 0
    shown: bool = False  # smtpd_client_port_logging = yes

    def __str__(self) -> str:
        return f"{self.bare}:{self.port}" if self.shown else self.bare

    @property
    def bare(self) -> str:
        """Without the port: lines of milters never have it."""
        return f"{self.name}[{self.ip}]"


class Skewed:
    """Draws names so that a few are hot: the k-th has the weight 1/(k+3)^0.9."""

    def __init__(self, random: Random, names: list[str]) -> None:
        self._random = random
        self._names = names
        self._sums = list(accumulate((k + 3) ** -0.9 for k in range(1, len(names) + 1)))

    def __call__(self) -> str:
        return self._names[bisect(self._sums, self._random.random() * self._sums[-1])]


class Processes:
    """The processes of one daemon: one is busy with one session at a time."""

    def __init__(self, first_pid: int) -> None:
        self._next = first_pid
        self._free: list[tuple[int, int]] = []  # (free from, pid)

    def take(self, begin_us: int, end_us: int) -> int:
        """A process that is idle at ``begin_us``, busy until ``end_us``."""
        if self._free and self._free[0][0] < begin_us:
            return heapq.heapreplace(self._free, (end_us, self._free[0][1]))[1]
        self._next += 1
        heapq.heappush(self._free, (end_us, self._next))
        return self._next


def _base(number: int, base: int, width: int) -> str:
    digits = ""
    while number or len(digits) < width:
        number, digit = divmod(number, base)
        digits = BASE52[digit] + digits
    return digits


class World:
    """Every draw that a story makes. ``end_us`` is where the log is cut."""

    MAILBOXES: Final = 4_000

    def __init__(
        self,
        seed: int,
        end_us: int,
        *,
        strangers: int,
        mailboxes: int = MAILBOXES,
        short_ids: bool = False,
        hosts: tuple[str, ...] = ("mx1",),
        port_logging: bool = False,
    ) -> None:
        self.random = random = Random(seed)
        self.end_us = end_us
        self.hosts = hosts
        self._short_ids = short_ids
        self._port_logging = port_logging
        self._free: list[tuple[int, int, str, str]] = []  # gone at, silent for, host, id
        words = _WORDS.split()
        domains = [f"{a}-{b}.{end}" for a in words for b in words for end in ("example", "test")]
        random.shuffle(domains)
        self._strangers = Skewed(random, self._people(strangers, domains))
        self._mailboxes = Skewed(random, self._people(mailboxes, list(LOCAL_DOMAINS)))
        self._processes: dict[str, Processes] = {}
        self._inode = 100_000
        hours = list(accumulate(_HOUR_WEIGHTS))
        self._hours = [0.0] + [total / hours[-1] for total in hours]

    def _people(self, count: int, domains: list[str]) -> list[str]:
        pick, names, words = self.random.randrange, _NAMES.split(), _WORDS.split()
        people: dict[str, None] = {}
        while len(people) < count:
            name = f"{names[pick(len(names))]}.{words[pick(len(words))]}{pick(100)}"
            people[f"{name}@{domains[int(len(domains) * self.random.random() ** 2)]}"] = None
        return list(people)

    def moment(self, part: float) -> int:
        """Microseconds into a day after which ``part`` of its mail has come; rises with it."""
        hour = min(bisect(self._hours, part) - 1, 23)
        low, high = self._hours[hour], self._hours[hour + 1]
        return int((hour + (part - low) / (high - low)) * 3600 * SECOND)

    def mailbox(self) -> str:
        """An address that is ours."""
        return self._mailboxes()

    def stranger(self) -> str:
        """An address that is not ours."""
        return self._strangers()

    def client_of(self, address: str) -> Client:
        """The host that sends and takes mail for a stranger's domain."""
        domain = address.rpartition("@")[2]
        number = sum(map(ord, domain)) * 7919 + len(domain)
        if number % 10 == 0:
            return Client(f"mx.{domain}", f"2001:db8:{number % 9973:x}::25")
        net = ("192.0.2", "198.51.100", "203.0.113")[number % 3]
        return Client(f"mx.{domain}", f"{net}.{number % 253 + 1}")

    def user_client(self) -> Client:
        """A user's own machine."""
        number = self.random.randrange(1, 250)
        return self.calling(Client(f"dsl-{number}.pool.example.net", f"203.0.113.{number}"))

    def bad_client(self) -> Client:
        """A machine whose name does not resolve."""
        return self.calling(Client("unknown", f"198.51.100.{self.random.randrange(1, 255)}"))

    def calling(self, client: Client) -> Client:
        """A host that connects to us, by some port of its own."""
        port = self.random.randrange(20_000, 60_000)
        return client._replace(port=port, shown=self._port_logging)

    def queue_id(self, at_us: int, host: str = "mx1", *, silent: bool = False) -> str:
        """A long queue id: seconds, microseconds, "z", inode; the inode makes it unique.

        Or a short one (microseconds and inode), often one whose file has gone: the
        real ones come again about once in a million, too seldom for a test. ``silent``:
        no line says that the file is opened.
        """
        seconds, micros = divmod(at_us, SECOND)
        if not self._short_ids:
            self._inode += self.random.randrange(1, 9)
            return f"{_base(seconds, 52, 6)}{_base(micros, 52, 4)}z{_base(self._inode, 51, 1)}"
        for number, (gone_us, quiet_us, where, queue_id) in enumerate(self._free[:20]):
            free_us = gone_us + (quiet_us if silent else REUSE_S * SECOND)
            if free_us <= at_us and where == host and self.random.random() < 0.5:
                del self._free[number]
                return queue_id
        self._inode += self.random.randrange(1, 9)
        return f"{micros:05X}{self._inode:X}"

    def free(self, queue_id: str, at_us: int, host: str = "mx1", *, abandoned: bool) -> None:
        """A queue file is gone: a short id may come again."""
        if self._short_ids:
            quiet_us = (ABANDONED_S if abandoned else SILENT_S) * SECOND
            self._free.append((at_us, quiet_us, host, queue_id))
            if self.random.random() < 0.5:  # some soon, some late
                self._free.insert(0, self._free.pop())

    def message_id(self, sender: str) -> str:
        """A Message-ID without its brackets."""
        token = self.random.getrandbits(80)
        return f"{token:020x}@{sender.rpartition('@')[2] or 'mx1.example.com'}"

    def pid(self, daemon: str, begin_us: int, end_us: int) -> int:
        """The process of a daemon that does a piece of work."""
        if daemon not in self._processes:
            self._processes[daemon] = Processes(2_000 + 7_000 * len(self._processes))
        return self._processes[daemon].take(begin_us, end_us)
