"""Compiles the code that runs for every line or message, where POSTTRAIL_COMPILE=1 asks for it.

mypyc takes the modules as they are; without it the same source runs as plain Python. All else
about the package stands in pyproject.toml.
"""

import os

from setuptools import Extension, setup

HOT = {
    "journal": """
        address agents
        batch
        codec
        draft
        echoes
        finish fold
        hits
        keys kinds
        legs locality
        places
        recipients
        status strings
        terms texts
        writer
    """,
    "milterd/track": """
        amavis
        correlate
        dovecot
        exim exim_delivery exim_door exim_header exim_sa exim_scan
        filters
        intake
        journald
        kin
        late lives losses
        mailscanner memory mutf7
        pmg postfix postfix_delivery postfix_door postfix_queue postfix_smtpd programs
        refusals
        scan sendmail sendmail_delivery sendmail_door sendmail_parts sessions stamps strays syslog
        verdicts
        wire
    """,
}
"""Modules by folder."""


def extensions() -> list[Extension]:
    """One extension of all of them, so that they call each other directly."""
    if os.environ.get("POSTTRAIL_COMPILE") != "1":
        return []
    from mypyc.build import mypycify

    files = [f"{folder}/{name}.py" for folder, names in HOT.items() for name in names.split()]
    return list(mypycify(files, opt_level="3", debug_level="0"))


setup(ext_modules=extensions())
