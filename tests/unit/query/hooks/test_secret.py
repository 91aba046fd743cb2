"""Signatures as Standard Webhooks has them, and secrets that are none."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from query.hooks import secret

# The example of the specification's reference libraries (test vector of standardwebhooks).
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
AT_S = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def written(path: Path, text: str, mode: int = 0o640) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_signature_is_that_of_the_reference(tmp_path: Path) -> None:
    secrets = secret.read(written(tmp_path / "secret", SECRET + "\n"))
    found = secret.headers(ID, AT_S, BODY, secrets)
    assert found == {
        "webhook-id": ID, "webhook-timestamp": str(AT_S), "webhook-signature": SIGNATURE,
    }  # fmt: skip


def test_two_secrets_sign_both(tmp_path: Path) -> None:
    other = b"o" * 32
    text = f"{SECRET}\nwhsec_{base64.b64encode(other).decode()}\n"
    secrets = secret.read(written(tmp_path / "secret", text))
    first, second = secret.headers(ID, AT_S, BODY, secrets)["webhook-signature"].split()
    signed = f"{ID}.{AT_S}.".encode() + BODY
    mine = base64.b64encode(hmac.new(other, signed, hashlib.sha256).digest()).decode()
    assert (first, second) == (SIGNATURE, f"v1,{mine}")


@pytest.mark.parametrize(
    "text",
    ["", "\n", "hunter2", "whsec_", "whsec_c2hvcnQ=", SECRET.removeprefix("whsec_"), "whsec_%%%"],
)
def test_what_is_no_secret_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(secret.SecretError, match="openssl rand"):
        secret.read(written(tmp_path / "secret", text))


def test_a_secret_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(secret.SecretError, match="chmod o="):
        secret.read(written(tmp_path / "secret", SECRET, 0o644))


def test_a_secret_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(secret.SecretError, match="nowhere"):
        secret.read(tmp_path / "nowhere")
