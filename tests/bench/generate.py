"""A synthetic Postfix log of any length, and the truth about every recipient in it.

The same (messages, days, seed, start) give the same bytes. Lines have RFC 3164 stamps
in UTC and come in the order of their time; about 8 lines and 1,100 bytes a message.
The truth is one JSON object a line, one for each recipient row (``truth``).

    python -m tests.bench.generate LOG [--truth FILE] [--messages 100000] [--days 31]
                                   [--seed 1] [--start 2025-10-01] [--short-ids] [--hosts mx1,mx2]
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.refusals import nothing
from tests.bench.scene import Letter, Scene
from tests.bench.stories import STORIES
from tests.bench.world import DAY, SECOND, World

START: Final = "2025-10-01"
_QUIET: Final = 120 * SECOND  # the last letter comes this long before the log is cut
_NOTHING_EVERY: Final = 25


class Batch(NamedTuple):
    """A piece of the log, and the letters that began in it."""

    lines: list[bytes]
    letters: list[Letter]
    last_us: int


class _Stamps:
    """RFC 3164 stamps in UTC, one strftime a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, at_us: int) -> str:
        second = at_us // SECOND
        if second != self._second:
            self._second = second
            moment = time.gmtime(second)
            self._text = time.strftime("%b %e %H:%M:%S", moment)
        return self._text


def start_us(day: str) -> int:
    """The first microsecond (UTC) of a day such as 2025-10-01."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * SECOND


def moments(world: World, messages: int, days: int, begin_us: int) -> Iterator[int]:
    """When each message begins: rising, denser by day than by night."""
    span = days * DAY - _QUIET
    for number in range(messages):
        day, part = divmod((number + world.random.random()) / messages * days, 1)
        at = int(day) * DAY + world.moment(part)
        yield begin_us + at * span // (days * DAY)


def generate(
    messages: int,
    days: int = 31,
    *,
    seed: int = 1,
    start: str = START,
    short_ids: bool = False,
    hosts: tuple[str, ...] = ("mx1",),
) -> Iterator[Batch]:
    """The log in batches, in the order of time. Memory holds only what is still to come."""
    begin_us = start_us(start)
    # The longer a log, the more strangers are in it: nobody's memory may count on the same few.
    world = World(
        seed,
        begin_us + days * DAY,
        strangers=5_000 + messages // 2,
        short_ids=short_ids,
        hosts=hosts,
    )
    shares, stories = zip(*STORIES, strict=True)
    pending: list[tuple[int, int, str]] = []
    stamp, order, number = _Stamps(), 0, 0
    lines: list[bytes] = []
    letters: list[Letter] = []
    for count, at_us in enumerate(moments(world, messages, days, begin_us)):
        scenes = [(world.random.choices(stories, shares)[0], at_us)]
        if count % _NOTHING_EVERY == 0:
            scenes.append((nothing, at_us))
        for story, begins in scenes:
            scene = Scene(world, begins)
            story(scene)
            for when, text in scene.lines:
                order += 1
                heapq.heappush(pending, (when, order, text))
            for letter in scene.letters:
                number += 1
                letter.number = number
            letters += scene.letters
        while pending and pending[0][0] < at_us:
            when, _, text = heapq.heappop(pending)
            lines.append(f"{stamp(when)} {text}\n".encode())
        if len(lines) > 10_000:
            yield Batch(lines, letters, at_us)
            lines, letters = [], []
    for when, _, text in sorted(pending):
        lines.append(f"{stamp(when)} {text}\n".encode())
    last_us = max(pending)[0] if pending else begin_us
    yield Batch(lines, letters, last_us)


def truth(letter: Letter) -> Iterator[dict[str, object]]:
    """What a report of the whole log has to say, one object a row."""
    for number, row in enumerate(letter.rows):
        yield {
            "message": letter.number, "row": number, "time_us": letter.time_us, "host": letter.host,
            "queue_ids": letter.queue_ids, "sender": letter.sender, "client_ip": letter.client_ip,
            "login": letter.login, "message_id": letter.message_id, **row._asdict(),
        }  # fmt: skip


def write(
    log: Path,
    truth_file: Path | None,
    messages: int,
    *,
    days: int = 31,
    seed: int = 1,
    start: str = START,
    short_ids: bool = False,
    hosts: tuple[str, ...] = ("mx1",),
) -> int:
    """Write both files; the number of lines. The log's mtime is its last stamp, as if real."""
    count, last_us = 0, 0
    facts_file = truth_file or Path(os.devnull)
    with log.open("wb") as out, facts_file.open("w", encoding="utf-8") as facts:
        for batch in generate(
            messages, days, seed=seed, start=start, short_ids=short_ids, hosts=hosts
        ):
            out.write(b"".join(batch.lines))
            count += len(batch.lines)
            last_us = batch.last_us
            if truth_file:
                for letter in batch.letters:
                    facts.writelines(json.dumps(row) + "\n" for row in truth(letter))
    os.utime(log, ns=(last_us * 1000, last_us * 1000))
    return count


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="write a synthetic Postfix log")
    parser.add_argument("log", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=31)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", default=START, help="first day, UTC")
    parser.add_argument("--short-ids", action="store_true", help="ids that come again")
    parser.add_argument("--hosts", default="mx1", help="names, separated by commas")
    asked = parser.parse_args()
    lines = write(
        asked.log,
        asked.truth,
        asked.messages,
        days=asked.days,
        seed=asked.seed,
        start=asked.start,
        short_ids=asked.short_ids,
        hosts=tuple(asked.hosts.split(",")),
    )
    print(
        f"{lines} lines, {lines / asked.messages:.2f} a message, "
        f"{asked.log.stat().st_size / asked.messages:.0f} bytes a message"
    )


if __name__ == "__main__":
    main()
