"""Writes a generated log to standard output: ``python -m tests.soak.feed MESSAGES``."""

import sys

from tests.bench.generate import generate

if __name__ == "__main__":
    try:
        for batch in generate(int(sys.argv[1])):
            sys.stdout.buffer.write(b"".join(batch.lines))
    except BrokenPipeError:
        pass
