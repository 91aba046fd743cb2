"""What we compute is what a real trivial-rewrite(8) answers, in several configurations."""

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from posttrail.demo.postfix_files import each_once
from posttrail.postconf import Settings, SettingsCache
from query.trace.postfix.computed import ComputedRouter
from query.trace.postfix.resolve import Resolved, SocketRouter, open_router
from query.trace.postfix.tables import Tables

pytestmark = pytest.mark.integration

TRANSPORT = """\
one@relay.example slow:
two@relay.example :[192.0.2.9]
two+ext@relay.example fast:[192.0.2.10]:26
three@default.example error:5.1.2 not here
four@default.example error:
five@default.example retry:
six@default.example :
routed.example smtp:[mail.example.com]
.routed.example smtp:[sub.example.com]
valias.example smtp:[never.example]
seven@local.example lmtp:unix:/run/lmtp
vbox.example lmtp:
"""
PATTERN = """\
/^pattern([+].*)?@/ pat:x
/^(one|two)[+]s@/ taken:$1.example
/^two[+]s@/ next:rule
/^\\*$/ starred:
"""
COMMON = """\
compatibility_level = 3.6
myhostname = mx.local.example
mydomain = local.example
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
recipient_delimiter = +
virtual_alias_domains = valias.example
virtual_mailbox_domains = vbox.example vtrans.example
relay_domains = relay.example
"""
CONFIGURATIONS = {
    "plain": "mydestination = local.example, localhost\n",
    "hacks_off": "allow_percent_hack = no\nswap_bangpath = no\nmyorigin = $mydomain\n"
    "resolve_null_domain = yes\nresolve_numeric_domain = yes\nrelayhost = [192.0.2.25]\n",
    "no_completion": "append_at_myorigin = no\nappend_dot_mydomain = yes\n"
    "resolve_dequoted_address = no\nempty_address_recipient = nobody@relay.example\n",
    "tables": "mydestination = $mydomain, texthash:{etc}/domains\n"
    "transport_maps = texthash:{etc}/transport, regexp:{etc}/pattern\n"
    "relocated_maps = texthash:{etc}/relocated\nparent_domain_matches_subdomains =\n"
    "relay_domains = !no.relay.example, .relay.example, relay.example\n",
    "wildcard": "transport_maps = inline:{{ {{* = all:[192.0.2.77]}}, {{vbox.example = :}} }}\n"
    "parent_domain_matches_subdomains = relay_domains, transport_maps\n"
    "virtual_transport = lmtp:unix:private/dovecot\nlocal_transport = local:$myhostname\n",
    "by_sender": "sender_dependent_default_transport_maps = texthash:{etc}/xport\n"
    "sender_dependent_relayhost_maps = texthash:{etc}/relayhost\nrelayhost = [192.0.2.25]\n"
    "relay_transport = relay:[192.0.2.50]\nshow_user_unknown_table_name = no\n"
    "mydestination = {etc}/list\n",
    "patterns": "transport_maps = regexp:{etc}/pattern\nrelayhost = [192.0.2.25]\n"
    "sender_dependent_relayhost_maps = pcre:{etc}/bysender\n"
    "virtual_transport = vmail:[bad\nrelay_transport = relay:\n",
    "nothing": "local_transport = :[192.0.2.1]\n"
    "sender_dependent_default_transport_maps = inline:{{ {{by@sender.example = :x}} }}\n",
}
LOCAL_PARTS = (
    *(
        "user",
        "one",
        "one+s",
        "two+s",
        "two+ext",
        "two+other",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "moved",
    ),
    *("moved+ext", "pattern", "pattern+x", "-dash", "Upper.Case", "a%relay.example", "a%b%host"),
    *("host!user", "a!b!c", '"a b"', '"x@relay.example"', '"y%relay.example"', '""'),
)
DOMAINS = (
    *("", "@", "@local.example", "@LOCAL.example", "@mx.local.example", "@relay.example"),
    *("@sub.relay.example", "@no.relay.example", "@default.example", "@default.example."),
    *("@a.b.routed.example", "@routed.example", "@valias.example", "@vbox.example"),
    *("@vtrans.example", "@listed.example", "@bare", "@[127.0.0.1]", "@[192.0.2.1]"),
    *("@192.0.2.1", "@[bad", "@under_score.example", "@..example", "@[IPv6:::1]"),
)
ODD = (
    "",
    "@default.example",
    "@",
    "@relay.example:user@default.example",
    "@@",
    "a@b@default.example",
    "a@local.example@",
)
SENDERS = ("", "plain@default.example", "by+x@sender.example", "dunno@sender.example")


def _configure(etc: Path, settings: str) -> None:
    (etc / "main.cf").write_text(
        each_once(
            (
                *COMMON.splitlines(),
                f"queue_directory = {etc.parent}/queue",
                f"data_directory = {etc.parent}/data",
                f"maillog_file = {etc.parent}/mail.log",
                f"maillog_file_prefixes = {etc.parent}",
                *settings.format(etc=etc).splitlines(),
            )
        )
    )
    (etc / "master.cf").write_text(
        "rewrite unix - - n - - trivial-rewrite\n"
        "proxymap unix - - n - - proxymap\n"
        "postlog unix-dgram n - n - 1 postlogd\n"
    )
    for name, text in {
        "transport": TRANSPORT,
        "pattern": PATTERN,
        "relocated": "moved@relay.example new@default.example\n",
        "domains": "listed.example yes\n",
        "bysender": "/^by(.*)@/ [$1.example]\n/^by/ [192.0.2.63]\n",
        "list": "local.example\n!sub.listed.example\nlisted.example\n",
        "xport": "by@sender.example slow:[192.0.2.60]\ndunno@sender.example DUNNO\n"
        "@sender.example fast:\n",
        "relayhost": "by@sender.example [192.0.2.61]\ndunno@sender.example DUNNO\n"
        "<> [192.0.2.62]\n",
    }.items():
        (etc / name).write_text(text)
    for file in etc.iterdir():
        os.utime(file, (1, 1))  # Postfix waits until a file has not changed for seconds


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def routers(
    request: pytest.FixtureRequest,
) -> Iterator[tuple[SocketRouter, ComputedRouter, Settings]]:
    if not shutil.which("postfix"):
        pytest.skip("no Postfix here")
    with tempfile.TemporaryDirectory(prefix="posttrail-") as name:
        yield from _running(Path(name), CONFIGURATIONS[request.param])


def _running(
    top: Path, configuration: str
) -> Iterator[tuple[SocketRouter, ComputedRouter, Settings]]:
    """Below /tmp itself: another pytest takes the folder of all test runs from Postfix again."""
    top.chmod(0o755)
    for name in ("etc", "queue", "data"):
        (top / name).mkdir(mode=0o755)
    shutil.chown(top / "data", "postfix")
    etc = top / "etc"
    _configure(etc, configuration)
    command = ["postfix", "-c", str(etc)]
    started = subprocess.run([*command, "start"], check=False, capture_output=True, text=True)
    log = top / "mail.log"
    assert started.returncode == 0, started.stderr + (log.read_text() if log.exists() else "")
    try:
        settings = SettingsCache(str(etc)).read()
        tables = Tables(str(etc))
        router, why = open_router(settings, tables)
        assert why is None
        assert isinstance(router, SocketRouter)
        yield router, ComputedRouter(settings, tables), settings
        router.close()
    finally:
        subprocess.run([*command, "stop"], check=False, capture_output=True)


def addresses() -> list[str]:
    made = [a + b for a, b in itertools.product(LOCAL_PARTS, DOMAINS)]
    made.remove('""@[IPv6:::1]')  # which Postfix 3.7 rewrites to @[IPv6:"::1"]
    return made + list(ODD)


def test_rewriting_is_computed_as_the_resolver_does(
    routers: tuple[SocketRouter, ComputedRouter, Settings],
) -> None:
    real, ours, _ = routers
    differ = {a: (real.rewrite(a), ours.rewrite(a)) for a in addresses()}
    assert {a: pair for a, pair in differ.items() if pair[0] != pair[1]} == {}


def _told(answer: Resolved) -> tuple[str, ...] | tuple[str, str, str, str, bool]:
    if answer.error:  # transport and next hop are left unset then
        return ("error", answer.recipient)
    if answer.address_class == "fail":  # whatever was found until then
        return ("fail", answer.recipient)
    return (
        answer.transport,
        answer.nexthop,
        answer.recipient,
        answer.address_class,
        answer.error,
    )


@pytest.mark.parametrize("sender", SENDERS)
def test_routes_are_computed_as_the_resolver_does(
    routers: tuple[SocketRouter, ComputedRouter, Settings], sender: str
) -> None:
    real, ours, _ = routers
    pairs = {
        a: (_told(real.resolve(a, sender)), _told(ours.resolve(a, sender))) for a in addresses()
    }
    assert {a: pair for a, pair in pairs.items() if pair[0] != pair[1]} == {}
