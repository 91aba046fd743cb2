"""Another filter of the MTA: it answers what the sender's local part asks for.

Run as a program of its own: ``python sendmail_filter.py SOCKET``. ``STEP.ANSWER@...`` answers so at
that step (from, to, data, eom): reject, tempfail, discard, quarantine, reply (a reply of its
own); with ``to``, ``carol`` alone of the recipients. Others are accepted.
"""

import importlib
import sys
from typing import Any, Final

Milter: Final[Any] = importlib.import_module("Milter")
_ANSWERS: Final = {
    "reject": Milter.REJECT,
    "tempfail": Milter.TEMPFAIL,
    "discard": Milter.DISCARD,
}


def _say(self: Any, step: str) -> Any:
    if step != self.step:
        return Milter.CONTINUE
    if self.answer == "reply":
        self.setreply("550", "5.7.1", "This is not wanted here, says the filter")
        return Milter.REJECT
    if self.answer == "quarantine":
        self.quarantine("the filter has its doubts")
        return Milter.ACCEPT
    return _ANSWERS.get(self.answer, Milter.CONTINUE)


def _envfrom(self: Any, sender: str, *parameters: str) -> Any:
    self.step, _, rest = sender.strip("<>").partition(".")
    self.answer = rest.partition("@")[0]
    return _say(self, "from")


def _envrcpt(self: Any, recipient: str, *parameters: str) -> Any:
    return _say(self, "to") if recipient.strip("<>").startswith("carol") else Milter.CONTINUE


if __name__ == "__main__":
    Milter.factory = type(
        "Filter",
        (Milter.Base,),
        {
            "envfrom": _envfrom,
            "envrcpt": _envrcpt,
            "data": lambda self: _say(self, "data"),
            "eom": lambda self: _say(self, "eom"),
        },
    )
    Milter.set_flags(Milter.QUARANTINE)
    Milter.runmilter("filter", sys.argv[1], 60)
