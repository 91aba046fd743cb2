"""What lookups through postmap(1) promise, whatever the tables are."""

import pytest

from query.trace.postfix.tables import Tables, is_pattern, trouble


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
