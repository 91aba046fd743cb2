"""What setup changed, kept so that it can be taken back: one JSON file of root's, mode 0600.

``{"format": 1, "instances": {DIRECTORY: {"changes": [{name, before, after, why}], "main_cf": the
whole text before, "sha256": of the text after, "done": whether setup came to its end}}}``. The
folder is not root's alone, so no link is followed, and a file of somebody else is not believed:
what it says would become main.cf. Raises UnavailableError where the file cannot be read or means
nothing, OSError where it cannot be written.
"""

import hashlib
import json
import os
import secrets
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from posttrail.durable import make_directory, sync_directory
from posttrail.errors import UnavailableError
from query.setup.plan import Change

_FORMAT: Final = 1
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What was done to one instance."""

    changes: tuple[Change, ...]
    main_cf: str  # before; "": not known for all of the changes
    sha256: str = ""  # of main.cf after
    done: bool = False


def digest(text: str) -> str:
    """How a main.cf is recognised."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def directories(file: Path) -> list[str]:
    """The instances to which something was done."""
    return list(_read(file)["instances"])


def load(file: Path, directory: Path) -> Kept | None:
    """What was done to an instance; None: nothing, or it was taken back."""
    found = _read(file)["instances"].get(str(directory))
    if found is None:
        return None
    try:
        changes = tuple(Change(**each) for each in found.pop("changes"))
        return Kept(changes=changes, **found)
    except (AttributeError, KeyError, TypeError):
        raise _broken(file) from None


def save(file: Path, directory: Path, kept: Kept | None) -> None:
    """Remember, or with None forget."""
    document = _read(file)
    if kept is None:
        document["instances"].pop(str(directory), None)
    else:
        document["instances"][str(directory)] = asdict(kept)
    if not document["instances"]:
        file.unlink(missing_ok=True)
        return
    make_directory(file.parent)
    replace(file, json.dumps(document).encode("ascii"))


def replace(file: Path, content: bytes, like: os.stat_result | None = None) -> None:
    """Put a file in the place of another as a whole, with the owner and mode of ``like``."""
    new = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(new, flags, 0o600), "wb") as stream:
            stream.write(content)
            stream.flush()
            if like is not None:
                os.fchown(stream.fileno(), like.st_uid, like.st_gid)
                os.fchmod(stream.fileno(), stat.S_IMODE(like.st_mode))
            os.fsync(stream.fileno())
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
    sync_directory(file.parent)


def _read(file: Path) -> dict[str, Any]:
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
            seen = os.fstat(stream.fileno())
            document = json.loads(stream.read())
    except FileNotFoundError:
        return {"format": _FORMAT, "instances": {}}
    except (OSError, ValueError):
        raise _broken(file) from None
    if seen.st_uid not in (0, os.geteuid()) or seen.st_mode & _OTHERS_WRITE:
        raise UnavailableError(
            f"{file}: others than root may write it, so it is not believed; remove it, and look at"
            " the milters in main.cf"
        )
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise _broken(file)
    if not isinstance(document.get("instances"), dict):
        raise _broken(file)
    return document


def _broken(file: Path) -> UnavailableError:
    return UnavailableError(
        f"{file}: does not say what setup changed; look at the milters in main.cf, then remove it"
    )
