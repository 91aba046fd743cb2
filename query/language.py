"""The languages of page and sentences: gettext catalogues, and which one a reader wants.

English is the source. A catalogue is ``query/locale/TAG/LC_MESSAGES/posttrail.mo``, made of the
``.po`` beside it by ``make messages``. Choosing follows RFC 9110 12.5.4. Raises nothing.
"""

import gettext
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Final

DOMAIN: Final = "posttrail"
NAMES: Final = {"en": "English", "de": "Deutsch"}
"""Tag (RFC 5646) and what its readers call it."""
RIGHT_TO_LEFT: Final = frozenset({"ar", "fa", "he", "ur"})
DEFAULT: Final = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One language with its sentences."""

    tag: str
    translations: gettext.NullTranslations

    @property
    def direction(self) -> str:
        """``ltr`` or ``rtl``."""
        return "rtl" if self.tag in RIGHT_TO_LEFT else "ltr"

    def __call__(self, sentence: str) -> str:
        """The sentence in this language, or as it is."""
        if not sentence:
            return ""  # gettext gives the header of the catalogue for it
        return self.translations.gettext(sentence)

    def number(self, one: str, many: str, count: int) -> str:
        """The form for so many."""
        return self.translations.ngettext(one, many, count)


@cache
def of(tag: str) -> Language:
    """The language of a tag in NAMES; English for any other."""
    if tag not in NAMES or tag == DEFAULT:
        return Language(tag=DEFAULT, translations=gettext.NullTranslations())
    with as_file(files("query") / "locale") as folder:
        found = gettext.translation(DOMAIN, str(folder), [tag], fallback=True)
    return Language(tag=tag, translations=found)


def choose(header: str, *, asked: str = "") -> Language:
    """What was asked for by name, else what the header likes best of what there is."""
    if asked in NAMES:
        return of(asked)
    wanted = sorted(_ranges(header), key=lambda each: -each[1])
    found = (tag for tag, quality in wanted if quality > 0 and tag in NAMES)
    return of(next(found, DEFAULT))


def _ranges(header: str) -> list[tuple[str, float]]:
    """Primary subtags with their qualities, in the order of the header."""
    found = []
    for part in header.split(","):
        name, _, weight = part.partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            quality = 0.0
        found.append((name.strip().lower().partition("-")[0], quality))
    return found
