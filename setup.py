"""Compiles the code that runs for every line or message, where POSTTRAIL_COMPILE=1 asks for it.

mypyc takes the modules as they are; without it the same source runs as plain Python. All else
about the package stands in pyproject.toml.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

HOT = {
    "journal": """
        address agents
        batch
        codec committed counters
        draft
        echoes
        finish fold
        hits
        ids
        keys kinds
        legs locality
        places
        recipients
        status strings
        terms texts
    """,
    "milterd/lines": """
        amavis
        dovecot
        exim exim_delivery exim_door exim_header exim_sa exim_scan
        filters framed
        journald
        losses
        mailscanner mutf7
        own_logs
        pmg postfix postfix_delivery postfix_door postfix_queue postfix_smtpd programs
        scan sendmail sendmail_delivery sendmail_door sendmail_parts stamps syslog
        verdicts
        wire
    """,
    "milterd/track": """
        correlate
        hearsay
        intake
        kin
        late lives
        memory
        refusals
        sessions strays
    """,
}
"""Modules by folder."""

_SLICE = "Py_ssize_t slice_len = endn - startn;"
_MENDED = "Py_ssize_t slice_len = endn > startn ? endn - startn : 0;"


def extensions() -> list[Extension]:
    """One extension of all of them, so that they call each other directly."""
    if os.environ.get("POSTTRAIL_COMPILE") != "1":
        return []
    from mypyc.build import include_dir, mypycify

    # mypyc 2.4's run time raises where a slice of bytes ends before it begins; Python's is empty.
    source = Path(include_dir(), "bytes_ops.c").read_text(encoding="utf-8")
    if source.count(_SLICE) != 1:
        sys.exit("setup.py: mypyc slices bytes in another way now: look again")
    mended = Path("build", "mended")
    mended.mkdir(parents=True, exist_ok=True)
    (mended / "bytes_ops.c").write_text(source.replace(_SLICE, _MENDED), encoding="utf-8")
    files = [f"{folder}/{name}.py" for folder, names in HOT.items() for name in names.split()]
    found = list(mypycify(files, opt_level="3", debug_level="0"))
    for extension in found:
        extension.include_dirs.insert(0, str(mended))
    return found


setup(ext_modules=extensions())
