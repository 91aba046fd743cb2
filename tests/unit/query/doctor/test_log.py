"""The mail log: there, readable, spoken in, growing, and rotated without loss."""

from pathlib import Path
from typing import Any

import pytest

from posttrail.config import Config, Log
from query.doctor import log, logrotate
from query.doctor.access import Account, Entry
from query.doctor.finding import Finding, State
from query.doctor.log import Facts, File
from query.doctor.place import Place
from query.doctor.seen import JournalSeen

HOUR_US = 3_600_000_000
NOW_US = 1_795_435_200_000_000
POSTTRAIL = Account("posttrail", 1001, frozenset({1001, 4}))
LINE = b"Nov 23 12:00:00 mx postfix/qmgr[12]: 4XyZ00abc: removed\n"


def file(path: str = "/var/log/mail.log", mode: int = 0o640, gid: int = 4, **more: Any) -> File:
    plain: dict[str, Any] = {"kind": "file", "size": 1000, "mtime_us": NOW_US}
    entry = Entry(path=path, mode=mode, gid=gid, **(plain | more))
    return File(
        entry=entry, folders=(Entry(path="/var/log", kind="folder", mode=0o755),), is_mail=True
    )


def facts(*files: File, **more: Any) -> Facts:
    plain: dict[str, Any] = {
        "journald": False,
        "syslog": False,
        "maillog": "",
        "reader": POSTTRAIL,
        "rotations": (),
    }
    return Facts(files=files, **(plain | more))


def place(**more: Any) -> Place:
    return Place(config=Config(log=Log()), journal=Path("/j"), now_us=NOW_US, **more)


def source(known: Facts) -> Finding:
    return log.source(known, place(), "again")


def test_no_log_at_all_is_a_problem() -> None:
    found = source(facts())
    assert found.state is State.PROBLEM
    assert '["/var/log/mail.log"]' in found.mend[0]


@pytest.mark.parametrize("more", [{"journald": True}, {"syslog": True}])
def test_another_way_to_hear_is_enough(more: dict[str, bool]) -> None:
    assert source(facts(**more)).state is State.OK


def test_postfix_writes_elsewhere_than_we_follow() -> None:
    found = source(facts(file(), maillog="/var/log/postfix.log"))
    assert found.state is State.PROBLEM
    assert '["/var/log/postfix.log"]' in found.mend[0]
    assert source(facts(file(), maillog="/var/log/mail.log")).state is State.OK


def readable(one: File, **more: Any) -> Finding:
    *_, found = log.readable(facts(one, **more), "again")
    return found


def test_readable_by_the_group_adm() -> None:
    assert readable(file()).state is State.OK


@pytest.mark.parametrize(
    ("gids", "state"), [({1001, 101}, State.OK), ({1001}, State.PROBLEM), ({1001, 4}, State.OK)]
)
def test_systemds_journal_is_for_its_groups(gids: set[int], state: State) -> None:
    reader = Account("posttrail", 1001, frozenset(gids))
    known = facts(journald=True, reader=reader, journal_gids=frozenset({101, 4}))
    (found,) = log.readable(known, "again")
    assert found.state is state
    if state is State.PROBLEM:
        assert found.mend == ("usermod -aG systemd-journal posttrail", "again")


def test_a_group_that_could_read_is_joined() -> None:
    found = readable(file(gid=0, mode=0o600))
    assert found.state is State.PROBLEM
    assert found.mend == ("chgrp adm /var/log/mail.log", "chmod g+r /var/log/mail.log", "again")
    other = readable(file(gid=37))  # "operator" of Debian; the number elsewhere
    assert other.mend[0].startswith("usermod -aG ")
    assert other.mend[0].endswith(" posttrail")


def test_a_missing_file_is_a_problem_where_it_is_the_only_source() -> None:
    gone = file(kind="missing")
    assert readable(gone).state is State.PROBLEM
    assert readable(gone, journald=True).state is State.WARNING


def test_a_closed_folder_is_named() -> None:
    closed = Entry(path="/srv/log", kind="folder", mode=0o700)
    one = File(entry=file("/srv/log/mail.log").entry, folders=(closed,), is_mail=True)
    found = readable(one)
    assert found.state is State.PROBLEM
    assert found.mend == ("chmod o+x /srv/log",)


def test_what_is_hidden_from_us_needs_root() -> None:
    assert readable(file(kind="hidden")).needs_root


def lines(one: File, seen: JournalSeen | None = None, **more: Any) -> Finding:
    (found,) = log.lines(facts(one, **more), seen or JournalSeen(), "again")
    return found


def test_a_log_of_others_is_a_warning() -> None:
    other = File(entry=file().entry, folders=(), is_mail=False)
    assert lines(other).state is State.WARNING
    empty = File(entry=file(size=0).entry, folders=(), is_mail=None)
    assert lines(empty).state is State.UNCHECKED


def test_mail_flows_and_the_log_stands_still() -> None:
    late = JournalSeen(why_not="", newest_us=NOW_US + HOUR_US)
    found = lines(file(), late)
    assert found.state is State.PROBLEM
    assert "60 min newer" in found.seen[1].what
    assert lines(file(), late, journald=True).state is State.OK
    assert lines(file(), JournalSeen(why_not="", newest_us=NOW_US)).state is State.OK


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LINE, True),
        (b"2026-11-23T12:00:00.123456+01:00 mx postfix-out/smtp[9]: x: to=<a@example.com>\n", True),
        (b"Nov 23 12:00:00 mx sm-mta[77]: 1x: from=<a@example.com>\n", True),
        (b"2026-11-23 12:00:00 1tEabc-0001-xy <= a@example.com H=(x) [192.0.2.1]\n", True),
        (b"Nov 23 12:00:00 mx sshd[1]: Accepted publickey for postfix\n" * 9, False),
        (b"", None),
        (LINE + b"Nov 23 12:00:00 mx cron[1]: x\n" * 20_000, False),  # that was long ago
    ],
)
def test_a_mail_program_is_known_by_its_lines(
    tmp_path: Path, text: bytes, expected: bool | None
) -> None:
    path = tmp_path / "log"
    path.write_bytes(text)
    assert log.is_mail(path) is expected


def rotated(text: str, path: str = "/var/log/mail.log") -> dict[str, Finding]:
    stanzas = logrotate.rotations([("/etc/logrotate.d/rsyslog", text)])
    return {each.check: each for each in log.rotated(path, stanzas, 5)}


def test_copytruncate_loses_lines() -> None:
    found = rotated("/var/log/mail.log { daily\nrotate 7\ncopytruncate }")
    assert found["log-rotation"].state is State.PROBLEM
    assert found["log-generations"].state is State.OK


@pytest.mark.parametrize(
    ("stanza", "state"),
    [
        ("weekly\nrotate 4", State.OK),  # Debian's
        ("daily\nrotate 5", State.OK),
        ("daily\nrotate 4", State.WARNING),  # mail may wait five days
        ("daily\nrotate 0", State.PROBLEM),
        ("size 10M\nrotate 2", State.OK),
    ],
)
def test_generations_reach_back_for_the_queue_lifetime(stanza: str, state: State) -> None:
    found = rotated(f"/var/log/mail.log {{\n{stanza}\n}}")
    assert found["log-generations"].state is state
    assert found["log-rotation"].state is State.OK


def test_the_commands_mend_the_stanza(tmp_path: Path) -> None:
    import subprocess

    conf = tmp_path / "mail"
    conf.write_text("/var/log/mail.log {\n\tdaily\n\trotate 2\n\tcopytruncate\n}\n")
    before = {e.check: e for e in log.rotated("/var/log/mail.log", _read(conf), 5)}
    for finding in before.values():
        subprocess.run(finding.mend[0], shell=True, check=True)
    after = {e.check: e.state for e in log.rotated("/var/log/mail.log", _read(conf), 5)}
    assert set(after.values()) == {State.OK}
    assert conf.read_text() == "/var/log/mail.log {\n\tdaily\n\trotate 5\n\tcreate\n}\n"


def _read(path: Path) -> list[logrotate.Rotation]:
    return logrotate.rotations([(str(path), path.read_text())])


def test_without_a_stanza_nobody_can_say() -> None:
    found = rotated("/var/log/other.log { daily }")
    assert {each.state for each in found.values()} == {State.UNCHECKED}
