"""A pymilter that does nothing, with the flags of posttrail-milterd: the floor in Python.

    pymilter_noop.py SOCKET

It takes the same events (all but the body) and macros straight from pymilter's C module, as
posttrail-milterd does, and answers none of them but the end of the message.
"""

from __future__ import annotations

import sys
from typing import Final

import milter

_NO_BODY: Final = milter.P_NOBODY | milter.P_NOUNKNOWN | milter.P_RCPT_REJ
_NO_REPLY: Final = (
    milter.P_NR_CONN | milter.P_NR_HELO | milter.P_NR_MAIL | milter.P_NR_RCPT
    | milter.P_NR_DATA | milter.P_NR_HDR | milter.P_NR_EOH
)  # fmt: skip
MACROS: Final = {
    milter.M_CONNECT: "{client_port} {client_addr} {daemon_name}",
    milter.M_HELO: "{tls_version} {cipher}",
    milter.M_ENVFROM: "i {auth_authen} {auth_type}",
    milter.M_ENVRCPT: "i {rcpt_mailer} {rcpt_host} {rcpt_addr}",
    milter.M_DATA: "i",
    milter.M_EOH: "",
    milter.M_EOM: "",
}


def negotiate(ctx: milter.milterContext, options: list[int]) -> int:
    """Ask for no replies and for the macros that a recorder needs."""
    options[:] = [milter.SETSYMLIST, options[1] & (_NO_BODY | _NO_REPLY), 0, 0]
    for stage, names in MACROS.items():
        ctx.setsymlist(stage, names)
    return milter.CONTINUE


def silent(ctx: milter.milterContext, *_: object) -> int:
    """An event that nobody waits for an answer to."""
    return milter.NOREPLY


def answer(ctx: milter.milterContext, *_: object) -> int:
    """The end of a message, of a transaction, of a connection."""
    return milter.CONTINUE


def main() -> None:
    """Serve until SIGTERM."""
    for register in (
        milter.set_connect_callback, milter.set_helo_callback, milter.set_envfrom_callback,
        milter.set_envrcpt_callback, milter.set_header_callback, milter.set_eoh_callback,
    ):  # fmt: skip
        register(silent)
    for register in (milter.set_eom_callback, milter.set_abort_callback, milter.set_close_callback):
        register(answer)
    milter.set_flags(milter.SETSYMLIST)
    milter.set_exception_policy(milter.CONTINUE)
    milter.register("noop", unknown=answer, data=silent, negotiate=negotiate)
    milter.setconn(sys.argv[1])
    milter.opensocket(True)
    milter.main()


if __name__ == "__main__":
    main()
