"""query.explain: plain words for what is known, silence for what is not."""

import json
from collections.abc import Sequence

import pytest

from posttrail import cli
from query.explain import Explanation, explain, messages

SUBJECTS = {
    # RFC 3463 3.2 to 3.8, and IANA's registry (RFC 5248) with RFC 3886, 4468, 4954, 6531, 6710,
    # 7293, 7372, 7505, 8617 and 8689: subject -> the details there are.
    0: [0],
    1: range(11),
    2: range(5),
    3: range(7),
    4: range(8),
    5: range(7),
    6: range(11),
    7: range(31),
}


def known(text: str) -> Explanation:
    found = explain(text)
    assert found is not None, text
    return found


@pytest.mark.parametrize(("subject", "details"), SUBJECTS.items())
def test_every_registered_code_has_words(subject: int, details: Sequence[int]) -> None:
    for detail in details:
        code = f"5.{subject}.{detail}"
        found = known(code)
        assert (found.code, found.basis) == (code, "enhanced_status")
        assert found.says.endswith(".")


@pytest.mark.parametrize("code", ["5.9.9", "5.1.99", "999", "what happened?", "", "1.2.3"])
def test_what_is_not_known_stays_unexplained(code: str) -> None:
    assert explain(code) is None


def test_the_class_tells_what_comes_of_it() -> None:
    assert "tried again" in (known("4.2.2").outcome or "")
    assert "for good" in (known("5.2.2").outcome or "")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("250 2.0.0 Ok: queued as 4F1", "2.0.0"),
        ("250 2.1.5 <virus@example.com> ok", "2.1.5"),
        ("250 ok, no spf record, greylisted before", "250"),
    ],
)
def test_a_success_has_no_next_step(text: str, code: str) -> None:
    found = known(text)
    assert (found.code, found.next) == (code, None)
    assert found.outcome == "It succeeded."


@pytest.mark.parametrize(
    ("text", "who", "word"),
    [
        (
            "550-5.1.1 The email account that you tried to reach does not exist - gsmtp",
            "Gmail",
            "no",
        ),
        ("452-4.2.2 The recipient's inbox is out of storage space. gmail", "Gmail", "room"),
        ("host x[192.0.2.1] said: 450 4.7.1 <a@example.com>: Greylisted", None, "second try"),
        ("450 4.2.0 Greylisting in action", None, "second try"),
        (
            "554 5.7.1 Service unavailable; Client host [192.0.2.9] blocked using rbl.example",
            None,
            "list",
        ),
        ("554 5.7.1 blocked using zen.spamhaus.org", "Spamhaus", "Spamhaus"),
        ("554 5.7.1 <a@example.com>: Relay access denied", None, "pass on"),
        ("(connect to mx.example.com[192.0.2.1]:25: Connection timed out)", None, "did not answer"),
        ("550 5.7.23 SPF validation failed", None, "SPF"),
    ],
)
def test_common_texts_say_more_than_their_code(text: str, who: str | None, word: str) -> None:
    found = known(text)
    assert (found.who, found.basis) == (who, "text")
    assert word in found.says


@pytest.mark.parametrize(
    "text",
    [
        "550 5.1.1 <virus@spf.example>: no",
        "550 5.1.1 virus@example.com no",
        "host spf.example[192.0.2.1] said: 550 5.1.1 no",
        "550 5.1.1 antivirus says nothing",
    ],
)
def test_names_in_a_text_mean_nothing(text: str) -> None:
    found = known(text)
    assert (found.code, found.basis) == ("5.1.1", "enhanced_status")


def test_an_address_is_no_enhanced_status_code() -> None:
    assert explain("client 5.1.1.7 was here") is None


def test_codes_that_are_given_count_before_those_in_the_text() -> None:
    found = explain("4.2.2 nothing", enhanced_status="5.1.1", reply_code=550)
    assert found is not None
    assert found.code == "5.1.1"


def test_a_reply_without_an_enhanced_code_is_explained_by_its_own() -> None:
    found = known("550 No")
    assert (found.code, found.basis) == ("550", "reply_code")


def test_a_long_text_takes_no_longer_than_a_short_one() -> None:
    found = known("550 5.1.1 no " + "x " * 1_000_000)
    assert found.code == "5.1.1"


def test_no_sentence_stands_twice_in_the_catalogue() -> None:
    assert len(messages()) == len(set(messages()))
    assert all(sentence and sentence == sentence.strip() for sentence in messages())


def test_the_verb_explains_in_words_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "5.1.1"]) == 0
    assert "Check the part before the @" in capsys.readouterr().out
    assert cli.main(["explain", "--format", "json", "550", "5.1.1", "no"]) == 0
    assert json.loads(capsys.readouterr().out)["code"] == "5.1.1"


def test_the_verb_says_where_it_knows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "5.9.9"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "no explanation" in shown.err
