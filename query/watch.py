"""``posttrail watch``: rows as they appear and change, until Ctrl-C; one message until it settles.

Exit codes: of an address 0 where something came before ``--for`` was over, else 1; of a message 0
when every row is delivered or filtered, 2 when one is error or rejected, 1 when some still wait at
the end of ``--for``, or nothing is known of it; 130 after Ctrl-C; and those of ``errors``.
"""

import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from journal import keys
from posttrail import process
from posttrail.cli import Globals
from query import export, report, source, text_table, when
from query.answers import Answers, Filters
from query.changes import WAITING, Gone, News
from query.filters import NAMES, parse
from query.rows import Row, document

FORMATS: Final = ("table", "json")
REMEMBERED: Final = 20_000
"""Rows that are not shown again while they stay the same."""
FAILED: Final = frozenset({"error", "rejected"})
FOREVER_S: Final = 1e9

Listen = Callable[[Answers, Filters, str | None, Callable[[], float]], Iterator[News | None]]


@click.command(
    "watch", params=[each for each in report.report.params if each.name in set(NAMES) - {"address"}]
)
@click.argument("name", required=False, metavar="[ADDRESS|ID]")
@click.option("--for", "span", metavar="DURATION", help="End after so long: 90s, 30m, 2h.")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", help="How rows come out."
)
@click.pass_obj
def watch(
    options: Globals, /, *, name: str | None, span: str | None, form: str, **filters: str | None
) -> int:
    """Rows of mail to or from ADDRESS as they appear and change; of the message ID, to its end."""
    is_address = name is not None and "@" in name
    asked = {**filters, "address": name if is_address else None}
    parse(asked, now_us=time.time_ns() // 1000)  # what means nothing is said before all else
    until = time.monotonic() + (FOREVER_S if span is None else when.duration(span) / 1e6)

    def work(answers: Answers, listen: Listen) -> int:
        viewer = Viewer(form, until)
        if name is None or is_address:
            return viewer.follow(listen(answers, asked, None, viewer.left_s))
        return _one(answers, viewer, listen, asked, name)

    path = source.socket_of(options)
    return _remote(path, work) if path is not None else _local(options, work)


def _one(answers: Answers, viewer: "Viewer", listen: Listen, asked: Filters, name: str) -> int:
    found = answers.message(name)
    if not found:
        text_table.say(f"nothing found under {name}")
        return 1
    news = listen(answers, asked, found[0].id, viewer.left_s)
    next(news)  # from here on nothing is missed: now for what there is
    shown = answers.message(found[0].id)
    return viewer.settle(shown[0].rows if shown else [], news)


def _local(options: Globals, work: Callable[[Answers, Listen], int]) -> int:
    from query import listen, local
    from query.scope import Scope

    scope = Scope.all(delimiters=options.config.query.delimiters)

    def hear(
        answers: Answers, asked: Filters, message: str | None, _left_s: Callable[[], float]
    ) -> Iterator[News | None]:
        assert isinstance(answers, local.Within)
        query = parse(asked, now_us=time.time_ns() // 1000, delimiters=scope.delimiters)
        id = None if message is None else keys.parse_id(message)
        return listen.of_journal(answers.reader, query, scope, message_id=id)

    return local.read(options, lambda answers: work(answers, hear))


def _remote(path: Path, work: Callable[[Answers, Listen], int]) -> int:
    from query import listen, remote

    def hear(
        answers: Answers, asked: Filters, message: str | None, left_s: Callable[[], float]
    ) -> Iterator[News | None]:
        assert isinstance(answers, remote.Remote)
        return listen.of_service(answers, asked, message=message, left_s=left_s)

    try:
        return remote.read(path, lambda answers: work(answers, hear))
    except KeyboardInterrupt:  # here already: click would say so by an empty line
        return process.EX_INTERRUPTED


class Viewer:
    """Shows each row once as long as it stays the same."""

    def __init__(self, form: str, until: float) -> None:
        self._until = until
        self._table = text_table.Running(sys.stdout) if form == "table" else None
        self._rows: OrderedDict[tuple[str, int], Row] = OrderedDict()

    def left_s(self) -> float:
        """How long it still watches, in seconds."""
        return self._until - time.monotonic()

    def follow(self, news: Iterator[News | None]) -> int:
        """Show what comes, to the end of the time."""
        count = 0
        for each in news:
            if each is not None:
                count += self.show(each)
            if self.left_s() <= 0:
                break
        return 0 if count else 1

    def settle(self, rows: list[Row], news: Iterator[News | None]) -> int:
        """Show the rows of one message until each is settled."""
        for row in rows:
            self.show(row)
        while not self._is_settled() and self.left_s() > 0:
            each = next(news)
            if each is not None:
                self.show(each)
        statuses = {row.status for row in self._rows.values()}
        if not statuses or statuses & WAITING:
            return 1
        return 2 if statuses & FAILED else 0

    def _is_settled(self) -> bool:
        return bool(self._rows) and not any(row.status in WAITING for row in self._rows.values())

    def show(self, each: News) -> bool:
        """Show a row that is new or not what it was; whether it was shown."""
        key = each.id, each.row
        before = self._rows.pop(key, None)
        if isinstance(each, Row):
            self._rows[key] = each
            if len(self._rows) > REMEMBERED:
                self._rows.popitem(last=False)
            if each == before:
                return False
        if self._table is None:
            told = document(each) if isinstance(each, Row) else {**_told(each), "gone": True}
            sys.stdout.write(export.json_line(told, sys.stdout))
        elif isinstance(each, Row):
            self._table.write(each)
        elif before is not None:
            self._table.write(before, gone=True)
        sys.stdout.flush()
        return True


def _told(gone: Gone) -> dict[str, object]:
    return {"id": gone.id, "row": gone.row}
