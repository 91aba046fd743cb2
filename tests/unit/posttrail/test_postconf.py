"""What postconf(1) prints, understood; and when it is asked again."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from posttrail import postconf as settings
from posttrail.errors import UnavailableError
from posttrail.postconf import (
    SettingsCache,
    SettingsError,
    main_of,
    overrides_of,
    services_of,
    split,
)


def test_a_value_goes_to_the_end_of_its_line_whatever_is_in_it() -> None:
    printed = "a = \nb = x = y\nmaps = inline:{ {k = v w}, l=m } hash:/x\n"
    assert main_of(printed) == {"a": "", "b": "x = y", "maps": "inline:{ {k = v w}, l=m } hash:/x"}


def test_what_a_service_overrides_is_its_own() -> None:
    printed = (
        "127.0.0.1:25/inet/content_filter = scan:[127.0.0.1]:10025\n"
        "submission/inet/smtpd_relay_restrictions = permit_sasl_authenticated,reject\n"
        "cleanup/unix/virtual_alias_maps = \n"
    )
    assert overrides_of(printed) == {
        "127.0.0.1:25/inet": {"content_filter": "scan:[127.0.0.1]:10025"},
        "submission/inet": {"smtpd_relay_restrictions": "permit_sasl_authenticated,reject"},
        "cleanup/unix": {"virtual_alias_maps": ""},
    }


def test_a_service_has_its_eight_fields_and_the_rest_are_arguments() -> None:
    printed = "vmail unix - n n - 5 pipe flags=R user=v argv=/bin/x ${recipient}\n"
    (service,) = services_of(printed)
    assert (service.name, service.type, service.chroot, service.maxproc) == (
        *("vmail", "unix", "n", "5"),
    )
    assert service.command == "pipe"
    assert service.arguments == ("flags=R", "user=v", "argv=/bin/x", "${recipient}")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", ()),
        (" a,b ,\tc\n", ("a", "b", "c")),
        ("inline:{ {k = v, w}, l=m } hash:/x", ("inline:{ {k = v, w}, l=m }", "hash:/x")),
        ("check_client_access { inline:{a=b}, x=y }, reject",
         ("check_client_access", "{ inline:{a=b}, x=y }", "reject")),
    ],
)  # fmt: skip
def test_what_stands_in_braces_is_one_word(value: str, words: tuple[str, ...]) -> None:
    assert split(value) == words


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """Files that Postfix need not wait for."""
    try:
        settings.program("postconf")
    except UnavailableError:
        pytest.skip("no Postfix here")
    _write(tmp_path / "main.cf", "compatibility_level=3.6\nmyhostname = mx.example.com\nuse = on\n")
    _write(
        tmp_path / "master.cf",
        "smtp inet n - n - - smtpd\n  -o { content_filter = a b }\n"
        "# between\n  -o mynetworks=$myhostname,${use?yes},${nothing:none}\n"
        "cleanup unix n - n - 0 cleanup -o always_bcc=\n",
    )
    return tmp_path


def _write(file: Path, text: str, at: int = 1) -> None:
    file.write_text(text)
    os.utime(file, (at, at))


def test_overrides_in_braces_and_over_lines_are_read_and_expanded(etc: Path) -> None:
    read = settings.read(str(etc))
    assert read.get("content_filter", "smtp/inet") == "a b"
    assert read.words("mynetworks", "smtp/inet") == ("mx.example.com", "yes", "none")
    assert read.get("myhostname", "smtp/inet") == "mx.example.com"
    assert read.main.get("always_bcc", "") == read.get("always_bcc", "cleanup/unix") == ""
    assert [(each.name, each.type) for each in read.services] == [
        ("smtp", "inet"),
        ("cleanup", "unix"),
    ]


def test_settings_are_read_anew_only_when_a_file_is_another(etc: Path) -> None:
    cache = SettingsCache(str(etc))
    first = cache.read()
    assert cache.read() is first
    _write(etc / "main.cf", "compatibility_level=3.6\nmyhostname = longer.example.com\n")
    second = cache.read()  # of the same second, of another size
    assert second.get("myhostname") == "longer.example.com"
    other = etc / "other"
    _write(other, "compatibility_level=3.6\nmyhostname = shorty.example.com\n")
    other.rename(etc / "main.cf")  # of the same second and size, another file
    assert cache.read().get("myhostname") == "shorty.example.com"
    _write(etc / "master.cf", "pickup unix n - n 60 1 pickup\n", at=2)
    assert [each.name for each in cache.read().services] == ["pickup"]


def test_what_postconf_cannot_read_is_said_in_its_words(etc: Path) -> None:
    with pytest.raises(SettingsError, match=r"main\.cf: No such file or directory"):
        settings.read(str(etc / "absent"))


def test_no_postfix_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(settings, "_PATH", "/nowhere")
    with pytest.raises(UnavailableError, match=r"no postconf\(1\) on this machine"):
        settings.read()


def test_a_directory_that_the_user_may_not_enter_is_said(
    etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be nobody")
    etc.chmod(0o700)
    real = subprocess.Popen

    def as_nobody(*words: Any, **named: Any) -> object:
        return real(*words, **named, user=65534)

    monkeypatch.setattr(subprocess, "Popen", as_nobody)
    with pytest.raises(SettingsError, match="Permission denied"):
        settings.read(str(etc))
