"""What the splitters have in common whose lines hold a line of syslog's in a frame of their own.

The line inside is split by ``LineParser``, which keeps the time of the file. Raises nothing.
"""

from datetime import tzinfo

from milterd.lines.syslog import LineParser


class Framed:
    """Shows what its LineParser knows; a subclass has ``parse`` and makes it a ``Splitter``."""

    def __init__(
        self,
        *,
        timezone: tzinfo | None,
        reference_us: int,
        year: int | None = None,
        after_us: int | None = None,
    ) -> None:
        """Begin a file; the arguments are LineParser's."""
        self._lines = LineParser(
            timezone=timezone, reference_us=reference_us, year=year, after_us=after_us
        )

    @property
    def reference_us(self) -> int:
        """The newest time that a year-less stamp may have."""
        return self._lines.reference_us

    @reference_us.setter
    def reference_us(self, at_us: int) -> None:
        self._lines.reference_us = at_us

    @property
    def year(self) -> int | None:
        """Of the latest year-less stamp."""
        return self._lines.year

    @year.setter
    def year(self, year: int | None) -> None:
        self._lines.year = year

    @property
    def last_us(self) -> int | None:
        """What the next parser of the same file is to be given as ``after_us``."""
        return self._lines.last_us
