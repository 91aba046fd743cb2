"""Do the name servers answer, and does Postfix's own resolver of addresses?

A question is one UDP datagram for the name servers of the root (RFC 1035 4.1). trivial-rewrite(8)
is asked as the trace does (query/trace/postfix/resolve.py). Raises nothing.
"""

import secrets
import shlex
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from posttrail.config import nameserver
from query.doctor import access
from query.doctor.finding import Finding, Seen
from query.doctor.names import check
from query.doctor.place import POSTFIX, Place
from query.trace.postfix.resolve import RouterError, SocketRouter

TIMEOUT_S: Final = 2.0
_MOST_SERVERS: Final = 3  # as resolv.conf(5) has it
_DEFAULT: Final = "127.0.0.1"
_CODES: Final = {0: "", 2: "SERVFAIL", 3: "", 5: "REFUSED"}  # "no such name" is an answer, too
OPEN_LINE: Final = "posttrail-rw unix n - n - 1 trivial-rewrite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a name server did."""

    server: str
    why: str = ""  # "": it answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Answers of the name servers, and of trivial-rewrite's sockets."""

    servers: tuple[Answered, ...]
    source: str  # the file that names them, or our own setting


def gather(place: Place) -> Facts:
    """Ask each of them, one after the other."""
    own = place.config.trace.nameservers
    path = place.file("/etc/resolv.conf")
    servers = own or servers_of(_text(path))
    asked = tuple(Answered(server=each, why=ask(each)) for each in servers)
    return Facts(servers=asked, source="trace.nameservers" if own else str(path))


def servers_of(text: str) -> tuple[str, ...]:
    """The name servers of a resolv.conf(5); this machine where it names none."""
    words = [line.split() for line in text.splitlines()]
    named = [each[1] for each in words if each[:1] == ["nameserver"] and len(each) > 1]
    return tuple(named[:_MOST_SERVERS]) or (_DEFAULT,)


def ask(server: str, timeout_s: float = TIMEOUT_S) -> str:
    """Why a name server gives no answer; "" where it gives one."""
    try:
        address = nameserver(server.partition("%")[0])
    except ValueError as error:
        return str(error)
    number = secrets.randbelow(1 << 16)
    question = struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + b"\0\0\x02\0\x01"
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.settimeout(timeout_s)
        try:
            udp.connect(address)  # so that a closed port says so
            udp.send(question)
            answer = udp.recv(4096)
        except TimeoutError:
            return f"no answer within {timeout_s:g} s"
        except OSError as error:
            return error.strerror or str(error)
    if len(answer) < 12 or struct.unpack_from(">H", answer)[0] != number:
        return "what came is no answer"
    code = answer[3] & 15
    return _CODES.get(code, f"code {code}")


def run(place: Place) -> list[Finding]:
    """The checks of this family."""
    return [name_servers(gather(place), place), rewrite(place)]


def name_servers(facts: Facts, place: Place) -> Finding:
    """Do they answer?"""
    this = check("name-servers")
    seen = [Seen(each.server, each.why or "answers") for each in facts.servers]
    dead = [each.server for each in facts.servers if each.why]
    if not dead:
        return this.ok(f"the name servers of {facts.source} answer", *seen)
    alive = [each.server for each in facts.servers if not each.why]
    if facts.source == "trace.nameservers":
        text = ", ".join(f'"{each}"' for each in alive)
        mend: tuple[str, ...] = (place.setting("trace.nameservers", f"[{text}]"),
                                 place.restart("traced"))  # fmt: skip
    elif alive:
        mend = tuple(f"sed -i '/^nameserver[[:space:]]*{each}/d' {facts.source}" for each in dead)
    else:
        mend = ("apt-get install unbound", f"echo nameserver {_DEFAULT} > {facts.source}")
    if alive:
        return this.warning(f"{' and '.join(dead)} gives no answer", *seen, mend=mend)
    return this.problem("no name server answers: mail to other domains will wait", *seen, mend=mend)


def rewrite(place: Place) -> Finding:
    """Does Postfix's resolver of addresses answer, and to whom?"""
    this = check("rewrite-socket")
    if place.mta != POSTFIX or place.postfix is None:
        return this.unchecked(place.no_postfix)
    named = place.config.trace.rewrite_socket
    paths = (
        [named]
        if named
        else [f"{place.queue}/public/posttrail-rw", f"{place.queue}/private/rewrite"]
    )
    asked = [(path, _rewritten(path)) for path in paths if named or _seen(path)]
    answered = [path for path, why in asked if not why]
    seen = [Seen(path, why or f"answers {_users(Path(path))}") for path, why in asked]
    if answered:
        return this.ok("Postfix tells where an address goes", *seen)
    if not asked or any("Permission denied" in why for _, why in asked):
        return this.unchecked(
            f"only root and Postfix may ask: run as root, or let others by master.cf: {OPEN_LINE}",
            *seen,
        )
    where = f"-c {shlex.quote(place.etc)} " if place.etc else ""
    return this.warning(
        "Postfix's resolver gives no answer: traces are computed instead",
        *seen,
        mend=(place.setting("trace.rewrite_socket", '""'), place.restart("traced"))
        if named
        else f"postfix {where}start",
    )


def _seen(path: str) -> bool:
    """Is it there, or hidden from us?"""
    return access.entry(Path(path)).kind != "missing" or not path.endswith("posttrail-rw")


def _rewritten(path: str) -> str:
    """Why trivial-rewrite gives no answer at a socket; "" where it gives one."""
    router = SocketRouter(path)
    try:
        address = router.rewrite("postmaster")
        router.resolve(address, "")
    except RouterError as error:
        return str(error)
    finally:
        router.close()
    return "" if address.startswith("postmaster") else f"it made {address!r} of postmaster"


def _users(path: Path) -> str:
    """Who may use a socket: as its folder lets in."""
    folder = access.entry(path.parent)
    if folder.mode & access.ENTER and access.entry(path).mode & access.WRITE:
        return "every user of this machine"
    who: Sequence[str] = ["root", access.owner(folder.uid)]
    if folder.mode & 0o010:
        who = [*who, f"the group {access.group(folder.gid)}"]
    return ", ".join(dict.fromkeys(who))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
