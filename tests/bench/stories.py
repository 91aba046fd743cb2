"""What can happen to mail: each story tells one letter's way through the log, and how it ended.

``STORIES`` maps the share of all mail to a story. A story adds lines and letters to
its scene; it may not log anything after ``world.end_us`` (where the log is cut), so
the truth of a letter is what a reader of the whole log can know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.bench.refusals import (
    abandoned,
    content_verdict,
    incoming,
    postscreen,
    refuse_rcpt,
    refused,
)
from tests.bench.replies import PERMANENT, TEMPORARY
from tests.bench.scene import AMAVIS_RELAY, HOST, Letter, Row, Scene
from tests.bench.world import SECOND, Client

_LOOPBACK: Final = Client("localhost", "127.0.0.1")
_LATER_S: Final = (300, 600, 1200, 2400, 4000, 14_400, 43_200, 86_400, 86_400, 86_400, 86_400)
_LIFETIME_S: Final = 5 * 86_400


def _arrive(
    scene: Scene,
    letter: Letter,
    client: Client,
    nrcpt: int,
    *,
    daemon: str = "smtpd",
    tls: bool = False,
    refuse: str | None = None,
) -> str:
    """From connect to disconnect, with an accepted message between; its queue id."""
    pid = scene.connect(daemon, client, tls=tls)
    queue_id = scene.open_file(letter, daemon, pid, client)
    if refuse:
        refuse_rcpt(scene, letter, pid, client, refuse, queue_id)
    scene.cleanup(letter, queue_id)
    scene.activate(letter, queue_id, nrcpt)
    scene.disconnect(daemon, pid, client)
    return queue_id


def _submission(scene: Scene) -> tuple[Letter, Client]:
    sender, client = scene.world.mailbox(), scene.world.user_client()
    return scene.letter(sender, client.ip, sender), client


def inbound(scene: Scene) -> None:
    """From outside to one mailbox, by LMTP."""
    letter, client = incoming(scene)
    queue_id = _arrive(scene, letter, client, 1, tls=scene.chance(0.3))
    scene.store(letter, queue_id, scene.world.mailbox())
    scene.removed(queue_id)


def outbound(scene: Scene) -> None:
    """From a user's machine, with a login, to one stranger."""
    letter, client = _submission(scene)
    queue_id = _arrive(scene, letter, client, 1, daemon="submission/smtpd", tls=scene.chance(0.3))
    scene.relay_out(letter, queue_id, scene.world.stranger())
    scene.removed(queue_id)


def filtered(scene: Scene) -> None:
    """Through a content filter that sends it back in, or throws it away."""
    letter, client = incoming(scene)
    outer, to = _arrive(scene, letter, client, 1), scene.world.mailbox()
    amavis, token = scene.pid("amavis"), f"{scene.world.random.randrange(10**5):05d}-01"
    if scene.chance(0.09):
        scene.say(
            f"{HOST} amavis[{amavis}]: ({token}) Blocked SPAM {{DiscardedInbound}}, [{client.ip}] "
            f"<{letter.sender}> -> <{to}>, Queue-ID: {outer}, Message-ID: <{letter.message_id}>, "
            f"Hits: 17.3, size: 4120, 912 ms"
        )
        scene.attempt(
            "amavis/smtp",
            outer,
            to,
            relay=AMAVIS_RELAY,
            dsn="2.7.0",
            outcome="sent",
            text=f"250 2.7.0 Ok, discarded, id={token} - SPAM",
        )
        letter.rows.append(Row(to, to, "filtered", "discarded", None, 1))
        scene.removed(outer)
        return
    inner = _arrive(scene, letter, _LOOPBACK, 1, daemon="10025/smtpd")
    scene.say(
        f"{HOST} amavis[{amavis}]: ({token}) Passed CLEAN {{RelayedInbound}}, [{client.ip}] "
        f"<{letter.sender}> -> <{to}>, Queue-ID: {outer}, Message-ID: <{letter.message_id}>, "
        f"Hits: -1.9, size: 5210, queued_as: {inner}, 640 ms"
    )
    scene.attempt(
        "amavis/smtp",
        outer,
        to,
        relay=AMAVIS_RELAY,
        dsn="2.0.0",
        outcome="sent",
        text=f"250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as {inner}",
    )
    scene.removed(outer)
    scene.store(letter, inner, to)
    scene.removed(inner)


def alias(scene: Scene) -> None:
    """One address that stands for several mailboxes."""
    letter, client = incoming(scene)
    original = scene.world.mailbox()
    targets = {scene.world.mailbox() for _ in range(3)} - {original} or {"office@example.com"}
    queue_id = _arrive(scene, letter, client, len(targets))
    for target in sorted(targets):
        scene.store(letter, queue_id, target, original)
    scene.removed(queue_id)


def forwarded(scene: Scene) -> None:
    """local(8) forwards under a new queue id."""
    letter, client = incoming(scene)
    outer = _arrive(scene, letter, client, 1)
    user, target = scene.world.mailbox(), scene.world.stranger()
    inner = scene.world.queue_id(scene.at)
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
    letter, client = _submission(scene)
    ours = {scene.world.mailbox() for _ in range(scene.world.random.randrange(1, 4))}
    others = {scene.world.stranger() for _ in range(scene.world.random.randrange(1, 3))}
    queue_id = _arrive(scene, letter, client, len(ours) + len(others), daemon="submission/smtpd")
    for address in sorted(ours):
        scene.store(letter, queue_id, address)
    for address in sorted(others):
        scene.relay_out(letter, queue_id, address)
    scene.removed(queue_id)


def partly_refused(scene: Scene) -> None:
    """Two recipients: the second is refused while the first is taken."""
    letter, client = incoming(scene)
    queue_id = _arrive(
        scene, letter, client, 1, refuse=f"nobody{scene.world.random.randrange(999)}@example.com"
    )
    scene.store(letter, queue_id, scene.world.mailbox())
    scene.removed(queue_id)


def local_agents(scene: Scene) -> None:
    """Ends in local(8), virtual(8), pipe(8) or discard(8)."""
    letter, client = incoming(scene)
    queue_id, to = _arrive(scene, letter, client, 1), scene.world.mailbox()
    daemon, text, status, reason = scene.world.random.choice(
        (
            ("local", "delivered to mailbox", "delivered", "stored"),
            ("virtual", "delivered to maildir", "delivered", "stored"),
            ("pipe", "delivered via ticket service", "delivered", "piped"),
            ("discard", "bulk", "filtered", "discarded"),
        )
    )
    relay = {"discard": "none", "pipe": "ticket"}.get(daemon, daemon)
    scene.attempt(daemon, queue_id, to, relay=relay, dsn="2.0.0", outcome="sent", text=text)
    letter.rows.append(Row(to, to, status, reason, None, 1))
    scene.removed(queue_id)


def pickup(scene: Scene) -> None:
    """A local program sends mail."""
    letter = scene.letter("root@example.com")
    queue_id = scene.world.queue_id(scene.at)
    letter.queue_ids.append(queue_id)
    scene.postfix("pickup", 1186, f"{queue_id}: uid=0 from=<root>")
    letter.time_us, letter.login = scene.at, "uid=0"
    scene.cleanup(letter, queue_id)
    scene.activate(letter, queue_id, 1)
    scene.store(letter, queue_id, scene.world.mailbox(), "root@example.com")
    scene.removed(queue_id)


def _defer(scene: Scene, *, tries: int) -> None:
    """Deferred up to ``tries`` times, then sent; given up after the queue's lifetime."""
    letter, client = _submission(scene)
    queue_id = _arrive(scene, letter, client, 1, daemon="submission/smtpd")
    to, begin = scene.world.stranger(), scene.at
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
    letter, client = _submission(scene)
    queue_id = _arrive(scene, letter, client, 1, daemon="submission/smtpd")
    to = scene.world.stranger()
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


STORIES: Final[tuple[tuple[float, Callable[[Scene], None]], ...]] = (
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
    (16.4, refused),
    (2.0, postscreen),
    (3.3, content_verdict),
    (0.7, abandoned),
)
"""(share in percent, story); the rest of the log is ``nothing``, see ``generate``."""
