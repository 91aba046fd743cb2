"""OpenDKIM that verifies, and rspamd, as private milters on Unix sockets; nothing leaves the machine.

OpenDKIM has its public key from a file, which spares it the look-up that others pay for. rspamd runs its stock rules in
its proxy process, as a milter that scans by itself; what asks servers of others (block lists, fuzzy
hashes, Redis, maps) is off, and its DNS is a Knot that has the key's zone and else NXDOMAIN. Raises
ProgramError where one is missing or does not come up.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.bench.bench import tool
from tests.bench.process import Service
from tests.bench.signed import DOMAIN, SELECTOR, Signed
from tests.integration.knot import Knot

OPENDKIM: Final = """\
Mode v
Socket local:{socket}
UMask 000
AuthservID mx.example.com
AlwaysAddARHeader yes
TestPublicKeys {place}/keys
InternalHosts 192.0.2.1
ExternalIgnoreList 192.0.2.1
Syslog no
UserID root
"""
ELSEWHERE: Final = (
    "antivirus", "arc", "asn", "bimi", "clickhouse", "dcc", "dkim_signing", "elastic", "fuzzy_check", "greylist",
    "history_redis", "mx_check", "neural", "p0f", "ratelimit", "rbl", "replies", "reputation",
    "rspamd_update", "surbl", "url_redirector",
)  # fmt: skip
"""rspamd's modules that ask somebody else, or keep what they know in Redis."""
LOOKS: Final = ("dkim", "dmarc", "spf")
RSPAMD: Final = {
    "options.inc": "dns {{ nameserver = [\"127.0.0.1:{port}\"]; timeout = 1s; }}\n"
    "local_addrs = [\"192.0.2.1/32\"];\n",
    "logging.inc": 'type = "file"; filename = "{place}/rspamd.log"; level = "warning";\n',
    "worker-normal.inc": "enabled = false;\n",
    "worker-controller.inc": "enabled = false;\n",
    "worker-fuzzy.inc": "enabled = false;\n",
    "worker-proxy.inc": 'bind_socket = "{socket} mode=0666";\nmilter = yes;\n'
    'upstream "local" {{ default = yes; self_scan = yes; }}\n',
    "milter_headers.conf": 'use = ["x-spamd-result", "authentication-results"];\n'
    "skip_local = false;\nskip_authenticated = false;\n",
    "phishing.conf": "openphish_enabled = false;\nphishtank_enabled = false;\n",
    # The client is this machine, whose mail is usually not looked at.
    **{f"{name}.conf": "check_local = true;\ncheck_authed = true;\n" for name in LOOKS},
    "classifier-bayes.conf": "enabled = false;\n",
    **{f"{name}.conf": "enabled = false;\n" for name in ELSEWHERE},
}  # fmt: skip


def opendkim(stack: ExitStack, place: Path, socket: Path, mail: Signed) -> list[int]:
    """Verifying at ``socket``; its process."""
    place.mkdir()
    (place / "keys").write_text(f"{SELECTOR}._domainkey.{DOMAIN} {mail.record}\n")
    (place / "opendkim.conf").write_text(OPENDKIM.format(socket=socket, place=place))
    command = [tool("opendkim", "opendkim"), "-f", "-x", f"{place}/opendkim.conf"]
    service = stack.enter_context(Service(command, errors=place / "stderr"))
    service.ready(socket.exists, "OpenDKIM to listen")
    socket.chmod(0o666)
    return [service.pid]


def rspamd(stack: ExitStack, place: Path, socket: Path, mail: Signed) -> list[int]:
    """Scanning at ``socket``; the first of its processes."""
    program = tool("rspamd", "rspamd")
    place.mkdir()
    pieces = [mail.record[at : at + 200] for at in range(0, len(mail.record), 200)]
    text = " ".join(f'"{piece}"' for piece in pieces)
    zone = f"@ MX 10 mx\nmx A 192.0.2.7\n{SELECTOR}._domainkey TXT {text}\n"
    knot = stack.enter_context(Knot(place / "dns", {DOMAIN: zone}))
    etc = place / "etc"
    shutil.copytree("/etc/rspamd", etc)
    shutil.rmtree(etc / "override.d", ignore_errors=True)
    (etc / "override.d").mkdir()
    for name, words in RSPAMD.items():
        (etc / "override.d" / name).write_text(
            words.format(port=knot.port, place=place, socket=socket)
        )
    places = dict.fromkeys(("CONFDIR", "LOCAL_CONFDIR"), etc)
    places |= dict.fromkeys(("DBDIR", "RUNDIR", "LOGDIR"), place)
    variables = [f"--var={name}={path}" for name, path in places.items()]
    command = [program, "-f", "--insecure", "-c", f"{etc}/rspamd.conf", *variables]
    service = stack.enter_context(Service(command, errors=place / "stderr"))
    service.ready(socket.exists, "rspamd to listen", seconds=90)  # it compiles its rules
    return [service.pid]
