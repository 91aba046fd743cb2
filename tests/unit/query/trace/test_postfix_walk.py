"""The walk through Postfix over tables in memory: each row of the measured case table, and more."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from query.trace.tree import Node, Step, Verdict, ends
from tests.unit.query.trace.postfix_in_memory import Postfix, text

BASE = {
    "virtual_alias_domains": "valias.test",
    "virtual_mailbox_domains": "vbox.test",
    "relay_domains": "relay.test",
    "virtual_alias_maps": "hash:virtual",
    "virtual_mailbox_maps": "hash:boxes",
    "virtual_transport": "lmtp:inet:127.0.0.1:24",
}


def postfix(**tables: dict[str, str]) -> Postfix:
    named = {f"hash:{name}": table for name, table in tables.items()}
    return Postfix(main=BASE, tables=named, users=("root", "alice", "bob"))


def steps(node: Node) -> list[str]:
    """The steps from the root along the first children."""
    return [node.step.value, *(steps(node.children[0]) if node.children else [])]


def test_a_system_user_has_a_mailbox() -> None:
    (end,) = postfix().ends("root@local.test")
    assert (end.address, end.mailbox, end.transport) == (
        "root@local.test",
        "/var/mail/root",
        "local",
    )
    assert (end.router, end.text) == ("localuser", "localuser to local delivery")


def test_an_extension_is_not_part_of_the_mailbox_name() -> None:
    (end,) = postfix().ends("root+foo@local.test")
    assert (end.address, end.mailbox) == ("root+foo@local.test", "/var/mail/root")


def test_an_address_without_domain_is_completed() -> None:
    root = postfix().trace("alice").root
    assert steps(root) == ["rewrite", "deliver"]


def test_an_alias_leads_to_a_mailbox_and_to_a_host() -> None:
    lab = postfix(aliases={"team": "alice, far@plain.test"})
    near, far = lab.ends("team@local.test")
    assert near.mailbox == "/var/mail/alice"
    assert (far.address, far.transport, far.nexthop) == ("far@plain.test", "smtp", "plain.test")
    assert far.text == "lookuphost via mx.plain.test [192.0.2.1] MX=10"


VIRTUAL = {"va@valias.test": "mid@valias.test", "mid@valias.test": "box@vbox.test, ext@plain.test"}


def test_virtual_aliases_of_two_levels_fan_out() -> None:
    box, ext = postfix(virtual=VIRTUAL, boxes={"box@vbox.test": "box/"}).ends("va@valias.test")
    assert (box.address, box.transport, box.nexthop) == (
        "box@vbox.test",
        "lmtp",
        "inet:127.0.0.1:24",
    )
    assert (box.router, box.text) == ("virtual_user", "virtual_user to local delivery")
    assert (ext.address, ext.transport) == ("ext@plain.test", "smtp")


def test_an_extension_goes_along_through_virtual_aliases() -> None:
    lab = postfix(virtual=VIRTUAL)
    assert lab.finals("va+tag@valias.test") == ["box+tag@vbox.test", "ext+tag@plain.test"]


def test_a_catch_all_does_not_carry_the_extension() -> None:
    lab = postfix(virtual={"@valias.test": "box@vbox.test"})
    assert lab.finals("nope+x@valias.test") == ["box@vbox.test"]


def test_extensions_stay_behind_where_propagation_is_off() -> None:
    lab = postfix(virtual=VIRTUAL)
    lab.main = {**BASE, "propagate_unmatched_extensions": ""}
    assert lab.finals("va+tag@valias.test") == ["box@vbox.test", "ext@plain.test"]


def test_an_exact_match_of_a_later_table_beats_the_catch_all_of_an_earlier_one() -> None:
    lab = Postfix(
        main={**BASE, "virtual_alias_maps": "hash:virtual, pcre:patterns"},
        tables={
            "hash:virtual": {"@valias.test": "box@vbox.test"},
            "pcre:patterns": {r"^dev-.*@valias\.test$": "dev@plain.test"},
        },
    )
    assert lab.finals("dev-one@valias.test") == ["dev@plain.test"]


def test_a_node_names_table_key_and_value() -> None:
    root = postfix(virtual=VIRTUAL).trace("va+tag@valias.test").root
    assert (root.table, root.key, root.value) == (
        "hash:virtual",
        "va@valias.test",
        "mid@valias.test",
    )
    assert root.step is Step.VIRTUAL_ALIAS


def test_an_answer_kept_from_earlier_says_when_it_was_given() -> None:
    lab = postfix(virtual=VIRTUAL)
    assert lab.trace("va@valias.test").root.as_of is None
    lab.now = 130.0  # the tables answered at 100
    assert lab.trace("va@valias.test").root.as_of == "1970-01-01T00:01:40Z"


def test_canonical_tables_come_before_virtual_aliases() -> None:
    lab = postfix(rcpt={"old@local.test": "va@valias.test"}, virtual=VIRTUAL)
    lab.main = {**BASE, "recipient_canonical_maps": "hash:rcpt"}
    root = lab.trace("old@local.test").root
    assert steps(root)[:3] == ["canonical", "virtual_alias", "virtual_alias"]


def test_a_canonical_table_for_headers_only_leaves_the_envelope() -> None:
    lab = postfix(rcpt={"old@local.test": "new@plain.test"}, aliases={"old": "alice"})
    lab.main = {
        **BASE,
        "recipient_canonical_maps": "hash:rcpt",
        "recipient_canonical_classes": "header_recipient",
    }
    assert lab.finals("old@local.test") == ["alice@local.test"]


def test_a_canonical_domain_keeps_the_user() -> None:
    lab = postfix(rcpt={"@old.test": "@plain.test"})
    lab.main = {**BASE, "canonical_maps": "hash:rcpt", "relay_domains": "old.test"}
    assert lab.finals("ann+x@old.test") == ["ann+x@plain.test"]


def test_masquerading_of_recipients_where_the_class_says_so() -> None:
    lab = postfix()
    lab.main = {
        **BASE,
        "masquerade_classes": "envelope_recipient",
        "masquerade_domains": "!keep.plain.test plain.test",
    }
    assert lab.finals("x@host.plain.test") == ["x@plain.test"]
    assert lab.finals("x@a.keep.plain.test") == ["x@a.keep.plain.test"]


def refused(lab: Postfix, address: str) -> Node:
    trace = lab.trace(address)
    assert trace.root.verdict is Verdict.REJECTED_AT_SMTP
    return next(iter(ends(trace.root)))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nobody@local.test", "User unknown in local recipient table"),
        ("nobody@valias.test", "User unknown in virtual alias table"),
        ("nobody@vbox.test", "User unknown in virtual mailbox table"),
        ("nobody@relay.test", "User unknown in relay recipient table"),
    ],
)
def test_unknown_users_of_each_class_are_refused_at_the_door(address: str, words: str) -> None:
    lab = postfix(boxes={"box@vbox.test": "box/"}, relays={"known@relay.test": "x"})
    lab.main = {**BASE, "relay_recipient_maps": "hash:relays"}
    node = refused(lab, address)
    assert node.text == f"550 5.1.1 <{address}>: Recipient address rejected: {words}"
    assert node.enhanced_status == "5.1.1"


def test_a_known_recipient_of_a_relay_domain_goes_on() -> None:
    lab = postfix(relays={"known@relay.test": "x"})
    lab.main = {**BASE, "relay_recipient_maps": "hash:relays"}
    (end,) = lab.ends("known@relay.test")
    assert (end.transport, end.nexthop) == ("relay", "relay.test")


def test_mail_that_comes_by_pickup_meets_no_door() -> None:
    lab = postfix()
    (end,) = lab.ends("nobody@local.test", entry="pickup")
    assert (end.verdict, end.enhanced_status) == (Verdict.PERMANENT, "5.1.1")


@pytest.mark.parametrize(
    ("transport", "verdict", "status"),
    [
        ("error:5.1.2 closed", Verdict.PERMANENT, "5.1.2"),
        ("discard:silently", Verdict.DISCARDED, "2.0.0"),
        ("retry:4.3.0 later", Verdict.TEMPORARY, "4.3.0"),
    ],
)
def test_transports_that_deliver_nothing(transport: str, verdict: Verdict, status: str) -> None:
    lab = postfix()
    lab.transports = {"x@plain.test": transport}
    (end,) = lab.ends("x@plain.test", entry="pickup")
    assert (end.verdict, end.enhanced_status) == (verdict, status)


def test_a_transport_of_one_user_and_of_a_domain() -> None:
    lab = postfix()
    lab.transports = {
        "one@plain.test": "smtp:[192.0.2.9]:2525",
        "sub.plain.test": "relay:gate.test",
    }
    (one,) = lab.ends("one@plain.test")
    (sub,) = lab.ends("x@sub.plain.test")
    assert (one.transport, one.nexthop) == ("smtp", "[192.0.2.9]:2525")
    assert (sub.transport, sub.nexthop) == ("relay", "gate.test")


def test_commands_and_files_of_an_alias() -> None:
    lab = postfix(
        aliases={"prog": '"|/usr/bin/prog -x one"', "arch": "/var/archive", "nul": "/dev/null"}
    )
    (prog,) = lab.ends("prog@local.test")
    (arch,) = lab.ends("arch@local.test")
    (nul,) = lab.ends("nul@local.test")
    assert (prog.command, arch.mailbox) == ("/usr/bin/prog -x one", "/var/archive")
    assert nul.verdict is Verdict.DISCARDED


def test_commands_are_refused_where_the_setting_leaves_aliases_out() -> None:
    lab = postfix(aliases={"prog": '"|/usr/bin/prog"'})
    lab.main = {**BASE, "allow_mail_to_commands": "forward"}
    (end,) = lab.ends("prog@local.test")
    assert (end.verdict, end.enhanced_status) == (Verdict.PERMANENT, "5.7.1")


def test_members_of_an_include_file() -> None:
    lab = postfix(aliases={"list": ":include:/etc/list"})
    lab.files = {"/etc/list": text("# members\nalice, far@plain.test\nbob@local.test\n", uid=0)}
    assert lab.finals("list@local.test") == ["alice@local.test", "far@plain.test", "bob@local.test"]


def test_an_include_file_that_cannot_be_read_is_unknown() -> None:
    lab = postfix(aliases={"list": ":include:/etc/list"})
    lab.files = {"/etc/list": PermissionError(errno.EACCES, "Permission denied")}
    (end,) = lab.ends("list@local.test")
    assert end.verdict is Verdict.UNKNOWN
    assert "Permission denied" in end.text


def test_an_include_file_that_includes_itself_ends() -> None:
    lab = postfix(aliases={"list": ":include:/etc/list"})
    lab.files = {"/etc/list": text(":include:/etc/list\nalice\n", uid=0)}
    assert lab.finals("list@local.test") == ["list@local.test", "alice@local.test"]


def test_an_alias_loop_is_5_4_6() -> None:
    lab = postfix(aliases={"a": "b", "b": "a"})
    (end,) = lab.ends("a@local.test")
    assert (end.verdict, end.enhanced_status) == (Verdict.LOOP, "5.4.6")
    assert lab.trace("a@local.test").root.verdict is Verdict.LOOP


def test_an_alias_that_names_itself_is_delivered_to_the_user() -> None:
    lab = postfix(aliases={"alice": "alice, far@plain.test"})
    near, far = lab.ends("alice@local.test")
    assert (near.mailbox, far.address) == ("/var/mail/alice", "far@plain.test")


def test_virtual_aliases_that_lead_back_are_a_loop_that_is_not_accepted() -> None:
    lab = postfix(virtual={"a@valias.test": "b@valias.test", "b@valias.test": "a@valias.test"})
    trace = lab.trace("a@valias.test")
    assert trace.root.verdict is Verdict.LOOP
    (end,) = ends(trace.root)
    assert end.enhanced_status == "4.6.0"


def test_a_virtual_alias_may_expand_into_itself_once() -> None:
    lab = postfix(virtual={"a@valias.test": "a@valias.test, x@plain.test"})
    lab.transports = {"a@valias.test": "smtp:there.test"}
    assert lab.finals("a@valias.test") == ["a@valias.test", "x@plain.test"]


def test_too_many_members_of_a_virtual_alias_are_temporary() -> None:
    members = ", ".join(f"m{number}@plain.test" for number in range(12))
    lab = postfix(virtual={"all@valias.test": members})
    lab.main = {**BASE, "virtual_alias_expansion_limit": "10"}
    trace = lab.trace("all@valias.test")
    assert trace.root.verdict is Verdict.TEMPORARY


def test_equal_final_recipients_are_delivered_once() -> None:
    lab = postfix(
        virtual={
            "two@valias.test": "one@valias.test, x@plain.test",
            "one@valias.test": "x@plain.test",
        }
    )
    first, second = lab.ends("two@valias.test")
    assert (first.step, second.step) == (Step.DELIVER, Step.SAME)


def test_copies_of_recipients_and_of_all_mail() -> None:
    lab = postfix(bcc={"alice@local.test": "copy@plain.test"})
    lab.main = {**BASE, "recipient_bcc_maps": "hash:bcc", "always_bcc": "archive@plain.test"}
    assert lab.finals("alice@local.test") == [
        "alice@local.test", "copy@plain.test", "archive@plain.test",
    ]  # fmt: skip


def test_copies_of_a_sender_where_he_is_named() -> None:
    lab = postfix(bcc={"boss@local.test": "copy@plain.test"})
    lab.main = {**BASE, "sender_bcc_maps": "hash:bcc"}
    found = lab.ends("alice@local.test", sender="boss@local.test")
    assert [node.address for node in found] == ["alice@local.test", "copy@plain.test"]
    assert lab.finals("alice@local.test") == ["alice@local.test"]


def test_no_address_mappings_of_one_entry_leaves_the_others_alone() -> None:
    lab = postfix(virtual={"alice@local.test": "far@plain.test"})
    lab.master = {"submission/inet": "smtpd"}
    lab.overrides = {"submission/inet": {"receive_override_options": "no_address_mappings"}}
    assert lab.finals("alice@local.test", entry="submission") == ["alice@local.test"]
    assert lab.finals("alice@local.test") == ["far@plain.test"]


def test_virtual_alias_maps_of_smtpd_are_not_those_of_cleanup() -> None:
    lab = postfix(virtual={"alice@local.test": "far@plain.test"})
    lab.overrides = {"smtp/inet": {"virtual_alias_maps": ""}}
    assert lab.finals("alice@local.test") == ["far@plain.test"]


def test_another_cleanup_service_has_its_own_tables() -> None:
    lab = postfix(virtual={"alice@local.test": "far@plain.test"})
    lab.master = {"submission/inet": "smtpd", "subclean/unix": "cleanup"}
    lab.overrides = {
        "submission/inet": {"cleanup_service_name": "subclean"},
        "subclean/unix": {"virtual_alias_maps": ""},
    }
    assert lab.finals("alice@local.test", entry="submission") == ["alice@local.test"]


def filtered(**more: str) -> Postfix:
    lab = postfix(virtual={"alice@local.test": "far@plain.test"})
    lab.main = {**BASE, "content_filter": "scan:[127.0.0.1]:10024"}
    lab.master = {"scan/unix": "smtp", **dict.fromkeys(more, "smtpd")}
    lab.overrides = {
        name: {"content_filter": "", "receive_override_options": options}
        for name, options in more.items()
    }
    return lab


def test_a_content_filter_is_a_hop_and_the_way_goes_on_behind_it() -> None:
    lab = filtered(**{"127.0.0.1:10025/inet": "no_address_mappings"})
    root = lab.trace("alice@local.test").root
    assert steps(root) == ["virtual_alias", "content_filter", "deliver"]
    hop = root.children[0]
    assert (hop.transport, hop.nexthop) == ("scan", "[127.0.0.1]:10024")


def test_a_filter_without_a_clear_way_back_says_so() -> None:
    lab = filtered(**{"127.0.0.1:10025/inet": "", "127.0.0.1:10026/inet": ""})
    trace = lab.trace("alice@local.test")
    assert trace.root.verdict is Verdict.UNKNOWN
    (hop,) = ends(trace.root)
    assert "127.0.0.1:10026/inet" in hop.notes[0]


def test_a_filter_before_the_queue_is_followed_to_its_way_back() -> None:
    lab = postfix(virtual={"alice@local.test": "far@plain.test"})
    lab.master = {"127.0.0.1:10025/inet": "smtpd"}
    lab.overrides = {"smtp/inet": {"smtpd_proxy_filter": "127.0.0.1:10024"}}
    root = lab.trace("alice@local.test").root
    assert steps(root) == ["content_filter", "virtual_alias", "deliver"]
    assert root.nexthop == "127.0.0.1:10024"


def test_filters_that_send_to_each_other_are_a_loop() -> None:
    lab = postfix()
    lab.main = {**BASE, "content_filter": "smtp:[127.0.0.1]:10025"}
    lab.master = {"127.0.0.1:10025/inet": "smtpd"}
    assert lab.trace("alice@local.test").root.verdict is Verdict.LOOP


def access(value: str, *, first: str = "check_recipient_access hash:access") -> Postfix:
    lab = postfix(access={"alice@local.test": value})
    lab.main = {**BASE, "smtpd_recipient_restrictions": first}
    lab.master = {"scan/unix": "smtp"}
    return lab


def test_an_access_table_refuses_every_client() -> None:
    node = refused(access("REJECT 5.7.9 not for you"), "alice@local.test")
    assert node.text == "554 5.7.9 <alice@local.test>: Recipient address rejected: not for you"
    assert (node.step, node.table, node.key) == (Step.ACCESS, "hash:access", "alice@local.test")


def test_an_access_table_behind_permit_sasl_refuses_outsiders_only() -> None:
    lab = access("REJECT", first="permit_sasl_authenticated, check_recipient_access hash:access")
    root = lab.trace("alice@local.test").root
    assert root.verdict is Verdict.REJECTED_AT_SMTP
    assert [node.step for node in root.children] == [Step.ACCESS, Step.DELIVER]
    assert "has authenticated" in root.text
    assert lab.trace("alice@local.test", entry="submission").root.verdict is Verdict.OK


def test_discard_filter_and_redirect_of_access_tables() -> None:
    assert access("DISCARD").trace("alice@local.test").root.verdict is Verdict.DISCARDED
    (hop,) = access("FILTER scan:[127.0.0.1]:99").ends("alice@local.test")
    assert (hop.step, hop.nexthop) == (Step.CONTENT_FILTER, "[127.0.0.1]:99")
    (end,) = access("REDIRECT far@plain.test").ends("alice@local.test")
    assert end.address == "far@plain.test"


def test_whom_an_access_table_discards_need_not_exist() -> None:
    lab = postfix(access={"nobody-here@local.test": "DISCARD"})
    lab.main = {**lab.main, "smtpd_recipient_restrictions": "check_recipient_access hash:access"}
    assert lab.trace("nobody-here@local.test").root.verdict is Verdict.DISCARDED


def test_an_access_table_behind_the_relay_check_is_seen_by_those_who_may_relay() -> None:
    lab = postfix(
        access={"far@plain.test": "REJECT", "other@plain.test": "REDIRECT bob@local.test"}
    )
    lab.main = {**lab.main, "smtpd_recipient_restrictions": "check_recipient_access hash:access"}
    root = lab.trace("far@plain.test").root
    assert (root.verdict, root.enhanced_status) == (Verdict.REJECTED_AT_SMTP, "5.7.1")
    assert any("a client from outside is refused: 454" in note for note in root.notes)
    (end,) = lab.ends("other@plain.test")
    assert end.mailbox == "/var/mail/bob"


def test_a_source_route_is_dropped() -> None:
    (end,) = postfix().ends("@a.test,@b.test:x@plain.test")
    assert end.address == "x@plain.test"


def test_outsiders_may_not_relay_but_that_is_no_verdict() -> None:
    root = postfix().trace("x@plain.test").root
    assert root.verdict is Verdict.OK
    assert any("454 4.7.1 <x@plain.test>: Relay access denied" in note for note in root.notes)


def test_what_a_permitted_client_hears_decides_for_an_address_that_is_not_ours() -> None:
    lab = postfix(
        access={"shut@plain.test": "550 5.7.1 shut", "away@plain.test": "REDIRECT x@else.test"}
    )
    lab.main = {**BASE, "smtpd_recipient_restrictions": "check_recipient_access hash:access"}
    lab.transports = {"err.test": "error:5.1.2 gone"}
    assert refused(lab, "shut@plain.test").text.startswith("550 5.7.1 <shut@plain.test>:")
    assert refused(lab, "x@err.test").enhanced_status == "5.1.2"
    (end,) = lab.ends("away@plain.test")
    assert end.address == "x@else.test"


def test_a_table_that_cannot_be_read_is_never_no_alias() -> None:
    lab = Postfix(
        main=BASE, tables={"hash:virtual": "unsupported dictionary type: mysql"}, users=("alice",)
    )
    trace = lab.trace("alice@local.test")
    assert trace.root.verdict is Verdict.UNKNOWN
    (end,) = ends(trace.root)
    assert end.text == "hash:virtual: unsupported dictionary type: mysql"


def test_alias_maps_that_cannot_be_read_are_never_no_alias() -> None:
    lab = Postfix(
        main=BASE, tables={"hash:aliases": "open aliases: Permission denied"}, users=("alice",)
    )
    (end,) = lab.ends("alice@local.test", entry="pickup")
    assert (end.verdict, end.table) == (Verdict.UNKNOWN, "hash:aliases")


def test_an_access_table_that_cannot_be_read_leaves_the_door_open_to_doubt() -> None:
    lab = Postfix(
        main={"smtpd_recipient_restrictions": "check_recipient_access hash:access"},
        tables={"hash:access": "open access.db: Permission denied"},
        users=("alice",),
    )
    root = lab.trace("alice@local.test").root
    assert root.verdict is Verdict.UNKNOWN
    assert "open access.db: Permission denied" in root.text
    assert [node.mailbox for node in ends(root)] == ["/var/mail/alice"]


def test_a_forward_file_replaces_the_mailbox() -> None:
    lab = postfix()
    lab.files = {
        "/home/alice/.forward": text('\\\\alice, far@plain.test, "|/usr/bin/vacation alice"\n')
    }
    root = lab.trace("alice@local.test").root
    assert root.step is Step.FORWARD
    assert [node.address for node in ends(root)][1] == "far@plain.test"
    assert list(ends(root))[2].command == "/usr/bin/vacation alice"


def test_a_forward_file_of_an_extension_comes_first() -> None:
    lab = postfix()
    lab.files = {
        "/home/alice/.forward": text("far@plain.test"),
        "/home/alice/.forward+lists": text("lists@plain.test"),
    }
    assert lab.finals("alice+lists@local.test") == ["lists@plain.test"]
    assert lab.finals("alice+else@local.test") == ["far@plain.test"]


def test_a_home_that_cannot_be_entered_leaves_the_answer_open() -> None:
    lab = postfix()
    lab.files = {"/home/alice/.forward": PermissionError(errno.EACCES, "Permission denied")}
    root = lab.trace("alice@local.test").root
    assert (root.verdict, root.step) == (Verdict.UNKNOWN, Step.FORWARD)
    assert root.children[0].mailbox == "/var/mail/alice"


def test_a_forward_file_open_to_all_is_not_read() -> None:
    lab = postfix()
    lab.files = {"/home/alice/.forward": text("far@plain.test", open_to_all=True)}
    (end,) = lab.ends("alice@local.test")
    assert end.mailbox == "/var/mail/alice"
    assert "world writable" in end.notes[0]


def test_forward_files_that_send_to_each_other_are_a_loop() -> None:
    lab = postfix()
    lab.files = {"/home/alice/.forward": text("bob"), "/home/bob/.forward": text("alice")}
    (end,) = lab.ends("alice@local.test")
    assert (end.verdict, end.enhanced_status) == (Verdict.LOOP, "5.4.6")
    assert end.text == "mail forwarding loop for alice@local.test"


def test_an_owner_alias_becomes_the_sender_and_members_are_looked_up_anew() -> None:
    lab = postfix(
        aliases={"list": "bob", "owner-list": "alice"}, virtual={"bob@local.test": "far@plain.test"}
    )
    assert lab.finals("list@local.test") == ["far@plain.test"]
    without = postfix(aliases={"list": "bob"}, virtual={"bob@local.test": "far@plain.test"})
    assert without.finals("list@local.test") == ["bob@local.test"]


def test_delegated_and_unknown_mailboxes() -> None:
    lab = postfix()
    lab.main = {**BASE, "mailbox_transport": "lmtp:unix:private/dovecot-lmtp"}
    (end,) = lab.ends("alice@local.test")
    assert (end.transport, end.nexthop, end.text) == (
        "lmtp", "unix:private/dovecot-lmtp", "localuser to local delivery",
    )  # fmt: skip
    lab.main = {**BASE, "local_recipient_maps": "", "luser_relay": "$user+lost@plain.test"}
    assert lab.finals("gone@local.test") == ["gone+lost@plain.test"]
    lab.main = {**BASE, "local_recipient_maps": "", "fallback_transport": "smtp:old.test"}
    (end,) = lab.ends("gone@local.test")
    assert (end.transport, end.nexthop) == ("smtp", "old.test")


def test_home_mailbox_and_mailbox_command() -> None:
    lab = postfix()
    lab.main = {**BASE, "home_mailbox": "Maildir/"}
    (end,) = lab.ends("alice@local.test")
    assert end.mailbox == "/home/alice/Maildir/"
    lab.main = {**BASE, "mailbox_command": "/usr/bin/procmail"}
    (end,) = lab.ends("alice@local.test")
    assert end.command == "/usr/bin/procmail"


def test_virtual_mailboxes_have_a_path() -> None:
    lab = postfix(boxes={"box@vbox.test": "vbox.test/box/"})
    lab.main = {**BASE, "virtual_transport": "virtual:"}
    (end,) = lab.ends("box@vbox.test")
    assert (end.mailbox, end.text) == (
        "/var/vmail/vbox.test/box/",
        "virtual_user to local delivery",
    )


def test_postmaster_without_alias_is_thrown_away() -> None:
    lab = postfix()
    (end,) = lab.ends("postmaster@local.test")
    assert end.verdict is Verdict.DISCARDED


def test_a_list_beyond_the_bound_ends_with_the_words() -> None:
    lab = postfix(aliases={"all": ", ".join(f"u{number}@plain.test" for number in range(1500))})
    trace = lab.trace("all@local.test")
    assert trace.root.verdict is Verdict.UNKNOWN
    assert any("1000 steps" in node.text for node in ends(trace.root))


def test_quoted_addresses_are_looked_up_with_their_quotes() -> None:
    lab = postfix(virtual={'"b b"@valias.test': "box@vbox.test"})
    assert lab.finals('"b b"@valias.test') == ["box@vbox.test"]


def test_a_sender_dependent_table_without_sender_is_a_warning() -> None:
    lab = postfix()
    lab.main = {**BASE, "sender_dependent_relayhost_maps": "hash:relayhosts"}
    assert any("--from" in warning for warning in lab.trace("x@plain.test").warnings)
    assert not any("--from" in w for w in lab.trace("x@plain.test", sender="a@local.test").warnings)


def test_a_fan_out_that_leads_back_is_a_loop() -> None:
    lab = postfix(
        virtual={"a@valias.test": "x@plain.test, b@valias.test", "b@valias.test": "a@valias.test"}
    )
    assert lab.trace("a@valias.test").root.verdict is Verdict.LOOP


def test_virtual_aliases_deeper_than_we_follow_are_unknown() -> None:
    chain = {f"n{n}@valias.test": f"n{n + 1}@valias.test" for n in range(400)}
    root = postfix(virtual=chain).trace("n0@valias.test").root
    assert root.verdict is Verdict.UNKNOWN
    (end,) = ends(root)
    assert "150 deep" in end.text


def test_aliases_in_each_other_end_where_local_ends_them() -> None:
    chain = {f"n{n}": f"n{n + 1}" for n in range(40)}
    (end,) = postfix(aliases=chain).ends("n0@local.test")
    assert (end.verdict, end.enhanced_status, end.address) == (
        Verdict.LOOP,
        "5.4.6",
        "n25@local.test",
    )


NAMES = [f"n{number}" for number in range(6)]
MEMBER = st.sampled_from(
    [*NAMES, "|cmd", "/file", ":include:/list", "x@plain.test", "v0@valias.test"]
)


@settings(max_examples=60, deadline=None)
@given(
    aliases=st.dictionaries(st.sampled_from(NAMES), st.lists(MEMBER, min_size=1, max_size=4)),
    virtual=st.dictionaries(
        st.sampled_from(["v0", "v1", "v2"]), st.lists(MEMBER, min_size=1, max_size=3)
    ),
    forward=st.lists(MEMBER, max_size=3),
)
def test_every_walk_ends_within_its_bound(
    aliases: dict[str, list[str]], virtual: dict[str, list[str]], forward: list[str]
) -> None:
    lab = postfix(
        aliases={name: ", ".join(members) for name, members in aliases.items()},
        virtual={f"{name}@valias.test": ", ".join(members) for name, members in virtual.items()},
    )
    lab.users = ("n0", "n1")
    lab.files = {
        "/home/n0/.forward": text("\n".join(forward)),
        "/list": text("n1, n2, :include:/list", uid=0),
    }
    for address in ("n0@local.test", "v0@valias.test"):
        trace = lab.trace(address, entry="pickup")
        assert 1 <= len(list(ends(trace.root))) <= 1200
