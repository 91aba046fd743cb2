"""The configuration file: TOML in, frozen dataclasses out.

Format: TOML 1.0, one table a dataclass below, every key optional. The file is
the one named by the caller, else $POSTTRAIL_CONFIG, else
/etc/posttrail/posttrail.toml, which need not exist.

Raises ConfigError for a key or value that means nothing, NoInputError for a
named file that is not there or cannot be read.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from posttrail import hook
from posttrail.errors import ConfigError, NoInputError

DEFAULT_PATH: Final = Path("/etc/posttrail/posttrail.toml")
VARIABLE: Final = "POSTTRAIL_CONFIG"
SUBJECTS: Final = ("stored", "hashed", "off")
DELIMITERS: Final = frozenset("!#$%&'*+-/=?^_`{|}~.:")
"""What may part a mailbox from its extension."""
OR_NEVER: Final = ("hash_after_days", "counts_after_days")
"""Numbers that may be 0: never."""
MTAS: Final = ("auto", "postfix", "sendmail", "exim")
JOURNALD_UNITS: Final = (
    "postfix.service", "postfix@*.service", "sendmail.service", "sm-client.service",
    "exim.service", "exim4.service", "exim4-base.service", "dovecot.service", "amavis.service",
    "amavisd.service", "amavisd-new.service", "amavis-mc.service", "rspamd.service",
    "opendkim.service", "opendmarc.service", "spamassassin.service", "spamd.service",
    "mailscanner.service", "pmg-smtp-filter.service", "pmgpolicy.service",
)  # fmt: skip
"""systemd's names of mail programs; patterns as of fnmatch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """Where the journal is, how long it remembers, who may read it."""

    directory: Path = Path("/var/lib/posttrail/journal")
    retention_days: int = 30
    size_cap: str = ""  # "": none; such as "20G": beyond it the oldest days go
    hash_after_days: int = 0  # 0: never; then tokens stand for addresses
    counts_after_days: int = 0  # 0: never; then counters alone stay
    rebuild: bool = True  # trackd fills a damaged day again by itself
    group: str = "posttrail-query"

    @property
    def size_cap_bytes(self) -> int:
        """``size_cap`` in bytes; 0: none."""
        return bytes_of(self.size_cap) if self.size_cap else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Milter:
    """The milter's socket, its spool and the limits of its memory."""

    socket: str = "unix:/var/spool/postfix/posttrail/milter.sock"
    spool: Path = Path("/var/lib/posttrail/spool")
    spool_days: int = 7  # the MTA's queue lifetime + 2
    subject: str = "stored"
    queue_records: int = 10_000
    queue_bytes: int = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The mail logs to follow, the zone of their year-less stamps, and other ways to hear."""

    files: tuple[Path, ...] = (Path("/var/log/mail.log"),)
    timezone: str = ""  # "": this machine's
    journald: bool = False
    journald_units: tuple[str, ...] = JOURNALD_UNITS
    journald_directory: str = ""  # "": the system's own
    syslog_socket: str = ""  # "": none
    syslog_udp: str = ""
    syslog_spool: Path = Path("/var/lib/posttrail/syslog")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mta:
    """What the MTA calls itself, and which domains and networks are inside."""

    host: str = ""  # "": see hostname
    host_aliases: tuple[str, ...] = ()
    local_domains: tuple[str, ...] = ()
    inside_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    junk_folders: tuple[str, ...] = (
        "Junk", "Spam", "Junk E-mail", "Junk Email", "Junk Mail", "Bulk Mail",
    )  # fmt: skip
    queue_lifetime_days: int = 5
    silent_minutes: int = 120  # accepted, and no word of it for so long: perhaps lost

    @property
    def hostname(self) -> str:
        """The configured host, else this machine's (asks the resolver)."""
        import socket

        return self.host or socket.getfqdn()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The folder for gauges and locks; the socket on which trackd takes work."""

    directory: Path = Path("/run/posttrail")
    control: str = ""  # "": see Config.control_socket


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """How addresses are traced: which MTA, its files, the name servers, the daemon's socket."""

    mta: str = "auto"  # one of MTAS
    config: str = ""  # "": the MTA's own; a directory for Postfix, a file for Sendmail and Exim
    rewrite_socket: str = ""  # "": looked for in Postfix's queue directory
    nameservers: tuple[str, ...] = ()  # none: those of resolv.conf(5)
    socket: Path = Path("/run/posttrail/traced.sock")
    per_minute: int = 60  # traces of one caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """posttrail-queryd: its sockets, its own state, and whom it believes."""

    socket: Path = Path("/run/posttrail/queryd.sock")
    local_users: bool = False  # everybody on this machine may connect to it, to see their own
    proxy_socket: str = ""  # "": none; here, and only here, user_header is believed
    user_header: str = "X-Posttrail-User"
    proxy_operators: tuple[str, ...] = ()  # users that are operators when the proxy names them
    tcp: str = ""  # "": none; a loopback address and port that takes links and tokens only
    metrics: str = ""  # "": none; a loopback address and port that takes GET /metrics only
    metrics_domains: tuple[str, ...] = ()  # that /metrics/domains counts, behind a token
    state: Path = Path("/var/lib/posttrail-query/state.sqlite")
    admin_group: str = "posttrail-admin"
    link_logins: tuple[str, ...] = ()  # may make links, and read nothing
    base_url: str = "http://127.0.0.1:8025"  # that links begin with
    frame_ancestors: tuple[str, ...] = ()  # origins that may show the page in a frame: a webmail's
    recipient_delimiter: str = "+"  # what parts user from extension; "": nothing does
    streams: int = 8  # live streams of one caller
    audit_days: int = 90

    @property
    def delimiters(self) -> bytes:
        """``recipient_delimiter`` as addresses have it."""
        return self.recipient_delimiter.encode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hookd:
    """posttrail-hookd: where it keeps how far it came, and what is still to be told."""

    state: Path = Path("/var/lib/posttrail-hooks/state.sqlite")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All of it; ``Config()`` is what an empty file says."""

    journal: Journal = field(default_factory=Journal)
    milter: Milter = field(default_factory=Milter)
    log: Log = field(default_factory=Log)
    mta: Mta = field(default_factory=Mta)
    run: Run = field(default_factory=Run)
    trace: Trace = field(default_factory=Trace)
    query: Query = field(default_factory=Query)
    hookd: Hookd = field(default_factory=Hookd)
    hooks: tuple[hook.Hook, ...] = ()
    users: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What a login may see: addresses and @domains; an unnamed one: NAME@ each local domain."""

    @property
    def control_socket(self) -> Path:
        """``run.control``, else ``control.sock`` beside the journal."""
        return self.control_socket_of(self.journal.directory)

    def control_socket_of(self, journal: Path) -> Path:
        """The same for a journal that was named on the command line."""
        if self.run.control:
            return Path(self.run.control)
        return journal.parent / "control.sock"


def load(path: Path | None = None) -> Config:
    """The configuration of ``path``, else of the environment's file, else the defaults."""
    named = path or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    try:
        text = (named or DEFAULT_PATH).read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{named or DEFAULT_PATH}: not UTF-8 text") from None
    except OSError as error:
        if named is None and isinstance(error, FileNotFoundError):
            return Config()
        raise NoInputError(f"{named or DEFAULT_PATH}: {error.strerror}") from None
    return parse(text, str(named or DEFAULT_PATH))


def parse(text: str, name: str) -> Config:
    """The configuration in ``text``; ``name`` is what errors call the file."""
    import tomllib

    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: {error}") from None
    users = _users(tables.pop("users", {}), name)
    try:
        hooks = hook.parse(tables.pop("hooks", []))
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None
    sections: dict[str, Any] = {
        part.name: part.default_factory
        for part in fields(Config)
        if part.name not in ("users", "hooks")
    }
    built: dict[str, Any] = {}
    for key, table in tables.items():
        if key not in sections:
            raise ConfigError(f"{name}: unknown key {key}")
        if not isinstance(table, dict):
            raise ConfigError(f"{name}: {key} is not a table")
        built[key] = _section(sections[key], table, where=f"{name}: {key}")
    return Config(users=users, hooks=hooks, **built)


def _users(table: object, name: str) -> dict[str, tuple[str, ...]]:
    """The table [users]: any login, each with a list of addresses and @domains."""
    if not isinstance(table, dict):
        raise ConfigError(f"{name}: users is not a table")
    for login, names in table.items():
        if not isinstance(names, list) or not all(isinstance(item, str) for item in names):
            raise ConfigError(f"{name}: users.{login} is not a list of strings")
        for item in names:
            if "@" not in item or item.endswith("@"):
                raise ConfigError(
                    f"{name}: users.{login} has no address and no @domain in {item!r}"
                )
    return {login: tuple(names) for login, names in table.items()}


def _section(kind: Any, table: Mapping[str, object], *, where: str) -> object:
    file, _, section = where.rpartition(": ")
    default = kind()
    known = {part.name for part in fields(kind)}
    values: dict[str, object] = {}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f"{file}: unknown key {section}.{key}")
        try:
            values[key] = _value(key, value, getattr(default, key))
        except ValueError as error:
            raise ConfigError(f"{where}.{key} {error}") from None
    return kind(**values)


def _value(key: str, value: object, default: object) -> object:
    """``value`` in the type of ``default`` (TOML has no paths and no tuples), or ValueError."""
    if isinstance(default, tuple):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError("is not a list of strings")
        if key == "inside_networks":
            _check_networks(value)
        if key == "nameservers":
            for server in value:
                nameserver(server)
        return tuple(map(Path if key == "files" else str, value))
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError("is not true or false")
        return value
    if isinstance(default, int):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if key in OR_NEVER and whole and value == 0:
            return value
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError("is not a whole number above 0")
        return value
    if not isinstance(value, str):
        raise ValueError("is not a string")
    if key == "subject" and value not in SUBJECTS:
        raise ValueError(f"is not one of {', '.join(SUBJECTS)}")
    if key == "mta" and value not in MTAS:
        raise ValueError(f"is not one of {', '.join(MTAS)}")
    if key == "timezone" and value:
        _check_zone(value)
    if key == "recipient_delimiter" and not set(value) <= DELIMITERS:
        raise ValueError('is not a set of characters such as "+" or "+-"')
    if key == "size_cap" and value:
        bytes_of(value)
    if key in ("syslog_udp", "tcp", "metrics") and value:
        loopback(value)
    return Path(value) if isinstance(default, Path) else value


def bytes_of(value: str) -> int:
    """The bytes of ``20G``, ``500M``, ``1.5T`` or a plain number; ValueError for any other."""
    import re

    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?)([KMGT]?)i?B?", value)
    if match is None or not float(match[1]):
        raise ValueError('is not a size such as "20G" or "500M"')
    return int(float(match[1]) * (1 << 10 * " KMGT".index(match[2] or " ")))


def loopback(value: str) -> tuple[str, int]:
    """Address and port of ``127.0.0.1:5514`` or ``[::1]:5514``; ValueError for any other."""
    from ipaddress import ip_address

    host, _, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        raise ValueError("is not ADDRESS:PORT, such as 127.0.0.1:5514") from None
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("has no port between 1 and 65535")
    if not local:
        raise ValueError(
            f"names {host}: only a loopback address may be listened on, for anybody who can send"
            " there could tell of mail that never was"
        )
    return host, int(port)


def nameserver(value: str) -> tuple[str, int]:
    """Address and port of ``127.0.0.1``, ``127.0.0.1:5353``, ``::1`` or ``[::1]:5353``."""
    from ipaddress import ip_address

    host, port = value, "53"
    if value.startswith("[") or value.count(":") == 1:
        host, _, port = value.rpartition(":")
    try:
        ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError(f"names no IP address: {value}") from None
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"has no port between 1 and 65535: {value}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _check_networks(networks: list[str]) -> None:
    from ipaddress import ip_network

    for network in networks:
        try:
            ip_network(network)
        except ValueError as error:
            raise ValueError(f"has no network in {network!r}: {error}") from None


def _check_zone(name: str) -> None:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"names no time zone: {name}") from None
