"""sendmail-qidtrace: an own reading of four hosts' maillog tells what became of whom.

The oracle here shares nothing with posttrail's parsers: for each (host, queue id, recipient) it
keeps the last ``stat=`` and ``dsn=`` of a delivery, or who was refused. Compared are the number of
rows and each row's status, enhanced status, sender, Message-ID and client.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.score.check import Check, Row, lines_of, rows

YEAR = 2006  # of its stamps, 5 January; the source names none

_LINE = re.compile(
    r"^\w{3} [ \d]\d [\d:]{8} (?P<host>\S+) (?:sm-mta|sendmail|sm-msp-queue)\[\d+\]: "
    r"(?P<id>\w{12,16}): (?P<rest>.*?) *$"
)
_TO = re.compile(
    r"^to=(?P<to>.*?), (?:ctladdr=.*?, )?delay=(?P<delay>[\d:+]+)(?:, xdelay=[\d:+]+)?"
    r"(?:, mailer=(?P<mailer>[^,]+))?, pri=\d+(?:, relay=(?P<relay>.*?))?(?:, dsn=(?P<dsn>[\d.]+))?, "
    r"stat=(?P<stat>.*)$"
)
_FROM = re.compile(
    r"^from=<?(?P<sender>.*?)>?, size=(?P<size>\d+), class=-?\d+, nrcpts=(?P<nrcpts>\d+)"
    r"(?:, msgid=<?(?P<msgid>.*?)>?)?(?:, bodytype=\w+)?(?:, proto=\w+)?(?:, daemon=[\w-]+)?"
    r", relay=(?P<relay>.*)$"
)
_REFUSED = (
    re.compile(r"^Milter: to=<(?P<to>.*?)>, reject=(?P<reply>.*)$"),
    re.compile(r"^ruleset=check_rcpt, arg1=<(?P<to>.*?)>, relay=.*?,? reject=(?P<reply>.*)$"),
    re.compile(r"^<(?P<to>.*?)>\.\.\. (?P<reply>.*)$"),
)
_REFUSED_SENDER = re.compile(
    r"^ruleset=check_mail, arg1=<(?P<sender>.*?)>, relay=.*?,? reject=(?P<reply>.*)$"
)
_REFUSED_DATA = re.compile(r"^Milter: data, reject=(?P<reply>.*)$")
_PREGREETING = re.compile(r"^rejecting commands from .* due to pre-greeting traffic")

Key = tuple[str, str, str | None]


class Oracle:
    """What the lines say, by queue id."""

    def __init__(self) -> None:
        self.fates: dict[Key, tuple[str, str | None]] = {}
        self.envelopes: dict[tuple[str, str], re.Match[str]] = {}
        self.senders: dict[tuple[str, str], str] = {}
        self.ended: dict[tuple[str, str], str] = {}  # messages refused or broken off as a whole

    def read(self, raw: str) -> None:
        line = _LINE.match(raw)
        if line is None:
            return
        file = line["host"], line["id"]
        rest = line["rest"]
        if said := _FROM.match(rest):
            self.envelopes[file] = said
        elif said := _TO.match(rest):
            for one in said["to"].split(","):
                recipient = one.strip("<>").lower()
                self.fates[(*file, recipient)] = self._fate(said), said["dsn"]
        elif refused := _REFUSED_DATA.match(rest):
            self.ended[file] = refused["reply"]
        elif rest.startswith("collect: premature EOM"):
            self.ended.setdefault(file, "")
        elif said := _REFUSED_SENDER.match(rest):
            self.senders[file] = said["sender"]
            self.fates.setdefault((*file, None), ("rejected", _enhanced(said["reply"])))
        elif _PREGREETING.match(rest):
            self.fates.setdefault((*file, None), ("rejected", None))
        else:
            for form in _REFUSED:
                if refused := form.match(rest):
                    key = (*file, refused["to"].lower())
                    self.fates.setdefault(key, ("rejected", _enhanced(refused["reply"])))

    def _fate(self, said: re.Match[str]) -> str:
        if said["mailer"] is None:
            return "rejected"
        if said["stat"] == "Sent" or said["stat"].startswith("Sent ("):
            return "delivered"
        if said["stat"].startswith("Deferred"):
            return "deferred"
        return "error" if (said["dsn"] or "5").startswith("5") else "deferred"

    def finish(self) -> None:
        """A message that was taken, and of which nothing more is told, waits."""
        told = {key[:2] for key in self.fates}
        for file, reply in self.ended.items():
            if file not in told and reply:  # on some lines the anonymised host is another
                self.fates[(*file, None)] = "rejected", _enhanced(reply)
        told |= set(self.ended)
        for file, said in self.envelopes.items():
            if file not in told and said["nrcpts"] != "0" and said["size"] != "0":
                self.fates[(*file, None)] = "in_progress", None


def _enhanced(reply: str) -> str | None:
    found = re.match(r"\d{3} (\d\.\d+\.\d+) ", reply)
    return found[1] if found else None


def checks(folder: Path) -> Iterator[Check]:
    """Every log of the folder, each row's fields."""
    for path in sorted(folder.glob("*.log")):
        oracle = Oracle()
        for raw in lines_of(path):
            oracle.read(raw.decode("utf-8", "replace"))
        oracle.finish()
        found = rows([path], year=YEAR)
        yield Check(path.name, "rows", len(oracle.fates), len(found))
        by_key = {key: row for row in found for key in _keys(row)}
        for key, (status, enhanced) in oracle.fates.items():
            yield from _row(oracle, key, status, enhanced, by_key.get(key, {}))


def _keys(row: Row) -> Iterator[Key]:
    recipient = row["final_recipient"] or row["recipient"]
    for queue_id in row["queue_ids"]:
        yield row["host"], queue_id, recipient.lower() if recipient is not None else None


def _row(
    oracle: Oracle, key: Key, status: str, enhanced: str | None, row: dict[str, Any]
) -> Iterator[Check]:
    case = " ".join(str(part) for part in key)
    yield Check(case, "status", status, row.get("status"))
    if enhanced is not None:
        yield Check(case, "enhanced_status", enhanced, row.get("enhanced_status"))
    said = oracle.envelopes.get(key[:2])
    if said is None:
        if sender := oracle.senders.get(key[:2]):
            yield Check(case, "sender", sender, row.get("sender"))
        return
    yield Check(case, "sender", said["sender"], row.get("sender"))
    yield Check(case, "size", int(said["size"]), row.get("size_bytes"))
    yield Check(case, "message_id", said["msgid"], row.get("message_id"))
    ip = re.search(r"\[([\d.]+)\](?: \(may be forged\))?$", said["relay"])
    yield Check(case, "client", ip[1] if ip else None, row.get("client_ip"))
