"""docs/man: the daemons' pages name every option, exit code and log message, and no other."""

import ast
import re
from pathlib import Path

import pytest

from milterd import main as milterd
from milterd.track import main as trackd
from posttrail import metrics
from query.hooks import main as hookd
from query.httpd import main as queryd
from query.trace import serve as traced

ROOT = Path(__file__).resolve().parents[3]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
LEVELS = {"info": "info", "warning": "warning", "error": "error", "exception": "error"}
SOURCES = {
    "posttrail-milterd": ["milterd/main.py", "milterd/callbacks.py", "milterd/recorder.py"],
    "posttrail-hookd": [
        *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "query/hooks").glob("*.py"))),
    ],
    "posttrail-queryd": [
        str(path.relative_to(ROOT)) for path in sorted((ROOT / "query/httpd").glob("*.py"))
    ],
    "posttrail-traced": ["query/trace/serve.py", "query/trace/door.py"],
    "posttrail-trackd": [
        *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "milterd/track").glob("*.py"))),
        *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "journal").glob("*.py"))),
    ],
}
PROGRAMS = {
    "posttrail-milterd": milterd,
    "posttrail-trackd": trackd,
    "posttrail-traced": traced,
    "posttrail-queryd": queryd,
    "posttrail-hookd": hookd,
}
each = pytest.mark.parametrize("program", PROGRAMS)


def section(program: str, title: str) -> str:
    """What stands under a heading, without fonts and escapes."""
    raw = (ROOT / "docs" / "man" / f"{program}.8").read_text("utf-8")
    body = re.search(rf"^\.SH {title}\n(.*?)(?=^\.SH |\Z)", raw, re.M | re.S)
    assert body, title
    return re.sub(r"\\f[A-Z]", "", body[1].replace("\\-", "-"))


def stems(path: str) -> set[str]:
    """The constant words that each log call at info or above begins with."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        logger, level = node.func.value, node.func.attr
        if isinstance(logger, ast.Name) and logger.id == "log" and level in {*LEVELS, "log"}:
            text = node.args[level == "log"]
            assert isinstance(text, ast.Constant)
            found.add(re.split(r" \S*=|:| ?%", str(text.value))[0])
    return found


@each
def test_every_option_is_named(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [program, "--help"])
    with pytest.raises(SystemExit):
        main = PROGRAMS[program]
        (main._options if main is milterd else main.main)()
    offered = set(OPTION.findall(capsys.readouterr().out))
    assert len(offered) >= 3
    shown = re.findall(r"^\.TP\n(.*)$", section(program, "OPTIONS"), re.M)
    assert {name for line in shown for name in OPTION.findall(line)} == offered
    assert set(OPTION.findall(section(program, "SYNOPSIS"))) == offered - {"--help"}


@each
def test_every_exit_code_is_named(program: str) -> None:
    doc = PROGRAMS[program].__doc__ or ""
    told = re.search(r"Exit codes: (.*?)(?:\. |\n\n|\Z)", doc, re.S)
    assert told
    codes = {int(code) for code in re.findall(r"\b(?:0|\d\d)\b(?! s\b)", told[1])}
    assert {0, 64, 66, 69, 75, 77, 78} == codes
    named = re.findall(r"^\.B (\d+)$", section(program, "EXIT STATUS"), re.M)
    assert list(map(int, named)) == sorted(codes)


@each
def test_every_log_message_is_named(program: str) -> None:
    page = " ".join(re.sub(r'"|^\.\w+ ?', "", section(program, "MESSAGES"), flags=re.M).split())
    words = {stem for path in SOURCES[program] for stem in stems(path)}
    assert len(words) >= 5
    assert {stem for stem in words if stem not in page} == set()


def test_every_metric_is_named_with_its_type_and_its_labels() -> None:
    page = section("posttrail-queryd", "METRICS")
    for family in metrics.FAMILIES:
        labels = f" {{{', '.join(family.labels)}}}" if family.labels else ""
        assert f'.BR {family.name} "{" "}{family.kind.value}{labels}"\n{family.help}\n' in page
        for name, values in family.labels.items():
            if values and name not in ("route", "status", "reason", "version", "domain"):
                assert ", ".join(values) in page, (family.name, name)
    named = set(re.findall(r"\bposttrail_\w+", page))
    assert named == {family.name for family in metrics.FAMILIES}
