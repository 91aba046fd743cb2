"""Of every line of a folder that carries delivery information: is it understood?

What carries it is told by small patterns of this module's own, by the program that the tag
names (Postfix, Sendmail, Exim, Dovecot, amavisd); posttrail's parsers have no part in that. A
line of which posttrail makes no event is shown.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from milterd.lines import programs
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
            # Dovecot's final agents, amavisd, Exim
            rb" dovecot(?:\[\d+\])?: (?:lmtp|lda)\(.*(?:saved mail to|stored mail into|discarded"
            rb"|forwarded to|sent vacation|save failed|failed to store|rejected message)",
            rb" amavis\[\d+\]: \(.*\) (?:Passed|Blocked) [A-Z-]+",
            rb"(?:^|: )\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? (?:[+-]\d{4} )?(?:\[\d+\] )?"
            rb"\w{6}-\w{6,11}-\w{2,4} (?:<=|=>|->|>>|\*>|\*\*|==) ",
        )
    )
)


def checks(folder: Path) -> Iterator[Check]:
    """A check for every line that carries something, of every log of the folder."""
    mta = "exim" if folder.name.startswith("exim") else "auto"
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.endswith((".jsonl", ".md")):
            name, lines = str(path.relative_to(folder)), lines_of(path)
            if folder.name == "rare-shapes":  # of as many programs as it has lines
                for number, raw in enumerate(lines, start=1):
                    yield from of_lines(f"{name} {number}", [raw])
            else:
                yield from of_lines(name, lines, mta=mta)


def of_lines(name: str, lines: list[bytes], *, mta: str = "auto") -> Iterator[Check]:
    """The same for one log."""
    splitter = splitter_of(lines, mta)
    for number, raw in enumerate(lines, start=1):
        line = splitter.parse(raw)
        if not _CARRYING.search(raw):
            continue
        found = "unknown" if line is None else told_of(programs.parse(line))
        got = "understood" if isinstance(found, list) else found
        yield Check(f"{name}:{number}", "lines understood", "understood", got)
