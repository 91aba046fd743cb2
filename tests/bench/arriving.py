"""How a message comes in: by SMTP from outside, or from a user with a login."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.bench.refusals import refuse_rcpt
from tests.bench.scene import Letter, Scene
from tests.bench.world import Client

LOOPBACK: Final = Client("localhost", "127.0.0.1")


def arrive(
    scene: Scene,
    letter: Letter,
    client: Client,
    recipients: Sequence[str],
    *,
    nrcpt: int = 0,
    daemon: str = "smtpd",
    tls: bool = False,
    refuse: str | None = None,
) -> str:
    """From connect to disconnect, with an accepted message between; its queue id.

    The milter hears what comes from a client, not what a content filter sends back in.
    """
    pid = scene.connect(daemon, client, tls=tls)
    said = scene.mail(letter, client) if client is not LOOPBACK else None
    queue_id = scene.open_file(letter, daemon, pid, client)
    if said:
        for recipient in recipients:
            said.rcpt(recipient)
    if refuse:
        refuse_rcpt(scene, letter, pid, client, refuse, queue_id)
    scene.cleanup(letter, queue_id)
    if said:
        said.end(scene.at, "eom", queue_id, letter.message_id or "")
    scene.activate(letter, queue_id, nrcpt or len(recipients))
    scene.disconnect(daemon, pid, client)
    return queue_id


def submission(scene: Scene) -> tuple[Letter, Client]:
    """A user begins to send."""
    sender, client = scene.world.mailbox(), scene.world.user_client()
    return scene.letter(sender, client.ip, sender), client
