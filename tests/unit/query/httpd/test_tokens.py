"""query.httpd.tokens: shown once, kept as a hash, over when they are over."""

from pathlib import Path

import pytest

from posttrail.errors import UsageError
from query.httpd.caller import How, Role
from query.httpd.state import State
from query.httpd.tokens import LIFETIME_S, USE_S, Tokens


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(tmp_path: Path, clock: Clock) -> Tokens:
    return Tokens(State(tmp_path / "state"), delimiters=b"+", clock=clock)


def test_a_token_is_whom_it_was_made_for(tokens: Tokens) -> None:
    id, text = tokens.add("alice@example.com,@example.net")
    caller = tokens.caller(text)
    assert caller is not None
    assert (caller.name, caller.role, caller.how) == (f"token:{id}", Role.DOMAIN, How.TOKEN)
    assert caller.scope.mailboxes == {b"alice@example.com"}
    assert caller.scope.domains == {b"example.net"}
    assert not caller.scope.operator


@pytest.mark.parametrize(("scope", "role"), [("operator", Role.OPERATOR), ("links", Role.LINKER)])
def test_two_words_are_no_addresses(tokens: Tokens, scope: str, role: Role) -> None:
    caller = tokens.caller(tokens.add(scope)[1])
    assert caller is not None
    assert caller.role is role
    assert caller.scope.operator is (role is Role.OPERATOR)


@pytest.mark.parametrize("scope", ["", "alice", "@", "alice@", "a@b c", "operator,alice@a.test"])
def test_a_scope_that_means_nothing_makes_no_token(tokens: Tokens, scope: str) -> None:
    with pytest.raises(UsageError, match="scope"):
        tokens.add(scope)
    assert tokens.all() == []


def test_the_secret_is_in_no_file(tokens: Tokens, tmp_path: Path) -> None:
    _, text = tokens.add("operator")
    secret = text.split("_", 2)[2].encode()
    assert len(secret) == 43  # 256 bits, base64url
    assert all(secret not in each.read_bytes() for each in tmp_path.iterdir())


def test_any_other_text_is_nobody(tokens: Tokens) -> None:
    _, text = tokens.add("operator")
    changed = text[:-1] + ("A" if text[-1] != "A" else "B")
    for wrong in (changed, text + "A", text[:-1], "pt_", "pt__", "pt_0_" + text, "\xff", ""):
        assert tokens.caller(wrong) is None


def test_a_token_is_over_when_it_expires(tokens: Tokens, clock: Clock) -> None:
    _, text = tokens.add("operator")
    clock.now += LIFETIME_S - 1
    assert tokens.caller(text) is not None
    clock.now += 1
    assert tokens.caller(text) is None


def test_a_revoked_token_is_over_at_once_and_is_revoked_once(tokens: Tokens) -> None:
    id, text = tokens.add("operator")
    assert tokens.revoke(id)
    assert tokens.caller(text) is None
    assert not tokens.revoke(id)
    assert not tokens.revoke("unknown")


def test_the_last_use_is_kept_to_the_minute(tokens: Tokens, clock: Clock) -> None:
    _, text = tokens.add("operator", label="backup")
    assert tokens.all()[0].used_s is None
    begun = int(clock.now)
    for after, kept in ((0, 0), (USE_S - 1, 0), (USE_S, USE_S)):
        clock.now = begun + after
        tokens.caller(text)
        assert tokens.all()[0].used_s == begun + kept
    assert tokens.all()[0].label == "backup"
