"""posttrail.config: a file says what it may say, and a wrong word is named."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from posttrail import config
from posttrail.errors import ConfigError, NoInputError


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(config.VARIABLE, raising=False)
    monkeypatch.setattr(config, "DEFAULT_PATH", tmp_path / "absent.toml")


def test_no_file_gives_the_defaults() -> None:
    assert config.load() == config.Config()


def test_every_key_can_be_set(tmp_path: Path) -> None:
    path = tmp_path / "posttrail.toml"
    path.write_text(
        """
        [journal]
        directory = "/j/journal"
        retention_days = 7
        hash_after_days = 8
        counts_after_days = 9
        size_cap = "20G"
        rebuild = false
        group = "mailops"
        [milter]
        socket = "inet:8899@127.0.0.1"
        spool = "/j/spool"
        spool_days = 9
        subject = "hashed"
        queue_records = 5
        queue_bytes = 4096
        [log]
        files = ["/var/log/maillog", "/var/log/maillog2"]
        timezone = "Europe/Athens"
        journald = true
        journald_units = ["postfix.service"]
        journald_directory = "/j/log"
        syslog_socket = "/j/log.sock"
        syslog_udp = "127.0.0.1:5514"
        syslog_spool = "/j/syslog"
        [mta]
        host = "mx.example.com"
        host_aliases = ["mx1"]
        local_domains = ["example.com", "παράδειγμα.test"]
        inside_networks = ["192.0.2.0/24"]
        junk_folders = ["Bin"]
        queue_lifetime_days = 3
        silent_minutes = 30
        [run]
        directory = "/j/run"
        control = "/j/c.sock"
        [trace]
        mta = "exim"
        config = "/j/exim.conf"
        rewrite_socket = "/j/rewrite"
        nameservers = ["127.0.0.1", "[::1]:5353"]
        socket = "/j/traced.sock"
        per_minute = 6
        [query]
        socket = "/j/queryd.sock"
        local_users = true
        proxy_socket = "/j/proxy.sock"
        user_header = "Remote-User"
        proxy_operators = ["postmaster"]
        tcp = "127.0.0.1:8025"
        state = "/j/state.sqlite"
        admin_group = "mailops"
        link_logins = ["www-data"]
        base_url = "https://track.example.com"
        frame_ancestors = ["https://webmail.example.com"]
        recipient_delimiter = "-"
        streams = 3
        audit_days = 7
        metrics = "127.0.0.1:9467"
        metrics_domains = ["example.com"]
        [users]
        alice = ["alice@example.com", "@example.net"]
        """
    )
    made = config.load(path)
    default = config.Config()
    for part in ("journal", "milter", "log", "mta", "run", "trace", "query"):
        mine, theirs = getattr(made, part), getattr(default, part)
        for key in mine.__slots__:
            assert getattr(mine, key) != getattr(theirs, key), key
            assert type(getattr(mine, key)) is type(getattr(theirs, key)), key
    assert made.log.files == (Path("/var/log/maillog"), Path("/var/log/maillog2"))
    assert made.users == {"alice": ("alice@example.com", "@example.net")}
    assert made.control_socket == Path("/j/c.sock")
    assert made.mta.hostname == "mx.example.com"


def test_the_control_socket_lies_beside_the_journal() -> None:
    assert config.Config().control_socket == Path("/var/lib/posttrail/control.sock")


def test_an_unnamed_host_is_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda: "here.example.com")
    assert config.Mta().hostname == "here.example.com"


def test_the_environment_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "other.toml"
    path.write_text("[journal]\nretention_days = 3\n")
    monkeypatch.setenv(config.VARIABLE, str(path))
    assert config.load().journal.retention_days == 3


def test_the_default_file_is_read_when_it_is_there() -> None:
    config.DEFAULT_PATH.write_text("[journal]\nretention_days = 4\n")
    assert config.load().journal.retention_days == 4


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[jurnal]\n", "x.toml: unknown key jurnal"),
        ("journal = 1\n", "x.toml: journal is not a table"),
        ("[journal]\ndays = 3\n", "x.toml: unknown key journal.days"),
        ("[journal]\nretention_days = 0\n", "x.toml: journal.retention_days is not a whole number"),
        ("[journal]\nsize_cap = 'big'\n", "journal.size_cap is not a size such as"),
        ("[journal]\nretention_days = true\n", "journal.retention_days is not a whole number"),
        ("[journal]\ndirectory = 3\n", "x.toml: journal.directory is not a string"),
        ("[log]\nfiles = 'one'\n", "x.toml: log.files is not a list of strings"),
        ("[log]\nfiles = [1]\n", "x.toml: log.files is not a list of strings"),
        ("[log]\ntimezone = 'Mars/Base'\n", "x.toml: log.timezone names no time zone: Mars/Base"),
        ("[log]\ntimezone = '../etc'\n", "x.toml: log.timezone names no time zone"),
        ("[milter]\nsubject = 'all'\n", "x.toml: milter.subject is not one of stored, hashed, off"),
        ("[mta]\ninside_networks = ['10.0.0.1/8']\n", "mta.inside_networks has no network in"),
        ("[trace]\nmta = 'qmail'\n", "trace.mta is not one of auto, postfix, sendmail, exim"),
        ("[trace]\nnameservers = ['ns.example']\n", "trace.nameservers names no IP address"),
        ("[trace]\nnameservers = ['127.0.0.1:0']\n", "trace.nameservers has no port between"),
        ("[query]\ntcp = '192.0.2.1:80'\n", "query.tcp names 192.0.2.1: only a loopback address"),
        ("users = 1\n", "x.toml: users is not a table"),
        ("[users]\na = 'a@example.com'\n", "x.toml: users.a is not a list of strings"),
        ("[users]\na = ['bob']\n", "x.toml: users.a has no address and no @domain in 'bob'"),
        ("[journal\n", "x.toml: "),
    ],
)
def test_a_wrong_word_is_named_with_its_file(toml: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(toml, "x.toml")
    assert words in str(caught.value)
    assert caught.value.exit_code == 78


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match=r"gone\.toml: No such file"):
        config.load(tmp_path / "gone.toml")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.toml: not UTF-8"):
        config.load(path)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("127.0.0.1", ("127.0.0.1", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("::1", ("::1", 53)),
        ("[::1]:5353", ("::1", 5353)),
    ],
)
def test_a_name_server_has_an_address_and_a_port(text: str, meant: tuple[str, int]) -> None:
    assert config.nameserver(text) == meant


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        config.Config().journal.retention_days = 1  # type: ignore[misc]
