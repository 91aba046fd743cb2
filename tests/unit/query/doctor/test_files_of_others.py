"""logrotate's, journald's and rsyslog's own files: read as those programs read them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from query.doctor import journald_conf, logrotate, rsyslog_conf
from query.doctor.journald_conf import Limit, span_s


def needs(program: str) -> pytest.MarkDecorator:
    """Skips where the program is not here."""
    return pytest.mark.skipif(
        shutil.which(program) is None, reason=f"no {program}: tools/setup doctor installs it"
    )


DEBIAN = """\
/var/log/syslog
/var/log/mail.log
"/var/log/with space.log"
{
\trotate 4
\tweekly
\tmissingok
\tdelaycompress
\tpostrotate
\t\t/usr/lib/rsyslog/rsyslog-rotate
\t\techo copytruncate {
\tendscript
}
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# -- logrotate ------------------------------------------------------------------------------


def test_debians_stanza_is_read() -> None:
    (found,) = logrotate.rotations([("rsyslog", DEBIAN)])
    assert found.rotates("/var/log/mail.log")
    assert found.rotates("/var/log/with space.log")
    assert not found.rotates("/var/log/mail.err")
    assert (found.generations, found.days, found.copytruncate) == (4, 7, False)


def test_what_stands_before_the_files_is_the_default() -> None:
    texts = [
        ("main", "daily\nrotate 9\ncopytruncate\ninclude /etc/logrotate.d\n"),
        ("one", "/a/*.log {\n nocopytruncate\n}\n"),
        ("two", "/b.log { size 10M\n rotate 2 }\n"),
    ]
    one, two = logrotate.rotations(texts)
    assert (one.copytruncate, one.days, one.generations) == (False, 1, 9)
    assert one.rotates("/a/x.log")
    assert (two.copytruncate, two.days, two.generations) == (True, None, 2)


@needs("logrotate")
def test_logrotate_reads_the_same(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_text("x\n")
    conf = tmp_path / "conf"
    conf.write_text(f"rotate 3\n{log} {{\n  daily\n  copytruncate\n}}\n")
    conf.chmod(0o644)
    said = subprocess.run(
        ["logrotate", "-d", "-s", str(tmp_path / "state"), str(conf)],
        capture_output=True,
        text=True,
    ).stderr
    assert "after 1 days (3 rotations)" in said
    (found,) = logrotate.rotations([(str(conf), conf.read_text())])
    assert (found.days, found.generations, found.copytruncate) == (1, 3, True)


def test_backups_of_packages_are_not_read(tmp_path: Path) -> None:
    write(tmp_path / "d/mail", "/m.log { daily\n rotate 5 }\n")
    write(tmp_path / "d/mail.dpkg-old", "/m.log { daily\n copytruncate }\n")
    write(tmp_path / "main", "")
    assert [each.generations for each in logrotate.read(tmp_path / "main", tmp_path / "d")] == [5]


# -- journald -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("0", 0), ("1min 30s", 90), ("2h", 7200), ("500ms", 0.5), ("45", 45),
     ("soon", None), ("", None)],
)  # fmt: skip
def test_spans_of_systemd(text: str, seconds: float | None) -> None:
    assert span_s(text) == seconds


def test_without_files_the_default_holds(tmp_path: Path) -> None:
    assert journald_conf.read(tmp_path) == Limit(30, 10_000, "default")


@needs("systemd-analyze")
def test_drop_ins_count_in_the_order_systemd_reads_them(tmp_path: Path) -> None:
    etc, lib = tmp_path / "etc/systemd", tmp_path / "usr/lib/systemd"
    write(etc / "journald.conf", "[Journal]\n#RateLimitBurst=1\nRateLimitIntervalSec=1min\n")
    write(lib / "journald.conf.d/50-vendor.conf", "[Journal]\nRateLimitBurst=7\n")
    write(etc / "journald.conf.d/40-ours.conf", "[Journal]\nRateLimitBurst=5\n")
    write(lib / "journald.conf.d/60-hidden.conf", "[Journal]\nRateLimitBurst=6\n")
    write(etc / "journald.conf.d/60-hidden.conf", "[Other]\nRateLimitBurst=60\n")
    said = subprocess.run(
        ["systemd-analyze", f"--root={tmp_path}", "cat-config", "systemd/journald.conf"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    order = [line.removeprefix("# ") for line in said.splitlines() if line.startswith("# /")]
    ours = [f"/{path.relative_to(tmp_path)}" for path in journald_conf.files(tmp_path)]
    assert ours == [name.removeprefix(str(tmp_path)) for name in order]
    found = journald_conf.read(tmp_path)
    assert found == Limit(60, 7, str(lib / "journald.conf.d/50-vendor.conf"))


def test_a_limit_of_nothing_is_off() -> None:
    text = "[Journal]\nRateLimitInterval=0\n"
    assert journald_conf.limit([("x", text)]).off
    assert not journald_conf.DEFAULT.off


# -- rsyslog --------------------------------------------------------------------------------

OLD = "$ModLoad imuxsock\n$SystemLogRateLimitInterval 5\n$SystemLogRateLimitBurst 300 # few\n"
NEW = """\
module(load="imuxsock"   # the system's socket
       SysSock.RateLimit.Interval="5"
       SysSock.RateLimit.Burst="300")
"""


@needs("rsyslogd")
@pytest.mark.parametrize("text", [OLD, NEW], ids=["directives", "RainerScript"])
def test_both_forms_say_the_same_and_rsyslog_takes_them(tmp_path: Path, text: str) -> None:
    write(tmp_path / "etc/rsyslog.conf", text + "*.* /dev/null\n")
    subprocess.run(
        ["rsyslogd", "-N1", "-f", str(tmp_path / "etc/rsyslog.conf")],
        check=True,
        capture_output=True,
    )
    (found,) = rsyslog_conf.read(tmp_path)
    assert found[:3] == ("imuxsock", 5, 300)


def test_included_files_are_read_in_both_forms(tmp_path: Path) -> None:
    write(tmp_path / "etc/rsyslog.conf",
          '$IncludeConfig /etc/rsyslog.d/*.conf\ninclude(file="/etc/more/")\n')  # fmt: skip
    write(tmp_path / "etc/rsyslog.d/a.conf", 'module(load="imjournal" Ratelimit.Interval="60")\n')
    write(tmp_path / "etc/more/b", "$imjournalRatelimitBurst 99\n")
    (found,) = rsyslog_conf.read(tmp_path)
    assert found[:3] == ("imjournal", 60, 99)


def test_defaults_and_what_is_commented_out() -> None:
    text = '#module(load="imjournal")\nmodule(load="imuxsock") # SysSock.RateLimit.Interval="5"\n'
    (found,) = rsyslog_conf.limits([("x", text)])
    assert found == rsyslog_conf.DEFAULTS["imuxsock"]
    assert found.off
    assert not rsyslog_conf.DEFAULTS["imjournal"].off
