"""Whether a request that changes something was sent by a page of our own, and our cookie.

Fetch Metadata (Sec-Fetch-Site) decides where the browser sends it, else the Origin header (RFC
6454 7), held against base_url and the host that was asked. A request with neither is refused: a
browser sends one of them with every POST. Cookies: RFC 6265 and its
revision (6265bis). Pure; raises nothing.
"""

from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from posttrail.config import Query

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
Values = Callable[[str], Sequence[str]]
"""All values of a header by its lower-case name."""


def is_ours(values: Values, base_url: str) -> bool:
    """Whether the page that sent a request is ours."""
    site = values("sec-fetch-site")
    if site:
        return list(site) == ["same-origin"]
    origin, host = values("origin"), values("host")
    if len(origin) != 1 or origin[0] == "null":
        return False
    base = urlsplit(base_url)
    ours = {f"{base.scheme}://{base.netloc}".lower()}
    if len(host) == 1:
        ours |= {f"{scheme}://{host[0]}".lower() for scheme in {base.scheme, "http"}}
    return origin[0].lower() in ours


def is_https(settings: Query) -> bool:
    """Whether browsers reach us over TLS."""
    return settings.base_url.lower().startswith("https://")


def path(settings: Query) -> str:
    """The path below which browsers find us, "/" at its end."""
    return urlsplit(settings.base_url).path.rstrip("/") + "/"


def cookie_name(settings: Query) -> str:
    """``__Host-`` where a browser lets no other host set it (6265bis 4.1.3.2)."""
    sure = is_https(settings) and path(settings) == "/"
    return "__Host-posttrail" if sure else "posttrail"


def cookie(settings: Query, value: str, *, max_age_s: int) -> str:
    """The Set-Cookie header; ``max_age_s`` 0 takes the cookie away.

    Another site's frame gets a cookie only with SameSite=None, which browsers take over TLS only;
    Partitioned (CHIPS) keeps it apart for each site that shows us.
    """
    parts = [f"{cookie_name(settings)}={value}", f"Path={path(settings)}", f"Max-Age={max_age_s}"]
    parts.append("HttpOnly")
    if is_https(settings):
        parts.append("Secure")
    if is_https(settings) and settings.frame_ancestors:
        parts += ["SameSite=None", "Partitioned"]
    else:
        parts.append("SameSite=Lax")
    return "; ".join(parts)
