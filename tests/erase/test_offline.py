"""Erasing in a journal that no trackd holds: found everywhere before, nowhere after."""

import json
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from journal.check import check_journal
from journal.reader import Reader
from journal.writer import Writer
from milterd.spool import SpoolWriter, encode_body
from milterd.track.control import Door
from milterd.track.main import make
from posttrail import cli, config
from query.httpd.state import State
from query.httpd.tokens import Tokens
from tests.canary import holders

SECOND = 1_000_000
SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "schema" / "erase.json"
CANARY = "canary-7f3k@example.com"
LOCAL, DOMAIN = CANARY.split("@")


def now_us() -> int:
    return time.time_ns() // 1000


def line(at_us: int, text: str) -> str:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_us // SECOND))
    return f"{stamp}.{at_us % SECOND:06d}+00:00 mx.example.com postfix/{text}\n"


def mail(at_us: int, number: int, sender: str, *recipients: str, login: str = "") -> str:
    """The lines of one message."""
    queue_id = f"4c{number:09d}zzz"
    sasl = f", sasl_method=PLAIN, sasl_username={login}" if login else ""
    text = line(at_us, f"smtpd[9]: {queue_id}: client=pc.example.org[192.0.2.9]{sasl}")
    text += line(at_us + 1, f"cleanup[10]: {queue_id}: message-id=<m{number}@pc.example.org>")
    text += line(
        at_us + 2,
        f"qmgr[11]: {queue_id}: from=<{sender}>, size=500, nrcpt={len(recipients)} (queue active)",
    )
    for place, who in enumerate(recipients):
        text += line(
            at_us + 10 + place,
            f"smtp[12]: {queue_id}: to=<{who}>, relay=mx.example.net[192.0.2.25]:25, delay=1,"
            f" delays=0/0/0/1, dsn=5.1.1, status=bounced (host said: 550 <{who}> unknown)",
        )
    return text + line(at_us + 50, f"qmgr[11]: {queue_id}: removed")


def log_of(begin_us: int) -> str:
    """Mail of three days to and from the canary and others, and refusals."""
    text = ""
    for number in range(120):
        at_us = begin_us + number * 2160 * SECOND
        who = [f"user{number}@example.net", "bob@example.com"]
        match number % 6:
            case 0:
                text += mail(at_us, number, "bob@example.org", CANARY, *who)
            case 1:
                text += mail(at_us, number, CANARY, *who, login=LOCAL)
            case 2:
                text += mail(
                    at_us, number, f"list-{LOCAL}={DOMAIN}@lists.example.net", f"{LOCAL}+x@{DOMAIN}"
                )
            case 3:
                text += line(
                    at_us,
                    "smtpd[9]: NOQUEUE: reject: RCPT from mail.example.org[192.0.2.7]:2525: 550 5.1.1"
                    f" <{CANARY.upper()}>: Recipient address rejected: User unknown;"
                    f" from=<a{number}@example.org> to=<{CANARY.upper()}> proto=ESMTP helo=<h>",
                )
            case _:
                text += mail(at_us, number, "bob@example.org", *who)
    return text


def transaction(at_us: int, sender: str, *recipients: str) -> dict[str, Any]:
    return {
        "v": 1, "t": "txn", "at": at_us, "end": at_us + 1000, "id": f"4S{at_us % 10**9:09d}zzz",
        "stage": "eom", "aborted": False, "ip": "192.0.2.1", "port": 2525,
        "name": "mail.example.org", "helo": "mail.example.org", "tls": "", "login": "",
        "auth": "", "sender": sender, "params": ["SIZE=100"],
        "rcpts": [
            [name, "smtp", "example.com", 0, "", "", [f"ORCPT=rfc822;{name}"]] for name in recipients
        ],
        "message_id": f"{at_us}@example.org", "subject": "hello", "from": f"X <{sender}>",
        "date": "Tue, 25 Nov 2025", "size": 1200, "daemon": "smtpd",
        "verdicts": [["dkim", "pass", "", "", f"header.from={sender}", "", "", "", ""]],
    }  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> config.Config:
    made = config.Config(
        journal=config.Journal(directory=tmp_path / "journal"),
        milter=config.Milter(spool=tmp_path / "spool"),
        log=config.Log(files=(tmp_path / "none.log",), timezone="UTC",
                       syslog_spool=tmp_path / "syslog"),
        mta=config.Mta(host="mx.example.com", local_domains=("example.com",)),
        run=config.Run(directory=tmp_path / "run"),
        query=config.Query(state=tmp_path / "query" / "state.sqlite", socket=tmp_path / "none"),
        hookd=config.Hookd(state=tmp_path / "hooks" / "state.sqlite"),
    )  # fmt: skip
    (tmp_path / "query").mkdir()
    (tmp_path / "config.toml").write_text(
        f"[journal]\ndirectory = '{made.journal.directory}'\n"
        f"[milter]\nspool = '{made.milter.spool}'\n"
        f"[log]\nfiles = []\ntimezone = 'UTC'\nsyslog_spool = '{tmp_path / 'syslog'}'\n"
        "[mta]\nhost = 'mx.example.com'\nlocal_domains = ['example.com']\n"
        f"[run]\ndirectory = '{tmp_path / 'run'}'\n"
        f"[query]\nstate = '{made.query.state}'\nsocket = '{tmp_path / 'none'}'\n"
        f"[hookd]\nstate = '{made.hookd.state}'\n"
    )
    return made


class Here:
    """The command line with that configuration."""

    def __init__(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self._config = tmp_path / "config.toml"
        self._capfd = capfd

    def call(self, *arguments: str, code: int = 0) -> str:
        found = cli.main(["--config", str(self._config), *arguments])
        told = self._capfd.readouterr()
        assert found == code, told.err
        return told.out

    def rows(self) -> list[dict[str, Any]]:
        out = self.call("report", "--limit", "all", "--format", "json")
        return [json.loads(row) for row in out.splitlines()]


@pytest.fixture
def here(tmp_path: Path, capfd: pytest.CaptureFixture[str], settings: config.Config) -> Here:
    return Here(tmp_path, capfd)


def fill(settings: config.Config, here: Here, log: Path, begin_us: int) -> None:
    """The canary in a log, a spool that is read to the middle of a segment, and an audit."""
    log.write_text(log_of(begin_us))
    here.call("import", str(log))
    spool = SpoolWriter(settings.milter.spool, segment_bytes=4_000)
    with Writer.open(settings.journal.directory) as journal:
        tracker = make(settings, journal)
        for number in range(26):
            who = CANARY if number % 3 else "carol@example.net"
            body = encode_body(transaction(now_us() - 100 * SECOND, who, CANARY, "bob@example.com"))
            spool.append([body], now_us=now_us())
            if number == 20:
                while tracker.turn():
                    pass
        tracker.stop()
    spool.close()
    state = State(settings.query.state)
    Tokens(state, delimiters=b"+").add(f"{CANARY}", label=f"of {CANARY}")
    state.close()
    here.call("report", CANARY, "--limit", "all")
    (settings.journal.directory / "bad-2020-01-01").mkdir()
    (settings.journal.directory / "bad-2020-01-01" / "data.mdb").write_bytes(CANARY.encode())


def without_words(rows: list[dict[str, Any]]) -> Counter[str]:
    """The rows by all that no erasure may change."""
    kept = ("id", "row", "time", "status", "reason", "direction", "reply_code", "attempts",
            "done_at", "delay_s", "size_bytes", "queue_ids", "relay", "client_ip")  # fmt: skip
    return Counter(json.dumps([row[key] for key in kept]) for row in rows)


def folders(settings: config.Config) -> list[Path]:
    return [
        settings.journal.directory, settings.milter.spool, settings.query.state.parent,
        settings.log.syslog_spool,
    ]  # fmt: skip


def test_it_is_found_everywhere_before_and_nowhere_after(
    settings: config.Config, here: Here, tmp_path: Path
) -> None:
    begin_us = now_us() - 5 * 86_400 * SECOND
    log = tmp_path / "old.log"
    fill(settings, here, log, begin_us)
    before, totals = here.rows(), here.call("stats", "--format", "json")
    found = holders(CANARY, *folders(settings))
    assert set(found.values()) == {"record", "bytes", "state"}
    kinds = " ".join(found)
    for kind in ("data.mdb", "bad-", ".seg", "current", "state.sqlite"):
        assert kind in kinds
    dry = json.loads(here.call("erase", CANARY, "--dry-run", "--format", "json"))
    assert holders(CANARY, *folders(settings)) == found  # a dry run changes nothing

    done = json.loads(here.call("erase", CANARY, "--yes", "--format", "json"))
    for document in (dry, done):
        Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)

    assert holders(CANARY, *folders(settings)) == {}
    assert done["left"] == []
    assert (done["records"], done["rows"]) == (dry["records"], dry["rows"])
    after = here.rows()
    assert without_words(after) == without_words(before)
    assert here.call("stats", "--format", "json") == totals
    assert [part.first_problems for part in check_journal(settings.journal.directory)
            if part.problems] == []  # fmt: skip
    others = [row for row in before if LOCAL not in json.dumps(row).lower()]
    assert all(row in after for row in others)

    # What is read again brings nothing back and doubles nothing.
    again = json.loads(here.call("import", "--again", "--format", "json", str(log)))
    assert (again["messages"], again["rows"]) == (0, 0)
    assert here.rows() == after
    copy = tmp_path / "copy" / "of.log"
    copy.parent.mkdir()
    shutil.copy(log, copy)
    with copy.open("a") as file:
        file.write(mail(begin_us + 1, 999, CANARY, "bob@example.com", login=CANARY))
    here.call("import", str(copy))
    assert holders(CANARY, *folders(settings)) == {}
    with Writer.open(settings.journal.directory) as journal:
        tracker = make(settings, journal)
        while tracker.turn():
            pass
        assert tracker.damaged == 0
        tracker.stop()
    assert holders(CANARY, *folders(settings)) == {}
    with Reader.open(settings.journal.directory) as reader:
        assert [
            one for one in reader.coverage() if getattr(one, "reason", "") == "rotated_away"
        ] == []
    assert [part for part in check_journal(settings.journal.directory) if part.problems] == []

    # Twice is once; and what is new is recorded as ever.
    assert here.call("report", CANARY, code=1) == ""
    rows = here.rows()
    twice = json.loads(here.call("erase", CANARY, "--yes", "--format", "json"))
    assert (twice["records"], twice["spooled"]) == (0, 0)
    assert here.rows() == rows
    copy.write_text(mail(now_us() + SECOND, 1000, "bob@example.org", CANARY))
    here.call("import", str(copy))
    assert len(here.call("report", CANARY, "--format", "json").splitlines()) == 1


def test_an_import_into_a_new_journal_after_an_erasure_keeps_nothing(
    settings: config.Config, here: Here, tmp_path: Path
) -> None:
    log = tmp_path / "old.log"
    log.write_text(log_of(now_us() - 5 * 86_400 * SECOND))
    here.call("erase", CANARY, "--yes")
    here.call("import", str(log))
    rows = here.rows()
    assert holders(CANARY, settings.journal.directory) == {}
    here.call("import", "--again", str(log))
    assert here.rows() == rows
    assert len(rows) == 20 * 3 + 20 * 2 + 20 + 20 + 40 * 2


def test_nobody_answers_for_whoever_is_not_there(here: Here) -> None:
    here.call("erase", CANARY, code=64)
    here.call("erase", "@example.com", "--yes", code=64)


def ended(settings: config.Config, tmp_path: Path) -> None:
    """A trackd runs until no erasure is open."""
    with Writer.open(settings.journal.directory) as journal:
        assert journal.forget.erased.open
        tracker = make(settings, journal, Door(tmp_path / "control.sock"))
        deadline = time.monotonic() + 60
        while journal.forget.erased.open:
            assert time.monotonic() < deadline, "the erasure is not ended"
            tracker.turn()
        tracker.stop()


def test_an_erasure_that_was_cut_short_is_ended_by_the_next_trackd(
    settings: config.Config, here: Here, tmp_path: Path
) -> None:
    log = tmp_path / "old.log"
    fill(settings, here, log, now_us() - 5 * 86_400 * SECOND)
    with Writer.open(settings.journal.directory) as journal:  # killed after the list was written
        journal.forgetting.begin(CANARY.encode(), now_us(), b"+")
    assert holders(CANARY, settings.journal.directory) != {}
    ended(settings, tmp_path)
    assert holders(CANARY, settings.journal.directory, settings.milter.spool) == {}
    assert [part for part in check_journal(settings.journal.directory) if part.problems] == []


@pytest.mark.parametrize("key", ["kept", "lost"])
def test_who_was_erased_after_a_backup_stays_erased_when_it_is_restored(
    settings: config.Config, here: Here, tmp_path: Path, key: str
) -> None:
    log, shelf = tmp_path / "old.log", tmp_path / "shelf"
    log.write_text(log_of(now_us() - 5 * 86_400 * SECOND))
    here.call("import", str(log))
    here.call("erase", "user4@example.net", "--yes")  # is in the list of the backup
    here.call("backup", str(shelf))
    here.call("erase", CANARY, "--yes")
    after = here.rows()
    journal = settings.journal.directory
    if key == "lost":
        (journal / "KEY").write_text("00" * 32 + "\n")
    done = json.loads(here.call("restore", str(shelf), "--replace", "--format", "json"))
    assert holders(CANARY, journal) != {}
    shutil.rmtree(done["aside"])
    ended(settings, tmp_path)
    assert holders(CANARY, journal) == {}
    assert here.rows() == after  # under the same words
    here.call("import", "--again", str(log))
    assert here.rows() == after
    assert [part for part in check_journal(journal) if part.problems] == []
