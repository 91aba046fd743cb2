"""Whether every element of an HTML document that opens also closes, in its order."""

from html.parser import HTMLParser

VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "source", "wbr"})
"""HTML 13.1.2: they have no end tag."""


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.wrong.append(f"attribute twice in <{tag}> at {self.getpos()}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Only within SVG; it is its own end."""

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()} ends {self.open[-1:]}")
        else:
            self.open.pop()


def unbalanced(document: str) -> list[str]:
    """What does not fit."""
    tags = _Tags()
    tags.feed(document)
    tags.close()
    return tags.wrong + [f"<{tag}> stays open" for tag in tags.open]
