"""What posttrail needs changed in a Postfix, decided over its settings alone.

Formats: main.cf as ``postconf -n`` prints it (not expanded) and as ``posttrail.postconf`` reads it
(expanded); milter lists as ``posttrail.milters`` reads them. Pure; raises nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from posttrail import milters, smtp_doors
from posttrail.milter_socket import socket_path
from posttrail.milters import LISTS, TIMES
from posttrail.postconf import Settings, split

YES: Final = "yes"
_SWITCHES: Final = {
    "enable_long_queue_ids": "a short queue id comes again for other mail",
    "smtpd_client_port_logging": "a refusal in the log is joined to the milter's by the port",
}
_LIST_REASONS: Final = {
    "smtpd_milters": "mail that comes by SMTP; last, so that the others' verdicts are seen",
    "non_smtpd_milters": "mail of local programs; last, too",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """Our milter, as a Postfix with this queue directory names it."""

    socket: str  # milter.socket of posttrail.toml
    queue: Path

    def has(self, word: str) -> bool:
        """Does a word of a list ask posttrail?"""
        return milters.is_ours(milters.milter(word).endpoint, self.socket, self.queue)

    @property
    def entry(self) -> str:
        """The word that should stand in both lists."""
        return milters.entry(self.socket, self.queue)


def plan(settings: Settings, written: Mapping[str, str], ours: Ours) -> Plan:
    """``written``: main.cf's own lines, not expanded."""
    changes, notes = [], []
    after = {**dict.fromkeys(LISTS, ""), **written}
    for name in _referred_first(written):
        found = _list(settings, after, name, ours)
        if isinstance(found, str):
            notes.append(found)
        elif found is not None:
            why = _LIST_REASONS[name]
            changes.append(Change(name=name, before=written.get(name), after=found[0], why=why))
            after[name] = found[0]
    changes.sort(key=lambda change: LISTS.index(change.name))
    changes += _switches(settings, written)
    return Plan(changes=tuple(changes), notes=(*notes, *_notes(settings, ours)))


def _referred_first(written: Mapping[str, str]) -> tuple[str, ...]:
    """The lists, one that the other one refers to before it."""
    first, second = LISTS
    names = map(milters.reference, split(written.get(first, "")))
    return (second, first) if second in names else (first, second)


def _list(
    settings: Settings, values: Mapping[str, str], name: str, ours: Ours
) -> tuple[str] | str | None:
    """The value that a list needs; None: it is right; or why it is not for us to change."""
    value = values[name]
    words = milters.expanded(value, values)
    found = list(filter(ours.has, words))
    if len(found) == 1 and ours.has(words[-1]) and _is_good(settings, found[0]):
        return None
    own = list(filter(ours.has, split(value)))
    by_postfix = not found and any(map(ours.has, settings.words(name)))
    if len(found) > len(own) or by_postfix:
        return (
            f"posttrail comes into {name} by another parameter ({value}): let it be the last there,"
            " once, with default_action=accept and short timeouts"
        )
    return (milters.with_last(milters.without(value, ours.has), ours.entry),)


def _is_good(settings: Settings, word: str) -> bool:
    """Does mail flow without us, and wait for seconds only?"""
    asked = milters.milter(word)
    action = asked.setting("default_action", settings.get("milter_default_action"))
    times = (
        asked.setting(f"{each}_timeout", settings.get(f"milter_{each}_timeout")) for each in TIMES
    )
    return action == "accept" and not any(milters.is_long(each) for each in times)


def _switches(settings: Settings, written: Mapping[str, str]) -> Iterator[Change]:
    for name, why in _SWITCHES.items():
        if name in settings.main and settings.get(name) != YES:  # else this Postfix has none
            yield Change(name=name, before=written.get(name), after=YES, why=why)


def _notes(settings: Settings, ours: Ours) -> Iterator[str]:
    back = {name for name, _ in smtp_doors.handed_back(settings)}
    for name, service in smtp_doors.smtpd(settings):
        own = settings.overrides.get(name, {})
        if smtp_doors.passed_over(settings, name):
            continue
        is_asked = "smtpd_milters" not in own or any(map(ours.has, split(own["smtpd_milters"])))
        if name in back and is_asked:
            kept = settings.words("receive_override_options", name)
            yield (
                f"{name} in master.cf takes mail back from a filter, and asks the milters again."
                f" postconf -P {name}/receive_override_options={','.join((*kept, 'no_milters'))}"
            )
        elif not is_asked and not smtp_doors.is_inner(service):
            yield (
                f"{name} in master.cf has smtpd_milters of its own: its mail is known from the log"
                " alone until posttrail is added there, too"
            )
    yield from _out_of_reach(settings, ours)


def _out_of_reach(settings: Settings, ours: Ours) -> Iterator[str]:
    """A chrooted service sees the queue directory only."""
    path = socket_path(ours.socket)
    services = smtp_doors.chrooted(settings)
    if path is not None and ours.queue not in path.parents and services:
        yield (
            f"{', '.join(services)} in master.cf: chrooted, and cannot reach {path}. Set"
            f" milter.socket = \"unix:{ours.queue}/posttrail/milter.sock\" in posttrail.toml, or"
            " take them out of the chroot"
        )  # fmt: skip
