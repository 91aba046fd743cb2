"""The trace's DNS against real servers: Knot with zones of every kind, Unbound before it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from query.trace.dns import Dns, Lookup, Lookups
from query.trace.hosts import Smtp, Way, way
from query.trace.tree import Verdict
from tests.integration.knot import Knot, Unbound

TLSA = "3 1 1 " + "ab" * 32
ZONES: dict[str, str | None] = {
    "plain.test": "@ MX 20 b\n@ MX 10 a\na A 192.0.2.1\na AAAA 2001:db8::1\nb A 192.0.2.2\n"
    "implicit A 192.0.2.3\nempty TXT nothing\nalias CNAME plain.test.\nbad MX 5 cname\ncname CNAME a\n"
    "away MX 5 mx.signed.test.\n",
    "null.test": "@ MX 0 .",
    "mixed.test": "@ MX 0 .\n@ MX 10 mx\nmx A 192.0.2.4",
    "broken.test": None,
    "gone.test": "@ MX 5 nowhere.invalid.\n@ MX 10 mx.broken.test.",
    "many.test": "\n".join(f"@ MX {n} m{n}\nm{n} A 192.0.2.{n}" for n in range(1, 40)),
    "signed.test": f'@ MX 10 mx\nmx A 192.0.2.5\n_25._tcp.mx TLSA {TLSA}\n_mta-sts TXT "v=STSv1; id=1"',
    "xn--bcher-kva.test": "@ MX 5 mx\nmx A 192.0.2.6",
}


@pytest.fixture(scope="module")
def knot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Knot]:
    with Knot(tmp_path_factory.mktemp("knot"), ZONES, signed={"signed.test"}) as running:
        yield running


@pytest.fixture(scope="module")
def unbound(knot: Knot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unbound]:
    with Unbound(tmp_path_factory.mktemp("unbound"), knot) as running:
        yield running


@pytest.fixture(params=["knot", "unbound"])
def lookups(request: pytest.FixtureRequest) -> Lookups:
    """Each promise holds with an authoritative server and with a resolver."""
    server: Knot | Unbound = request.getfixturevalue(request.param)
    return _lookups(server)


def _lookups(server: Knot | Unbound) -> Lookups:
    return Dns([f"{server.address}:{server.port}"]).question()


def _way(nexthop: str, lookups: Lookups) -> Way:
    return way(nexthop, Smtp(), lookups)


@pytest.mark.parametrize(
    ("name", "kind", "lookup"),
    [
        ("plain.test", "MX", Lookup.FOUND),
        ("empty.plain.test", "MX", Lookup.NODATA),
        ("nowhere.test", "MX", Lookup.NXDOMAIN),
        ("nowhere.plain.test", "A", Lookup.NXDOMAIN),
        ("broken.test", "MX", Lookup.SERVFAIL),
    ],
)
def test_real_servers_are_told_apart(
    name: str, kind: str, lookup: Lookup, lookups: Lookups
) -> None:
    assert lookups.ask(name, kind).lookup is lookup


@pytest.mark.parametrize(
    ("domain", "lines"),
    [
        (
            "plain.test",
            [
                "lookuphost via a.plain.test [192.0.2.1] MX=10",
                "lookuphost via a.plain.test [2001:db8::1] MX=10",
                "lookuphost via b.plain.test [192.0.2.2] MX=20",
            ],
        ),
        ("implicit.plain.test", ["lookuphost via implicit.plain.test [192.0.2.3]"]),
        ("alias.plain.test", ["lookuphost via a.plain.test [192.0.2.1] MX=10"]),
        ("bad.plain.test", ["lookuphost via cname.plain.test [192.0.2.1] MX=5"]),
        ("bücher.test", ["lookuphost via mx.xn--bcher-kva.test [192.0.2.6] MX=5"]),
    ],
)
def test_the_hosts_of_a_domain(domain: str, lines: list[str], lookups: Lookups) -> None:
    assert list(_way(domain, lookups).lines)[: len(lines)] == lines


@pytest.mark.parametrize(
    ("domain", "verdict", "code"),
    [
        ("null.test", Verdict.PERMANENT, "5.1.0"),
        ("mixed.test", Verdict.PERMANENT, "5.1.0"),
        ("nowhere.test", Verdict.PERMANENT, "5.4.4"),
        ("empty.plain.test", Verdict.PERMANENT, "5.4.4"),
        ("broken.test", Verdict.TEMPORARY, "4.4.3"),
        ("gone.test", Verdict.TEMPORARY, "4.4.3"),
    ],
)
def test_why_a_domain_has_no_host(
    domain: str, verdict: Verdict, code: str, lookups: Lookups
) -> None:
    found = _way(domain, lookups)
    assert (found.verdict, found.enhanced_status) == (verdict, code)


def test_what_is_signed_is_secure_through_a_validating_resolver(unbound: Unbound) -> None:
    found = _way("signed.test", _lookups(unbound))
    assert (found.hosts[0].secure, found.hosts[0].tlsa) == (True, (TLSA,))
    assert any("MTA-STS" in note for note in found.notes)
    assert _way("plain.test", _lookups(unbound)).hosts[0].secure is False


def test_a_secure_host_of_an_insecure_domain_has_no_dane(unbound: Unbound) -> None:
    found = _way("away.plain.test", _lookups(unbound))
    assert (found.hosts[0].secure, found.hosts[0].tlsa) == (False, ())


def test_a_server_that_refuses_and_none_at_all(tmp_path: Path) -> None:
    with Unbound(tmp_path / "unbound", Knot(tmp_path, {}), refuse=True) as server:
        refused = _way("plain.test", _lookups(server))
        lookups = _lookups(server)
    assert (refused.verdict, refused.enhanced_status) == (Verdict.TEMPORARY, "4.4.3")
    assert "REFUSED" in refused.text
    assert lookups.ask("plain.test", "MX").lookup is Lookup.DOWN


def test_the_budget_holds_for_a_crowd_of_mail_hosts(lookups: Lookups) -> None:
    found = _way("many.test", lookups)
    assert len({host.name for host in found.hosts}) <= 10
    assert lookups.queries <= 50
    assert any("39 MX records" in note for note in found.notes)


PROGRAM = """
import json, sys
from query.trace.dns import Dns
from query.trace.hosts import Smtp, way
lookups = Dns([sys.argv[1]]).question()
print(json.dumps([way(domain, Smtp(), lookups).text for domain in sys.argv[2:]]))
"""


def test_no_host_but_the_name_server_is_spoken_to(unbound: Unbound, tmp_path: Path) -> None:
    """Every system call that names a peer, of a process that traces: the resolver, nobody else."""
    server = f"{unbound.address}:{unbound.port}"
    domains = ["plain.test", "signed.test", "implicit.plain.test", "[192.0.2.9]", "nowhere.test"]
    calls = tmp_path / "calls"
    traced = (
        "strace",
        "-f",
        "-o",
        str(calls),
        "-e",
        "trace=%network,io_uring_setup",
        "-e",
        "signal=none",
    )
    command = (*traced, sys.executable, "-c", PROGRAM, server, *domains)
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)[0] == "lookuphost via a.plain.test [192.0.2.1] MX=10"
    text = calls.read_text()
    peers = [line for line in text.splitlines() if "sin_addr" in line or "sin6_addr" in line]
    resolver = f'sin_port=htons({unbound.port}), sin_addr=inet_addr("{unbound.address}")'
    own = [line for line in peers if "getsockname" in line or "bind(" in line]
    assert [line for line in peers if resolver not in line and line not in own] == []
    assert len([line for line in peers if "sendto(" in line]) >= 10
    assert "io_uring_setup" not in text
    assert "sendmmsg" not in text
