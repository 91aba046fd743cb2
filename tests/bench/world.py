"""The made-up mail server of the benches: who writes to whom, from where, under which ids.

Everything is drawn from one seeded generator, so the same seed is the same world.
Names are example domains (RFC 2606), addresses are documentation ranges (RFC 5737,
RFC 3849). Queue ids are Postfix's long form (enable_long_queue_ids = yes).
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

    def __str__(self) -> str:
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

    def __init__(self, seed: int, end_us: int, *, strangers: int) -> None:
        self.random = random = Random(seed)
        self.end_us = end_us
        words = _WORDS.split()
        domains = [f"{a}-{b}.{end}" for a in words for b in words for end in ("example", "test")]
        random.shuffle(domains)
        self._strangers = Skewed(random, self._people(strangers, domains))
        self._mailboxes = Skewed(random, self._people(self.MAILBOXES, list(LOCAL_DOMAINS)))
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
        return Client(f"dsl-{number}.pool.example.net", f"203.0.113.{number}")

    def bad_client(self) -> Client:
        """A machine whose name does not resolve."""
        return Client("unknown", f"198.51.100.{self.random.randrange(1, 255)}")

    def queue_id(self, at_us: int) -> str:
        """A long queue id: seconds, microseconds, "z", inode; the inode makes it unique."""
        self._inode += self.random.randrange(1, 9)
        seconds, micros = divmod(at_us, SECOND)
        return f"{_base(seconds, 52, 6)}{_base(micros, 52, 4)}z{_base(self._inode, 51, 1)}"

    def message_id(self, sender: str) -> str:
        """A Message-ID without its brackets."""
        token = self.random.getrandbits(80)
        return f"{token:020x}@{sender.rpartition('@')[2] or 'mx1.example.com'}"

    def pid(self, daemon: str, begin_us: int, end_us: int) -> int:
        """The process of a daemon that does a piece of work."""
        if daemon not in self._processes:
            self._processes[daemon] = Processes(2_000 + 7_000 * len(self._processes))
        return self._processes[daemon].take(begin_us, end_us)
