"""``posttrail erase`` while Postfix, milter, trackd and queryd are at work: the scan finds nothing."""

import json
from collections.abc import Iterator

import pytest

from posttrail import config
from posttrail.demo.postfix_files import HOST
from posttrail.run import program
from tests.canary import holders
from tests.integration.parts import Load, Parts, Program, answers, client, postfix_and_parts
from tests.waiting import wait_until

SENDER = "canary-7f3k@example.org"


@pytest.fixture(scope="module")
def parts() -> Iterator[Parts]:
    with postfix_and_parts() as made:
        queryd = Program(
            made.directory / "queryd.log", program("posttrail-queryd"), "--config", str(made.config)
        )
        made.start_milterd()
        made.start_trackd()
        made.lab.start()
        queryd.start()
        wait_until(lambda: answers(made.stage.socket) or not queryd.is_running())
        assert queryd.is_running(), queryd.words()
        yield made
        queryd.stop()
        for words in (made.trackd.words(), made.milterd.words(), queryd.words()):
            assert "Traceback" not in words


def scan(parts: Parts) -> dict[str, str]:
    """Where the canary is, in all that is ours."""
    settings = config.load(parts.config)
    ours = (settings.journal.directory, settings.milter.spool, settings.run.directory)
    return holders(SENDER, *ours, settings.query.state.parent, settings.log.syslog_spool)


def final(parts: Parts, address: str, count: int) -> bool:
    rows = parts.rows_of(address)
    told = [row for row in rows if row["status"] != "in_progress" and "milter" in row["sources"]]
    return len(told) == count


def test_nothing_of_an_address_is_left_while_mail_goes_on(parts: Parts) -> None:
    with client(parts.lab) as smtp:
        for number in range(5):
            smtp.sendmail(
                SENDER,
                ["bob@example.com"],
                f"From: Canary <{SENDER}>\r\nMessage-ID: <{number}.canary-7f3k@example.org>\r\n"
                "Subject: of canary-7f3k\r\n\r\nx\r\n",
            )
    wait_until(lambda: final(parts, SENDER, 5))
    token = parts.posttrail("token", "add", "--scope", SENDER, "--label", "x")
    assert token.returncode == 0, token.stderr
    asked = parts.posttrail("report", SENDER, "--format", "json")
    assert len(asked.stdout.splitlines()) == 5, asked.stderr
    before = scan(parts)
    assert set(before.values()) >= {"record", "bytes"}
    for part in ("journal", "spool", "state.sqlite"):
        assert any(part in place for place in before), part
    rows = len(parts.rows())
    with Load(parts.lab, "beside", rate=20) as load:
        load.more(10)
        done = parts.posttrail("erase", SENDER, "--yes", "--format", "json")
        assert done.returncode == 0, done.stderr
        load.more(10)
    told = json.loads(done.stdout)
    assert told["records"] >= 5
    assert scan(parts) == {}
    wait_until(lambda: len(parts.rows_of("load@example.org")) >= 20)
    assert len(parts.rows()) >= rows + 20
    check = parts.posttrail("check")
    assert check.returncode == 0, check.stdout + check.stderr
    assert SENDER not in parts.trackd.words() + parts.milterd.words()
    # What the log still has is read again and brings nothing back.
    before_rows = len(parts.rows())
    read = ("import", "--again", "--keep", "--host", HOST, "--format", "json")
    again = parts.posttrail(*read, str(parts.lab.log))
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["messages"] == 0
    assert len(parts.rows()) == before_rows
    assert scan(parts) == {}
    # New mail is recorded as ever.
    with client(parts.lab) as smtp:
        smtp.sendmail(SENDER, ["bob@example.com"], "Subject: new\r\n\r\nx\r\n")
    wait_until(lambda: len(parts.rows_of(SENDER)) == 1)
