"""Put a backup in the place of a journal, checked before and after it is copied.

The new journal is made beside the old one and checked there; one exchange of two names puts it
in place, so that at any moment there is the old one or the new one (where the file system can
exchange names; else there is a moment without any). The old one stays as
``journal.before-restore-TIME``. Positions are the backup's: trackd goes on from there.

Raises DataError (no whole backup, or a file is not as its manifest says), UsageError (the
journal is not empty), WriterBusyError, JournalFormatError, UnavailableError (the copy is not
sound), NotPermittedError, DiskFullError.
"""

import os
import shutil
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from journal import days, erased, manifest, store
from journal.check import check_journal
from journal.store import DiskFullError
from journal.writer import WriterBusyError
from posttrail.durable import sync_directory
from posttrail.errors import (
    DataError,
    JournalFormatError,
    NotPermittedError,
    UnavailableError,
    UsageError,
)

ASIDE: Final = "before-restore"
_SUFFIX: Final = ".restoring"


@dataclass(slots=True, kw_only=True)
class Done:
    """What a restore came to (docs/schema/restore.json)."""

    backup: str
    made: str  # RFC 3339, UTC
    journal: str
    days: list[str] = field(default_factory=list)
    messages: int = 0
    aside: str | None = None  # where the journal is that was there
    queryd: str  # what became of queryd's state, a sentence; "" where the backup has none


def restore(
    source: Path, journal: Path, *, replace: bool, group: int | None, queryd: Path | None
) -> Iterator[tuple[str, float | None] | Done]:
    """Yields what is being done and the share of it, last what was done."""
    found = manifest.whole(source)
    if not found:
        raise DataError(f"{source}: no whole backup in it")
    chosen = found[-1]
    told = manifest.read(chosen)
    if told["format"] > manifest.VERSION:
        raise JournalFormatError(told["format"], manifest.VERSION)
    if told.get("journal_format", days.FORMAT) > days.FORMAT:
        raise JournalFormatError(told["journal_format"], days.FORMAT)
    locks = _locked(journal, group, replace=replace)
    new = journal.with_name(journal.name + _SUFFIX)
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=store.DIRECTORY_MODE)
        yield from _copied(chosen, told["files"], new)
        lock = days.take_lock(new, None)  # no trackd begins before all is done
        assert lock is not None
        locks.append(lock)
        messages = yield from _checked(new)
        erased.carry_over(journal, new)
        _give(new, journal, group)
        aside = _put(new, journal)
        done = Done(
            backup=str(chosen),
            made=str(told.get("made", "")),
            journal=str(journal),
            days=[path.name for path in sorted(journal.glob("20*-*-*"))],
            messages=messages,
            aside=None if aside is None else str(aside),
            queryd=_queryd(chosen, told["files"], queryd),
        )
    except (DataError, UnavailableError):
        shutil.rmtree(new, ignore_errors=True)
        raise
    except PermissionError as error:
        raise NotPermittedError(str(journal), store.group_of(journal.parent)) from error
    except OSError as error:
        raise DiskFullError(new, error.strerror or str(error)) from error
    finally:
        for lock in locks:
            os.close(lock)
    yield done


def _locked(journal: Path, group: int | None, *, replace: bool) -> list[int]:
    """The writer's lock of the journal that is there; UsageError where it must stay."""
    if not journal.exists():
        return []
    lock = days.take_lock(journal, group)
    if lock is None:
        raise WriterBusyError(journal)
    parts = [*journal.glob("20*-*-*"), *journal.glob(days.BAD + "*")]
    if parts and not replace:
        os.close(lock)
        raise UsageError(f"{journal} is not empty; --replace puts it aside")
    return [lock]


def _copied(
    chosen: Path, files: dict[str, dict[str, Any]], new: Path
) -> Iterator[tuple[str, float | None]]:
    """The files of the journal, each held against the manifest as it was copied."""
    names = [name for name in files if name.startswith("journal/")]
    if "journal/FORMAT" not in names or "journal/KEY" not in names:
        raise DataError(f"{chosen}: its manifest names no journal")
    whole = sum(files[name]["bytes"] for name in names) or 1
    done = 0
    for name in names:
        inside = Path(name)
        if inside.is_absolute() or ".." in inside.parts or len(inside.parts) > 3:
            raise DataError(f"{chosen}: its manifest names {name}")
        target = new.joinpath(*inside.parts[1:])
        target.parent.mkdir(mode=store.DIRECTORY_MODE, parents=True, exist_ok=True)
        try:
            shutil.copyfile(chosen / name, target)
        except FileNotFoundError:
            raise DataError(f"{chosen / name}: the file is missing") from None
        if not manifest.is_as_told(target, files[name]):
            raise DataError(f"{chosen / name}: not the file that was backed up (checksum)")
        with target.open("rb") as file:
            os.fsync(file.fileno())
        done += files[name]["bytes"]
        yield f"copied {inside.parent.name}", done / whole


def _checked(new: Path) -> Generator[tuple[str, float | None], None, int]:
    """Nothing is put in place that does not hold; the number of messages."""
    messages = 0
    for part in check_journal(new):
        if part.problems:
            raise UnavailableError(
                f"the backup is damaged, the journal stays as it is: {part.first_problems[0]}"
            )
        messages += part.messages
        yield f"checked {part.name}", None
    return messages


def _give(new: Path, journal: Path, group: int | None) -> None:
    """To whom the old journal belonged, else to the owner of the folder; and modes."""
    like = (journal if journal.exists() else journal.parent).stat()
    uid = like.st_uid
    gid = group if group is not None else like.st_gid
    for path in [new, *new.rglob("*")]:
        if os.geteuid() == 0:
            os.chown(path, uid, gid)
        mode = store.DIRECTORY_MODE if path.is_dir() else store.DATA_MODE
        path.chmod(store.LOCK_MODE if path.name == "lock.mdb" else mode)
        if path.is_dir():
            sync_directory(path)


def _put(new: Path, journal: Path) -> Path | None:
    """In place of the old one, at once; where that is now."""
    if not journal.exists():
        new.rename(journal)
        sync_directory(journal.parent)
        return None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = journal.with_name(f"{journal.name}.{ASIDE}-{stamp}")
    if aside.exists():
        aside = aside.with_name(f"{aside.name}.{os.getpid()}")
    new.rename(aside)  # first: what a kill leaves under the other name may be thrown away
    if not days.exchange(aside, journal):
        journal.rename(new)
        aside.rename(journal)
        new.rename(aside)
    sync_directory(journal.parent)
    return aside


def _queryd(chosen: Path, files: dict[str, dict[str, Any]], target: Path | None) -> str:
    """queryd's state comes back where there is none: a running queryd would not notice."""
    told = files.get(manifest.QUERYD)
    if told is None or target is None:
        return ""
    kept = chosen / manifest.QUERYD
    if target.exists():
        return f"{target} is there and stays; the one of the backup is {kept}"
    if not target.parent.is_dir() or not manifest.is_as_told(kept, told):
        return f"{target} was not restored; the one of the backup is {kept}"
    new = target.with_name(target.name + _SUFFIX)
    shutil.copyfile(kept, new)
    like = target.parent.stat()
    if os.geteuid() == 0:
        os.chown(new, like.st_uid, like.st_gid)
    new.chmod(0o600)
    new.rename(target)
    return f"{target} was restored"
