"""The path of an address as Sendmail itself sees it: ``sendmail -v -bv``, and DNS for its hosts.

Sendmail expands aliases(5), :include: files, .forward files and virtusertable, and connects to
nobody; of DNS it asks nothing here, so what becomes of a next hop is looked up by us. Two traps
have a sentence each: a map that is missing is no error to Sendmail when it is optional, and a host
name that cannot be qualified makes it wait for a minute. Access tables it does not ask. Postfix and
others have a command of the same name: only Sendmail's own program is ever run. Raises
UnavailableError where it is not here, UsageError for what is no address.
"""

import mmap
import shutil
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from posttrail.config import Trace as Settings
from posttrail.errors import UnavailableError
from query.trace import sendmail_cf, sendmail_output
from query.trace.command import CommandError, Said, ask
from query.trace.dns import Dns
from query.trace.sendmail_cf import Cf
from query.trace.sendmail_hosts import Hosts
from query.trace.sendmail_tree import Tree, unknown
from query.trace.single import single
from query.trace.tree import Node, Question, Trace, Verdict, judged, rfc3339, worst

TIMEOUT_S: Final = 10.0
_PLACES: Final = (
    "/usr/libexec/sendmail/sendmail", "/usr/lib/sm.bin/sendmail", "/usr/sbin/sendmail.sendmail",
    "/usr/sbin/sendmail", "/usr/lib/sendmail",
)  # fmt: skip
_MARK: Final = b"Warning: .cf version level"  # stands in no other MTA's command of this name
_SLOW: Final = "a host name that cannot be qualified makes Sendmail wait for a minute at its start"
_ACCESS: Final = "What check_rcpt refuses at SMTP time (the access table) is not seen here"
_LOCAL_PART: Final = "sendmail -bv takes no address with a local part outside ASCII"
_NO_ROUTE: Final = frozenset({"access", "generics", "authinfo", "uudomain"})  # maps of other uses


def sendmail_program() -> str | None:
    """Where Sendmail is; None where there is none, or only another MTA's command of that name."""
    first = shutil.which("sendmail")
    places = (*((first,) if first else ()), *_PLACES)
    return next(filter(is_sendmail, places), None)


def is_sendmail(place: str) -> bool:
    """Is this program Sendmail, not a command of Postfix, Exim or another by its name?"""
    try:
        with Path(place).open("rb") as file, mmap.mmap(file.fileno(), 0, access=1) as text:
            return text.find(_MARK) >= 0
    except (OSError, ValueError):  # not there, not readable, empty
        return False


def sendmail_walker(config: Settings, dns: Dns) -> "SendmailWalker":
    """The walker over this machine's Sendmail."""
    program = sendmail_program()
    if program is None:
        raise UnavailableError("no Sendmail here: no program named sendmail is Sendmail's own")
    return SendmailWalker(program, dns, config=config.config)


class SendmailWalker:
    """Asks one Sendmail, and DNS for what it does not ask."""

    def __init__(self, program: str, dns: Dns, *, config: str = "") -> None:
        self.spawned = 0
        self._program = program
        self._config = config
        self._dns = dns

    def trace(self, question: Question) -> Trace:
        """The tree for one address."""
        address = single(question.address)
        cf, warnings, doubts = self._read()
        version = ""
        try:
            said = self._ask(question, address) if address.isascii() else None
        except CommandError as error:
            root = unknown(question.address, f"{error}: {_SLOW}")
        else:
            if said is None:
                root = unknown(question.address, _LOCAL_PART)
            else:
                version, root = self._root(question, address, said, cf)
        now = rfc3339(time.time())
        return Trace(
            question=question, mta=f"sendmail {version}".strip(), as_of=now,
            root=doubted(judged(root), doubts), warnings=(*warnings, _ACCESS),
        )  # fmt: skip

    def _read(self) -> tuple[Cf, list[str], list[str]]:
        """sendmail.cf, what is to be said of it, and what of that makes answers doubtful."""
        path = self._config or sendmail_cf.DEFAULT
        try:
            cf = sendmail_cf.read(path)
        except UnavailableError as error:
            why = f"{error}: mailers and maps are not known, the usual mailers are taken"
            return Cf(path=path), [why], []
        found = list(sendmail_cf.troubles(cf, group=self._group()))
        doubts = [why for each, why in found if each.name not in _NO_ROUTE]
        return cf, [why for _, why in found], doubts

    def _group(self) -> int | None:
        """The group that the program takes on; a configuration named by -C costs it that."""
        if self._config:
            return None
        try:
            found = Path(self._program).stat()
        except OSError:
            return None
        return found.st_gid if found.st_mode & stat.S_ISGID else None

    def _ask(self, question: Question, address: str) -> Said:
        self.spawned += 1
        config = (f"-C{self._config}",) if self._config else ()
        sender = () if question.sender is None else ("-f", question.sender or "<>")
        words = (*config, *sender, "-d0.1", "-v", "-bv", "--", address)
        return ask((self._program, *words), timeout_s=TIMEOUT_S)

    def _root(self, question: Question, address: str, said: Said, cf: Cf) -> tuple[str, Node]:
        output = sendmail_output.parse(said.stdout)
        hosts = Hosts(cf, self._dns.question(), output.host_name)
        tree = Tree(output, cf, hosts.deliver, at_smtp=question.entry != "pickup", code=said.code)
        root = tree.root(question.address, address)
        if root is None:
            words = "; ".join(output.words) or " ".join(said.stderr.split()) or "nothing"
            root = unknown(question.address, f"Sendmail says only: {words}")
        return output.version, root


def doubted(root: Node, doubts: list[str]) -> Node:
    """With a table that was not read an answer is not known to be right."""
    if not doubts:
        return root
    verdict = worst((root.verdict, Verdict.UNKNOWN))
    return replace(root, verdict=verdict, notes=(*root.notes, *doubts))
