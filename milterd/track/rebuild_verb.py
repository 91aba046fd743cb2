"""``posttrail rebuild``: the verb, its options, and what it tells people.

Exit codes: 0 (also where something is missing, which is named); 64 no such day; 66 no such file;
69 no journal; 75 another process writes, or the disk is full; 77 no permission.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import click

from journal import days
from journal.check import check_in_child
from journal.keys import parse_day
from milterd.track import showing, writing
from milterd.track.compressed import open_raw
from milterd.track.rebuild import waiting
from posttrail.cli import Globals
from posttrail.errors import UsageError

SPANS_MOST = 10


@click.command("rebuild")
@click.argument("names", nargs=-1, metavar="DAY... [FILE...]")
@click.option("--bad", is_flag=True, help="Every day that was put aside as damaged.")
@click.option("--remove", is_flag=True, help="Remove what was put aside even if parts are lost.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@click.pass_obj
def rebuild(
    options: Globals, /, *, names: tuple[str, ...], bad: bool, remove: bool, form: str
) -> int:
    """Fill a damaged day again from the spool, the mail logs, more log FILEs, and its remains."""
    days.check_format(options.journal)
    wanted = [name for name in names if parse_day(name) is not None]
    files = [name for name in names if parse_day(name) is None]
    wanted += [name for name in (waiting(options.journal) if bad else ()) if name not in wanted]
    if not wanted and not bad:
        raise UsageError("name a day, such as 2026-11-23, or --bad")
    told: list[dict[str, Any]] = []
    with ExitStack() as stack:
        opened = [(name, stack.enter_context(open_raw(name))) for name in files]
        for name in wanted:
            request = {"days": [name], "remove": remove, "aside": _is_damaged(options, name)}
            steps = writing.carried_out(options, "rebuild", request, files=opened)
            told += showing.watch(steps, _progress)["days"]
    if form == "json":
        print(json.dumps({"days": told}, ensure_ascii=True))
    else:
        print("\n".join(line for one in told for line in lines(one)) or "no day was put aside")
    return 0


def _is_damaged(options: Globals, name: str) -> bool:
    """Whether what the day has now must be put aside before."""
    if not (options.journal / name).is_dir():
        return False
    return check_in_child(options.journal, name).problems > 0


def _progress(step: dict[str, Any]) -> tuple[str, float | None]:
    """What is going on, and the share of it that is done."""
    counted = f", {step['lines']:,} lines" if step["lines"] else ""
    return f"{step['day']}: {step['what']}{counted}", step["share"]


def lines(done: dict[str, Any]) -> Iterator[str]:
    """The summary of one day."""
    rate = done["seconds"] / max(done["events"], 1) * 1e6
    yield f"{done['day']}  {done['messages']:,} messages"
    if done["counts_only"]:
        yield "  so old a day has counters only (counts_after_days); what it had is not read again"
        yield from _kept(done)
        return
    if done["put_aside"]:
        yield f"  {done['salvaged']:,} salvaged from {', '.join(done['put_aside'])}"
    yield f"  {done['records']:,} records of the milter and {done['lines']:,} lines read again"
    yield f"  {done['seconds']:.1f} s for {done['events']:,} events ({rate:.0f} s a million)"
    if done["renamed"]:
        yield f"  {done['renamed']:,} have a new id; the old one leads to it"
    if done["lost_links"]:
        yield f"  {done['lost_links']:,} old ids of merged messages lead nowhere any more"
    if done["milter_since"]:
        yield f"  what only the milter knew is missing before {done['milter_since']}"
    if done["log_since"]:
        yield f"  no log goes back before {done['log_since']}"
    for gap in done["gaps"]:
        yield f"  gap: {gap['source']} {gap['begin']} to {gap['end']}, {gap['reason']}"
    for sentence in done["damaged"]:
        yield f"  {sentence}"
    if done["missing"]:
        yield f"  {done['missing']:,} messages could not be rebuilt:"
        for span in done["missing_times"][:SPANS_MOST]:
            yield f"    first seen {span['begin']} to {span['end']}"
        yield f"    ids: {' '.join(done['missing_ids'][:SPANS_MOST])}"
    elif done["put_aside"] and not done["complete"]:
        yield "  nothing is known to be missing; its index is too damaged to be certain"
    yield from _kept(done)


def _kept(done: dict[str, Any]) -> Iterator[str]:
    """What became of the damaged directories."""
    yield from (f"  removed {name}" for name in done["removed"])
    kept = [name for name in done["put_aside"] if name not in done["removed"]]
    if kept:
        yield f"  kept {', '.join(kept)}; --remove when nothing more is wanted of it"
