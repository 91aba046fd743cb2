"""What Postfix does with a real mail to each address, beside what the trace says of it.

What Postfix did is read from the log of the same run; ``trace_cases`` has only the addresses and what
each is about. The trace is asked as root and as nobody, with the resolver's socket and without.
"""

import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from posttrail.demo.stage import folder
from query.trace.tree import Source, Trace, Verdict
from tests.integration.trace_cases import GROUPS
from tests.integration.trace_compare import differences, same_address
from tests.integration.trace_truth import Result, Truth

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240
CASES = {
    f"{name}: {case}": each for name, group in GROUPS.items() for case, each in group.cases.items()
}
MODES = ("root, socket", "root, computed", "nobody, socket", "nobody, computed")
WORDS = "a mount and network namespace of its own (unshare -mn)"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Result]:
    for program in ("unshare", "postfix", "knotd", "unbound", "openssl", "ip"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here: tools/setup run dns trace installs what is missing")
    empty = tmp_path_factory.mktemp("etc")
    (empty / "main.cf").touch()
    asked = ("postconf", "-c", str(empty), "-m")
    tables = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    if not {"pcre", "lmdb"} <= set(tables.split()):
        pytest.skip("no pcre or lmdb tables: tools/setup trace installs what is missing")
    apart = ("unshare", "-mn", "--propagation", "private")
    if subprocess.run((*apart, "true"), capture_output=True, check=False).returncode:
        pytest.skip(f"{WORDS} is not permitted here")
    with folder(None, keep=False) as directory:
        done = subprocess.run(
            (*apart, sys.executable, "-m", "tests.integration.trace_lab", str(directory)),
            cwd=ROOT, capture_output=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        seen: Result = pickle.loads(done.stdout)
        yield seen


@pytest.mark.parametrize("case", CASES)
def test_the_trace_ends_where_the_mail_went(result: Result, case: str) -> None:
    truth = result.truths[case]
    assert truth.refused is not None or truth.discarded or truth.ends, "the log says nothing of it"
    wrong = {}
    for mode in MODES:
        found = differences(result.traces[mode][case], truth, outside=CASES[case].outside)
        if found and CASES[case].closed and mode.startswith("nobody"):
            found = [] if _says_unknown(result.traces[mode][case]) else found
        if found:
            wrong[mode] = found
    assert not wrong, (CASES[case], wrong, truth.lines)


def _says_unknown(trace: Trace) -> bool:
    return trace.root.verdict is Verdict.UNKNOWN


def test_the_comparison_tells_cases_apart(result: Result) -> None:
    traces = {case: trace for case, trace in result.traces[MODES[0]].items() if case[:4] == "main"}
    others = [
        (case, other)
        for case in traces
        for other in traces
        if not same_address(CASES[case].address, CASES[other].address)
    ]
    alike = [pair for pair in others if not differences(traces[pair[0]], result.truths[pair[1]])]
    assert all(_same_fate(result.truths[case], result.truths[other]) for case, other in alike)


def _same_fate(one: Truth, other: Truth) -> bool:
    """The same recipients got it, or the same code refused it."""
    if one.refused and other.refused:
        return one.refused.split()[1] == other.refused.split()[1]
    names = [{end.address.casefold() for end in truth.ends} for truth in (one, other)]
    return names[0] == names[1] and not one.refused and not other.refused


@pytest.mark.parametrize("mode", MODES)
def test_the_answer_says_who_was_asked(result: Result, mode: str) -> None:
    wanted = Source.COMPUTED if "computed" in mode else Source.MTA
    trace = result.traces[mode]["main: mx order"]
    assert trace.root.source is wanted
    assert any("computed" in warning for warning in trace.warnings) == (wanted is Source.COMPUTED)


@pytest.mark.parametrize("mode", MODES)
def test_a_trace_speaks_to_the_resolver_only(result: Result, mode: str) -> None:
    assert result.connections[mode] == 0  # nobody was connected to
    assert result.strangers[mode] == 0  # no datagram went where none is read
