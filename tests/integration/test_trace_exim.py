"""``exim -bt`` of a real Exim as a trace: every shape of answer, with DNS of our own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from query.trace.tree import Node, Question, Step, Trace, Verdict, ends
from tests.integration import exim_lab, trace_inside
from tests.integration.exim_lab import BASE, NAME_SERVER, PROGRAM, EximLab
from tests.integration.knot import Knot

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(exim_lab.unpacked()), reason=exim_lab.unpacked()),
]

ZONES = {
    "plain.test": "@ MX 10 mx1\n@ MX 20 mx2\nmx1 A 198.51.100.1\nmx1 A 198.51.100.3\nmx2 A 198.51.100.2",
    "implicit.test": "@ A 192.0.2.5",
    "nullmx.test": "@ MX 0 .",
    "noaddress.test": "@ MX 10 none",
    "nodata.test": '@ TXT "no mail"',
    "broken.test": None,
    "self.test": "@ MX 10 mx.example.com.",
    "xn--bcher-kva.test": "@ MX 10 mx\nmx A 192.0.2.6",
    "example.com": "mx A 127.0.0.1",
}
OK, TEMPORARY, PERMANENT = Verdict.OK, Verdict.TEMPORARY, Verdict.PERMANENT
PLAIN_HOSTS = [("mx1.plain.test", 10, {"198.51.100.1", "198.51.100.3"}), ("mx2.plain.test", 20, {"198.51.100.2"})]  # fmt: skip
UNROUTABLE = "Unrouteable address"
# address: verdict, and of each end its address and text
CASES: dict[str, tuple[Verdict, dict[str, str]]] = {
    "alice@example.com": (OK, {"alice@example.com": "localuser to local delivery"}),
    "alice+tag@example.com": (OK, {"alice+tag@example.com": "localuser to local delivery"}),
    "box@virt.example": (OK, {"box@virt.example": "virtual_user to local delivery"}),
    "team@example.com": (
        OK,
        dict.fromkeys(
            ("alice@mx.example.com", "bob@mx.example.com"), "localuser to local delivery"
        ),
    ),
    "sales@virt.example": (OK, {"alice@example.com": "localuser to local delivery"}),
    "fan@virt.example": (
        OK,
        {
            "alice@mx.example.com": "localuser to local delivery",
            "bob@mx.example.com": "localuser to local delivery",
            "x@implicit.test": "lookuphost via implicit.test [192.0.2.5]",
        },
    ),
    "chain": (
        PERMANENT,
        {
            "x@nx.test": UNROUTABLE,
            "alice@mx.example.com": "localuser to local delivery",
            "bob@mx.example.com": "localuser to local delivery",
        },
    ),
    "list@example.com": (
        OK,
        {
            "alice@mx.example.com": "localuser to local delivery",
            "other@implicit.test": "lookuphost via implicit.test [192.0.2.5]",
        },
    ),
    "robot@example.com": (OK, {"|/bin/cat > /dev/null": "to the command /bin/cat > /dev/null"}),
    "robots@example.com": (
        OK,
        {
            "|/bin/cat > /dev/null": "to the command /bin/cat > /dev/null",
            "alice@mx.example.com": "localuser to local delivery",
        },
    ),
    "archive@example.com": (OK, {"/mnt/mail/archive": "to the file /mnt/mail/archive"}),
    "null@example.com": (Verdict.DISCARDED, {"null@example.com": "discarded"}),
    "bad@example.com": (PERMANENT, {"bad@example.com": "no longer here"}),
    "later@example.com": (TEMPORARY, {"later@example.com": "come back"}),
    "loop1@mx.example.com": (Verdict.LOOP, {"loop1@mx.example.com": UNROUTABLE}),
    "nemo@example.com": (PERMANENT, {"nemo@example.com": UNROUTABLE}),
    "nope@virt.example": (PERMANENT, {"nope@virt.example": "No such person at this address."}),
    "x@implicit.test": (OK, {"x@implicit.test": "lookuphost via implicit.test [192.0.2.5]"}),
    "x@nullmx.test": (
        PERMANENT,
        {"x@nullmx.test": "an MX or SRV record indicated no SMTP service"},
    ),
    "x@noaddress.test": (
        PERMANENT,
        {"x@noaddress.test": "all relevant MX records point to non-existent hosts"},
    ),
    "x@nodata.test": (PERMANENT, {"x@nodata.test": UNROUTABLE}),
    "x@nx.test": (PERMANENT, {"x@nx.test": UNROUTABLE}),
    "x@broken.test": (TEMPORARY, {"x@broken.test": "host lookup did not complete"}),
    "x@self.test": (
        TEMPORARY,
        {"x@self.test": "lowest numbered MX record points to local host"},
    ),
    "x@bücher.test": (
        OK,
        {"x@xn--bcher-kva.test": "lookuphost via mx.xn--bcher-kva.test [192.0.2.6] MX=10"},
    ),
    "x@[192.0.2.1]": (OK, {"x@[192.0.2.1]": "literal via [192.0.2.1] [192.0.2.1]"}),
    "smart@example.com": (OK, {"smart@example.com": "smarthost via 192.0.2.7"}),
    "-bV@implicit.test": (OK, {"-bV@implicit.test": "lookuphost via implicit.test [192.0.2.5]"}),
    '"a, b"@implicit.test': (
        OK,
        {'"a, b"@implicit.test': "lookuphost via implicit.test [192.0.2.5]"},
    ),
    "jürgen@example.com": (
        Verdict.UNKNOWN,
        {"jürgen@example.com": "exim -bt takes no address with a local part outside ASCII"},
    ),
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EximLab]:
    place: Path = tmp_path_factory.mktemp("exim")
    with (
        Knot(place / "knot", ZONES, address=NAME_SERVER, port=53),
        EximLab(place / "lab") as lab,
    ):
        yield lab


def asked(lab: EximLab, *questions: Question, config: str = f"{BASE}/exim.conf") -> list[Trace]:
    words = ["exim", str(PROGRAM), config]
    return trace_inside.traced(lab.command(), words, list(questions))


@pytest.fixture(scope="module")
def traces(lab: EximLab) -> dict[str, Trace]:
    return dict(zip(CASES, asked(lab, *trace_inside.questions(*CASES)), strict=True))


@pytest.mark.parametrize("address", CASES)
def test_each_end_is_what_exim_says(address: str, traces: dict[str, Trace]) -> None:
    verdict, texts = CASES[address]
    root = traces[address].root
    assert {end.address: end.text for end in ends(root)} == texts
    assert root.verdict is verdict
    assert root.address == address or root.address in texts


def test_hosts_stand_in_the_order_of_their_preference(lab: EximLab) -> None:
    (trace,) = asked(lab, Question(address="x@plain.test"))
    assert trace.mta == "exim 4.96"
    hosts = trace.root.hosts
    assert [(host.name, host.preference, set(host.addresses)) for host in hosts] == PLAIN_HOSTS
    assert trace.root.text == f"lookuphost via mx1.plain.test [{hosts[0].addresses[0]}] MX=10"


def test_a_manual_route_has_no_preference_and_its_own_port(lab: EximLab) -> None:
    (trace,) = asked(lab, Question(address="x@relay.test"))
    first, second = trace.root.hosts
    assert (first.name, first.preference, first.port) == ("mx1.plain.test", None, 25)
    assert (second.addresses, second.port) == (("192.0.2.9",), 2525)


def test_the_path_may_depend_on_the_sender(lab: EximLab) -> None:
    without, named, null = asked(
        lab,
        Question(address="sendy@example.com"),
        Question(address="sendy@example.com", sender="boss@example.net"),
        Question(address="sendy@example.com", sender=""),
    )
    assert without.root.verdict is null.root.verdict is Verdict.PERMANENT
    assert named.root.text == "bysender to local delivery"
    assert named.root.mailbox == "/run/dovecot/lmtp"


def test_the_chain_of_parents_is_a_tree(traces: dict[str, Trace]) -> None:
    def names(node: Node) -> object:
        return {node.address: [names(child) for child in node.children]} if node.children else node.address  # fmt: skip

    completed = traces["chain"].root
    assert completed.step is Step.REWRITE
    (chain,) = completed.children
    assert chain.step is Step.LOCAL_ALIAS
    assert names(chain) == {
        "chain@mx.example.com": [
            "x@nx.test",
            {"team@mx.example.com": ["bob@mx.example.com", "alice@mx.example.com"]},
        ]
    }


def test_a_configuration_that_is_not_there_is_unknown_and_says_so(lab: EximLab) -> None:
    (trace,) = asked(lab, Question(address="x@plain.test"), config=f"{BASE}/none.conf")
    assert trace.root.verdict is Verdict.UNKNOWN
    assert "non-existent configuration file" in trace.root.text
