"""Of every line of a folder that carries delivery information: is it understood?

What carries it is told by small patterns of this module's own, by the program that the tag
names; posttrail's parsers have no part in that. A line of which posttrail makes no event,
or a wrong number of them, is shown.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from milterd.track import programs
from tests.score.check import Check, lines_of, splitter_of, told_of

_AGENTS = rb"smtp|lmtp|local|virtual|pipe|error|retry|discard|relay"
_HEAD = rb"\[\d+\]: +"
_QUEUE_ID = rb"[0-9A-Za-z]{4,}: ?"
_CARRYING: Final = re.compile(
    b"|".join(
        (
            # a try for a recipient
            rb"/(?:%b)%b%bto=[^ ]*@.*, status=[a-zA-Z-]+ \(" % (_AGENTS, _HEAD, _QUEUE_ID),
            # a refusal, or another thing done to a message at the door
            rb"/(?:smtpd|cleanup|postscreen)%b(?:NOQUEUE: |%b)?(?:milter-|proxy-)?"
            rb"(?:reject|discard|quarantine): (?!VRFY|ETRN|CONNECT from \[)" % (_HEAD, _QUEUE_ID),
            # its way through the queue
            rb"/n?qmgr%b%b(?:from=.*(?:status=(?:force-)?expired|\(queue active\))|removed$)"
            % (_HEAD, _QUEUE_ID),
            rb"/bounce%b%bsender non-delivery notification: " % (_HEAD, _QUEUE_ID),
            # Sendmail: a try, an envelope, a refusal
            rb" (?:sendmail|sm-[a-z-]+)\[\d+\]: \w{8,20}: (?:to=.*stat=|from=.*nrcpts=|<[^>]*>\.\.\. )",
            rb" (?:sendmail|sm-[a-z-]+)\[\d+\]: \w{8,20}: Milter: .*, (?:reject=|discard$)",
            rb" (?:sendmail|sm-[a-z-]+)\[\d+\]: (?:\w{8,20}: )?ruleset=check_.* reject=",
            rb" (?:sendmail|sm-[a-z-]+)\[\d+\]: \w{8,20}: \w{8,20}: (?:DSN|return to sender): ",
            rb"/postsuper%b%b(?:removed|requeued|placed on hold)" % (_HEAD, _QUEUE_ID),
        )
    )
)


def checks(folder: Path) -> Iterator[Check]:
    """A check for every line that carries something, of every log of the folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.endswith((".jsonl", ".md")):
            yield from of_lines(str(path.relative_to(folder)), lines_of(path))


def of_lines(name: str, lines: list[bytes]) -> Iterator[Check]:
    """The same for one log."""
    splitter = splitter_of(lines)
    for number, raw in enumerate(lines, start=1):
        line = splitter.parse(raw)
        if not _CARRYING.search(raw):
            continue
        found = "unknown" if line is None else told_of(programs.parse(line))
        got = "understood" if isinstance(found, list) else found
        yield Check(f"{name}:{number}", "lines understood", "understood", got)
