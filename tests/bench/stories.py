"""What can happen to mail: each story tells one letter's way through the log, and how it ended.

``STORIES`` maps the share of all mail to a story. A story adds lines and letters to
its scene; it may not log anything after ``world.end_us`` (where the log is cut), so
the truth of a letter is what a reader of the whole log can know. What happens at the
door is in ``refusals`` and ``doors``, what an operator does to the queue in ``operators``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.bench import doors, operators
from tests.bench.arriving import LOOPBACK, arrive, submission
from tests.bench.refusals import (
    abandoned,
    content_verdict,
    incoming,
    postscreen,
    refused,
)
from tests.bench.replies import PERMANENT, TEMPORARY
from tests.bench.scene import AMAVIS_RELAY, Row, Scene
from tests.bench.world import SECOND

_LATER_S: Final = (300, 600, 1200, 2400, 4000, 14_400, 43_200, 86_400, 86_400, 86_400, 86_400)
_LIFETIME_S: Final = 5 * 86_400


def inbound(scene: Scene) -> None:
    """From outside to one mailbox, by LMTP."""
    letter, client = incoming(scene)
    to = scene.world.mailbox()
    queue_id = arrive(scene, letter, client, [to], tls=scene.chance(0.3))
    scene.store(letter, queue_id, to)
    scene.removed(queue_id)


def outbound(scene: Scene) -> None:
    """From a user's machine, with a login, to one stranger."""
    letter, client = submission(scene)
    to = scene.world.stranger()
    queue_id = arrive(scene, letter, client, [to], daemon="submission/smtpd", tls=scene.chance(0.3))
    scene.relay_out(letter, queue_id, to)
    scene.removed(queue_id)


def filtered(scene: Scene) -> None:
    """Through a content filter that sends it back in, or throws it away."""
    letter, client = incoming(scene)
    to = [scene.world.mailbox()]
    if scene.chance(0.1):
        to = sorted({*to, scene.world.mailbox()})
    outer = arrive(scene, letter, client, to)
    amavis, token = scene.pid("amavis"), f"{scene.world.random.randrange(10**5):05d}-01"
    told = f"[{client.ip}] <{letter.sender}> -> {','.join(f'<{each}>' for each in to)}"
    told += f", Queue-ID: {outer}, Message-ID: <{letter.message_id}>"
    if scene.chance(0.09):
        scene.say(
            f"{scene.host} amavis[{amavis}]: ({token}) Blocked SPAM {{DiscardedInbound}}, {told}, "
            f"Hits: 17.3, size: 4120, 912 ms"
        )
        reply = f"250 2.7.0 Ok, discarded, id={token} - SPAM"
        for each in to:
            _to_filter(scene, outer, each, "2.7.0", reply)
            letter.rows.append(Row(each, each, "filtered", "discarded", None, 1))
        scene.removed(outer)
        return
    inner = arrive(scene, letter, LOOPBACK, to, daemon="10025/smtpd")
    scene.say(
        f"{scene.host} amavis[{amavis}]: ({token}) Passed CLEAN {{RelayedInbound}}, {told}, "
        f"Hits: -1.9, size: 5210, queued_as: {inner}, 640 ms"
    )
    reply = f"250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as {inner}"
    for each in to:
        _to_filter(scene, outer, each, "2.0.0", reply)
    scene.removed(outer)
    for each in to:
        scene.store(letter, inner, each)
    scene.removed(inner)


def _to_filter(scene: Scene, queue_id: str, to: str, dsn: str, text: str) -> None:
    scene.attempt(
        "amavis/smtp", queue_id, to, relay=AMAVIS_RELAY, dsn=dsn, outcome="sent", text=text
    )


def alias(scene: Scene) -> None:
    """One address that stands for several mailboxes."""
    letter, client = incoming(scene)
    original = scene.world.mailbox()
    targets = {scene.world.mailbox() for _ in range(3)} - {original} or {"office@example.com"}
    queue_id = arrive(scene, letter, client, [original], nrcpt=len(targets))
    for target in sorted(targets):
        scene.store(letter, queue_id, target, original)
    scene.removed(queue_id)


def forwarded(scene: Scene) -> None:
    """local(8) forwards under a new queue id."""
    letter, client = incoming(scene)
    user, target = scene.world.mailbox(), scene.world.stranger()
    outer = arrive(scene, letter, client, [user])
    inner = scene.file(silent=True)
    letter.queue_ids.append(inner)
    scene.cleanup(letter, inner)
    scene.attempt(
        "local",
        outer,
        user,
        relay="local",
        dsn="2.0.0",
        outcome="sent",
        text=f"forwarded as {inner}",
    )
    scene.activate(letter, inner, 1)
    scene.removed(outer)
    scene.relay_out(letter, inner, target, original=user)
    scene.removed(inner)


def several(scene: Scene) -> None:
    """A user writes to a few people, ours and others."""
    letter, client = submission(scene)
    ours = {scene.world.mailbox() for _ in range(scene.world.random.randrange(1, 4))}
    others = {scene.world.stranger() for _ in range(scene.world.random.randrange(1, 3))}
    to = [*sorted(ours), *sorted(others)]
    queue_id = arrive(scene, letter, client, to, daemon="submission/smtpd")
    for address in sorted(ours):
        scene.store(letter, queue_id, address)
    for address in sorted(others):
        scene.relay_out(letter, queue_id, address)
    scene.removed(queue_id)


def partly_refused(scene: Scene) -> None:
    """Two recipients: the second is refused while the first is taken."""
    letter, client = incoming(scene)
    to, nobody = scene.world.mailbox(), f"nobody{scene.world.random.randrange(999)}@example.com"
    queue_id = arrive(scene, letter, client, [to], refuse=nobody)
    scene.store(letter, queue_id, to)
    scene.removed(queue_id)


_ENDS: Final = (
    ("local", "delivered to mailbox", "delivered", "stored"),
    ("virtual", "delivered to maildir", "delivered", "stored"),
    ("pipe", "delivered via ticket service", "delivered", "piped"),
    ("discard", "bulk", "filtered", "discarded"),
    ("local", "delivered to file: /dev/null", "filtered", "discarded"),
    ("local", "delivered to command: /usr/bin/archive", "delivered", "piped"),
)


def local_agents(scene: Scene) -> None:
    """Ends in local(8), virtual(8), pipe(8) or discard(8)."""
    letter, client = incoming(scene)
    to = scene.world.mailbox()
    queue_id = arrive(scene, letter, client, [to])
    daemon, text, status, reason = scene.world.random.choices(_ENDS, (25, 25, 25, 20, 2, 3))[0]
    relay = {"discard": "none", "pipe": "ticket"}.get(daemon, daemon)
    scene.attempt(daemon, queue_id, to, relay=relay, dsn="2.0.0", outcome="sent", text=text)
    letter.rows.append(Row(to, to, status, reason, None, 1))
    scene.removed(queue_id)


def pickup(scene: Scene) -> None:
    """A local program sends mail."""
    letter = scene.letter("root@example.com")
    queue_id = scene.file()
    letter.queue_ids.append(queue_id)
    said = scene.mail(letter, LOOPBACK)  # cleanup tells the milter, as a client without a port
    said.rcpt("root@example.com")
    scene.postfix("pickup", 1186, f"{queue_id}: uid=0 from=<root>")
    letter.time_us, letter.login = scene.at, "uid=0"
    scene.cleanup(letter, queue_id)
    said.end(scene.at, "eom", queue_id, letter.message_id or "")
    scene.activate(letter, queue_id, 1)
    scene.store(letter, queue_id, scene.world.mailbox(), "root@example.com")
    scene.removed(queue_id)


def _defer(scene: Scene, *, tries: int) -> None:
    """Deferred up to ``tries`` times, then sent; given up after the queue's lifetime."""
    letter, client = submission(scene)
    to = scene.world.stranger()
    queue_id = arrive(scene, letter, client, [to], daemon="submission/smtpd")
    begin = scene.at
    reason, dsn, text = scene.world.random.choice(TEMPORARY)
    server = scene.world.client_of(to)
    text = text.format(relay=server, to=to, domain=to.rpartition("@")[2])
    attempts = 0
    while attempts < tries and scene.at - begin < _LIFETIME_S * SECOND:
        relay = f"{server}:25" if reason not in ("connection", "dns") else "none"
        scene.attempt(
            "smtp",
            queue_id,
            to,
            relay=relay,
            dsn=dsn,
            outcome="deferred",
            text=text,
            waited_s=(scene.at - begin) // SECOND,
        )
        attempts += 1
        later = _LATER_S[min(attempts, len(_LATER_S)) - 1] * SECOND
        if scene.at + later + 60 * SECOND > scene.world.end_us:
            letter.rows.append(Row(to, to, "deferred", reason, None, attempts))
            return
        scene.at += later
        scene.activate(letter, queue_id, 1)
    if attempts < tries:
        scene.postfix(
            "qmgr", 1187, f"{queue_id}: from=<{letter.sender}>, status=expired, returned to sender"
        )
        letter.rows.append(Row(to, to, "error", "expired", None, attempts))
        scene.notice(letter, queue_id)
        return
    scene.relay_out(
        letter, queue_id, to, waited_s=(scene.at - begin) // SECOND, attempts=attempts + 1
    )
    scene.removed(queue_id)


def deferred_then_sent(scene: Scene) -> None:
    """Late, but it arrives."""
    _defer(scene, tries=scene.world.random.randrange(1, 4))


def expired(scene: Scene) -> None:
    """Tried until the queue's lifetime is over."""
    _defer(scene, tries=1_000)


def bounced(scene: Scene) -> None:
    """Refused by the far side for good; the sender gets a notice."""
    letter, client = submission(scene)
    to = scene.world.stranger()
    queue_id = arrive(scene, letter, client, [to], daemon="submission/smtpd")
    server = scene.world.client_of(to)
    dsn, text = scene.world.random.choice(PERMANENT)
    relay = "none" if dsn == "5.4.4" else f"{server}:25"
    scene.attempt(
        "smtp",
        queue_id,
        to,
        relay=relay,
        dsn=dsn,
        outcome="bounced",
        text=text.format(relay=server, to=to, domain=to.rpartition("@")[2]),
    )
    letter.rows.append(Row(to, to, "error", "bounced", None, 1))
    scene.notice(letter, queue_id)


Story = Callable[[Scene], None]

STORIES: Final[tuple[tuple[float, Story], ...]] = (
    (28.7, inbound),
    (22.0, outbound),
    (4.0, filtered),
    (4.0, alias),
    (1.0, forwarded),
    (5.0, several),
    (1.0, partly_refused),
    (2.5, local_agents),
    (1.0, pickup),
    (4.0, deferred_then_sent),
    (0.4, expired),
    (4.0, bounced),
    (14.4, refused),
    (2.0, postscreen),
    (3.3, content_verdict),
    (0.7, abandoned),
    (0.3, operators.held_and_released),
    (0.1, operators.put_on_hold),
    (0.1, operators.deleted),
    (0.1, operators.requeued),
    (0.2, operators.still_queued),
    (0.2, operators.probed),
    (0.1, operators.receipt),
    (0.1, operators.redirected),
    (1.0, doors.refused_early),
    (0.4, doors.refused_by_milter),
    (0.1, doors.discarded_at_rcpt),
    (0.1, doors.quarantined),
    (0.1, doors.too_large),
)
"""(share in percent, story); the rest of the log is ``nothing``, see ``generate``."""
