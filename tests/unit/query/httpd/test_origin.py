"""query.httpd.origin: the cookie that a browser gets."""

import pytest

from posttrail.config import Query
from query.httpd import origin

WEBMAIL = ("https://webmail.example.org",)


@pytest.mark.parametrize(
    ("base_url", "ancestors", "cookie"),
    [
        ("http://127.0.0.1:8025", (), "posttrail=s; Path=/; Max-Age=9; HttpOnly; SameSite=Lax"),
        (
            "http://127.0.0.1:8025",
            WEBMAIL,  # no browser takes SameSite=None without Secure
            "posttrail=s; Path=/; Max-Age=9; HttpOnly; SameSite=Lax",
        ),
        (
            "https://track.example.com",
            (),
            "__Host-posttrail=s; Path=/; Max-Age=9; HttpOnly; Secure; SameSite=Lax",
        ),
        (
            "https://track.example.com/",
            WEBMAIL,
            "__Host-posttrail=s; Path=/; Max-Age=9; HttpOnly; Secure; SameSite=None; Partitioned",
        ),
        (
            "https://mail.example.com/track",
            (),
            "posttrail=s; Path=/track/; Max-Age=9; HttpOnly; Secure; SameSite=Lax",
        ),
    ],
)
def test_the_cookie_is_as_strict_as_its_use_allows(
    base_url: str, ancestors: tuple[str, ...], cookie: str
) -> None:
    settings = Query(base_url=base_url, frame_ancestors=ancestors)
    assert origin.cookie(settings, "s", max_age_s=9) == cookie
