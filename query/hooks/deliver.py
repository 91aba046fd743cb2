"""A webhook: one POST over HTTP/1.1, signed, within a time limit from dial to answer.

RFC 9110. HTTPS certificates are verified against the system's; redirects are not followed, no
proxy is asked, and of the answer the status and Retry-After are read, 16 KiB at most. 2xx is
taken; 410 means that the receiver wants nothing any more (Standard Webhooks); all else is tried
again. Looking up the host's name has the resolver's own limit. Raises nothing.
"""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from threading import Timer
from typing import Final

from posttrail import __version__
from posttrail.errors import ConfigError
from posttrail.hook import Address, Hook, address_of
from query.hooks import secret
from query.hooks.outcome import Outcome
from query.hooks.state import Call

MOST_BODY: Final = 16 << 10
MOST_ADDRESSES: Final = 4
_GONE: Final = 410


def post(hook: Hook, call: Call) -> Outcome:
    """Tell it."""
    deadline = time.monotonic() + hook.timeout_s
    try:
        secrets = secret.read(Path(hook.secret_file))
        return _exchange(address_of(hook.url), call, secrets, deadline)
    except ssl.SSLCertVerificationError as error:
        return Outcome(said=f"certificate: {error.verify_message}")
    except TimeoutError:
        return Outcome(said=f"no answer in {hook.timeout_s} s")
    except OSError as error:
        late = time.monotonic() >= deadline
        return Outcome(said=f"no answer in {hook.timeout_s} s" if late else _said(error))
    except HTTPException as error:
        late = time.monotonic() >= deadline
        words = f"no answer in {hook.timeout_s} s" if late else f"no HTTP: {type(error).__name__}"
        return Outcome(said=words)
    except ConfigError as error:
        return Outcome(said=str(error))


def _said(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _exchange(address: Address, call: Call, secrets: tuple[bytes, ...], deadline: float) -> Outcome:
    with _dial(address, deadline) as plain, plain.dup() as handle, _cut(handle, deadline):
        opened = plain
        if address.tls:
            opened = _context().wrap_socket(plain, server_hostname=address.host)
        connection = HTTPConnection(address.host, address.port)
        connection.sock = opened
        try:
            connection.request("POST", address.target, call.body, _headers(address, call, secrets))
            with connection.getresponse() as answer:
                if time.monotonic() >= deadline:  # a head that was cut looks like a whole one
                    raise TimeoutError
                with suppress(OSError, HTTPException):
                    answer.read(MOST_BODY)
                return _outcome(answer)
        finally:
            connection.close()
            opened.close()


def _headers(address: Address, call: Call, secrets: tuple[bytes, ...]) -> dict[str, str]:
    usual = 443 if address.tls else 80
    host = f"[{address.host}]" if ":" in address.host else address.host
    return {
        "Host": host if address.port == usual else f"{host}:{address.port}",
        "Content-Type": "application/json",
        "User-Agent": f"posttrail/{__version__}",
        "Connection": "close",
        **secret.headers(call.id, int(time.time()), call.body, secrets),
    }


def _outcome(answer: HTTPResponse) -> Outcome:
    if 200 <= answer.status < 300:
        return Outcome(ok=True)
    after = answer.headers.get("Retry-After", "")
    return Outcome(
        gone=answer.status == _GONE,
        said=f"HTTP {answer.status}",
        after_s=float(after) if after.isascii() and after.isdecimal() and len(after) < 7 else None,
    )


def _dial(address: Address, deadline: float) -> socket.socket:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    error: OSError = TimeoutError()
    for family, kind, protocol, _, place in found[:MOST_ADDRESSES]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(left)
            made.connect(place)
            return made
        except OSError as failed:
            made.close()
            error = failed
    raise error


@contextmanager
def _cut(handle: socket.socket, deadline: float) -> Iterator[None]:
    """Whatever the other side does, byte by byte, it ends at the deadline.

    By a handle of its own: TLS takes the descriptor of the socket that it wraps.
    """
    cut = Timer(max(0.0, deadline - time.monotonic()), _shut, (handle,))
    cut.daemon = True
    cut.start()
    try:
        yield
    finally:
        cut.cancel()


def _shut(handle: socket.socket) -> None:
    with suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)


@lru_cache(maxsize=1)
def _context() -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    return made
