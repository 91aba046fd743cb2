"""Who may see what, over real sockets: every caller, every route, every kind of mail.

Mail is own, of the same domain, foreign, or absent; all of it is full of canaries, which must be in
no byte, header or cursor of an answer to whoever may not see it. A route that is not in the
matrix fails it.
"""

import json
import re
import statistics
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import quote, unquote_plus

import pytest
from starlette.routing import Route

from journal import keys
from journal.records import Status
from posttrail.config import Config, Journal, Query
from query import stats, summary
from query.httpd import app
from query.httpd.caller import Role
from query.httpd.main import make
from tests.integration.callers import UIDS, Answer, Client, Town, session, town, unix
from tests.unit.query.conftest import NOON_US, Shelf, row
from tests.unit.query.httpd.conftest import traced_at
from tests.unit.query.serving import served

SINCE: Final = "2026-11-01"
PUBLIC: Final = {"/healthz", "/readyz", "/openapi.json", "/static/{name}", "/link/{token}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One kind of mail as requests name it."""

    kind: str
    address: str
    id: str
    queue_id: str

    @property
    def canary(self) -> str:
        return f"canary-{self.kind}"


Asked = tuple[str, object]
"""A target and a body."""


def _named(path: str) -> Callable[[Mail], list[Asked]]:
    """Every filter, alone, in every form."""

    def asked(mail: Mail) -> list[Asked]:
        filters = {
            "address": mail.address,
            "recipient": mail.address,
            "sender": f"{mail.canary}-from@outside.example",
            "login": mail.address,
            "message_id": f"{mail.canary}-mid@outside.example",
            "queue_id": mail.queue_id,
            "text": f"{mail.canary}-subject",
        }
        some = [f"{path}?since={SINCE}&{name}={quote(value)}" for name, value in filters.items()]
        return [(target, None) for target in (f"{path}?since={SINCE}", *some)]

    return asked


def _fixed(*targets: str) -> Callable[[Mail], list[Asked]]:
    return lambda _mail: [(target, None) for target in targets]


def _messages(mail: Mail) -> list[Asked]:
    forms = [
        (f"/v1/messages?format={form}&limit=1&since={SINCE}", None)
        for form in ("json", "ndjson", "csv")
    ]
    return [*_named("/v1/messages")(mail), *forms]


def _page(mail: Mail) -> list[Asked]:
    names = (mail.address, mail.queue_id, mail.id, "@" + mail.address.partition("@")[2])
    boxes = [(f"/?since={SINCE}&q={quote(name)}", None) for name in names]
    return [*_named("/")(mail), *boxes, (f"/?since={SINCE}&print=1", None)]


MATRIX: Final[dict[tuple[str, str], Callable[[Mail], list[Asked]]]] = {
    ("GET", "/v1/messages"): _messages,
    ("GET", "/v1/messages/{id:path}"): lambda mail: [
        (f"/v1/messages/{quote(name)}{form}", None)
        for name in (mail.id, mail.queue_id)
        for form in ("", "?format=ndjson")
    ],
    ("GET", "/v1/stats"): _fixed(*(f"/v1/stats?by={by}" for by in stats.BY)),
    ("GET", "/v1/days"): _named("/v1/days"),
    ("GET", "/v1/summary"): _fixed(*(f"/v1/summary?by={by}" for by in summary.BY)),
    ("GET", "/v1/never"): lambda mail: [
        (f"/v1/never?since={SINCE}&recipient={mail.address}", None),
        (f"/v1/never?since={SINCE}&sender={mail.canary}-from@outside.example", None),
    ],
    ("GET", "/v1/coverage"): _fixed("/v1/coverage"),
    ("GET", "/v1/explain"): _fixed("/v1/explain?text=5.1.1"),
    ("GET", "/v1/trace"): lambda mail: [(f"/v1/trace?address={mail.address}", None)],
    ("GET", "/v1/events"): lambda mail: [
        ("/v1/events", None), (f"/v1/events?recipient={mail.address}", None),
    ],
    ("GET", "/v1/audit"): lambda mail: [
        ("/v1/audit", None),
        ("/v1/audit?limit=1", None),
        (f"/v1/audit?address={mail.address}", None),
        (f"/v1/audit?format=ndjson&address=@{mail.address.partition('@')[2]}", None),
    ],
    ("POST", "/v1/links"): lambda mail: [("/v1/links", {"address": mail.address})],
    ("GET", "/link/{token}"): _fixed("/link/none"),
    ("POST", "/link/{token}"): _fixed("/link/none"),
    ("GET", "/"): _page,
    ("GET", "/message/{id}"): lambda mail: [
        (f"/message/{mail.id}", None), (f"/message/{quote(mail.queue_id)}", None),
    ],
    ("GET", "/trace"): lambda mail: [(f"/trace?address={mail.address}", None)],
    ("GET", "/summary"): _fixed(*(f"/summary?by={by}" for by in summary.BY)),
    ("GET", "/static/{name}"): _fixed("/static/posttrail.css", "/static/none"),
    ("GET", "/healthz"): _fixed("/healthz"),
    ("GET", "/readyz"): _fixed("/readyz"),
    ("GET", "/openapi.json"): _fixed("/openapi.json"),
    ("GET", "/metrics"): _fixed("/metrics"),
    ("GET", "/metrics/domains"): _fixed("/metrics/domains"),
    ("POST", "/logout"): _fixed("/logout"),  # the last: it ends a session
}  # fmt: skip
SEES: Final = {
    Role.OPERATOR: {"own", "same", "foreign"},
    Role.DOMAIN: {"own", "same"},
    Role.MAILBOX: {"own"},
    Role.LINKER: set[str](),
    None: set[str](),
}
CLIENTS: Final = [
    "root", "uid of a domain", "uid of a mailbox", "uid of a webmail", "uid of nobody",
    "token of all", "token of a domain", "token of a mailbox", "token of a webmail", "no token",
    "session", "proxied chief", "proxied domain", "proxied mailbox", "proxy itself",
]  # fmt: skip
# Of one length each: "missing" is the absent one, as long as "foreign".
PEOPLE: Final = {
    "own": "alice@example.com",
    "same": "bobby@example.com",
    "foreign": "carol@foreign.example",
    "missing": "nobod@foreign.example",
}


@pytest.fixture(scope="module")
def mails(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Mail]]:
    """A journal of mail that each kind received, sent, and got as a Bcc; and what is absent."""
    shelf = Shelf(tmp_path_factory.mktemp("matrix") / "journal")
    mails = {}
    for at, kind in enumerate(("own", "same", "foreign")):
        person, canary = PEOPLE[kind].encode(), f"canary-{kind}".encode()
        told = {
            "subject": canary + b"-subject",
            "message_id": canary + b"-mid@outside.example",
            "client_name": canary + b"-client.example",
            "helo": canary + b"-helo.example",
        }
        for number in range(3):
            made = shelf.put(
                row(person, status=Status.DEFERRED, reply=b"450 4.2.0 " + canary),
                at_us=NOON_US + at * 10_000_000 + number * 1_000_000,
                sender=canary + b"-from@outside.example",
                queue_ids=(canary.upper().replace(b"-", b"") + b"%d" % number,),
                **told,  # type: ignore[arg-type]
            )
        mails[kind] = _mail(kind, made.id, made.queue_ids[0])
        shelf.put(
            row(canary + b"-to@outside.example"), sender=person, login=person,
            at_us=NOON_US + 60_000_000 + at, **told,  # type: ignore[arg-type]
        )  # fmt: skip
    hidden = [
        row(PEOPLE[kind].encode(), reply=f"250 2.0.0 canary-{kind}".encode())
        for kind in ("own", "same", "foreign")
    ]
    shelf.put(*hidden, at_us=NOON_US + 90_000_000, sender=b"news@outside.example")
    shelf.close()
    last = bytes.fromhex(keys.parse_id(mails["foreign"].id).hex())  # type: ignore[union-attr]
    absent = last[:-1] + bytes([last[-1] ^ 1])
    mails["missing"] = _mail("missing", absent, b"CANARYMISSING2")
    return shelf.directory, mails


def _mail(kind: str, id: bytes, queue_id: bytes) -> Mail:
    return Mail(
        kind=kind, address=PEOPLE[kind], id=keys.id_text(id), queue_id=queue_id.decode()
    )  # fmt: skip


@pytest.fixture(scope="module")
def running(mails: tuple[Path, dict[str, Mail]]) -> Iterator[Town]:
    with TemporaryDirectory() as name:  # pytest's own directories let no other user through
        directory = Path(name)
        with traced_at(directory / "traced.sock"), town(directory, mails[0]) as found:
            yield found


def _every(mail: Mail) -> Iterator[tuple[str, str, str, object]]:
    for (method, path), asked in MATRIX.items():
        if path in LATER:
            continue
        for target, body in asked(mail):
            yield method, path, target, body


LATER: Final = {"/logout"}
"""Ends what the other requests need."""


def test_every_route_is_in_the_matrix(tmp_path: Path) -> None:
    settings = Config(
        journal=Journal(directory=tmp_path / "journal"), query=Query(state=tmp_path / "s" / "state")
    )
    routes = set()
    for each in app.make(make(settings))._router.routes:
        assert isinstance(each, Route), each
        routes |= {(method, each.path) for method in (each.methods or ()) if method != "HEAD"}
    assert routes == set(MATRIX)


def banned(mails: dict[str, Mail], role: Role | None, target: str) -> Iterator[bytes]:
    """What an answer to the role must not hold, save for what its request says itself."""
    said = unquote_plus(target).lower()
    for kind in {"own", "same", "foreign"} - SEES[role]:
        mail = mails[kind]
        for word in (mail.canary, mail.address, mail.id, f"canary{kind}"):
            if word.lower() not in said:
                yield word.lower().encode()
    if role is not Role.OPERATOR:
        yield b"/etc/postfix/canary"  # the table of an alias, and a mailbox's place
        yield b"/var/canary"


def check_clean(answer: Answer, words: list[bytes], ids: list[bytes], what: str) -> None:
    text = answer.bytes.lower()
    for word in words:
        assert word not in text, f"{what}: {word!r} in {answer.bytes[:3000]!r}"
    for token in re.findall(rb"[A-Za-z0-9_-]{40,}", answer.bytes):
        if len(token) % 4 == 1:  # no base64 has such a length: a metric's name
            continue
        raw = urlsafe_b64decode(token + b"=" * (-len(token) % 4))
        for hidden in (*words, *ids):
            assert hidden not in raw.lower(), f"{what}: in {token!r}"
            assert hidden not in raw, f"{what}: in {token!r}"


@pytest.mark.parametrize("name", CLIENTS)
def test_nothing_of_others_is_in_any_answer(
    running: Town, mails: tuple[Path, dict[str, Mail]], name: str
) -> None:
    client, kinds = running.clients[name], mails[1]
    hidden = {"own", "same", "foreign"} - SEES[client.role]
    ids = [keys.parse_id(kinds[kind].id) or b"" for kind in hidden]
    for mail in kinds.values():
        for method, path, target, body in _every(mail):
            answer = client.ask(method, target, body)
            words = list(banned(kinds, client.role, target + json.dumps(body)))
            check_clean(answer, words, ids, f"{name}: {method} {target}")
            assert answer.status < 500, (target, answer)
            assert answer.status in _expected(client, method, path, mail.kind), (target, answer)


def _expected(client: Client, method: str, path: str, kind: str) -> set[int]:
    role = client.role
    if path in PUBLIC:
        return {200, 403, 404} if path.startswith(("/link", "/static")) else {200}
    if role is None:
        return {403} if client.name == "uid of nobody" else {401}
    if role is Role.LINKER:
        return {201} if path == "/v1/links" else {403}
    if path == "/v1/links":
        return {201} if role is Role.OPERATOR else {403}
    if path in ("/metrics", "/metrics/domains"):
        return {200} if role is Role.OPERATOR else {403}
    if path in ("/v1/messages/{id:path}", "/message/{id}"):
        return {200} if kind in SEES[role] else {404}
    if path == "/v1/trace":
        return {200} if kind in SEES[role] or role is Role.OPERATOR else {404}
    if path == "/trace":
        return {200, 404}
    if path == "/":
        return {200, 303}
    return {200}


def test_the_canaries_are_there_for_whoever_may_see_them(
    running: Town, mails: tuple[Path, dict[str, Mail]]
) -> None:
    for name in CLIENTS:
        client = running.clients[name]
        if client.role in (None, Role.LINKER):
            continue
        for kind in SEES[client.role]:
            mail = mails[1][kind]
            for target in (f"/v1/messages?recipient={mail.address}", f"/v1/messages/{mail.id}"):
                assert mail.canary.encode() in client.ask("GET", target).body, (name, target)


def same_but_for_names(answer: Answer, mail: Mail) -> tuple[int, bytes]:
    """An answer without what names the request and the moment."""
    text = answer.bytes
    for name in (mail.canary, mail.address, mail.id, mail.queue_id):
        for spelled in (name, quote(name), quote(name, safe="")):
            text = text.replace(spelled.encode(), b"NAME")
    text = re.sub(rb"(?im)^(x-request-id|date|etag): .*$", rb"\1", text)
    text = re.sub(rb'"request_id":"\w+"', b"", text)
    text = re.sub(rb"<small>\w{16}</small>", b"", text)
    text = re.sub(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", b"TIME", text)
    return answer.status, text


@pytest.mark.parametrize(
    "name", ["uid of a domain", "uid of a mailbox", "token of a mailbox", "session"]
)
def test_foreign_and_absent_are_one_answer(
    running: Town, mails: tuple[Path, dict[str, Mail]], name: str
) -> None:
    client, kinds = running.clients[name], mails[1]
    pairs = zip(_every(kinds["foreign"]), _every(kinds["missing"]), strict=True)
    for (method, _, target, body), (_, _, other, other_body) in pairs:
        if (target, body) == (other, other_body):
            continue  # names nobody
        foreign = same_but_for_names(client.ask(method, target, body), kinds["foreign"])
        absent = same_but_for_names(client.ask(method, other, other_body), kinds["missing"])
        assert foreign == absent, (target, other)


def test_a_cursor_of_another_scope_is_refused(running: Town) -> None:
    target = f"/v1/messages?limit=1&since={SINCE}"
    given = json.loads(running.clients["root"].ask("GET", target).body)["next"]
    own = json.loads(running.clients["uid of a mailbox"].ask("GET", target).body)["next"]
    for name, role in ((each, running.clients[each].role) for each in CLIENTS):
        if role not in (Role.DOMAIN, Role.MAILBOX):
            continue
        refused = running.clients[name].ask("GET", f"{target}&cursor={given}")
        assert refused.status == 400, name
    assert running.clients["uid of a mailbox"].ask("GET", f"{target}&cursor={own}").status == 200
    assert running.clients["root"].ask("GET", f"{target}&cursor={own}").status == 400


def test_two_users_of_one_socket_are_two_callers(running: Town) -> None:
    seen = {
        name: json.loads(running.clients[name].ask("GET", "/v1/messages").body)["rows"]
        for name in ("uid of a domain", "uid of a mailbox")
    }
    recipients = {
        name: {row["recipient"] for row in rows if not row["login"]} for name, rows in seen.items()
    }
    assert recipients == {
        "uid of a domain": {"alice@example.com", "bobby@example.com"},
        "uid of a mailbox": {"alice@example.com"},
    }


def test_a_header_or_a_group_of_ones_own_making_opens_nothing(running: Town) -> None:
    client = running.clients["uid of nobody"]
    for headers in (
        {"X-Posttrail-User": "chief"},
        {"X-Posttrail-User": "root", "X-Forwarded-User": "root", "X-Real-IP": "127.0.0.1"},
        {"Authorization": "Basic cm9vdDo="},
        {"Cookie": "posttrail=none"},
    ):
        asked = Client(name="", role=None, connect=client.connect, headers=headers)
        assert asked.ask("GET", "/v1/messages").status == 403
    wrong = Client(
        name="", role=None, connect=client.connect, headers={"Authorization": "Bearer pt_a_b"}
    )
    answer = wrong.ask("GET", "/v1/messages")
    assert answer.status == 401
    assert 'error="invalid_token"' in dict(answer.headers)["www-authenticate"]


def test_two_headers_of_a_proxy_are_none(running: Town) -> None:
    connection = running.clients["proxy itself"].connect()
    connection.putrequest("GET", "/v1/messages")
    for name in ("chief", "chief"):
        connection.putheader("X-Posttrail-User", name)
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


def test_a_link_opens_once_and_only_by_its_button(running: Town) -> None:
    webmail, browser = running.clients["uid of a webmail"], running.clients["no token"]
    made = json.loads(webmail.ask("POST", "/v1/links", {"address": "alice@example.com"}).body)
    path = "/link/" + made["url"].rpartition("/")[2]
    for _ in range(3):  # a scanner, a preview, a user
        shown = browser.ask("GET", path)
        assert shown.status == 200
        assert b"alice@example.com" in shown.body
        assert b"<script" not in shown.body
    assert browser.ask("POST", path, Sec_Fetch_Site="cross-site").status == 403
    assert browser.ask("POST", path).status == 403
    opened = browser.ask("POST", path, Origin=made["url"].partition("/link/")[0])
    assert opened.status == 303
    assert dict(opened.headers)["location"] == "../"
    cookie = dict(opened.headers)["set-cookie"]
    assert "; HttpOnly; SameSite=Lax" in cookie
    for again in (
        browser.ask("POST", path, Sec_Fetch_Site="same-origin"),
        browser.ask("GET", path),
    ):
        assert again.status == 404
    inside = Client(
        name="", role=None, connect=browser.connect, headers={"Cookie": cookie.partition(";")[0]}
    )
    assert inside.ask("GET", "/v1/messages").status == 200
    assert inside.ask("POST", "/logout", Sec_Fetch_Site="cross-site").status == 403
    assert inside.ask("GET", "/v1/messages").status == 200
    assert inside.ask("POST", "/logout", Sec_Fetch_Site="same-origin").status == 200
    assert inside.ask("GET", "/v1/messages").status == 401


def test_a_webmail_makes_links_for_this_server_alone(running: Town) -> None:
    webmail = running.clients["uid of a webmail"]
    for address in (
        "eve@elsewhere.test",
        "@example.com",
        "alice",
        "",
        "a@b\r\n.test",
        "\ud800@a.b",
    ):
        assert webmail.ask("POST", "/v1/links", {"address": address}).status == 422, address
    bodies: list[object] = [
        [],
        {"address": ["a@b"]},
        {"address": "a@b", "scope": "operator"},
        1,
        None,
    ]
    for body in bodies:
        assert webmail.ask("POST", "/v1/links", body).status == 422, body


def test_no_secret_is_in_the_log(running: Town) -> None:
    log = running.service.log.read_text()
    for client in running.clients.values():
        for value in client.headers.values():
            secret = value.rpartition("_")[2].rpartition("=")[2]
            assert len(secret) < 40 or secret not in log
    assert "canary" not in log.lower()


def test_an_operators_look_is_told_to_whom_it_was_at(
    running: Town, mails: tuple[Path, dict[str, Mail]]
) -> None:
    root, alice = running.clients["root"], running.clients["uid of a mailbox"]
    root.ask("GET", f"/v1/messages/{mails[1]['own'].id}")
    newest = json.loads(alice.ask("GET", "/v1/audit?limit=1").body)["entries"][0]
    assert {key: newest[key] for key in ("who", "how", "what", "rows", "owners")} == {
        "who": "root", "how": "peer", "what": "show", "rows": 1, "owners": ["alice@example.com"],
    }  # fmt: skip
    alice.ask("GET", "/v1/messages")  # one's own look is nobody's news
    again = json.loads(alice.ask("GET", "/v1/audit?limit=1").body)["entries"][0]
    assert again == newest


class Counted:
    """A reader that counts what is asked of it, and what it gives."""

    def __init__(self, reader: object) -> None:
        self._reader = reader
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> object:
        found = getattr(self._reader, name)
        if not callable(found):
            return found

        def called(*arguments: object, **named: object) -> object:
            self.calls.append(name)
            return found(*arguments, **named)

        return called


def test_foreign_mail_costs_a_mailbox_no_more_reads_than_absent_mail(tmp_path: Path) -> None:
    from query.local import Local, Within
    from query.scope import Scope

    shelf = Shelf(tmp_path / "journal")
    for number in range(40):
        for name in (b"alice@example.com", b"carol@foreign.example"):
            shelf.put(row(name), at_us=NOON_US + number * 1_000_000, sender=b"x" + name)
    source = shelf.source

    def reads(**filters: str) -> list[str]:
        counted = Counted(source.reader)
        local = Local(counted, journal_key=bytes(32))  # type: ignore[arg-type]
        answers = Within(local, Scope.of(mailboxes=[b"alice@example.com"]))
        assert list(answers.page(filters, limit=50).rows) == []
        return counted.calls

    for filter_name in ("recipient", "address", "login", "sender"):
        foreign = reads(**{filter_name: "carol@foreign.example"})
        assert foreign == reads(**{filter_name: "nobod@foreign.example"}), filter_name
        assert reads(**{filter_name: "xcarol@foreign.example"}) == foreign, filter_name
    shelf.close()


PAIRS: Final = 1000
ROUNDS: Final = 3
"""A round that other programs disturbed is measured again."""


@pytest.mark.soak
@pytest.mark.parametrize(
    "template",
    [
        "/v1/messages/{0.id}", "/v1/messages/{0.queue_id}", "/v1/messages?recipient={0.address}",
        "/v1/messages?address={0.address}", "/message/{0.id}", "/v1/trace?address={0.address}",
    ],
)  # fmt: skip
def test_foreign_and_absent_take_the_same_time(
    running: Town,
    mails: tuple[Path, dict[str, Mail]],
    template: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Medians of 1,000 interleaved pairs over one kept connection."""
    for _ in range(ROUNDS):
        foreign, absent = _medians(running, mails[1], template)
        with capsys.disabled():
            print(
                f"\n{template}: foreign {foreign:.0f} µs, absent {absent:.0f} µs, {foreign / absent:.3f}"
            )
        if 0.9 <= foreign / absent <= 1.1:
            return
    pytest.fail(f"{template}: {foreign / absent:.3f}")


def _medians(running: Town, mails: dict[str, Mail], template: str) -> tuple[float, float]:
    """Microseconds of an answer about foreign and about absent mail."""
    pair = mails["foreign"], mails["missing"]
    times: dict[str, list[float]] = {mail.kind: [] for mail in pair}
    connection = unix(running.service.socket, UIDS["games"])
    for number in range(2 * PAIRS):
        mail = pair[(number + number // 2) % 2]  # neither is always the first
        begun = time.perf_counter()
        connection.request("GET", template.format(mail))
        connection.getresponse().read()
        times[mail.kind].append((time.perf_counter() - begun) * 1e6)
    connection.close()
    return statistics.median(times["foreign"]), statistics.median(times["missing"])


WITHOUT_THE_HOOK: Final = """
from uvicorn.protocols.http.h11_impl import H11Protocol
from query.httpd import main
main.protocol = lambda doors: H11Protocol
main.main()
"""


def test_without_the_hook_nobody_is_believed(mails: tuple[Path, dict[str, Mail]]) -> None:
    with TemporaryDirectory() as name:
        program = ("-c", WITHOUT_THE_HOOK)
        with served(Path(name), mails[0], program=program) as service:
            for headers in ({}, {"X-Posttrail-User": "root"}, {"Authorization": "Bearer pt_a_b"}):
                status, _, body = service.get("/v1/messages", **headers)
                assert status == 403
                assert b"canary" not in body.lower()
            assert service.get("/healthz")[0] == 200


def test_the_last_request_ends_a_session(running: Town) -> None:
    client = running.clients["session"]
    assert client.ask("POST", "/logout").status == 200
    assert client.ask("GET", "/v1/messages").status == 401
    assert session(running.clients["root"], running.clients["no token"])


def test_a_page_of_a_session_has_the_way_out(running: Town) -> None:
    cookie = session(running.clients["root"], running.clients["no token"])
    inside = Client(
        name="", role=None, connect=running.clients["no token"].connect, headers={"Cookie": cookie}
    )
    way_out = b'<form method="post" action="/logout">'
    assert way_out in inside.ask("GET", f"/?since={SINCE}").body
    assert way_out not in running.clients["root"].ask("GET", f"/?since={SINCE}").body
