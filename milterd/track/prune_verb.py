"""``posttrail prune``: the verb, its options, and what it tells people.

Exit codes: 0; 64 a size that is none; 69 no journal; 75 another process writes; 77 no permission.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from journal import days
from milterd.track import showing, writing
from posttrail import config
from posttrail.cli import Globals
from posttrail.errors import UsageError


@click.command("prune")
@click.option("--days", "keep_days", type=click.IntRange(1), help="Keep so many (retention_days).")
@click.option("--size", default="", metavar="SIZE", help="Keep within it, such as 10G (size_cap).")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--force", is_flag=True, help="Days of the queue lifetime, too.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@click.pass_obj
def prune(
    options: Globals, /, *, keep_days: int | None, size: str, dry_run: bool, force: bool, form: str
) -> int:
    """Drop the oldest days: those past retention, and those above a size."""
    days.check_format(options.journal)
    settings = options.config.journal
    try:
        cap = config.bytes_of(size) if size else settings.size_cap_bytes
    except ValueError as error:
        raise UsageError(f"--size {size} {error}") from None
    wanted = {
        "days": keep_days or settings.retention_days,
        "size": cap,
        "dry_run": dry_run,
        "force": force,
    }
    steps = writing.carried_out(options, "prune", wanted)
    done = showing.watch(steps, lambda step: (step["what"], step["share"]))
    print(json.dumps(done, ensure_ascii=True) if form == "json" else "\n".join(lines(done)))
    return 0


def lines(done: Mapping[str, Any]) -> Iterator[str]:
    """What went, for people."""
    verb = "would drop" if done["dry_run"] else "dropped"
    for one in done["dropped"]:
        rows = "" if one["rows"] is None else f"  {one['rows']:,} rows"
        yield f"{verb} {one['name']}  {one['bytes']:,} bytes{rows}"
    if not done["dropped"]:
        yield "nothing to drop"
    if done["spared"]:
        names = ", ".join(done["spared"])
        yield f"stay: {names}: mail of theirs may be under way (queue lifetime); --force drops them"
    yield f"the journal has {done['bytes']:,} bytes"
