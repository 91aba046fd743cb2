"""``posttrail erase ADDRESS``: forget an address, in all that posttrail keeps.

The journal and the spools here or by trackd (``milterd.track.erase``), the state of
posttrail-queryd and of posttrail-hookd by their own module. Exit codes: 0; 75 where something
could not be cleaned now, and is named; and those of ``errors``.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any, Final

import click

from milterd.track import writing
from posttrail.cli import BESIDE, Globals, reach
from posttrail.errors import TryAgainError, UsageError
from posttrail.text import safe

SURE: Final = "Forget this address in everything before now? This cannot be undone"


class NotCleanError(TryAgainError):
    """Something still holds the address, or may."""

    def __init__(self, left: list[str]) -> None:
        super().__init__("not all is erased: " + "; ".join(left) + "; run the same command again")


@click.command("erase")
@click.argument("address", metavar="ADDRESS")
@click.option("--dry-run", is_flag=True, help="Count what would change, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@click.pass_obj
def erase(options: Globals, /, address: str, *, dry_run: bool, yes: bool, form: str) -> int:
    """Forget an address: a placeholder stands for it in every record that is older than now."""
    if options.socket is not None:
        raise UsageError("erase changes a journal itself: use --journal DIR")
    if not address.strip("<>@ ") or address.startswith("@"):
        raise UsageError(f"{address} is no address: erase takes one, such as user@example.com")
    if not dry_run and not yes:
        if not sys.stdin.isatty():
            raise UsageError("erase asks before it begins: give --yes where nobody can answer")
        click.confirm(f"{SURE}: {safe(address)}", abort=True, err=True)
    done = _watched(writing.carried_out(options, "erase", {"address": address, "dry_run": dry_run}))
    if not dry_run and options.journal == options.config.journal.directory:
        for place in BESIDE:
            found = reach(place)(options)
            done["states"] = done.get("states", 0) + found["changed"]
            done["left"] += found["left"]
    if form == "json":
        print(json.dumps(done))
    else:
        print("\n".join(lines(done, dry_run=dry_run)))
    if done["left"]:
        raise NotCleanError([safe(sentence) for sentence in done["left"]])
    return 0


def _watched(steps: Iterator[tuple[dict[str, Any], bool]]) -> dict[str, Any]:
    """Drive the work to its end; one line of what it is at, where somebody is looking."""
    shows = sys.stderr.isatty()
    told: dict[str, Any] = {}
    for told, ended in steps:
        if shows and not ended:
            line = f"{told['doing']} {told['name']}: {told['records']:,} records"
            print(f"\r\x1b[K{safe(line)}", end="", file=sys.stderr, flush=True)
    if shows:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return told


def lines(done: dict[str, Any], *, dry_run: bool) -> Iterator[str]:
    """What was done, or would be."""
    would = "would change" if dry_run else "changed"
    counted = f"{done['records']:,} {would}, of {done['looked_at']:,}"
    yield f"records     {counted}; {done['rows']:,} rows"
    yield f"days        {', '.join(done['days']) or 'none'}"
    if dry_run:
        return
    yield f"spool       {done['spooled']:,} records in {done['segments']:,} segments"
    yield f"states      {done.get('states', 0):,} entries of posttrail-queryd and posttrail-hookd"
    for name in done["removed"]:
        yield f"removed     {safe(name)}"
    yield "remembered  what is imported later is scrubbed before it is written"
    held = [*done["logs"], *(["systemd's journal"] if done["journald"] else [])]
    yield f"not ours    the mail system's logs keep the address: {safe(', '.join(held))}"
