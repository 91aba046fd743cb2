"""Mail that is turned away, taken aside or broken off at the door, and traffic that is no mail."""

from __future__ import annotations

from tests.bench.replies import REFUSALS
from tests.bench.scene import HOST, Letter, Row, Scene
from tests.bench.world import Client


def refuse_rcpt(scene: Scene, letter: Letter, pid: int, client: Client, to: str, key: str) -> None:
    reason, reply = scene.world.random.choice(REFUSALS)
    text = reply.format(to=to, ip=client.ip, from_=letter.sender)
    scene.postfix(
        "smtpd",
        pid,
        f"{key}: reject: RCPT from {client}: {text}; from=<{letter.sender}> "
        f"to=<{to}> proto=ESMTP helo=<{client.name}>",
    )
    letter.rows.append(Row(to, None, "rejected", reason))


def incoming(scene: Scene) -> tuple[Letter, Client]:
    sender = scene.world.stranger()
    client = scene.world.client_of(sender)
    return scene.letter(sender, client.ip), client


def refused(scene: Scene) -> None:
    """Refused at RCPT: no queue file at all."""
    sender, client = scene.world.stranger(), scene.world.bad_client()
    pid = scene.connect("smtpd", client, tls=scene.chance(0.2))
    letter = scene.letter(sender, client.ip)
    to = f"nobody{scene.world.random.randrange(10_000)}@example.com"
    refuse_rcpt(
        scene, letter, pid, client, to if scene.chance(0.4) else scene.world.mailbox(), "NOQUEUE"
    )
    letter.time_us = scene.at
    scene.disconnect("smtpd", pid, client, refused=1)


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
    pid, to = scene.connect("smtpd", client, tls=False), scene.world.mailbox()
    queue_id = scene.open_file(letter, "smtpd", pid, client)
    cleanup = scene.cleanup(letter, queue_id)
    envelope = f"from=<{letter.sender}> to=<{to}> proto=ESMTP helo=<{client.name}>"
    status = scene.world.random.choices(("rejected", "filtered", "in_progress"), (60, 30, 10))[0]
    if status == "rejected":
        text = f"milter-reject: END-OF-MESSAGE from {client}: 5.7.1 Looks like spam; {envelope}"
        letter.rows.append(Row(to, None, status, "spam"))
    elif status == "filtered":
        text = f"discard: header Subject: win a prize from {client}; {envelope}: bulk"
        letter.rows.append(Row(to, to, status, "discarded"))
    else:
        text = f"hold: header X-Suspect: yes from {client}; {envelope}: look at it"
        letter.rows.append(Row(to, to, status, "held"))
    scene.postfix("cleanup", cleanup, f"{queue_id}: {text}")
    scene.disconnect("smtpd", pid, client, refused=int(status == "rejected"))


def abandoned(scene: Scene) -> None:
    """The client breaks off: a queue file that comes to nothing, no row."""
    letter, client = incoming(scene)
    pid = scene.connect("smtpd", client, tls=False)
    scene.open_file(letter, "smtpd", pid, client)
    scene.postfix("smtpd", pid, f"lost connection after RCPT from {client}")
    scene.disconnect("smtpd", pid, client, refused=1)


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
        f"{HOST} dovecot: imap-login: Login: user=<{scene.world.mailbox()}>, method=PLAIN, "
        f"rip={client.ip}, lip=192.0.2.1, mpid={scene.pid('dovecot')}, TLS"
    )
