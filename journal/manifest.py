"""What a backup says of itself: MANIFEST.json, with the size and sum of each of its files.

It is written last, so a directory without one is no whole backup (journal/backup.py makes them,
journal/restore.py brings them back). Raises DataError, NotPermittedError; ``sum_of`` OSError.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from journal.store import group_of
from posttrail.errors import DataError, NotPermittedError

MANIFEST: Final = "MANIFEST.json"
QUERYD: Final = "queryd.sqlite"
"""The one file of a backup that is not of the journal."""
VERSION: Final = 1
_CHUNK: Final = 1 << 20


def whole(directory: Path) -> list[Path]:
    """The backups in a directory that are whole, oldest first; itself where it is one."""
    if (directory / MANIFEST).is_file():
        return [directory]
    return sorted(
        path.parent for path in directory.glob("*/" + MANIFEST) if path.parent.name[:1] != "."
    )


def read(backup: Path) -> dict[str, Any]:
    """What a backup says of its files. DataError where it is none."""
    try:
        told = json.loads((backup / MANIFEST).read_text("utf-8"))
        if isinstance(told["files"], dict) and isinstance(told["format"], int):
            return dict(told)
    except PermissionError as error:
        raise NotPermittedError(str(backup), group_of(backup)) from error
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{backup}: no whole backup, its {MANIFEST} cannot be read")


def sum_of(path: Path) -> dict[str, Any]:
    """What the manifest has of a file."""
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
    return {"bytes": path.stat().st_size, "sha256": hashed.hexdigest()}


def is_as_told(path: Path, told: dict[str, Any]) -> bool:
    """Whether a file is what the manifest says."""
    try:
        found = sum_of(path)
    except OSError:
        return False
    return all(found[key] == told.get(key) for key in found)
