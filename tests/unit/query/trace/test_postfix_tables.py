"""What lookups through postmap(1) promise, whatever the tables are."""

import os
from pathlib import Path

import pytest

from query.trace.postfix.tables import Tables, is_pattern, stamp_of, trouble


@pytest.mark.parametrize("key", ["", "a\nb@example.com", "a\0b@example.com"])
def test_a_key_that_postmap_cannot_read_starts_no_process(key: str) -> None:
    tables = Tables()
    assert tables.find(["texthash:/nowhere"], [key]) is None
    assert tables.spawned == 0


def test_not_found_and_not_readable_are_told_apart() -> None:
    assert trouble(1, "") is None
    words = "postmap: fatal: open /x: No such file or directory\n"
    assert trouble(1, words) == "open /x: No such file or directory"


@pytest.mark.parametrize("name", ["pcre:/x", "proxy:regexp:/x", "unionmap:{pcre:/x, hash:/y}"])
def test_a_table_with_patterns_gets_full_keys_only(name: str) -> None:
    assert is_pattern(name)


@pytest.mark.parametrize("form", ["hash:{}", "proxy:hash:{}", "unionmap:{{hash:{}, static:x}}"])
def test_a_table_whose_index_changed_is_noticed(form: str, tmp_path: Path) -> None:
    table = form.format(tmp_path / "virtual")
    index = tmp_path / "virtual.db"
    before = stamp_of(table)
    index.touch()
    os.utime(index, ns=(1, 1))
    assert stamp_of(table) != before
