"""Make the stored journal of the format that this release writes: once a format, then it stays.

    python -m tests.formats.make FOLDER

The real files on disk, as ``journal-N.tar.xz``, and beside it what they say, as
``journal-N.json``. It is made of one history of the simulation, by the very code of a release;
a test of every later release opens it. Never make the file of a released format anew.
"""

import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from journal import days
from tests.simulation.history import Told
from tests.unit.milterd.track.replayed import Replayed, replayed


def expected(site: Replayed) -> dict[str, Any]:
    """What the stories say of every message, and the ids that they were given."""
    truth = sorted((plain(one) for one in site.history.truth), key=json.dumps)
    return {"messages": truth, "ids": sorted(one.hex() for one in site.ids())}


def plain(told: Told) -> list[Any]:
    """A message as JSON has it; fields in the order of ``Told``."""
    fields: list[Any] = json.loads(json.dumps(told))
    return fields


def make(folder: Path) -> None:
    """Write both files."""
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        with replayed(base, messages=12, days_long=2) as site:
            assert site.wrong() == []
            said = expected(site)
        name = f"journal-{days.FORMAT}"
        with tarfile.open(folder / f"{name}.tar.xz", "w:xz") as archive:
            for path in sorted(site.directory.rglob("*")):
                if path.is_file() and path.name not in ("lock.mdb", "LOCK", "TOUCHING"):
                    archive.add(path, f"journal/{path.relative_to(site.directory)}", filter=_plain)
        text = json.dumps(said, indent=1, ensure_ascii=True)
        (folder / f"{name}.json").write_text(text + "\n", "ascii")


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nothing of the machine on which it was made."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    make(Path(sys.argv[1]))
