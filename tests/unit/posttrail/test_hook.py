"""[[hooks]]: what means nothing is refused, by hook, key and what may stand there."""

import pytest

from posttrail import config
from posttrail.errors import ConfigError
from posttrail.hook import Address, address_of
from query.hooks import wanted

WEB = 'name = "a"\non = ["error"]\nurl = "https://hooks.example.com/x"\nsecret_file = "/etc/s"\n'
COMMAND = 'name = "b"\non = ["error"]\nexec = ["/bin/true", "x"]\n'


def parsed(text: str) -> config.Config:
    return config.parse(text, "posttrail.toml")


def test_hooks_are_read_in_their_order() -> None:
    hooks = parsed(f"[[hooks]]\n{WEB}[[hooks]]\n{COMMAND}").hooks
    assert [each.name for each in hooks] == ["a", "b"]
    assert (hooks[0].retry_hours, hooks[1].exec) == (24, ("/bin/true", "x"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hooks = 1", "write \\[\\[hooks\\]\\]"),
        ("[hooks]\n", "write \\[\\[hooks\\]\\]"),
        ('[[hooks]]\non = ["error"]\nexec = ["/x"]', "hooks 1.name"),
        (f"[[hooks]]\n{WEB}[[hooks]]\n{WEB}", "two have the name a"),
        (f"[[hooks]]\n{WEB}colour = 1", "hooks.a: unknown key colour"),
        (f"[[hooks]]\n{WEB}timeout_s = 0", "hooks.a.timeout_s is not a whole number"),
        (f"[[hooks]]\n{WEB}timeout_s = 1000", "above 120"),
        (f"[[hooks]]\n{WEB}parallel = true", "hooks.a.parallel"),
        (f"[[hooks]]\n{WEB}usual_hours = -1", "from 0 on"),
        (f'[[hooks]]\n{WEB}exec = ["/x"]', "one of url and exec"),
        ('[[hooks]]\nname = "a"\non = ["error"]', "one of url and exec"),
        ('[[hooks]]\nname = "a"\non = ["bounce"]\nexec = ["/x"]', "has bounce; known: delivered"),
        ('[[hooks]]\nname = "a"\non = []\nexec = ["/x"]', "has nothing"),
        ('[[hooks]]\nname = "A b"\non = ["error"]\nexec = ["/x"]', ".name is not"),
        ('[[hooks]]\nname = "a"\non = ["error"]\nexec = ["true"]', "no absolute path: 'true'"),
        ('[[hooks]]\nname = "a"\non = ["error"]\nexec = "true"', "is not a list of strings"),
        ('[[hooks]]\nname = "a"\non = ["error"]\nurl = "https://x.example"', "secret_file is missing"),
        (f'[[hooks]]\n{COMMAND}secret_file = "s"', "no absolute path"),
        (f'[[hooks]]\n{COMMAND}addresses = ["alice"]', "no @domain in 'alice'"),
        (f'[[hooks]]\n{COMMAND}usual = ["a@x.example"]', "one wants the other"),
        ('[[hooks]]\nname = "a"\non = ["silence"]\nexec = ["/x"]', "one wants the other"),
        ("".join(f'[[hooks]]\nname = "h{n}"\non = ["error"]\nexec = ["/x"]\n' for n in range(33)), "32 at most"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        parsed(text)
    assert str(refused.value).startswith("posttrail.toml: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('fields = ["body"]', "hooks.b.fields has 'body'; known: id, row"),
        ('direction = ["up"]', "hooks.b: unknown direction 'up'"),
        ('reason = ["luck"]', "hooks.b: unknown reason 'luck'"),
        ('recipient = "@"', "hooks.b: '@' is no address"),
        ('addresses = ["@fa\u00df.example"]', "may be two domains"),
    ],
)
def test_what_the_journal_has_no_word_for_is_refused(text: str, words: str) -> None:
    settings = parsed(f"[[hooks]]\n{COMMAND}{text}")
    with pytest.raises(ConfigError, match=words):
        wanted.of_config(settings)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://h.example", Address(tls=True, host="h.example", port=443, target="/")),
        ("https://h.example:8443/a?b=c#d", Address(tls=True, host="h.example", port=8443, target="/a?b=c")),
        ("http://127.0.0.1:80/x", Address(tls=False, host="127.0.0.1", port=80, target="/x")),
        ("http://[::1]:9/", Address(tls=False, host="::1", port=9, target="/")),
    ],
)  # fmt: skip
def test_a_url_is_taken_apart(url: str, address: Address) -> None:
    assert address_of(url) == address


@pytest.mark.parametrize(
    "url",
    ["http://h.example/", "http://192.0.2.1/", "ftp://h.example/", "https://", "h.example/x",
     "https://u:p@h.example/", "https://h.example:99999/", "https://h.example/a b",
     "https://h.example/\r\nX: y", "https://h\u00e4.example/"],
)  # fmt: skip
def test_a_url_that_would_tell_others_or_means_nothing_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^\.url"):
        address_of(url)
