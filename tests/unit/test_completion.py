"""deploy/completion: as click makes it, and answered by the program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "deploy" / "completion"


def test_the_scripts_are_current(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "completion"), str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text() for path in KEPT.iterdir()}, "run tools/completion"


@pytest.mark.parametrize(
    ("line", "number", "answer"),
    [("posttrail cover", "1", "coverage"), ("posttrail report --sin", "2", "--since")],
)
def test_a_verb_and_an_option_are_completed(line: str, number: str, answer: str) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "posttrail.cli"],
        env={
            **os.environ, "PYTHONPATH": str(ROOT), "COMP_WORDS": line, "COMP_CWORD": number,
            "_POSTTRAIL_COMPLETE": "bash_complete",
        },
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert said.stdout.split() == [f"plain,{answer}"]
