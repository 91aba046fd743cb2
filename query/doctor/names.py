"""The checks by family, in the order in which they are shown; docs/man/posttrail.1 lists them."""

from typing import Final

from query.doctor.finding import Check

_FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "milter": ("milter-socket", "milter-answers", "milter-reach"),
    "mta": (
        "milter-list", "milter-last", "milter-default-action", "milter-timeouts", "milter-unix",
        "milter-overrides", "milter-reinjection", "long-queue-ids", "client-port",
    ),
    "log": ("log-source", "log-readable", "log-lines", "log-rotation", "log-generations"),
    "limits": ("journald-limit", "rsyslog-limit"),
    "disk": ("disk-free", "disk-inodes", "map-headroom", "spool-depth"),
    "clock": ("clock-synchronised", "clock-spool", "clock-journal"),
    "resolver": ("name-servers", "rewrite-socket"),
    "daemons": ("milterd", "trackd", "queryd", "traced", "hookd", "versions"),
    "capture": ("log-lag", "unknown-lines", "lost-records", "coverage", "damaged-days"),
    "permissions": ("journal-permissions", "spool-permissions", "state-permissions", "config-file"),
    "journal": ("journal-check",),
    "message": ("test-message",),
}  # fmt: skip

FAMILIES: Final = tuple(_FAMILIES)


def checks(family: str) -> tuple[Check, ...]:
    """The checks of a family."""
    return tuple(Check(family, name) for name in _FAMILIES[family])


def check(name: str) -> Check:
    """The check of that name."""
    return _BY_NAME[name]


_BY_NAME: Final = {each.name: each for family in FAMILIES for each in checks(family)}
