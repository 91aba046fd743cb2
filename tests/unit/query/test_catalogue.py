"""query/locale: every sentence of page and verbs has its translation, and nothing stands outside."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from string import Formatter
from types import ModuleType
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

from journal.records import Status
from query.httpd import page_words
from query.language import DOMAIN, NAMES, of
from tests.unit.query.conftest import NOON_US, Shelf, row
from tests.unit.query.test_page import SINCE, Browser

ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = ROOT / "query" / "httpd" / "templates"
FOREIGN = [tag for tag in NAMES if tag != "en"]
NEEDS_NO_WORDS = {"posttrail", "JSON", "CSV", "MX=", "DNSSEC", "DANE"}
"""Names that are the same in every language."""
_PLACEHOLDER = re.compile(r"%\((\w+)\)[sd]")
_SPOKEN_ATTRIBUTES = ("aria-label", "title", "placeholder", "data-words", "alt")
_EXAMPLES = {"30d", "2h", "50", "Europe/Berlin"}


def tool() -> ModuleType:
    loader = SourceFileLoader("messages", str(ROOT / "tools" / "messages"))
    spec = spec_from_loader("messages", loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


MESSAGES = tool()


def source(tag: str) -> Path:
    return ROOT / "query" / "locale" / tag / "LC_MESSAGES" / f"{DOMAIN}.po"


def catalogue(tag: str) -> Catalog:
    with source(tag).open("rb") as file:
        return read_po(file, locale=tag, domain=DOMAIN)


def forms(of_message: Any) -> tuple[str, ...]:
    return of_message if isinstance(of_message, tuple) else (of_message,)


@pytest.mark.parametrize("tag", FOREIGN)
def test_every_sentence_has_a_translation(tag: str) -> None:
    known = catalogue(tag)
    for message in MESSAGES.collected():
        if message.id:
            found = known.get(forms(message.id)[0])
            assert found is not None, f"make messages: {message.id!r}"
            assert all(forms(found.string)), message.id


@pytest.mark.parametrize("tag", FOREIGN)
def test_a_translation_has_the_placeholders_of_its_sentence(tag: str) -> None:
    for message in catalogue(tag):
        wanted = {name for form in forms(message.id) for name in _PLACEHOLDER.findall(form)}
        for form in forms(message.string):
            assert set(_PLACEHOLDER.findall(form)) == wanted, message.id
            assert form.count("%") == len(_PLACEHOLDER.findall(form)), message.id
            assert not [name for _, name, _, _ in Formatter().parse(form) if name], message.id


@pytest.mark.parametrize("tag", FOREIGN)
def test_a_translation_ends_as_its_sentence_does(tag: str) -> None:
    for message in catalogue(tag):
        if message.id:
            for one, other in zip(forms(message.id), forms(message.string), strict=True):
                assert (one[-1] in ".:") == (other[-1] in ".:"), one
                assert other == other.strip()


@pytest.mark.parametrize("tag", FOREIGN)
def test_the_compiled_catalogue_is_what_its_source_compiles_to(tag: str) -> None:
    compiled = source(tag).with_suffix(".mo").read_bytes()
    assert compiled == MESSAGES.as_mo(catalogue(tag)), "make messages"


@pytest.mark.parametrize("tag", NAMES)
def test_no_words_stay_no_words(tag: str) -> None:
    assert of(tag)("") == ""


class Visible(HTMLParser):
    """What a reader sees or hears of a template, without what its tags put there."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        plain = re.sub(r"\{#.*?#\}|\{%.*?%\}", " ", text, flags=re.DOTALL)
        self.feed(re.sub(r"\{\{.*?\}\}", " ", plain, flags=re.DOTALL))

    def handle_data(self, data: str) -> None:
        self.found += data.split("\n")

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in _SPOKEN_ATTRIBUTES]


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_no_template_has_words_that_cannot_be_translated(path: Path) -> None:
    for text in Visible(path.read_text("utf-8")).found:
        words = {
            word
            for word in re.split(r"[\s·().,:;\u2013→←\[\]]+", text)
            if re.search("[a-z]", word, re.I)
        }
        assert words <= NEEDS_NO_WORDS | _EXAMPLES, (path.name, text.strip())


# -- the pages ------------------------------------------------------------------------------


class Shown(HTMLParser):
    """Each text of a page, but for what came in by mail or stands for itself."""

    _OWN_WORDS = frozenset({"bdi", "script", "style", "code"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._OWN_WORDS:
            self._inside.append(tag)
        self.texts += [value or "" for name, value in attrs if name in _SPOKEN_ATTRIBUTES]

    def handle_endtag(self, tag: str) -> None:
        if tag in self._OWN_WORDS and self._inside:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.texts.append(" ".join(data.split()))


def english_only(tag: str) -> list[re.Pattern[str]]:
    """Sentences of English that the language says otherwise, as patterns of whole texts."""
    found = []
    for message in MESSAGES.collected():
        for form in forms(message.id):
            if form and of(tag)(form) != form:
                pattern = _PLACEHOLDER.sub("\0", form)
                found.append(
                    re.compile(re.escape(pattern).replace("\0", ".+?").replace(r"\x00", ".+?"))
                )
    return found


@pytest.mark.parametrize("tag", FOREIGN)
def test_no_page_has_an_english_sentence(shelf: Shelf, tag: str) -> None:
    fates = [
        (Status.ERROR, "bounced", b"550 5.1.1 no such user"),
        (Status.DEFERRED, "greylisted", b"450 4.2.0 Greylisted"),
        (Status.REJECTED, "blocklist", b"554 5.7.1 blocked using zen.spamhaus.org"),
        (Status.FILTERED, "junk", b""),
        (Status.DELIVERED, "stored", b""),
        (Status.IN_PROGRESS, "queued", b""),
    ]
    for number, (status, reason, reply) in enumerate(fates):
        shelf.put(
            row(b"r%d@example.com" % number, status=status, reason=reason, reply=reply),
            at_us=NOON_US + number,
        )
    browser = Browser(shelf)
    columns = "&".join(f"columns={name}" for name in page_words.COLUMNS)
    report = browser.get(f"/?since={SINCE}&lang={tag}&{columns}").text
    links = re.findall(r'href="(/message/[^"#?]+)', report)
    assert len(set(links)) == len(fates)
    paths = [
        f"/?since={SINCE}&{columns}",
        f"/?since={SINCE}&print=1",
        f"/?since={SINCE}&limit=2",
        "/?since=bogus",
        f"/?q=nobody@example.com&since={SINCE}",
        "/trace",
        "/message/0000000000000",
        "/trace?address=r1@example.com",
        f"/summary?since={SINCE}",
        *sorted(set(links)),
    ]
    unwanted = english_only(tag)
    for path in paths:
        asked = f"{path}{'&' if '?' in path else '?'}lang="
        assert list(english(browser.get(asked + "en", accept="text/html").text, unwanted)), path
        assert not list(english(browser.get(asked + tag, accept="text/html").text, unwanted)), path


def english(shown: str, unwanted: list[re.Pattern[str]]) -> Iterator[str]:
    """The texts of a page that are, or hold, a sentence of English."""
    for text in Shown(shown).texts:
        whole = text.strip(" .:,()\u2013")
        if any(_covers(one, text, whole) for one in unwanted):
            yield text


def _covers(sentence: re.Pattern[str], text: str, whole: str) -> bool:
    """Whether the text is the sentence, or holds it where it is more than two words."""
    if sentence.fullmatch(text) or sentence.fullmatch(whole):
        return True
    return sentence.pattern.count(r"\ ") > 2 and sentence.search(text) is not None
