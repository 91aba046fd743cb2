"""Mail that is turned away, taken aside or broken off at the door, and traffic that is no mail."""

from __future__ import annotations

from tests.bench.replies import REFUSALS
from tests.bench.scene import Letter, Row, Scene
from tests.bench.world import Client


def refuse_rcpt(scene: Scene, letter: Letter, pid: int, client: Client, to: str, key: str) -> None:
    """One RCPT is refused; the milter hears it too (SMFIP_RCPT_REJ)."""
    reason, reply = scene.world.random.choice(REFUSALS)
    text = reply.format(to=to, ip=client.ip, from_=letter.sender)
    scene.postfix(
        "smtpd",
        pid,
        f"{key}: reject: RCPT from {client}: {text}; from=<{letter.sender}> "
        f"to=<{to}> proto=ESMTP helo=<{client.name}>",
    )
    letter.rows.append(Row(to, None, "rejected", reason))
    if letter.said:
        letter.said.rcpt(to, reason, reply.format(to=to, ip=client.ip, from_=letter.sender))


def incoming(scene: Scene) -> tuple[Letter, Client]:
    """Somebody outside begins to send."""
    sender = scene.world.stranger()
    client = scene.world.calling(scene.world.client_of(sender))
    return scene.letter(sender, client.ip), client


def refused(scene: Scene) -> None:
    """Refused at RCPT: no queue file at all. Each recipient's refusal is a message to the log."""
    sender, client = scene.world.stranger(), scene.world.bad_client()
    pid = scene.connect("smtpd", client, tls=scene.chance(0.2))
    letter = scene.letter(sender, client.ip)
    said = scene.mail(letter, client)
    count = 2 if scene.chance(0.02) else 1
    for number in range(count):
        if number:
            letter = scene.letter(sender, client.ip)
            letter.said = said
        to = f"nobody{scene.world.random.randrange(10_000)}@example.com"
        to = to if scene.chance(0.4) else scene.world.mailbox()
        if any(to == rcpt.address for rcpt in said.rcpts):
            to = f"more.{to}"
        refuse_rcpt(scene, letter, pid, client, to, "NOQUEUE")
        letter.time_us = scene.at
    said.end(scene.at, "rcpt")
    scene.disconnect("smtpd", pid, client, refused=count)


def postscreen(scene: Scene) -> None:
    """Refused by postscreen(8) before any smtpd saw it."""
    client, pid = scene.world.bad_client(), 1_301
    where = f"[{client.ip}]:{scene.world.random.randrange(20_000, 60_000)}"
    letter, to = scene.letter(scene.world.stranger(), client.ip), scene.world.mailbox()
    scene.postfix("postscreen", pid, f"CONNECT from {where} to [192.0.2.1]:25")
    scene.postfix("postscreen", pid, f"DNSBL rank 5 for {where}")
    scene.postfix(
        "postscreen",
        pid,
        f"NOQUEUE: reject: RCPT from {where}: 550 5.7.1 Service unavailable; client "
        f"[{client.ip}] blocked using zen.blocklist.test; from=<{letter.sender}>, to=<{to}>, "
        f"proto=ESMTP, helo=<{client.ip}>",
    )
    letter.time_us = scene.at
    letter.rows.append(Row(to, None, "rejected", "blocklist"))
    scene.postfix("postscreen", pid, f"DISCONNECT {where}")


def content_verdict(scene: Scene) -> None:
    """A milter or header_checks decides after DATA: reject, discard or hold."""
    letter, client = incoming(scene)
    to = scene.world.mailbox()
    status = scene.world.random.choices(("rejected", "filtered", "in_progress"), (60, 30, 10))[0]
    if status == "in_progress":
        held(scene, letter, client, to, early=False)
        letter.rows.append(Row(to, to, status, "held"))
        return
    pid = scene.connect("smtpd", client, tls=False)
    said = scene.mail(letter, client)
    said.rcpt(to)
    queue_id = scene.open_file(letter, "smtpd", pid, client)
    cleanup = scene.cleanup(letter, queue_id)
    envelope = f"from=<{letter.sender}> to=<{to}> proto=ESMTP helo=<{client.name}>"
    if status == "rejected":
        text = (
            f"milter-reject: END-OF-MESSAGE from {client.bare}: 5.7.1 Looks like spam; {envelope}"
        )
        letter.rows.append(Row(to, None, status, "spam"))
    else:
        text = f"discard: header Subject: win a prize from {client}; {envelope}: bulk"
        letter.rows.append(Row(to, to, status, "discarded"))
    scene.postfix("cleanup", cleanup, f"{queue_id}: {text}")
    said.end(scene.at, "data", queue_id)  # the other milter is before ours: it hears an abort
    scene.disconnect("smtpd", pid, client, refused=int(status == "rejected"))
    scene.lose(queue_id)


def held(scene: Scene, letter: Letter, client: Client, to: str, *, early: bool) -> str:
    """Put on hold by header_checks, or ``early`` by an access map; the queue id."""
    pid = scene.connect("smtpd", client, tls=False)
    said = scene.mail(letter, client)
    said.rcpt(to)
    envelope = f"from=<{letter.sender}> to=<{to}> proto=ESMTP helo=<{client.name}>"
    if early:
        text = f"<{to}>: Recipient address waits for review; {envelope}"
        scene.postfix("smtpd", pid, f"NOQUEUE: hold: RCPT from {client}: {text}")
    held_us = scene.at
    queue_id = scene.open_file(letter, "smtpd", pid, client)
    letter.time_us = held_us if early else letter.time_us
    cleanup = scene.cleanup(letter, queue_id)
    if not early:
        text = f"hold: header X-Suspect: yes from {client}; {envelope}: look at it"
        scene.postfix("cleanup", cleanup, f"{queue_id}: {text}")
    said.end(scene.at, "eom", queue_id, letter.message_id or "")
    scene.disconnect("smtpd", pid, client)
    return queue_id


def abandoned(scene: Scene) -> None:
    """The client breaks off: a queue file that comes to nothing, no row."""
    letter, client = incoming(scene)
    pid = scene.connect("smtpd", client, tls=False)
    said = scene.mail(letter, client)
    queue_id = scene.open_file(letter, "smtpd", pid, client)
    said.rcpt(scene.world.mailbox())
    scene.postfix("smtpd", pid, f"lost connection after RCPT from {client}")
    said.end(scene.at, "rcpt")  # DATA never came, and with it no queue id
    letter.sender = None  # as the log has it
    scene.disconnect("smtpd", pid, client, refused=1)
    scene.lose(queue_id, abandoned=True)


def nothing(scene: Scene) -> None:
    """Traffic that is no mail: statistics, a probe of the port, an IMAP login."""
    client = scene.world.bad_client()
    pid = scene.connect("smtpd", client, tls=False)
    scene.postfix("smtpd", pid, f"disconnect from {client} ehlo=1 quit=1 commands=2")
    scene.postfix(
        "anvil",
        scene.pid("anvil"),
        f"statistics: max connection rate 3/60s for (smtp:{client.ip}) at Oct  1 00:00:09",
    )
    scene.say(
        f"{scene.host} dovecot: imap-login: Login: user=<{scene.world.mailbox()}>, method=PLAIN, "
        f"rip={client.ip}, lip=192.0.2.1, mpid={scene.pid('dovecot')}, TLS"
    )
