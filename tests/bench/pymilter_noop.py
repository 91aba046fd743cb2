"""A pymilter that does nothing, with the same flags as posttrail-milterd: the floor in Python.

    pymilter_noop.py SOCKET

No-reply callbacks, no body, few macros; the end of the message is answered CONTINUE.
"""

import sys

import Milter


@Milter.rejected_recipients
class Noop(Milter.Base):
    """Takes every event that posttrail-milterd takes, and forgets it."""

    def negotiate(self, opts: list[int]) -> int:
        """Ask for no replies and for the macros that a recorder needs."""
        super().negotiate(opts)
        # pymilter 1.0.5's own setsymlist fails on Python 3; the context's works.
        self._ctx.setsymlist(Milter.M_CONNECT, "j {client_port} {daemon_name}")
        self._ctx.setsymlist(Milter.M_HELO, "{tls_version} {cipher}")
        self._ctx.setsymlist(Milter.M_ENVFROM, "i {auth_authen} {auth_type}")
        self._ctx.setsymlist(Milter.M_ENVRCPT, "i {rcpt_mailer} {rcpt_host} {rcpt_addr}")
        self._ctx.setsymlist(Milter.M_DATA, "i")
        self._ctx.setsymlist(Milter.M_EOM, "i")
        return int(Milter.CONTINUE)

    @Milter.noreply
    def connect(self, hostname: str, family: int, hostaddr: object) -> int:
        """Nothing."""
        return int(Milter.CONTINUE)

    @Milter.noreply
    def hello(self, hostname: str) -> int:
        """Nothing."""
        return int(Milter.CONTINUE)

    @Milter.noreply
    def envfrom(self, address: str, *params: str) -> int:
        """Nothing."""
        return int(Milter.CONTINUE)

    @Milter.noreply
    def envrcpt(self, address: str, *params: str) -> int:
        """Nothing."""
        return int(Milter.CONTINUE)

    @Milter.noreply
    def data(self) -> int:
        """Nothing."""
        return int(Milter.CONTINUE)

    @Milter.noreply
    def header(self, name: str, value: str) -> int:
        """Nothing."""
        return int(Milter.CONTINUE)

    @Milter.noreply
    def eoh(self) -> int:
        """Nothing."""
        return int(Milter.CONTINUE)


def main() -> None:
    """Serve until SIGTERM."""
    Milter.factory = Noop
    Milter.set_flags(0)
    Milter.set_exception_policy(Milter.CONTINUE)
    Milter.runmilter("noop", sys.argv[1], 30)


if __name__ == "__main__":
    main()
