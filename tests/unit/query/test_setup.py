"""What setup would change, over settings that a Postfix may have."""

import subprocess
from pathlib import Path

import pytest

from posttrail.errors import UnavailableError
from posttrail.postconf import Service, Settings
from query.setup import kept, proof
from query.setup.plan import Ours, Plan, plan
from query.setup.proof import nobody, prove
from query.setup.work import back

QUEUE = Path("/var/spool/postfix")
SOCKET = f"unix:{QUEUE}/posttrail/milter.sock"
OURS = Ours(socket=SOCKET, queue=QUEUE)
ENTRY = (
    "{ unix:posttrail/milter.sock, default_action=accept, connect_timeout=2s, command_timeout=5s,"
    " content_timeout=5s }"
)
DONE = {"enable_long_queue_ids": "yes", "smtpd_client_port_logging": "yes"}


def planned(
    main: dict[str, str],
    written: dict[str, str] | None = None,
    *,
    services: tuple[Service, ...] = (),
    overrides: dict[str, dict[str, str]] | None = None,
    ours: Ours = OURS,
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
        ("a  b", f"a  b {ENTRY}"),
        ("a,b", f"a,b, {ENTRY}"),
        ("$my_milters", f"$my_milters, {ENTRY}"),
        (f"{ENTRY} inet:localhost:8891", f"inet:localhost:8891, {ENTRY}"),
        ("{ inet:x:1, default_action=tempfail }", f"{{ inet:x:1, default_action=tempfail }}, {ENTRY}"),
        ("unix:posttrail/milter.sock", ENTRY),
        (SOCKET, ENTRY),
        ("{ unix:posttrail/milter.sock, default_action=tempfail }", ENTRY),
        (ENTRY.replace("=5s", "=2m"), ENTRY),
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
    outside = Ours(socket="unix:/run/posttrail/milter.sock", queue=QUEUE)
    (note,) = planned({}, services=(smtpd("y"),), ours=outside).notes
    assert note.startswith("smtp/inet in master.cf: chrooted, and cannot reach /run/posttrail/")
    assert planned({}, services=(smtpd("y"),)).notes == ()


def test_what_was_set_since_by_somebody_else_is_not_undone() -> None:
    (change,) = planned({"smtpd_milters": "a", "non_smtpd_milters": "$smtpd_milters"}).changes
    assert back((change,), {"smtpd_milters": "b"}, OURS) == ()
    (undone,) = back((change,), {"smtpd_milters": f"a, {ENTRY}, c"}, OURS)
    assert undone.after == "a, c"


def test_of_a_list_that_is_ours_alone_nothing_is_left_and_what_somebody_took_out_stays_out() -> (
    None
):
    (change, _) = planned({}).changes
    (undone,) = back((change,), {"smtpd_milters": f"  {ENTRY}"}, OURS)
    assert undone.after is None
    (change,) = planned({"smtpd_milters": "a", "non_smtpd_milters": "$smtpd_milters"}).changes
    (undone,) = back((change,), {"smtpd_milters": ENTRY}, OURS)
    assert undone.after == ""


def test_times_of_the_administrator_that_are_short_stay() -> None:
    own = ENTRY.replace("content_timeout=5s", "content_timeout=9s")
    assert planned({"smtpd_milters": own, "non_smtpd_milters": f"a, {own}"}).changes == ()


def test_the_first_list_may_refer_to_the_second() -> None:
    found = planned({"smtpd_milters": "$non_smtpd_milters", "non_smtpd_milters": "a"}).changes
    assert [(each.name, each.after) for each in found] == [("non_smtpd_milters", f"a, {ENTRY}")]


def test_behind_a_reference_to_us_nobody_is_moved_and_that_is_said() -> None:
    written = {"smtpd_milters": ENTRY, "non_smtpd_milters": "$smtpd_milters, a"}
    found = planned({"smtpd_milters": ENTRY, "non_smtpd_milters": f"{ENTRY}, a"}, written)
    assert found.changes == ()
    (note,) = found.notes
    assert note.startswith("posttrail comes into non_smtpd_milters by another parameter")


def test_the_way_back_from_a_filter_is_named_with_its_command() -> None:
    back_port = Service("127.0.0.1:10026", "inet", "n", "-", "n", "-", "smtpd", ())
    front = {"smtp/inet": {"smtpd_proxy_filter": "127.0.0.1:10026"}}
    (note,) = planned({}, services=(smtpd(), back_port), overrides=front).notes
    assert "postconf -P 127.0.0.1:10026/inet/receive_override_options=no_milters" in note


@pytest.mark.parametrize(
    ("main", "address"),
    [
        ({"mydestination": "hash:/etc/x, $mydomain, mx.example.com"}, "double-bounce@mx.example.com"),
        ({"mydestination": "", "inet_interfaces": "loopback-only"}, "double-bounce@[127.0.0.1]"),
        ({"mydestination": "a.example", "double_bounce_sender": "db"}, "db@a.example"),
    ],
)  # fmt: skip
def test_the_test_mail_is_for_nobody(main: dict[str, str], address: str) -> None:
    assert nobody(Settings(main=main)) == address


def test_a_queue_that_cannot_be_asked_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*command: object, **_: object) -> None:
        raise subprocess.TimeoutExpired(["postqueue"], 30)

    monkeypatch.setattr(proof, "_submit", lambda *_: b"taken by sendmail(1)")
    monkeypatch.setattr(proof, "program", lambda name: name)
    monkeypatch.setattr(subprocess, "run", hangs)
    found = prove(Settings(main={"mydestination": "a.example"}), "/etc/postfix")
    assert not found.flows
    assert found.said == "sendmail(1): Command '['postqueue']' timed out after 30 seconds"


def test_a_record_that_others_may_write_is_not_believed(tmp_path: Path) -> None:
    file = tmp_path / "setup.json"
    kept.save(file, tmp_path, kept.Kept(changes=(), main_cf="a\udce9\r\n"))
    found = kept.load(file, tmp_path)
    assert found is not None
    assert (found.main_cf, file.stat().st_mode & 0o777) == ("a\udce9\r\n", 0o600)
    file.chmod(0o620)
    with pytest.raises(UnavailableError, match="not believed"):
        kept.load(file, tmp_path)


def test_no_link_is_followed_from_a_record(tmp_path: Path) -> None:
    file, target = tmp_path / "setup.json", tmp_path / "target"
    target.write_text("precious")
    file.symlink_to(target)
    with pytest.raises(UnavailableError):
        kept.save(file, tmp_path, kept.Kept(changes=(), main_cf=""))
    assert target.read_text() == "precious"
