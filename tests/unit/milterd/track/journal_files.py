"""Real journal files of systemd, made by systemd-journal-remote from its export format."""

import itertools
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

REMOTE: Final = Path("/lib/systemd/systemd-journal-remote")
BOOT: Final = "0123456789abcdef0123456789abcdef"
_monotonic = itertools.count(1_000)


def record(
    at_us: int,
    tag: str,
    text: str | bytes,
    *,
    unit: str | None = "postfix@-.service",
    **more: str,
) -> dict[str, str | bytes]:
    """A record as journald makes it of a line of Postfix."""
    name, _, pid = tag.removesuffix("]").partition("[")
    fields: dict[str, str | bytes] = {
        "__REALTIME_TIMESTAMP": str(at_us + 40),
        "__MONOTONIC_TIMESTAMP": str(next(_monotonic)),
        "_BOOT_ID": BOOT,
        "_SOURCE_REALTIME_TIMESTAMP": str(at_us),
        "_HOSTNAME": "mx",
        "_TRANSPORT": "syslog",
        "_UID": "110",
        "_PID": pid or "9",
        "SYSLOG_FACILITY": "2",
        "SYSLOG_IDENTIFIER": name,
        "SYSLOG_PID": pid or "9",
        "MESSAGE": text,
    }
    if unit is not None:
        fields["_SYSTEMD_UNIT"] = unit
    return fields | more


def write(file: Path, records: Sequence[Mapping[str, str | bytes]]) -> None:
    """Append records to a journal file (Journal Export Format)."""
    export = b"".join(b"".join(map(_field, one.items())) + b"\n" for one in records)
    subprocess.run([REMOTE, f"--output={file}", "-"], input=export, check=True, capture_output=True)


def _field(item: tuple[str, str | bytes]) -> bytes:
    name, value = item
    raw = value if isinstance(value, bytes) else value.encode()
    if raw.isascii() and raw.decode("ascii").isprintable():
        return b"%b=%b\n" % (name.encode(), raw)
    return b"%b\n%b%b\n" % (name.encode(), len(raw).to_bytes(8, "little"), raw)
