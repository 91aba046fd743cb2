"""What setup would change, over settings that a Postfix may have."""

import pytest

from posttrail.postconf import Service, Settings
from query.setup.plan import Plan, endpoint, entry, plan, without
from query.setup.work import back

OURS = "unix:posttrail/milter.sock"
ENTRY = entry(OURS)
DONE = {"enable_long_queue_ids": "yes", "smtpd_client_port_logging": "yes"}


def planned(
    main: dict[str, str],
    written: dict[str, str] | None = None,
    *,
    services: tuple[Service, ...] = (),
    overrides: dict[str, dict[str, str]] | None = None,
    ours: str = OURS,
) -> Plan:
    settings = Settings(main=DONE | main, services=services, overrides=overrides or {})
    return plan(settings, main if written is None else written, ours)


def smtpd(chroot: str = "n") -> Service:
    return Service("smtp", "inet", "n", "-", chroot, "-", "smtpd", ())


def test_a_fresh_postfix_gets_both_lists_and_no_more_where_the_rest_is_right() -> None:
    found = planned({})
    assert [(each.name, each.before, each.after) for each in found.changes] == [
        ("smtpd_milters", None, ENTRY),
        ("non_smtpd_milters", None, ENTRY),
    ]


def test_a_postfix_without_a_switch_is_not_given_it() -> None:
    settings = Settings(main={"enable_long_queue_ids": "yes"})
    names = [each.name for each in plan(settings, {}, OURS).changes]
    assert "smtpd_client_port_logging" not in names


@pytest.mark.parametrize(
    ("value", "after"),
    [
        ("inet:localhost:8891", f"inet:localhost:8891, {ENTRY}"),
        ("a b", f"a, b, {ENTRY}"),
        ("$my_milters", f"$my_milters, {ENTRY}"),
        (f"{ENTRY} inet:localhost:8891", f"inet:localhost:8891, {ENTRY}"),
        ("{ inet:x:1, default_action=tempfail }", f"{{ inet:x:1, default_action=tempfail }}, {ENTRY}"),
        (OURS, ENTRY),
        ("{ " + OURS + ", default_action=tempfail }", ENTRY),
    ],
)  # fmt: skip
def test_ours_comes_last_and_the_others_stay_in_their_order(value: str, after: str) -> None:
    found = planned({"smtpd_milters": value, "non_smtpd_milters": "$smtpd_milters"})
    assert [(each.before, each.after) for each in found.changes] == [(value, after)]


def test_what_another_parameter_brings_is_not_added_again() -> None:
    expanded = {"smtpd_milters": f"a, {ENTRY}", "non_smtpd_milters": f"a, {ENTRY}"}
    found = planned(
        expanded, {"smtpd_milters": "a, $ours", "non_smtpd_milters": "${smtpd_milters}"}
    )
    assert found.changes == ()


def test_a_service_with_milters_of_its_own_is_named() -> None:
    own = {"smtp/inet": {"smtpd_milters": "inet:x:1"}}
    (note,) = planned({}, services=(smtpd(),), overrides=own).notes
    assert note.startswith("smtp/inet in master.cf has smtpd_milters of its own")
    own["smtp/inet"]["receive_override_options"] = "no_milters"
    assert planned({}, services=(smtpd(),), overrides=own).notes == ()


def test_a_chrooted_smtpd_and_a_socket_outside_of_its_root_are_named() -> None:
    outside = "unix:/run/posttrail/milter.sock"
    (note,) = planned({}, services=(smtpd("y"),), ours=outside).notes
    assert "smtp/inet is chrooted" in note
    assert planned({}, services=(smtpd("y"),)).notes == ()


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("unix:/var/spool/postfix/posttrail/milter.sock", OURS),
        ("unix:/run/posttrail/milter.sock", "unix:/run/posttrail/milter.sock"),
        ("inet:8899@127.0.0.1", "inet:127.0.0.1:8899"),
        ("inet:8899", "inet:127.0.0.1:8899"),
    ],
)
def test_the_socket_is_named_as_postfix_does(spec: str, named: str) -> None:
    assert endpoint(spec, "/var/spool/postfix") == named


def test_only_our_own_word_leaves_a_list() -> None:
    assert without(f"a, {ENTRY}, {{ b, x=y }}", OURS) == "a, { b, x=y }"


def test_what_was_set_since_by_somebody_else_is_not_undone() -> None:
    (change,) = planned({"smtpd_milters": "a", "non_smtpd_milters": "$smtpd_milters"}).changes
    assert back((change,), {"smtpd_milters": "b"}, OURS) == ()
    (undone,) = back((change,), {"smtpd_milters": f"a, {ENTRY}, c"}, OURS)
    assert undone.after == "a, c"
