"""docs/man: every verb, option, status, reason, exit code and key, and none that is not."""

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

from journal.records import REASONS, Status
from posttrail import cli, config, errors, hook, process

MAN = Path(__file__).resolve().parents[3] / "docs" / "man"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def text(name: str) -> str:
    """A man page without its fonts and escapes."""
    raw = (MAN / name).read_text("utf-8").replace("\\-", "-")
    return re.sub(r"\\f[A-Z]", "", raw)


def section(title: str) -> str:
    """What stands under a heading of posttrail(1), without its sub-headings."""
    for part in re.split(r"^\.S[HS] ", text("posttrail.1"), flags=re.MULTILINE):
        heading, _, body = part.partition("\n")
        if heading == title or heading.split()[0] == title:
            return body
    raise AssertionError(f"no section {title}")


def tagged(body: str) -> set[str]:
    """The options that a section explains: those on the line behind .TP."""
    return {
        name for line in re.findall(r"^\.TP\n(.*)$", body, re.M) for name in OPTION.findall(line)
    }


def options(command: click.Command) -> set[str]:
    below = command.commands.values() if isinstance(command, click.Group) else ()
    if command is not cli.posttrail and below:
        return set().union(*map(options, below))
    return {
        name
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for name in parameter.opts
        if name.startswith("--")
    }


@pytest.mark.parametrize("verb", list(cli.VERBS))
def test_every_option_of_a_verb_is_explained(verb: str) -> None:
    command = cli.posttrail.get_command(click.Context(cli.posttrail), verb)
    assert command is not None
    assert tagged(section(verb)) == options(command)


def test_every_global_option_is_explained() -> None:
    assert tagged(section("GLOBAL OPTIONS")) == options(cli.posttrail) | {"--help"}


def test_every_verb_and_no_other_has_a_section() -> None:
    headings = re.findall(r"^\.SS (\S+)", text("posttrail.1"), re.M)
    assert headings == list(cli.VERBS)


def test_every_status_and_reason_is_named() -> None:
    words = set(re.findall(r"[a-z_]+", section("STATUSES")))
    assert {status.token for status in Status} | set(REASONS) <= words


def test_every_exit_code_is_named() -> None:
    known = {0, 1, 2, process.EX_SOFTWARE, process.EX_INTERRUPTED, process.EX_BROKEN_PIPE}
    known |= {value for name, value in vars(errors).items() if name.startswith("EX_")}
    assert set(map(int, re.findall(r"^\.B (\d+)$", section("EXIT STATUS"), re.M))) == known


def test_the_environment_is_named() -> None:
    body = section("ENVIRONMENT")
    for name in ("POSTTRAIL_JOURNAL", "POSTTRAIL_SOCKET", config.VARIABLE, "NO_COLOR"):
        assert name in body


def test_every_key_of_the_configuration_is_named_with_its_default() -> None:
    page = text("posttrail.toml.5")
    shown = []  # [[hooks]] has a test of its own
    for heading, body in re.findall(r"^\.SH \[(\w+)\]\n((?:(?!\.SH).*\n)*)", page, re.M):
        for key, quoted in re.findall(r'^\.BR (\w+) " = (.*)"$', body, re.M):
            shown.append((f"[{heading}]", key, quoted.replace('""', '"')))
    assert shown == [
        (f"[{part.name}]", key.name, toml(getattr(getattr(config.Config(), part.name), key.name)))
        for part in fields(config.Config)
        if part.name not in ("users", "hooks")  # any key: the page says so in words
        for key in fields(getattr(config.Config(), part.name))
    ]


def test_every_key_of_a_hook_is_named_with_its_default_and_every_kind_of_event() -> None:
    page = text("posttrail.toml.5")
    body = re.search(r"^\.SH \[\[hooks\]\]\n((?:(?!\.SH).*\n)*)", page, re.M)
    assert body
    shown: dict[str, str] = {"name": "", "on": ""}  # without a default: they must be there
    for line in re.findall(r"^\.TP\n\.BR (.*)$", body[1], re.M):
        words = re.findall(r'"((?:[^"]|"")*)"|(\S+)', line)  # as groff(7) reads arguments
        text_of_it = "".join(quoted.replace('""', '"') + bare for quoted, bare in words)
        shown |= dict(re.findall(r'(\w+) = ("[^"]*"|\[\]|\d+)', text_of_it))
    needed = {"name": "", "on": ""}
    defaults = {part.name: toml(getattr(hook.Hook(), part.name)) for part in fields(hook.Hook)}
    assert shown == defaults | needed
    named = set(re.findall(r"[a-z_]+", body[1]))
    assert set(hook.KINDS) <= named


def toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value).lower() if isinstance(value, int) else f'"{value}"'
