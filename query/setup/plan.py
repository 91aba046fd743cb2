"""What posttrail needs changed in a Postfix, decided over its settings alone.

Formats: main.cf as ``postconf -n`` prints it (not expanded) and as ``posttrail.postconf``
reads it (expanded); milter lists as MILTER_README tells. Pure; raises nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from posttrail.postconf import Service, Settings, split

LISTS: Final = ("smtpd_milters", "non_smtpd_milters")
TIMEOUTS: Final = "connect_timeout=2s, command_timeout=5s, content_timeout=5s"
YES: Final = "yes"
_SWITCHES: Final = {
    "enable_long_queue_ids": "a short queue id comes again for other mail",
    "smtpd_client_port_logging": "a refusal in the log is joined to the milter's by the port",
}
_LIST_REASONS: Final = {
    "smtpd_milters": "mail that comes by SMTP; last, so that the others' verdicts are seen",
    "non_smtpd_milters": "mail of local programs and queued bounces",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One parameter of main.cf(5)."""

    name: str
    before: str | None  # as main.cf has it; None: not there
    after: str | None  # None: not there
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to change, and what only the administrator can decide."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]  # sentences


def entry(endpoint: str) -> str:
    """Our word of a milter list: mail flows where nobody listens, and waits for seconds only."""
    return f"{{ {endpoint}, default_action=accept, {TIMEOUTS} }}"


def endpoint(spec: str, queue: str) -> str:
    """A socket of posttrail.toml as Postfix names it; in its queue directory for chrooted services.

    ``unix:PATH`` and ``inet:PORT@HOST`` (posttrail.toml(5)).
    """
    kind, _, place = spec.partition(":")
    if kind == "inet":
        port, _, host = place.partition("@")
        return f"inet:{host or '127.0.0.1'}:{port}"
    return "unix:" + place.removeprefix(queue.rstrip("/") + "/")


def plan(settings: Settings, written: Mapping[str, str], ours: str) -> Plan:
    """``written``: main.cf's own lines, not expanded; ``ours``: the milter's endpoint."""
    changes = [*_lists(settings, written, ours), *_switches(settings, written)]
    return Plan(changes=tuple(changes), notes=tuple(_notes(settings, written, ours)))


def without(value: str, ours: str) -> str:
    """A milter list as it is without our word."""
    return ", ".join(word for word in split(value) if not is_ours(word, ours))


def is_ours(word: str, ours: str) -> bool:
    """Whether a word of a milter list asks posttrail."""
    inner = split(word.strip("{}")) if word.startswith("{") else (word,)
    return bool(inner) and inner[0] == ours


def _lists(settings: Settings, written: Mapping[str, str], ours: str) -> Iterator[Change]:
    wanted = entry(ours)
    for name in LISTS:
        value = written.get(name)
        words = split(value or "")
        if words and " ".join(words[-1].split()) == wanted:
            continue
        if any(word in ("$smtpd_milters", "${smtpd_milters}") for word in words[-1:]):
            continue  # it has what the first list gets
        if not any(is_ours(word, ours) for word in words) and _by_reference(settings, name, ours):
            continue
        kept = [word for word in words if not is_ours(word, ours)]
        after = ", ".join([*kept, wanted])
        yield Change(name=name, before=value, after=after, why=_LIST_REASONS[name])


def _by_reference(settings: Settings, name: str, ours: str) -> bool:
    """Whether another parameter brings our word into a list."""
    return any(is_ours(word, ours) for word in settings.words(name))


def _switches(settings: Settings, written: Mapping[str, str]) -> Iterator[Change]:
    for name, why in _SWITCHES.items():
        if name in settings.main and settings.get(name) != YES:  # else this Postfix has none
            yield Change(name=name, before=written.get(name), after=YES, why=why)


def _notes(settings: Settings, written: Mapping[str, str], ours: str) -> Iterator[str]:
    for name in LISTS:
        words = settings.words(name)
        behind = bool(words) and not is_ours(words[-1], ours)
        if any(is_ours(word, ours) for word in words) and behind and name not in written:
            yield f"{name}: put posttrail last, behind it another milter is asked"
    for service in settings.services:
        if service.command in ("smtpd", "postscreen"):
            yield from _of_service(settings, service, ours)


def _of_service(settings: Settings, service: Service, ours: str) -> Iterator[str]:
    key = f"{service.name}/{service.type}"
    own = settings.overrides.get(key, {})
    if "no_milters" in own.get("receive_override_options", ""):
        return
    if "smtpd_milters" in own and not any(
        is_ours(word, ours) for word in split(own["smtpd_milters"])
    ):
        yield (
            f"{key} in master.cf has smtpd_milters of its own, its mail is known from the log"
            " alone. Where it is no content filter's way back, add posttrail there, too"
        )
    if ours.startswith("unix:/") and service.chroot == "y" and service.command == "smtpd":
        yield f"{key} is chrooted (master.cf), and the socket is outside of the queue directory"


def same(one: str, other: str | None) -> bool:
    """Whether two lists ask the same milters in the same order."""
    return split(one) == split(other or "")
