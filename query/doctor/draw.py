"""The findings as a document of JSON (docs/schema/doctor.json), and as text.

Of what is well, only the first evidence is in the text. On a terminal icon, word and colour, in a
pipe the same without colour; whatever was seen is escaped. Raises nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple, TextIO

from posttrail import __version__
from posttrail.text import rfc3339, safe
from query.doctor.finding import Finding, Seen, State


class Face(NamedTuple):
    """How a state looks: never by colour alone."""

    icon: str
    word: str
    style: str


FACES: Final = {
    State.OK: Face("✓", "ok", "green"),
    State.WARNING: Face("!", "warning", "yellow"),
    State.PROBLEM: Face("✗", "problem", "bold red"),
    State.UNCHECKED: Face("-", "not checked", "dim"),
}
_WORD: Final = 2 + max(len(face.word) for face in FACES.values())
_INDENT: Final = " " * 4


def document(findings: Sequence[Finding], *, now_us: int, mta: str, root: bool) -> dict[str, Any]:
    """The document."""
    counts = Counter(each.state for each in findings)
    return {
        "version": __version__,
        "time": rfc3339(now_us),
        "mta": mta or None,
        "root": root,
        **{state.value: counts[state] for state in State},
        "findings": [
            {
                "family": each.family,
                "check": each.check,
                "state": each.state.value,
                "said": each.said,
                "needs_root": each.needs_root,
                "seen": [{"where": one.where, "what": one.what} for one in each.seen],
                "mend": list(each.mend),
            }
            for each in findings
        ],
    }


def write(findings: Iterable[Finding], out: TextIO) -> None:
    """The text."""
    for text, style in lines(list(findings), utf8=_is_utf8(out)):
        if style and out.isatty():
            _styled(text, style, out)
        else:
            out.write(f"{text}\n")


def lines(findings: Sequence[Finding], *, utf8: bool = True) -> Iterator[tuple[str, str]]:
    """Lines with the style of their first word, "" none."""
    family = ""
    for each, names in _joined(findings):
        if each.family != family:
            family = each.family
            yield f"{family}:", "bold"
        face = FACES[each.state]
        word = f"{face.icon} {face.word}" if utf8 else face.word
        beside = f" ({_told(each.seen[0])})" if each.state is State.OK and each.seen else ""
        yield f"  {word:<{_WORD}}  {names}: {safe(each.said)}{beside}", face.style
        for one in each.seen if each.state is not State.OK else ():
            yield f"{_INDENT}{_told(one)}", ""
        for command in each.mend:
            yield f"{_INDENT}mend: {safe(command)}", ""
    counts = Counter(each.state for each in findings)
    yield ", ".join(_counted(counts[state], state) for state in _WORST_FIRST if counts[state]), ""


def _joined(findings: Iterable[Finding]) -> Iterator[tuple[Finding, str]]:
    """Findings with the name of their check; of those unchecked for one reason, with all names."""
    for _, group in groupby(findings, _same):
        same = list(group)
        yield same[0], ", ".join(dict.fromkeys(each.check for each in same))


def _same(each: Finding) -> object:
    """What findings share that make one line; nothing where they say more than why not."""
    if each.state is State.UNCHECKED and not each.seen:
        return each.family, each.said
    return id(each)


def _counted(count: int, state: State) -> str:
    many = "s" if count != 1 and state in (State.PROBLEM, State.WARNING) else ""
    return f"{count} {FACES[state].word}{many}"


_WORST_FIRST: Final = (State.PROBLEM, State.WARNING, State.UNCHECKED, State.OK)


def _told(one: Seen) -> str:
    return f"{safe(one.where)}: {safe(one.what)}"


def _styled(text: str, style: str, out: TextIO) -> None:
    from rich.console import Console
    from rich.text import Text

    shown = Text(text)
    shown.stylize(style, 0, 2 + _WORD)
    Console(file=out, highlight=False).print(shown, soft_wrap=True)


def _is_utf8(out: TextIO) -> bool:
    return (out.encoding or "").lower().startswith("utf")
