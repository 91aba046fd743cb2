"""Is the journal sound? A sample, each part in a process of its own: ``journal.check``.

Raises nothing.
"""

from collections.abc import Iterable, Sequence

from journal import days
from journal.check import Part, check_parts
from journal.keys import day_name, day_of
from posttrail.errors import PosttrailError
from query.doctor.finding import Finding, Seen
from query.doctor.names import check
from query.doctor.place import Place


def sample(present: Sequence[str], today: int) -> list[str]:
    """state, the newest day, and one other: a different one each day, so that all come round."""
    newest, others = present[-1:], present[:-1]
    return [days.STATE, *([others[today % len(others)]] if others else []), *newest]


def run(place: Place) -> list[Finding]:
    """Read the sample, or with ``full`` all days."""
    this = check("journal-check")
    try:
        present = list(map(day_name, days.present(place.journal)))
        wanted = [days.STATE, *present] if place.full else sample(present, day_of(place.now_us))
        return [decided(list(check_parts(place.journal, wanted)), full=place.full)]
    except PosttrailError as error:
        return [this.unchecked(str(error))]


def decided(parts: Iterable[Part], *, full: bool) -> Finding:
    """The finding over what was read."""
    this = check("journal-check")
    told, broken = [], []
    for part in parts:
        if part.problems:
            broken.append(part)
            told.append(Seen(part.name, part.first_problems[0]))
        else:
            told.append(Seen(part.name, f"{part.messages:,} messages, sound"))
    if broken:
        names = ", ".join(part.name for part in broken)
        return this.problem(
            f"the journal is damaged: {names}",
            *told,
            mend=[
                f"posttrail rebuild {part.name}"
                if part.name != days.STATE
                else "systemctl restart posttrail-trackd"
                for part in broken
            ],
        )
    return this.ok("the whole journal is sound" if full else "what was read of it is sound", *told)
