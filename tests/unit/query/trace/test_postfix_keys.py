"""The keys of a lookup and what a value stands for, by canonical(5), virtual(5), access(5)."""

import pytest

from query.trace import sieve
from query.trace.postfix import keys
from query.trace.postfix.access import Kind, action_of
from query.trace.postfix.keys import Delimiters
from query.trace.postfix.local import members_of
from query.trace.postfix.mailbox import expanded
from query.trace.postfix.restrictions import restrictions

PLUS = Delimiters(characters="+")


def test_keys_come_with_extension_then_without_then_bare_then_the_domain() -> None:
    found = keys.address_keys("u+x@local.test", PLUS, local=True)
    assert found == {
        "u+x@local.test": "",
        "u@local.test": "+x",
        "u+x": "",
        "u": "+x",
        "@local.test": "",
    }
    assert list(found)[:2] == ["u+x@local.test", "u@local.test"]


def test_a_foreign_domain_has_no_bare_user() -> None:
    assert list(keys.address_keys("u@plain.test", PLUS, local=False)) == [
        "u@plain.test",
        "@plain.test",
    ]


@pytest.mark.parametrize(
    ("local", "characters", "wanted"),
    [
        ("user+x+y", "+", ("user", "+x+y")),
        ("user-x+y", "+-", ("user", "-x+y")),  # the first of a set
        ("+x", "+", ("+x", "")),  # nobody would be left
        ("user+", "+", ("user", "+")),
        ("user", "+", ("user", "")),
        ("user+x", "", ("user+x", "")),
        ("postmaster+x", "+", ("postmaster", "+x")),
        ("Mailer-Daemon", "-", ("Mailer-Daemon", "")),
        ("owner-list", "-", ("owner-list", "")),
        ("list-request", "-", ("list-request", "")),
        ("-request", "-", ("-request", "")),
        ("double-bounce", "-", ("double-bounce", "")),
        ("owner-list+x", "+", ("owner-list", "+x")),  # special for a hyphen only
    ],
)
def test_where_an_extension_begins(local: str, characters: str, wanted: tuple[str, str]) -> None:
    assert keys.extension_of(local, Delimiters(characters=characters)) == wanted


def test_owner_and_request_are_split_where_they_are_not_special() -> None:
    plain = Delimiters(characters="-", requests_special=False)
    assert keys.extension_of("owner-list", plain) == ("owner", "-list")


def test_access_tables_are_asked_for_parents_and_for_the_user_at_any_domain() -> None:
    assert keys.access_keys("u+x@a.b.test", PLUS, parents=True) == [
        "u+x@a.b.test", "u@a.b.test", "a.b.test", "b.test", "test", "u+x@", "u@",
    ]  # fmt: skip
    assert keys.access_keys("u@b.test", PLUS, parents=False) == [
        "u@b.test",
        "b.test",
        ".test",
        "u@",
    ]


@pytest.mark.parametrize(
    ("internal", "external"),
    [
        ("b b@x.test", '"b b"@x.test'),
        ("a@b@x.test", '"a@b"@x.test'),
        (".dot@x.test", '".dot"@x.test'),
        ('q"q@x.test', '"q\\"q"@x.test'),
        ("plain.name@x.test", "plain.name@x.test"),
        ("bücher@x.test", "bücher@x.test"),
    ],
)
def test_quotes_come_and_go(internal: str, external: str) -> None:
    assert keys.external(internal) == external
    assert keys.internal(external) == internal


def test_a_domain_as_value_keeps_the_user_without_the_unmatched_extension() -> None:
    assert keys.results("@new.test", "u+x@old.test", "+x") == ["u@new.test"]
    assert keys.results("@new.test", "u+x@old.test", "") == ["u+x@new.test"]


@pytest.mark.parametrize(
    ("value", "members"),
    [
        ("a, b@x.test", ["a", "b@x.test"]),
        ('"|/bin/cmd -a, b", c', ["|/bin/cmd -a, b", "c"]),
        ("A Name <a@x.test>, b (who, is)", ["a@x.test", "b"]),
        (":include:/etc/list", [":include:/etc/list"]),
        ("", []),
        (" , ,", []),
        ('"unclosed', ["unclosed"]),
    ],
)
def test_members_of_a_value(value: str, members: list[str]) -> None:
    assert [keys.internal(each) for each in keys.address_list(value)] == members


def test_a_file_of_members_has_comments() -> None:
    assert members_of("# no\na\n\nb, c\n") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("value", "kind", "code", "status", "text"),
    [
        ("OK", Kind.PERMIT, "", "", ""),
        ("20260101", Kind.PERMIT, "", "", ""),
        ("REJECT", Kind.REJECT, "554", "5.7.1", "Access denied"),
        ("reject 5.1.1 no", Kind.REJECT, "554", "5.1.1", "no"),
        ("450 4.2.0 later", Kind.REJECT, "450", "4.2.0", "later"),
        ("550 gone", Kind.REJECT, "550", "5.0.0", "gone"),
        ("DEFER_IF_PERMIT", Kind.DEFER_IF_PERMIT, "450", "4.7.1", "Service unavailable"),
        ("FILTER scan:host", Kind.FILTER, "", "", "scan:host"),
        ("DUNNO what", Kind.NOTHING, "", "", "what"),
        ("permit_mynetworks, reject", Kind.LIST, "", "", "permit_mynetworks, reject"),
    ],
)
def test_what_an_access_table_says(
    value: str, kind: Kind, code: str, status: str, text: str
) -> None:
    assert action_of(value) == (kind, text, code, status)


def test_restrictions_with_their_arguments() -> None:
    words = ("permit_mynetworks", "check_client_access", "cidr:a", "hash:b", "reject_rbl_client",
             "bl.test", "check_policy_service", "{ inet:host:1, timeout=5s }", "reject")  # fmt: skip
    assert list(restrictions(words, "check_recipient_access")) == [
        ("permit_mynetworks", ""),
        ("check_client_access", "cidr:a"),
        ("check_recipient_access", "hash:b"),
        ("reject_rbl_client", "bl.test"),
        ("check_policy_service", "{ inet:host:1, timeout=5s }"),
        ("reject", ""),
    ]


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("$home/.forward", "/home/u/.forward"),
        ("$home/.forward${recipient_delimiter}${extension}", None),  # no extension: no such path
        ("${user}${extension?+$extension}", "u"),
        ("${extension:none}", "none"),
        ("$$x", "$x"),
    ],
)
def test_names_in_forward_path(template: str, wanted: str | None) -> None:
    assert (
        expanded(template, {"home": "/home/u", "user": "u", "recipient_delimiter": "+"}) == wanted
    )


SCRIPT = """
require ["fileinto", "reject"]; # discard;
/* redirect "no@x.test"; */
if header :contains "Subject" "please discard" { fileinto :create "Junk"; stop; }
elsif address "from" "x@x.test" { redirect :copy "far@plain.test"; }
if true { discard; } else { reject text:
Go away; fileinto "Nowhere";
.
; }
fileinto "Junk";
"""


def test_actions_of_a_sieve_script() -> None:
    assert list(sieve.actions(SCRIPT)) == [
        ("fileinto", "Junk"), ("redirect", "far@plain.test"), ("discard", ""), ("reject", ""),
    ]  # fmt: skip
    assert sieve.note("/s", SCRIPT) == (
        "the sieve script /s may act on it: files into Junk, redirects to far@plain.test, "
        "discards, rejects"
    )
    assert sieve.note("/s", "keep;") is None
