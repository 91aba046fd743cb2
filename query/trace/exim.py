"""The path of an address as Exim itself sees it: ``exim -bt`` (Exim specification, chapter 5).

Exim asks DNS by itself and connects to nobody. An end says ``ROUTER to local delivery`` or
``ROUTER via HOST [ADDRESS] MX=N`` with the router's own name. What ACLs refuse at the door it does
not say. Raises UnavailableError where there is no Exim, UsageError for what is no address.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Final

from posttrail.config import Trace as Settings
from posttrail.errors import UnavailableError
from query.trace import exim_output
from query.trace.command import CommandError, Said, ask
from query.trace.exim_output import Answer, Fate, HostLine
from query.trace.single import single
from query.trace.tree import (
    SMTP_PORT,
    Host,
    Node,
    Question,
    Source,
    Step,
    Trace,
    Verdict,
    judged,
    rfc3339,
)

if TYPE_CHECKING:
    from query.trace.dns import Dns

TIMEOUT_S: Final = 15.0
KEPT_S: Final = 60.0
_NAMES: Final = ("exim", "exim4")
_PLACES: Final = "/usr/sbin:/usr/local/sbin:/usr/exim/bin:/usr/bin:/usr/local/bin"
_ACLS: Final = "What Exim's ACLs refuse at SMTP time is not seen here"
_LOCAL_PART: Final = "exim -bt takes no address with a local part outside ASCII"


def exim_program() -> str | None:
    """Where Exim is; None where there is none."""
    path = os.pathsep.join((os.environ.get("PATH", ""), _PLACES))
    return next(filter(None, (shutil.which(name, path=path) for name in _NAMES)), None)


def exim_walker(config: Settings, dns: "Dns") -> "EximWalker":
    """The walker over this machine's Exim; ``dns`` is not used: Exim asks by itself."""
    program = exim_program()
    if program is None:
        raise UnavailableError("no Exim here: neither exim nor exim4 is on the path")
    return EximWalker(program, config=config.config)


@dataclass(slots=True)
class Branch:
    """An address in Exim's chains of parents, with what it leads to."""

    address: str
    ends: list[Answer] = field(default_factory=list)
    branches: dict[str, "Branch"] = field(default_factory=dict)


class EximWalker:
    """Asks one Exim; what its transports are is kept for a minute."""

    def __init__(
        self, program: str, *, config: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.spawned = 0
        self._command = (program, *(("-C", config) if config else ()))
        self._clock = clock
        self._version = ""
        self._transports: dict[str, dict[str, str]] = {}
        self._read_at: float | None = None

    def trace(self, question: Question) -> Trace:
        """The tree for one address."""
        address = single(question.address)
        now = rfc3339(time.time())
        root = judged(self._root(question, address))
        return Trace(question=question, mta=self.version(), as_of=now, root=root, warnings=(_ACLS,))

    def version(self) -> str:
        """Such as "exim 4.96"."""
        if not self._version:
            words = self._ask("-bV").stdout.split()
            known = words[:2] == ["Exim", "version"] and len(words) > 2
            self._version = f"exim {words[2]}" if known else "exim"
        return self._version

    def _root(self, question: Question, address: str) -> Node:
        if not address.isascii():
            return unknown(question.address, _LOCAL_PART)
        sender = () if question.sender is None else ("-f", question.sender or "<>")
        try:
            said = self._ask(*sender, "-bt", "--", address)
        except CommandError as error:
            return unknown(question.address, str(error))
        answers = exim_output.parse(said.stdout)
        if not answers:
            words = " ".join((said.stderr or said.stdout).split())
            return unknown(question.address, f"Exim says only: {words or 'nothing'}")
        if any(map(needs_transport, answers)):
            self._read_transports()
        return tree(question.address, answers, self._transports)

    def _read_transports(self) -> None:
        if self._read_at is not None and self._clock() - self._read_at < KEPT_S:
            return
        try:
            self._transports = exim_output.transports(self._ask("-bP", "transports").stdout)
        except CommandError:
            self._transports = {}
        self._read_at = self._clock()

    def _ask(self, *words: str) -> Said:
        self.spawned += 1
        return ask((*self._command, *words), timeout_s=TIMEOUT_S)


def unknown(address: str, why: str) -> Node:
    """An end of which Exim told us nothing."""
    return Node(
        address=address, step=Step.UNKNOWN, verdict=Verdict.UNKNOWN, source=Source.MTA, text=why
    )


def needs_transport(answer: Answer) -> bool:
    """Only the transport's driver tells what this end is."""
    return answer.fate is Fate.ROUTED and not answer.hosts


def tree(address: str, answers: list[Answer], transports: dict[str, dict[str, str]]) -> Node:
    """The answers as one tree; they name their ancestors, it begins at the oldest."""
    root = Branch(address)
    places = {address: root}
    for answer in answers:
        if answer.fate is not Fate.HANDED:
            _place(root, places, answer)
    for answer in answers:
        if answer.fate is Fate.HANDED:  # Exim names the parent, but not those before it
            if answer.address not in places:
                _place(root, places, Answer(address=answer.address)).ends.clear()
            places[answer.address].ends.append(answer)
    top = _node(root, transports)
    if top.step is Step.LOCAL_ALIAS and len(root.branches) == 1 and not root.ends:
        (only,) = root.branches
        if only.casefold().startswith(f"{address.casefold()}@"):
            return _renamed(top, f"completed to {only}")
        return _renamed(top, f"rewritten to {only}")
    return top


def _renamed(node: Node, text: str) -> Node:
    return Node(
        address=node.address, step=Step.REWRITE, source=Source.MTA, text=text,
        children=node.children,
    )  # fmt: skip


def _place(root: Branch, places: dict[str, Branch], answer: Answer) -> Branch:
    """The branch of an answer, made with all above it."""
    branch = root
    for each in _distinct((*reversed(answer.parents), answer.address)):
        if not each or (branch is root and each.casefold() == root.address.casefold()):
            places[each] = branch
            continue
        branch = branch.branches.setdefault(each, Branch(each))
        places[each] = branch
    branch.ends.append(answer)
    return branch


def _distinct(names: Iterable[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        if not found or found[-1] != name:  # a router with "unseen" makes an address its own parent
            found.append(name)
    return found


def _node(branch: Branch, transports: dict[str, dict[str, str]]) -> Node:
    ends = [_end(answer, transports) for answer in branch.ends]
    handed = any(answer.fate is Fate.HANDED for answer in branch.ends)
    if len(ends) == 1 and not branch.branches and not handed:
        return ends[0]
    children = (*ends, *(_node(each, transports) for each in branch.branches.values()))
    names = ", ".join(child.address for child in children)
    return Node(
        address=branch.address, step=Step.LOCAL_ALIAS, source=Source.MTA,
        text=f"redirected to {names}", children=children,
    )  # fmt: skip


def _end(answer: Answer, transports: dict[str, dict[str, str]]) -> Node:
    match answer.fate:
        case Fate.ROUTED if answer.hosts:
            return _remote(answer)
        case Fate.ROUTED:
            return _local(answer, transports.get(answer.transport, {}))
        case Fate.HANDED:
            return _handed(answer)
        case Fate.DISCARDED:
            return _failed(answer, Step.DISCARD, Verdict.DISCARDED, "discarded")
        case Fate.UNRESOLVED:
            return _failed(answer, Step.REJECT, Verdict.TEMPORARY, answer.text)
        case Fate.UNDELIVERABLE | Fate.SYNTAX:
            return _undeliverable(answer)


def _undeliverable(answer: Answer) -> Node:
    before = _distinct((answer.address, *answer.parents))
    if answer.address in before[1:]:
        note = f"its aliases lead back to {answer.address}, which Exim does not follow once more"
        return _failed(answer, Step.REJECT, Verdict.LOOP, answer.text, note)
    return _failed(answer, Step.REJECT, Verdict.PERMANENT, answer.text)


def _failed(answer: Answer, step: Step, verdict: Verdict, text: str, *notes: str) -> Node:
    return Node(
        address=answer.address, step=step, verdict=verdict, source=Source.MTA,
        text=text or answer.fate.value, notes=notes,
    )  # fmt: skip


def _handed(answer: Answer) -> Node:
    target = answer.text
    command = target[1:].strip() if target.startswith("|") else None
    mailbox = target if target.startswith("/") else None
    if command is not None:
        text = f"to the command {command}"
    else:
        text = f"to the file {target}" if mailbox else f"automatic reply {target}"
    return Node(
        address=target, step=Step.DELIVER, source=Source.MTA, transport=answer.transport or None,
        command=command, mailbox=mailbox, text=text,
    )  # fmt: skip


def _local(answer: Answer, options: dict[str, str]) -> Node:
    """No hosts: a mailbox, a command, or a host that the transport itself names."""
    driver = options.get("driver", "")
    where = _place_of(options)
    fixed = where if where and "$" not in where else None  # else Exim expands it at delivery
    remote = driver == "smtp" and options.get("protocol", "smtp") != "lmtp"
    text = f"{answer.router} to local delivery"
    if remote:
        text = f"{answer.router} via {options.get('hosts') or 'a host that it names at delivery'}"
    elif not driver:
        text = f"{answer.router} to transport {answer.transport}"
    elif driver == "pipe":
        text = f"{answer.router} to the command {where or 'of its router'}"
    return Node(
        address=answer.address, step=Step.DELIVER, source=Source.MTA, router=answer.router or None,
        transport=answer.transport or None, text=text,
        nexthop=options.get("hosts") if remote else None,
        mailbox=fixed if driver not in ("pipe", "smtp", "") else None,
        command=fixed if driver == "pipe" else None,
        notes=(f"transport {answer.transport} has {where}",) if where and not fixed else (),
    )  # fmt: skip


def _place_of(options: dict[str, str]) -> str | None:
    names = ("socket", "command") if options.get("driver") == "lmtp" else ("command",)
    if options.get("driver") == "appendfile":
        names = ("file", "directory")
    return next((options[name] for name in names if options.get(name)), None)


def _remote(answer: Answer) -> Node:
    return Node(
        address=answer.address, step=Step.DELIVER, source=Source.MTA, router=answer.router or None,
        transport=answer.transport or None, hosts=tuple(_hosts(answer.hosts)),
        nexthop=answer.address.rpartition("@")[2] or None,
        text=f"{answer.router} via {_line(answer.hosts[0])}",
    )  # fmt: skip


def _line(host: HostLine) -> str:
    """The model's words for one address of a host."""
    preference = f" MX={host.preference}" if host.preference is not None else ""
    return f"{host.name} [{host.address or 'unknown'}]{preference}"


def _hosts(lines: list[HostLine]) -> Iterable[Host]:
    """Lines that follow each other with one name are one host."""
    for (name, preference, port, remark), alike in groupby(lines, key=_same_host):
        addresses = tuple(line.address for line in alike if line.address)
        yield Host(
            name=name, name_unicode=_u_label(name), addresses=addresses,
            port=port or SMTP_PORT, preference=preference,
            trouble=remark or (None if addresses else "no address"),
        )  # fmt: skip


def _same_host(line: HostLine) -> tuple[str, int | None, int | None, str]:
    return line.name, line.preference, line.port, line.remark


def _u_label(name: str) -> str | None:
    if "xn--" not in name.lower():
        return None
    from query.trace.dns import u_label  # dnspython takes its time to load

    return u_label(name)
