"""Begins an import that a caller handed to trackd over its control socket."""

import os
import time

from journal.writer import Writer
from milterd.track.bulk import Import, Options
from milterd.track.compressed import LogFile
from milterd.track.control import Caller
from milterd.track.correlate import Correlator
from posttrail.errors import PosttrailError

DAY_US = 86_400_000_000


def begin(
    caller: Caller, correlator: Correlator, writer: Writer, *, keep_days: int
) -> Import | None:
    """The import a caller asks for; None after telling it why not."""
    try:
        files = [
            LogFile(name, os.fdopen(descriptor, "rb", 0))
            for name, descriptor in zip(caller.names, caller.descriptors, strict=True)
        ]
        options = caller.options
        job = Import(
            files,
            correlator,
            writer,
            Options(
                host=options["host"],
                timezone=options["timezone"],
                year=options["year"],
                names={key.encode(): value.encode() for key, value in options["names"].items()},
            ),
        )
        oldest = job.first_us()
    except (PosttrailError, OSError, KeyError) as error:
        caller.tell(error=str(error), exit=getattr(error, "exit_code", 65))
        return None
    if oldest and oldest < time.time_ns() // 1000 - keep_days * DAY_US and not options["keep"]:
        caller.tell(
            error=f"the log begins more than {keep_days} days ago, beyond this journal's"
            " retention; --keep imports it all the same",
            exit=65,
        )
        return None
    return job
