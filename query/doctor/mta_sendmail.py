"""Does Sendmail ask the milter as it should?

    Xposttrail, S=local:/run/posttrail/milter.sock, F=, T=C:2s;S:5s;R:5s;E:5s
    O InputMailFilters=clamav,posttrail

Pure but for ``run``. Raises what reading sendmail.cf raises.
"""

import re
import shlex
from dataclasses import dataclass
from typing import Final

from posttrail.errors import UnavailableError
from posttrail.milter_socket import socket_path
from posttrail.milters import LONGEST_S
from query.doctor.finding import Finding, Seen
from query.doctor.names import check, checks
from query.doctor.place import Place
from query.trace import sendmail_cf

MC: Final = "/etc/mail/sendmail.mc"
_X: Final = re.compile(r"^X([^,\s]+)\s*,(.*)$", re.MULTILINE)
_FILTERS: Final = re.compile(r"^O\s*InputMailFilters\s*=\s*(.*)$", re.MULTILINE)
_TIME: Final = re.compile(r"([CSRE]):(\d+)([smhd]?)")
_DEFAULT_S: Final = {"C": 300, "S": 10, "R": 10, "E": 300}
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One X line."""

    name: str
    socket: str
    flags: str
    times_s: dict[str, int]


def filters(text: str) -> list[Filter]:
    """The X lines of a sendmail.cf."""
    found = []
    for name, rest in _X.findall(text):
        parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
        times = {
            key: int(number) * _UNITS[unit]
            for key, number, unit in _TIME.findall(parts.get("T", ""))
        }
        found.append(
            Filter(name=name, socket=parts.get("S", ""), flags=parts.get("F", ""),
                   times_s={**_DEFAULT_S, **times})
        )  # fmt: skip
    return found


def order(text: str) -> list[str]:
    """The filters in the order in which they are asked."""
    return [name.strip() for line in _FILTERS.findall(text) for name in re.split("[,;]", line)]


def run(place: Place) -> list[Finding]:
    """The checks that apply to Sendmail."""
    path = place.config.trace.config or str(place.file(sendmail_cf.DEFAULT))
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}") from None
    return decide(text, place.config.milter.socket, path)


def decide(text: str, socket: str, path: str) -> list[Finding]:
    """The findings of a sendmail.cf."""
    known = filters(text)
    ours = next((each for each in known if socket_path(each.socket) == socket_path(socket)), None)
    asked = order(text)
    mend = mended(ours.name if ours else "posttrail", socket)
    applied = {
        each.check: each
        for each in _of(ours, asked, Seen(path, f"filters: {', '.join(asked) or 'none'}"), mend)
    }
    others = (
        each.unchecked("this is for Postfix: the mail server here is Sendmail")
        for each in checks("mta")
        if each.name not in applied
    )
    return [*applied.values(), *others]


def written(name: str, socket: str) -> str:
    """The line of sendmail.mc for our milter: mail flows without it, and does not wait long."""
    path = socket_path(socket)
    where = socket if path is None else f"local:{path}"
    return f"INPUT_MAIL_FILTER(`{name}', `S={where}, F=, T=C:2s;S:5s;R:5s;E:5s')dnl"


def mended(name: str, socket: str) -> tuple[str, ...]:
    """Commands that make our line of sendmail.mc the last, and as it should be."""
    line = shlex.quote(written(name, socket))
    known = shlex.quote(f"/^INPUT_MAIL_FILTER(`{name}'/d")
    return (
        f"sed -i {known} {MC}",
        f"echo {line} >> {MC}",
        "make -C /etc/mail && systemctl restart sendmail",
    )


def _of(ours: Filter | None, asked: list[str], seen: Seen, mend: tuple[str, ...]) -> list[Finding]:
    if ours is None or ours.name not in asked:
        return [check("milter-list").problem("Sendmail does not ask posttrail", seen, mend=mend)]
    line = Seen(f"X{ours.name}", f"S={ours.socket}, F={ours.flags}")
    long = [key for key, value in ours.times_s.items() if value > LONGEST_S]
    found = [check("milter-list").ok("Sendmail asks posttrail", line)]
    this = check("milter-last")
    found.append(
        this.ok("posttrail is the last of the milters", seen)
        if asked[-1] == ours.name
        else this.warning("what the milters behind posttrail decide is not seen", seen, mend=mend)
    )
    this = check("milter-default-action")
    found.append(
        this.problem(
            "when posttrail-milterd does not run, Sendmail does not take mail", line, mend=mend
        )
        if set(ours.flags) & set("TR4")
        else this.ok("when posttrail-milterd does not run, mail flows on", line)
    )
    this = check("milter-timeouts")
    times = Seen(
        f"X{ours.name}", ", ".join(f"{key}:{value}s" for key, value in ours.times_s.items())
    )
    found.append(
        this.warning(
            f"a milter that hangs would hold each session for more than {LONGEST_S} s",
            times,
            mend=mend,
        )
        if long
        else this.ok("the timeouts of the milter are short", times)
    )
    return found
