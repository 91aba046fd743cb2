"""A bar on standard error while a verb that writes goes on, where somebody is looking.

Raises what the steps raise.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

Told = dict[str, Any]


def watch(
    steps: Iterator[tuple[Told, bool]], say: Callable[[Told], tuple[str, float | None]]
) -> Told:
    """Drive a verb's work to its end; ``say`` makes words and a share of each progress."""
    if not sys.stderr.isatty():
        return _last(steps)
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("", total=None)
        for told, done in steps:
            if done:
                return told
            words, share = say(told)
            bar.update(shown, description=words, total=1 if share is not None else None)
            bar.update(shown, completed=share or 0)
    raise AssertionError("work ends with what it did")


def _last(steps: Iterator[tuple[Told, bool]]) -> Told:
    for told, done in steps:
        if done:
            return told
    raise AssertionError("work ends with what it did")
