"""What operators and Postfix itself do to mail in the queue: hold, delete, requeue, probe, notify.

The lines are postsuper(1)'s, pickup(8)'s and bounce(8)'s, as Postfix 3.7 writes them.
"""

from __future__ import annotations

from tests.bench.arriving import arrive, submission
from tests.bench.refusals import held, incoming
from tests.bench.scene import Letter, Row, Scene
from tests.bench.world import SECOND


def held_and_released(scene: Scene) -> None:
    """header_checks or an access map hold it; an operator lets it go."""
    letter, client = incoming(scene)
    to = scene.world.mailbox()
    queue_id = held(scene, letter, client, to, early=scene.chance(0.5))
    later = scene.world.random.randrange(1, 3600) * SECOND
    if scene.at + later + 60 * SECOND > scene.world.end_us:
        letter.rows.append(Row(to, to, "in_progress", "held"))
        return
    scene.at += later
    postsuper(scene, queue_id, "released from hold", "Released from hold")
    scene.activate(letter, queue_id, 1)
    scene.store(letter, queue_id, to)
    scene.removed(queue_id)


def put_on_hold(scene: Scene) -> None:
    """Deferred, then held by an operator who forgets about it."""
    letter, queue_id, to = _deferred_once(scene)
    postsuper(scene, queue_id, "placed on hold", "Placed on hold")
    letter.rows.append(Row(to, to, "in_progress", "held", None, 1))


def deleted(scene: Scene) -> None:
    """Deferred, then deleted by an operator: no notice, no qmgr."""
    letter, queue_id, to = _deferred_once(scene)
    postsuper(scene, queue_id, "removed", "Deleted")
    scene.lose(queue_id)
    letter.rows.append(Row(to, to, "error", "deleted", None, 1))


def requeued(scene: Scene) -> None:
    """Deferred, then requeued by an operator: a new queue file, by way of pickup."""
    letter, before, to = _deferred_once(scene)
    postsuper(scene, before, "requeued", "Requeued")
    queue_id = scene.file()
    letter.queue_ids.append(queue_id)
    scene.postfix("pickup", 1186, f"{queue_id}: uid=102 from=<{letter.sender}> orig_id={before}")
    scene.lose(before)
    scene.cleanup(letter, queue_id)
    scene.activate(letter, queue_id, 1)
    scene.relay_out(letter, queue_id, to, waited_s=300, attempts=2)
    scene.removed(queue_id)


def still_queued(scene: Scene) -> None:
    """Taken just before the end of the log, and not tried yet: the log names no recipient."""
    scene.at = max(scene.at, scene.world.end_us - 60 * SECOND)
    letter, client = submission(scene)
    to = scene.world.stranger()
    arrive(scene, letter, client, [to], daemon="submission/smtpd")
    letter.rows.append(Row(None, None, "in_progress", "queued"))
    letter.whole = [Row(to, to, "in_progress", "queued")]


def probed(scene: Scene) -> None:
    """verify(8) asks whether an address exists: nobody's mail."""
    letter = scene.letter("double-bounce@mx1.example.com")
    queue_id = scene.file(silent=True)
    letter.queue_ids.append(queue_id)
    scene.cleanup(letter, queue_id)
    scene.activate(letter, queue_id, 1)
    to = scene.world.stranger()
    good = scene.chance(0.8)
    server = scene.world.client_of(to)
    text = "250 2.1.5 Ok" if good else f"host {server} said: 550 5.1.1 User unknown"
    scene.attempt(
        "smtp",
        queue_id,
        to,
        relay=f"{server}:25",
        dsn="2.1.5" if good else "5.1.1",
        outcome="deliverable" if good else "undeliverable",
        text=text,
    )
    scene.removed(queue_id)


def receipt(scene: Scene) -> None:
    """The sender asked for a success notice (RFC 3461): it says nothing bad of the message."""
    letter, client = submission(scene)
    to = scene.world.mailbox()
    queue_id = arrive(scene, letter, client, [to], daemon="submission/smtpd")
    scene.store(letter, queue_id, to)
    scene.notice(letter, queue_id, "delivery status")
    scene.removed(queue_id)


def redirected(scene: Scene) -> None:
    """header_checks REDIRECT: goes to somebody else, whom the last to= names."""
    letter, client = incoming(scene)
    to, other = scene.world.mailbox(), "abuse@example.com"
    pid = scene.connect("smtpd", client, tls=False)
    said = scene.mail(letter, client)
    said.rcpt(to)
    queue_id = scene.open_file(letter, "smtpd", pid, client)
    cleanup = scene.cleanup(letter, queue_id)
    scene.postfix(
        "cleanup",
        cleanup,
        f"{queue_id}: redirect: header X-Suspect: yes from {client}; from=<{letter.sender}> "
        f"to=<{to}> proto=ESMTP helo=<{client.name}>: {other}",
    )
    said.end(scene.at, "data", queue_id)  # the milter hears an abort; it is delivered all the same
    scene.activate(letter, queue_id, 1)
    scene.disconnect("smtpd", pid, client)
    scene.store(letter, queue_id, other, to)
    scene.removed(queue_id)


def postsuper(scene: Scene, queue_id: str, verb: str, summary: str) -> None:
    """An operator's command for one queue file."""
    pid = scene.pid("postsuper")
    scene.postfix("postsuper", pid, f"{queue_id}: {verb}")
    scene.postfix("postsuper", pid, f"{summary}: 1 message")


def _deferred_once(scene: Scene) -> tuple[Letter, str, str]:
    letter, client = submission(scene)
    to = scene.world.stranger()
    queue_id = arrive(scene, letter, client, [to], daemon="submission/smtpd")
    server = scene.world.client_of(to)
    scene.attempt(
        "smtp",
        queue_id,
        to,
        relay="none",
        dsn="4.4.1",
        outcome="deferred",
        text=f"connect to {server}:25: Connection timed out",
    )
    scene.at += min(300 * SECOND, max(0, scene.world.end_us - scene.at - 60 * SECOND))
    return letter, queue_id, to
