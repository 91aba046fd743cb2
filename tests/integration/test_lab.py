"""Each mail of the demonstration ends as it must: the private Postfix's own log says so."""

import re

import pytest

from posttrail.demo.lab import Lab
from posttrail.demo.mails import GREYLISTED, MAILS, NOTICES, Fate, Mail
from posttrail.demo.postfix_files import LOGIN

DAEMON = {"stored": "virtual", "relayed": "smtp", "piped": "pipe", "discarded": "discard"}
"""The delivery agent whose line sets a reason; the smtp client where none is named."""

WORDS = {
    "unknown_user": "550 5.1.1 .*User unknown",
    "relay_denied": "Relay access denied",
    "policy": "(?:not welcome here|Service currently unavailable)",
    "virus": "carries a virus",
}
FATES = [pytest.param(mail, fate, id=mail.subject) for mail in MAILS for fate in mail.fates]


def evidence(mail: Mail, fate: Fate) -> str:
    """The shape of the log line that proves a fate."""
    sender, recipient = re.escape(mail.sender), re.escape(fate.recipient)
    if fate.status == "rejected":
        return rf"reject: .*{WORDS[fate.reason]}.*from=<{sender}>,? to=<{recipient}>|" + (
            rf"reject: .*from=<{sender}>,? to=<{recipient}>.*{WORDS[fate.reason]}"
        )
    if fate.status == "in_progress":
        return rf"NOQUEUE: hold: .*from=<{sender}> to=<{recipient}>"
    final = re.escape(fate.final_recipient or "")
    orig = "" if fate.recipient == fate.final_recipient else rf"orig_to=<{recipient}>, "
    word = {"error": "bounced", "deferred": "deferred"}.get(fate.status, "sent")
    daemon = DAEMON.get(fate.reason, "smtp")
    return rf"postfix/{daemon}\[\d+\]: \w+: to=<{final}>, {orig}relay=.* status={word} \("


@pytest.mark.parametrize(("mail", "fate"), FATES)
def test_the_log_tells_the_fate(plain_lab: Lab, mail: Mail, fate: Fate) -> None:
    assert re.search(evidence(mail, fate), plain_lab.log.read_text())


def test_the_greylisted_mail_was_deferred_before(plain_lab: Lab) -> None:
    outcomes = re.findall(rf"to=<{GREYLISTED}>.* status=(\w+)", plain_lab.log.read_text())
    assert outcomes == ["deferred", "sent"]


def test_each_bounce_brought_a_notice(plain_lab: Lab) -> None:
    log = plain_lab.log.read_text()
    notices = re.findall(r"sender non-delivery notification: (\w+)", log)
    told = {re.findall(rf"{notice}: to=<(.*?)>.*status=sent", log)[0] for notice in notices}
    assert told == {notice.recipient for notice in NOTICES}


def test_the_filter_gave_the_message_a_second_queue_file(plain_lab: Lab) -> None:
    log = plain_lab.log.read_text()
    ids = set(re.findall(r"reinject/smtpd\[\d+\]: (\w+): client=.*orig_queue_id=(\w+)", log))
    ((second, first),) = ids
    assert f"{first}: to=<carol@example.com>" in log
    assert re.search(rf"{first}: .*queued as {second}\)", log)


def test_submission_was_authenticated_over_tls(plain_lab: Lab) -> None:
    log = plain_lab.log.read_text()
    assert f"sasl_method=PLAIN, sasl_username={LOGIN[0]}" in log
    assert re.search(r"submission/smtpd.*TLS connection established .* TLSv1\.3", log)


def test_the_local_submission_came_by_pickup(plain_lab: Lab) -> None:
    assert "uid=0 from=<cron@example.com>" in plain_lab.log.read_text()


def test_postfix_has_nothing_to_complain_about(plain_lab: Lab) -> None:
    assert not re.findall(r".*(?:warning|error|fatal|panic): .*", plain_lab.log.read_text())


def test_nothing_listens_beyond_loopback(plain_lab: Lab) -> None:
    settings = (plain_lab.directory / "etc" / "master.cf").read_text()
    listening = re.findall(r"^(\S+) inet ", settings, re.MULTILINE)
    assert len(listening) == 7
    assert all(name.startswith("127.0.0.1:") for name in listening)
