"""``posttrail backup`` and ``posttrail restore``: the verbs, their options, what they tell people.

Exit codes: 0; 64 the journal is not empty; 65 no whole backup, or not as its manifest says; 69 no
journal, or damaged; 75 no room, or another process at work; 77 no permission; 78 a newer format.
"""

import grp
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from journal import backup as copying
from journal import restore as restoring
from milterd.track import showing
from posttrail.cli import Globals

KEEP = 7
Steps = Iterator[tuple[str, float | None] | copying.Done | restoring.Done]


@click.command("backup")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--keep", type=click.IntRange(1), default=KEEP, help="So many backups stay in DIR.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@click.pass_obj
def backup(options: Globals, /, *, directory: Path, keep: int, form: str) -> int:
    """Copy the journal and queryd's state into DIR, also while trackd writes."""
    steps = copying.backup(
        options.journal, directory.absolute(), queryd=options.config.query.state, keep=keep
    )
    done = _watched(steps)
    if form == "json":
        print(json.dumps(done, ensure_ascii=True))
        return 0
    print(f"backup      {done['directory']}")
    print(f"copied      {len(done['copied'])} parts, {done['bytes']:,} bytes")
    print(f"unchanged   {len(done['linked'])} parts, linked to the backup before")
    for sentence in done["left_out"]:
        print(f"note        {sentence}")
    for name in done["removed"]:
        print(f"removed     {name}")
    return 0


@click.command("restore")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Put the journal that is there aside.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@click.pass_obj
def restore(options: Globals, /, *, directory: Path, replace: bool, form: str) -> int:
    """Put the newest backup in DIR, or the backup DIR, in the place of the journal."""
    steps = restoring.restore(
        directory.absolute(),
        options.journal.absolute(),
        replace=replace,
        group=_gid(options.config.journal.group),
        queryd=options.config.query.state,
    )
    done = _watched(steps)
    if form == "json":
        print(json.dumps(done, ensure_ascii=True))
        return 0
    print(f"restored    {done['journal']} as of {done['made']}, from {done['backup']}")
    print(f"checked     {len(done['days'])} days, {done['messages']:,} messages: sound")
    if done["aside"]:
        print(f"put aside   {done['aside']}")
    if done["queryd"]:
        print(f"note        {done['queryd']}")
    return 0


def _watched(steps: Steps) -> dict[str, Any]:
    def told() -> Iterator[tuple[dict[str, Any], bool]]:
        for step in steps:
            if isinstance(step, tuple):
                yield {"what": step[0], "share": step[1]}, False
            else:
                yield asdict(step), True

    sys.stdout.flush()  # children are forked
    return showing.watch(told(), lambda step: (step["what"], step["share"]))


def _gid(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
