"""libmilter's callbacks: the only module that touches pymilter.

Speaks the milter protocol, version 6, through pymilter's C module. Every callback goes through
``_guarded``, which alone gives answers, and knows but two: NOREPLY where the MTA agreed to wait
for none (all but RCPT and EOM), else CONTINUE. Consecutive callbacks of one connection run in
different threads, so all state is on the ``Connection`` that libmilter keeps for us.

Logs "callback failed" (error, the 1st, 2nd, 4th, 8th ... time), "MTA offers less" (warning),
"bytes that are not UTF-8" (debug). Raises ``UnavailableError`` when the socket cannot be opened.
"""

from __future__ import annotations  # milter.milterContext exists in the stub only

import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Final

import milter

from milterd.headers import wanted
from milterd.metrics import Counters
from milterd.recorder import Make, now_us
from milterd.spool import encode_body
from milterd.transaction import Room, Session, SubjectRule, Transaction, record
from posttrail.errors import UnavailableError

log = logging.getLogger(__name__)

NAME: Final = "posttrail"
IDLE_S: Final = 600  # libmilter's own limit is two hours
# RCPT is answered: what is buffered when a client leaves after its last refused recipient comes
# together with the hang-up, and libmilter then closes without reading it (measured).
NO_REPLIES: Final = (
    milter.P_NR_CONN
    | milter.P_NR_HELO
    | milter.P_NR_MAIL
    | milter.P_NR_DATA
    | milter.P_NR_HDR
    | milter.P_NR_EOH
)
# Not without EOH: libmilter takes an EOM right after DATA for an error, and hangs up (measured).
WANTED: Final = milter.P_RCPT_REJ | milter.P_NOBODY | milter.P_NOUNKNOWN
# A step for which the MTA has no macro costs a packet less; what DATA told still holds at EOM.
MACROS: Final = (
    (milter.M_CONNECT, "{client_port} {client_addr} {daemon_name}"),
    (milter.M_HELO, "{tls_version} {cipher}"),
    (milter.M_ENVFROM, "i {auth_authen} {auth_type}"),
    (milter.M_ENVRCPT, "i {rcpt_mailer} {rcpt_host} {rcpt_addr}"),
    (milter.M_DATA, "i"),
    (milter.M_EOH, ""),
    (milter.M_EOM, ""),
)


@dataclass(slots=True)
class Sink:
    """Where all connections lead."""

    put: Callable[[Make, int], None]
    counters: Counters
    subject: SubjectRule
    silent: bool  # whether to ask the MTA not to wait for replies
    answer: int = milter.CONTINUE  # as negotiated with whom we last heard of a client from
    open: set[Connection] = field(default_factory=set)  # those in a transaction
    room: Room = field(default_factory=Room)


class Connection:
    """One SMTP session, as libmilter tells it."""

    __slots__ = ("answer", "session", "sink", "transaction")

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.answer = sink.answer
        self.session = Session()
        self.transaction: Transaction | None = None

    def negotiate(self, ctx: milter.milterContext, options: list[int]) -> None:
        """Ask for few macros, no body, refused recipients, few replies."""
        offered_actions, offered = options[:2]
        missing = (WANTED | NO_REPLIES) & ~offered
        if missing and not self.sink.counters.connections:
            log.warning("MTA offers less than is asked for missing=%#x", missing)
        if offered_actions & milter.SETSYMLIST:
            for stage, names in MACROS:
                ctx.setsymlist(stage, names)
        silent = self.sink.silent and not missing & NO_REPLIES
        options[:] = (
            offered_actions & milter.SETSYMLIST,
            offered & (WANTED | NO_REPLIES if silent else WANTED),
            0,
            0,
        )
        self.answer = milter.NOREPLY if silent else milter.CONTINUE

    def connect(self, ctx: milter.milterContext, name: str, family: int, address: object) -> None:
        """A client; the address is (ip, port, ...), and something else for AF_UNIX or none."""
        self.sink.counters.connections += 1
        self.sink.answer = self.answer  # not at once: the watchdog's probe negotiates, too
        ip, port = address[:2] if isinstance(address, tuple) else ("", 0)
        self.session = Session(name, ip, port)
        self._client(ctx)

    def helo(self, ctx: milter.milterContext, name: str) -> None:
        """HELO or EHLO; comes again after STARTTLS, and only then with TLS."""
        version = _macro(ctx, "{tls_version}")
        tls = f"{version} {_macro(ctx, '{cipher}')}".rstrip() if version else ""
        self.session = self.session._replace(helo=name, tls=tls)

    def mail(self, ctx: milter.milterContext, *arguments: bytes) -> None:
        """MAIL FROM. Postfix has no queue id yet, Sendmail and local mail do."""
        self._end(aborted=True)
        if not self.session.ip:
            self._client(ctx)  # a client's name that is not UTF-8 kept connect from being called
        login = _macro(ctx, "{auth_authen}")
        auth = _macro(ctx, "{auth_type}")
        transaction = Transaction(now_us(), arguments, login, auth, self.sink.room)
        transaction.queue_id = _macro(ctx, "i")
        self.transaction = transaction
        self.sink.open.add(self)

    def rcpt(self, ctx: milter.milterContext, *arguments: bytes) -> None:
        """RCPT TO, refused ones too (SMFIP_RCPT_REJ): their mailer is ``error``."""
        transaction = self.transaction
        if transaction:
            mailer = _macro(ctx, "{rcpt_mailer}")
            address = _macro(ctx, "{rcpt_addr}") if mailer == "error" else ""
            transaction.add_recipient(arguments, mailer, _macro(ctx, "{rcpt_host}"), address)
            if not transaction.queue_id:
                transaction.queue_id = _macro(ctx, "i")

    def data(self, ctx: milter.milterContext) -> None:
        """DATA or the first BDAT."""
        self._reach("data", ctx)

    def header(self, ctx: milter.milterContext, name: str, value: bytes) -> None:
        """A header field; comes after the whole message was received."""
        folded = wanted(name)
        if folded and self.transaction:
            self.transaction.add_field(folded, value)

    def eoh(self, ctx: milter.milterContext) -> None:
        """The end of the header."""
        if self.transaction:
            self.transaction.stage = "eoh"

    def eom(self, ctx: milter.milterContext) -> None:
        """The end of the message: the last word we get."""
        self._reach("eom", ctx)
        self._end(aborted=False)

    def abort(self, ctx: milter.milterContext) -> None:
        """The transaction ended early; may come twice, and does not mean that it failed."""
        self._end(aborted=True)

    def close(self, ctx: milter.milterContext) -> None:
        """The session is over."""
        self._end(aborted=True)

    def _client(self, ctx: milter.milterContext) -> None:
        ip, port = self.session.ip, _macro(ctx, "{client_port}")  # XCLIENT does not change it
        self.session = self.session._replace(
            ip=ip or _macro(ctx, "{client_addr}"),
            port=int(port) if port.isdecimal() else self.session.port,
            daemon=_macro(ctx, "{daemon_name}"),
        )

    def _reach(self, stage: str, ctx: milter.milterContext) -> None:
        if self.transaction:
            self.transaction.stage = stage
            self.transaction.queue_id = _macro(ctx, "i") or self.transaction.queue_id

    def _end(self, *, aborted: bool) -> None:
        transaction, self.transaction = self.transaction, None
        if transaction:
            self.sink.open.discard(self)
            make = partial(
                _body,
                self.session,
                transaction,
                end_us=now_us(),
                aborted=aborted,
                subject=self.sink.subject,
            )
            self.sink.put(make, transaction.size_bytes())
            transaction.end()


def _body(
    session: Session, said: Transaction, *, end_us: int, aborted: bool, subject: SubjectRule
) -> bytes | None:
    body = record(session, said, end_us=end_us, aborted=aborted, subject=subject)
    return encode_body(body) if body else None


def open_socket(name: str, sink: Sink) -> None:
    """Listen on ``unix:PATH`` or ``inet:PORT@HOST``; the caller has set the umask."""
    milter.set_exception_policy(milter.CONTINUE)  # the net under the wrapper: C code fails too
    sys.excepthook = _recover
    milter.set_flags(milter.SETSYMLIST)
    milter.set_connect_callback(_guarded(sink, Connection.connect))
    milter.set_helo_callback(_guarded(sink, Connection.helo))
    milter.set_envfrom_callback(_guarded(sink, Connection.mail))
    milter.set_envrcpt_callback(_guarded(sink, Connection.rcpt, is_waited_for=True))
    milter.set_header_callback(_guarded(sink, Connection.header))
    milter.set_eoh_callback(_guarded(sink, Connection.eoh))
    milter.set_eom_callback(_guarded(sink, Connection.eom, is_waited_for=True))
    milter.set_abort_callback(_guarded(sink, Connection.abort, is_waited_for=True))
    milter.set_close_callback(_guarded(sink, Connection.close, is_waited_for=True))
    milter.setconn(name)
    milter.settimeout(IDLE_S)
    negotiate = _negotiation(sink)
    milter.register(NAME, data=_guarded(sink, Connection.data), negotiate=negotiate)
    try:
        milter.opensocket(True)
    except milter.error:
        raise UnavailableError(f"cannot listen on {name}: see the system's mail log") from None


def serve() -> None:
    """Handle connections until the process ends."""
    milter.main()


def _guarded(
    sink: Sink, method: Callable[..., None], *, is_waited_for: bool = False
) -> Callable[..., int]:
    """The method as a callback that never costs anyone a mail."""

    def callback(ctx: milter.milterContext, *arguments: object) -> int:
        answer = milter.CONTINUE
        try:
            connection = ctx.getpriv() or _adopt(ctx, sink)
            answer = connection.answer
            method(connection, ctx, *arguments)
        except Exception:  # noqa: BLE001 - our bug must not cost anyone a mail
            _failed(sink, method.__name__)
        return milter.CONTINUE if is_waited_for else answer

    return callback


def _negotiation(sink: Sink) -> Callable[[milter.milterContext, list[int]], int]:
    def callback(ctx: milter.milterContext, options: list[int]) -> int:
        connection = Connection(sink)
        try:
            _bind(ctx, connection)
            connection.negotiate(ctx, options)
        except Exception:  # noqa: BLE001 - as above
            _failed(sink, "negotiate")
            connection.answer = sink.answer = milter.CONTINUE
            return milter.ALL_OPTS  # every callback, every reply: more work, no harm
        return milter.CONTINUE

    return callback


def _adopt(ctx: milter.milterContext, sink: Sink) -> Connection:
    """A new connection; without a negotiation where the MTA reuses ours (SMFIC_QUIT_NC)."""
    connection = Connection(sink)
    _bind(ctx, connection)
    return connection


def _bind(ctx: milter.milterContext, connection: Connection) -> None:
    ctx.setpriv(connection)
    _current.set(connection)


def _failed(sink: Sink, name: str) -> None:
    sink.counters.failures += 1
    if sink.counters.failures.bit_count() == 1:
        log.exception("callback failed name=%s failures=%d", name, sink.counters.failures)


def _macro(ctx: milter.milterContext, name: str) -> str:
    """A macro's value, "" when it has none."""
    try:
        return ctx.getsymval(name) or ""
    except UnicodeDecodeError as error:
        return error.object.decode("utf-8", "surrogateescape")


_current: Final[ContextVar[Connection | None]] = ContextVar("connection", default=None)
"""pymilter gives each connection a Python thread state, hence a context, of its own."""


def _recover(kind: type[BaseException], error: BaseException, places: TracebackType | None) -> None:
    """What pymilter could not hand to a callback: a name that is not UTF-8.

    It decodes the client's name, HELO and the names of header fields strictly, before any code of
    ours runs, and reports here. Once a transaction runs it was a field's name, which tells nothing.
    """
    if not isinstance(error, UnicodeDecodeError):
        log.error("exception outside of the callbacks", exc_info=(kind, error, places))
        return
    log.debug("bytes that are not UTF-8 in a name")
    connection = _current.get()  # None: before anything of ours has run
    if connection is not None and connection.transaction is None:
        text = error.object.decode("utf-8", "surrogateescape")
        known = connection.session
        connection.session = known._replace(helo=text) if known.name else known._replace(name=text)
