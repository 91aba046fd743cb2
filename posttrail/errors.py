"""Every error posttrail raises on purpose, each with its sysexits(3) code.

An error takes facts and makes its own one-line sentence of them; the command
line prints that sentence after ``posttrail: `` and exits with ``exit_code``.
"""

EX_USAGE = 64
EX_DATAERR = 65
EX_NOINPUT = 66
EX_UNAVAILABLE = 69
EX_TEMPFAIL = 75
EX_NOPERM = 77
EX_CONFIG = 78


class PosttrailError(Exception):
    """Base of all errors that posttrail raises on purpose."""

    exit_code = 1


class UsageError(PosttrailError):
    """The command line cannot be carried out as it stands."""

    exit_code = EX_USAGE


class DataError(PosttrailError):
    """Input is damaged, or is not what its name promises."""

    exit_code = EX_DATAERR


class NoInputError(PosttrailError):
    """A file named by the user is not there or cannot be read."""

    exit_code = EX_NOINPUT


class UnavailableError(PosttrailError):
    """The journal or a service is unavailable or damaged."""

    exit_code = EX_UNAVAILABLE


class TryAgainError(PosttrailError):
    """Something passing stands in the way; the same call may work later."""

    exit_code = EX_TEMPFAIL


class NotPermittedError(PosttrailError):
    """The caller may not open what the verb needs."""

    exit_code = EX_NOPERM

    def __init__(self, path: str, group: str) -> None:
        super().__init__(f"no permission on {path}: join the group {group}, or run as root")


class RefusedError(PosttrailError):
    """A service of ours does not let this caller do it."""

    exit_code = EX_NOPERM


class ConfigError(PosttrailError):
    """The configuration file has a key or a value that means nothing."""

    exit_code = EX_CONFIG


class JournalFormatError(PosttrailError):
    """The journal on disk has a format that this release cannot read."""

    exit_code = EX_CONFIG

    def __init__(self, found: int, supported: int) -> None:
        super().__init__(
            f"journal format {found} is newer than this release, which reads up to {supported}"
        )
