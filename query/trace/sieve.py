"""What a user's active sieve script may do with a mail: names of its rules, not its answer.

A script is read, not run: which rule fires depends on the mail. The forms are those of RFC 5228
(fileinto, redirect, discard, keep), RFC 5429 (reject, ereject). Raises nothing: a script that is
not there or cannot be read makes no note.
"""

import re
from collections.abc import Iterator
from typing import Final

MOST_READ: Final = 256 * 1024
_TOKEN: Final = re.compile(
    r"/\*.*?\*/|#[^\n]*|text:[ \t]*(?:#[^\n]*)?\n.*?^\.\r?$|\"((?:[^\"\\]|\\.)*)\"|:?\w+|[^\s\w]",
    re.DOTALL | re.MULTILINE,
)
_ACTIONS: Final = frozenset({"fileinto", "redirect", "discard", "reject", "ereject"})
NAMES: Final = (".dovecot.sieve", "sieve/.active.sieve")


def actions(script: str) -> Iterator[tuple[str, str]]:
    """Each action with its first string: ``("fileinto", "Junk")``, once."""
    seen: set[tuple[str, str]] = set()
    current: str | None = None
    argument = ""
    for token in _TOKEN.finditer(script):
        word = token[0]
        if word.startswith(("/*", "#")):
            continue
        if word.startswith('"'):
            argument = argument or re.sub(r"\\(.)", r"\1", token[1])
        elif word in ";{}":
            if current is not None and (current, argument) not in seen:
                seen.add((current, argument))
                yield current, argument
            current, argument = None, ""
        elif current is None and not argument and word.lower() in _ACTIONS:
            current = word.lower()


def note(path: str, script: str) -> str | None:
    """One sentence; None: the script has no such action."""
    words = {
        "fileinto": "files into {}",
        "redirect": "redirects to {}",
        "discard": "discards",
        "reject": "rejects",
        "ereject": "rejects",
    }
    said = list(dict.fromkeys(words[name].format(what) for name, what in actions(script)))
    if not said:
        return None
    return f"the sieve script {path} may act on it: {', '.join(said[:10])}"


def note_of(home: str) -> str | None:
    """The note on the active script in a home directory, where it is readable."""
    for name in NAMES:
        path = f"{home.rstrip('/')}/{name}"
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                script = stream.read(MOST_READ)
        except OSError:
            continue
        return note(path, script)
    return None
