"""query.httpd.links: one mailbox, five minutes, once; and the session behind it."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

import pytest

from query.httpd.caller import How, Role
from query.httpd.links import IDLE_S, LIFETIME_S, SEEN_S, SESSION_S, Link, Links
from query.httpd.state import State
from tests.unit.query.httpd.test_tokens import Clock

ALICE = b"alice@example.com"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def links(tmp_path: Path, clock: Clock) -> Links:
    return Links(State(tmp_path / "state"), delimiters=b"+", clock=clock)


def read(links: Links, token: str) -> Link:
    link = links.read(token)
    assert link is not None
    return link


def session(links: Links) -> str:
    secret = links.use(read(links, links.mint(ALICE)[0]))
    assert secret is not None
    return secret


def test_a_link_opens_a_session_of_its_mailbox_alone(links: Links) -> None:
    caller = links.caller(session(links))
    assert caller is not None
    assert (caller.name, caller.role, caller.how) == (
        "link:alice@example.com", Role.MAILBOX, How.LINK,
    )  # fmt: skip
    assert caller.scope.mailboxes == {ALICE}
    assert not caller.scope.operator
    assert not caller.scope.domains


def test_a_link_is_read_any_number_of_times_and_used_once(links: Links) -> None:
    token, _ = links.mint(ALICE)
    for _ in range(3):
        link = read(links, token)
        assert links.unused(link)
    assert links.use(link) is not None
    assert not links.unused(link)
    assert links.use(link) is None


def test_a_used_link_stays_used_as_long_as_it_could_be_read(links: Links, clock: Clock) -> None:
    token, _ = links.mint(ALICE)
    link = links.read(token)
    assert link is not None
    links.use(link)
    clock.now += LIFETIME_S - 1
    session(links)  # what it tidies up
    assert links.read(token) is not None
    assert links.use(link) is None


def test_a_link_is_over_after_five_minutes(links: Links, clock: Clock) -> None:
    token, expires_s = links.mint(ALICE)
    assert expires_s == clock.now + 300
    clock.now += 299
    assert links.read(token) is not None
    clock.now += 1
    assert links.read(token) is None


def test_a_changed_link_is_none(links: Links) -> None:
    token, _ = links.mint(ALICE)
    raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        assert links.read(urlsafe_b64encode(changed).rstrip(b"=").decode()) is None


@pytest.mark.parametrize("token", ["", "A", "....", "é", "A" * 44, "A" * 9000, "\ud800"])
def test_what_is_no_link_is_none(links: Links, token: str) -> None:
    assert links.read(token) is None


def test_links_of_another_state_are_none(links: Links, tmp_path: Path, clock: Clock) -> None:
    other = Links(State(tmp_path / "other"), delimiters=b"+", clock=clock)
    assert links.read(other.mint(ALICE)[0]) is None


def test_links_outlive_a_restart(links: Links, tmp_path: Path, clock: Clock) -> None:
    token, _ = links.mint(ALICE)
    again = Links(State(tmp_path / "state"), delimiters=b"+", clock=clock)
    assert again.read(token) is not None


def test_a_session_ends_after_a_quarter_of_an_hour_without_a_request(
    links: Links, clock: Clock
) -> None:
    secret = session(links)
    clock.now += IDLE_S - 1
    assert links.caller(secret) is not None
    clock.now += IDLE_S - 1
    assert links.caller(secret) is not None
    clock.now += IDLE_S
    assert links.caller(secret) is None


def test_a_session_ends_after_eight_hours_however_busy(links: Links, clock: Clock) -> None:
    secret = session(links)
    for _ in range((SESSION_S - 1) // SEEN_S):
        clock.now += SEEN_S
        assert links.caller(secret) is not None
    clock.now += SEEN_S
    assert links.caller(secret) is None


def test_a_session_ends_when_it_is_ended(links: Links) -> None:
    one, other = session(links), session(links)
    links.end(one)
    assert links.caller(one) is None
    assert links.caller(other) is not None


def test_the_cookie_is_in_no_file(links: Links, tmp_path: Path) -> None:
    secret = session(links).encode()
    assert all(secret not in each.read_bytes() for each in tmp_path.iterdir())
