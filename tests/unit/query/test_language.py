"""query.language: the reader's language, else English."""

import pytest

from journal.records import REASONS, Status
from query import said
from query.explain import messages
from query.language import choose, of


@pytest.mark.parametrize(
    ("header", "asked", "tag"),
    [
        ("", "", "en"),
        ("de-AT,en;q=0.5", "", "de"),
        ("en;q=0.5, de;q=0.9", "", "de"),
        ("fr, de;q=0.1", "", "de"),
        ("de;q=0, en", "", "en"),
        ("de", "en", "en"),
        ("en", "de", "de"),
        ("de", "xx", "de"),
        (";;;q=x,,", "", "en"),
    ],
)
def test_what_is_asked_for_counts_more_than_what_is_liked(
    header: str, asked: str, tag: str
) -> None:
    assert choose(header, asked=asked).tag == tag


def test_a_language_that_is_not_there_is_english() -> None:
    assert of("tlh").tag == "en"
    assert of("en")("Reason") == "Reason"


def test_every_status_and_reason_has_words() -> None:
    assert set(said.STATUSES) == set(said.MEANINGS) == {status.token for status in Status}
    assert set(said.REASONS) == set(REASONS)
    assert len(messages()) > 100
