"""Imports point left only: posttrail <- journal <- milterd | query (docs/architecture.md)."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MAY_IMPORT = {
    "posttrail": {"posttrail"},
    "journal": {"posttrail", "journal"},
    "milterd": {"posttrail", "journal", "milterd"},
    "query": {"posttrail", "journal", "query"},
}
ONLY_IMPORTER = {
    "lmdb": "journal/store.py",
    "Milter": "milterd/callbacks.py",
    "milter": "milterd/callbacks.py",
    "dns": "query/trace/dns.py",
}
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for layer in MAY_IMPORT
    for path in (ROOT / layer).rglob("*.py")
)


def imported(tree: ast.AST) -> Iterator[str]:
    """The dotted name of every module that the source imports, wherever in it that stands."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(level=0, module=str(module)):
                yield module
            case ast.ImportFrom():
                yield "."  # relative: forbidden, so that one spelling can be searched for


def wrong_imports(source: str, path: str) -> list[str]:
    """What the rules have against the imports of a file at this path of the project."""
    allowed = MAY_IMPORT[path.split("/")[0]]
    found = []
    for name in imported(ast.parse(source)):
        top = name.split(".")[0]
        if not top:
            found.append("a relative import")
        elif top in MAY_IMPORT and top not in allowed:
            found.append(f"{top} is to the right of it")
        elif ONLY_IMPORTER.get(top, path) != path:
            found.append(f"only {ONLY_IMPORTER[top]} imports {top}")
    return found


@pytest.mark.parametrize("path", [path for path in SOURCES if path.startswith("milterd/lines/")])
def test_what_a_line_says_needs_nobody_who_follows_or_joins(path: str) -> None:
    names = imported(ast.parse((ROOT / path).read_text("utf-8")))
    inside = {name for name in names if name.startswith("milterd.")}
    assert all(name.startswith("milterd.lines") for name in inside)


@pytest.mark.parametrize("path", SOURCES)
def test_imports_point_left(path: str) -> None:
    assert wrong_imports((ROOT / path).read_text(), path) == []


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("import journal.keys", "posttrail/text.py"),
        ("def f():\n    from query.rows import Row", "journal/reader.py"),
        ("from milterd import spool", "query/rows.py"),
        ("import query", "milterd/main.py"),
        ("import lmdb", "journal/writer.py"),
        ("from lmdb import Error", "milterd/track/main.py"),
        ("import Milter", "milterd/main.py"),
        ("from . import records", "journal/codec.py"),
    ],
)
def test_the_rules_see_a_wrong_import(source: str, path: str) -> None:
    assert len(wrong_imports(source, path)) == 1


def test_every_python_file_belongs_to_a_layer() -> None:
    outside = {"tests", "typings", "build"}
    tracked = {path.relative_to(ROOT).parts[0] for path in ROOT.glob("[a-z]*/**/*.py")}
    assert tracked - outside <= set(MAY_IMPORT)


def test_every_package_is_installed() -> None:
    """A folder that pyproject.toml leaves out works here, and fails where posttrail is installed."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    packages = {path.rpartition("/")[0].replace("/", ".") for path in SOURCES}
    assert sorted(packages) == sorted(listed)


def test_traced_never_loads_lmdb() -> None:
    modules = (
        "query.trace.serve, query.trace.postfix.walker, query.trace.sendmail, query.trace.exim"
    )
    program = f"import sys, {modules}; sys.exit('lmdb' in sys.modules or 'journal' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


@pytest.mark.parametrize("path", [each for each in SOURCES if each.startswith("query/trace/")])
def test_a_walk_needs_no_journal(path: str) -> None:
    if Path(path).name in ("history.py", "verb.py"):
        return
    names = set(imported(ast.parse((ROOT / path).read_text("utf-8"))))
    assert not {name for name in names if name.split(".")[0] == "journal"}


@pytest.mark.parametrize("module", ["milterd.main", "milterd.callbacks", "milterd.spool"])
def test_milterd_never_loads_lmdb(module: str) -> None:
    program = f"import sys, {module}; sys.exit('lmdb' in sys.modules or 'query' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_verbs_are_loaded_on_use_only() -> None:
    program = "import sys, posttrail.cli; sys.exit('lmdb' in sys.modules or 'query' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
