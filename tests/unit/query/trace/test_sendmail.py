"""What ``sendmail -v -bv`` prints, as recorded from Sendmail 8.17, and sendmail.cf, made into a tree."""

from pathlib import Path

import pytest

from posttrail.config import Trace as Settings
from posttrail.errors import UnavailableError
from query.trace import sendmail, sendmail_cf
from query.trace.dns import Dns
from query.trace.sendmail import SendmailWalker, is_sendmail
from query.trace.sendmail_hosts import host_list
from query.trace.sendmail_output import Deliverable, parse, split
from query.trace.sendmail_tree import Tree
from query.trace.tree import Node, Question, Step, Verdict, ends, judged

CF = """\
# comment
Cwlocalhost MX
Fw-o /etc/mail/local-host-names
Djmx.example.com
Kvirtuser hash -o /etc/mail/virtusertable
Kaccess hash -T<TMPF> /etc/mail/access
Karith arith
O AliasFile=/etc/mail/aliases, hash:-f /etc/mail/lists
O FallbackMXhost=[relay.example.com]
Mlocal,\t\tP=/usr/bin/procmail, F=lsDFMAw5:/|@qSPfhn9, S=EnvFromL/HdrFromL,
\t\tT=DNS/RFC822/X-Unix,
\t\tA=procmail -t -Y -a $h -d $u
Mesmtp,\t\tP=[IPC], F=mDFMuXa, S=EnvFromSMTP/HdrFromSMTP, L=990,
\t\tA=TCP $h 2525
Mcyrus,\t\tP=[IPC], F=lsDFMnqA5@/:|SmXz, A=FILE /run/lmtp
"""
HEAD = """\
Version 8.17.1.9
 Compiled with: DNSMAP
\t\tXDEBUG

============ SYSTEM IDENTITY (after readcf) ============
      (short domain name) $w = mx
  (canonical domain name) $j = mx.example.com
         (subdomain name) $m = <null>
              (node name) $k = mx
========================================================

"""


def delivered(end: Deliverable) -> Node:
    return Node(address=end.address, step=Step.DELIVER, text=end.mailer)


def tree(said: str, address: str = "top", *, at_smtp: bool = True, code: int = 0) -> Node:
    builder = Tree(parse(said), sendmail_cf.parse(CF), delivered, at_smtp=at_smtp, code=code)
    root = builder.root(address, address)
    assert root is not None
    return judged(root)


def shape(node: Node) -> object:
    return (node.address, [shape(child) for child in node.children]) if node.children else node.address  # fmt: skip


def test_the_head_gives_version_and_host_name() -> None:
    said = parse(HEAD + "a... deliverable: mailer local, user a\n")
    assert (said.version, said.host_name) == ("8.17.1.9", "mx.example.com")
    assert said.ends == [Deliverable("a", "local", "", "a")]


@pytest.mark.parametrize(
    ("line", "end"),
    [
        ("a... deliverable: mailer local, host tag, user a", ("a", "local", "tag", "a")),
        ("a@x.test... deliverable: mailer esmtp, host x.test., user a@x.test",
         ("a@x.test", "esmtp", "x.test.", "a@x.test")),
        ("a@x.test... deliverable: mailer *error*, host 4.3.0, user 450 later",
         ("a@x.test", "*error*", "4.3.0", "450 later")),
        ('"|/bin/cat a, b"... deliverable: mailer prog, user "|/bin/cat a, b"',
         ('"|/bin/cat a, b"', "prog", "", '"|/bin/cat a, b"')),
    ],
)  # fmt: skip
def test_an_end_has_mailer_host_and_user(line: str, end: tuple[str, str, str, str]) -> None:
    assert parse(line).ends == [Deliverable(*end)]


def test_lists_are_parted_outside_quotes_comments_and_brackets() -> None:
    assert split('a, "b, c"@x.test, D E <d@x.test>, f (g, h), |/bin/x, "|/bin/y a, b"') == [
        "a", '"b, c"@x.test', "d@x.test", "f", "|/bin/x", '"|/bin/y a, b"',
    ]  # fmt: skip


def test_aliases_members_and_forwards_become_a_tree() -> None:
    said = """\
top... aliased to team, :include:/etc/members, x@out.test
team... aliased to alice, bob
/home/bob/.forward: line 1: forwarding to \\bob, |/bin/true
:include:/etc/members... including file /etc/members
/etc/members: line 1: sending to alice
alice... duplicate suppressed
/etc/members: line 2: sending to carol
carol... User unknown
|/bin/true... deliverable: mailer prog, user |/bin/true
\\bob... deliverable: mailer local, user \\bob
alice... deliverable: mailer local, user alice
x@out.test... deliverable: mailer esmtp, host out.test., user x@out.test
"""
    root = tree(said)
    assert shape(root) == (
        "top",
        [
            ("team", ["alice", ("bob", ["\\bob", "|/bin/true"])]),
            (":include:/etc/members", ["alice", "carol"]),
            "x@out.test",
        ],
    )
    assert root.verdict is Verdict.PERMANENT  # of carol, a member: nobody is refused at the door
    steps = {node.address: node.step for node in root.children[0].children}
    assert steps == {"alice": Step.DELIVER, "bob": Step.FORWARD}


def test_a_loop_of_aliases_ends() -> None:
    said = """\
top... aliased to two
two... aliased to top
two... duplicate suppressed
aliasing/forwarding loop broken
"""
    root = tree(said, code=64)
    (end,) = ends(root)
    assert (end.address, end.verdict, end.enhanced_status) == ("top", Verdict.LOOP, "5.4.6")


def test_an_alias_to_itself_that_is_a_user_is_delivered() -> None:
    said = "top... aliased to top\ntop... deliverable: mailer local, user top\n"
    assert tree(said).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("said", "at_smtp", "code", "verdict", "status"),
    [
        ("top... User unknown", True, 67, Verdict.REJECTED_AT_SMTP, "5.1.1"),
        ("top... User unknown", False, 67, Verdict.PERMANENT, "5.1.1"),
        ("top... gone", True, 67, Verdict.REJECTED_AT_SMTP, None),
        ("top... Transient parse error", True, 75, Verdict.TEMPORARY, None),
        ("rewrite: excessive recursion (max 50), ruleset parse\ntop... User unknown", True, 70,
         Verdict.LOOP, "5.4.6"),
    ],
)  # fmt: skip
def test_each_fault_has_its_verdict(
    said: str, at_smtp: bool, code: int, verdict: Verdict, status: str | None
) -> None:
    root = tree(said, at_smtp=at_smtp, code=code)
    assert (root.verdict, root.enhanced_status) == (verdict, status)


def test_an_end_whose_place_is_not_known_is_not_lost() -> None:
    said = "top... aliased to alice\nalice... User unknown\nstray... deliverable: mailer local, user stray"
    assert shape(tree(said)) == ("top", ["alice", "stray"])


def test_an_address_of_which_nothing_is_said_is_unknown() -> None:
    said = "top... aliased to alice, bob\nbob... deliverable: mailer local, user bob"
    root = tree(said)
    assert [child.verdict for child in root.children] == [Verdict.UNKNOWN, Verdict.OK]


def test_a_shortened_list_has_its_ends_and_a_note() -> None:
    names = [f"person{number:03}@example.com" for number in range(30)]
    cut = ", ".join(names[:6])[:-4] + "..." + ", ".join(names[25:])
    lines = [f"{each}... deliverable: mailer esmtp, host example.com., user {each}" for each in names]  # fmt: skip
    root = tree(f"top... aliased to {cut}\n" + "\n".join(lines))
    assert sorted(end.address for end in ends(root)) == names
    assert "shortened" in root.notes[0]


def test_another_user_is_a_step_of_its_own() -> None:
    root = tree("top@virt.test... deliverable: mailer esmtp, host o.test., user x@o.test", "top@virt.test")  # fmt: skip
    assert (root.step, shape(root)) == (Step.REWRITE, ("top@virt.test", ["x@o.test"]))


def test_sendmail_cf_has_mailers_maps_names() -> None:
    cf = sendmail_cf.parse(CF)
    assert cf.names == {"localhost", "mx", "mx.example.com"}
    assert cf.name_files == ["/etc/mail/local-host-names"]
    assert (cf.mailers["esmtp"].connects, cf.mailers["esmtp"].port) == (True, 2525)
    assert (cf.mailers["local"].connects, cf.mailers["local"].path) == (False, "/usr/bin/procmail")
    assert (cf.mailers["cyrus"].connects, cf.mailers["cyrus"].socket) == (False, "/run/lmtp")
    assert {(each.name, each.file, each.optional) for each in cf.maps} == {
        ("virtuser", "/etc/mail/virtusertable.db", True),
        ("access", "/etc/mail/access.db", False),
        ("aliases", "/etc/mail/aliases.db", True),
        ("aliases", "/etc/mail/lists.db", True),
    }


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("eq.test.", ["eq.test"]),
        ("[mx.test]", ["[mx.test]"]),
        ("a.test:[b.test],c.test", ["a.test", "[b.test]", "c.test"]),
        ("[IPv6:2001:db8::1]:b.test", ["[IPv6:2001:db8::1]", "b.test"]),
        ("[127.0.0.1]:2526", ["[127.0.0.1]", "2526"]),
        ("", []),
    ],
)
def test_a_list_of_hosts(text: str, hosts: list[str]) -> None:
    assert host_list(text) == hosts


def script(place: Path, text: str) -> str:
    place.write_text(f"#!/bin/sh\n{text}\n")
    place.chmod(0o755)
    return str(place)


def test_a_missing_map_is_named_and_makes_it_unknown(tmp_path: Path) -> None:
    (tmp_path / "cf").write_text(f"Kvirtuser hash -o {tmp_path}/virtusertable\n")
    program = script(tmp_path / "sm", "echo 'a... deliverable: mailer local, user a'")
    walker = SendmailWalker(program, Dns(("127.0.0.1",)), config=str(tmp_path / "cf"))
    trace = walker.trace(Question(address="a"))
    assert trace.root.verdict is Verdict.UNKNOWN
    assert trace.root.text == "localuser to local delivery"
    assert f"{tmp_path}/virtusertable.db is missing" in trace.root.notes[0]


def test_sendmail_that_waits_for_its_name_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sendmail, "TIMEOUT_S", 0.05)
    program = script(tmp_path / "sm", "exec sleep 100")
    trace = SendmailWalker(program, Dns(("127.0.0.1",))).trace(Question(address="a"))
    assert trace.root.verdict is Verdict.UNKNOWN
    assert "gave no answer within 0.05 s" in trace.root.text
    assert "a host name that cannot be qualified" in trace.root.text


def test_the_sender_and_configuration_are_passed_on(tmp_path: Path) -> None:
    program = script(tmp_path / "sm", f'echo "$*" > {tmp_path}/words')
    walker = SendmailWalker(program, Dns(("127.0.0.1",)), config="/none.cf")
    trace = walker.trace(Question(address="-bp@example.com", sender=""))
    words = (tmp_path / "words").read_text()
    assert words == "-C/none.cf -f <> -d0.1 -v -bv -- -bp@example.com\n"
    assert trace.root.text == "Sendmail says only: nothing"


def test_a_command_of_postfix_is_never_taken_for_sendmail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its -bv would send a probe to the address."""
    place = script(tmp_path / "sendmail", f"touch {tmp_path}/ran")
    assert not is_sendmail(place)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sendmail, "_PLACES", ())
    with pytest.raises(UnavailableError, match="no Sendmail here"):
        sendmail.sendmail_walker(Settings(), Dns(("127.0.0.1",)))
    assert not (tmp_path / "ran").exists()
