"""Tables of every type that Postfix has here, asked through the real postmap(1)."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from query.trace.postfix import postmap
from query.trace.postfix.patterns import Trust
from query.trace.postfix.tables import TableError, Tables

pytestmark = pytest.mark.integration

SOURCE = "alice@example.com one\nbob@example.com two three\n@example.com rest\n"
PATTERNS = "/^alice@/ one\n/^(b.b)@example\\.com$/ $1 found\n/^b/ two three\n"


@pytest.fixture
def etc() -> Iterator[Path]:
    """A configuration directory that anybody may read, with table sources."""
    if not shutil.which("postmap"):
        pytest.skip("no Postfix here")
    with tempfile.TemporaryDirectory(prefix="posttrail-") as name:
        yield _written(Path(name))


def _written(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    (tmp_path / "main.cf").write_text("compatibility_level = 3.6\nmyhostname = mx.example.com\n")
    (tmp_path / "virtual").write_text(SOURCE)
    (tmp_path / "pattern").write_text(PATTERNS)
    for file in tmp_path.iterdir():
        file.chmod(0o644)
        os.utime(file, (1, 1))  # Postfix waits until a file has not changed for seconds
    return tmp_path


def _types() -> set[str]:
    if not shutil.which("postconf"):
        return set()
    done = subprocess.run(["postconf", "-m"], capture_output=True, text=True, check=False)
    return set(done.stdout.split()) or {"hash", "btree", "lmdb", "pcre"}


def _value(tables: Tables, table: str, *keys: str, trust: Trust = Trust.ANY) -> str | None:
    found = tables.find([table], keys, trust=trust)
    return found.value if found else None


@pytest.mark.parametrize("kind", ["hash", "btree", "lmdb", "cdb", "texthash"])
def test_an_indexed_table_folds_case_and_answers_partial_keys(kind: str, etc: Path) -> None:
    table = f"{kind}:{etc}/virtual"
    if kind != "texthash":
        made = subprocess.run(
            ["postmap", "-c", str(etc), table], capture_output=True, text=True, check=False
        )
        if "unsupported dictionary type" in made.stderr:
            with pytest.raises(TableError, match=f"unsupported dictionary type: {kind}"):
                _value(Tables(str(etc)), table, "alice@example.com")
            return
    tables = Tables(str(etc))
    assert _value(tables, table, "Alice@Example.COM") == "one"
    assert _value(tables, table, "bob@example.com") == "two three"
    assert _value(tables, table, "carol@example.com", "@example.com") == "rest"
    assert _value(tables, table, "carol@example.net", "@example.net") is None
    assert _value(tables, f"proxy:{table}", "alice@example.com") == "one"


@pytest.mark.parametrize("kind", ["regexp", "pcre"])
def test_patterns_see_the_whole_address_and_nothing_else(kind: str, etc: Path) -> None:
    tables, table = Tables(str(etc)), f"{kind}:{etc}/pattern"
    assert _value(tables, table, "ALICE@example.com") == "one"
    assert _value(tables, table, "bob@example.com") == "bob found"
    assert _value(tables, table, "carol@example.com", "bob@example.com") is None


@pytest.mark.parametrize("kind", ["regexp", "pcre"])
def test_a_program_that_forbids_substitution_goes_on_to_the_next_rule(kind: str, etc: Path) -> None:
    tables, table, key = Tables(str(etc)), f"{kind}:{etc}/pattern", "bob@example.com"
    found = tables.find([table], [key], trust=Trust.LITERAL)
    assert found is not None
    assert (found.table, found.value) == (table, "two three")
    said = tables.skipped([table], [key], found, trust=Trust.LITERAL)
    assert said is not None
    assert "$1" in said
    alice = tables.find([table], ["alice@example.com"], trust=Trust.LITERAL)
    assert tables.skipped([table], ["alice@example.com"], alice, trust=Trust.LITERAL) is None


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("inline:{{a@example.com = x y}, b@example.com=z}", "A@example.com", "x y"),
        ("inline:{{a@example.com = x y}, b@example.com=z}", "b@example.com", "z"),
        ("static:all", "any@example.com", "all"),
        ("static:{ 550 no }", "any@example.com", "550 no"),
        ("unionmap:{static:one, texthash:{etc}/virtual}", "alice@example.com", "one,one"),
        ("unionmap:{texthash:{etc}/virtual, proxy:pcre:{etc}/pattern}", "alice@example.com",
         "one,one"),
        ("pipemap:{texthash:{etc}/virtual, inline:{one=next}}", "alice@example.com", "next"),
        ("pipemap:{texthash:{etc}/virtual, inline:{one=next}}", "bob@example.com", None),
        ("randmap:{same}", "any@example.com", "same"),
        ("environ:x", "MAIL_CONFIG", None),
        ("unix:passwd.byname", "root", "root"),
        ("proxy:unix:passwd.byname", "nobody-of-that-name", None),
        ("cidr:{etc}/networks", "192.0.2.7", "test"),
        ("pcre:{{/^(x)@/ $1 y}, {/^x/ plain}}", "x@example.com", "x y"),
    ],
)  # fmt: skip
def test_tables_without_a_file_of_their_own_answer(
    table: str, key: str, value: str | None, etc: Path
) -> None:
    (etc / "networks").write_text("192.0.2.0/24 test\n")
    said = _value(Tables(str(etc)), table.replace("{etc}", str(etc)), key)
    if table.endswith("passwd.byname") and value:
        assert said is not None
        assert said.startswith(f"{value}:")
    else:
        assert said == value


def test_a_bundle_gets_partial_keys_when_its_first_table_does(etc: Path) -> None:
    tables = Tables(str(etc))
    first, last = f"texthash:{etc}/virtual", f"regexp:{etc}/pattern"
    keys = ("carol@example.com", "@example.com")
    assert _value(tables, f"unionmap:{{{first}, {last}}}", *keys) == "rest"
    assert _value(tables, f"unionmap:{{{last}, {first}}}", *keys) is None


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("hash:{etc}/absent", "absent.db: No such file or directory"),
        ("texthash:{etc}/absent", "absent: No such file or directory"),
        ("regexp:{etc}/absent", "absent: No such file or directory"),
        ("fail:x", "query error"),
        ("unionmap:{static:x, fail:y}", "query error"),
        ("bogus:x", "unsupported dictionary type: bogus"),
        ("{etc}/virtual", "type:name"),
        ("unionmap:x", "bad syntax"),
        ("socketmap:inet:127.0.0.1:1:x", "Connection refused"),
        ("socketmap:unix:{etc}/nobody:x", "No such file or directory"),
    ],
)
def test_a_table_that_cannot_be_asked_is_never_no_entry(table: str, why: str, etc: Path) -> None:
    with pytest.raises(TableError, match=why):
        _value(Tables(str(etc)), table.replace("{etc}", str(etc)), "x@example.com")


@pytest.mark.parametrize("kind", ["mysql", "ldap", "pgsql"])
def test_a_type_whose_package_is_missing_is_named(kind: str, etc: Path) -> None:
    if kind in _types():
        pytest.skip(f"{kind} is installed here")
    with pytest.raises(TableError, match=f"unsupported dictionary type: {kind}"):
        _value(Tables(str(etc)), f"{kind}:{etc}/x.cf", "x@example.com")


def test_a_table_that_nobody_else_may_read_is_named_as_such(etc: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be nobody")
    (etc / "virtual").chmod(0o600)
    code = (
        "from query.trace.postfix.tables import Tables, TableError\n"
        f"try: Tables({str(etc)!r}).find(['texthash:{etc}/virtual'], ['alice@example.com'])\n"
        "except TableError as error: print(error)\n"
    )
    nobody = pwd.getpwnam("nobody")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert "virtual: Permission denied" in done.stdout, done.stderr


@contextmanager
def _server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on loopback; each connection is answered by a thread."""
    listening = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        for each in (listening, *connections):
            each.close()


def _socketmap(connection: socket.socket) -> None:
    """``name key`` as netstrings (socketmap_table(5))."""
    stream = connection.makefile("rwb")
    while length := b"".join(iter(lambda: stream.read(1).strip(b":"), b"")):
        asked = stream.read(int(length) + 1)[:-1].decode()
        key = asked.partition(" ")[2]
        reply = {"alice@example.com": "OK one", "late@example.com": "TEMP later"}
        said = reply.get(key, "NOTFOUND ").encode()
        stream.write(b"%d:%s," % (len(said), said))
        stream.flush()


def _tcp(connection: socket.socket) -> None:
    """``get key`` lines (tcp_table(5))."""
    stream = connection.makefile("rwb")
    for line in stream:
        found = line.split()[1:] == [b"alice@example.com"]
        stream.write(b"200 one\n" if found else b"500 none\n")
        stream.flush()


def test_a_socketmap_says_found_not_found_and_later(etc: Path) -> None:
    with _server(_socketmap) as port:
        tables, table = Tables(str(etc)), f"socketmap:inet:127.0.0.1:{port}:x"
        tables.prefetch((table, f"{name}@example.com") for name in ("alice", "late", "carol"))
        assert _value(tables, table, "alice@example.com") == "one"
        assert _value(tables, table, "carol@example.com") is None
        with pytest.raises(TableError, match="query error"):
            _value(tables, table, "late@example.com")


def test_a_tcp_table_answers(etc: Path) -> None:
    with _server(_tcp) as port:
        tables = Tables(str(etc))
        assert _value(tables, f"tcp:127.0.0.1:{port}", "alice@example.com") == "one"
        assert _value(tables, f"tcp:127.0.0.1:{port}", "carol@example.com") is None


def test_a_stuck_socketmap_ends_in_bounded_time_while_others_answer(
    etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postmap, "TIMEOUT_S", 2.0)
    with _server(lambda connection: None) as port:
        tables, stuck = Tables(str(etc)), f"socketmap:inet:127.0.0.1:{port}:x"
        other = f"texthash:{etc}/virtual"
        begin = time.monotonic()
        tables.prefetch([(stuck, "alice@example.com"), (other, "alice@example.com")])
        assert _value(tables, other, "alice@example.com") == "one"
        answered = time.monotonic() - begin
        with pytest.raises(TableError, match="no answer within 2 s"):
            _value(tables, stuck, "alice@example.com")
        ended = time.monotonic() - begin
    assert answered < 2.0 <= ended < 10.0
