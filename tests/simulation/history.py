"""One history: the stories of the benches with both feeds of them, and what is true at the end.

The truth is the stories', not ours: each story states the rows that must come of its
letters. What a source did not hear (the milter was down, the log lost a message's lines)
is taken out of the feeds and out of the truth alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Final, NamedTuple

from journal.events import Source
from milterd.spool import Body
from tests.bench.refusals import nothing
from tests.bench.scene import Letter, Row, Scene
from tests.bench.spoken import Spoken
from tests.bench.stories import STORIES
from tests.bench.world import SECOND, World
from tests.simulation.plan import BEGIN_US, Plan

MILTER: Final = 1 << Source.MILTER
LOG: Final = 1 << Source.LOG


class Told(NamedTuple):
    """What the journal has to say of one message; times and wordings apart."""

    queue_ids: tuple[str, ...]
    sender: str | None
    login: str | None
    client_ip: str | None
    message_id: str | None
    sources: int
    rows: tuple[Row, ...]


class Piece(NamedTuple):
    """A line of the log or a record of the spool, and when it reaches its file."""

    at_us: int
    order: int
    line: bytes  # with its newline; b"" where it is a record
    record: Body | None


class History:
    """All that happened under one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = Random(plan.seed)
        self.pieces: list[Piece] = []
        self.archive: list[bytes] = []  # lines for an import, in order
        self.truth: list[Told] = []
        self._said: list[Spoken] = []
        self._records: list[Spoken] = []
        self._torn: list[Spoken] = []
        archived: list[tuple[int, str]] = []
        lines: list[tuple[int, str]] = []
        for scene in self._scenes():
            begin_us = min((at for at, _ in scene.lines), default=scene.at)
            heard = self._heard(scene)
            mute = plan.mute[0] <= begin_us < plan.mute[1]
            if begin_us < plan.archived_until_us:
                archived += [] if mute else scene.lines
            elif not mute:
                lines += scene.lines
            self.truth += _truth(scene.letters, heard, mute=mute)
        self.archive = [self._stamped(at, text) for at, text in self._shaken(archived)]
        self._feed(lines)

    def _scenes(self) -> Iterator[Scene]:
        """The stories, every kind about as often."""
        plan, random = self.plan, self.random
        world = World(
            plan.seed,
            BEGIN_US + plan.span_us,
            strangers=plan.strangers,
            mailboxes=plan.mailboxes,
            short_ids=plan.short_ids,
            port_logging=plan.port_logging,
        )
        weights = [share**0.3 for share, _ in STORIES]
        times = sorted(random.random() for _ in range(plan.messages))
        for part in times:
            story = random.choices(STORIES, weights)[0][1] if random.random() < 0.95 else nothing
            scene = Scene(world, BEGIN_US + int(part * max(0, plan.span_us - 120 * SECOND)))
            story(scene)
            yield scene

    def _heard(self, scene: Scene) -> set[int]:
        """Which transactions the milter records (by identity): not while it is down, nor torn."""
        heard = set()
        for letter in scene.letters:
            said = letter.said
            if said is None or id(said) in heard or any(said is one for one in self._said):
                continue
            self._said.append(said)
            deaf = self.plan.deaf[0] <= said.at_us < self.plan.deaf[1]
            if not deaf and self.random.random() >= self.plan.torn_records:
                heard.add(id(said))
                self._records.append(said)
            elif not deaf:
                self._torn.append(said)
        return heard

    # -- feeds ------------------------------------------------------------------------

    def _feed(self, lines: list[tuple[int, str]]) -> None:
        """Both feeds as one list in the order in which they reach their files."""
        order = 0
        latest = 0
        for at_us, text in self._shaken(lines):
            order += 1
            latest = max(latest, at_us + self._lag(at_us, 0))
            self.pieces.append(Piece(latest, order, self._stamped(at_us, text), None))
        latest = 0
        for said in sorted([*self._records, *self._torn], key=lambda one: one.end_us):
            order += 1
            latest = max(latest, said.end_us + self._lag(said.end_us, 1))
            body = self._shifted(said)
            if any(said is one for one in self._torn):
                body = {"torn": body}
            self.pieces.append(Piece(latest, order, b"", body))
        self.pieces.sort(key=lambda piece: piece[:2])

    def _lag(self, at_us: int, feed: int) -> int:
        plan = self.plan
        return plan.lag_us[feed] if plan.lag_from_us <= at_us < plan.lag_until_us else 0

    def _shaken(self, lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
        """Lines as syslog writes them: a process's own in order, others may overtake them."""
        keyed: list[tuple[int, int, int, str]] = []
        last: dict[str, int] = {}
        for order, (at_us, text) in enumerate(sorted(lines, key=lambda line: line[0])):
            tag = text.split(": ", 1)[0]
            place = max(last.get(tag, 0), at_us + int(self.random.random() * self.plan.jitter_us))
            last[tag] = place
            keyed.append((place, order, at_us, text))
        return [(at_us, text) for _, _, at_us, text in sorted(keyed)]

    def clock(self, at_us: int) -> int:
        """What the machine's clock shows."""
        return at_us + sum(by for when, by in self.plan.steps if when <= at_us)

    def _stamped(self, at_us: int, text: str) -> bytes:
        moment = datetime.fromtimestamp(self.clock(at_us) / SECOND, UTC)
        if self.plan.rfc3339:
            stamp = moment.isoformat(timespec="microseconds")
        else:
            stamp = moment.strftime("%b %e %H:%M:%S")
        return f"{stamp} {text}\n".encode()

    def _shifted(self, said: Spoken) -> Body:
        body = said.body()
        body["at"], body["end"] = self.clock(said.at_us), self.clock(said.end_us)
        return body


def _truth(letters: list[Letter], heard: set[int], *, mute: bool) -> Iterator[Told]:
    """The messages that come of one scene."""
    done: set[int] = set()
    for letter in letters:
        said = letter.said if letter.said is not None and id(letter.said) in heard else None
        if said is not None and id(said) in done:
            continue
        if said is None:
            if not mute:
                yield _by_log(letter)
            continue
        done.add(id(said))
        same = [one for one in letters if one.said is said]
        if mute:
            yield _by_milter(letter, said)
        else:
            yield from _by_both(letter, said, same)


def _by_log(letter: Letter) -> Told:
    return Told(
        tuple(letter.queue_ids),
        letter.sender,
        letter.login,
        letter.client_ip,
        letter.message_id,
        LOG,
        _sorted(letter.rows),
    )


def _by_milter(letter: Letter, said: Spoken) -> Told:
    """Only the milter spoke: who was refused, and who waits."""
    rows = []
    for rcpt in said.rcpts:
        if rcpt.reason:
            rows.append(Row(rcpt.address, None, "rejected", rcpt.reason))
        elif said.stage == "eom":
            rows.append(Row(rcpt.address, rcpt.address, "in_progress", "queued"))
    return Told(
        (said.queue_id,) if said.queue_id else (),
        said.sender,
        said.login or None,
        None if said.local else said.client.ip,
        (said.message_id or None) if said.stage == "eom" else None,
        MILTER,
        _sorted(rows),
    )


def _by_both(letter: Letter, said: Spoken, same: list[Letter]) -> Iterator[Told]:
    if letter.queue_ids and not said.queue_id:
        # Broken off before a second RCPT: nothing ties the milter's transaction to the queue
        # file that smtpd had opened. Both are without rows, so nobody is told a wrong fate.
        yield _by_log(letter)
        yield _by_milter(letter, said)
        return
    rows = letter.whole if letter.whole is not None else [row for one in same for row in one.rows]
    yield _by_log(letter)._replace(
        sender=said.sender, login=letter.login, sources=LOG | MILTER, rows=_sorted(rows)
    )


def _sorted(rows: list[Row]) -> tuple[Row, ...]:
    return tuple(sorted(rows, key=repr))
