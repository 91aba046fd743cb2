"""Lists of milters: nothing but the entry of posttrail is changed, whatever stands beside it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrail import milters

QUEUE = Path("/var/spool/postfix")
SOCKET = "unix:/var/spool/postfix/posttrail/milter.sock"
OURS = "{ unix:posttrail/milter.sock, default_action=accept, connect_timeout=2s, command_timeout=5s, content_timeout=5s }"


def is_ours(word: str) -> bool:
    return milters.is_ours(milters.milter(word).endpoint, SOCKET, QUEUE)


def test_our_entry_is_what_the_manual_says() -> None:
    assert milters.entry(SOCKET, QUEUE) == OURS
    assert milters.entry("inet:8900@192.0.2.1", QUEUE).startswith("{ inet:192.0.2.1:8900, ")
    assert milters.entry("unix:/run/posttrail/m", QUEUE).startswith("{ unix:/run/posttrail/m, ")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", OURS),
        ("  ", OURS),
        ("inet:127.0.0.1:11332", f"inet:127.0.0.1:11332, {OURS}"),
        ("$more, inet:localhost:8891,", f"$more, inet:localhost:8891, {OURS}"),
        ("unix:a  ${more}\t$(less)", f"unix:a  ${{more}}\t$(less) {OURS}"),
        ("{ inet:a:1, default_action=tempfail } unix:b",
         f"{{ inet:a:1, default_action=tempfail }} unix:b {OURS}"),
    ],
)  # fmt: skip
def test_we_come_last_and_the_rest_stays(before: str, after: str) -> None:
    assert milters.with_last(before, OURS) == after
    assert milters.without(after, is_ours) == before.rstrip(" ,")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"{OURS}, inet:a:1", "inet:a:1"),
        (f"inet:a:1, {OURS},unix:b", "inet:a:1,unix:b"),
        (f"unix:posttrail/milter.sock {OURS}", ""),
        (f"unix:b\n  {OURS}\n  unix:{QUEUE}/posttrail/milter.sock, $c", "unix:b, $c"),
    ],
)
def test_wherever_we_stand_we_alone_go(before: str, after: str) -> None:
    assert milters.without(before, is_ours) == after


WORD = st.sampled_from(
    ["inet:a:1", "unix:b", "$more", "${more}", "{ unix:c, default_action=accept }"]
)
BETWEEN = st.sampled_from([", ", ",", " ", "  ", "\n  "])


@given(st.lists(st.tuples(WORD, BETWEEN), max_size=6))
def test_there_and_back_changes_no_byte(parts: list[tuple[str, str]]) -> None:
    value = "".join(word + between for word, between in parts).rstrip(" ,\n")
    assert milters.without(milters.with_last(value, OURS), is_ours) == value


def test_settings_in_braces_are_read_with_blanks_and_without() -> None:
    read = milters.milter("{ unix:/x, default_action=accept, { connect_timeout = 7s } }")
    assert read.endpoint == "unix:/x"
    assert read.own == {"default_action": "accept", "connect_timeout": "7s"}


def test_references_are_followed_and_a_circle_is_not() -> None:
    values = {"a": "$b, unix:x", "b": "unix:y $a", "c": "$a ${unknown}"}
    assert milters.expanded("$c", values) == ["unix:y", "$a", "unix:x", "${unknown}"]


@pytest.mark.parametrize(
    ("text", "long"), [("10s", False), ("11", True), ("1m", True), ("", True), ("0s", True)]
)
def test_a_time_that_is_none_counts_as_long(text: str, long: bool) -> None:
    assert milters.is_long(text) is long
