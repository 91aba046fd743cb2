"""query.httpd.identity: who is believed, by which proof, through which door."""

import sqlite3
from pathlib import Path

import pytest

from posttrail.config import Config, Mta, Query
from posttrail.errors import ConfigError
from query.httpd.caller import Caller, How, Role
from query.httpd.facts import Door, Facts, Peer
from query.httpd.identity import Denied, Identity
from query.httpd.people import OVERFLOW_UID, People, Person
from query.httpd.problem import Kind
from query.httpd.state import State, StateError

ADMINS = 400


class Town(People):
    """Users of the test's own."""

    def person(self, uid: int) -> Person | None:
        return {
            0: Person("root", frozenset({0})),
            33: Person("www-data", frozenset({33})),
            1000: Person("alice", frozenset({1000})),
            1001: Person("bob", frozenset({1001})),
            1002: Person("carol", frozenset({1002, ADMINS})),
            1003: Person("shut", frozenset({1003})),
            1004: Person("webmail", frozenset({1004})),
            1005: Person("dave@corp.example.com", frozenset({1005})),
            1006: Person("eve@elsewhere.test", frozenset({1006})),
        }.get(uid)

    def group(self, name: str) -> int | None:
        return ADMINS if name == "posttrail-admin" else None


def config(**query: object) -> Config:
    return Config(
        mta=Mta(local_domains=("example.com", "corp.example.com")),
        query=Query(link_logins=("webmail",), proxy_operators=("chief",), **query),  # type: ignore[arg-type]
        users={
            "bob": ("bob@example.com", "@example.net"),
            "shut": (),
            "frank@idp.test": ("frank@example.com",),
        },
    )


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


@pytest.fixture
def identity(state: State) -> Identity:
    return Identity(config(), state, Town())


def facts(
    peer: Peer | None,
    *headers: tuple[str, str],
    method: str = "GET",
    cookie: str | None = None,
) -> Facts:
    found: dict[str, tuple[str, ...]] = {}
    for name, value in headers:
        found[name] = (*found.get(name, ()), value)
    cookies = {"posttrail": cookie} if cookie else {}
    return Facts(peer=peer, method=method, path="/", headers=found, cookies=cookies)


def at(door: Door, uid: int | None = None) -> Peer:
    return Peer(door=door, uid=uid)


def unix(uid: int) -> Peer:
    return at(Door.QUERYD, uid)


PROXY = at(Door.PROXY, 33)
TCP = at(Door.TCP)


def user(name: str) -> tuple[str, str]:
    return ("x-posttrail-user", name)


def bearer(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")


def refused(identity: Identity, asked: Facts) -> Kind:
    with pytest.raises(Denied) as caught:
        identity.identify(asked)
    return caught.value.kind


def session(identity: Identity, address: bytes = b"alice@example.com") -> str:
    link = identity.links.read(identity.links.mint(address)[0])
    assert link is not None
    secret = identity.links.use(link)
    assert secret is not None
    return secret


def names(caller: Caller) -> tuple[set[bytes], set[bytes], set[bytes]]:
    scope = caller.scope
    assert not scope.operator
    return set(scope.mailboxes), set(scope.domains), set(scope.logins)


@pytest.mark.parametrize(("uid", "name"), [(0, "root"), (1002, "carol")])
def test_root_and_the_admin_group_are_operators(identity: Identity, uid: int, name: str) -> None:
    caller = identity.identify(facts(unix(uid)))
    assert (caller.name, caller.role, caller.how) == (name, Role.OPERATOR, How.PEER)
    assert caller.scope.operator


def test_a_login_of_users_sees_what_the_configuration_says(identity: Identity) -> None:
    caller = identity.identify(facts(unix(1001)))
    assert caller.role is Role.DOMAIN
    assert names(caller) == ({b"bob@example.com"}, {b"example.net"}, {b"bob", b"uid=1001"})


def test_another_login_sees_its_name_at_each_local_domain(identity: Identity) -> None:
    caller = identity.identify(facts(unix(1000)))
    assert caller.role is Role.MAILBOX
    assert names(caller) == (
        {b"alice@example.com", b"alice@corp.example.com"}, set(), {b"alice", b"uid=1000"},
    )  # fmt: skip


def test_a_login_that_is_an_address_is_that_mailbox(identity: Identity) -> None:
    caller = identity.identify(facts(unix(1005)))
    assert names(caller)[0] == {b"dave@corp.example.com"}
    assert refused(identity, facts(unix(1006))) is Kind.FORBIDDEN


def test_a_webmail_may_make_links_and_sees_nothing(identity: Identity) -> None:
    caller = identity.identify(facts(unix(1004)))
    assert caller.role is Role.LINKER
    assert names(caller) == (set(), set(), set())


@pytest.mark.parametrize("uid", [1003, 4242, 65534, 4294967295])
def test_whoever_is_unknown_or_has_an_empty_list_is_refused(identity: Identity, uid: int) -> None:
    assert refused(identity, facts(unix(uid))) is Kind.FORBIDDEN


def test_nobody_of_other_user_namespaces_is_believed() -> None:
    assert People().person(OVERFLOW_UID) is None
    assert People().person(2**32 - 1) is None
    root = People().person(0)
    assert root is not None
    assert root.login == "root"


@pytest.mark.parametrize("peer", [at(Door.QUERYD), at(Door.PROXY), TCP])
def test_without_the_kernels_word_nobody_is_believed(identity: Identity, peer: Peer | None) -> None:
    assert refused(identity, facts(peer, user("alice"))) is Kind.NO_PROOF


def test_without_the_hook_not_even_a_token_is_believed(identity: Identity) -> None:
    _, token = identity.tokens.add("operator")
    assert refused(identity, facts(None, bearer(token))) is Kind.FORBIDDEN
    assert refused(identity, facts(None, user("alice"))) is Kind.FORBIDDEN


def test_a_header_counts_on_the_proxys_socket_alone(identity: Identity) -> None:
    assert names(identity.identify(facts(PROXY, user("alice"))))[0] == {
        b"alice@example.com", b"alice@corp.example.com",
    }  # fmt: skip
    assert names(identity.identify(facts(unix(33), user("alice"))))[0] == {
        b"www-data@example.com", b"www-data@corp.example.com",
    }  # fmt: skip
    assert refused(identity, facts(TCP, user("alice"))) is Kind.NO_PROOF


def test_a_proxys_user_has_no_uid(identity: Identity) -> None:
    assert names(identity.identify(facts(PROXY, user("alice"))))[2] == {b"alice"}


@pytest.mark.parametrize("uid", [0, 33, 1002])
def test_a_proxy_is_nobody_itself(identity: Identity, uid: int) -> None:
    assert refused(identity, facts(at(Door.PROXY, uid))) is Kind.NO_PROOF


@pytest.mark.parametrize("name", ["root", "carol", "posttrail-admin"])
def test_a_proxy_names_no_operator(identity: Identity, name: str) -> None:
    assert not identity.identify(facts(PROXY, user(name))).scope.operator


def test_a_proxy_names_the_operators_of_the_configuration(identity: Identity) -> None:
    assert identity.identify(facts(PROXY, user("chief"))).role is Role.OPERATOR
    assert identity.identify(facts(PROXY, user("chief@example.com"))).role is Role.MAILBOX


def test_a_proxy_may_name_an_address_of_this_server(identity: Identity) -> None:
    caller = identity.identify(facts(PROXY, user("Gina@Example.COM")))
    assert names(caller)[0] == {b"gina@example.com"}
    assert refused(identity, facts(PROXY, user("gina@elsewhere.test"))) is Kind.FORBIDDEN


def test_an_address_may_be_a_login_of_users(identity: Identity) -> None:
    caller = identity.identify(facts(PROXY, user("frank@idp.test")))
    assert names(caller)[0] == {b"frank@example.com"}


@pytest.mark.parametrize(
    "sent",
    [(), ("",), ("alice", "bob"), ("alice", "alice"), ("alice, bob",), ("alice bob",),
     ("alice;bob",), ('"alice"',), ("\x00",), ("\x7f",), ("\xff",), ("a" * 321,), ("\u00e2\u0080\u00ae",)],
)  # fmt: skip
def test_a_header_that_is_not_one_name_is_nobody(identity: Identity, sent: tuple[str, ...]) -> None:
    assert refused(identity, facts(PROXY, *map(user, sent))) is Kind.NO_PROOF


@pytest.mark.parametrize("name", ["@example.com", "a@", "straße@", "a@straße.test"])
def test_a_name_that_is_nobody_here_is_refused(identity: Identity, name: str) -> None:
    sent = name.encode().decode("latin-1")
    assert refused(identity, facts(PROXY, user(sent))) is Kind.FORBIDDEN


@pytest.mark.parametrize("peer", [TCP, PROXY, unix(0), unix(1000), unix(4242)])
def test_a_token_decides_on_every_socket(identity: Identity, peer: Peer) -> None:
    id, token = identity.tokens.add("@example.net")
    caller = identity.identify(facts(peer, bearer(token), user("alice")))
    assert (caller.name, caller.how) == (f"token:{id}", How.TOKEN)
    assert names(caller) == (set(), {b"example.net"}, set())


@pytest.mark.parametrize("peer", [TCP, PROXY, unix(0)])
def test_a_wrong_token_is_refused_whatever_else_proves(identity: Identity, peer: Peer) -> None:
    id, token = identity.tokens.add("operator")
    identity.tokens.revoke(id)
    for wrong in (token, "pt_", "pt_x_y"):
        asked = facts(peer, bearer(wrong), user("alice"), cookie=session(identity))
        assert refused(identity, asked) is Kind.NO_PROOF


def test_two_tokens_are_none(identity: Identity) -> None:
    _, token = identity.tokens.add("operator")
    assert refused(identity, facts(unix(0), bearer(token), bearer(token))) is Kind.NO_PROOF


def test_a_proxys_own_login_may_pass_through(identity: Identity) -> None:
    basic = ("authorization", "Basic YWxpY2U6eA==")
    assert identity.identify(facts(PROXY, basic, user("alice"))).name == "alice"
    assert identity.identify(facts(PROXY, bearer("eyJ.x.y"), user("alice"))).name == "alice"
    assert refused(identity, facts(unix(0), bearer("eyJ.x.y"))) is Kind.NO_PROOF
    assert refused(identity, facts(TCP, basic)) is Kind.NO_PROOF


@pytest.mark.parametrize("peer", [TCP, PROXY, unix(0)])
def test_a_session_sees_its_mailbox_and_no_more(identity: Identity, peer: Peer) -> None:
    caller = identity.identify(facts(peer, user("chief"), cookie=session(identity)))
    assert (caller.name, caller.how) == ("link:alice@example.com", How.LINK)
    assert names(caller) == ({b"alice@example.com"}, set(), set())


def test_a_session_that_is_over_proves_nothing(identity: Identity) -> None:
    assert refused(identity, facts(TCP, cookie="over")) is Kind.NO_PROOF
    assert identity.identify(facts(unix(0), cookie="over")).role is Role.OPERATOR


SAME = ("sec-fetch-site", "same-origin")


@pytest.mark.parametrize(
    ("headers", "well"),
    [
        ((SAME,), True),
        ((("sec-fetch-site", "same-site"),), False),
        ((("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:8025")), False),
        ((("sec-fetch-site", "none"),), False),
        ((SAME, SAME), False),
        ((("origin", "http://127.0.0.1:8025"),), True),
        ((("origin", "http://localhost:8025"), ("host", "localhost:8025")), True),
        ((("origin", "https://evil.test"), ("host", "localhost:8025")), False),
        ((("origin", "null"), ("host", "null")), False),
        ((("origin", "http://127.0.0.1:8025"),) * 2, False),
        ((), False),
    ],
)
def test_what_changes_something_comes_from_a_page_of_ours(
    identity: Identity, headers: tuple[tuple[str, str], ...], well: bool
) -> None:
    browsers = [
        facts(TCP, *headers, method="POST", cookie=session(identity)),
        facts(PROXY, *headers, user("alice"), method="POST"),
    ]
    for asked in browsers:
        if well:
            identity.identify(asked)
        else:
            assert refused(identity, asked) is Kind.FORBIDDEN


def test_a_program_needs_no_page(identity: Identity) -> None:
    _, token = identity.tokens.add("operator")
    identity.identify(facts(TCP, bearer(token), method="POST"))
    identity.identify(facts(unix(1004), method="POST"))


def test_what_needs_no_state_does_not_wait_for_it(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"no database")
    identity = Identity(config(), State(tmp_path / "state"), Town())
    assert identity.identify(facts(unix(0))).role is Role.OPERATOR
    assert identity.identify(facts(PROXY, user("alice"))).role is Role.MAILBOX
    for asked in (facts(TCP, bearer("pt_a_b")), facts(unix(0), cookie="x")):
        with pytest.raises(StateError):
            identity.identify(asked)


def test_a_writer_that_holds_the_state_keeps_no_token_out(
    identity: Identity, tmp_path: Path
) -> None:
    _, token = identity.tokens.add("operator")
    other = sqlite3.connect(tmp_path / "state", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert identity.identify(facts(TCP, bearer(token))).role is Role.OPERATOR
    other.close()


def test_a_login_that_can_see_nothing_is_said_at_start(state: State) -> None:
    with pytest.raises(ConfigError, match=r"users\.hans: straße\.test may be two domains"):
        Identity(Config(users={"hans": ("@straße.test",)}), state)
