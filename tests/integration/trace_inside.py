"""``python -m tests.integration.trace_inside exim|sendmail PROGRAM CONFIG [SERVER]``: traces, pickled.

The labs' MTAs live in mount namespaces; this runs there. Standard input: a pickled list of Questions;
standard output: the list of Traces.
"""

import pickle
import sys
from pathlib import Path

from query.trace.dns import Dns
from query.trace.exim import EximWalker
from query.trace.sendmail import SendmailWalker
from query.trace.tree import Question, Trace

ROOT = Path(__file__).resolve().parents[2]


def questions(*addresses: str) -> list[Question]:
    """One for each address, of a sender not named."""
    return [Question(address=address) for address in addresses]


def traced(prefix: list[str], words: list[str], asked: list[Question]) -> list[Trace]:
    """The traces as the MTA inside answers; ``prefix`` leads into its namespace."""
    import subprocess

    done = subprocess.run(
        [*prefix, "env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.integration.trace_inside",
         *words],
        input=pickle.dumps(asked), capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    answers: list[Trace] = pickle.loads(done.stdout)
    return answers


def main() -> None:
    """The command line."""
    kind, program, config, *servers = sys.argv[1:]
    if kind == "exim":
        trace = EximWalker(program, config=config).trace
    else:
        trace = SendmailWalker(program, Dns(servers), config=config).trace
    sys.stdout.buffer.write(pickle.dumps([trace(each) for each in pickle.load(sys.stdin.buffer)]))


if __name__ == "__main__":
    main()
