"""The addresses that a real Postfix is asked to deliver to, and the configurations they need.

``what`` is what the case is about, in words: the expected way itself is what Postfix does in the same
run. Pure data. Mail hosts at 127.0.1.* listen to nobody, so that Postfix logs each one it tries; those
at 127.0.2.* take mail.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Case:
    """One address, by one entry of one configuration."""

    address: str
    what: str
    sender: str = ""
    entry: str = "smtp"
    outside: bool = False  # sent by a client that may not relay
    closed: bool = False  # what decides is for root's eyes only: nobody is to answer UNKNOWN


@dataclass(frozen=True, slots=True)
class Group:
    """A configuration of Postfix; ``$D`` in any text is the folder of the lab."""

    cases: Mapping[str, Case]
    main: str = ""  # more of main.cf; what comes later wins
    master: str = ""  # more of master.cf
    smtp: str = ""  # options of the entry smtp
    pickup: str = ""  # and of pickup
    tables: Mapping[str, str] = field(default_factory=dict)


def _mx(*hosts: str) -> str:
    """``10 a 127.0.1.1``: an MX record and its address."""
    words = [host.split() for host in hosts]
    records = [f"@ MX {preference} {name}" for preference, name, *_ in words]
    addresses = [f"{name} A {address}" for _, name, *rest in words for address in rest]
    return "\n".join([*records, *addresses])


ZONES: Mapping[str, str | None] = {
    "plain.test": _mx("20 mx2 127.0.1.2", "10 mx1 127.0.1.1"),
    "taken.test": _mx("10 mx1 127.0.1.3", "20 mx2 127.0.2.1", "30 mx3 127.0.2.2"),
    "implicit.test": "@ A 127.0.1.4",
    "nodata.test": "@ TXT x",
    "null.test": "@ MX 0 .\n@ A 127.0.1.5",
    "mixed.test": "@ MX 0 .\n" + _mx("10 mx 127.0.1.6"),
    "broken.test": None,
    "first.test": "@ MX 5 nowhere.invalid.\n" + _mx("10 mx 127.0.1.7"),
    "hostless.test": "@ MX 5 nowhere.invalid.",
    "equal.test": _mx("10 a 127.0.1.8", "10 b 127.0.1.9", "20 c 127.0.1.10"),
    "self.test": _mx("10 mx 127.0.0.1"),
    "backup.test": _mx("10 a 127.0.1.11", "20 b 127.0.0.1", "20 c 127.0.1.12", "30 d 127.0.1.13"),
    "cname.test": "www CNAME real\nreal MX 5 a\na A 127.0.1.14",
    "target.test": "@ MX 5 c\nc CNAME a\na A 127.0.1.15",
    "multi.test": "@ MX 5 a\na A 127.0.1.16\na A 127.0.1.17",
    "xn--bcher-kva.test": _mx("10 mx 127.0.1.18"),
    "relay.test": _mx("10 mx 127.0.2.3"),
    "hosts.test": "sink A 127.0.2.4\nsilent A 127.0.1.19\nrel MX 10 relmx\nrelmx A 127.0.1.20\nrel A 127.0.1.21",
    "many.test": _mx(*(f"{n}0 m{n} 127.0.1.{100 + n}" for n in range(1, 8))),
}  # fmt: skip
SOCKETMAP: Mapping[str, str] = {"sock@valias.test": "box@vbox.test"}
USERS = ("bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan")
FILES: Mapping[str, str] = {
    "home/dave/.forward": "\\dave, remote@plain.test\n",
    "home/erin/.forward": '"|cat >/dev/null"\n',
    "home/grace/.forward": "# away\n$D/out/grace, \\grace\n",
    "home/grace/.forward+deal": "carol@lab.test\n",
    "home/heidi/.forward": "carol\n",
    "home/ivan/.forward": "carol\n",
    "shut": "carol\n",
    "outer": "frank, :include:$D/members\n",
    "members": "bob\n# nobody\nout@taken.test\n",
}

BASE = """\
compatibility_level = 3.6
myhostname = mx.lab.test
mydomain = lab.test
myorigin = lab.test
mydestination = localhost, mx.lab.test, lab.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.9/32
queue_directory = $D/queue
data_directory = $D/data
command_directory = $COMMANDS
daemon_directory = $DAEMONS
maillog_file = $D/mail.log
maillog_file_prefixes = $D/
mail_spool_directory = $D/spool
alias_maps = hash:$D/aliases
alias_database =
notify_classes =
recipient_delimiter = +
in_flow_delay = 0
smtpd_peername_lookup = no
smtpd_error_sleep_time = 0
smtpd_client_event_limit_exceptions = static:all
smtp_connection_cache_on_demand = no
smtp_tls_loglevel = 1
default_destination_concurrency_failed_cohort_limit = 0
virtual_alias_domains = valias.test
virtual_alias_maps = hash:$D/virtual
virtual_mailbox_domains = vbox.test
virtual_mailbox_base = $D/vmail
virtual_mailbox_maps = hash:$D/vmailbox
virtual_minimum_uid = 1
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_transport = lmtp:inet:127.0.0.1:24
relay_domains = relay.test
relay_recipient_maps = hash:$D/relayed
"""
TABLES: Mapping[str, str] = {
    "virtual": "one@valias.test box@vbox.test\n",
    "vmailbox": "box@vbox.test x\nall@vbox.test x\n",
    "relayed": "known@relay.test x\n",
    "aliases": "postmaster: root\nteam: bob, remote@plain.test\n",
}

MAIN = Group(
    main="""\
virtual_alias_domains = valias.test valias2.test
virtual_alias_maps = hash:$D/virtual pcre:$D/virtual.pcre regexp:$D/virtual.re lmdb:$D/virtual2
  texthash:$D/virtual3 unionmap:{texthash:$D/union1,texthash:$D/union2}
  inline:{inl@valias.test=box@vbox.test} socketmap:unix:$D/socketmap:aliases
virtual_mailbox_domains = vbox.test vd.test
transport_maps = hash:$D/transport
canonical_maps = hash:$D/canonical
recipient_canonical_maps = hash:$D/rcanonical
relocated_maps = hash:$D/relocated
recipient_bcc_maps = hash:$D/bcc
smtpd_recipient_restrictions = check_recipient_access hash:$D/access
sender_dependent_default_transport_maps = hash:$D/senders
sender_dependent_relayhost_maps = hash:$D/relayhosts
""",
    master="""\
slow unix - - n - - smtp
  -o syslog_name=postfix/slow
dane unix - - n - - smtp
  -o syslog_name=postfix/dane
  -o smtp_dns_support_level=dnssec
  -o smtp_tls_security_level=dane
prog unix - n n - - pipe
  -o syslog_name=postfix/prog
  user=nobody argv=/bin/true ${recipient}
subclean unix n - n - 0 cleanup
  -o virtual_alias_maps=static:all@vbox.test
""",
    tables={
        "virtual": """\
va@valias.test hub@valias.test
hub@valias.test box@vbox.test, ext@plain.test
@catch.test box@vbox.test
@valias.test box@vbox.test
out@lab.test x@taken.test
loop1@valias.test loop2@valias.test
loop2@valias.test loop1@valias.test
twice@valias.test box@vbox.test, hub@valias.test
plus+tag@valias.test all@vbox.test
plus@valias.test remote@plain.test
bobby bob
alsolocal@valias.test team
toerr@valias.test x@err.test, box@vbox.test
self@valias.test self@valias.test, x@taken.test
@moved.test @plain.test
""",
        "virtual.pcre": "/^dev@valias\\.test$/ dev@plain.test\n/^(.+)\\.x@valias\\.test$/ ${1}@taken.test\n",
        "virtual.re": "/^reg@valias\\.test$/ reg@plain.test\n",
        "virtual2": "lm@valias.test all@vbox.test\n",
        "virtual3": "txt@valias.test all@vbox.test\n",
        "union1": "uni@valias.test all@vbox.test\n",
        "union2": "uni@valias.test box@vbox.test\n",
        "vmailbox": "box@vbox.test x\nall@vbox.test x\nu@vd.test vd/u/\n",
        "transport": """\
user@tuser.test slow:[127.0.2.1]
plus@tuser.test slow:[127.0.2.2]
tdom.test smtp:[sink.hosts.test]
tmx.test smtp:plain.test
.tsub.test relay:[127.0.2.2]
tport.test smtp:[127.0.1.30]:2525
err.test error:5.1.2 gone for good
dis.test discard:silently
ret.test retry:4.3.5 later
gone.test nosuch:
pipe.test prog:
vd.test virtual:
dane.test dane:
dane.taken.test dane:taken.test
only.test :[sink.hosts.test]
""",
        "canonical": "old@canon.test new@plain.test\n@whole.test @taken.test\n",
        "rcanonical": "rc@lab.test bob@lab.test\n",
        "relocated": "moved@lab.test there@example.com\nmoved@plain.test there@example.com\n",
        "bcc": "copied@plain.test all@vbox.test\n",
        "access": "blocked@plain.test REJECT not wanted\nsoft@plain.test 450 4.7.1 later\n"
        "redir@plain.test REDIRECT box@vbox.test\n",
        "senders": "s@sender.test slow:[127.0.2.3]\nd@sender.test DUNNO\n",
        "relayhosts": "r@sender.test [127.0.2.4]\n@rel.test rel.hosts.test\nd@sender.test DUNNO\n",
        "aliases": """\
postmaster: root
team: bob, remote@plain.test
nested: team, carol
tagged: bob+lists, x@taken.test
incl: :include:$D/members
badincl: :include:$D/nothing
prog: "|cat >/dev/null"
file: $D/out/file.mbox
null: /dev/null
loopa: loopb
loopb: loopa
list: :include:$D/members, carol
owner-list: bob
backslash: \\bob
virt: va@valias.test
deadend: nobody-here
forwards: dave
""",
    },
    cases={
        "system mailbox": Case("bob@lab.test", "local(8) puts it into the spool"),
        "no domain": Case("carol", "$myorigin is appended"),
        "extension": Case("root+foo@lab.test", "the mailbox of the user before the delimiter"),
        "capitals": Case("BOB@LAB.test", "local users are folded"),
        "postmaster": Case("postmaster@lab.test", "alias to root"),
        "alias": Case("team@lab.test", "a local user and a remote address"),
        "nested alias": Case("nested@lab.test", "an alias in an alias"),
        "alias member with extension": Case("tagged@lab.test", "the member's extension stays"),
        "alias with extension": Case("team+x@lab.test", "the extension is not carried to members, or is"),
        "include": Case("incl@lab.test", "members of an :include: file"),
        "include missing": Case("badincl@lab.test", "the file is not there"),
        "owner": Case("list@lab.test", "a list with an owner"),
        "command": Case("prog@lab.test", "a command"),
        "file": Case("file@lab.test", "a file"),
        "dev null": Case("null@lab.test", "a file that keeps nothing"),
        "alias loop": Case("loopa@lab.test", "two aliases that name each other"),
        "backslash": Case("backslash@lab.test", "no further alias"),
        "alias to virtual": Case("virt@lab.test", "back through cleanup(8)"),
        "alias to nobody": Case("deadend@lab.test", "a member that does not exist"),
        "forward": Case("dave@lab.test", ".forward keeps a copy and sends one on"),
        "forward extension": Case("dave+x@lab.test", ".forward with an extension"),
        "forward command": Case("erin@lab.test", ".forward to a command"),
        "alias to forward": Case("forwards@lab.test", "an alias to a user with .forward"),
        "unknown local": Case("nosuch@lab.test", "refused at RCPT"),
        "unknown local by pickup": Case("nosuch@lab.test", "accepted, then returned", entry="pickup"),
        "virtual two levels": Case("va@valias.test", "an alias of an alias, fanned out"),
        "virtual extension": Case("va+tag@valias.test", "the extension is carried on"),
        "catch-all extension": Case("nope+x@catch.test", "no extension through @domain"),
        "catch-all": Case("nope@valias.test", "only @domain is there"),
        "key before table": Case("dev@valias.test", "exact pcre match in the second table wins over @domain in the first"),
        "pcre substitution": Case("jo.x@valias.test", "a part of the address goes into the value"),
        "regexp": Case("reg@valias.test", "regexp:"),
        "lmdb": Case("lm@valias.test", "lmdb:"),
        "texthash": Case("txt@valias.test", "texthash:"),
        "unionmap": Case("uni@valias.test", "both answers"),
        "inline": Case("inl@valias.test", "inline:"),
        "socketmap": Case("sock@valias.test", "socketmap:"),
        "static": Case("anybody@plain.test", "a cleanup of its own with static:", entry="submission"),
        "virtual loop": Case("loop1@valias.test", "two virtual aliases that name each other"),
        "virtual twice": Case("twice@valias.test", "one mailbox by two ways is one recipient"),
        "extension key": Case("plus+tag@valias.test", "the full key comes first"),
        "extension carried": Case("plus+other@valias.test", "the key without extension"),
        "bare virtual key": Case("bobby@lab.test", "a key without domain, for domains of local(8)"),
        "virtual to alias": Case("alsolocal@valias.test", "into aliases(5)"),
        "virtual to error": Case("toerr@valias.test", "one way fails, one does not"),
        "virtual itself": Case("self@valias.test", "a copy for itself, and one for another"),
        "virtual local away": Case("out@lab.test", "a local address goes elsewhere"),
        "domain to domain": Case("jo+x@moved.test", "@domain to @domain keeps the user"),
        "canonical": Case("old@canon.test", "canonical_maps"),
        "canonical domain": Case("any@whole.test", "canonical_maps by domain"),
        "recipient canonical": Case("rc@lab.test", "recipient_canonical_maps"),
        "percent": Case("x%taken.test@lab.test", "the percent hack"),
        "virtual alias unknown": Case("nosuch@valias2.test", "refused at RCPT"),
        "virtual alias unknown by pickup": Case("nosuch@valias2.test", "returned", entry="pickup"),
        "mailbox": Case("box@vbox.test", "a virtual mailbox by LMTP"),
        "mailbox extension": Case("box+spam@vbox.test", "with extension"),
        "mailbox unknown": Case("nosuch@vbox.test", "refused at RCPT"),
        "mailbox unknown by pickup": Case("nosuch@vbox.test", "no table is asked behind the door", entry="pickup"),
        "virtual(8)": Case("u@vd.test", "a maildir"),
        "virtual(8) unknown": Case("nosuch@vd.test", "virtual(8) returns it", entry="pickup"),
        "relay known": Case("known@relay.test", "a relay domain"),
        "relay unknown": Case("nosuch@relay.test", "refused at RCPT"),
        "relay unknown by pickup": Case("nosuch@relay.test", "sent on", entry="pickup"),
        "relay denied": Case("x@plain.test", "a client from outside may not relay", outside=True),
        "transport of user": Case("user@tuser.test", "slow:"),
        "transport of user, extension": Case("plus+x@tuser.test", "the key without extension"),
        "transport of domain": Case("x@tdom.test", "smtp:[host]"),
        "transport by MX": Case("x@tmx.test", "smtp:host: its mail hosts"),
        "transport below": Case("x@deep.tsub.test", ".domain"),
        "transport not above": Case("x@tsub.test", ".domain is not the domain itself"),
        "transport port": Case("x@tport.test", "[address]:port"),
        "transport nexthop only": Case("x@only.test", ":nexthop"),
        "error": Case("x@err.test", "error:"),
        "discard": Case("x@dis.test", "discard:"),
        "retry": Case("x@ret.test", "retry:"),
        "no such transport": Case("x@gone.test", "a transport that is not in master.cf"),
        "pipe": Case("x@pipe.test", "pipe(8)"),
        "relocated": Case("moved@plain.test", "refused at RCPT"),
        "relocated by pickup": Case("moved@plain.test", "returned", entry="pickup"),
        "access reject": Case("blocked@plain.test", "REJECT"),
        "access 450": Case("soft@plain.test", "450"),
        "access redirect": Case("redir@plain.test", "REDIRECT"),
        "recipient bcc": Case("copied@plain.test", "a copy goes along"),
        "sender's transport": Case("x@plain.test", "sender_dependent_default_transport_maps", sender="s@sender.test"),
        "sender's relayhost": Case("x@plain.test", "sender_dependent_relayhost_maps", sender="r@sender.test"),
        "sender domain's relayhost": Case("x@plain.test", "relayhost by MX", sender="any@rel.test"),
        "sender DUNNO": Case("x@plain.test", "DUNNO stops the search", sender="d@sender.test"),
        "sender and transport": Case("user@tuser.test", "transport_maps wins", sender="s@sender.test"),
        "mx order": Case("x@plain.test", "the lower preference first"),
        "mx taken": Case("x@taken.test", "the second host takes it"),
        "implicit mx": Case("x@implicit.test", "the address of the domain"),
        "nodata": Case("x@nodata.test", "neither mail host nor address"),
        "nxdomain": Case("x@nowhere.invalid", "no such domain"),
        "servfail": Case("x@broken.test", "DNS fails"),
        "null mx": Case("x@null.test", "RFC 7505"),
        "mixed null mx": Case("x@mixed.test", "a null MX among others"),
        "first mx missing": Case("x@first.test", "the first has no address"),
        "all mx missing": Case("x@hostless.test", "none has an address"),
        "equal preference": Case("x@equal.test", "in any order"),
        "mx self": Case("x@self.test", "loops back to myself"),
        "mx backup": Case("x@backup.test", "only better ones than ourselves"),
        "cname": Case("x@www.cname.test", "a domain that is an alias"),
        "mx cname": Case("x@target.test", "a mail host that is an alias"),
        "two addresses": Case("x@multi.test", "one name, two addresses"),
        "many mx": Case("x@many.test", "smtp_mx_address_limit"),
        "a-label": Case("x@xn--bcher-kva.test", "an A-label"),
        "u-label": Case("x@bücher.test", "the same as U-label"),
        "literal": Case("x@[127.0.1.31]", "an address literal"),
        "own literal": Case("bob@[127.0.0.1]", "our own address"),
        "dane": Case("x@dane.test", "TLSA record, verified"),
        "dane without": Case("x@dane.taken.test", "no TLSA record: as before"),
        "pickup": Case("va+tag@valias.test", "sendmail(1)", entry="pickup"),
        "submission": Case("x@taken.test", "all is mapped by static:", entry="submission"),
    },
)  # fmt: skip

STAR = Group(
    main="""\
transport_maps = hash:$D/transport
masquerade_domains = corp.test
masquerade_classes = envelope_sender, envelope_recipient
luser_relay = box+$local@vbox.test
local_recipient_maps =
virtual_alias_expansion_limit = 3
propagate_unmatched_extensions =
mailbox_command_maps = inline:{bob=true}
""",
    master="slow unix - - n - - smtp\n  -o syslog_name=postfix/slow\n",
    tables={
        "transport": "* slow:[127.0.2.1]\nplain.test :\nlab.test local:\nvbox.test :\n",
        "virtual": "va@valias.test x@plain.test\nmany@valias.test a@e.test b@e.test c@e.test d@e.test\n",
    },
    cases={
        "star": Case("x@taken.test", "* in transport_maps"),
        "star overridden": Case("x@plain.test", "an entry without transport or next hop"),
        "star and virtual mailbox": Case("box@vbox.test", "what the class has"),
        "star and relay": Case("known@relay.test", "* wins over relay_transport"),
        "masquerade": Case("x@host.corp.test", "the host part goes"),
        "luser_relay": Case("nosuch@lab.test", "unknown users go elsewhere"),
        "no propagation": Case("va+tag@valias.test", "the extension is dropped"),
        "no propagation alias": Case("team+tag@lab.test", "the extension is dropped"),
        "too many": Case("many@valias.test", "virtual_alias_expansion_limit"),
        "mailbox command": Case("bob@lab.test", "a command in place of the mailbox"),
    },
)
RELAYHOST = Group(
    main="""\
relayhost = rel.hosts.test
always_bcc = all@vbox.test
fallback_transport = lmtp:inet:127.0.0.1:24
mailbox_transport_maps = inline:{bob=lmtp:inet:127.0.0.1:24}
home_mailbox = Maildir/
local_recipient_maps =
smtp_fallback_relay = [sink.hosts.test]
""",
    cases={
        "relayhost": Case("x@taken.test", "by its mail host, then the fallback"),
        "relayhost not for relay domains": Case(
            "known@relay.test", "relay_domains go their own way, or not"
        ),
        "fallback_transport": Case("nosuch@lab.test", "unknown users"),
        "mailbox_transport": Case("bob@lab.test", "one user's mail by LMTP"),
        "home_mailbox": Case("carol@lab.test", "a maildir at home"),
        "always bcc": Case("box@vbox.test", "a copy of everything"),
    },
)
FILTER = Group(
    main="relayhost = [relmx.hosts.test], [silent.hosts.test]:2525\n",
    master="""\
scan unix - - n - - smtp
  -o syslog_name=postfix/scan
127.0.0.1:10026 inet n - n - - smtpd
  -o content_filter=
  -o mynetworks=127.0.0.0/8
  -o receive_override_options=no_unknown_recipient_checks
""",
    smtp="  -o content_filter=scan:[127.0.0.1]:10025\n  -o receive_override_options=no_address_mappings\n",
    tables={"virtual": "va@valias.test box@vbox.test, x@taken.test\n@cat.test box@vbox.test\n"},
    cases={
        "filter": Case("va@valias.test", "aliases are followed behind the filter"),
        "filter local": Case("team@lab.test", "local aliases behind the filter"),
        "no filter": Case("va@valias.test", "sendmail(1) has none", entry="pickup"),
        "relayhost in brackets": Case("x@taken.test", "the host itself, and a second"),
    },
)
ODD = Group(
    main="""\
append_dot_mydomain = yes
recipient_delimiter = +-
virtual_alias_domains = hash:$D/domains
virtual_alias_maps = proxy:hash:$D/virtual
virtual_mailbox_maps = proxy:hash:$D/vmailbox
transport_maps = regexp:$D/transport.re, hash:$D/transport
alias_maps = hash:$D/aliases, pcre:$D/aliases.pcre
canonical_maps = hash:$D/canonical
sender_canonical_maps = hash:$D/scanonical
sender_bcc_maps = hash:$D/sbcc
sender_dependent_default_transport_maps = hash:$D/senders
smtpd_sender_restrictions = check_sender_access hash:$D/sender_access
smtpd_recipient_restrictions = check_recipient_access hash:$D/access, permit_mynetworks,
  check_recipient_access inline:{late@lab.test=REJECT}
allow_mail_to_commands = alias
allow_mail_to_files = alias, forward
fallback_transport_maps = inline:{stray=lmtp:inet:127.0.0.1:24}
relay_transport = relay:[127.0.2.3]
default_transport = smtp:plain.test
local_recipient_maps = proxy:unix:passwd.byname $alias_maps inline:{stray=x, grace=x}
forward_path = $home/.forward${recipient_delimiter}${extension}, $home/.forward
""",
    master="slow unix - - n - - smtp\n  -o syslog_name=postfix/slow\n",
    tables={
        "domains": "valias.test x\nother.test x\n",
        "virtual": """\
va@valias.test box@vbox.test
va+k@valias.test all@vbox.test
@other.test @vbox.test
postmaster@valias.test carol
UPPER@valias.test all@vbox.test
spaced@valias.test box@vbox.test , all@vbox.test
quoted@valias.test "john smith"@plain.test
bare@valias.test bob
dup@valias.test box@vbox.test BOX@VBOX.test box@vbox.test
""",
        "vmailbox": "box@vbox.test x\nall@vbox.test x\n@vbox.test x\n",
        "transport.re": "/^re\\+.*@retrans\\.test$/ slow:[127.0.2.1]\n",
        "transport": "retrans.test slow:[127.0.2.2]\ncap.test slow:[127.0.2.1]\nerr.test error:later gone\n"
        "bob@lab.test slow:[127.0.2.4]\nfb.test smtp:[nowhere.invalid], [sink.hosts.test]\n",
        "canonical": "alias1@lab.test alias2@lab.test\nalias2@lab.test carol@lab.test\n",
        "scanonical": "was@sender.test s@sender.test\n",
        "senders": "s@sender.test slow:[127.0.2.3]\n",
        "sbcc": "bcc@sender.test all@vbox.test\n",
        "sender_access": "bad@sender.test REJECT no thanks\n",
        "access": "filtered.test FILTER slow:[127.0.2.2]\nadmin@ REJECT no admins\n"
        "gone@lab.test DISCARD\nsub.acc.test REJECT\n.acc.test 550 5.7.9 below\n",
        "aliases.pcre": "/^list-(.*)$/ bob\n",
        "aliases": """\
bob: bob, x@taken.test
frank: \\frank, carol
owner: owner-x
empty: :include:$D/none
inner: :include:$D/outer
dups: bob, carol, bob, carol
Mixed: carol
comment: carol (a remark), <bob@lab.test>
percent: x%taken.test
many: many1, many2
late: carol
many1: carol, box@vbox.test
many2: carol, box@vbox.test
team-request: carol
team: dave
reqd: |"cat >/dev/null"
""",
    },
    cases={
        "dot mydomain": Case("x@host", "$mydomain is appended"),
        "bang": Case("taken.test!x", "a bang path"),
        "route": Case("@a.test,@b.test:x@taken.test", "a source route"),
        "trailing dot": Case("x@taken.test.", "the dot goes"),
        "quoted": Case('"john smith"@taken.test', "a quoted local part"),
        "quoted at": Case('"x@taken.test"@lab.test', "an address in quotes, of a local domain"),
        "postmaster alone": Case("postmaster", "without domain, always taken"),
        "delimiter two": Case("bob-x@lab.test", "a second delimiter"),
        "delimiter both": Case("carol-x+y@lab.test", "the first of the two counts"),
        "virtual two delimiters": Case("va-z@valias.test", "the delimiter that was there is kept"),
        "virtual full key": Case("va+k@valias.test", "with extension in the table"),
        "upper key": Case("upper@valias.test", "keys of hash: are folded"),
        "upper address": Case("VA@VALIAS.TEST", "addresses are folded"),
        "spaces": Case("spaced@valias.test", "spaces around commas"),
        "quoted value": Case("quoted@valias.test", "quotes in a value"),
        "bare value": Case("bare@valias.test", "a value without domain"),
        "duplicates": Case("dup@valias.test", "equal values are one recipient"),
        "virtual postmaster": Case("postmaster@valias.test", "to a local user"),
        "domain to catch-all": Case("who@other.test", "@domain to @domain with a catch-all mailbox"),
        "default_transport": Case("x@taken.test", "smtp:plain.test for all"),
        "relay_transport": Case("known@relay.test", "with a next hop of its own"),
        "sub of relay domain": Case("known@sub.relay.test", "parent_domain_matches_subdomains"),
        "regexp transport": Case("re+y@retrans.test", "the full address is matched"),
        "regexp transport not": Case("other@retrans.test", "the table behind it"),
        "capital domain": Case("x@CAP.test", "domains are folded"),
        "error words": Case("x@err.test", "no code in the text"),
        "transport of local user": Case("bob@lab.test", "transport_maps wins over local"),
        "several next hops": Case("x@fb.test", "the first has no address"),
        "alias names itself": Case("list-x@lab.test", "pcre: in alias_maps, then an alias that names itself"),
        "alias backslash": Case("frank@lab.test", "itself and another"),
        "include missing two": Case("empty@lab.test", "no such file"),
        "include in include": Case("inner@lab.test", "a file that includes another"),
        "alias duplicates": Case("dups@lab.test", "members are delivered once"),
        "alias capitals": Case("mixed@lab.test", "keys are folded"),
        "alias remarks": Case("comment@lab.test", "remarks and angle brackets"),
        "alias percent": Case("percent@lab.test", "a member with percent"),
        "alias diamonds": Case("many@lab.test", "the same ends by two ways"),
        "request": Case("team-request@lab.test", "-request is no extension"),
        "forward restricted": Case("erin@lab.test", "no commands in .forward"),
        "forward of extension": Case("grace+deal@lab.test", ".forward+deal"),
        "forward plain": Case("grace@lab.test", ".forward with comments and a file"),
        "forward of others": Case("heidi@lab.test", "a .forward open to all is not read"),
        "fallback_transport_maps": Case("stray@lab.test", "an unknown user of the table"),
        "late": Case("late@lab.test", "refused, but not for those in mynetworks"),
        "late outside": Case("late@lab.test", "refused for one from outside", outside=True),
        "canonical once": Case("alias1@lab.test", "canonical_maps is not asked again"),
        "sender canonical": Case("x@plain.test", "rewritten before the table of senders is asked", sender="was@sender.test"),
        "sender bcc": Case("x@cap.test", "a copy for what he sends", sender="bcc@sender.test"),
        "sender refused": Case("x@plain.test", "check_sender_access", sender="bad@sender.test"),
        "access filter": Case("x@filtered.test", "FILTER"),
        "access user@": Case("admin@plain.test", "a key user@"),
        "access discard": Case("gone@lab.test", "DISCARD"),
        "access sub": Case("x@sub.acc.test", "by domain"),
        "access below": Case("x@other.acc.test", "by .domain"),
        "access parent": Case("x@deep.sub.acc.test", "by the parent domain"),
        "unknown by pickup": Case("nosuch-x@lab.test", "with extension", entry="pickup"),
        "mailer-daemon": Case("mailer-daemon@lab.test", "no alias of it"),
    },
)  # fmt: skip
CLOSED = Group(
    main="""\
virtual_alias_domains = valias.test second.test
smtpd_recipient_restrictions = check_recipient_access hash:$D/access
virtual_transport = virtual
mailbox_command = cat >/dev/null
local_transport = mine:lab.test
transport_maps = hash:$D/transport
""",
    master="""\
mine unix - n n - - local
  -o syslog_name=postfix/mine
  -o alias_maps=hash:$D/aliases2
  -o mailbox_command=true
scan unix - - n - - smtp
  -o syslog_name=postfix/scan
127.0.0.1:10026 inet n - n - - smtpd
  -o mynetworks=127.0.0.0/8
  -o smtpd_recipient_restrictions=
""",
    pickup="  -o receive_override_options=no_address_mappings\n",
    tables={
        "virtual": "va@valias.test box@vbox.test\n@second.test carol\n",
        "transport": "localhost local:\n",
        "access": "filtered@valias.test FILTER scan:[127.0.0.1]:10025\n"
        "va@valias.test OK\nheld@vbox.test 421 4.3.2 closing\n",
        "aliases": "team: bob, carol\nshut: :include:$D/shut\n",
        "aliases2": "team: carol\nshut: :include:$D/shut\n",
        "vmailbox": "box@vbox.test x\nheld@vbox.test x\n",
    },
    cases={
        "closed home": Case("ivan@lab.test", "a .forward in a home that is closed", closed=True),
        "closed list": Case("shut@lab.test", "an :include: file that local(8) cannot read itself", closed=True),
        "local transport": Case("team@lab.test", "its own aliases"),
        "other local": Case("team@localhost", "the usual ones"),
        "local transport's command": Case("bob@lab.test", "its own mailbox_command"),
        "pickup without mappings": Case("va@valias.test", "no virtual aliases", entry="pickup"),
        "pickup and aliases": Case("team@lab.test", "aliases(5) as ever", entry="pickup"),
        "access filter and back": Case("filtered@valias.test", "it comes back, and is unknown"),
        "access 421": Case("held@vbox.test", "a temporary refusal"),
    },
)  # fmt: skip
SECRET = Group(
    main="virtual_alias_maps = hash:$D/virtual, hash:$D/secret\n",
    tables={"secret": "s@valias.test box@vbox.test\n"},
    cases={
        "closed key": Case("s@valias.test", "only root may read the table", closed=True),
        "closed, not in it": Case("no@valias.test", "what is closed may have it", closed=True),
    },
)
GROUPS: Mapping[str, Group] = {
    "main": MAIN,
    "star": STAR,
    "relayhost": RELAYHOST,
    "filter": FILTER,
    "odd": ODD,
    "closed": CLOSED,
    "secret": SECRET,
}
