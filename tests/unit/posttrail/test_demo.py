"""The parts of the demonstration that need no Postfix: sinks, expectations, files, clean-up."""

import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from posttrail.demo.mails import MAILS, expected
from posttrail.demo.main import unsettled
from posttrail.demo.postfix_files import Places, Ports, files
from posttrail.demo.sinks import Sinks, all_at
from posttrail.demo.stage import folder
from posttrail.errors import UsageError


@pytest.fixture(scope="module")
def sinks() -> Iterator[Sinks]:
    with Sinks() as running:
        yield running


def replies(sinks: Sinks, name: str, recipient: str) -> tuple[int, bytes]:
    """What a sink says to RCPT."""
    with smtplib.SMTP("127.0.0.1", sinks.ports[name], local_hostname="test.example") as client:
        client.ehlo()
        client.mail("alice@example.com")
        return client.rcpt(recipient)


@pytest.mark.parametrize(
    ("name", "code", "enhanced"),
    [("accepts", 250, b"2.1.5"), ("full", 452, b"4.2.2"), ("unknown", 550, b"5.1.1")],
)
def test_a_sink_answers_a_recipient_as_its_name_says(
    sinks: Sinks, name: str, code: int, enhanced: bytes
) -> None:
    said, text = replies(sinks, name, "x@example.net")
    assert said == code
    assert text.startswith(enhanced)


def test_a_greylist_defers_each_recipient_once(sinks: Sinks) -> None:
    tries = [replies(sinks, "greylists", name)[0] for name in ("a@b.test", "a@b.test", "c@d.test")]
    assert tries == [450, 250, 450]


def test_accepted_mail_is_queued_under_a_new_id_each_time(sinks: Sinks) -> None:
    with smtplib.SMTP("127.0.0.1", sinks.ports["accepts"], local_hostname="test.example") as client:
        said = []
        for _ in range(2):
            client.ehlo_or_helo_if_needed()
            client.mail("alice@example.com")
            client.rcpt("x@example.net")
            said.append(client.data(b"Subject: x\r\n\r\n.leading dot\r\n"))
    assert all(code == 250 and b"queued as " in text for code, text in said)
    assert said[0] != said[1]


def test_a_message_can_be_refused_after_data(sinks: Sinks) -> None:
    with (
        smtplib.SMTP("127.0.0.1", sinks.ports["refuses"], local_hostname="test.example") as client,
        pytest.raises(smtplib.SMTPDataError, match="refused by local policy"),
    ):
        client.sendmail("alice@example.com", ["x@example.net"], b"Subject: x\r\n\r\nx\r\n")


def settled_rows() -> list[dict[str, object]]:
    return [
        {
            "sender": sender,
            "recipient": fate.recipient,
            "final_recipient": fate.final_recipient,
            "status": fate.status,
        }
        for sender, fate in expected()
    ]


def test_all_rows_as_expected_are_settled() -> None:
    assert unsettled(settled_rows()) == []


def test_a_row_of_another_status_is_not_settled() -> None:
    rows = settled_rows()
    rows[0]["status"] = "in_progress"
    assert unsettled(rows) == ["<partner@example.net> to <team@example.com> delivered"]


def test_the_mails_end_in_each_of_the_six_statuses() -> None:
    assert {fate.status for mail in MAILS for fate in mail.fates} == {
        "delivered", "in_progress", "deferred", "error", "rejected", "filtered",
    }  # fmt: skip


def test_settings_stand_in_main_cf_instead_of_ours() -> None:
    places = Places(
        directory=Path("/nowhere"),
        daemons="/usr/lib/postfix/sbin",
        commands="/usr/sbin",
        ports=Ports.from_base(20000),
        sinks=all_at(25),
        milter=True,
        settings=("in_flow_delay = 1s",),
    )
    written = files(places)["main.cf"].splitlines()
    assert [line for line in written if line.startswith("in_flow")] == ["in_flow_delay = 1s"]
    names = [line.partition("=")[0].strip() for line in written]
    assert len(names) == len(set(names))


def test_a_folder_of_our_own_is_removed_and_a_kept_one_is_not(tmp_path: Path) -> None:
    with folder(tmp_path / "gone", keep=False) as gone, folder(tmp_path / "kept", keep=True):
        (gone / "file").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_folder_with_anything_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError), folder(tmp_path, keep=False):
        pass
    assert (tmp_path / "file").exists()
