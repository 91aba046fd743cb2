"""What setup changed, kept so that it can be taken back: one JSON file, mode 0600.

``{"format": 1, "instances": {DIRECTORY: {"changes": [{name, before, after, why}], "main_cf": the
whole text before, "sha256": of the text after}}}``. Raises UnavailableError where the file cannot
be read or means nothing, OSError where it cannot be written.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from posttrail.errors import UnavailableError
from query.setup.plan import Change

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What was done to one instance."""

    changes: tuple[Change, ...]
    main_cf: str  # before
    sha256: str  # of main.cf after


def digest(text: str) -> str:
    """How a main.cf is recognised."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def load(file: Path, directory: Path) -> Kept | None:
    """What was done to an instance; None: nothing, or it was taken back."""
    found = _read(file)["instances"].get(str(directory))
    if found is None:
        return None
    try:
        changes = tuple(Change(**each) for each in found["changes"])
        return Kept(changes=changes, main_cf=found["main_cf"], sha256=found["sha256"])
    except (KeyError, TypeError):
        raise _broken(file) from None


def save(file: Path, directory: Path, kept: Kept | None) -> None:
    """Remember, or with None forget; what an earlier setup changed stays known."""
    document = _read(file)
    if kept is None:
        document["instances"].pop(str(directory), None)
    else:
        document["instances"][str(directory)] = asdict(kept)
    if not document["instances"]:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        json.dump(document, stream)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text("ascii"))
    except FileNotFoundError:
        return {"format": _FORMAT, "instances": {}}
    except (OSError, ValueError):
        raise _broken(file) from None
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise _broken(file)
    if not isinstance(document.get("instances"), dict):
        raise _broken(file)
    return document


def _broken(file: Path) -> UnavailableError:
    return UnavailableError(
        f"{file}: does not say what setup changed; look at the milters in main.cf, then remove it"
    )
