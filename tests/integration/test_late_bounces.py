"""A mail that the next host took comes back an hour later in the real world, here at once."""

from typing import Any

from tests.integration.parts import Parts, client
from tests.waiting import wait_until

NOTICE = """\
From: Mail Delivery System <mailer-daemon@example.net>
To: <{sender}>
Subject: {subject}
Message-ID: <notice.{name}@example.net>
References: <{name}@example.com>
Content-Type: multipart/report; report-type=delivery-status; boundary=x

--x
"""


def send(parts: Parts, sender: str, recipient: str, text: str) -> None:
    with client(parts.lab) as smtp:
        smtp.sendmail(sender, [recipient], text.replace("\n", "\r\n"))


def row_of(parts: Parts, name: str) -> dict[str, Any]:
    rows = [row for row in parts.rows() if row["message_id"] == f"{name}@example.com"]
    return rows[0] if rows else {}


def sent_out(parts: Parts, name: str) -> None:
    """A mail to another host, which takes it."""
    text = f"Message-ID: <{name}@example.com>\n\nx\n"
    send(parts, "alice@example.com", "partner@example.net", text)
    wait_until(lambda: row_of(parts, name).get("status") == "delivered")


def come_back(parts: Parts, name: str, subject: str) -> None:
    """A notice about it from outside, until its own row is there."""
    text = NOTICE.format(sender="alice@example.com", name=name, subject=subject)
    send(parts, "", "alice@example.com", text)
    found = f"notice.{name}@example.net"
    wait_until(
        lambda: any(
            row["message_id"] == found and row["sources"] == ["milter", "log"]
            for row in parts.rows()
        )
    )


def test_a_delivered_mail_that_came_back_is_an_error_and_both_facts_stay(parts: Parts) -> None:
    sent_out(parts, "lost")
    come_back(parts, "lost", "Undelivered Mail Returned to Sender")
    wait_until(lambda: row_of(parts, "lost")["status"] == "error")
    row = row_of(parts, "lost")
    assert row["reason"] == "late_bounce"
    assert row["recipient"] == "partner@example.net"
    assert row["relay"]
    shown = parts.posttrail("show", row["id"]).stdout
    assert "queued as" in shown  # the delivery's own reply
    assert "Undelivered Mail Returned to Sender" in shown
    assert "late_bounce: " in shown  # the link to the notice


def test_a_notice_of_delay_leaves_it_delivered(parts: Parts) -> None:
    sent_out(parts, "slow")
    come_back(parts, "slow", "Delayed Mail (still being retried)")
    assert row_of(parts, "slow")["status"] == "delivered"
