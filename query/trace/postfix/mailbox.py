"""The second half of local(8): .forward, mailbox_transport, mailboxes, who is unknown.

A home directory or .forward that this process cannot read leaves open whether mail goes on: the
step is UNKNOWN with its reason, and the mailbox stands below it as what happens if there is none.
Raises ``WalkTooLongError``.
"""

import os
import re
from dataclasses import replace
from typing import Final

from query.trace.postfix import keys
from query.trace.postfix.local import (
    LOCAL_ROUTER,
    LOCAL_TEXT,
    Attributes,
    Local,
    Parts,
    failed,
    members_of,
    same,
)
from query.trace.postfix.patterns import Trust
from query.trace.postfix.tables import TableError
from query.trace.postfix.world import FileText, User, unknown
from query.trace.tree import Node, Step, Verdict

_MACRO: Final = re.compile(r"\$\$|\$\{(\w+)(?:([?:])((?:[^{}]|\{[^}]*\})*))?\}|\$\((\w+)\)|\$(\w+)")
RESERVED: Final = ("postmaster", "mailer-daemon")


def local_mailbox(local: Local, parts: Parts, come: Attributes) -> Node:
    """What follows the aliases: .forward, then the mailbox, then what is done with strangers."""
    user = local.world.user_of(parts.user)
    if user is not None and local.words("forward_path"):
        node = _forward(local, parts, come, user)
        if node is not None:
            return node
    return _mailbox(local, parts, come, user)


def _forward(local: Local, parts: Parts, come: Attributes, user: User) -> Node | None:
    """The members of the first .forward there is; None: there is none."""
    values = macros(local, parts, user)
    carried = "forward" in local.words("propagate_unmatched_extensions")
    for template in local.words("forward_path"):
        path = expanded(template, values)
        if path is None:
            continue
        try:
            file = local.world.file_text(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            why = f"it cannot be seen whether {path} forwards this mail: {error.strerror}"
            node = local.world.node(
                parts.address, Step.FORWARD, verdict=Verdict.UNKNOWN, table=path, text=why
            )
            return replace(node, children=(_mailbox(local, parts, come, user),))
        rest = "" if "extension" in template or not carried else come.unmatched
        return _forwarded(local, parts, replace(come, unmatched=rest), user, path, file)
    return None


def _forwarded(
    local: Local, parts: Parts, come: Attributes, user: User, path: str, file: FileText
) -> Node | None:
    if local.again("forward", path):
        return same(local.world, parts.address) if ("forward-done", path) in local.seen else None
    why = None
    if not file.regular:
        why = "is not a regular file"
    elif file.uid not in (0, user.uid):
        why = "belongs to somebody else"
    elif file.world_writable:
        why = "is world writable"
    if why is not None:
        node = _mailbox(local, parts, come, user)
        return replace(node, notes=(*node.notes, f"{path} {why}, so local(8) does not read it"))
    members = members_of(file.text)
    if not members:
        return None
    inside = replace(come, kind="forward", expanded_from=parts.local, owner=parts.user, user=user)
    node = local.world.node(
        parts.address, Step.FORWARD, table=path, value=file.text.strip().replace("\n", ", ")
    )
    children = tuple(local.token(member, parts, inside) for member in members)
    local.again("forward-done", path)
    return replace(node, children=children)


def _mailbox(local: Local, parts: Parts, come: Attributes, user: User | None) -> Node:
    if local.again("mailbox", parts.local):
        return same(local.world, parts.address)
    delegated = _delegated(local, parts, come, "mailbox_transport")
    if delegated is not None:
        return delegated
    if user is None:
        return _stranger(local, parts, come)
    return _stored(local, parts, user)


def _delegated(local: Local, parts: Parts, come: Attributes, name: str) -> Node | None:
    """``mailbox_transport``, ``fallback_transport`` and their tables, by the bare user."""
    maps = local.words(f"{name}_maps")
    try:
        wanted = [keys.external(parts.user)]
        found = local.world.trusted(maps, wanted, Trust.LITERAL) if maps else None
    except TableError as error:
        return unknown(parts.address, str(error), maps=maps)
    where = found.value if found else local.world.settings.get(name, local.service)
    if not where:
        return None
    node = local.passed(parts.address, where, come)
    if found is None:
        return replace(node, notes=(*node.notes, f"by {name} = {where}"))
    return replace(
        node,
        table=found.table,
        key=found.key,
        value=found.value,
        as_of=local.world.as_of(found),
    )


def _stored(local: Local, parts: Parts, user: User) -> Node:
    """A command, a maildir or an mbox of the user."""
    maps = local.words("mailbox_command_maps")
    try:
        wanted = [keys.external(parts.user)]
        found = local.world.trusted(maps, wanted, Trust.PARANOID) if maps else None
    except TableError as error:
        return unknown(parts.address, str(error), maps=maps)
    command = found.value if found else local.world.settings.get("mailbox_command", local.service)
    node = local.world.node(
        parts.address,
        Step.DELIVER,
        transport=local.transport,
        address_class="local",
        router=LOCAL_ROUTER,
        text=LOCAL_TEXT,
    )
    if found is not None:
        node = replace(node, table=found.table, key=found.key, value=found.value)
    if command:
        return replace(node, command=command)
    return replace(node, mailbox=_path(local, user))


def _path(local: Local, user: User) -> str:
    get = local.world.settings.get
    home = get("home_mailbox", local.service)
    if home:
        return os.path.join(user.home, home)
    spool = get("mail_spool_directory", local.service) or "/var/mail"
    if spool.endswith("/"):
        return f"{spool}{user.name}/"
    return os.path.join(spool, user.name)


def _stranger(local: Local, parts: Parts, come: Attributes) -> Node:
    """``fallback_transport``, ``luser_relay``, else unknown."""
    delegated = _delegated(local, parts, come, "fallback_transport")
    if delegated is not None:
        return delegated
    relay = local.world.settings.get("luser_relay", local.service)
    target = expanded(relay, macros(local, parts, None)) if relay else None
    if target and local.world.rewrite(keys.internal(target)) != parts.address:
        inside = replace(come, unmatched="")
        node = local.world.node(
            parts.address, Step.FORWARD, value=target, text=f"unknown user, so to {target}"
        )
        return replace(node, children=(local.member(keys.internal(target), inside),))
    if parts.user in RESERVED:
        text = f"discarded: there is no alias {parts.user}"
        return local.world.node(
            parts.address,
            Step.DISCARD,
            verdict=Verdict.DISCARDED,
            enhanced_status="2.0.0",
            transport=local.transport,
            address_class="local",
            text=text,
        )
    node = failed(local.world, parts.address, "5.1.1", f'unknown user: "{parts.user}"')
    return replace(node, transport=local.transport, address_class="local")


def macros(local: Local, parts: Parts, user: User | None) -> dict[str, str]:
    """The names that forward_path, luser_relay and the like may use (local(8))."""
    extension = parts.extension[1:]
    values = {
        "user": parts.user,
        "local": parts.local,
        "recipient": keys.external(parts.address),
        "domain": keys.split(parts.address)[1],
        "extension": extension,
        "recipient_delimiter": parts.extension[:1],
        "home": user.home if user else "",
        "shell": user.shell if user else "",
    }
    return {name: value for name, value in values.items() if value}


def expanded(template: str, values: dict[str, str]) -> str | None:
    """``$name``, ``${name}``, ``${name?text}``, ``${name:text}``; None: a name has no value."""
    missing = False

    def one(match: re.Match[str]) -> str:
        nonlocal missing
        if match[0] == "$$":
            return "$"
        name = match[1] or match[4] or match[5]
        if match[2]:
            wanted = (name in values) == (match[2] == "?")
            inner = match[3]
            if inner.startswith("{") and inner.endswith("}"):
                inner = inner[1:-1]
            return (expanded(inner, values) or "") if wanted else ""
        if name not in values:
            missing = True
            return ""
        return values[name]

    made = _MACRO.sub(one, template)
    return None if missing else made
