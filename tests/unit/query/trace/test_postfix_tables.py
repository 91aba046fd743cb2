"""What lookups through postmap(1) promise, whatever the tables are."""

import errno
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from posttrail import postconf as settings
from query.trace.postfix import postmap
from query.trace.postfix.patterns import Trust
from query.trace.postfix.postmap import trouble, values_of
from query.trace.postfix.tables import TableError, Tables

ANSWERS = """#!/bin/sh
# answers each key with the table's name; a table "stuck" does not, "absent" has none
for table; do :; done
echo "$table" >> "$(dirname "$0")/asked"
case "$table" in
*:/stuck) exec sleep 20;;
*:/absent) cat > /dev/null; exit 1;;
*:/empty) while read -r key; do printf '%s\\t\\n' "$key"; done;;
*:/picky) while read -r key; do
    [ "$key" = bad ] && { echo "postmap: fatal: table: query error: No route" >&2; exit 1; }
    out="$out$key	picky
"; done; printf %s "$out";;
*:/unreadable) echo "postmap: fatal: open /unreadable: Permission denied" >&2; exit 1;;
*) while read -r key; do printf '%s\\t%s\\n' "$key" "$table"; done;;
esac
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A postmap of our own; the file that says which tables it was asked for."""
    script = tmp_path / "postmap"
    script.write_text(ANSWERS)
    script.chmod(0o755)
    monkeypatch.setattr(postmap, "program", lambda name: str(tmp_path / name))
    monkeypatch.setattr(postmap, "TIMEOUT_S", 2.0)
    (tmp_path / "asked").touch()
    return tmp_path / "asked"


@pytest.mark.parametrize("key", ["", "a\nb@example.com", "a\0b@example.com"])
def test_a_key_that_postmap_cannot_read_starts_no_process(key: str) -> None:
    tables = Tables()
    assert tables.find(["texthash:/nowhere"], [key]) is None
    assert tables.spawned == 0


def test_each_key_is_looked_up_in_all_tables_before_the_next_key(asked: Path) -> None:
    found = Tables().find(["hash:/absent", "hash:/second"], ["whole", "part"])
    assert found is not None
    assert found[:3] == ("hash:/second", "whole", "hash:/second")


def test_a_table_of_patterns_is_asked_for_the_whole_address_only(asked: Path) -> None:
    assert Tables().find(["pcre:/absent"], ["whole", "part"]) is None
    tables = Tables()
    found = tables.find(["hash:/absent", "pcre:/answers"], ["whole", "part"])
    assert found is not None
    assert found.key == "whole"


def test_one_postmap_answers_all_keys_of_a_table(asked: Path) -> None:
    tables = Tables()
    tables.prefetch((f"hash:/{name}", key) for name in "ab" for key in ("x", "y", "z"))
    for name in "ab":
        assert tables.find([f"hash:/{name}"], ["z"]) is not None
    assert tables.spawned == 2


def test_after_its_time_nothing_is_read_however_much_is_said() -> None:
    piped = subprocess.PIPE
    with subprocess.Popen(["echo", "more"], stdin=piped, stdout=piped, stderr=piped) as process:
        process.wait()
        assert not postmap.Talk(process, b"x\n").ended(time.monotonic() - 1)


def test_an_answer_that_cannot_be_read_is_not_taken_for_none(
    asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bool:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(postmap.Talk, "ended", broken)
    with pytest.raises(TableError, match=r"postmap cannot be read: .*Input/output error"):
        Tables().find(["hash:/a"], ["x"])


def test_a_stuck_table_does_not_hold_those_who_do_not_ask_it(asked: Path) -> None:
    tables = Tables()
    tables.prefetch([("hash:/stuck", "x"), ("hash:/a", "x"), ("hash:/b", "x")])
    others = [tables.find([f"hash:/{name}"], ["x"]) for name in "ab"]
    assert all(others)
    with pytest.raises(TableError, match="no answer within 2 s"):
        tables.find(["hash:/stuck"], ["x"])
    with pytest.raises(TableError, match="no answer within 2 s"):  # at once: it is known to be
        tables.find(["hash:/stuck"], ["y"])
    assert asked.read_text().count("stuck") == 1


def test_a_caller_is_served_while_another_waits_for_a_stuck_table(asked: Path) -> None:
    tables = Tables()
    ended: list[str] = []

    def stuck() -> None:
        with pytest.raises(TableError):
            tables.find(["hash:/stuck"], ["x"])
        ended.append("stuck")

    waiting = threading.Thread(target=stuck)
    waiting.start()
    assert tables.find(["hash:/a"], ["x"]) is not None
    assert ended == []
    waiting.join()


def test_callers_who_ask_the_same_at_the_same_time_share_one_process(asked: Path) -> None:
    tables = Tables()
    tables.prefetch([("hash:/a", "x")])
    callers = [threading.Thread(target=tables.find, args=(["hash:/a"], ["x"])) for _ in range(5)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert tables.spawned == 1


def test_a_bad_key_does_not_spoil_those_that_were_asked_along(asked: Path) -> None:
    tables = Tables()
    tables.prefetch([("hash:/picky", "good"), ("hash:/picky", "bad")])
    found = tables.find(["hash:/picky"], ["good"])
    assert found is not None
    assert found.value == "picky"
    with pytest.raises(TableError, match="No route"):
        tables.find(["hash:/picky"], ["bad"])


def test_an_empty_result_is_an_error_as_it_is_for_postfix(asked: Path) -> None:
    with pytest.raises(TableError, match="empty result"):
        Tables().find(["hash:/empty"], ["x"])


def test_a_table_without_type_is_not_taken_for_one_of_the_default_type(asked: Path) -> None:
    with pytest.raises(TableError, match="type:name"):
        Tables().find(["/etc/postfix/virtual"], ["x"])
    assert asked.read_text() == ""


def test_what_a_table_says_is_kept_for_a_minute_and_its_trouble_for_seconds(asked: Path) -> None:
    now = 1000.0
    tables = Tables(clock=lambda: now)
    for at in (1000.0, 1059.0, 1061.0):
        now = at
        tables.find(["hash:/a"], ["x"])
    assert asked.read_text().count("/a\n") == 2
    for at in (2000.0, 2004.0, 2006.0):
        now = at
        with pytest.raises(TableError, match="Permission denied"):
            tables.find(["hash:/unreadable"], ["x"])
    assert asked.read_text().count("/unreadable\n") == 2


def test_the_answers_unused_for_longest_are_forgotten_first(asked: Path) -> None:
    tables = Tables(most=3)
    for key in ("one", "two", "three"):
        tables.find(["hash:/a"], [key])
    tables.find(["hash:/a"], ["one"])
    tables.find(["hash:/a"], ["four"])  # "two" goes
    assert tables.spawned == 4
    tables.find(["hash:/a"], ["one"])
    tables.find(["hash:/a"], ["three"])
    assert tables.spawned == 4
    tables.find(["hash:/a"], ["two"])
    assert tables.spawned == 5


@pytest.mark.parametrize(
    "form", ["hash:{}", "proxy:hash:{}", "unionmap:{{static:x, hash:{}}}", "lmdb:{}"]
)
def test_a_table_that_changed_is_asked_again_at_once(
    form: str, tmp_path: Path, asked: Path
) -> None:
    source = tmp_path / "virtual"
    table = form.format(source)
    index = tmp_path / ("virtual.lmdb" if form.startswith("lmdb") else "virtual.db")
    index.write_text("one")
    tables = Tables()
    tables.find([table], ["x"])
    before = index.stat().st_mtime_ns
    index.write_text("other")
    os.utime(index, ns=(before, before))  # even within the same tick of the clock: the size
    tables.find([table], ["x"])
    assert tables.spawned == 2


def test_no_postmap_is_said_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(settings, "_PATH", "/nowhere")
    with pytest.raises(TableError, match=r"no postmap\(1\)"):
        Tables().find(["hash:/a"], ["x"])


@pytest.mark.parametrize("table", ["socketmap:unix:/x:y", "unionmap:{hash:/a, tcp:127.0.0.1:1}"])
def test_a_program_that_trusts_no_network_is_not_served_by_it(table: str, asked: Path) -> None:
    with pytest.raises(TableError, match="not allowed for security"):
        Tables().find([table], ["x"], trust=Trust.PARANOID)
    assert asked.read_text() == ""
    assert Tables().find([table], ["x"]) is not None


def test_not_found_and_not_readable_are_told_apart() -> None:
    assert trouble(1, "") is None
    words = "postmap: fatal: open /x: No such file or directory\n"
    assert trouble(1, words) == "open /x: No such file or directory"
    assert trouble(1, "postmap: warning: x\n") is None
    assert trouble(-9, "") == "postmap ended with -9"


def test_values_belong_to_their_keys_whatever_is_in_them() -> None:
    output = 'a\tb@x\tvalue\n"q\tx"@y\tone\ntwo\nlast\tl\r\n'
    keys = ("a\tb@x", "missing", '"q\tx"@y', "last")
    assert values_of(output, keys) == {
        "a\tb@x": "value",
        '"q\tx"@y': "one\ntwo",
        "last": "l\r",
    }
    assert values_of("", keys) == {}
