"""``sendmail -bv`` of a real Sendmail as a trace, and what the same Sendmail answers to RCPT."""

import re
import subprocess
from collections.abc import Iterator

import pytest

from posttrail.demo.sinks import all_at
from query.trace.sendmail import is_sendmail
from query.trace.tree import Question, Step, Trace, Verdict, ends
from tests.integration import sendmail_lab, trace_inside
from tests.integration.knot import Knot
from tests.integration.sendmail_lab import BASE, ROOT, SendmailLab
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(sendmail_lab.unpacked()), reason=sendmail_lab.unpacked()),
]
PROGRAM = str(ROOT / "usr/libexec/sendmail/sendmail")
ZONES = {
    "plain.test": "@ MX 10 mx1\n@ MX 20 mx2\nmx1 A 198.51.100.1\nmx2 A 198.51.100.2",
    "implicit.test": "@ A 198.51.100.5",
    "nullmx.test": "@ MX 0 .",
    "nodata.test": '@ TXT "no mail"',
    "broken.test": None,
    "self.test": "@ MX 10 mx.example.com.",
    "xn--bcher-kva.test": "@ MX 10 mx\nmx A 198.51.100.6",
    "example.com": "mx A 127.0.0.1",
}
NAME_SERVER = "127.0.0.79"
LOCAL = "localuser to local delivery"
OK, TEMPORARY, PERMANENT = Verdict.OK, Verdict.TEMPORARY, Verdict.PERMANENT
REFUSED = Verdict.REJECTED_AT_SMTP
IMPLICIT = "lookuphost via implicit.test [198.51.100.5]"
LONG = ", ".join(f"person{number:03}@implicit.test" for number in range(30))
# address: verdict, and of each end its address and how its text begins
CASES: dict[str, tuple[Verdict, dict[str, str]]] = {
    "alice": (OK, {"alice": LOCAL}),
    "Alice@EXAMPLE.com": (OK, {"Alice@EXAMPLE.com": LOCAL}),
    "alice+tag@example.com": (OK, {"alice+tag@example.com": LOCAL}),
    "team@example.com": (OK, {"alice": LOCAL, "bob": LOCAL}),
    "chain": (OK, {"alice": LOCAL, "bob": LOCAL, "x@implicit.test": IMPLICIT}),
    "members": (OK, {"alice": LOCAL, "x@implicit.test": IMPLICIT}),
    "nomembers": (PERMANENT, {":include:/mnt/etc/none": "Cannot open /mnt/etc/none"}),
    "robot": (OK, {'"|/bin/cat > /mnt/robot"': "to the command /bin/cat > /mnt/robot"}),
    "archive": (OK, {"/mnt/mail/archive.mbox": "to the file /mnt/mail/archive.mbox"}),
    "null": (Verdict.DISCARDED, {"/dev/null": "to /dev/null"}),
    "loop1": (Verdict.LOOP, {"loop1": "aliasing/forwarding loop broken"}),
    "badalias": (PERMANENT, {"nemo": "User unknown"}),
    "carol@example.com": (
        OK,
        {
            r"\carol": LOCAL,
            "x@implicit.test": IMPLICIT,
            "|/bin/true": "to the command /bin/true",
        },
    ),
    "nemo@example.com": (REFUSED, {"nemo@example.com": "User unknown"}),
    "sales@example.com": (OK, {"alice": LOCAL}),
    "gone@virt.example": (REFUSED, {"gone@virt.example": "gone fishing"}),
    "any@virt.example": (OK, {"bob": LOCAL}),
    "out@virt.example": (OK, {"x@implicit.test": IMPLICIT}),
    "fan@virt.example": (OK, {"alice": LOCAL, "bob": LOCAL}),
    "loop@virt.example": (Verdict.LOOP, {"loop@virt.example": "rewrite: excessive recursion"}),
    "x@temp.test": (TEMPORARY, {"x@temp.test": "450 later"}),
    "x@nowhere.example": (REFUSED, {"x@nowhere.example": "no such host"}),
    "x@local.test": (OK, {"alice": LOCAL}),
    "x@plain.test": (OK, {"x@plain.test": "lookuphost via mx1.plain.test [198.51.100.1] MX=10"}),
    "x@bracketed.test": (OK, {"x@bracketed.test": "lookuphost via mx2.plain.test [198.51.100.2]"}),
    "x@several.test": (OK, {"x@several.test": "lookuphost via mx2.plain.test [198.51.100.2]"}),
    "x@[198.51.100.9]": (OK, {"x@[198.51.100.9]": "lookuphost via "}),
    "x@bücher.test": (
        OK,
        {"x@bücher.test": "lookuphost via mx.xn--bcher-kva.test [198.51.100.6] MX=10"},
    ),
    "x@nullmx.test": (PERMANENT, {"x@nullmx.test": ""}),
    "x@nx.test": (PERMANENT, {"x@nx.test": ""}),
    "x@nodata.test": (PERMANENT, {"x@nodata.test": ""}),
    "x@broken.test": (TEMPORARY, {"x@broken.test": ""}),
    "x@self.test": (Verdict.LOOP, {"x@self.test": ""}),
    "x%implicit.test@example.com": (OK, {"x@implicit.test": IMPLICIT}),
    '"a,b"@implicit.test': (OK, {'"a,b"@implicit.test': IMPLICIT}),
    "-bp@implicit.test": (OK, {"-bp@implicit.test": IMPLICIT}),
    "a@b@c": (REFUSED, {"a@b@c": "Invalid route address"}),
    "jürgen@example.com": (Verdict.UNKNOWN, {"jürgen@example.com": "sendmail -bv takes no"}),
    "long": (OK, {f"person{number:03}@implicit.test": IMPLICIT for number in range(30)}),
}


class TraceLab(SendmailLab):
    """The lab with tables for every shape of answer."""

    def _write_maps(self) -> None:
        super()._write_maps()
        etc = self.directory / "etc"
        more = {
            "aliases": "chain: team, x@implicit.test\nmembers: :include:/mnt/etc/members\n"
            "nomembers: :include:/mnt/etc/none\nloop1: loop2\nloop2: loop1\nbadalias: nemo\n"
            f"long: {LONG}\n",
            "virtusertable": "gone@virt.example\terror:5.1.1:550 gone fishing\n"
            "@virt.example\tbob\nout@virt.example\tx@implicit.test\nfan@virt.example\tteam\n"
            "loop@virt.example\tloop2@virt.example\nloop2@virt.example\tloop@virt.example\n",
            "mailertable": "temp.test\terror:4.3.0:450 later\nlocal.test\tlocal:alice\n"
            "bracketed.test\tesmtp:[mx2.plain.test]\n"
            "several.test\tesmtp:[mx2.plain.test]:plain.test\n",
            "local-host-names": "virt.example\n",
        }
        for name, text in more.items():
            with (etc / name).open("a") as file:
                file.write(text)
        (etc / "members").write_text("alice\nx@implicit.test\n")
        (etc / "resolv.conf").write_text(
            f"nameserver {NAME_SERVER}\noptions timeout:1 attempts:1\n"
        )
        (etc / "service.switch").write_text("hosts dns files\naliases files\npasswd files\n")


@pytest.fixture(scope="module")
def knot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Knot]:
    place = tmp_path_factory.mktemp("knot")
    with Knot(place, ZONES, address=NAME_SERVER, port=53) as knot:
        yield knot


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, knot: Knot) -> Iterator[TraceLab]:
    sinks = all_at(25)
    with TraceLab(tmp_path_factory.mktemp("sendmail"), sinks=sinks) as lab:
        lab.forward("carol", r"\carol, x@implicit.test, |/bin/true")
        yield lab


def asked(
    lab: TraceLab, knot: Knot, *questions: Question, config: str = f"{BASE}/cf/sendmail.cf"
) -> list[Trace]:
    words = ["sendmail", PROGRAM, config, f"{knot.address}:{knot.port}"]
    return trace_inside.traced(lab.command(), words, list(questions))


@pytest.fixture(scope="module")
def traces(lab: TraceLab, knot: Knot) -> dict[str, Trace]:
    return dict(zip(CASES, asked(lab, knot, *trace_inside.questions(*CASES)), strict=True))


@pytest.mark.parametrize("address", CASES)
def test_each_end_is_what_sendmail_says(address: str, traces: dict[str, Trace]) -> None:
    verdict, texts = CASES[address]
    root = traces[address].root
    found = {end.address: end.text for end in ends(root) if end.step is not Step.SAME}
    assert found.keys() == texts.keys()
    assert [found[each] for each in texts if not found[each].startswith(texts[each])] == []
    assert root.verdict is verdict
    assert root.address == address


def test_what_is_refused_at_smtp_is_refused_at_smtp(
    lab: TraceLab, traces: dict[str, Trace]
) -> None:
    """Our verdict beside the daemon's answer to RCPT; what it defers or takes is not refused."""
    asked_at_the_door = [each for each in CASES if each.isascii() and "@" in each]
    with lab.client() as client:
        client.ehlo()
        codes = {}
        for address in asked_at_the_door:
            client.docmd("MAIL", "FROM:<someone@implicit.test>")
            codes[address] = client.docmd("RCPT", f"TO:<{address}>")
            client.rset()
    refused = {address for address, (code, _) in codes.items() if code >= 550}
    assert refused == {
        each for each in asked_at_the_door if traces[each].root.verdict is REFUSED
    } | {"loop@virt.example"}, codes


@pytest.mark.parametrize("name", ["nullmx", "nx", "nodata", "broken", "self"])
def test_a_mail_meets_what_the_trace_said(
    name: str, lab: TraceLab, traces: dict[str, Trace]
) -> None:
    """Domains without a host: Sendmail's own status of a real mail, from its log."""
    to = f"x@{name}.test"
    subprocess.run(
        lab.command(PROGRAM, f"-C{BASE}/cf/sendmail.cf", "-odi", "-f", "alice@example.com", to),
        input=b"Subject: x\n\nx\n", capture_output=True, check=False, timeout=30,
    )  # fmt: skip
    pattern = re.compile(rf"to={to}, .*dsn=([\d.]+)")
    statuses: list[str] = []

    def told() -> bool:
        statuses[:] = [found[1] for line in lab.lines() if (found := pattern.search(line))]
        return bool(statuses)

    wait_until(told)
    root = traces[to].root
    assert root.enhanced_status == statuses[-1]
    assert (root.verdict is TEMPORARY) is statuses[-1].startswith("4")


def test_the_steps_say_how_it_came(traces: dict[str, Trace]) -> None:
    chain = traces["chain"].root
    assert (chain.step, chain.table) == (Step.LOCAL_ALIAS, "hash:/mnt/etc/aliases")
    assert [(child.address, child.step) for child in chain.children] == [
        ("team", Step.LOCAL_ALIAS), ("x@implicit.test", Step.DELIVER),
    ]  # fmt: skip
    (include,) = traces["members"].root.children
    assert (include.step, include.table) == (Step.INCLUDE, "/mnt/etc/members")
    carol = traces["carol@example.com"].root
    assert (carol.step, carol.table) == (Step.FORWARD, "/mnt/home/carol/.forward")
    assert traces["sales@example.com"].root.step is Step.REWRITE


def test_a_list_that_sendmail_shortens_keeps_its_ends_and_says_so(traces: dict[str, Trace]) -> None:
    assert any("shortened" in note for note in traces["long"].root.notes)


def test_the_hosts_of_dns_are_there_with_their_preference(traces: dict[str, Trace]) -> None:
    trace = traces["x@plain.test"]
    assert trace.mta.startswith("sendmail 8.")
    assert [(each.name, each.preference, each.addresses) for each in trace.root.hosts] == [
        ("mx1.plain.test", 10, ("198.51.100.1",)), ("mx2.plain.test", 20, ("198.51.100.2",)),
    ]  # fmt: skip
    several = traces["x@several.test"].root.hosts
    assert [each.name for each in several] == ["mx2.plain.test", "mx1.plain.test", "mx2.plain.test"]


def test_an_unknown_user_at_pickup_is_returned_not_refused(lab: TraceLab, knot: Knot) -> None:
    (trace,) = asked(lab, knot, Question(address="nemo@example.com", entry="pickup", sender=""))
    assert trace.root.verdict is PERMANENT
    assert trace.root.enhanced_status == "5.1.1"


def test_a_missing_optional_map_makes_every_answer_doubtful(lab: TraceLab, knot: Knot) -> None:
    """Without virtusertable Sendmail takes a hosted address for a user, and says nothing of it."""
    database = lab.directory / "etc/virtusertable.db"
    aside = database.rename(database.with_suffix(".aside"))
    try:
        (trace,) = asked(lab, knot, Question(address="alice@example.com"))
    finally:
        aside.rename(database)
    assert trace.root.verdict is Verdict.UNKNOWN
    assert any("virtusertable.db is missing" in each for each in trace.warnings)
    assert [end.text for end in ends(trace.root)] == [LOCAL]


def test_a_configuration_that_is_not_there_is_unknown_and_says_so(
    lab: TraceLab, knot: Knot
) -> None:
    (trace,) = asked(lab, knot, Question(address="alice"), config=f"{BASE}/none.cf")
    assert trace.root.verdict is Verdict.UNKNOWN
    assert "No such file or directory" in trace.root.text


def test_only_sendmail_is_sendmail() -> None:
    assert is_sendmail(PROGRAM)
    assert not is_sendmail("/usr/sbin/sendmail")  # Postfix's
    assert not is_sendmail("/nonexistent")
