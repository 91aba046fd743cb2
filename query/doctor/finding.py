"""What a check says: a state, one sentence, what was seen where, and the command that mends it.

A warning and a problem always name a command; what was not checked says why, and all else has
evidence. Raises ValueError for a finding that breaks this.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

ROOT: Final = "run as root"
"""Stands in the sentence of what only root can see."""


class State(Enum):
    """How it stands; the value is the word in JSON."""

    OK = "ok"
    WARNING = "warning"  # works, second best
    PROBLEM = "problem"  # mail, or the knowledge of it, is at risk
    UNCHECKED = "not_checked"


class Seen(NamedTuple):
    """Evidence."""

    where: str  # a file, a parameter, a socket, a command
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of one check."""

    family: str
    check: str
    state: State
    said: str  # one sentence; of what was not checked, why
    seen: tuple[Seen, ...] = ()
    mend: tuple[str, ...] = ()  # shell commands, in this order

    @property
    def needs_root(self) -> bool:
        """Was it not checked because we are not root?"""
        return self.state is State.UNCHECKED and ROOT in self.said

    def __post_init__(self) -> None:
        if self.state is not State.UNCHECKED and not self.seen:
            raise ValueError(f"{self.check}: no evidence that {self.said}")
        if (self.state in _TO_MEND) != bool(self.mend):
            raise ValueError(f"{self.check}: a {self.state.value} with commands {self.mend}")


_TO_MEND: Final = frozenset({State.WARNING, State.PROBLEM})


class Check(NamedTuple):
    """One check of a family: makes its findings."""

    family: str
    name: str

    def ok(self, said: str, *seen: Seen) -> Finding:
        """All is well."""
        return self._made(State.OK, said, seen)

    def warning(self, said: str, *seen: Seen, mend: str | Iterable[str]) -> Finding:
        """It works, second best."""
        return self._made(State.WARNING, said, seen, mend)

    def problem(self, said: str, *seen: Seen, mend: str | Iterable[str]) -> Finding:
        """Mail, or what is known of it, is at risk."""
        return self._made(State.PROBLEM, said, seen, mend)

    def unchecked(self, why: str, *seen: Seen) -> Finding:
        """Nobody can say, and why."""
        return self._made(State.UNCHECKED, why, seen)

    def _made(
        self, state: State, said: str, seen: tuple[Seen, ...], mend: str | Iterable[str] = ()
    ) -> Finding:
        return Finding(
            family=self.family,
            check=self.name,
            state=state,
            said=said,
            seen=seen,
            mend=(mend,) if isinstance(mend, str) else tuple(mend),
        )
