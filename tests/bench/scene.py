"""One story being told: its log lines with their times, and the truth they leave behind.

The line shapes are Postfix 3.7's (smtpd, cleanup, qmgr, smtp, lmtp, local, bounce, ...)
and Dovecot 2.3's, without the RFC 3164 stamp, which ``generate`` puts in front.
"""

from __future__ import annotations

from base64 import b64encode
from typing import NamedTuple

from tests.bench.spoken import Spoken
from tests.bench.world import LOCAL_DOMAINS, SECOND, Client, World

LMTP_RELAY = "mx1.example.com[private/dovecot-lmtp]"
AMAVIS_RELAY = "127.0.0.1[127.0.0.1]:10024"
TLS = "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"


class Row(NamedTuple):
    """What is true of one recipient of one letter at the end of the log."""

    recipient: str | None  # None: the log names nobody
    final_recipient: str | None  # None: refused
    status: str
    reason: str
    folder: str | None = None  # only Dovecot's own line tells it
    attempts: int = 0


class Letter:
    """One SMTP transaction (or notice, or refusal) and its rows.

    ``rows`` are what the log alone tells; ``whole`` what the log and the milter tell
    together, where that is more. Letters with one ``said`` are one message to who heard it.
    """

    __slots__ = (
        "client_ip", "host", "login", "message_id", "number", "queue_ids", "rows", "said",
        "sender", "size", "time_us", "whole",
    )  # fmt: skip

    def __init__(
        self,
        time_us: int,
        sender: str | None,
        client_ip: str | None,
        login: str | None,
        host: str = "mx1",
    ) -> None:
        self.number = 0
        self.host = host
        self.said: Spoken | None = None
        self.whole: list[Row] | None = None
        self.time_us = time_us
        self.sender = sender
        self.client_ip = client_ip
        self.login = login
        self.size = 0
        self.message_id: str | None = None
        self.queue_ids: list[str] = []
        self.rows: list[Row] = []


class Scene:
    """Collects ``lines`` [(time, text)] and ``letters`` while its clock ``at`` runs."""

    __slots__ = ("_chance", "at", "host", "letters", "lines", "world")

    def __init__(self, world: World, at_us: int) -> None:
        self.world = world
        self.at = at_us
        self.host = world.hosts[0] if len(world.hosts) == 1 else world.random.choice(world.hosts)
        self.lines: list[tuple[int, str]] = []
        self.letters: list[Letter] = []
        self._chance = world.random.random

    def say(self, text: str) -> None:
        """Log a line, a few milliseconds after the one before."""
        self.at += int(1_000 + 30_000 * self._chance())
        self.lines.append((self.at, text))

    def postfix(self, daemon: str, pid: int, text: str) -> None:
        """Log a line of a Postfix daemon."""
        self.say(f"{self.host} postfix/{daemon}[{pid}]: {text}")

    def chance(self, part: float) -> bool:
        """True in ``part`` of all cases."""
        return self._chance() < part

    def pid(self, daemon: str, busy_s: int = 5) -> int:
        """A process for the next ``busy_s`` seconds."""
        return self.world.pid(daemon, self.at, self.at + busy_s * SECOND)

    def letter(
        self, sender: str | None, client_ip: str | None = None, login: str | None = None
    ) -> Letter:
        """Begin a letter now."""
        letter = Letter(self.at, sender, client_ip, login, self.host)
        self.letters.append(letter)
        return letter

    # -- arriving ---------------------------------------------------------------------------

    def connect(self, daemon: str, client: Client, *, tls: bool) -> int:
        """A client comes in; the pid of its smtpd."""
        pid = self.pid(daemon, 20)
        self.postfix(daemon, pid, f"connect from {client}")
        if tls:
            self.postfix(daemon, pid, f"Anonymous TLS connection established from {client}: {TLS}")
        return pid

    def disconnect(self, daemon: str, pid: int, client: Client, *, refused: int = 0) -> None:
        """The client leaves."""
        counts = (
            f"rcpt=0/{refused} quit=1 commands=3/{3 + refused}"
            if refused
            else ("rcpt=1 data=1 quit=1 commands=5")
        )
        self.postfix(daemon, pid, f"disconnect from {client} ehlo=1 mail=1 {counts}")

    def mail(self, letter: Letter, client: Client) -> Spoken:
        """The client says MAIL, and the milter hears it."""
        said = Spoken(self.at, letter.sender or "", client, login=letter.login or "")
        letter.said = said
        return said

    def file(self, *, silent: bool = False) -> str:
        """The id of a queue file that is made now; ``silent``: no line says so."""
        return self.world.queue_id(self.at, self.host, silent=silent)

    def lose(self, queue_id: str, *, abandoned: bool = False) -> None:
        """A queue file is gone, ``abandoned`` without any word."""
        self.world.free(queue_id, self.at, self.host, abandoned=abandoned)

    def open_file(self, letter: Letter, daemon: str, pid: int, client: Client) -> str:
        """smtpd opens a queue file; its id."""
        queue_id = self.file()
        sasl = f", sasl_method=PLAIN, sasl_username={letter.login}" if letter.login else ""
        self.postfix(daemon, pid, f"{queue_id}: client={client}{sasl}")
        if not letter.queue_ids:
            letter.time_us = self.at
        letter.queue_ids.append(queue_id)
        return queue_id

    def cleanup(self, letter: Letter, queue_id: str) -> int:
        """cleanup sees the header; its pid."""
        letter.message_id = letter.message_id or self.world.message_id(letter.sender or "")
        pid = self.pid("cleanup")
        self.postfix("cleanup", pid, f"{queue_id}: message-id=<{letter.message_id}>")
        return pid

    def activate(self, letter: Letter, queue_id: str, nrcpt: int) -> None:
        """qmgr takes the file into the active queue."""
        letter.size = letter.size or int(1_200 / (1.0001 - self._chance()) ** 0.8)
        self.postfix(
            "qmgr",
            1187,
            f"{queue_id}: from=<{letter.sender}>, size={letter.size}, nrcpt={nrcpt} (queue active)",
        )

    def removed(self, queue_id: str) -> None:
        """qmgr is done with the file."""
        self.postfix("qmgr", 1187, f"{queue_id}: removed")
        self.lose(queue_id)

    # -- leaving ----------------------------------------------------------------------------

    def attempt(
        self,
        daemon: str,
        queue_id: str,
        address: str,
        *,
        relay: str,
        dsn: str,
        outcome: str,
        text: str,
        original: str | None = None,
        waited_s: int = 0,
        pid: int = 0,
    ) -> None:
        """One delivery attempt for one recipient."""
        spent = self.world.random.randrange(20, 1900) / 1000
        self.at += int(spent * SECOND)
        via = f"orig_to=<{original}>, " if original else ""
        delay = f"{waited_s + spent:.2f}" if waited_s < 100 else f"{waited_s}"
        self.postfix(
            daemon,
            pid or self.pid(daemon),
            f"{queue_id}: to=<{address}>, {via}relay={relay}, delay={delay}, "
            f"delays={waited_s}/0.01/{spent / 3:.2f}/{spent / 2:.2f}, dsn={dsn}, "
            f"status={outcome} ({text})",
        )

    def store(
        self,
        letter: Letter,
        queue_id: str,
        address: str,
        original: str | None = None,
        attempts: int = 1,
    ) -> None:
        """Dovecot takes it by LMTP and files it; its line comes before or after Postfix's."""
        token = self.world.random.getrandbits(132).to_bytes(17, "big")
        session = b64encode(token).decode()[:22]  # as Dovecot makes them: base64, no padding
        junk, late = self.chance(0.06), self.chance(0.2)
        pid = self.pid("dovecot")
        action, folder = ("fileinto action: ", "Junk") if junk else ("", "INBOX")
        filed = (
            f"{self.host} dovecot: lmtp({address})<{pid}><{session}>: sieve: "
            f"msgid=<{letter.message_id}>: {action}stored mail into mailbox '{folder}'"
        )
        if not late:
            self.say(filed)
        self.attempt(
            "lmtp",
            queue_id,
            address,
            relay=LMTP_RELAY,
            dsn="2.0.0",
            outcome="sent",
            original=original,
            text=f"250 2.0.0 <{address}> {session} Saved",
        )
        if late:
            self.say(filed)
        status, reason = ("filtered", "junk") if junk else ("delivered", "stored")
        letter.rows.append(Row(original or address, address, status, reason, folder, attempts))

    def relay_out(
        self,
        letter: Letter,
        queue_id: str,
        address: str,
        *,
        waited_s: int = 0,
        attempts: int = 1,
        original: str | None = None,
    ) -> None:
        """The next host takes it."""
        server = self.world.client_of(address)
        pid = self.pid("smtp")
        if self.chance(0.25):
            self.postfix("smtp", pid, f"Untrusted TLS connection established to {server}:25: {TLS}")
        remote_id = f"{self.world.random.getrandbits(44):011X}"
        self.attempt(
            "smtp",
            queue_id,
            address,
            relay=f"{server}:25",
            dsn="2.0.0",
            outcome="sent",
            original=original,
            text=f"250 2.0.0 Ok: queued as {remote_id}",
            waited_s=waited_s,
            pid=pid,
        )
        letter.rows.append(
            Row(original or address, address, "delivered", "relayed", None, attempts)
        )

    def notice(self, letter: Letter, queue_id: str, kind: str = "non-delivery") -> None:
        """A notice goes back to the sender, as a letter of its own."""
        if not letter.sender:
            return
        back = self.letter("")
        back_id = self.file(silent=True)
        back.queue_ids.append(back_id)
        self.cleanup(back, back_id)
        back.time_us = self.at
        pid = self.pid("bounce")
        self.postfix("bounce", pid, f"{queue_id}: sender {kind} notification: {back_id}")
        self.activate(back, back_id, 1)
        if kind == "non-delivery":
            self.removed(queue_id)
        if letter.sender.endswith(LOCAL_DOMAINS):
            self.store(back, back_id, letter.sender)
        else:
            self.relay_out(back, back_id, letter.sender)
        self.removed(back_id)
