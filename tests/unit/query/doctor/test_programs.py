"""The four programs, their rights, the sample of the journal, and the test message: pure decisions."""

import grp
import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from journal.check import Part
from journal.events import Source
from posttrail import __version__
from posttrail.config import Config, Trace
from posttrail.hook import Hook
from posttrail.postconf import Service, Settings
from query.doctor import daemons, message, permissions, place, sound
from query.doctor.access import Entry
from query.doctor.daemons import Program
from query.doctor.finding import State
from query.doctor.holders import holder, holder_in
from query.doctor.message import Arrived
from query.doctor.permissions import Rule, judged
from query.doctor.place import Place

PLACE = Place(config=Config(), journal=Path("/j"), now_us=0, mta="postfix")
MILTERD = Program(name="milterd", gauges_s=2.0, pid=77, lock="/spool/LOCK", started_us=1000)
QUERYD = Program(name="queryd", socket="/q", listens=True, answer="200", version=__version__)
TRACED = Program(name="traced", socket="/t", listens=True)


def test_settings_of_postfix_come_back_whole_from_the_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Settings(
        main={"mail_version": "3.7.11", "x": "\udcff"},
        overrides={"smtp/inet": {"smtpd_milters": ""}},
        services=(service("smtp", "smtpd", "-o", "x=y"),),
    )
    monkeypatch.setattr(place, "postfix_of", lambda *_: (whole, ""))
    until = time.monotonic() + 20
    assert place.found(Trace(mta="postfix"), until=until) == ("postfix", whole, "")


# -- programs -------------------------------------------------------------------------------


def test_a_lock_is_seen_without_being_touched(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "LOCK"
    with path.open("w") as file:
        assert holder(path) is None
        fcntl.flock(file, fcntl.LOCK_EX)
        assert holder(path) == os.getpid()
    assert holder(path) is None
    assert holder(tmp_path / "none") is None


def test_who_only_waits_for_a_lock_does_not_hold_it() -> None:
    text = "1: -> FLOCK  ADVISORY  WRITE 5 fe:01:4711 0 EOF\n2: FLOCK  ADVISORY  WRITE 6 fe:01:4711 0 EOF\n"
    assert holder_in(text, 0xFE, 1, 4711) == 6
    assert holder_in(text, 0xFE, 1, 4712) is None
    assert holder_in("1: FLOCK ADVISORY WRITE -1 fe:01:4711 0 EOF\n", 0xFE, 1, 4711) is None


@pytest.mark.parametrize(
    ("seen", "state", "mend"),
    [
        (MILTERD, State.OK, ()),
        (replace(MILTERD, pid=None), State.OK, ()),  # in another namespace of processes
        (replace(MILTERD, pid=None, gauges_s=31.0), State.PROBLEM,
         ("systemctl enable --now posttrail-milterd",)),
        (replace(MILTERD, gauges_s=31.0), State.PROBLEM, ("systemctl restart posttrail-milterd",)),
        (replace(MILTERD, gauges_s=None), State.WARNING,
         ("systemd-tmpfiles --create posttrail.conf", "systemctl restart posttrail-milterd")),
    ],
)  # fmt: skip
def test_a_program_runs_hangs_or_is_gone(seen: Program, state: State, mend: tuple[str]) -> None:
    found = daemons.lives(seen, PLACE)
    assert (found.state, found.mend) == (state, mend)


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (QUERYD, State.OK),
        (replace(QUERYD, answer="503 the journal is damaged"), State.PROBLEM),
        (replace(QUERYD, answer="Connection refused", listens=False), State.PROBLEM),
        (replace(QUERYD, answer="Permission denied", listens=None), State.UNCHECKED),
    ],
)
def test_queryd_answers_or_says_why_not(seen: Program, state: State) -> None:
    assert daemons.answers(seen, PLACE).state is state


@pytest.mark.parametrize(
    ("listens", "state"), [(True, State.OK), (False, State.WARNING), (None, State.UNCHECKED)]
)
def test_traced_is_missed_but_not_much(listens: bool | None, state: State) -> None:
    assert daemons.wakes(replace(TRACED, listens=listens), PLACE).state is state
    nowhere = replace(PLACE, mta="")
    assert daemons.wakes(TRACED, nowhere).state is State.UNCHECKED


def test_hookd_is_needed_only_where_there_is_a_hook() -> None:
    gone = replace(MILTERD, name="hookd", pid=None, gauges_s=None)
    assert daemons.tells(gone, PLACE).state is State.OK
    asked = replace(PLACE, config=Config(hooks=(Hook(name="a", on=("error",)),)))
    assert daemons.tells(gone, asked).state is State.PROBLEM
    assert daemons.tells(replace(gone, pid=5, gauges_s=1.0), asked).state is State.OK


def test_who_listens_is_known_without_waking_them(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        assert daemons.listens(path) is False
        made.listen()
        assert daemons.listens(path) is True
        made.setblocking(False)
        with pytest.raises(BlockingIOError):
            made.accept()  # nobody came
    assert daemons.listens(path) is False
    assert daemons.listens(tmp_path / "none.sock") is False


def test_a_program_older_than_what_is_installed() -> None:
    def state(*seen: Program) -> State:
        return daemons.versions({each.name: each for each in seen}, 2000).state

    assert state(replace(MILTERD, started_us=2001), QUERYD) is State.OK
    assert state(MILTERD, QUERYD) is State.WARNING
    assert (
        state(replace(MILTERD, started_us=2001), replace(QUERYD, version="0.0.9")) is State.WARNING
    )
    assert state(TRACED) is State.UNCHECKED


def test_the_start_of_a_process_is_known() -> None:
    stat = (
        "77 (a ) b) S " + " ".join(map(str, range(4, 22))) + " 250 1 2\n"
    )  # the 22nd is starttime
    assert daemons.started_of(stat, "cpu 1\nbtime 1000\n", 100) == 1_002_500_000
    own = daemons.started(os.getpid())
    assert own is not None
    assert own > 1_600_000_000_000_000


# -- rights ---------------------------------------------------------------------------------

DATA = Rule(mode=0o640, most=0o640, group_reads=True, gid=900)


@pytest.mark.parametrize(
    ("mode", "gid", "wrong"),
    [
        (0o640, 900, []),
        (0o600, 900, ["closed to its group"]),
        (0o644, 900, ["too open"]),
        (0o660, 900, ["too open"]),
        (0o640, 901, ["not of the group 900"]),
        (0o644, 901, ["too open", "not of the group 900"]),
    ],
)
def test_neither_more_nor_less(mode: int, gid: int, wrong: list[str]) -> None:
    found = judged(Entry(path="/j/KEY", kind="file", mode=mode, gid=gid), DATA)
    assert [each.why for each in found] == wrong
    missing = Entry(path="/j/KEY", kind="missing", mode=mode, gid=gid)
    assert judged(missing, DATA) == []


def test_what_everybody_can_read_is_a_problem_what_a_group_can_a_warning() -> None:
    def state(mode: int) -> State:
        entry = Entry(path="/j/KEY", kind="file", mode=mode, gid=900)
        return permissions.decided("journal-permissions", "it", judged(entry, DATA), entry).state

    assert [state(mode) for mode in (0o640, 0o660, 0o644, 0o600)] == [
        State.OK, State.WARNING, State.PROBLEM, State.PROBLEM,
    ]  # fmt: skip


def test_a_whole_journal_made_by_us_has_nothing_wrong(tmp_path: Path) -> None:
    from journal.writer import Writer

    group = grp.getgrgid(os.getgid()).gr_name
    Writer.open(tmp_path / "journal", group=group).close()
    settings = Config(journal=replace(Config().journal, group=group))
    rules = permissions.journal_rules(replace(PLACE, config=settings, journal=tmp_path / "journal"))
    from query.doctor.access import entry

    assert len(rules) == 7  # the folder, KEY, FORMAT, ERASED, state and its two files
    assert [wrong for path, rule in rules for wrong in judged(entry(path), rule)] == []


@pytest.mark.parametrize(
    ("mode", "state"),
    [(0o644, State.OK), (0o664, State.PROBLEM), (0o640, State.PROBLEM), (0o444, State.OK)],
)
def test_the_configuration_is_read_by_all_and_written_by_its_owner(mode: int, state: State) -> None:
    seen = Entry(path="/etc/posttrail/posttrail.toml", kind="file", mode=mode)
    assert permissions.configuration(seen).state is state
    assert permissions.configuration(replace(seen, kind="missing")).state is State.OK


# -- the journal ----------------------------------------------------------------------------


def test_each_day_has_its_turn_beside_the_newest() -> None:
    present = ["2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"]
    samples = [sound.sample(present, today) for today in range(3)]
    assert all(each[0] == "state" and each[-1] == "2026-11-23" for each in samples)
    assert {each[1] for each in samples} == set(present[:-1])
    assert sound.sample(["2026-11-23"], 5) == ["state", "2026-11-23"]
    assert sound.sample([], 5) == ["state"]


def test_damage_is_named_with_its_first_sentence() -> None:
    good = Part(name="state", entries=3)
    bad = Part(name="2026-11-23", problems=2, first_problems=("one", "two"))
    assert sound.decided([good], full=False).state is State.OK
    found = sound.decided([good, bad], full=False)
    assert found.state is State.PROBLEM
    assert found.seen[1] == ("2026-11-23", "one")
    assert found.mend == ("posttrail rebuild 2026-11-23",)


# -- the message ----------------------------------------------------------------------------


def service(name: str, command: str = "smtpd", *arguments: str) -> Service:
    return Service(name, "inet", "n", "-", "n", "-", command, arguments)


def test_what_became_of_the_message() -> None:
    both = 1 << Source.MILTER | 1 << Source.LOG

    def state(sources: int | None) -> State:
        found = None if sources is None else Arrived(
            id="a4n", after_s=0.2, status="delivered", settled_s=0.3, sources=sources)  # fmt: skip
        return message.decided(found, "by SMTP", 9.0, replace(PLACE, send="a@example.com")).state

    assert state(both) is State.OK
    assert state(1 << Source.LOG) is State.WARNING
    assert state(1 << Source.JOURNALD) is State.WARNING
    assert state(1 << Source.MILTER) is State.PROBLEM
    assert state(None) is State.PROBLEM


def test_nothing_is_sent_unasked() -> None:
    (found,) = message.run(PLACE)
    assert found.state is State.UNCHECKED
    assert "--send" in found.said


def test_the_message_says_what_it_is() -> None:
    made = message.mail("a@example.com", "x@mx.example.com")
    assert made["Message-ID"] == "<x@mx.example.com>"
    assert made["Auto-Submitted"] == "auto-generated"  # RFC 3834 5
    assert made["From"] == made["To"] == "a@example.com"
