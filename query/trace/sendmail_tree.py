"""The tree that Sendmail's lines describe: who is aliased to whom, and where each comes to its end.

The lines say parents and ends apart, and of a .forward only the file. What stands below whom is
found by name; an end whose place cannot be found stands below the root, so that none is lost.
Decides only, beside a look into passwd(5). Raises nothing.
"""

import os
import pwd
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

from query.trace.sendmail_cf import Cf
from query.trace.sendmail_output import Deliverable, Fault, Output
from query.trace.tree import Node, Source, Step, Verdict

EX_TEMPFAIL: Final = 75
_UNKNOWN_USER: Final = "User unknown"
_CUT: Final = "Sendmail shortened this list when it printed it: who belongs to it is not certain"
_LOOP: Final = ("aliasing/forwarding loop broken", "excessive recursion")


def unknown(address: str, why: str) -> Node:
    """An end of which Sendmail told us nothing."""
    return Node(
        address=address, step=Step.UNKNOWN, verdict=Verdict.UNKNOWN, source=Source.MTA, text=why
    )


class Tree:
    """Makes the tree of one answer."""

    def __init__(
        self,
        said: Output,
        cf: Cf,
        deliver: Callable[[Deliverable], Node],
        *,
        at_smtp: bool,
        code: int,
    ) -> None:
        self._said = said
        self._deliver = deliver
        self._at_smtp = at_smtp
        self._temporary = code == EX_TEMPFAIL
        self._forwards = dict(said.forwards)
        tables = {f"{each.kind}:{each.path}" for each in cf.maps if each.name == "aliases"}
        self._aliases = tables.pop() if len(tables) == 1 else None
        self._placed: set[str] = set()

    def root(self, asked: str, address: str) -> Node | None:
        """The tree; None where Sendmail says nothing of any address."""
        if not (self._said.ends or self._said.faults or self._said.aliases or self._said.forwards):
            return None
        node = self._node(address, ())
        strays = [self._deliver(end) for end in self._said.ends if end.address not in self._placed]
        strays += [
            self._fault(fault, ()) for fault in self._said.faults
            if fault.address not in self._placed
        ]  # fmt: skip
        if strays and node.step is Step.UNKNOWN:
            node = Node(address=asked, step=Step.LOCAL_ALIAS, source=Source.MTA)
        return replace(node, address=asked, children=(*node.children, *strays))

    def _node(self, address: str, before: tuple[str, ...]) -> Node:
        said = self._said
        looped = address in before
        if not looped and address in said.aliases:
            return self._list(address, before, Step.LOCAL_ALIAS, self._aliases, said.aliases)
        if not looped and address in said.includes:
            file = said.includes[address]
            node = self._list(file, (*before, address), Step.INCLUDE, file, said.members)
            return self._with_fault(replace(node, address=address), address, before)
        ends = [end for end in said.ends if end.address == address]
        if ends:
            self._placed.add(address)
            return self._end(address, ends[0])
        forward = None if looped else self._forward(address)
        if forward is not None:
            del self._forwards[forward]
            node = self._list(forward, (*before, address), Step.FORWARD, forward, said.forwards)
            return replace(node, address=address)
        return self._without_end(address, before, looped=looped)

    def _without_end(self, address: str, before: tuple[str, ...], *, looped: bool) -> Node:
        fault = next((each for each in self._said.faults if each.address == address), None)
        if fault is not None:
            return self._fault(fault, before)
        if looped:
            return _looped(address, next(iter(self._said.words), _LOOP[0]))
        if address in self._said.duplicates:
            return Node(
                address=address, step=Step.SAME, source=Source.MTA,
                text="stands elsewhere already: duplicate suppressed",
            )  # fmt: skip
        return unknown(address, "Sendmail says nothing of this address")

    def _list(
        self, name: str, before: tuple[str, ...], step: Step, table: str | None,
        lists: dict[str, list[str]],
    ) -> Node:  # fmt: skip
        members = lists.get(name, [])
        cut = name in self._said.cut
        if cut:
            members = [each for each in members if self._known(each)]
        children = tuple(self._node(each, (*before, name)) for each in members)
        return Node(
            address=name, step=step, source=Source.MTA, table=table,
            key=name.partition("@")[0] if step is Step.LOCAL_ALIAS else None,
            value=", ".join(members), children=children, notes=(_CUT,) if cut else (),
            verdict=Verdict.OK if children else Verdict.UNKNOWN,
            text="" if children else "nothing came of this list",
        )  # fmt: skip

    def _known(self, address: str) -> bool:
        said = self._said
        names = {end.address for end in said.ends} | {fault.address for fault in said.faults}
        return address in names or address in said.aliases or address in said.duplicates

    def _with_fault(self, node: Node, address: str, before: tuple[str, ...]) -> Node:
        fault = next((each for each in self._said.faults if each.address == address), None)
        return node if fault is None else self._fault(fault, before)

    def _forward(self, address: str) -> str | None:
        """This user's .forward: below the home, in a folder of the name, or the only one left."""
        user = address.removeprefix("\\").partition("@")[0].partition("+")[0].lower()
        for file in self._forwards:
            if file.startswith(_home(user)) or user in PurePosixPath(file).parts:
                return file
        others = {*self._said.duplicates, *(each.address for each in self._said.faults)}
        return next(iter(self._forwards), None) if address not in others else None

    def _end(self, address: str, end: Deliverable) -> Node:
        node = self._deliver(end)
        if node.verdict is Verdict.TEMPORARY or end.mailer.startswith("*") or end.mailer == "prog":
            return node
        became = end.user.rstrip(".")
        if _same(address, became):
            return node
        return Node(
            address=address, step=Step.REWRITE, source=Source.MTA,
            children=(replace(node, address=became),),
            text=f"the rules of sendmail.cf (virtusertable, mailertable) make it {became}",
        )  # fmt: skip

    def _fault(self, fault: Fault, before: Iterable[str]) -> Node:
        self._placed.add(fault.address)
        if any(_LOOP[1] in words for words in self._said.words):
            return _looped(fault.address, self._said.words[0])
        denied = "Permission denied" in fault.text and os.geteuid() != 0
        verdict = Verdict.REJECTED_AT_SMTP if self._at_smtp and not tuple(before) else None
        if denied or self._temporary:
            verdict = Verdict.UNKNOWN if denied else Verdict.TEMPORARY
        return Node(
            address=fault.address, step=Step.REJECT, source=Source.MTA, text=fault.text,
            verdict=verdict or Verdict.PERMANENT,
            enhanced_status="5.1.1" if fault.text == _UNKNOWN_USER else None,
        )  # fmt: skip


def _looped(address: str, text: str) -> Node:
    return Node(
        address=address, step=Step.REJECT, verdict=Verdict.LOOP, source=Source.MTA, text=text,
        enhanced_status="5.4.6",
    )  # fmt: skip


def _home(user: str) -> str:
    try:
        return pwd.getpwnam(user).pw_dir.rstrip("/") + "/"
    except (KeyError, ValueError):
        return "\0"  # begins no path


def _same(address: str, user: str) -> bool:
    """Is the mailer's user the address, its local part, or that without extension?"""
    plain = address.removeprefix("\\").lower()
    local = plain.rpartition("@")[0] or plain
    bare = user.removeprefix("\\").lower()
    return bare in (plain, local, local.partition("+")[0])
