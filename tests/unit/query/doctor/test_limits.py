"""A rate limit is a warning only where the busiest moment comes near it; its commands take it away."""

import subprocess
from pathlib import Path

import pytest

from posttrail.config import Config
from query.doctor import journald_conf, limits, rsyslog_conf
from query.doctor.finding import State
from query.doctor.limits import Facts
from query.doctor.place import Place
from query.doctor.seen import JournalSeen, peaks

QUIET = JournalSeen(why_not="", counted=1000, peaks={5: 2, 30: 10, 600: 100})
BUSY = JournalSeen(why_not="", counted=90_000, peaks={5: 300, 30: 1500, 600: 20_000})
DEFAULT = Facts(
    journald=journald_conf.DEFAULT, rsyslog=(rsyslog_conf.DEFAULTS["imjournal"],), maillog=""
)


def test_the_busiest_window_is_counted() -> None:
    seconds = [0, 1, 2, 31, 32, 33, 34, 700]
    assert peaks(second * 1_000_000 for second in seconds) == {5: 4, 30: 4, 600: 7}
    assert peaks([]) == {5: 0, 30: 0, 600: 0}


def test_a_quiet_server_is_far_from_the_default() -> None:
    assert limits.journald(DEFAULT, QUIET).state is State.OK
    assert [each.state for each in limits.rsyslog(DEFAULT, QUIET)] == [State.OK]


def test_a_busy_one_is_warned() -> None:
    # 1,500 messages in 30 s are 12,000 lines, the limit is 10,000; 20,000 in 600 s are 160,000
    found = limits.journald(DEFAULT, BUSY)
    assert found.state is State.WARNING
    assert "12,000 lines" in found.seen[1].what
    assert [each.state for each in limits.rsyslog(DEFAULT, BUSY)] == [State.WARNING]


def test_half_the_limit_is_near() -> None:
    near = JournalSeen(why_not="", counted=1, peaks={5: 0, 30: 625, 600: 0})  # 5,000 lines
    below = JournalSeen(why_not="", counted=1, peaks={5: 0, 30: 624, 600: 0})
    assert limits.journald(DEFAULT, near).state is State.WARNING
    assert limits.journald(DEFAULT, below).state is State.OK


def test_no_limit_no_warning() -> None:
    off = Facts(journald=journald_conf.Limit(0, 10_000, "x"),
                rsyslog=(rsyslog_conf.DEFAULTS["imuxsock"],), maillog="")  # fmt: skip
    assert limits.journald(off, BUSY).state is State.OK
    assert [each.state for each in limits.rsyslog(off, BUSY)] == [State.OK]


def test_postfixs_own_log_passes_both_by() -> None:
    own = Facts(
        journald=journald_conf.DEFAULT, rsyslog=DEFAULT.rsyslog, maillog="/var/log/mail.log"
    )
    assert limits.journald(own, BUSY).state is State.OK
    assert [each.state for each in limits.rsyslog(own, BUSY)] == [State.OK]


def test_what_is_not_here_is_not_checked() -> None:
    nothing = Facts(journald=None, rsyslog=(), maillog="")
    assert limits.journald(nothing, BUSY).state is State.UNCHECKED
    assert [each.state for each in limits.rsyslog(nothing, BUSY)] == [State.UNCHECKED]


@pytest.mark.parametrize(
    "text",
    ['module(load="imjournal" StateFile="x")\n',
     'module(load="imjournal" Ratelimit.Interval="600" Ratelimit.Burst="20000")\n',
     "$ModLoad imjournal\n$imjournalRatelimitInterval 600\n",
     'module(load="imuxsock" SysSock.RateLimit.Interval="5")\n',
     "$ModLoad imuxsock\n$SystemLogRateLimitInterval 5\n"],
)  # fmt: skip
def test_the_command_takes_the_limit_of_rsyslog_away(tmp_path: Path, text: str) -> None:
    conf = tmp_path / "etc/rsyslog.conf"
    conf.parent.mkdir()
    conf.write_text(text)
    place = Place(config=Config(), journal=tmp_path, now_us=0, root=tmp_path, seen=BUSY)
    (found,) = limits.rsyslog(limits.gather(place), BUSY)
    assert found.state is State.WARNING
    command = found.mend[0].replace(" /etc/rsyslog.conf", f" {conf}")
    subprocess.run(command, shell=True, check=True)
    (after,) = limits.rsyslog(limits.gather(place), BUSY)
    assert after.state is State.OK, conf.read_text()


def test_the_command_takes_the_limit_of_journald_away(tmp_path: Path) -> None:
    (tmp_path / "run/systemd/journal").mkdir(parents=True)
    (tmp_path / "etc/systemd").mkdir(parents=True)
    place = Place(config=Config(), journal=tmp_path, now_us=0, root=tmp_path, seen=BUSY)
    found = limits.journald(limits.gather(place), BUSY)
    assert found.state is State.WARNING
    for command in found.mend[:-1]:
        subprocess.run(command.replace("/etc/", f"{tmp_path}/etc/"), shell=True, check=True)
    assert limits.journald(limits.gather(place), BUSY).state is State.OK
