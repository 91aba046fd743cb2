"""The rest of the door: every stage that can refuse, other milters, discard, quarantine, size.

Which of these our milter hears, and when it hears an abort, was measured with Postfix 3.7.
"""

from __future__ import annotations

from tests.bench.refusals import incoming
from tests.bench.scene import Row, Scene


def refused_early(scene: Scene) -> None:
    """smtpd_delay_reject = no: refused before a recipient was named, and no milter hears it."""
    sender, client = scene.world.stranger(), scene.world.bad_client()
    pid = scene.connect("smtpd", client, tls=False)
    helo = f"helo=<{client.name}>"
    stage, text, fields, reason = scene.world.random.choice(
        (
            ("CONNECT", f"554 5.7.1 <{client.bare}>: Client host rejected: Access denied",
             "proto=SMTP", "policy"),
            ("CONNECT", f"554 5.7.1 Service unavailable; Client host [{client.ip}] blocked using "
             "zen.blocklist.test", "proto=SMTP", "blocklist"),
            ("HELO", f"504 5.5.2 <{client.name}>: Helo command rejected: need fully-qualified "
             "hostname", f"proto=SMTP {helo}", "policy"),
            ("EHLO", f"450 4.7.1 <{client.name}>: Helo command rejected: Host not found",
             f"proto=SMTP {helo}", "temporary"),
            ("MAIL", f"550 5.1.8 <{sender}>: Sender address rejected: Domain not found",
             f"from=<{sender}> proto=ESMTP {helo}", "policy"),
            ("MAIL", "552 5.3.4 Message size exceeds fixed limit",
             f"from=<{sender}> proto=ESMTP {helo}", "size"),
        )
    )  # fmt: skip
    letter = scene.letter(sender if stage == "MAIL" else None, client.ip)
    scene.postfix("smtpd", pid, f"NOQUEUE: reject: {stage} from {client}: {text}; {fields}")
    letter.time_us = scene.at
    letter.rows.append(Row(None, None, "rejected", reason))
    scene.disconnect("smtpd", pid, client, refused=1)


def refused_by_milter(scene: Scene) -> None:
    """A milter behind ours refuses at DATA, or at the end naming the last recipient only."""
    letter, client = incoming(scene)
    to = sorted({scene.world.mailbox() for _ in range(3)})
    at_data = scene.chance(0.4)
    pid = scene.connect("smtpd", client, tls=False)
    said = scene.mail(letter, client)
    queue_id = scene.open_file(letter, "smtpd", pid, client)
    for each in to:
        said.rcpt(each)
    envelope = f"from=<{letter.sender}> to=<{to[-1]}> proto=ESMTP helo=<{client.name}>"
    if at_data:
        to = to[-1:]
        said.rcpts = said.rcpts[-1:]
        text = f"milter-reject: DATA from {client}: 554 5.7.1 Not today; {envelope}"
        scene.postfix("smtpd", pid, f"{queue_id}: {text}")
        said.end(scene.at, "data", queue_id)
    else:
        cleanup = scene.cleanup(letter, queue_id)
        said.end(scene.at, "eom", queue_id, letter.message_id or "")
        text = f"milter-reject: END-OF-MESSAGE from {client.bare}: 5.7.1 Looks like a virus"
        scene.postfix("cleanup", cleanup, f"{queue_id}: {text}; {envelope}")
    reason = "policy" if at_data else "virus"
    letter.rows.append(Row(to[-1], None, "rejected", reason))
    letter.whole = [Row(each, None, "rejected", reason) for each in to]
    scene.disconnect("smtpd", pid, client, refused=1)
    scene.lose(queue_id, abandoned=at_data)


def discarded_at_rcpt(scene: Scene) -> None:
    """An access map's DISCARD: logged before the queue file, which then comes to nothing.

    Our milter hears MAIL and an abort (and cleanup's phantom, which leaves no record).
    """
    letter, client = incoming(scene)
    to = scene.world.mailbox()
    pid = scene.connect("smtpd", client, tls=False)
    scene.postfix(
        "smtpd",
        pid,
        f"NOQUEUE: discard: RCPT from {client}: <{to}>: Recipient address is a trap; "
        f"from=<{letter.sender}> to=<{to}> proto=ESMTP helo=<{client.name}>",
    )
    letter.time_us = scene.at
    letter.rows.append(Row(to, to, "filtered", "discarded"))
    dangling = scene.letter(None, client.ip)
    queue_id = scene.open_file(dangling, "smtpd", pid, client)
    scene.disconnect("smtpd", pid, client)
    scene.lose(queue_id, abandoned=True)


def quarantined(scene: Scene) -> None:
    """A milter puts it aside (SMFIR_QUARANTINE)."""
    letter, client = incoming(scene)
    to = scene.world.mailbox()
    pid = scene.connect("smtpd", client, tls=False)
    said = scene.mail(letter, client)
    said.rcpt(to)
    queue_id = scene.open_file(letter, "smtpd", pid, client)
    cleanup = scene.cleanup(letter, queue_id)
    scene.postfix(
        "cleanup",
        cleanup,
        f"{queue_id}: milter-hold: END-OF-MESSAGE from {client.bare}: milter triggers HOLD action; "
        f"from=<{letter.sender}> to=<{to}> proto=ESMTP helo=<{client.name}>",
    )
    said.end(scene.at, "eom", queue_id, letter.message_id or "")
    letter.rows.append(Row(to, to, "filtered", "quarantined"))
    scene.disconnect("smtpd", pid, client)


def too_large(scene: Scene) -> None:
    """The client sends more than it may: the log names nobody, the milter knows whom."""
    letter, client = incoming(scene)
    sender, to = letter.sender, scene.world.mailbox()
    pid = scene.connect("smtpd", client, tls=False)
    said = scene.mail(letter, client)
    said.rcpt(to)
    queue_id = scene.open_file(letter, "smtpd", pid, client)
    scene.cleanup(letter, queue_id)
    scene.postfix("smtpd", pid, f"warning: {queue_id}: queue file size limit exceeded")
    said.end(scene.at, "data", queue_id)
    letter.sender = None  # as the log has it
    said.sender = sender or ""
    letter.rows.append(Row(None, None, "rejected", "size"))
    letter.whole = [Row(to, None, "rejected", "size")]
    scene.disconnect("smtpd", pid, client, refused=1)
    scene.lose(queue_id)
