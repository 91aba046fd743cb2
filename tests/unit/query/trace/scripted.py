"""DNS of a test: what is written down is found, everything else does not exist."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from query.trace.dns import Answer, Lookup, a_label

Said = Mapping[str, Sequence[str] | Lookup]


@dataclass
class Scripted:
    """``said``: "example.com MX" -> records, or what came of the question. Secure where told so."""

    said: Said
    secure: bool | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    hosts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def ask(self, name: str, kind: str) -> Answer:
        label = a_label(name) or name
        self.asked.append(f"{label} {kind}")
        said = self.said.get(f"{label} {kind}")
        if said is None:
            exists = any(key.split()[0] == label for key in self.said)
            said = Lookup.NODATA if exists else Lookup.NXDOMAIN
        records, lookup = ((), said) if isinstance(said, Lookup) else (tuple(said), Lookup.FOUND)
        return Answer(
            name=label,
            kind=kind,
            lookup=lookup,
            records=records,
            canonical=self.aliases.get(label, ""),
            secure=self.secure
            if lookup in (Lookup.FOUND, Lookup.NODATA, Lookup.NXDOMAIN)
            else None,
            why="192.0.2.53" if lookup.temporary else "",
        )

    def hosts_file(self, name: str) -> tuple[str, ...]:
        return tuple(self.hosts.get(name, ()))
