"""Our own log: one harmless line an entry."""

import logging
import os
import subprocess
import sys

import pytest

from posttrail.logs import OneLine


def entry(message: str, *, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("milterd.main", level, __file__, 1, message, (), None)


def test_a_line_begins_with_its_level_on_a_terminal() -> None:
    line = OneLine(priorities=False).format(entry("spool full bytes=7"))
    assert line == "warning: milterd.main: spool full bytes=7"


@pytest.mark.parametrize(("level", "priority"), [(10, 7), (20, 6), (30, 4), (40, 3), (50, 2)])
def test_a_line_begins_with_its_priority_for_journald(level: int, priority: int) -> None:
    line = OneLine(priorities=True).format(entry("x", level=level))
    assert line == f"<{priority}>milterd.main: x"


def test_what_mail_says_cannot_begin_a_line_nor_move_the_cursor() -> None:
    line = OneLine(priorities=True).format(entry("helo=a\n<0>forged \x1b[2J \u202e \udcff"))
    assert line == "<4>milterd.main: helo=a\\x0a<0>forged \\x1b[2J \\u{202e} \\xff"


def test_an_exception_is_named_on_the_same_line() -> None:
    record = entry("callback failed")
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    line = OneLine(priorities=False).format(record)
    assert "\n" not in line
    assert "exception=ValueError('two\\nlines') at=test_logs.py:" in line


@pytest.mark.parametrize("ours", [True, False])
def test_priorities_are_written_to_journalds_own_stream_only(ours: bool) -> None:
    reading, writing = os.pipe()
    status = os.fstat(writing)
    stream = f"{status.st_dev}:{status.st_ino}" if ours else "1:1"
    program = "import logging; from posttrail import logs; logs.setup('info'); logging.info('up')"
    with os.fdopen(reading) as output:
        subprocess.run(
            [sys.executable, "-c", program],
            stderr=writing,
            check=True,
            env={**os.environ, "JOURNAL_STREAM": stream, "PYTHONPATH": os.getcwd()},
        )
        os.close(writing)
        assert output.read() == ("<6>root: up\n" if ours else "info: root: up\n")
