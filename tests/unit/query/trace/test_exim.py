"""What ``exim -bt`` prints, as recorded from Exim 4.96, made into a tree."""

from pathlib import Path

import pytest

from posttrail.config import Trace as Settings
from posttrail.errors import UnavailableError, UsageError
from query.trace import exim
from query.trace.dns import Dns
from query.trace.exim import EximWalker, tree
from query.trace.exim_output import Fate, parse, transports
from query.trace.single import single
from query.trace.tree import Host, Question, Source, Step, Verdict, ends, judged

CHAIN = """\
x@nx.test is undeliverable: Unrouteable address
    <-- chain@example.com
bob@example.com
    <-- team@example.com
    <-- chain@example.com
  router = localuser, transport = local_delivery
someone@plain.test
    <-- chain@example.com
  router = lookuphost, transport = remote_smtp
  host mx1.plain.test [192.0.2.3]    MX=10
  host mx1.plain.test [198.51.100.1] MX=10 port=26
  host mx2.plain.test [unknown]      MX=20 ** unusable **
"""
LOCAL = {"local_delivery": {"driver": "appendfile", "file": "/var/mail/$local_part"}}


def test_a_chain_of_parents_becomes_a_tree() -> None:
    root = judged(tree("chain@example.com", parse(CHAIN), LOCAL))
    assert root.step is Step.LOCAL_ALIAS
    assert root.verdict is Verdict.PERMANENT
    assert [child.address for child in root.children] == [
        "x@nx.test", "team@example.com", "someone@plain.test",
    ]  # fmt: skip
    assert {end.address: (end.verdict, end.text) for end in ends(root)} == {
        "x@nx.test": (Verdict.PERMANENT, "Unrouteable address"),
        "bob@example.com": (Verdict.OK, "localuser to local delivery"),
        "someone@plain.test": (Verdict.OK, "lookuphost via mx1.plain.test [192.0.2.3] MX=10"),
    }
    assert all(end.source is Source.MTA for end in ends(root))


def test_each_host_has_its_addresses_port_and_trouble() -> None:
    (*_, remote) = ends(tree("chain@example.com", parse(CHAIN), LOCAL))
    assert remote.hosts == (
        Host(name="mx1.plain.test", addresses=("192.0.2.3",), preference=10),
        Host(name="mx1.plain.test", addresses=("198.51.100.1",), preference=10, port=26),
        Host(name="mx2.plain.test", preference=20, trouble="** unusable **"),
    )


def test_a_mailbox_that_exim_expands_at_delivery_is_a_note() -> None:
    (_, bob, _) = ends(tree("chain@example.com", parse(CHAIN), LOCAL))
    assert bob.mailbox is None
    assert bob.notes == ("transport local_delivery has /var/mail/$local_part",)


def test_an_unqualified_address_is_completed_first() -> None:
    said = "bob@mx.example.com\n    <-- team@mx.example.com\n  router = r, transport = t\n"
    root = tree("team", parse(said), {})
    assert (root.step, root.text) == (Step.REWRITE, "completed to team@mx.example.com")
    assert [child.step for child in root.children] == [Step.LOCAL_ALIAS]


@pytest.mark.parametrize(
    ("said", "step", "verdict", "text"),
    [
        ("mail to a@example.com is discarded", Step.DISCARD, Verdict.DISCARDED, "discarded"),
        ("a@example.com is undeliverable: an MX or SRV record indicated no SMTP service",
         Step.REJECT, Verdict.PERMANENT, "an MX or SRV record indicated no SMTP service"),
        ("a@example.com is undeliverable", Step.REJECT, Verdict.PERMANENT, "undeliverable"),
        ("a@example.com is undeliverable: one\ntwo", Step.REJECT, Verdict.PERMANENT, "one two"),
        ("a@example.com cannot be resolved at this time: host lookup did not complete",
         Step.REJECT, Verdict.TEMPORARY, "host lookup did not complete"),
        ("a@example.com is undeliverable: Unrouteable address\n    <-- b@example.com\n"
         "    <-- a@example.com", Step.REJECT, Verdict.LOOP, "Unrouteable address"),
        ("a@example.com\n  router = virtual_user, transport = virtual_userdelivery",
         Step.DELIVER, Verdict.OK, "virtual_user to transport virtual_userdelivery"),
    ],
)  # fmt: skip
def test_each_fate_has_its_verdict(said: str, step: Step, verdict: Verdict, text: str) -> None:
    root = judged(tree("a@example.com", parse(said), {}))
    (end,) = ends(root)
    assert (end.step, root.verdict, end.text) == (step, verdict, text)


def test_a_pipe_stands_below_the_alias_that_names_it() -> None:
    said = (
        "robot@example.com -> |/bin/cat -x\n  transport = address_pipe\n"
        "alice@example.com\n    <-- robot@example.com\n    <-- all@example.com\n"
        "  router = localuser, transport = local_delivery\n"
    )
    root = tree("all@example.com", parse(said), LOCAL)
    (robot,) = root.children
    assert {child.address for child in robot.children} == {"|/bin/cat -x", "alice@example.com"}
    assert {child.command for child in robot.children} == {"/bin/cat -x", None}


def test_a_quoted_address_does_not_forge_a_pipe() -> None:
    said = '"x -> |y"@example.com\n  router = localuser, transport = local_delivery\n'
    (answer,) = parse(said)
    assert (answer.fate, answer.address) == (Fate.ROUTED, '"x -> |y"@example.com')


def test_options_of_transports_are_read() -> None:
    said = "\na transport:\nno_body_only\nbatch_id = \ndriver = lmtp\nsocket = /run/l\n\nb transport:\ndriver = smtp\n"
    assert transports(said) == {
        "a": {"driver": "lmtp", "socket": "/run/l"},
        "b": {"driver": "smtp"},
    }


@pytest.mark.parametrize(
    "bad",
    ["", "a,b", "a, b@example.com", "<a@example.com>", "a@example.com\nb", "x (y)", "a b@example.com",
     "list:a;", "a@b,c", "a@[192.0.2.1", "@example.com", '"a', ":include:/etc/passwd"],
)  # fmt: skip
def test_what_is_no_single_address_is_not_asked(bad: str) -> None:
    with pytest.raises(UsageError):
        single(bad)


@pytest.mark.parametrize(
    ("address", "handed"),
    [
        ("a@example.com", "a@example.com"),
        ("a", "a"),
        ('"a, b"@example.com', '"a, b"@example.com'),
        ("x@bücher.example", "x@xn--bcher-kva.example"),
        ("x@[IPv6:2001:db8::1]", "x@[IPv6:2001:db8::1]"),
    ],
)
def test_an_address_is_handed_over_in_ascii(address: str, handed: str) -> None:
    assert single(address) == handed


def script(place: Path, text: str) -> str:
    place.write_text(f"#!/bin/sh\n{text}\n")
    place.chmod(0o755)
    return str(place)


def test_what_is_not_understood_is_unknown_with_the_words(tmp_path: Path) -> None:
    program = script(tmp_path / "exim", "echo exim: permission denied >&2; exit 1")
    trace = EximWalker(program).trace(Question(address="a@example.com"))
    assert trace.root.verdict is Verdict.UNKNOWN
    assert trace.root.text == "Exim says only: exim: permission denied"
    assert trace.mta == "exim"


def test_a_command_that_hangs_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exim, "TIMEOUT_S", 0.05)
    program = script(tmp_path / "exim", '[ "$1" = -bV ] || exec sleep 100')
    trace = EximWalker(program).trace(Question(address="a@example.com"))
    assert trace.root.verdict is Verdict.UNKNOWN
    assert "gave no answer within 0.05 s" in trace.root.text


def test_the_sender_and_configuration_are_passed_on(tmp_path: Path) -> None:
    program = script(tmp_path / "exim", f'echo "$*" >> {tmp_path}/words')
    walker = EximWalker(program, config="/etc/exim.conf")
    walker.trace(Question(address="-bV@example.com", sender=""))
    first, _ = (tmp_path / "words").read_text().splitlines()
    assert first == "-C /etc/exim.conf -f <> -bt -- -bV@example.com"


def test_no_exim_here_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exim, "exim_program", lambda: None)
    with pytest.raises(UnavailableError, match="no Exim here"):
        exim.exim_walker(Settings(), Dns(()))
