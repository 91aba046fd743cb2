"""A trace as JSON, and back: docs/schema/trace.json.

Fields that do not apply are left out. Text that was not UTF-8 keeps its bytes as lone surrogates
(PEP 383), written as JSON escapes, so that a document comes back as the trace it was made of.
Raises DataError for JSON that is no trace.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final, TypeVar, cast

from posttrail.errors import DataError
from posttrail.text import json_dump
from query.trace.tree import Host, Node, Outcome, Question, Source, Step, Trace, Verdict

Document = dict[str, Any]
T = TypeVar("T")
E = TypeVar("E", bound=Enum)

_TEXTS: Final = (
    "table", "key", "value", "as_of", "address_class", "transport", "nexthop", "router", "mailbox",
    "command", "enhanced_status",
)  # fmt: skip
_OUTCOME: Final = ("time", "status", "reason", "relay", "folder", "id")
DEEPEST: Final = 200
"""Levels of a tree that are read: Postfix itself stops far earlier (RFC 5321 6.3: 100 hops)."""


def document(trace: Trace) -> Document:
    """The JSON object of a trace."""
    return {
        "address": trace.question.address,
        "sender": trace.question.sender,
        "entry": trace.question.entry,
        "as_of": trace.as_of,
        "mta": trace.mta,
        "verdict": trace.root.verdict.value,
        "source": "+".join(_sources(trace.root)),
        "warnings": list(trace.warnings),
        "root": _node(trace.root),
    }


def line(trace: Trace) -> str:
    """The document as one line of JSON, with its end."""
    return f"{json_dump(document(trace))}\n"


def _sources(root: Node) -> Iterable[str]:
    """Who spoke in a tree, in the order of ``Source``."""
    found, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        found.add(node.source)
        waiting += node.children
        if node.history:
            found.add(Source.HISTORY)
    return (source.value for source in Source if source in found)


def _node(node: Node) -> Document:
    made: Document = {
        "address": node.address,
        "step": node.step.value,
        "verdict": node.verdict.value,
        "source": node.source.value,
    }
    made |= {name: getattr(node, name) for name in _TEXTS if getattr(node, name) is not None}
    made["text"] = node.text
    parts: tuple[tuple[str, list[Any]], ...] = (
        ("hosts", list(map(_host, node.hosts))),
        ("notes", list(node.notes)),
        ("history", [{name: getattr(each, name) for name in _OUTCOME} for each in node.history]),
        ("differs", [node.differs] if node.differs is not None else []),
        ("children", list(map(_node, node.children))),
    )
    for name, values in parts:
        if values:
            made[name] = values[0] if name == "differs" else values
    return made


def _host(host: Host) -> Document:
    made: Document = {
        "name": host.name,
        "name_unicode": host.name_unicode,
        "ip": list(host.addresses),
        "port": host.port,
        "mx": host.preference,
        "fallback": host.fallback,
        "secure": host.secure,
        "tlsa": list(host.tlsa),
        "trouble": host.trouble,
    }
    return {name: value for name, value in made.items() if value is not None and value != []} | {
        "ip": made["ip"]
    }


# -- back -------------------------------------------------------------------------------


def parse(text: str | bytes) -> Trace:
    """The trace of a JSON text."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError("a trace's answer is not JSON") from None
    return trace(found)


def trace(found: object) -> Trace:
    """The trace of a JSON object."""
    try:
        made = _object(found)
        question = Question(
            address=_text(made["address"]),
            sender=_maybe(made["sender"]),
            entry=_text(made["entry"]),
        )
        return Trace(
            question=question,
            mta=_text(made["mta"]),
            as_of=_text(made["as_of"]),
            root=_read_node(made["root"], DEEPEST),
            warnings=_many(made["warnings"], _text),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"a trace's answer has a field that is missing or wrong: {error}") from None


def _read_node(found: object, deeper: int) -> Node:
    if not deeper:
        raise ValueError("a tree that deep")
    made = _object(found)
    return Node(
        address=_text(made["address"]),
        step=_word(Step, made["step"]),
        verdict=_word(Verdict, made["verdict"]),
        source=_word(Source, made["source"]),
        text=_text(made["text"]),
        hosts=_many(made.get("hosts", []), _read_host),
        notes=_many(made.get("notes", []), _text),
        history=_many(made.get("history", []), _read_outcome),
        differs=_maybe(made.get("differs")),
        children=_many(made.get("children", []), lambda child: _read_node(child, deeper - 1)),
        **{name: _maybe(made.get(name)) for name in _TEXTS},
    )


def _read_host(found: object) -> Host:
    made = _object(found)
    return Host(
        name=_text(made["name"]),
        name_unicode=_maybe(made.get("name_unicode")),
        addresses=_many(made["ip"], _text),
        port=_number(made["port"]),
        preference=None if made.get("mx") is None else _number(made["mx"]),
        fallback=made["fallback"] is True,
        secure=None if made.get("secure") is None else made["secure"] is True,
        tlsa=_many(made.get("tlsa", []), _text),
        trouble=_maybe(made.get("trouble")),
    )


def _read_outcome(found: object) -> Outcome:
    made = _object(found)
    return Outcome(
        time=_text(made["time"]),
        status=_text(made["status"]),
        reason=_text(made["reason"]),
        relay=_maybe(made["relay"]),
        folder=_maybe(made["folder"]),
        id=_text(made["id"]),
    )


def _object(found: object) -> Mapping[str, object]:
    if not isinstance(found, dict):
        raise TypeError("an object is wanted")
    return cast(Mapping[str, object], found)


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise TypeError("text is wanted")
    return found


def _maybe(found: object) -> str | None:
    return None if found is None else _text(found)


def _number(found: object) -> int:
    if not isinstance(found, int) or isinstance(found, bool):
        raise TypeError("a whole number is wanted")
    return found


def _many(found: object, each: Callable[[object], T]) -> tuple[T, ...]:
    if not isinstance(found, list):
        raise TypeError("a list is wanted")
    return tuple(map(each, found))


def _word(kind: type[E], found: object) -> E:
    return kind(_text(found))
