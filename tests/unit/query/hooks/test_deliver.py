"""One POST: signed, verified, in time, and nothing but what was configured."""

import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from posttrail.hook import Hook
from query.hooks import deliver
from query.hooks.state import NOBODY, Call
from tests.unit.query.hooks.conftest import hook
from tests.unit.query.hooks.receiver import Receiver, is_signed
from tests.unit.query.hooks.receiver import secret_file as made_secret

CALL = Call("evt_1", "error", b"", NOBODY, json.dumps({"data": "caf\u00e9"}).encode(), 0, 0)


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    return str(made_secret(tmp_path))


def to(url: str, secret_file: str, timeout_s: int = 10) -> Hook:
    return hook(exec=(), url=url, secret_file=secret_file, timeout_s=timeout_s)


def test_it_is_signed_and_says_what_it_is(secret_file: str) -> None:
    with Receiver() as receiver:
        assert deliver.post(to(receiver.url, secret_file), CALL).ok
    (got,) = receiver.got
    assert is_signed(got)
    assert (got.id, got.body, got.path) == ("evt_1", CALL.body, "/hook?a=b")
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"].startswith("posttrail/")
    assert got.headers["host"] == receiver.url.split("/")[2]


def test_a_body_that_was_changed_is_not_signed(secret_file: str) -> None:
    with Receiver() as receiver:
        deliver.post(to(receiver.url, secret_file), CALL)
    (got,) = receiver.got
    changed = type(got)(id=got.id, body=got.body + b" ", path="", headers=got.headers, status=204)
    assert not is_signed(changed)


@pytest.mark.parametrize(
    ("status", "gone"), [(400, False), (404, False), (410, True), (500, False)]
)
def test_what_is_not_2xx_is_not_taken(secret_file: str, status: int, gone: bool) -> None:
    with Receiver(lambda _: status) as receiver:
        outcome = deliver.post(to(receiver.url, secret_file), CALL)
    assert (outcome.ok, outcome.gone, outcome.said) == (False, gone, f"HTTP {status}")


def test_a_redirect_is_not_followed(secret_file: str) -> None:
    with Receiver() as other, Receiver(lambda _: 302) as receiver:
        receiver.extra = {"Location": other.url}
        assert deliver.post(to(receiver.url, secret_file), CALL).said == "HTTP 302"
    assert other.got == []


def test_a_receiver_says_when_to_come_back(secret_file: str) -> None:
    with Receiver(lambda _: 503) as receiver:
        receiver.extra = {"Retry-After": "120"}
        assert deliver.post(to(receiver.url, secret_file), CALL).after_s == 120.0


def test_nobody_who_listens_is_an_error_in_words(secret_file: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    outcome = deliver.post(to(f"http://127.0.0.1:{port}/", secret_file), CALL)
    assert (outcome.ok, outcome.said) == (False, "connection refused")


def test_an_answer_that_does_not_come_ends_at_the_limit(secret_file: str) -> None:
    with Receiver() as receiver:
        receiver.hold.clear()
        began = time.monotonic()
        outcome = deliver.post(to(receiver.url, secret_file, timeout_s=1), CALL)
        assert time.monotonic() - began < 5
    assert outcome.said == "no answer in 1 s"


@contextmanager
def speaking(
    *pieces: bytes, pause: float = 0.0, tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """A server that says these pieces, one after the other, whatever it is asked."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            if tls is not None:
                client = tls.wrap_socket(client, server_side=True)
            with client:
                client.recv(65536)
                try:
                    for piece in pieces:
                        client.sendall(piece)
                        if ended.wait(pause):
                            return
                except OSError:
                    pass  # the other side has had enough

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        scheme = "https" if tls else "http"
        yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/"
        ended.set()
        thread.join(10)


def test_an_answer_that_drips_ends_at_the_limit(secret_file: str) -> None:
    drops = [b"HTTP/1.1 200 OK\r\n"] + [b"x: y\r\n"] * 100
    with speaking(*drops, pause=0.2) as url:
        began = time.monotonic()
        outcome = deliver.post(to(url, secret_file, timeout_s=1), CALL)
        assert time.monotonic() - began < 5
    assert outcome.said == "no answer in 1 s"


def test_an_answer_that_drips_over_tls_ends_at_the_limit(
    tmp_path: Path, secret_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, trusting = contexts(tmp_path, "IP:127.0.0.1", known=True)
    monkeypatch.setattr(deliver, "_context", lambda: trusting)
    drops = [b"HTTP/1.1 200 OK\r\n"] + [b"x: y\r\n"] * 50
    with speaking(*drops, pause=0.2, tls=server) as url:
        began = time.monotonic()
        outcome = deliver.post(to(url, secret_file, timeout_s=1), CALL)
        assert time.monotonic() - began < 5
    assert outcome.said == "no answer in 1 s"


@pytest.mark.parametrize(
    "said", [b"", b"\r\n\r\n", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\xff" * 99]
)
def test_what_is_no_http_is_an_error_in_words(secret_file: str, said: bytes) -> None:
    with speaking(said) as url:
        outcome = deliver.post(to(url, secret_file), CALL)
    assert not outcome.ok
    assert outcome.said


def test_an_answer_without_end_is_not_read_to_its_end(secret_file: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n"
    with speaking(head, *[b"x" * 65536] * 64) as url:
        assert deliver.post(to(url, secret_file), CALL).ok


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "1", "-subj", "/CN=x", "-addext", f"subjectAltName={name}",
         "-keyout", key, "-out", cert],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return key, cert


def contexts(folder: Path, name: str, *, known: bool) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's with a certificate of this name, and that of a client that may know it."""
    key, cert = certificate(folder, name)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return server, ssl.create_default_context(cafile=str(cert) if known else None)


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("IP:127.0.0.1", True, ""),
        ("IP:127.0.0.1", False, "certificate: self-signed certificate"),
        ("DNS:other.example", True, "certificate: IP address mismatch"),
    ],
)
def test_a_certificate_is_verified(
    tmp_path: Path, secret_file: str, monkeypatch: pytest.MonkeyPatch,
    name: str, known: bool, said: str,
) -> None:  # fmt: skip
    server, trusting = contexts(tmp_path, name, known=known)
    monkeypatch.setattr(deliver, "_context", lambda: trusting)
    with Receiver() as receiver:
        plain = receiver._server.socket
        receiver._server.socket = server.wrap_socket(plain, server_side=True)
        receiver._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a handshake that fails
        url = receiver.url.replace("http:", "https:")
        outcome = deliver.post(to(url, secret_file), CALL)
    assert outcome.ok == (not said)
    assert outcome.said.startswith(said)
    assert len(receiver.got) == (not said)


def test_a_secret_that_went_is_an_error_in_words(tmp_path: Path) -> None:
    with Receiver() as receiver:
        outcome = deliver.post(to(receiver.url, str(tmp_path / "gone")), CALL)
    assert "gone" in outcome.said
    assert receiver.got == []
