"""Who asks: one decision a request, from the facts to a caller, or nobody.

One proof counts, the first of these that is there: a token (Authorization: Bearer, on every
socket), a link's session (its cookie, on every socket), and what the socket itself proves: the
kernel's word (SO_PEERCRED) on ours, the proxy's user header on the proxy's. A token that is wrong
is refused, whatever else would prove; a session that is over counts as none. The proxy's own uid
is nobody, its header elsewhere is not looked at, and it names no operator save for those of
query.proxy_operators. What changes something and rests on a browser's proof (session, proxy) must
come from a page of ours. Raises Denied; StateError where a token or a session cannot be looked up;
``Identity`` raises ConfigError for a login of [users] that can see nothing.
"""

from typing import Final

from journal import address
from posttrail.config import Config
from posttrail.errors import ConfigError, UsageError
from query.httpd import grants, origin
from query.httpd.caller import Caller, How, Role
from query.httpd.facts import Door, Facts, Peer
from query.httpd.grants import Grant
from query.httpd.links import Links
from query.httpd.people import People
from query.httpd.problem import Kind, Problem
from query.httpd.state import State
from query.httpd.tokens import PREFIX, Tokens
from query.scope import Scope

CHALLENGE: Final = 'Bearer realm="posttrail"'  # RFC 6750 3
MOST_LETTERS: Final = 320
"""Of a user that a proxy names."""


class Denied(Problem):
    """Nobody is known to ask (401), or the one who asks may not (403)."""


class Identity:
    """Made once; ``identify`` is called once a request, in a worker thread."""

    def __init__(
        self, settings: Config, state: State | None = None, people: People | None = None
    ) -> None:
        self._settings = settings
        self._query = settings.query
        self._delimiters = settings.query.delimiters
        self.state = state or State(settings.query.state)
        self.tokens = Tokens(self.state, delimiters=self._delimiters)
        self.links = Links(self.state, delimiters=self._delimiters)
        self._people = people or People()
        self._local = frozenset(
            address.fold_domain(name.encode()) for name in settings.mta.local_domains
        )
        for login in settings.users:  # what means nothing is said at start
            self._named(login, [])

    def identify(self, facts: Facts, *, is_use: bool = True) -> Caller:
        """The caller of a request; one that is no ``is_use`` lets a session's idle time go on."""
        if facts.peer is None:  # no proof could change that: nobody may
            raise Denied(Kind.FORBIDDEN, "who connects cannot be found out")
        caller = self._token(facts) or self._session(facts, is_use) or self._door(facts.peer, facts)
        browser = caller.how in (How.LINK, How.PROXY)
        if browser and facts.method not in origin.SAFE and not self._is_ours(facts):
            raise Denied(Kind.FORBIDDEN, "the request was not sent by a page of ours")
        return caller

    def is_local(self, name: bytes) -> bool:
        """Whether a folded address is of a domain of this server; True where none is named."""
        return not self._local or address.domain(name) in self._local

    def _is_ours(self, facts: Facts) -> bool:
        return origin.is_ours(lambda name: facts.headers.get(name, ()), self._query.base_url)

    def _token(self, facts: Facts) -> Caller | None:
        sent = facts.headers.get("authorization", ())
        if len(sent) > 1:
            raise _wrong_token()
        scheme, _, text = (sent[0] if sent else "").strip().partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer":
            return None  # a proxy's own login may pass through
        if not text.startswith(PREFIX):
            if facts.peer is not None and facts.peer.door is Door.PROXY:
                return None  # the proxy's: a token of its own service
            raise _wrong_token()
        found = self.tokens.caller(text)
        if found is None:
            raise _wrong_token()
        return found

    def _session(self, facts: Facts, is_use: bool) -> Caller | None:
        secret = facts.cookies.get(origin.cookie_name(self._query))
        return self.links.caller(secret, is_use=is_use) if secret else None

    def _door(self, peer: Peer, facts: Facts) -> Caller:
        if peer.uid is None:  # a port of this machine, or a hook that failed
            raise _nobody()
        if peer.door is Door.QUERYD:
            return self._peer(peer.uid)
        if peer.door is Door.PROXY:
            return self._proxy(facts)
        raise _nobody()

    def _peer(self, uid: int) -> Caller:
        person = self._people.person(uid)
        if uid == 0 or (person and self._people.group(self._query.admin_group) in person.groups):
            name = person.login if person else "root"
            return self._caller(name, How.PEER, Grant(Role.OPERATOR, self._all()))
        if person is None:
            raise _not_for_you()
        return self._caller(person.login, How.PEER, self._login(person.login, [f"uid={uid}"]))

    def _proxy(self, facts: Facts) -> Caller:
        name = facts.header(self._query.user_header)
        try:
            name = (name or "").encode("latin-1").decode("utf-8")
        except UnicodeError:
            raise _nobody() from None
        if not name or len(name) > MOST_LETTERS or not _is_one_word(name):
            raise _nobody()
        if name in self._query.proxy_operators:
            return self._caller(name, How.PROXY, Grant(Role.OPERATOR, self._all()))
        return self._caller(name, How.PROXY, self._login(name, []))

    def _login(self, login: str, also: list[str]) -> Grant:
        """What a login may see that is no operator's; ``also`` are further names of its own."""
        if login in self._query.link_logins:
            return Grant(Role.LINKER, grants.nothing(self._delimiters))
        if login in self._settings.users:
            return self._named(login, [login, *also])
        folded = address.fold(login.encode("utf-8", "surrogateescape"))
        if "@" in login:  # the login is an address
            if not address.domain(folded) or not self.is_local(folded):
                raise _not_for_you()
            mailboxes = [folded]
        else:
            mailboxes = [folded + b"@" + domain for domain in sorted(self._local)]
        try:
            scope = Scope.of(
                mailboxes=mailboxes,
                logins=[name.encode("utf-8", "surrogateescape") for name in (login, *also)],
                delimiters=self._delimiters,
            )
        except ValueError:
            raise _not_for_you() from None
        return Grant(Role.MAILBOX, scope)

    def _named(self, login: str, logins: list[str]) -> Grant:
        names = self._settings.users[login]
        if not names:
            if logins:
                raise _not_for_you()
            return Grant(Role.MAILBOX, grants.nothing(self._delimiters))
        try:
            return grants.of(
                names, logins=logins, delimiters=self._delimiters, what=f"users.{login}"
            )
        except UsageError as error:
            raise ConfigError(str(error)) from None

    def _all(self) -> Scope:
        return Scope.all(delimiters=self._delimiters)

    def _caller(self, name: str, how: How, grant: Grant) -> Caller:
        return Caller(name=name, role=grant.role, how=how, scope=grant.scope)


def _is_one_word(name: str) -> bool:
    """A name that no list of two is: a proxy that adds to a header instead of setting it."""
    return name.isprintable() and not any(letter in ' ,;"' for letter in name)


def _nobody() -> Denied:
    return Denied(
        Kind.NO_PROOF, "this needs a token, a link or a login", {"WWW-Authenticate": CHALLENGE}
    )


def _wrong_token() -> Denied:
    challenge = f'{CHALLENGE}, error="invalid_token"'
    return Denied(Kind.NO_PROOF, "this token is not valid", {"WWW-Authenticate": challenge})


def _not_for_you() -> Denied:
    return Denied(Kind.FORBIDDEN, "this user may see nothing")
