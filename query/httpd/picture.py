"""The days of a report as one bar each, stacked by status: inline SVG for the page.

Colours are classes of the style sheet, so that they follow its scheme; every bar has its numbers
in words, for whoever does not see it. Pure; raises nothing.
"""

from typing import Final

from markupsafe import Markup

from query.days import Day, Days
from query.language import Language
from query.said import STATUSES

HEIGHT: Final = 48
STEP: Final = 12
GAP: Final = 2
_ORDER: Final = ("delivered", "in_progress", "filtered", "deferred", "rejected", "error")
"""From the bottom up: the worst on top, where it is seen."""


def bars(found: Days, language: Language) -> Markup:
    """The picture; an empty one where there is no row."""
    if not found.most:
        return Markup("")
    width = STEP * len(found.days)
    title = language("Rows of each day by status")
    head = Markup(
        '<svg class="days" viewBox="0 0 {w} {h}" preserveAspectRatio="none" role="img"'
        ' aria-label="{t}">'
    )
    parts = [head.format(w=width, h=HEIGHT, t=title)]
    for place, day in enumerate(found.days):
        parts.append(_bar(day, place * STEP, found.most, language))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def _bar(day: Day, left: int, most: int, language: Language) -> Markup:
    said = [
        f"{language(STATUSES[status])} {day.statuses[status]}"
        for status in _ORDER
        if day.statuses[status]
    ]
    title = f"{day.date}: {', '.join(said) or '0'}"
    parts = [Markup("<g><title>{t}</title>").format(t=title)]
    below = 0.0
    for status in _ORDER:
        if not day.statuses[status]:
            continue
        # a single error among thousands must be seen, too
        height = max(1.5, (HEIGHT - 6) * day.statuses[status] / most)
        top = max(0.0, HEIGHT - below - height)
        parts.append(
            Markup('<rect class="{c}" x="{x}" y="{y}" width="{w}" height="{h}"/>').format(
                c=status, x=left + GAP // 2, y=f"{top:.1f}", w=STEP - GAP, h=f"{height:.1f}"
            )
        )
        below += height
    parts.append(Markup("</g>"))
    return Markup("").join(parts)
