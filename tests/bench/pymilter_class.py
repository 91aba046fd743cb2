"""The same no-op as pymilter_noop, written as pymilter's users write milters: on Milter.Base.

    pymilter_class.py SOCKET [STEP]

Here each event goes through pymilter's own Python layer; this is the no-op that the
design's figure for a recorder was set against. STEP (``envrcpt``) is answered all the same, as
posttrail-milterd answers RCPT lest it lose what a client says before it hangs up.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, Final

sys.path.insert(0, os.path.dirname(__file__))  # PYTHONSAFEPATH leaves it out
from pymilter_noop import MACROS  # type: ignore[import-not-found]  # beside this script

Milter: Final[Any] = importlib.import_module("Milter")
_STEPS: Final = ("connect", "hello", "envfrom", "envrcpt", "data", "header", "eoh")


def nothing(name: str, *, is_answered: bool) -> Callable[..., int]:
    """A callback that does nothing; nobody waits for it unless it is to be answered."""

    def callback(self: object, *_: object) -> int:
        return int(Milter.CONTINUE)

    callback.__name__ = name  # by it pymilter knows which flag to negotiate
    made: Callable[..., int] = callback if is_answered else Milter.noreply(callback)
    return made


def negotiate(self: Any, options: list[int]) -> int:
    """Milter.Base's, and the macros (its own way of asking for them fails on Python 3)."""
    answer: int = Milter.Base.negotiate(self, options)
    for stage, names in MACROS.items():
        self._ctx.setsymlist(stage, names)
    return answer


def main() -> None:
    """Serve until SIGTERM."""
    answered = sys.argv[2:]
    methods: dict[str, object] = {
        name: nothing(name, is_answered=name in answered) for name in _STEPS
    }
    noop = type("Noop", (Milter.Base,), {**methods, "negotiate": negotiate})
    Milter.factory = Milter.rejected_recipients(noop)
    Milter.set_flags(0)
    Milter.set_exception_policy(Milter.CONTINUE)
    Milter.runmilter("noop", sys.argv[1], 30)


if __name__ == "__main__":
    main()
