"""The real posttrail-milterd, spoken to as an MTA speaks: it records, and costs nobody a mail."""

import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from milterd.spool import parse_line
from posttrail.demo.stage import free_port
from tests.integration.milter_client import (
    ALL_PROTOCOL,
    NO_REPLIES,
    NO_REPLY,
    NOBODY,
    NOUNKNOWN,
    RCPT_REJ,
    Mta,
)
from tests.integration.milterd_process import PROGRAM, ROOT, Milterd, Start, milterd, start

pytest.importorskip("milter")
__all__ = ["milterd", "start"]

FAULTY = """
import sys
from milterd.callbacks import Connection
def fail(*arguments):
    raise RuntimeError("on purpose")
setattr(Connection, sys.argv.pop(1), fail)
""" + PROGRAM  # fmt: skip


def test_it_asks_for_no_replies_no_body_and_refused_recipients(milterd: Milterd) -> None:
    with Mta(milterd.socket) as mta:
        silent = NO_REPLIES & ~NO_REPLY["R"]  # see the hasty client below
        assert mta.protocol == silent | NOBODY | NOUNKNOWN | RCPT_REJ
        assert mta.actions == 0x100  # SMFIF_SETSYMLIST: it may change nothing
        asked = [name for names in mta.macros.values() for name in names]
        assert {b"i", b"{client_port}", b"{client_addr}", b"{daemon_name}"} < {*asked}
        assert {b"{tls_version}", b"{cipher}", b"{auth_authen}", b"{auth_type}"} < {*asked}
        assert {b"{rcpt_mailer}", b"{rcpt_host}", b"{rcpt_addr}"} < {*asked}
        assert mta.macros["N"] == mta.macros["E"] == []  # no packet of macros before these


def test_a_message_is_recorded_whole(milterd: Milterd) -> None:
    with Mta(milterd.socket) as mta:
        mta.connect()
        mta.helo(b"client.example.net")
        auth = {b"{auth_authen}": b"ann", b"{auth_type}": b"PLAIN"}
        mta.mail(b"<ann@example.com>", b"SIZE=1234", b"BODY=8BITMIME", macros=auth)
        mta.rcpt(
            b"<bob@example.org>", mailer=b"smtp", host=b"[example.org]", addr=b"bob@example.org"
        )
        mta.rcpt(
            b"<eve@example.org>", b"NOTIFY=NEVER", mailer=b"local", host=b"", addr=b"eve", i=b"Q1"
        )
        mta.data(b"Q1")
        mta.header(b"Received", b"from a by b")
        mta.header(b"Subject", b"a long\r\n\tsubject")
        mta.header(b"subject", b"a second one")
        mta.header(b"Message-Id", b" <1@example.com>")
        mta.header(b"From", b"Ann <ann@example.com>")
        mta.header(b"Date", b"Mon, 1 Jan 2024 00:00:00 +0000")
        mta.header(b"X-Spamd-Result", b"default: False [1.50 / 15.00]; A(1.5)")
        mta.header(b"Content-Type", b"text/plain")
        mta.end(b"Q1")
    [record] = milterd.recorded()
    begin, end = record.pop("at"), record.pop("end")
    assert 0 <= end - begin < 60_000_000
    assert record == {
        "v": 1, "t": "txn", "id": "Q1", "stage": "eom", "aborted": False,
        "ip": "192.0.2.1", "port": 2525, "name": "mx.example.net", "helo": "client.example.net",
        "tls": "", "login": "ann", "auth": "PLAIN", "daemon": "smtpd.example.com",
        "sender": "ann@example.com", "params": ["SIZE=1234", "BODY=8BITMIME"], "size": 1234,
        "rcpts": [
            ["bob@example.org", "smtp", "[example.org]", 0, "", "", []],
            ["eve@example.org", "local", "", 0, "", "", ["NOTIFY=NEVER"]],
        ],
        "message_id": "1@example.com", "subject": "a long\tsubject",
        "from": "Ann <ann@example.com>", "date": "Mon, 1 Jan 2024 00:00:00 +0000",
        "verdicts": [["rspamd", "accept", "ham", "1.50", "default: False [1.50 / 15.00]; A(1.5)"]],
    }  # fmt: skip


def test_messages_of_one_connection_share_the_client_and_nothing_else(milterd: Milterd) -> None:
    with Mta(milterd.socket) as mta:
        mta.connect()
        mta.helo()
        mta.message(b"Q1")
        mta.mail(b"<second@example.com>")
        mta.rcpt(b"<x@example.org>", mailer=b"smtp", host=b"x", addr=b"x")
        mta.abort()
        mta.message(b"Q3")
    first, second, third = milterd.recorded()
    assert [record["id"] for record in (first, second, third)] == ["Q1", "", "Q3"]
    assert [record["subject"] for record in (first, second, third)] == [
        "message Q1",
        "",
        "message Q3",
    ]
    assert {record["ip"] for record in (first, second, third)} == {"192.0.2.1"}
    assert (second["aborted"], second["stage"]) == (True, "rcpt")


def test_a_refused_recipient_has_the_reason_and_its_own_address(milterd: Milterd) -> None:
    with Mta(milterd.socket) as mta:
        mta.connect()
        mta.mail()
        reason = b"User unknown in local recipient table"
        mta.rcpt(b"<no@example.org>", mailer=b"error", host=b"5.1.1", addr=reason)
        mta.rcpt(b"<yes@example.org>", mailer=b"smtp", host=b"example.org", addr=b"yes@example.org")
        mta.abort()
    [record] = milterd.recorded()
    assert record["rcpts"] == [
        ["no@example.org", "error", "", 1, "5.1.1", reason.decode(), []],
        ["yes@example.org", "smtp", "example.org", 0, "", "", []],
    ]


def test_a_refused_recipient_is_recorded_though_the_client_hangs_up_at_once(
    milterd: Milterd,
) -> None:
    for number in range(50):  # libmilter does not read what comes together with the hang-up
        with Mta(milterd.socket) as mta:
            mta.connect()
            mta.mail()
            mta.rcpt(b"<r%d@example.org>" % number, mailer=b"error", host=b"5.1.1", addr=b"no")
            mta.abort()
            mta.say("Q")
            mta.close()
    recipients = [rcpt[0] for record in milterd.recorded() for rcpt in record["rcpts"]]
    assert sorted(recipients) == sorted(f"r{number}@example.org" for number in range(50))


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "eoh"])
@pytest.mark.parametrize("end", ["abort", "two aborts", "close"])
def test_an_abandoned_transaction_is_recorded_once(milterd: Milterd, stage: str, end: str) -> None:
    with Mta(milterd.socket) as mta:
        mta.connect()
        mta.mail()
        if stage != "mail":
            mta.rcpt(b"<bob@example.org>", mailer=b"smtp", host=b"x", addr=b"x", i=b"Q1")
        if stage in ("data", "eoh"):
            mta.data(b"Q1")
        if stage == "eoh":
            mta.say("N")
        for _ in range({"abort": 1, "two aborts": 2, "close": 0}[end]):
            mta.abort()
    [record] = milterd.recorded()
    assert (record["aborted"], record["stage"]) == (True, stage)
    assert record["id"] == ("" if stage == "mail" else "Q1")


def test_no_macro_outlives_what_it_was_said_of(milterd: Milterd) -> None:
    with Mta(milterd.socket) as mta:  # an MTA sends no packet for macros that have no values
        mta.connect()
        mta.helo()
        mta.mail(macros={b"{auth_authen}": b"ann", b"{auth_type}": b"PLAIN"})
        mta.rcpt(b"<no@example.org>", mailer=b"error", host=b"5.1.1", addr=b"no", i=b"Q1")
        mta.data(b"Q1")
        mta.end(b"Q1")
        mta.helo()
        mta.mail()
        mta.rcpt(b"<yes@example.org>", mailer=b"smtp", host=b"x", addr=b"x")
        mta.abort()
    first, second = milterd.recorded()
    assert (first["login"], first["auth"], first["id"]) == ("ann", "PLAIN", "Q1")
    assert (second["login"], second["auth"], second["id"]) == ("", "", "")


def test_tls_counts_from_the_second_helo_on(milterd: Milterd) -> None:
    with Mta(milterd.socket) as mta:
        mta.connect()
        mta.helo(b"plain.example.net")
        mta.helo(
            b"secret.example.net",
            {b"{tls_version}": b"TLSv1.3", b"{cipher}": b"TLS_AES_256_GCM_SHA384"},
        )
        mta.message(b"Q1")
    [record] = milterd.recorded()
    assert record["helo"] == "secret.example.net"
    assert record["tls"] == "TLSv1.3 TLS_AES_256_GCM_SHA384"


@pytest.mark.parametrize(
    ("spoken", "address"),
    [
        (b"<>", ""),
        (b"", ""),
        (b"<ann@example.com>", "ann@example.com"),
        (b"ann@example.com", "ann@example.com"),
        (b'<"a> b"@example.com>', '"a> b"@example.com'),
        ("<jörg@example.com>".encode(), "jörg@example.com"),
    ],
)
def test_addresses_have_no_brackets(milterd: Milterd, spoken: bytes, address: str) -> None:
    with Mta(milterd.socket) as mta:
        mta.connect()
        mta.mail(spoken)
        mta.rcpt(spoken, mailer=b"smtp", host=b"x", addr=b"x")
        mta.data(b"Q1")
        mta.end(b"Q1")
    [record] = milterd.recorded()
    assert record["sender"] == address
    assert record["rcpts"][0][0] == address


def test_bytes_that_are_not_utf_8_are_kept_and_answered(milterd: Milterd) -> None:
    bad = b"caf\xe9"
    with Mta(milterd.socket) as mta:
        mta.connect(name=bad)
        mta.helo(bad)
        mta.mail(b"<%s@example.com>" % bad, b"X=" + bad, macros={b"{auth_authen}": bad})
        mta.rcpt(b"<%s@example.org>" % bad, mailer=b"error", host=bad, addr=bad)
        mta.data(bad)
        mta.header(b"X-Spam-" + bad, b"lost: no name we know is spelt so")
        mta.header(b"Subject", bad)
        mta.end(bad)
        mta.message(b"Q2")
    first, second = milterd.recorded()
    kept = "caf\udce9"
    assert first["name"] == kept
    assert (first["helo"], first["login"], first["id"]) == (kept, kept, kept)
    assert (first["sender"], first["params"]) == (f"{kept}@example.com", [f"X={kept}"])
    assert first["rcpts"] == [[f"{kept}@example.org", "error", "", 1, kept, kept, []]]
    assert first["subject"] == kept
    assert second["subject"] == "message Q2"


def test_a_client_name_that_is_not_utf_8_is_kept(milterd: Milterd) -> None:
    with Mta(milterd.socket) as mta:
        mta.connect(name=b"caf\xe9.example.net")
        mta.message(b"Q1")
    [record] = milterd.recorded()
    assert record["name"] == "caf\udce9.example.net"
    assert (record["ip"], record["port"]) == ("192.0.2.1", 2525)
    assert record["daemon"] == "smtpd.example.com"
    assert record["helo"] == ""


def test_a_connection_that_follows_without_negotiation_stays_silent(milterd: Milterd) -> None:
    with Mta(milterd.socket) as mta:
        mta.connect()
        mta.message(b"Q1")
        mta.say("K")  # SMFIC_QUIT_NC, as after XCLIENT
        mta.connect(b"other.example.net", b"192.0.2.2", 99)
        mta.message(b"Q2")
    first, second = milterd.recorded()
    assert (first["ip"], second["ip"], second["port"]) == ("192.0.2.1", "192.0.2.2", 99)


def test_an_ipv6_client_and_one_without_address(milterd: Milterd) -> None:
    with Mta(milterd.socket) as mta:
        mta.connect(ip=b"IPv6:2001:db8::1", family=b"6")
        mta.message(b"Q1")
    with Mta(milterd.socket) as mta:
        mta.say("C", b"nowhere\0U", {b"{client_addr}": b"unknown"})
        mta.message(b"Q2")
    first, second = milterd.recorded()
    assert first["ip"] == "2001:db8::1"
    assert (second["ip"], second["port"]) == ("unknown", 0)


def test_a_thousand_recipients_are_one_record(milterd: Milterd) -> None:
    with Mta(milterd.socket) as mta:
        mta.connect()
        mta.mail()
        for number in range(1000):
            mta.rcpt(b"<r%d@example.org>" % number, mailer=b"smtp", host=b"example.org", addr=b"r")
        mta.data(b"Q1")
        mta.end(b"Q1")
    [record] = milterd.recorded()
    assert [rcpt[0] for rcpt in record["rcpts"]] == [f"r{n}@example.org" for n in range(1000)]


def test_the_phantom_of_a_discarded_message_is_dropped(milterd: Milterd) -> None:
    with Mta(milterd.socket) as phantom:
        phantom.connect(b"localhost", b"127.0.0.1", 0)
        phantom.mail(b"ann@example.com", macros={b"i": b"Q1"})
        phantom.rcpt(b"bob@example.org", i=b"Q1")
        phantom.abort()
    with Mta(milterd.socket) as local:
        local.connect(b"localhost", b"127.0.0.1", 0)
        local.message(b"Q2", b"root")
    [record] = milterd.recorded()
    assert (record["id"], record["port"]) == ("Q2", 0)


def test_the_queue_id_of_local_mail_is_known_from_mail_on(milterd: Milterd) -> None:
    with Mta(milterd.socket) as mta:
        mta.connect(b"localhost", b"127.0.0.1", 0)
        mta.mail(b"root@example.com", macros={b"i": b"Q1"})
        mta.rcpt(b"bob@example.org")
        mta.data()
        mta.abort()
    [record] = milterd.recorded()
    assert (record["id"], record["stage"]) == ("Q1", "data")


@pytest.mark.parametrize(("rule", "kept"), [("off", ""), ("hashed", "#"), ("stored", "message Q1")])
def test_the_subject_is_kept_as_configured(start: Start, rule: str, kept: str) -> None:
    milterd = start(settings=f'subject = "{rule}"')
    for queue_id in (b"Q1", b"Q1", b"Q2"):
        with Mta(milterd.socket) as mta:
            mta.connect()
            mta.message(queue_id)
    subjects = [record["subject"] for record in milterd.recorded()]
    assert subjects[0].startswith(kept)
    assert subjects[0] == subjects[1]
    assert (subjects[0] == subjects[2]) == (rule == "off")
    assert (rule == "stored") == any(b"message Q" in line for line in milterd.lines())
    if rule == "hashed":
        assert (milterd.spool / "KEY").stat().st_mode & 0o777 == 0o600


CALLBACKS = [
    "negotiate",
    "connect",
    "helo",
    "mail",
    "rcpt",
    "data",
    "header",
    "eoh",
    "eom",
    "abort",
    "close",
]


@pytest.mark.parametrize("offered", [ALL_PROTOCOL, 0x37F], ids=["silent", "replying"])
@pytest.mark.parametrize("callback", CALLBACKS)
def test_an_exception_anywhere_costs_no_mail(start: Start, callback: str, offered: int) -> None:
    milterd = start(callback, program=FAULTY)
    for _ in range(2):
        with Mta(milterd.socket, protocol=offered) as mta:  # every reply must be CONTINUE
            mta.connect()
            mta.helo()
            mta.message(b"Q1")
            mta.mail()
            mta.rcpt(b"<bob@example.org>", mailer=b"smtp", host=b"x", addr=b"x")
            mta.abort()
            mta.message(b"Q2")
    assert milterd.stop() == 0
    assert f"callback failed name={callback if callback == 'negotiate' else 'fail'}" in (
        milterd.errors.read_text()
    )


def test_an_mta_that_cannot_keep_silent_is_answered(milterd: Milterd) -> None:
    with Mta(milterd.socket, protocol=0x37F) as mta:  # from before no-reply steps
        assert mta.protocol & NO_REPLIES == 0
        mta.connect()
        mta.helo()
        mta.message(b"Q1")
    assert len(milterd.recorded()) == 1
    assert "MTA offers less than is asked for" in milterd.errors.read_text()


def test_over_inet_every_callback_replies(start: Start) -> None:
    port = free_port()
    milterd = start("--socket", f"inet:{port}@127.0.0.1")
    with Mta(port) as mta:
        assert mta.protocol & NO_REPLIES == 0
        assert mta.protocol & NOBODY
        mta.connect()
        mta.helo()
        mta.message(b"Q1")
    assert len(milterd.recorded()) == 1
    assert "inet socket costs latency" in milterd.errors.read_text()


def test_files_are_for_the_groups_that_need_them(milterd: Milterd) -> None:
    modes = {
        path.name: path.stat().st_mode & 0o777
        for path in (milterd.socket, milterd.spool, milterd.spool / "current")
    }
    assert modes == {"milter.sock": 0o770, "spool": 0o750, "current": 0o640}


def test_a_second_instance_is_refused_and_the_first_stays(milterd: Milterd, tmp_path: Path) -> None:
    for option in (["--socket", f"unix:{tmp_path}/other.sock"], ["--spool", f"{tmp_path}/other"]):
        command = [sys.executable, "-c", PROGRAM, "--config", f"{tmp_path}/posttrail.toml", *option]
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
        assert second.returncode == 75
        assert second.stderr.startswith("posttrail-milterd: already running: process ")
        assert not (tmp_path / "other.sock").exists()
    with Mta(milterd.socket) as mta:
        mta.connect()
        mta.message(b"Q1")
    assert len(milterd.recorded()) == 1


def test_a_socket_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    options = ["--socket", f"unix:{tmp_path}/{'x' * 120}", "--spool", f"{tmp_path}/spool"]
    command = [sys.executable, "-c", PROGRAM, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.returncode == 69
    assert "cannot listen on unix:" in done.stderr


def test_wrong_usage_is_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, "--nonsense"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.returncode == 64


def test_sigterm_waits_for_the_open_transaction_and_drains(milterd: Milterd) -> None:
    with Mta(milterd.socket, protocol=0x37F) as mta:  # replies tell that a step was taken
        mta.connect()
        for number in range(300):
            mta.message(b"Q%d" % number)
        mta.mail()
        mta.rcpt(b"<bob@example.org>", mailer=b"smtp", host=b"x", addr=b"x")
        mta.data(b"LAST")
        milterd.process.terminate()
        milterd.await_notice(b"STOPPING=1")
        mta.end(b"LAST")
        mta.close()
    assert milterd.process.wait(20) == 0
    expected = [f"Q{number}" for number in range(300)] + ["LAST"]
    assert [record["id"] for record in milterd.records()] == expected
    assert len(milterd.records("stop")) == 1
    assert not milterd.socket.exists()


def test_kill_9_leaves_whole_lines_and_a_spool_to_go_on_with(
    start: Start, until: Callable[..., None]
) -> None:
    first = start()
    with Mta(first.socket) as mta:
        mta.connect()
        for number in range(250):
            mta.message(b"Q%d" % number)
        until(first.records)
        for number in range(250, 500):
            mta.message(b"Q%d" % number)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(20)
        mta.close()
    before = [record["id"] for record in first.records()]
    assert before
    assert before == [f"Q{number}" for number in range(len(before))]
    with (first.spool / "current").open("ab") as current:
        current.write(b"00000100 torn")  # what a power cut may leave
    second = start()
    with Mta(second.socket) as mta:
        mta.connect()
        mta.message(b"AGAIN")
    assert second.stop() == 0
    whole = [record for record in map(parse_line, second.lines()) if record]
    assert [record["id"] for record in whole if record["t"] == "txn"] == [*before, "AGAIN"]
    assert len(second.lines()) == len(whole) + 1


def test_a_full_disk_is_survived_counted_and_told(start: Start, until: Callable[..., None]) -> None:
    milterd = start(settings="queue_records = 50")
    resource.prlimit(milterd.process.pid, resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
    with Mta(milterd.socket) as mta:
        mta.connect()
        for number in range(200):  # each is answered
            mta.message(b"F%d" % number)
        until(lambda: "spool cannot be written" in milterd.errors.read_text())
        for number in range(200, 400):
            mta.message(b"F%d" % number)
        until(
            lambda: milterd.gauge("spool_failing") == 1 and milterd.gauge("lost_records_total") > 0
        )
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(milterd.process.pid, resource.RLIMIT_FSIZE, unlimited)
        until(lambda: "spool can be written again" in milterd.errors.read_text())
        until(lambda: milterd.gauge("queue_records") == milterd.gauge("spool_failing") == 0)
        mta.message(b"ROOM")
    records = milterd.recorded()
    assert records[-1]["id"] == "ROOM"
    names = [record["id"] for record in records]
    assert len(set(names)) == len(names)
    lost = sum(record["n"] for record in milterd.records("lost"))
    assert lost > 0
    assert len(records) + lost == 401


def test_a_heartbeat_and_the_watchdog_prove_progress(start: Start) -> None:
    milterd = start(WATCHDOG_USEC="30000000")
    milterd.await_notice(b"WATCHDOG=1")
    assert milterd.records("start")
    milterd.await_notice(b"WATCHDOG=1")
    assert milterd.recorded() == []
    assert milterd.records("beat")
    assert milterd.gauge("spool_failing") == 0
