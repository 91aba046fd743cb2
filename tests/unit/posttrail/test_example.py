"""deploy/posttrail.toml: every key, as a comment with its default."""

import itertools
import re
from dataclasses import fields
from pathlib import Path

from posttrail import config, hook

TEXT = (Path(__file__).resolve().parents[3] / "deploy" / "posttrail.toml").read_text("utf-8")
UNCOMMENTED = re.sub(r"^#(?! |$)", "", TEXT, flags=re.M)
"""Prose has a space behind its ``#``, a key has none."""
OTHERS = ("users", "hooks")
"""Tables without defaults: of any keys, and of any number."""
CONTINUED = re.sub(r"^#(?=    \S)", "", UNCOMMENTED, flags=re.M)


def test_as_it_is_installed_it_changes_nothing() -> None:
    assert config.parse(TEXT, "posttrail.toml") == config.Config()


def test_the_commented_values_are_the_defaults() -> None:
    assert config.parse(CONTINUED, "posttrail.toml") == config.Config()


def test_every_key_of_every_table_is_there_in_its_order() -> None:
    tables = re.split(r"^\[(\w+)\]$", CONTINUED, flags=re.M)[1:]
    named = {
        table: re.findall(r"^(\w+) = ", body, flags=re.M)
        for table, body in zip(tables[::2], tables[1::2], strict=True)
    }
    names = [table.name for table in fields(config.Config()) if table.name not in OTHERS]
    keys = {name: [key.name for key in fields(getattr(config.Config(), name))] for name in names}
    assert named == keys | {"users": []}


def test_the_example_of_a_hook_means_something_and_names_every_key() -> None:
    _, _, example = TEXT.partition("# [[hooks]]\n")
    example = example.partition("\n\n")[0]
    lines = [line for line in example.splitlines() if re.match(r"# \w+ = ", line)]
    keys = [line.split()[1] for line in lines]
    assert sorted(keys) == sorted(part.name for part in fields(hook.Hook))
    one_way = [line[2:] for line in lines if line.split()[1] != "exec"]
    (made,) = config.parse("[[hooks]]\n" + "\n".join(one_way), "x").hooks
    assert made.name
    other_way = [line[2:] for line in lines if line.split()[1] not in ("url", "secret_file")]
    assert config.parse("[[hooks]]\n" + "\n".join(other_way), "x").hooks[0].exec


def test_every_key_has_words_before_it() -> None:
    lines = TEXT.splitlines()
    bare = [
        line
        for before, line in itertools.pairwise(lines)
        if re.match(r"#\w+ = ", line) and not re.match(r"# |#\w+ = ", before)
    ]
    assert bare == []
