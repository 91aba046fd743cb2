"""What earlier filters wrote is read, what makes no sense or may be forged is not believed."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milterd.headers import EVIDENCE_CHARS, VERDICTS, unfold, verdicts, wanted


def found(*fields: tuple[str, str]) -> list[tuple[str, str, str]]:
    return [(each.filter, each.reason, each.score) for each in verdicts(fields)]


@pytest.mark.parametrize(
    "name",
    ["subject", "message-id", "from", "date", "authentication-results", "received",
     "x-spam-flag", "x-spamd-result", "x-virus-scanned"],
)  # fmt: skip
def test_fields_that_tell_something_are_wanted(name: str) -> None:
    assert wanted(name) == wanted(name.upper()) == name


@pytest.mark.parametrize("name", ["to", "mime-version", "x-mailer", "subject2", ""])
def test_other_fields_are_not(name: str) -> None:
    assert not wanted(name)


def test_unfolding_keeps_the_white_space() -> None:
    assert unfold(" a\r\n\tb\n c ") == "a\tb c"


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        ("x-spam-status", "Yes, score=12.3 required=5 tests=A", ("spamassassin", "spam", "12.3")),
        ("x-spam-status", "No, score=-1.9 required=5 tests=B", ("spamassassin", "ham", "-1.9")),
        ("x-spam-status", "No, hits=2 required=5.0", ("spamassassin", "ham", "2")),
        ("x-spam-status", "No, score=1 tagged_above=-99 required=6", ("amavis", "ham", "1")),
        ("x-spam-status", "quite", ("spamassassin", "", "")),
        ("x-spamd-result", "default: True [15.20 / 15.00]; A(1.0)[]", ("rspamd", "spam", "15.20")),
        ("x-spamd-result", "default: False [-0.10 / 15.00]", ("rspamd", "ham", "-0.10")),
        ("x-spam-flag", "YES", ("spam", "spam", "")),
        ("x-spam-flag", "NO", ("spam", "ham", "")),
        ("x-spam", "Yes", ("spam", "spam", "")),
        ("x-spam-score", "4.2", ("spam", "", "4.2")),
        ("x-virus-status", "Clean", ("clamav", "clean", "")),
        ("x-virus-status", "Infected (Eicar-Test-Signature)", ("clamav", "virus", "")),
        ("x-virus-scanned", "Debian amavisd-new at mx.example.com", ("amavis", "scanned", "")),
        ("x-virus-scanned", "clamav-milter 1.0 at mx.example.com", ("clamav", "scanned", "")),
        ("authentication-results", "mx.example.com; spf=fail x.y=a@b", ("spf", "fail", "")),
        ("authentication-results", "mx.example.com 1; dkim / 1 = pass", ("dkim", "pass", "")),
    ],
)  # fmt: skip
def test_each_filter_is_read(name: str, value: str, verdict: tuple[str, str, str]) -> None:
    [read] = verdicts([(name, value)])
    assert (read.filter, read.reason, read.score) == verdict
    assert read.verdict == "accept"
    assert read.evidence == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-spamd-result", "hello"),
        ("x-spam-score", "1e9"),
        ("x-spam-score", "NaN"),
        ("x-spam-flag", "perhaps"),
        ("x-spam-level", "*****"),
        ("x-spam-checker-version", "SpamAssassin 4"),
        ("x-virus-status", "unknown"),
        ("authentication-results", "mx.example.com; none"),
        ("authentication-results", "mx.example.com"),
        ("authentication-results", ""),
        ("received", "from a by b"),
    ],
)
def test_what_makes_no_sense_is_no_verdict(name: str, value: str) -> None:
    assert verdicts([(name, value)]) == []


def test_one_filter_speaks_once_with_the_field_that_says_most() -> None:
    assert found(
        ("x-spam-flag", "YES"), ("x-spam-score", "12.3"), ("x-spam-status", "Yes, score=12.3")
    ) == [("spamassassin", "spam", "12.3")]
    assert found(("x-spam-flag", "YES"), ("x-spam-score", "7")) == [("spam", "spam", "7")]
    assert found(("x-virus-scanned", "amavis"), ("x-virus-status", "Clean")) == [
        ("amavis", "clean", "")
    ]


def test_the_last_x_field_counts_because_milters_append() -> None:
    assert found(("x-spam-flag", "NO"), ("x-spam-flag", "YES")) == [("spam", "spam", "")]


def test_authentication_results_below_received_are_the_senders_own() -> None:
    ours = ("authentication-results", "mx.example.com; dmarc=fail")
    theirs = ("authentication-results", "mx.example.com; dmarc=pass")
    assert found(ours, ("received", "x"), theirs) == [("dmarc", "fail", "")]


def test_each_method_is_a_verdict_with_its_server() -> None:
    value = 'mx.example.com; dkim=pass (2048-bit; "ok") header.d=a.example; spf=none; DMARC=Fail'
    read = verdicts([("authentication-results", value)])
    assert [(each.filter, each.reason) for each in read] == [
        ("dkim", "pass"), ("spf", "none"), ("dmarc", "fail"),
    ]  # fmt: skip
    assert read[1].evidence == "mx.example.com; spf=none"


def test_a_semicolon_in_a_comment_or_a_string_parts_nothing() -> None:
    value = 'mx; dkim=fail (a;(b;) spf=pass;) reason="x; dmarc=pass (\\"; arc=pass" '
    assert found(("authentication-results", value)) == [("dkim", "fail", "")]


def test_a_sender_cannot_make_a_record_huge() -> None:
    value = "mx;" + "dkim=pass;" * 1000 + "x" * 10_000
    read = verdicts([("authentication-results", value), ("x-spam-status", "Yes" + "x" * 10_000)])
    assert len(read) == VERDICTS
    assert max(len(each.evidence) for each in read) <= EVIDENCE_CHARS


@given(st.sampled_from(["authentication-results", "x-spam-status", "x-spamd-result"]), st.text())
def test_no_value_raises(name: str, value: str) -> None:
    for each in verdicts([(name, value), ("x-spam-score", value), ("x-virus-status", value)]):
        assert len(each.filter) < 40


@pytest.mark.parametrize("piece", ["(", '"', "\\", ";", "a=b;", '\\\\"', "(;)", " ", "-1", "hits="])
@pytest.mark.parametrize("name", ["authentication-results", "x-spam-status", "x-spamd-result"])
def test_reading_takes_linear_time(name: str, piece: str) -> None:
    value = piece * (400_000 // len(piece))  # quadratic would take minutes
    begin = time.process_time()
    verdicts([(name, value)])
    assert time.process_time() - begin < 5
