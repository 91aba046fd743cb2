"""One address's first page and its counts: our journal, SQLite twice, and the two-step grep.

Addresses: the 20 hottest and a random lot of the others, each asked of every store in
turn. What is timed of ours is what the report itself calls (query.search), and the same
with its rows rendered; of SQLite, ready rows fetched.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median

from journal import address
from journal.reader import Reader
from query.match import Query
from query.rows import Row, make
from query.scope import Scope
from query.search import Found, counts, search
from query.when import Window
from tests.bench import sqlite_stores
from tests.bench.bench import Bench, disk_bytes, program, tool
from tests.bench.figures import Line, percentile
from tests.bench.process import ProgramError
from tests.bench.sqlite_stores import PAGE

_PROMISED_AT = 1_000_000  # messages; at fewer all stores are quick, and grep is, too
_HOTTEST = 20
_PASSES = 3
_GREPS = 5
_TWO_STEP = r"""
set -eu
export LC_ALL=C
grep -hF -e "$1" "$2" | sed -n 's/^.*\]: \([0-9A-Za-z]\{6,\}\): .*/\1/p' | sort -u > "$3.ids"
grep -hF -f "$3.ids" "$2" > "$3"
"""

Ask = Callable[[str], object]


def measure(bench: Bench) -> list[Line]:
    """All stores over the same addresses."""
    journal = bench.journal(bench.messages)
    for old in bench.work.glob("rival-*"):
        old.unlink()
    one = sqlite_stores.joined(bench.work / "rival-joined.sqlite")
    two = sqlite_stores.covering(bench.work / "rival-covering.sqlite")
    with Reader.open(journal) as reader:
        names = sqlite_stores.fill(reader, one, two)
        asked = _addresses(list(dict(names.most_common())), 300 if bench.quick else 1_000)
        _check(reader, one, two, asked)
        stores: dict[str, Ask] = {
            "ours": partial(records, reader),
            "ours_rendered": partial(rendered, reader),
            "joined": one.first_page,
            "covering": two.first_page,
        }
        passes = [_pass(stores, asked, Random(number)) for number in range(_PASSES + 1)][1:]
    figures = _figures(passes)
    figures["journal_bytes"] = disk_bytes(journal)
    figures["joined_bytes"] = one.path.stat().st_size
    figures["covering_bytes"] = two.path.stat().st_size
    figures["addresses"] = len(asked)
    figures["hottest_rows"] = names.most_common(1)[0][1]
    size = bench.messages
    lines = [_rival(figures, "joined", size=size), _rival(figures, "covering", size=size)]
    lines.append(_grep(bench, asked, figures))
    lines.append(_command(bench, journal, asked))
    return lines


def records(reader: Reader, name: str) -> tuple[list[Found], object]:
    """What ``posttrail report ADDRESS`` asks of the journal: the page, decoded, and counts."""
    query = Query(window=Window(), address=address.fold(name.encode("utf-8", "surrogateescape")))
    page = list(islice(search(reader, query, Scope.all()), PAGE))
    return page, counts(reader, query, Scope.all())


def rendered(reader: Reader, name: str) -> tuple[list[Row], object]:
    """The same, with its rows as the writers get them."""
    page, found = records(reader, name)
    return [make(each.message, each.number, each.row) for each in page], found


def _addresses(ranked: list[str], count: int) -> list[str]:
    rest = ranked[_HOTTEST:]
    return ranked[:_HOTTEST] + Random(1).sample(rest, min(count - _HOTTEST, len(rest)))


def _check(
    reader: Reader, one: sqlite_stores.Rival, two: sqlite_stores.Rival, asked: list[str]
) -> None:
    """All stores must find the same, and SQLite by its index."""
    for rival in (one, two):
        if "SCAN" in rival.plan(asked[0]):
            raise ProgramError(f"SQLite does not use its index: {rival.plan(asked[0])}")
    for name in asked[:: max(1, len(asked) // 50)]:
        ours = [(row.id, row.row) for row in rendered(reader, name)[0]]
        for rival in (one, two):
            theirs = [(cells[0], cells[1]) for cells in rival.first_page(name)[0]]
            # Rows of one instant may come in another order at the page's end.
            if len(ours) != len(theirs) or len(set(ours) ^ set(theirs)) > PAGE // 5:
                raise ProgramError(f"{rival.path.name} finds other rows of {name} than we do")


def _pass(stores: dict[str, Ask], asked: list[str], random: Random) -> dict[str, list[float]]:
    """Milliseconds of each store for each address; the order is shuffled."""
    spent: dict[str, list[float]] = {name: [] for name in stores}
    order = list(stores)
    for name in random.sample(asked, len(asked)):
        random.shuffle(order)
        for store in order:
            begin = time.perf_counter()
            stores[store](name)
            spent[store].append((time.perf_counter() - begin) * 1000)
    return spent


def _figures(passes: list[dict[str, list[float]]]) -> dict[str, float | int | str]:
    figures: dict[str, float | int | str] = {}
    for store in passes[0]:
        for label, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            figures[f"{store}_{label}_ms"] = median(
                percentile(each[store], part) for each in passes
            )
    return figures


def _rival(figures: dict[str, float | int | str], name: str, *, size: int) -> Line:
    value = {key: float(number) for key, number in figures.items()}
    ratio = value["ours_p99_ms"] / value[f"{name}_p99_ms"]
    promised = name == "joined"
    label = {"joined": "an index joined to rows", "covering": "one covering index"}[name]
    return Line(
        bench="report",
        work="report of one address, first page + counts, p50 / p99",
        against=f"SQLite with {label}",
        at_least="p99 ≤ 1.0x at 1M messages" if promised else "",
        measured=f"p99 {ratio:.2f}x ({value['ours_p50_ms']:.2f} / {value['ours_p99_ms']:.2f} ms; "
        f"with rows rendered {value['ours_rendered_p50_ms']:.2f} / "
        f"{value['ours_rendered_p99_ms']:.2f}; SQLite {value[f'{name}_p50_ms']:.2f} / "
        f"{value[f'{name}_p99_ms']:.2f}, {value[f'{name}_bytes'] / value['journal_bytes']:.1f}x "
        "our bytes)",
        holds=ratio <= 1.0 if promised and size >= _PROMISED_AT else None,
        figures={"ratio_p99": ratio, **figures},
    )


def two_step(bench: Bench, log: Path, name: str) -> float:
    """Seconds of the operator's way: the address's queue ids, then all of their lines."""
    out = bench.work / "grep.out"
    command = [tool("bash", "bash"), "-c", _TWO_STEP, "two-step", name, str(log), str(out)]
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - begin


def _grep(bench: Bench, asked: list[str], figures: dict[str, float | int | str]) -> Line:
    log = bench.log(bench.messages)
    some = asked[_HOTTEST : _HOTTEST + _GREPS]
    spent = median(two_step(bench, log, name) for name in some)
    ours = float(figures["ours_p50_ms"]) / 1000
    return Line(
        bench="report",
        work="the same",
        against="two-step grep of the plain log",
        at_least="≥ 500x faster at 1M messages",
        measured=f"{spent / ours:,.0f}x ({spent * 1000:.0f} ms)",
        holds=spent / ours >= 500 if bench.messages >= _PROMISED_AT else None,
        figures={"ratio": spent / ours, "grep_s": spent},
    )


def _command(bench: Bench, journal: Path, asked: list[str]) -> Line:
    """The whole command, interpreter start included."""
    spent = []
    for name in asked[_HOTTEST : _HOTTEST + 2 * _GREPS]:
        command: list[str | Path] = [
            program("posttrail"),
            "--journal",
            journal,
            "report",
            name,
            "--format",
            "json",
        ]
        begin = time.perf_counter()
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **bench.environment()},
        )
        spent.append(time.perf_counter() - begin)
    return Line(
        bench="report",
        work="posttrail report ADDRESS as a command, start to end",
        against="",
        at_least="",
        measured=f"{median(spent) * 1000:.0f} ms",
        holds=None,
        figures={"command_s": median(spent)},
    )
