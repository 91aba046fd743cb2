"""query.trace.redact: the own way is shown, the server's inside and other people's aliases are not."""

from query.trace import redact
from query.trace.document import line
from query.trace.tree import Host, Node, Question, Step, Trace, Verdict

SECRETS = ("hash:/etc/postfix/virtual", "secret@example.net", "archive@example.com", "/bin/secret")


def owns(address: str) -> bool:
    return address in ("alice@example.com", "alice2@example.com")


def traced(root: Node) -> Trace:
    question = Question(address=root.address)
    return Trace(question=question, mta="postfix 3.7.11", as_of="2026-11-25T00:00:00Z", root=root)


def mailbox(address: str) -> Node:
    return Node(
        address=address,
        step=Step.DELIVER,
        router="virtual_user",
        transport="lmtp",
        nexthop="unix:private/secret",
        mailbox="/var/secret/alice/",
        text="virtual_user to local delivery",
        notes=("secret",),
        address_class="virtual_mailbox",
    )


OWN = Node(
    address="alice@example.com",
    step=Step.BCC,
    text="copies go along",
    children=(
        Node(
            address="alice@example.com",
            step=Step.VIRTUAL_ALIAS,
            table=SECRETS[0],
            key="alice@example.com",
            value="alice2@example.com secret@example.net",
            children=(
                mailbox("alice2@example.com"),
                Node(
                    address="secret@example.net",
                    step=Step.LOCAL_ALIAS,
                    children=(
                        Node(
                            address="x@example.net",
                            step=Step.DELIVER,
                            command="/bin/secret",
                            verdict=Verdict.TEMPORARY,
                        ),
                    ),
                ),
            ),
        ),
        Node(address="archive@example.com", step=Step.BCC, value="archive@example.com"),
    ),
)


def test_of_the_own_way_only_what_is_the_readers_is_shown() -> None:
    seen = redact.own(traced(OWN), owns)
    shown = line(seen)
    assert all(secret not in shown for secret in (*SECRETS, "secret", "3.7.11", "bcc"))
    assert "virtual_user to local delivery" in shown
    own, other = seen.root.children
    assert (own.address, own.text) == ("alice2@example.com", "virtual_user to local delivery")
    assert (other.address, other.text) == ("", redact.ELSEWHERE)
    assert other.verdict is Verdict.TEMPORARY


def test_what_dns_says_of_an_address_elsewhere_is_public() -> None:
    host = Host(name="mx.example.org", addresses=("192.0.2.1",), preference=10)
    root = Node(
        address="bob@example.org",
        step=Step.DELIVER,
        router="lookuphost",
        address_class="default",
        transport="smtp",
        nexthop="example.org",
        hosts=(host,),
        text="lookuphost via mx.example.org [192.0.2.1] MX=10",
    )
    seen = redact.public(traced(root))
    assert seen is not None
    assert seen.root.hosts == (host,)
    assert (seen.root.transport, seen.root.nexthop) == (None, None)


def test_an_address_that_this_server_has_a_say_in_is_absent() -> None:
    alias = Node(address="bob@example.org", step=Step.VIRTUAL_ALIAS, table="hash:x", key="bob")
    unknown = Node(
        address="bob@example.com", step=Step.REJECT, verdict=Verdict.REJECTED_AT_SMTP, text="no"
    )
    relay = Node(address="bob@example.org", step=Step.DELIVER, address_class="relay")
    for root in (alias, unknown, relay, mailbox("bob@example.com"), OWN):
        assert redact.public(traced(root)) is None
