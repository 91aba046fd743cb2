"""How the page shows things: the templates' environment, its filters, times and links.

Local time exists here, as in ``query.text_table``: in the zone that was asked for, else this
machine's. All text from mail is escaped and set in ``<bdi>``. Raises UsageError for a zone that
does not exist.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import jinja2
from markupsafe import Markup

from posttrail.errors import UsageError
from posttrail.text import safe
from query import said
from query.language import NAMES, Language, of

ICONS: Final = {
    "delivered": "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zm-1.2 10L3.9 8.1l1.2-1.2 1.7 1.7 4-4L12 5.8z",
    "in_progress": "M3 1h10v2.5L9.3 8 13 12.5V15H3v-2.5L6.7 8 3 3.5zm2 1.5v.6L8 6.8l3-3.7v-.6z",
    "deferred": (
        "M8 1a7 7 0 1 0 6.9 8h-1.6A5.4 5.4 0 1 1 11.8 4.2L9.5 6.5H15V1l-2 2A7 7 0 0 0 8 1z"
        "m-.8 3.5V9l3 1.8.7-1.2-2.2-1.3V4.5z"
    ),
    "error": (
        "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1z"
        "m3.1 9L10 11.1l-2-2-2 2L4.9 10l2-2-2-2L6 4.9l2 2 2-2L11.1 6l-2 2z"
    ),
    "rejected": "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zM3.5 7h9v2h-9z",
    "filtered": "M1 2h14l-5.4 6.5V14L6.4 12.5v-4z",
}
"""A shape for each status, on a field of 16 by 16; never colour alone (WCAG 2.2 1.4.1)."""


@cache
def environment(tag: str) -> jinja2.Environment:
    """The templates in one language."""
    language = of(tag)
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("query.httpd"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.i18n"],
    )
    extended: Any = made  # the extension gives it one more method
    extended.install_gettext_translations(language.translations, newstyle=True)
    made.filters |= {"wire": wire, "size": size, "delay": delay}
    made.globals |= {
        "icons": ICONS,
        "statuses": said.STATUSES,
        "meanings": said.MEANINGS,
        "languages": NAMES,
        "language": language,
        "reason": lambda row: said.reason(row, language),
        "explained": said.explanation,
    }
    return made


def render(language: Language, template: str, values: Mapping[str, Any]) -> str:
    """The page."""
    return environment(language.tag).get_template(template).render(values)


def wire(text: str | None) -> Markup:
    """Text from mail, made harmless; it cannot turn the direction of what stands around it."""
    if text is None:
        return Markup("")
    return Markup("<bdi>{}</bdi>").format(safe(text))


def size(count: int | None) -> str:
    """Bytes for people."""
    if count is None:
        return ""
    number, units = float(count), ("B", "kB", "MB", "GB")
    for unit in units:
        if number < 1000 or unit == units[-1]:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return ""


def delay(seconds: float | None) -> str:
    """A time span for people."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    if minutes < 120:
        return f"{minutes:.0f} min"
    hours = minutes / 60
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} d"


class Clock:
    """Times in one zone."""

    def __init__(self, name: str = "") -> None:
        self.asked = name
        self.zone = _zone(name)

    @property
    def name(self) -> str:
        """What the zone is called now, with its offset."""
        now = datetime.now(UTC).astimezone(self.zone)
        return f"{self.asked or now.tzname()} (UTC{now:%z})"

    def __call__(self, stamp: str | None) -> Markup:
        """A ``<time>`` of an RFC 3339 stamp, to the second."""
        if not stamp:
            return Markup("")
        local = datetime.fromisoformat(stamp).astimezone(self.zone)
        return Markup('<time datetime="{}">{}</time>').format(stamp, f"{local:%Y-%m-%d %H:%M:%S}")


def _zone(name: str) -> tzinfo | None:
    """None is this machine's, which has its own summer time."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UsageError(f"{name!r} is no time zone; write one such as Europe/Berlin") from None


def link(path: str, given: Mapping[str, str], **changes: str | None) -> str:
    """A path with the parameters that were given and what changes of them; None takes one away."""
    kept = {name: value for name, value in {**given, **changes}.items() if value}
    return f"{path}?{urlencode(kept, errors='surrogateescape')}" if kept else path


def generated() -> str:
    """Now, as RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
