"""The tree for eyes: rich's guides and colours on a terminal, the same text in a pipe.

A node is its address with its verdict, never by colour alone; below it what fired and who says so,
how it ends in the model product's words, notes, and what became of the last mails. Whatever comes
from tables, DNS or mail is escaped. Raises nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, TextIO

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from posttrail.text import safe
from query import text_table
from query.trace.tree import Host, Node, Outcome, Source, Step, Trace, Verdict, line

PLAIN_WIDTH: Final = 1 << 20
"""Columns of a pipe: nothing is folded there."""


class Face(NamedTuple):
    """How a verdict looks."""

    icon: str
    word: str
    style: str


FACES: Final[Mapping[Verdict, Face]] = {
    Verdict.OK: Face("✓", "ok", "green"),
    Verdict.DISCARDED: Face("▽", "discarded", "blue"),
    Verdict.UNKNOWN: Face("?", "unknown", "cyan"),
    Verdict.TEMPORARY: Face("↻", "temporary", "yellow"),
    Verdict.PERMANENT: Face("✗", "permanent", "bold red"),
    Verdict.LOOP: Face("∞", "loop", "bold red"),
    Verdict.REJECTED_AT_SMTP: Face("⊘", "rejected at SMTP", "magenta"),
}
_STEPS: Final = {
    Step.REWRITE: "rewritten",
    Step.CANONICAL: "canonical",
    Step.MASQUERADE: "masqueraded",
    Step.VIRTUAL_ALIAS: "virtual alias",
    Step.LOCAL_ALIAS: "alias",
    Step.INCLUDE: "include file",
    Step.FORWARD: "forwarded",
    Step.BCC: "bcc",
    Step.RELOCATED: "relocated",
    Step.ACCESS: "access table",
    Step.CONTENT_FILTER: "content filter",
    Step.SAME: "stands elsewhere in this tree",
}
_HISTORY_SHOWN: Final = 3


def write(trace: Trace, out: TextIO) -> None:
    """The whole answer."""
    terminal = out.isatty()
    console = Console(
        file=out,
        highlight=False,
        markup=False,
        emoji=False,
        width=None if terminal else PLAIN_WIDTH,
        color_system="auto" if terminal else None,
    )
    drawn = _drawn(trace.root, icons=not console.options.ascii_only)
    console.print(Text(heading(trace), style="dim"), soft_wrap=not terminal)
    console.print(drawn, overflow="fold", crop=False)
    for warning in trace.warnings:
        console.print(Text(f"warning: {safe(warning)}"), soft_wrap=not terminal)


def heading(trace: Trace) -> str:
    """``postfix 3.7.11, as of 2026-11-23T15:00:00Z; from <>; entry smtp``."""
    asked = trace.question
    sender = "not named" if asked.sender is None else f"<{safe(asked.sender)}>"
    return (
        f"{safe(trace.mta)} as of {safe(trace.as_of)}, sender {sender}, entry {safe(asked.entry)}"
    )


def _drawn(node: Node, *, icons: bool) -> Tree:
    """The node's tree."""
    face = FACES[node.verdict]
    label = Text(safe(node.address), style="bold")
    label.append("  ")
    label.append(f"{face.icon} {face.word}" if icons else face.word, style=f"not bold {face.style}")
    for style, words in lines(node):
        label.append("\n")
        label.append(words, style=f"not bold {style}".rstrip())
    tree = Tree(label, guide_style="dim")
    tree.children = [_drawn(child, icons=icons) for child in node.children]
    return tree


def lines(node: Node) -> Iterator[tuple[str, str]]:
    """What stands below a node's address: style and harmless text of each line."""
    yield from (("", words) for words in _said(node))
    yield "dim", _who(node)
    for note in node.notes:
        yield "", f"note: {safe(note)}"
    for outcome in node.history[:_HISTORY_SHOWN]:
        yield "", _outcome(outcome)
    if node.differs is not None:
        yield "bold yellow", f"differs: {safe(node.differs)}"


def _said(node: Node) -> Iterator[str]:
    """How it goes on or ends."""
    step = _STEPS.get(node.step)
    if node.table is not None:
        arrow = f" → {safe(node.value)}" if node.value is not None else ""
        key = f": {safe(node.key)}{arrow}" if node.key is not None else arrow
        yield f"{step or 'found'} by {safe(node.table)}{key}"
    elif step is not None and step != node.text:
        yield step
    reached = list(_hosts(node))
    status = safe(node.enhanced_status or "")
    status = f"{status} " if status and status not in node.text else ""
    if node.text and not (reached and node.verdict is Verdict.OK):
        yield f"{status}{safe(node.text)}"
    yield from reached


def _hosts(node: Node) -> Iterator[str]:
    """One line for each address, in the order in which they are tried."""
    if (
        not any(" via " in words for words in (node.text,))
        and node.verdict is Verdict.OK
        and (node.router != "lookuphost")
    ):
        return  # its text says how it ends: a mailbox behind a host, say
    shared = _shared(node.hosts)
    for host in node.hosts:
        mark = "".join(_marks(host, equal=host.preference in shared))
        if not host.addresses:
            yield f"{safe(host.name)}: {safe(host.trouble or 'no address')}{mark}"
        for address in host.addresses:
            yield f"{safe(line(host, address, node.router or 'lookuphost'))}{mark}"


def _shared(hosts: tuple[Host, ...]) -> frozenset[int]:
    """Preferences that several hosts have: which of them is first is a matter of chance."""
    known = [host.preference for host in hosts if host.preference is not None]
    return frozenset(each for each in known if known.count(each) > 1)


def _marks(host: Host, *, equal: bool) -> Iterator[str]:
    if host.name_unicode:
        yield f"  {safe(host.name_unicode)}"
    if equal:
        yield "  (equal preference: in any order)"
    if host.fallback:
        yield "  (fallback)"
    if host.tlsa:
        yield "  (DANE)"
    elif host.secure:
        yield "  (DNSSEC)"


def _who(node: Node) -> str:
    """Who says so, of which time, and by which transport."""
    said = {
        Source.MTA: "mta",
        Source.COMPUTED: "computed",
        Source.DNS: "dns",
        Source.HISTORY: "history",
        Source.PROBE: "probe",
    }[node.source]
    parts = [
        said,
        f"as of {safe(node.as_of)}" if node.as_of else "",
        f"class {safe(node.address_class)}" if node.address_class else "",
        f"transport {safe(node.transport)}" if node.transport else "",
        f"next hop {safe(node.nexthop)}" if node.nexthop else "",
        f"mailbox {safe(node.mailbox)}" if node.mailbox else "",
        f"command {safe(node.command)}" if node.command else "",
    ]
    return f"[{', '.join(filter(None, parts))}]"


def _outcome(outcome: Outcome) -> str:
    """One earlier mail; the time is local, as in a report."""
    where = outcome.folder or outcome.relay
    place = f" ({safe(where)})" if where else ""
    at = text_table.local(outcome.time)
    return f"history: {at} {safe(outcome.status)}: {safe(outcome.reason)}{place} {safe(outcome.id)}"
