"""systemd's journal as a source: real journal files, read by the real journalctl."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from journal.keys import STATUS
from journal.reader import Reader
from journal.records import Gap, Message
from journal.writer import Writer
from milterd.lines import formats
from milterd.lines.journald import JournalParser, entry_of
from milterd.lines.syslog import Line
from milterd.track.journalctl import GREETING_S, QUIET_S, JournalFollower
from milterd.track.main import make
from milterd.track.tracker import Tracker
from posttrail import cli, config
from tests.conftest import ExpectedLog
from tests.unit.milterd.track.journal_files import REMOTE, record, write

pytestmark = pytest.mark.skipif(not REMOTE.exists(), reason="no systemd-journal-remote here")

SECOND = 1_000_000
NOW_US = time.time_ns() // 1000
WAIT_S = 30.0
CLIENT = "4PbC4x469Jz3tBr: client=mail.example.net[192.0.2.5]"
SENT = (
    "4PbC4x469Jz3tBr: to=<bob@example.com>, relay=mx.example.com[192.0.2.25]:25, delay=1,"
    " delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok)"
)
REFUSED = (
    "NOQUEUE: reject: RCPT from unknown[198.51.100.7]: 554 5.7.1 <x@example.com>: Relay access"
    " denied; from=<a@example.net> to=<x@example.com> proto=ESMTP helo=<h>"
)


def lines_of(
    text: str | bytes = SENT,
    tag: str = "postfix/smtp[8]",
    unit: str | None = "postfix@-.service",
    **more: str,
) -> bytes:
    """A record as journalctl prints it, without going through it."""
    fields = record(NOW_US, tag, "" if isinstance(text, bytes) else text, unit=unit, **more)
    shown: dict[str, object] = dict(fields)
    if isinstance(text, bytes):
        shown["MESSAGE"] = list(text)
    return json.dumps(shown).encode()


# -- one record -----------------------------------------------------------------------------


def test_a_record_is_split_like_a_line() -> None:
    parser = JournalParser()
    assert parser.parse(lines_of(SENT, "postfix-out/relay/smtp[8]")) == Line(
        NOW_US, b"mx", b"postfix-out", b"relay", b"smtp", 8, SENT.encode()
    )
    assert parser.last_us == NOW_US


def test_text_that_is_no_utf_8_is_a_list_of_bytes() -> None:
    line = JournalParser().parse(lines_of(b"caf\xe9 \x1b[0m"))
    assert line is not None
    assert line.text == b"caf\xe9 \x1b[0m"


def test_of_a_field_set_twice_the_first_counts() -> None:
    fields = dict(record(NOW_US, "x", SENT), SYSLOG_IDENTIFIER=["postfix/smtp", "other"])
    line = JournalParser().parse(json.dumps(fields).encode())
    assert line is not None
    assert (line.instance, line.daemon) == (b"postfix", b"smtp")


def test_what_a_record_lacks_is_taken_from_what_journald_knows() -> None:
    fields = record(NOW_US, "x", SENT)
    for name in ("SYSLOG_IDENTIFIER", "SYSLOG_PID", "_SOURCE_REALTIME_TIMESTAMP"):
        del fields[name]
    entry = entry_of(json.dumps(fields | {"_COMM": "smtp", "_PID": "77"}).encode())
    assert entry is not None
    assert (entry.tag, entry.pid, entry.at_us) == (b"smtp", 77, NOW_US + 40)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"{}", b"[1]", b'{"MESSAGE": null}', b'{"MESSAGE":"x"}', b"\xff", b"{" * 9999,
     b'{"__REALTIME_TIMESTAMP":"1e9"}', b'{"__REALTIME_TIMESTAMP":[999]}'],
)  # fmt: skip
def test_what_is_no_record_is_none(raw: bytes) -> None:
    assert JournalParser().parse(raw) is None


def test_only_units_of_the_mta_are_believed() -> None:
    parser = JournalParser()
    forged = parser.parse(lines_of(unit="session-3.scope"))
    assert forged is not None
    assert forged.daemon == b"session-3.scope"
    assert parser.parse(lines_of(unit=None)) is not None
    assert parser.parse(lines_of("Started", "systemd[1]", unit="init.scope")) is not None
    assert parser.forged == 2
    believed = parser.parse(lines_of(unit="postfix@-.service"))
    assert believed is not None
    assert believed.daemon == b"smtp"


def test_what_postfix_runs_for_a_user_is_not_postfix() -> None:
    """A command of a .forward file is in Postfix's unit, and in nobody's confidence."""
    parser = JournalParser()
    for uid, daemon in (
        ("0", b"smtp"),
        ("110", b"smtp"),
        ("1000", b"postfix@-.service"),
        ("65534", b"postfix@-.service"),
        ("x", b"postfix@-.service"),
    ):
        line = parser.parse(lines_of(_UID=uid))
        assert line is not None
        assert line.daemon == daemon, uid
    assert parser.forged == 3
    filed = parser.parse(lines_of("lda(bob): x", "dovecot[5]", _UID="5000"))
    assert filed is not None
    assert filed.daemon == b"dovecot"


def test_an_operators_postsuper_is_believed_of_root_alone() -> None:
    parser = JournalParser()
    removed, tag = "4PbC4x469Jz3tBr: removed", "postfix/postsuper[5]"
    own = parser.parse(lines_of(removed, tag, unit="session-1.scope", _UID="0"))
    other = parser.parse(lines_of(removed, tag, unit="session-1.scope", _UID="1000"))
    assert own is not None
    assert other is not None
    assert (own.daemon, other.daemon) == (b"postsuper", b"session-1.scope")


def test_a_notice_of_loss_is_believed_of_journald_alone() -> None:
    parser = JournalParser()
    text, tag = "Suppressed 9 messages from postfix@-.service", "systemd-journald[1]"
    own = parser.parse(lines_of(text, tag, unit="systemd-journald.service", _TRANSPORT="driver"))
    other = parser.parse(lines_of(text, tag, unit="session-1.scope"))
    assert own is not None
    assert other is not None
    assert (own.daemon, other.daemon) == (b"systemd-journald", b"session-1.scope")


def test_an_export_without_units_is_believed_as_a_log_file_is() -> None:
    parser = formats.splitter("journald", timezone=None, reference_us=0)
    assert isinstance(parser, JournalParser)
    line = parser.parse(lines_of(unit=None))
    assert line is not None
    assert line.daemon == b"smtp"
    assert (parser.bare, parser.forged) == (1, 0)
    forged = parser.parse(lines_of(unit="session-3.scope"))
    assert forged is not None
    assert forged.daemon == b"session-3.scope"


# -- following ------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "J").mkdir()
    return tmp_path / "J" / "system.journal"


Follow = Callable[..., JournalFollower]


@pytest.fixture
def follow(file: Path) -> Iterator[Follow]:
    made: list[JournalFollower] = []

    def new(position: bytes | None = None, **more: object) -> JournalFollower:
        follower = JournalFollower(
            position=position,
            units=config.JOURNALD_UNITS,
            directory=file.parent,
            **more,  # type: ignore[arg-type]
        )
        made.append(follower)
        return follower

    yield new
    for follower in made:
        follower.close()


def texts(follower: JournalFollower, count: int) -> list[str]:
    """The next records' texts, as soon as there are so many."""
    found: list[str] = []
    until = time.monotonic() + WAIT_S
    while len(found) < count:
        assert time.monotonic() < until, f"only {found}"
        lines, _ = follower.read()
        found += [json.loads(line)["MESSAGE"] for line in lines]
        if not lines:
            os.sched_yield()
    return found


def numbered(first: int, last: int) -> list[dict[str, str | bytes]]:
    return [record(NOW_US + n * 1000, "postfix/smtp[8]", f"line {n}") for n in range(first, last)]


def test_records_come_once_and_go_on_at_the_position(file: Path, follow: Follow) -> None:
    write(file, numbered(0, 3))
    first = follow()
    assert texts(first, 3) == ["line 0", "line 1", "line 2"]
    write(file, numbered(3, 5))
    assert texts(first, 2) == ["line 3", "line 4"]
    position = first.position
    first.close()
    write(file, numbered(5, 7))
    again = follow(position)
    assert texts(again, 2) == ["line 5", "line 6"]
    assert again.gaps() == []


def test_what_was_logged_before_the_last_boot_is_read_too(file: Path, follow: Follow) -> None:
    write(file, [dict(one, _BOOT_ID="f" * 32) for one in numbered(0, 2)])
    write(file, numbered(2, 3))
    assert texts(follow(), 3) == ["line 0", "line 1", "line 2"]


def test_a_child_that_is_killed_is_followed_by_another(
    file: Path, follow: Follow, expected_log: ExpectedLog
) -> None:
    expected_log("journalctl ended")
    now = [0.0]
    write(file, numbered(0, 2))
    follower = follow(clock=lambda: now[0])
    assert texts(follower, 2) == ["line 0", "line 1"]
    assert follower._child is not None
    os.kill(follower._child.pid, signal.SIGKILL)
    write(file, numbered(2, 4))
    until = time.monotonic() + WAIT_S
    while not follower.restarts:
        assert time.monotonic() < until
        lines, _ = follower.read()
        assert lines == []
    now[0] += 2
    assert texts(follower, 2) == ["line 2", "line 3"]
    assert follower.gaps() == []


def test_a_silent_child_is_replaced_and_nothing_is_lost(file: Path, follow: Follow) -> None:
    now = [0.0]
    write(file, numbered(0, 2))
    follower = follow(clock=lambda: now[0])
    texts(follower, 2)
    before = follower._child
    assert before is not None
    os.kill(before.pid, signal.SIGSTOP)
    write(file, numbered(2, 3))
    now[0] += QUIET_S + 1
    assert follower.read()[0] == []
    assert texts(follower, 1) == ["line 2"]
    assert follower._child is not before
    assert before.poll() is not None


def test_a_vacuumed_cursor_is_a_gap_and_what_is_left_is_read(file: Path, follow: Follow) -> None:
    write(file, numbered(0, 3))
    first = follow()
    texts(first, 3)
    position = first.position
    first.close()
    file.unlink()
    write(file, numbered(7, 9))
    again = follow(position)
    assert texts(again, 2) == ["line 7", "line 8"]
    assert [gap.reason for gap in again.gaps()] == ["rotated_away"]


def test_a_cursor_whose_record_never_comes_is_sought_by_time(
    file: Path, follow: Follow, expected_log: ExpectedLog
) -> None:
    expected_log("journalctl ended")
    now = [0.0]
    write(file, numbered(0, 3))
    first = follow()
    texts(first, 3)
    position = first.position
    first.close()
    file.unlink()
    write(file, [record(NOW_US, "x[1]", "of nobody", unit="x.service", SYSLOG_FACILITY="3")])
    again = follow(position, clock=lambda: now[0])
    again.read()
    now[0] += GREETING_S + 1
    again.read()
    now[0] += 3
    again.read()
    write(file, numbered(7, 8))
    assert texts(again, 1) == ["line 7"]
    assert [gap.reason for gap in again.gaps()] == ["rotated_away"]


def test_a_position_that_is_no_cursor_is_sought_by_time(
    file: Path, follow: Follow, expected_log: ExpectedLog
) -> None:
    expected_log("Failed to seek to cursor")
    write(file, numbered(0, 2))
    position = json.dumps({"v": 1, "cursor": "nonsense", "at": NOW_US - SECOND}).encode()
    now = [0.0]
    follower = follow(position, clock=lambda: now[0])
    until = time.monotonic() + WAIT_S
    while not follower.restarts:
        assert time.monotonic() < until
        follower.read()
    now[0] += 2
    assert texts(follower, 2) == ["line 0", "line 1"]
    assert [gap.reason for gap in follower.gaps()] == ["rotated_away"]


def test_half_a_record_waits_for_its_end(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    follower = JournalFollower(units=(), command=("sh", "-c", f"exec cat {fifo}"))
    assert follower.read()[0] == []
    with fifo.open("wb", 0) as pipe:
        pipe.write(b'{"MESSAGE":"a')
        while not follower._rest:
            follower.read()
        pipe.write(b'b","__CURSOR":"s=1","__REALTIME_TIMESTAMP":"7"}\n')
        assert texts(follower, 1) == ["ab"]
    assert json.loads(follower.position) == {"v": 1, "cursor": "s=1", "at": 7}
    follower.close()


def test_the_child_ends_with_us_however_we_end(file: Path) -> None:
    write(file, numbered(0, 1))
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from milterd.track.journalctl import JournalFollower\n"
        f"follower = JournalFollower(units=(), directory=Path({str(file.parent)!r}))\n"
        "while not follower.read()[0]: pass\n"
        "print(follower._child.pid, flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = Path("/proc") / parent.stdout.readline().decode().strip() / "cmdline"
        assert b"--follow" in child.read_bytes()
        parent.kill()
        parent.wait()
    limit = time.monotonic() + WAIT_S
    while _is_alive(child):
        assert time.monotonic() < limit


def _is_alive(cmdline: Path) -> bool:
    """A zombie, which nobody has waited for yet, has no command line."""
    try:
        return bool(cmdline.read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_foreign_position_is_refused() -> None:
    with pytest.raises(ValueError, match="not a journal follower's position"):
        JournalFollower(position=b'{"v":1,"files":[]}', units=())


# -- the whole way --------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path, file: Path) -> config.Config:
    (tmp_path / "spool").mkdir()
    return config.Config(
        journal=config.Journal(directory=tmp_path / "journal"),
        milter=config.Milter(spool=tmp_path / "spool"),
        log=config.Log(
            files=(tmp_path / "mail.log",),
            timezone="UTC",
            journald=True,
            journald_directory=str(file.parent),
        ),
        mta=config.Mta(host="mx.example.com"),
        run=config.Run(directory=tmp_path),
    )


def until(tracker: Tracker, done: Callable[[], bool]) -> None:
    """Let the tracker go on until something holds."""
    limit = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < limit
        tracker.turn()


def messages(settings: config.Config) -> list[Message]:
    with Reader.open(settings.journal.directory) as reader:
        return [found for id, _ in reader.scan() if (found := reader.message(id))]


def held(writer: Writer) -> list[Message]:
    """What is committed, delivered or refused, while the writer holds the journal."""
    return [
        one.message
        for status in (b"delivered", b"rejected")
        for one in writer.find(STATUS, status, 0, NOW_US)
    ]


def gaps(settings: config.Config) -> list[Gap]:
    with Reader.open(settings.journal.directory) as reader:
        return [span for span in reader.coverage() if isinstance(span, Gap)]


def sources(message: Message) -> set[int]:
    return {bit for bit in range(4) if message.sources & 1 << bit}


def story(at_us: int) -> list[dict[str, str | bytes]]:
    return [
        record(at_us, "postfix/smtpd[9]", CLIENT),
        record(at_us + 250_000, "postfix/smtp[8]", SENT),
        record(at_us + 300_000, "postfix/smtpd[9]", REFUSED),
    ]


def log_lines(at_us: int) -> bytes:
    """The same lines as rsyslog's traditional format has them."""
    found = ""
    for one in story(at_us):
        seconds = int(str(one["_SOURCE_REALTIME_TIMESTAMP"])) // SECOND
        stamp = time.strftime("%b %e %H:%M:%S", time.gmtime(seconds))
        tag = f"{one['SYSLOG_IDENTIFIER']!s}[{one['SYSLOG_PID']!s}]"
        found += f"{stamp} mx {tag}: {one['MESSAGE']!s}\n"
    return found.encode()


def test_trackd_follows_journald(settings: config.Config, file: Path) -> None:
    write(file, story(NOW_US - 60 * SECOND))
    forged = record(
        NOW_US, "postfix/smtp[8]", SENT.replace("sent", "bounced"), unit="user@1000.service"
    )
    write(file, [forged])
    with Writer.open(settings.journal.directory) as writer:
        tracker = make(settings, writer)
        until(tracker, lambda: tracker.gauges()["posttrail_trackd_forged_lines_total"] == 1)
        tracker.stop()
    found = messages(settings)
    assert sorted(row.status for one in found for row in one.rows) == [0, 4]
    assert [sources(one) for one in found] == [{2}, {2}]


@pytest.mark.parametrize("journald_first", [True, False])
def test_a_line_seen_in_file_and_journald_is_one_event(
    settings: config.Config, file: Path, *, journald_first: bool
) -> None:
    log, at_us = settings.log.files[0], NOW_US - 60 * SECOND
    log.touch()
    with Writer.open(settings.journal.directory) as writer:
        tracker = make(settings, writer)

        def heard(source: int) -> bool:
            tracker.commit()
            found = held(writer)
            return len(found) == 2 and all(source in sources(one) for one in found)

        for source in (2, 1) if journald_first else (1, 2):
            if source == 2:
                write(file, story(at_us))
            else:
                append(log, log_lines(at_us))
            until(tracker, partial(heard, source))
        tracker.stop()
    found = messages(settings)
    assert [sources(one) for one in found] == [{1, 2}, {1, 2}]
    assert sorted((len(one.rows), one.rows[0].status, one.rows[0].attempts) for one in found) == [
        (1, 0, 1),
        (1, 4, 0),
    ]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_suppressed_messages_of_the_mta_are_a_gap(settings: config.Config, file: Path) -> None:
    at_us = NOW_US - 60 * SECOND
    driver = {"unit": "systemd-journald.service", "_TRANSPORT": "driver", "SYSLOG_FACILITY": "5"}
    notice = "Suppressed 312 messages from postfix@-.service"
    others = "Suppressed 5 messages from other.service"
    write(
        file,
        [
            record(at_us, "postfix/smtpd[9]", CLIENT),
            record(at_us + 30 * SECOND, "systemd-journald[1]", notice, **driver),
            record(at_us + 31 * SECOND, "systemd-journald[1]", others, **driver),
            record(at_us + 32 * SECOND, "postfix/smtp[8]", SENT),
        ],
    )
    with Writer.open(settings.journal.directory) as writer:
        tracker = make(settings, writer)
        until(tracker, lambda: any(one.rows[0].status == 0 for one in held(writer)))
        tracker.stop()
    assert gaps(settings) == [Gap("journald", at_us, at_us + 30 * SECOND, "rate_limited", 312)]


def test_an_exported_journal_is_imported(
    settings: config.Config, file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(file, story(NOW_US - 60 * SECOND))
    export = subprocess.run(
        ["journalctl", f"--directory={file.parent}", "--output=json", "--all"],
        check=True,
        capture_output=True,
    ).stdout
    (tmp_path / "export.json").write_bytes(export)
    journal = ["--journal", str(settings.journal.directory)]
    assert cli.main([*journal, "import", "--format", "json", str(tmp_path / "export.json")]) == 0
    summary = json.loads(capfd.readouterr().out)
    assert (summary["understood"], summary["messages"], summary["rows"]) == (3, 2, 2)
    assert (summary["forged"], summary["bare"]) == (0, 0)
    assert [sources(one) for one in messages(settings)] == [{2}, {2}]
