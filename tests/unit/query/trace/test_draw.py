"""The drawn tree: the model product's words letter for letter, and nothing that acts on a terminal."""

import io
import os
import pty
from dataclasses import replace

import pytest

from query.trace import draw
from query.trace.tree import Host, Node, Outcome, Question, Source, Step, Trace, Verdict

HOSTILE = "\x1b[2J\u202e\x9b\n[red]evil[/red]\udcff"
BOX = Node(
    address="box@vbox.test", step=Step.DELIVER, source=Source.MTA, router="virtual_user",
    transport="lmtp", nexthop="inet:127.0.0.1:24", text="virtual_user to local delivery",
)  # fmt: skip
REMOTE = Node(
    address="ext@plain.test", step=Step.DELIVER, router="lookuphost",
    text="lookuphost via mail.example.com [192.0.2.1] MX=10",
    hosts=(
        Host(name="mail.example.com", addresses=("192.0.2.1", "2001:db8::1"), preference=10),
        Host(name="mx2.example.com", addresses=("192.0.2.2",), preference=10),
        Host(name="mx3.example.com", addresses=("192.0.2.3",), preference=20),
        Host(name="mx4.example.com", preference=30, trouble="NXDOMAIN"),
    ),
)  # fmt: skip


def trace(root: Node, *warnings: str) -> Trace:
    question = Question(address=root.address)
    return Trace(
        question=question, mta="postfix 3.7.11", as_of="2026-11-23T15:00:00Z", root=root,
        warnings=warnings,
    )  # fmt: skip


def drawn(root: Node, *warnings: str) -> list[str]:
    """The lines, without their guides."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    draw.write(trace(root, *warnings), out)
    out.seek(0)
    return [line.lstrip("│├└─ ").rstrip() for line in out.read().splitlines()]


def test_a_mailbox_has_the_familiar_words_on_a_line_of_their_own() -> None:
    assert "virtual_user to local delivery" in drawn(BOX)
    local = replace(BOX, router="localuser", text="localuser to local delivery")
    assert "localuser to local delivery" in drawn(local)


def test_a_host_has_the_familiar_words_and_each_address_a_line_in_order() -> None:
    lines = drawn(replace(REMOTE, hosts=REMOTE.hosts[2:3]))
    assert "lookuphost via mx3.example.com [192.0.2.3] MX=20" in lines
    vias = [line for line in drawn(REMOTE) if line.startswith("lookuphost via")]
    assert [line.partition("  ")[0] for line in vias] == [
        "lookuphost via mail.example.com [192.0.2.1] MX=10",
        "lookuphost via mail.example.com [2001:db8::1] MX=10",
        "lookuphost via mx2.example.com [192.0.2.2] MX=10",
        "lookuphost via mx3.example.com [192.0.2.3] MX=20",
    ]
    assert ["equal" in line for line in vias] == [True, True, True, False]
    assert "mx4.example.com: NXDOMAIN" in drawn(REMOTE)


def test_without_mx_record_no_preference() -> None:
    node = replace(REMOTE, hosts=(Host(name="mail.example.com", addresses=("192.0.2.1",)),))
    assert "lookuphost via mail.example.com [192.0.2.1]" in drawn(node)


def test_exims_own_router_is_named() -> None:
    node = replace(REMOTE, router="dnslookup", hosts=REMOTE.hosts[2:3])
    node = replace(node, text="dnslookup via mx3.example.com [192.0.2.3] MX=20")
    lines = drawn(node)
    assert lines.count("dnslookup via mx3.example.com [192.0.2.3] MX=20") == 1


def test_the_table_the_key_and_who_says_so() -> None:
    alias = Node(
        address="va@valias.test", step=Step.VIRTUAL_ALIAS, table="hash:/etc/postfix/virtual",
        key="@valias.test", value="box@vbox.test", as_of="2026-11-23T14:59:30Z", children=(BOX,),
        notes=("a fact",),
    )  # fmt: skip
    lines = drawn(alias, "beware")
    assert "virtual alias by hash:/etc/postfix/virtual: @valias.test → box@vbox.test" in lines
    assert "[computed, as of 2026-11-23T14:59:30Z]" in lines
    assert "[mta, transport lmtp, next hop inet:127.0.0.1:24]" in lines
    assert "note: a fact" in lines
    assert "warning: beware" in lines


@pytest.mark.parametrize("verdict", Verdict)
def test_a_verdict_is_a_word_and_a_shape(verdict: Verdict) -> None:
    node = replace(BOX, verdict=verdict, enhanced_status="5.1.1", text="550 5.1.1 unknown user")
    lines = drawn(node)
    face = draw.FACES[verdict]
    assert f"box@vbox.test  {face.icon} {face.word}" in lines
    assert "550 5.1.1 unknown user" in lines  # the code is said once
    assert len({each.icon for each in draw.FACES.values()}) == len(Verdict)


def test_history_and_a_difference_stand_beside_the_end() -> None:
    last = Outcome(
        time="2026-11-23T12:00:00.000Z", status="error", reason="bounced",
        relay="mx.example.org[192.0.2.25]:25", folder=None, id="a4n43",
    )  # fmt: skip
    lines = drawn(replace(BOX, history=(last,), differs="it would be taken"))
    assert any("error: bounced (mx.example.org[192.0.2.25]:25) a4n43" in line for line in lines)
    assert "differs: it would be taken" in lines


def evil() -> Node:
    outcome = Outcome(
        time="2026-11-23T12:00:00.000Z", status="error", reason=HOSTILE, relay=HOSTILE,
        folder=HOSTILE, id=HOSTILE,
    )  # fmt: skip
    host = Host(
        name=HOSTILE, name_unicode=HOSTILE, addresses=(HOSTILE,), preference=1, trouble=HOSTILE
    )
    return Node(
        address=HOSTILE, step=Step.DELIVER, table=HOSTILE, key=HOSTILE, value=HOSTILE,
        as_of=HOSTILE, address_class=HOSTILE, transport=HOSTILE, nexthop=HOSTILE, router=HOSTILE,
        mailbox=HOSTILE, command=HOSTILE, enhanced_status=HOSTILE, text=f"{HOSTILE} via {HOSTILE}",
        hosts=(host, replace(host, addresses=())), notes=(HOSTILE,), history=(outcome,),
        differs=HOSTILE,
    )  # fmt: skip


def test_nothing_hostile_reaches_a_pipe() -> None:
    lines = drawn(replace(evil(), children=(evil(),)), HOSTILE)
    assert all(line.isprintable() for line in lines)
    assert any("[red]evil[/red]" in line for line in lines)  # no markup of ours either


def test_a_terminal_gets_colours_and_only_ours() -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w", encoding="utf-8") as out:
        os.environ.pop("NO_COLOR", None)
        draw.write(trace(evil()), out)
        out.flush()
        shown = os.read(leader, 1 << 16).decode("utf-8", "replace")
    os.close(leader)
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown
    assert "\x9b" not in shown


def test_without_utf8_the_words_remain() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    draw.write(trace(replace(BOX, children=(BOX,))), out)
    out.seek(0)
    assert "box@vbox.test  ok" in out.read()
