"""Asks the hosts at the ends of a trace whether they would take the recipient; sends no mail.

RFC 5321: connect, EHLO, STARTTLS (RFC 3207) where offered, MAIL FROM:<>, RCPT, RSET, QUIT; never
DATA. Only an operator at the command line may ask for this: it is the one place where a trace
connects to a remote host. An answer to RCPT is an answer and no promise: some hosts take every
recipient, others put off the first try of any (greylisting). Nothing is raised; what goes wrong
is in the tree.
"""

import ipaddress
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final

from query.trace.dns import a_label
from query.trace.nexthop import literal
from query.trace.tree import Host, Node, Source, Step, Trace, Verdict, judged

TOTAL_S: Final = 20.0  # for all hosts of a trace
CONNECT_S: Final = 5.0  # for one of them to accept a connection
MAX_ADDRESSES: Final = 5  # of one end
MAX_LINE: Final = 2048
MAX_LINES: Final = 100
SHOWN: Final = 300  # characters of a reply

_GREYLIST = re.compile(r"gr[ae]y.?list", re.IGNORECASE)
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?= |$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """Who asks."""

    helo: str  # smtp_helo_name: the name with which the MTA itself greets
    source: str = ""  # smtp_bind_address
    total_s: float = TOTAL_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the remote said in one step, and how long it took."""

    step: str  # connect, greeting, EHLO, STARTTLS, MAIL, RCPT, RSET, QUIT
    code: int  # 0: none came
    text: str
    took_ms: float

    @property
    def good(self) -> bool:
        """2xx."""
        return 200 <= self.code < 300

    @property
    def line(self) -> str:
        """``RCPT 12.3 ms: 250 2.1.5 Ok``."""
        said = " ".join(filter(None, (str(self.code) if self.code else "", self.text)))
        return f"{self.step} {self.took_ms:.1f} ms" + (f": {said}" if said else "")


def probed(trace: Trace, how: How) -> Trace:
    """The trace with a child below each end that has hosts: what they answered."""
    until = time.monotonic() + how.total_s
    root = _walk(trace.root, how, until)
    return replace(trace, root=judged(root))


def _walk(node: Node, how: How, until: float) -> Node:
    if node.children:
        return replace(node, children=tuple(_walk(child, how, until) for child in node.children))
    if node.step is not Step.DELIVER or not any(host.addresses for host in node.hosts):
        return node
    answer = ask(node, how, until)
    if isinstance(answer, str):
        return replace(node, notes=(*node.notes, f"not probed: {answer}"))
    return replace(node, children=(answer,))


def ask(end: Node, how: How, until: float) -> Node | str:
    """What the first host of an end that talks to us says; why nobody was asked, as text.

    ``until`` is on the clock of ``time.monotonic``.
    """
    targets = [(host, one) for host in end.hosts for one in host.addresses]
    open_ones = [(host, one) for host, one in targets if allowed(end, host, one)]
    if not open_ones:
        return f"{targets[0][1]} is no public address, and no setting names it as next hop"
    if not _speakable(end.address):
        return "the address has characters that cannot be spoken in SMTP"
    told: list[str] = []
    for host, address in open_ones[:MAX_ADDRESSES]:
        if time.monotonic() >= until:
            break
        session = _Session(how, end.address, until, lmtp=end.transport == "lmtp")
        session.run(address, host.port)
        told += (f"{host.name} [{address}] {reply.line}" for reply in session.replies)
        if session.reply("RCPT") or session.reply("MAIL"):
            return _judge(end, host, address, session, tuple(told))
    if time.monotonic() < until:
        return _node(end, Verdict.TEMPORARY, "no remote host would talk to us", tuple(told))
    over = f"{how.total_s:g} s are over"  # an MTA waits longer than we do: this is no evidence
    return (
        _node(end, Verdict.UNKNOWN, f"{over}, and nobody has answered", tuple(told))
        if told
        else over
    )


def allowed(end: Node, host: Host, address: str) -> bool:
    """May it be connected to? A public address always; others where our own settings say so.

    Whose domain has its MX point to 127.0.0.1 or into our network gets no connection there.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    real = mapped or ip
    if real.is_global and not real.is_multicast:
        return True
    named = _same(end.nexthop or "")
    spoken = {_same(part) for part in re.split(r"[@%!]", end.address)}  # whoever wrote the address
    return host.fallback or bool(named and named not in spoken)


def _same(domain: str) -> str:
    """One spelling of a domain or address literal, so that two can be compared."""
    inner = domain.strip().lower().removeprefix("[").removesuffix("]").removeprefix("ipv6:")
    return literal(inner) or a_label(inner) or inner


def _speakable(address: str) -> bool:
    return address.isprintable() and len(address) < 512


def _judge(end: Node, host: Host, address: str, session: "_Session", told: tuple[str, ...]) -> Node:
    """The node of a host that has answered to MAIL or RCPT."""
    reply = session.reply("RCPT") or session.reply("MAIL") or session.replies[-1]
    code = reply.code or ""  # none: we did not ask
    text = " ".join(
        f"remote answered: {host.name} [{address}] {reply.step} {code} {reply.text}".split()
    )
    verdict = Verdict.UNKNOWN
    if reply.step == "RCPT" and reply.good:
        verdict = Verdict.OK
    elif reply.step == "RCPT" and 400 <= reply.code < 500:
        verdict = Verdict.TEMPORARY
        if _GREYLIST.search(reply.text):
            text = f"{text} (greylisting: a later try may be taken)"
    elif reply.step == "RCPT" and 500 <= reply.code < 600:
        verdict = Verdict.PERMANENT
    elif reply.step == "MAIL":
        text = f"{text}; it was not asked about the recipient"
    found = _ENHANCED.match(reply.text)
    node = _node(end, verdict, text, told)
    return replace(
        node,
        hosts=(replace(host, addresses=(address,)),),
        enhanced_status=found[0] if found else None,
    )


def _node(end: Node, verdict: Verdict, text: str, told: tuple[str, ...]) -> Node:
    return Node(
        address=end.address,
        step=Step.DELIVER,
        verdict=verdict,
        source=Source.PROBE,
        transport=end.transport,
        nexthop=end.nexthop,
        text=text,
        notes=told,
    )


@dataclass(slots=True)
class _Session:
    """One session with one address; ``replies`` is what was said."""

    how: How
    recipient: str
    until: float
    lmtp: bool
    replies: list[Reply] = field(default_factory=list)
    _socket: socket.socket | None = None
    _lines: BinaryIO | None = None
    _offers: frozenset[str] = frozenset()

    def reply(self, step: str) -> Reply | None:
        """The last reply of a step."""
        return next((one for one in reversed(self.replies) if one.step == step), None)

    def run(self, address: str, port: int) -> None:
        """The whole session; ends early where the remote does not go on."""
        began = time.monotonic()
        source = (self.how.source, 0) if self.how.source else None
        patience = max(0.1, min(CONNECT_S, self.until - began))
        try:
            made = socket.create_connection((address, port), patience, source_address=source)
        except OSError as error:
            self._note("connect", 0, error.strerror or str(error) or "timeout", began)
            return
        self._note("connect", 0, "", began)
        with made, self._watched(made):
            self._take(made)
            try:
                self._talk()
            except (OSError, ValueError, ssl.SSLError) as error:
                self._note("broken off", 0, _clean(str(error)), time.monotonic())
            finally:
                self._close()

    def _talk(self) -> None:
        if not self._hear("greeting", time.monotonic()).good or not self._hello():
            return
        if "STARTTLS" in self._offers and self._say("STARTTLS", "STARTTLS").good:
            self._tls()
            if not self._hello():
                return
        wide = not self.recipient.isascii()
        if wide and "SMTPUTF8" not in self._offers:
            self._note("MAIL", 0, "the remote does not offer SMTPUTF8", time.monotonic())
        elif self._say("MAIL", "MAIL FROM:<>" + (" SMTPUTF8" if wide else "")).good:
            self._say("RCPT", f"RCPT TO:<{self.recipient}>")
            self._say("RSET", "RSET")
        self._say("QUIT", "QUIT")

    def _hello(self) -> bool:
        verb = "LHLO" if self.lmtp else "EHLO"
        said = self._say(verb, f"{verb} {self.how.helo}")
        self._offers = frozenset(line.split(" ")[0].upper() for line in said.text.split("; ")[1:])
        return said.good

    def _tls(self) -> None:
        """Encrypts, as an MTA would that may: whose certificate it is, is not judged."""
        assert self._socket is not None
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        began = time.monotonic()
        self._close_lines()
        tls = context.wrap_socket(self._socket)
        self._note("TLS handshake", 0, f"{tls.version()} {(tls.cipher() or ('',))[0]}", began)
        self._take(tls)

    def _take(self, connected: socket.socket) -> None:
        connected.settimeout(max(0.1, self.until - time.monotonic()))
        self._socket, self._lines = connected, connected.makefile("rb")

    def _say(self, step: str, words: str) -> Reply:
        assert self._socket is not None
        began = time.monotonic()
        self._socket.sendall(words.encode() + b"\r\n")
        return self._hear(step, began)

    def _hear(self, step: str, began: float) -> Reply:
        """One reply of one or more lines. ValueError of what is none."""
        assert self._lines is not None
        texts: list[str] = []
        for _ in range(MAX_LINES):
            line = self._lines.readline(MAX_LINE)
            code = line[:3]
            if not line.endswith(b"\n") or not code.isdigit():
                raise ValueError("the connection was closed" if not line else "no SMTP reply")
            texts.append(_clean(line[4:].decode("utf-8", "backslashreplace")))
            if line[3:4] != b"-":
                return self._note(step, int(code), "; ".join(texts), began)
        raise ValueError(f"a reply of more than {MAX_LINES} lines")

    def _note(self, step: str, code: int, text: str, began: float) -> Reply:
        took_ms = (time.monotonic() - began) * 1000
        self.replies.append(Reply(step=step, code=code, text=text, took_ms=took_ms))
        return self.replies[-1]

    @contextmanager
    def _watched(self, made: socket.socket) -> Iterator[None]:
        """Cuts the connection when time is up, however slowly the remote drips."""
        double = socket.socket(fileno=os.dup(made.fileno()))
        timer = threading.Timer(max(0.1, self.until - time.monotonic()), _cut, (double,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            double.close()

    def _close_lines(self) -> None:
        if self._lines is not None:
            self._lines.close()

    def _close(self) -> None:
        self._close_lines()
        if self._socket is not None:
            self._socket.close()


def _cut(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:  # it is closed already
        pass


def _clean(text: str) -> str:
    """A reply as one printable line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text.strip())[:SHOWN]
