"""What every page has: its language, its time zone, its links, and whose mail is shown.

Raises what the journal raises.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from posttrail.text import safe
from query import language
from query.httpd.caller import Caller, How, Role
from query.httpd.service import caller, service
from query.httpd.view import Clock, generated, link
from query.language import Language


def spoken(request: Request) -> Language:
    """The language of a request."""
    asked = request.query_params.get("lang", "")
    return language.choose(request.headers.get("accept-language", ""), asked=asked)


def frame(request: Request, given: Mapping[str, str], clock: Clock, here: str) -> dict[str, Any]:
    """What every page of the frame needs."""
    path = request.url.path

    def here_with(**changes: str | None) -> str:
        return link(path, given, **changes)

    return {
        "here": here,
        "given": defaultdict(str, {name: safe(value) for name, value in given.items()}),
        "clock": clock,
        "made_at": generated(),
        "link": here_with,
        "scope": seen_by(caller(request), spoken(request)),
        "session": caller(request).how is How.LINK,
    }


def seen_by(who: Caller, words: Language) -> str:
    """Whose mail a caller sees, in words."""
    if who.role is Role.OPERATOR:
        return words("all mail of this server")
    names = [*sorted(who.scope.mailboxes), *(b"@" + name for name in sorted(who.scope.domains))]
    return ", ".join(name.decode("utf-8", "backslashreplace") for name in names)


def kept(given: Mapping[str, str]) -> dict[str, str]:
    """The parameters that go along from page to page."""
    return {name: given[name] for name in ("lang", "tz") if given.get(name)}


def newest(request: Request) -> int:
    """The journal's last change; for use in a worker thread."""
    return service(request).keeper.local().reader.last_change()
