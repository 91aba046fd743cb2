"""Who asks: one decision a request, from the facts to a caller, or nobody.

So far only the kernel's word is believed, and only that of root: SO_PEERCRED on our own socket.
Raises Denied.
"""

from posttrail.config import Config
from query.httpd.caller import Caller, How, Role
from query.httpd.facts import Door, Facts
from query.httpd.problem import Kind, Problem
from query.scope import Scope


class Denied(Problem):
    """Nobody is known to ask (401), or the one who asks may not (403)."""


class Identity:
    """Made once; ``identify`` is called once a request, in a worker thread."""

    def __init__(self, settings: Config) -> None:
        self._settings = settings

    def identify(self, facts: Facts) -> Caller:
        """The caller of a request."""
        peer = facts.peer
        if peer is None or peer.door is not Door.QUERYD or peer.uid is None:
            raise Denied(Kind.NO_PROOF, "this needs a token, a link or a login")
        if peer.uid != 0:
            raise Denied(Kind.FORBIDDEN, "this user may see nothing")
        return Caller(name="root", role=Role.OPERATOR, how=How.PEER, scope=Scope.all())
