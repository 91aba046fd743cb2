"""The files of the private Postfix: main.cf, master.cf, look-up tables, SASL.

Formats: postconf(5), master(5), access(5), transport(5), virtual(5), aliases(5), header_checks(5).
Pure: a mapping from file name to text. Every service listens on 127.0.0.1, and
``default_transport`` refuses whatever the transport table does not send to loopback: nothing ever
leaves the machine.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HOST = "mx.example.com"
LOCAL_DOMAINS = ("example.com", "lists.example.com")
INSIDE_CLIENT = "127.0.0.9"
"""The address that clients of the house connect from; all others are the outside world."""
BLOCKED_CLIENT = "127.0.0.66"
LOGIN = ("alice@example.com", "wonderland")
MILTER = (
    "{ unix:posttrail/milter.sock, default_action=accept,"
    " connect_timeout=2s, command_timeout=5s, content_timeout=5s }"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the private Postfix listens; nothing listens on ``dead``."""

    mx: int
    submission: int
    postscreen: int
    filtered: int  # what comes in here takes the way through the content filter
    filter_front: int
    reinjection: int
    xclient: int  # believes a client that says it is somebody else (XCLIENT)
    dead: int

    @classmethod
    def from_base(cls, base: int) -> "Ports":
        """Eight ports in a row."""
        names = cls.__dataclass_fields__
        return cls(**{name: base + offset for offset, name in enumerate(names)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What the files are written for."""

    directory: Path  # of the whole installation
    daemons: str  # Postfix's own, from postconf -d
    commands: str
    ports: Ports
    sinks: Mapping[str, int]
    milter: bool
    settings: Sequence[str]  # lines of main.cf instead of ours, and further ones


def files(places: Places) -> dict[str, str]:
    """Every file of the configuration directory, by name."""
    return {
        "main.cf": _main_cf(places),
        "master.cf": _master_cf(places.ports),
        "transport": _transport(places),
        **_TABLES,
        "sasl/smtpd.conf": "pwcheck_method: auxprop\nauxprop_plugin: sasldb\n"
        f"sasldb_path: {places.directory}/etc/sasl/sasldb2\nmech_list: PLAIN LOGIN\n",
    }


_TABLES = {
    "senders": "mallory@spam.example REJECT not welcome here\n",
    "recipients": "review@example.com HOLD waits for review\n",
    "mailboxes": "".join(
        f"{name}@example.com {name}/\n" for name in ("alice", "bob", "carol", "review")
    ),
    "virtual": "team@example.com alice@example.com, bob@example.com, carol@example.com\n",
    "aliases": "staff alice@example.com, partner@example.net\n",
    "headers": "/^X-Demo-Attachment: *eicar/ REJECT this message carries a virus\n",
    "postscreen": f"{BLOCKED_CLIENT}/32 reject\n",
}


def _transport(places: Places) -> str:
    routes = {
        "example.com": "virtual:",
        "lists.example.com": "local:",
        "example.net": f"smtp:[127.0.0.1]:{places.sinks['accepts']}",
        "slow.example": f"smtp:[127.0.0.1]:{places.sinks['greylists']}",
        "full.example": f"smtp:[127.0.0.1]:{places.sinks['full']}",
        "gone.example": f"smtp:[127.0.0.1]:{places.sinks['unknown']}",
        "strict.example": f"smtp:[127.0.0.1]:{places.sinks['refuses']}",
        "down.example": f"smtp:[127.0.0.1]:{places.ports.dead}",
        "void.example": "discard:never to be seen again",
        "archive.example": "archive:",
        "later.example": "retry:4.3.2 closed for maintenance",
    }
    return "".join(f"{domain} {route}\n" for domain, route in routes.items())


def _main_cf(places: Places) -> str:
    etc = places.directory / "etc"
    milter = MILTER if places.milter else ""
    lines = f"""\
compatibility_level = 3.6
myhostname = {HOST}
myorigin = example.com
mydestination = lists.example.com
mynetworks = {INSIDE_CLIENT}/32
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_bind_address = 127.0.0.1
queue_directory = {places.directory}/queue
data_directory = {places.directory}/data
command_directory = {places.commands}
daemon_directory = {places.daemons}
maillog_file = {places.directory}/log/mail.log
maillog_file_prefixes = {places.directory}
enable_long_queue_ids = yes

default_transport = error:5.4.4 no way out of this private Postfix
relay_domains =
transport_maps = texthash:{etc}/transport
alias_maps = texthash:{etc}/aliases
alias_database =
local_recipient_maps = $alias_maps
virtual_mailbox_domains = example.com
virtual_mailbox_base = {places.directory}/mailboxes
virtual_mailbox_maps = texthash:{etc}/mailboxes
virtual_alias_maps = texthash:{etc}/virtual
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no

smtpd_client_port_logging = yes
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
smtpd_sender_restrictions = check_sender_access texthash:{etc}/senders
smtpd_recipient_restrictions = check_recipient_access texthash:{etc}/recipients
header_checks = regexp:{etc}/headers
smtpd_milters = {milter}
non_smtpd_milters = {milter}

smtpd_tls_security_level = may
smtpd_tls_cert_file = {places.directory}/tls/cert.pem
smtpd_tls_key_file = {places.directory}/tls/key.pem
smtpd_tls_loglevel = 1
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = {etc}/sasl
smtpd_sasl_local_domain = example.com

postscreen_access_list = cidr:{etc}/postscreen
postscreen_denylist_action = enforce
postscreen_cache_map =
postscreen_greet_wait = 1s
smtpd_client_event_limit_exceptions = static:all
smtpd_client_connection_count_limit = 0
default_process_limit = 50
in_flow_delay = 0
"""
    return each_once((*lines.splitlines(), *places.settings))


def each_once(lines: Iterable[str]) -> str:
    """Lines of main.cf, the last of each name only.

    Postfix warns of names that come twice, and postlogd(8) blocks on its own warnings.
    """
    found: dict[str, str] = {}
    for line in lines:
        if line.strip():
            found[line.partition("=")[0].strip()] = line
    return "".join(f"{line}\n" for line in found.values())


def _master_cf(ports: Ports) -> str:
    front, back = ports.filter_front, ports.reinjection
    return f"""\
127.0.0.1:{ports.mx} inet n - n - - smtpd
127.0.0.1:{ports.submission} inet n - n - - smtpd
  -o syslog_name=postfix/submission
  -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
  -o milter_macro_daemon_name=ORIGINATING
127.0.0.1:{ports.postscreen} inet n - n - 1 postscreen
smtpd pass - - n - - smtpd
127.0.0.1:{ports.filtered} inet n - n - - smtpd
  -o content_filter=filter:[127.0.0.1]:{front}
127.0.0.1:{front} inet n - n - - smtpd
  -o syslog_name=postfix/filter
  -o smtpd_proxy_filter=127.0.0.1:{back}
  -o smtpd_authorized_xforward_hosts=127.0.0.0/8
  -o mynetworks=127.0.0.0/8
  -o smtpd_milters=
127.0.0.1:{back} inet n - n - - smtpd
  -o syslog_name=postfix/reinject
  -o receive_override_options=no_unknown_recipient_checks,no_header_body_checks,no_milters
  -o smtpd_authorized_xforward_hosts=127.0.0.0/8
  -o mynetworks=127.0.0.0/8
127.0.0.1:{ports.xclient} inet n - n - - smtpd
  -o smtpd_authorized_xclient_hosts=127.0.0.0/8
filter unix - - n - 2 smtp
  -o smtp_send_xforward_command=yes
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
tlsproxy unix - - n - 0 tlsproxy
dnsblog unix - - n - 0 dnsblog
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
archive unix - n n - - pipe
  flags=R user=nobody argv=/bin/sh -c cat>/dev/null
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
