"""What the folders of the corpora are scored with: one comparison, and the ways to get ours.

A folder's module (its name with ``_`` for ``-``) has ``checks(folder) -> Iterator[Check]``:
what the folder's source states, beside what posttrail makes of the same lines. Its docstring
is what docs/score.md says of the folder.
"""

import gzip
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from journal import days
from journal.events import Event, Kind, named
from journal.locality import Locality
from journal.reader import Reader
from journal.writer import Writer
from milterd.lines import formats, programs
from milterd.lines.syslog import Line, LineParser, zone
from milterd.track.bulk import Import, Options
from milterd.track.compressed import LogFile, open_raw
from milterd.track.correlate import Correlator
from query.filters import parse
from query.local import Local
from query.rows import document
from query.scope import Scope

Row = dict[str, Any]

REFERENCE_US = 1_795_458_600_000_000  # 2026-11-23T18:30:00Z: stamps without a year are before it


class Check(NamedTuple):
    """One thing that a source states, and what we say."""

    case: str  # file, line or case of the source
    what: str  # status, reason, recipient, ... : the column of the score
    expected: object
    got: object
    argued: str = ""  # why ours is right where they differ; such a check is counted apart

    @property
    def right(self) -> bool:
        """Whether both say the same."""
        return self.expected == self.got


# -- rows -----------------------------------------------------------------------------------


def rows(
    logs: Sequence[Path],
    *,
    year: int | None = None,
    domains: Sequence[str] = (),
    mta: str = "auto",
    filters: Mapping[str, str] | None = None,
    apart: bool = False,
) -> list[Row]:
    """The report, oldest row first, of logs imported into a journal of their own.

    ``domains`` are ours (``--local-domain``); ``year`` is that of the first line; ``filters``
    are options of the report; ``apart`` imports one log after the other, in that order.
    """
    wanted: dict[str, str | None] = defaultdict(lambda: None, filters or {})
    query = parse(wanted, now_us=REFERENCE_US)
    with tempfile.TemporaryDirectory(prefix="posttrail-score-") as directory:
        journal = Path(directory) / "journal"
        for some in [[log] for log in logs] if apart else [logs]:
            _import(some, journal, Options(timezone="UTC", year=year, mta=mta), domains)
        reader = Reader.open(journal)
        try:
            local = Local(reader, journal_key=days.read_key(journal))
            found: list[Row] = [dict(document(row)) for row in local.rows(query, Scope.all())]
        finally:
            reader.close()
    return found[::-1]


def rows_of_lines(lines: Sequence[str], **options: Any) -> list[Row]:
    """The same for lines that are in no file."""
    with tempfile.TemporaryDirectory(prefix="posttrail-score-") as directory:
        log = Path(directory) / "mail.log"
        log.write_bytes(b"".join(line.encode("utf-8", "surrogateescape") + b"\n" for line in lines))
        return rows([log], **options)


def _import(logs: Sequence[Path], journal: Path, wanted: Options, domains: Sequence[str]) -> None:
    locality = Locality(local_domains=domains, inside_networks=())
    with ExitStack() as stack:
        raws = [stack.enter_context(open_raw(str(log))) for log in logs]
        files = [LogFile(str(log), raw) for log, raw in zip(logs, raws, strict=True)]
        writer = stack.enter_context(Writer.open(journal))
        correlator = Correlator(writer, locality=locality)
        for _ in Import(files, correlator, writer, wanted).steps():
            pass


# -- lines ----------------------------------------------------------------------------------


def lines_of(path: Path) -> list[bytes]:
    """The lines of a log, without their newlines."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return data.removesuffix(b"\n").split(b"\n")


def with_header(program: str, text: str) -> bytes:
    """A whole line of a program, for sources that give the text behind the tag alone."""
    return f"Nov 23 18:30:00 mx {program}[100]: {text}".encode("utf-8", "surrogateescape")


def split(raw: bytes) -> Line | None:
    """One line of a syslog file, split."""
    return LineParser(timezone=zone("UTC"), reference_us=REFERENCE_US).parse(raw)


def told(raw: bytes) -> list[dict[str, str]] | str:
    """What a line tells: its events as fields by name, with ``kind`` and ``queue_id``.

    "nothing" and "unknown" where it tells none. A sender that was not named is left out.
    """
    line = split(raw)
    return "unknown" if line is None else told_of(programs.parse(line))


def told_of(parsed: programs.Parsed) -> list[dict[str, str]] | str:
    """The same for what a parser gave."""
    if parsed is None:
        return "nothing"
    if isinstance(parsed, Event):
        return [_fields(parsed)]
    if isinstance(parsed, list):
        return [_fields(event) for event in parsed]
    return "unknown"


def only(raw: bytes) -> dict[str, str]:
    """The one event of a line; where it tells nothing, ``kind`` says so."""
    found = told(raw)
    if isinstance(found, str):
        return {"kind": found}
    return found[0] if len(found) == 1 else {"kind": f"{len(found)} events"}


def _fields(event: Event) -> dict[str, str]:
    values = {"kind": Kind(event.kind).name.lower(), "queue_id": _text(event.queue_id)}
    values["at_us"] = str(event.at_us)
    for name, value in named(event).items():
        if value != b"\xff":
            values[name] = _text(value)
    return values


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def splitter_of(lines: Sequence[bytes], mta: str = "auto") -> Any:
    """What splits the lines of a log, by its form."""
    form = formats.sniff(lines[:20], mta)
    return formats.splitter(form, timezone=zone("UTC"), reference_us=REFERENCE_US)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file with one a line."""
    for line in path.read_text("utf-8").splitlines():
        if line.strip():
            yield json.loads(line)
