"""What is known of a table by its name and its rules, after Postfix's manual pages."""

import pytest

from query.trace.postfix.patterns import (
    direct,
    is_pattern,
    is_random,
    literal,
    logical_lines,
    takes_text,
)


@pytest.mark.parametrize(
    "name",
    [
        "pcre:/x",
        "proxy:regexp:/x",
        "cidr:/x",
        "socketmap:inet:127.0.0.1:9:x",
        "tcp:127.0.0.1:9",
        "randmap:{a, b}",
        "fail:x",
        "unionmap:{pcre:/x, hash:/y}",
        "pipemap:{proxy:pcre:/x, hash:/y}",
        "unionmap:{pipemap:{regexp:/x,hash:/y}, hash:/z}",
    ],
)
def test_a_table_with_patterns_gets_full_keys_only(name: str) -> None:
    assert is_pattern(name)


@pytest.mark.parametrize(
    "name",
    [
        "hash:/x",
        "texthash:/pcre:x",
        "inline:{a=pcre:/x}",
        "static:{tcp:x}",
        "proxy:mysql:/x.cf",
        "unix:passwd.byname",
        "environ:x",
        "unionmap:{hash:/y, pcre:/x}",
        "pipemap:{inline:{a=b}, pcre:/x}",
        "unionmap:",
        "x",
    ],
)
def test_other_tables_get_parts_too_and_the_first_of_a_bundle_decides(name: str) -> None:
    assert not is_pattern(name)


def test_random_answers_are_known_also_within_a_bundle() -> None:
    assert is_random("randmap:{a,b}")
    assert is_random("pipemap:{hash:/x,randmap:{a,b}}")
    assert not is_random("hash:/etc/no-randmap:x")


def test_every_table_is_asked_without_proxymap() -> None:
    assert direct("proxy:hash:/x") == "hash:/x"
    assert direct("unionmap:{proxy:hash:/x,static:y}") == "unionmap:{hash:/x,static:y}"
    assert direct("hash:/my-proxy:x") == "hash:/my-proxy:x"


@pytest.mark.parametrize(
    "rule",
    [
        "/^(.*)@x$/ $1@y",
        "/(a)/i ${1}",
        r"/a\/(b)/ $(1)x",
        "!/a/ $1",
        "/(a)/!/b/ x$1",
        "|(a b)| smtp:$1",
        "/(a)/   two words $1",
    ],
)
def test_a_result_that_takes_text_from_the_address_is_seen(rule: str) -> None:
    assert takes_text(rule)


@pytest.mark.parametrize(
    "rule", ["/a$1/ x", "/a/ $$1", "if /$1/", "endif", "/a/ price $x", "/a b/ c", "/a", ""]
)
def test_other_rules_are_left_alone(rule: str) -> None:
    assert not takes_text(rule)


def test_a_rule_is_a_line_and_those_that_continue_it() -> None:
    text = "# note\n/a/ x\n  y\n# within\n  $1\n\n/b/ z\n"
    assert list(logical_lines(text)) == ["/a/ x  y  $1", "/b/ z"]


def test_only_rules_that_take_text_are_left_out() -> None:
    left: list[str] = []

    def kept(text: str) -> str:
        left.append(text)
        return f"/kept/{len(left)}"

    texts = {"/one": "/(a)/ $1\nif /b/\n/c/ d\nendif\n", "/two": "/a/ b\n"}
    table = "unionmap:{pcre:/one, regexp:/two, pcre:{{/(x)/ $1}, {/y/ z}}, hash:/h}"
    named = literal(table, lambda name: texts[name], kept)
    assert named == "unionmap:{pcre:/kept/1, regexp:/two, pcre:/kept/2, hash:/h}"
    assert left == ["if /b/\n/c/ d\nendif\n", "/y/ z\n"]
