"""Where smtp(8) goes with a next hop: expected values are reasoned from postconf(5) and the RFCs."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from query.trace.dns import Lookup
from query.trace.hosts import MAX_MX, Smtp, Way, way
from query.trace.tree import Verdict
from tests.unit.query.trace.scripted import Said, Scripted

PLAIN: Said = {
    "example.com MX": ["20 backup.example.com", "10 mx.example.com"],
    "mx.example.com A": ["192.0.2.1"],
    "mx.example.com AAAA": ["2001:db8::1"],
    "backup.example.com A": ["192.0.2.2"],
}
V4 = Smtp(inet_protocols=("ipv4",))


def lines(nexthop: str, said: Said, how: Smtp = V4) -> list[str]:
    return list(way(nexthop, how, Scripted(said)).lines)


def ended(nexthop: str, said: Said, how: Smtp = V4) -> tuple[Verdict, str | None]:
    found = way(nexthop, how, Scripted(said))
    return found.verdict, found.enhanced_status


def noted(found: Way, word: str) -> bool:
    return any(word in note for note in found.notes)


def test_mail_hosts_come_by_preference_in_the_familiar_form() -> None:
    assert lines("example.com", PLAIN) == [
        "lookuphost via mx.example.com [192.0.2.1] MX=10",
        "lookuphost via backup.example.com [192.0.2.2] MX=20",
    ]


def test_without_mx_the_name_itself_is_the_host() -> None:
    said = {"a.example.com A": ["192.0.2.3"]}
    assert lines("a.example.com", said) == ["lookuphost via a.example.com [192.0.2.3]"]


def test_brackets_ask_for_no_mx() -> None:
    names = Scripted(PLAIN)
    found = way("[mx.example.com]", V4, names)
    assert found.lines == ("lookuphost via mx.example.com [192.0.2.1]",)
    assert names.asked == ["mx.example.com A"]
    assert found.literal


@pytest.mark.parametrize("text", ["[192.0.2.9]", "192.0.2.9", "[192.0.2.9]:25", "[192.0.2.9]:smtp"])
def test_an_address_literal_asks_nobody(text: str) -> None:
    names = Scripted({})
    assert way(text, V4, names).lines == ("lookuphost via 192.0.2.9 [192.0.2.9]",)
    assert names.asked == []


def test_an_ipv6_literal_needs_the_protocol() -> None:
    assert lines("[ipv6:2001:DB8::0:9]", {}, Smtp()) == ["lookuphost via 2001:db8::9 [2001:db8::9]"]
    assert ended("[ipv6:2001:db8::9]", {}) == (Verdict.PERMANENT, "5.4.4")


def test_another_port_is_shown() -> None:
    found = way("[mx.example.com]:submission", V4, Scripted(PLAIN))
    assert found.text == "lookuphost via mx.example.com [192.0.2.1]:587"
    assert found.hosts[0].port == 587


@pytest.mark.parametrize(
    "text",
    [
        "[mx.example.com",
        "[mx.example.com]x",
        "mx.example.com:nosuchservice",
        ":25",
        "[]",
        "a b..c:0",
    ],
)
def test_a_next_hop_that_cannot_be_read_keeps_the_mail(text: str) -> None:
    assert ended(text, {}) == (Verdict.TEMPORARY, "4.3.0")


@pytest.mark.parametrize("joint", [",", " ", ", ", "\t"])
def test_several_destinations_are_tried_in_order(joint: str) -> None:
    text = joint.join(("[backup.example.com]", "example.com"))
    assert lines(text, PLAIN)[:2] == [
        "lookuphost via backup.example.com [192.0.2.2]",
        "lookuphost via mx.example.com [192.0.2.1] MX=10",
    ]


@pytest.mark.parametrize(
    ("lookup", "verdict", "code"),
    [
        (Lookup.NXDOMAIN, Verdict.PERMANENT, "5.4.4"),
        (Lookup.NODATA, Verdict.PERMANENT, "5.4.4"),
        (Lookup.INVALID, Verdict.PERMANENT, "5.4.4"),
        (Lookup.SERVFAIL, Verdict.TEMPORARY, "4.4.3"),
        (Lookup.REFUSED, Verdict.TEMPORARY, "4.4.3"),
        (Lookup.TIMEOUT, Verdict.TEMPORARY, "4.4.3"),
        (Lookup.DOWN, Verdict.TEMPORARY, "4.4.3"),
        (Lookup.LIMIT, Verdict.UNKNOWN, None),
    ],
)
def test_each_failure_of_the_mx_lookup_has_its_verdict(
    lookup: Lookup, verdict: Verdict, code: str | None
) -> None:
    found = way("example.com", V4, Scripted({"example.com MX": lookup}))
    assert (found.verdict, found.enhanced_status) == (verdict, code)
    assert "example.com" in found.text


def test_ignore_mx_lookup_error_uses_the_address() -> None:
    said: Said = {"example.com MX": Lookup.SERVFAIL, "example.com A": ["192.0.2.7"]}
    how = replace(V4, ignore_mx_lookup_error=True)
    assert lines("example.com", said, how) == ["lookuphost via example.com [192.0.2.7]"]


def test_null_mx_is_permanent() -> None:
    said = {"example.com MX": ["0 ."], "example.com A": ["192.0.2.7"]}
    assert ended("example.com", said) == (Verdict.PERMANENT, "5.1.0")


def test_a_null_mx_beside_others_counts_and_warns() -> None:
    found = way(
        "example.com", V4, Scripted({**PLAIN, "example.com MX": ["10 mx.example.com", "0 ."]})
    )
    assert found.enhanced_status == "5.1.0"
    assert noted(found, "RFC 7505")


def test_a_missing_mail_host_is_passed_over_and_shown() -> None:
    said = {**PLAIN, "example.com MX": ["5 gone.example.net", "10 mx.example.com"]}
    found = way("example.com", V4, Scripted(said))
    assert found.verdict is Verdict.OK
    assert found.text == "lookuphost via mx.example.com [192.0.2.1] MX=10"
    assert "NXDOMAIN" in (found.hosts[0].trouble or "")


@pytest.mark.parametrize(
    ("second", "defer", "ended_so"),
    [
        (Lookup.NXDOMAIN, False, (Verdict.PERMANENT, "5.4.4")),
        (Lookup.NXDOMAIN, True, (Verdict.TEMPORARY, "4.4.4")),
        (Lookup.SERVFAIL, False, (Verdict.TEMPORARY, "4.4.3")),
        (Lookup.LIMIT, False, (Verdict.UNKNOWN, None)),
    ],
)
def test_no_mail_host_with_an_address(
    second: Lookup, defer: bool, ended_so: tuple[Verdict, str | None]
) -> None:
    said: Said = {
        "example.com MX": ["5 gone.example.net", "10 lost.example.net"],
        "lost.example.net A": second,
    }
    assert ended("example.com", said, replace(V4, defer_if_no_mx_address_found=defer)) == ended_so


SELF = replace(V4, own_addresses=frozenset({"192.0.2.2"}))


def test_mail_hosts_behind_ourselves_are_not_used() -> None:
    said = {
        **PLAIN,
        "example.com MX": [
            "10 mx.example.com",
            "20 backup.example.com",
            "20 c.example.com",
            "30 c.example.com",
        ],
        "c.example.com A": ["192.0.2.3"],
    }
    found = way("example.com", SELF, Scripted(said))
    assert found.lines == ("lookuphost via mx.example.com [192.0.2.1] MX=10",)
    assert noted(found, "preference 20")


def test_mail_for_us_alone_loops() -> None:
    said = {**PLAIN, "example.com MX": ["20 backup.example.com"]}
    found = way("example.com", SELF, Scripted(said))
    assert (found.verdict, found.enhanced_status) == (Verdict.LOOP, "5.4.6")
    assert found.text == "mail for example.com loops back to myself"


def test_we_are_the_best_that_can_be_found_but_not_the_best() -> None:
    said = {**PLAIN, "example.com MX": ["10 gone.example.net", "20 backup.example.com"]}
    assert ended("example.com", said, SELF) == (Verdict.TEMPORARY, "4.4.4")


def test_another_port_is_no_loop() -> None:
    assert lines("backup.example.com:2525", PLAIN, SELF) == [
        "lookuphost via backup.example.com [192.0.2.2]:2525"
    ]
    assert ended("[backup.example.com]", PLAIN, SELF) == (Verdict.LOOP, "5.4.6")


def test_a_loop_stops_before_the_fallback() -> None:
    how = replace(SELF, fallback_relay=("[mx.example.com]",))
    assert ended("[backup.example.com]", PLAIN, how) == (Verdict.LOOP, "5.4.6")


def test_best_mx_transport_takes_what_loops() -> None:
    found = way("[backup.example.com]", replace(SELF, best_mx_transport="local"), Scripted(PLAIN))
    assert (found.verdict, found.transport) == (Verdict.OK, "local")


def test_fallback_relays_come_last_and_after_a_name_that_is_not_there() -> None:
    how = replace(V4, fallback_relay=("[backup.example.com]",))
    found = way("[mx.example.com]", how, Scripted(PLAIN))
    assert [host.fallback for host in found.hosts] == [False, True]
    found = way("nowhere.example", how, Scripted(PLAIN))
    assert found.text == "lookuphost via backup.example.com [192.0.2.2]"
    assert noted(found, "NXDOMAIN")


@pytest.mark.parametrize(
    "how",
    [replace(V4, relayhost="[nowhere.example]"), replace(V4, fallback_relay=("[other.example]",))],
)
def test_our_own_relay_that_is_not_there_returns_no_mail(how: Smtp) -> None:
    assert ended("[nowhere.example]", {}, how) == (Verdict.TEMPORARY, "4.3.5")


def test_equal_preferences_are_shown_as_such() -> None:
    said = {**PLAIN, "example.com MX": ["10 mx.example.com", "10 backup.example.com"]}
    assert noted(way("example.com", V4, Scripted(said)), "equal preference")
    how = replace(V4, randomize_addresses=False)
    assert not noted(way("example.com", how, Scripted(said)), "equal preference")


@pytest.mark.parametrize(
    ("protocols", "preference", "addresses"),
    [
        (("ipv4", "ipv6"), "any", ("192.0.2.1", "2001:db8::1")),
        (("ipv4", "ipv6"), "ipv6", ("2001:db8::1", "192.0.2.1")),
        (("ipv6",), "ipv4", ("2001:db8::1",)),
        (("ipv4",), "ipv6", ("192.0.2.1",)),
    ],
)
def test_protocols_and_their_preference(
    protocols: tuple[str, ...], preference: str, addresses: tuple[str, ...]
) -> None:
    how = Smtp(inet_protocols=protocols, address_preference=preference)
    assert way("[mx.example.com]", how, Scripted(PLAIN)).hosts[0].addresses == addresses


def _many(v4: int, v6: int) -> Said:
    return {
        "m.example.com A": [f"192.0.2.{number}" for number in range(v4)],
        "m.example.com AAAA": [f"2001:db8::{number + 1}" for number in range(v6)],
    }


@pytest.mark.parametrize(
    ("v4", "v6", "kept"),
    [(9, 9, (3, 2)), (9, 1, (4, 1)), (1, 9, (1, 4)), (9, 0, (5, 0)), (2, 3, (2, 3))],
)
def test_the_address_limit_is_fair_to_both_protocols(
    v4: int, v6: int, kept: tuple[int, int]
) -> None:
    addresses = way("[m.example.com]", Smtp(), Scripted(_many(v4, v6))).hosts[0].addresses
    assert (sum("." in one for one in addresses), sum(":" in one for one in addresses)) == kept


def test_an_unfair_limit_and_none() -> None:
    unfair = Smtp(balance_inet_protocols=False)
    assert all(
        "." in one
        for one in way("[m.example.com]", unfair, Scripted(_many(9, 9))).hosts[0].addresses
    )
    unlimited = Smtp(mx_address_limit=0)
    assert len(way("[m.example.com]", unlimited, Scripted(_many(9, 9))).hosts[0].addresses) == 18


def test_a_crowd_of_mail_hosts_is_cut() -> None:
    names = Scripted(
        {"example.com MX": [f"{number} mx{number}.example.com" for number in range(1, 40)]}
    )
    found = way("example.com", V4, names)
    assert len(found.hosts) == MAX_MX
    assert noted(found, "39 MX records")


def test_aliases_are_followed_with_a_warning() -> None:
    names = Scripted(
        PLAIN, aliases={"mx.example.com": "real.example.net", "example.com": "e.example.net"}
    )
    found = way("example.com", V4, names)
    assert noted(found, "mail host mx.example.com is an alias (CNAME) of real.example.net")
    assert noted(found, "domain example.com is an alias")


def test_both_forms_of_a_name_in_another_script() -> None:
    said: Said = {
        "xn--bcher-kva.example MX": ["5 xn--mx-fka.example"],
        "xn--mx-fka.example A": ["192.0.2.5"],
    }
    host = way("bücher.example", V4, Scripted(said)).hosts[0]
    assert (host.name, host.name_unicode) == ("xn--mx-fka.example", "möx.example")


def test_the_hosts_file_after_dns_and_instead_of_it() -> None:
    hosts = {"inside.example.com": ["192.0.2.8"], "mx.example.com": ["192.0.2.88"]}
    both = replace(V4, host_lookup=("dns", "native"))
    assert way("inside.example.com", both, Scripted({}, hosts=hosts)).lines == (
        "lookuphost via inside.example.com [192.0.2.8]",
    )
    off = replace(V4, dns_support_level="disabled")
    names = Scripted(PLAIN, hosts=hosts)
    assert way("mx.example.com", off, names).lines == (
        "lookuphost via mx.example.com [192.0.2.88]",
    )
    assert names.asked == []


def test_an_mx_record_that_names_an_address_works_and_is_told() -> None:
    found = way("example.com", V4, Scripted({"example.com MX": ["10 192.0.2.1"]}))
    assert found.text == "lookuphost via 192.0.2.1 [192.0.2.1] MX=10"
    assert noted(found, "against RFC 5321")


TLSA = "3 1 1 " + "ab" * 32
SIGNED: Said = {
    "example.com MX": ["10 mx.example.com"],
    "mx.example.com A": ["192.0.2.1"],
    "_25._tcp.mx.example.com TLSA": [TLSA],
}


def test_tlsa_is_asked_for_where_mx_and_address_are_secure() -> None:
    host = way("example.com", V4, Scripted(SIGNED, secure=True)).hosts[0]
    assert (host.secure, host.tlsa) == (True, (TLSA,))


@pytest.mark.parametrize("where", ["real.example.net", "mx.example.com"])
def test_tlsa_of_an_alias_is_at_its_end_or_at_the_name(where: str) -> None:
    """RFC 7672 2.2.2."""
    said: Said = {
        "example.com MX": ["10 mx.example.com"],
        "mx.example.com A": ["192.0.2.1"],
        f"_25._tcp.{where} TLSA": [TLSA],
    }
    names = Scripted(said, secure=True, aliases={"mx.example.com": "real.example.net"})
    assert way("example.com", V4, names).hosts[0].tlsa == (TLSA,)


@pytest.mark.parametrize("secure", [False, None])
def test_no_tlsa_without_dnssec(secure: bool | None) -> None:
    names = Scripted(SIGNED, secure=secure)
    host = way("example.com", V4, names).hosts[0]
    assert (host.secure, host.tlsa) == (secure, ())
    assert "_25._tcp.mx.example.com TLSA" not in names.asked


def test_dane_keeps_the_mail_where_tlsa_cannot_be_had() -> None:
    dane = replace(V4, tls_security_level="dane", dns_support_level="dnssec")
    broken = {**SIGNED, "_25._tcp.mx.example.com TLSA": Lookup.SERVFAIL}
    found = way("example.com", dane, Scripted(broken, secure=True))
    assert (found.verdict, found.enhanced_status) == (Verdict.TEMPORARY, "4.7.5")
    only = replace(dane, tls_security_level="dane-only")
    assert way("example.com", only, Scripted(SIGNED, secure=False)).enhanced_status == "4.7.5"
    assert way("example.com", dane, Scripted(SIGNED, secure=False)).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("records", "told"), [(["v=STSv1; id=20260101"], True), (["v=spf1 -all"], False), ([], False)]
)
def test_an_mta_sts_record_is_told_of(records: Sequence[str], told: bool) -> None:
    said: Said = {**PLAIN, "_mta-sts.example.com TXT": records or Lookup.NXDOMAIN}
    assert noted(way("example.com", V4, Scripted(said)), "MTA-STS") is told


LMTP = replace(V4, lmtp=True, port=24)


def test_lmtp_goes_to_sockets_and_hosts_without_mx() -> None:
    assert way("unix:/run/dovecot/lmtp", LMTP, Scripted({})).socket == "/run/dovecot/lmtp"
    assert lines("inet:mx.example.com", PLAIN, LMTP) == [
        "lookuphost via mx.example.com [192.0.2.1]:24"
    ]
    assert ended("example.com", PLAIN, LMTP) == (Verdict.PERMANENT, "5.4.4")


def test_without_protocols_nothing_goes() -> None:
    assert ended("example.com", PLAIN, Smtp(inet_protocols=())) == (Verdict.TEMPORARY, "4.4.4")
