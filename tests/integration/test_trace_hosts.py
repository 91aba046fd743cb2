"""Where a real smtp(8) goes with a next hop, beside what ``hosts.way`` says of it.

A private Postfix gets its DNS from a private Knot, through a validating Unbound. Every mail host is an address of loopback on which
nobody listens, so that Postfix logs each address that it tries, in its order; where it finds none, its
log has the enhanced status code.
"""

import random
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from posttrail.demo.lab import Lab
from posttrail.demo.sinks import worldwide
from posttrail.demo.stage import folder
from query.trace.dns import Dns
from query.trace.hosts import Smtp, Way, way
from query.trace.tree import Verdict
from tests.integration.conftest import Until
from tests.integration.knot import Knot, Unbound

HOW = Smtp(inet_protocols=("ipv4",), own_addresses=frozenset({"127.0.0.1"}))


@dataclass(frozen=True)
class Case:
    """A next hop and the service it is given to; ``zone`` is that of <name>.test."""

    zone: str | None = ""
    nexthop: str = ""  # "": <name>.test itself
    how: Smtp = HOW
    options: Mapping[str, str] = field(default_factory=dict)  # -o of the service
    program: str = "smtp"


def _mx(*hosts: str) -> str:
    """``10 a 127.0.1.1``: an MX record with its address."""
    words = [host.split() for host in hosts]
    records = [f"@ MX {preference} {name}" for preference, name, *_ in words]
    addresses = [f"{name} A {address}" for _, name, *rest in words for address in rest]
    return "\n".join([*records, *addresses])


def _options(level: str) -> Mapping[str, str]:
    return {"smtp_dns_support_level": "dnssec", "smtp_tls_security_level": level}


TLSA = "\n_25._tcp.a TLSA 3 1 1 " + "ab" * 32
DANE = replace(HOW, dns_support_level="dnssec", tls_security_level="dane")
ONLY = replace(DANE, tls_security_level="dane-only")
SIGNED = ("dane.test", "daneless.test", "danelost.test")
CASES: dict[str, Case] = {
    "plain": Case(_mx("20 b 127.0.1.2", "10 a 127.0.1.1")),
    "equal": Case(_mx("10 a 127.0.1.1", "10 b 127.0.1.2")),
    "implicit": Case("@ A 127.0.1.3"),
    "null": Case("@ MX 0 .\n@ A 127.0.1.4"),
    "mixed": Case("@ MX 0 .\n" + _mx("10 a 127.0.1.5")),
    "nodata": Case("@ TXT x"),
    "broken": Case(None),
    "first": Case("@ MX 5 nowhere.invalid.\n" + _mx("10 a 127.0.1.6")),
    "none": Case("@ MX 5 nowhere.invalid.\n@ MX 10 lost"),
    "soft": Case("@ MX 5 nowhere.invalid.\n@ MX 10 mx.broken.test."),
    "softer": Case("@ MX 5 mx.broken.test.\n@ MX 10 nowhere.invalid."),
    "alias": Case("www CNAME real\nreal MX 5 a\na A 127.0.1.7", "www.alias.test"),
    "target": Case("@ MX 5 c\nc CNAME a\na A 127.0.1.8"),
    "numeric": Case("@ MX 5 127.0.1.9."),
    "self": Case(_mx("10 a 127.0.0.1")),
    "backup": Case(_mx("10 a 127.0.1.10", "20 b 127.0.0.1", "20 c 127.0.1.11", "30 d 127.0.1.12")),
    "primary": Case("@ MX 5 nowhere.invalid.\n" + _mx("20 b 127.0.0.1")),
    "nowhere": Case(nexthop="nowhere.invalid"),
    "brackets": Case(_mx("10 a 127.0.1.13"), "[a.brackets.test]"),
    "unknown": Case(nexthop="[unknown.invalid]"),
    "literal": Case(nexthop="[127.0.1.14]"),
    "port": Case(_mx("10 a 127.0.1.15"), "port.test:2"),
    "ownport": Case(_mx("10 a 127.0.0.1"), "ownport.test:2"),
    "service": Case(_mx("10 a 127.0.1.16"), "[a.service.test]:submission"),
    "several": Case(_mx("10 a 127.0.1.17", "20 b 127.0.1.18"), "[nowhere.invalid],[b.several.test],several.test"),
    "bad": Case(nexthop="[bad.test"),
    "bücher": Case(),
    "back": Case(
        "f A 127.0.1.19",
        "nowhere.invalid",
        replace(HOW, fallback_relay=("[f.back.test]",)),
        {"smtp_fallback_relay": "[f.back.test]"},
    ),
    "backless": Case(
        "",
        "nowhere.invalid",
        replace(HOW, fallback_relay=("[f.backless.test]",)),
        {"smtp_fallback_relay": "[f.backless.test]"},
    ),
    "loopback": Case(
        _mx("10 a 127.0.0.1") + "\nf A 127.0.1.20",
        "loopback.test",
        replace(HOW, fallback_relay=("[f.loopback.test]",)),
        {"smtp_fallback_relay": "[f.loopback.test]"},
    ),
    "relayed": Case(
        "", "[relayed.invalid]", replace(HOW, relayhost="[relayed.invalid]"), {"relayhost": "[relayed.invalid]"}
    ),
    "ignore": Case(
        None, "mx.broken.test", replace(HOW, ignore_mx_lookup_error=True), {"ignore_mx_lookup_error": "yes"}
    ),
    "later": Case(
        "@ MX 5 nowhere.invalid.",
        "later.test",
        replace(HOW, defer_if_no_mx_address_found=True),
        {"smtp_defer_if_no_mx_address_found": "yes"},
    ),
    "limit": Case(
        _mx("10 a 127.0.1.21", "20 b 127.0.1.22", "30 c 127.0.1.23"),
        "limit.test",
        replace(HOW, mx_address_limit=2),
        {"smtp_mx_address_limit": "2"},
    ),
    "six": Case(
        "@ MX 10 a\na A 127.0.1.24\na AAAA ::1",
        "six.test:2",
        replace(HOW, inet_protocols=("ipv4", "ipv6"), address_preference="ipv6"),
        {"inet_protocols": "all", "smtp_address_preference": "ipv6"},
    ),
    "native": Case(
        "",
        "localhost:2",
        replace(HOW, dns_support_level="disabled"),
        {"smtp_dns_support_level": "disabled"},
    ),
    "dane": Case(_mx("10 a 127.0.1.27") + TLSA, "dane.test", DANE, _options("dane")),
    "daneless": Case(_mx("10 a 127.0.1.28"), "daneless.test", DANE, _options("dane")),
    "unsigned": Case(_mx("10 a 127.0.1.31") + TLSA, "unsigned.test", ONLY, _options("dane-only")),
    "danelost": Case(
        _mx("10 a 127.0.1.29") + "\n_25._tcp.a CNAME mx.broken.test.", "danelost.test", DANE, _options("dane")
    ),
    "lmtp": Case(
        _mx("10 a 127.0.1.25") + "\n@ A 127.0.1.26", "inet:lmtp.test", replace(HOW, lmtp=True, port=24), program="lmtp"
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Fate:
    """What Postfix logged: each address it tried, and the end of it."""

    tried: tuple[str, ...]
    dsn: str
    status: str
    line: str


class LabWithDns(Lab):
    """The private Postfix with a resolv.conf(5) of its own, in mount namespaces of its own."""

    resolv = Path("/etc/resolv.conf")

    @staticmethod
    def _run(*command: str | Path, check: bool = False) -> subprocess.CompletedProcess[str]:
        if command[0] == "postfix":
            script = f'mount --bind {LabWithDns.resolv} /etc/resolv.conf && exec "$@"'
            command = ("unshare", "-m", "sh", "-c", script, "sh", *command)
        return Lab._run(*command, check=check)


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unbound]:
    zones = {f"{name}.test": case.zone for name, case in CASES.items() if name.isascii()}
    zones["xn--bcher-kva.test"] = _mx("10 a 127.0.1.30")
    address = f"127.{random.randint(10, 250)}.{random.randint(1, 250)}.53"
    with (
        Knot(tmp_path_factory.mktemp("knot"), zones, signed=SIGNED) as knot,
        Unbound(tmp_path_factory.mktemp("unbound"), knot, address=address, port=53) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def fates(
    resolver: Unbound, tmp_path_factory: pytest.TempPathFactory, until: Until
) -> dict[str, Fate]:
    """One mail for each case, and what became of it."""
    LabWithDns.resolv = tmp_path_factory.mktemp("etc") / "resolv.conf"
    LabWithDns.resolv.write_text(f"nameserver {resolver.address}\noptions timeout:2 attempts:1\n")
    settings = (
        *("smtp_dns_support_level = enabled", "smtp_host_lookup = dns", "lmtp_host_lookup = dns"),
        *("lmtp_dns_support_level = enabled", "smtp_bind_address =", "smtputf8_enable = yes"),
    )
    sinks = dict.fromkeys(worldwide(), 1)
    with folder(None, keep=False) as directory:
        lab = LabWithDns(directory, sinks=sinks, milter=False, settings=settings)
        lab.prepare()
        _add_services(directory / "etc")
        lab.start()
        try:
            recipients = [f"x@{place}.example" for place in range(len(CASES))]
            lab.sendmail(b"Subject: x\n\nx\n", sender="", recipients=recipients)
            until(lambda: len(_read(lab.log.read_text("utf-8"))) == len(CASES))
            fates = _read(lab.log.read_text("utf-8"))
            waiting = {one["address"] for entry in lab.pending() for one in entry["recipients"]}
        finally:
            lab.stop()
        kept = {name for place, name in enumerate(CASES) if recipients[place] in waiting}
        assert kept == {name for name, fate in fates.items() if fate.status == "deferred"}
        return fates


def _add_services(etc: Path) -> None:
    """A service for each case, and the route to it."""
    services, routes = [], []
    for place, (name, case) in enumerate(CASES.items()):
        options = {"syslog_name": f"postfix/c{place}", **case.options}
        services.append(f"c{place} unix - - n - - {case.program}\n")
        services += (f"  -o {key}={value}\n" for key, value in options.items())
        routes.append(f"{place}.example c{place}:{case.nexthop or f'{name}.test'}\n")
    with (etc / "master.cf").open("a") as master:
        master.writelines(services)
    (etc / "transport").write_text("".join(routes), "utf-8")


_TRIED = re.compile(r"postfix/c(\d+)/\w+\[\d+\]: connect to \S+\[(\S+)\]:\d+: Connection refused")
# Of a next hop that it cannot read the agent dies; the queue manager keeps the mail, and tries again.
_DIED = re.compile(r"postfix/c(\d+)/\w+\[\d+\]: fatal: ")
_ENDED = re.compile(r"to=<x@(\d+)\.example>.* dsn=([\d.]+), status=(\w+) ")


def _read(log: str) -> dict[str, Fate]:
    names = list(CASES)
    tried: dict[str, list[str]] = {name: [] for name in names}
    fates = {}
    for line in log.splitlines():
        if found := _TRIED.search(line):
            tried[names[int(found[1])]].append(found[2])
        elif found := _ENDED.search(line):
            fates[names[int(found[1])]] = (found[2], found[3], line)
        elif found := _DIED.search(line):
            fates[names[int(found[1])]] = ("4.3.0", "deferred", line)
    return {name: Fate(tuple(tried[name]), *fate) for name, fate in fates.items()}


def _way(name: str, resolver: Unbound) -> Way:
    case = CASES[name]
    return way(case.nexthop or f"{name}.test", case.how, Dns([resolver.address]).question())


@pytest.mark.parametrize("name", CASES)
def test_smtp_goes_where_the_trace_says(
    name: str, resolver: Unbound, fates: dict[str, Fate]
) -> None:
    found, fate = _way(name, resolver), fates[name]
    told = tuple(one for host in found.hosts for one in host.addresses)
    if any("equal preference" in note for note in found.notes):
        told, fate = tuple(sorted(told)), replace(fate, tried=tuple(sorted(fate.tried)))
    assert told == fate.tried, fate.line
    if found.verdict is Verdict.OK:
        assert (fate.dsn, fate.status) == ("4.4.1", "deferred"), fate.line
        return
    bounced = found.verdict in (Verdict.PERMANENT, Verdict.LOOP)
    assert (found.enhanced_status, "bounced" if bounced else "deferred") == (
        fate.dsn,
        fate.status,
    ), fate.line
