"""Names that outlast a power cut.

fsync(2) of a file says nothing of its name: that is written with its directory. Raises OSError.
"""

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable, as they are now."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_directory(directory: Path, mode: int = 0o777) -> None:
    """Make it and what is missing above it, durably; one that exists is left as it is."""
    if not directory.is_dir():
        make_directory(directory.parent)
        directory.mkdir(mode, exist_ok=True)
        sync_directory(directory.parent)
