"""How many of the replies in the corpora are explained (``python -m tests.score.explained``).

Every different reply of a row that was deferred, refused or given up counts once, digits aside,
and so does every diagnostic of sisimai-reasons. Prints the share by what was known, and what
only a code or nothing explains, most frequent first. Exit code 66: no corpora.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from posttrail.errors import PosttrailError
from query.explain import explain
from tests.score.check import Row, read_jsonl, rows
from tests.score.main import CORPORA

_FAILED: Final = frozenset({"deferred", "error", "rejected"})
_NO_LOGS: Final = frozenset({".md", ".json", ".jsonl", ".txt"})
_VARIES: Final = re.compile(r"\S+@\S+|\b[0-9a-f-]*\d[0-9a-f.:-]*\b", re.IGNORECASE)

Reply = tuple[str, str | None, int | None]  # text, enhanced status, reply code


def replies() -> Iterator[Reply]:
    """Every reply of the corpora to what did not get through."""
    for log in sorted(path for path in CORPORA.rglob("*") if path.is_file()):
        if log.suffix not in _NO_LOGS:
            yield from (_of_row(row) for row in _rows(log) if row["status"] in _FAILED)
    for case in read_jsonl(CORPORA / "sisimai-reasons" / "expected.jsonl"):
        text = (case["diagnostic"] or "").partition(";")[2].strip()
        yield text, None, None


def _rows(log: Path) -> list[Row]:
    try:
        return rows([log], year=2026)
    except PosttrailError:
        return []  # no log of a form that is read


def _of_row(row: Row) -> Reply:
    return row.get("reply") or "", row.get("enhanced_status"), row.get("reply_code")


def basis(reply: Reply) -> str:
    """What explains a reply: ``text``, ``enhanced_status``, ``reply_code`` or ``nothing``."""
    text, enhanced, code = reply
    found = explain(text, enhanced_status=enhanced, reply_code=code)
    return found.basis if found else "nothing"


def main() -> int:
    """Prints the shares and what is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=40, help="of what is left, show so many")
    options = parser.parse_args()
    if not CORPORA.is_dir():
        print("no corpora: name their folder in POSTTRAIL_CORPORA", file=sys.stderr)
        return 66
    different: dict[str, Reply] = {}
    often: Counter[str] = Counter()
    for reply in replies():
        if reply[0]:
            shape = _VARIES.sub("#", reply[0])
            different.setdefault(shape, reply)
            often[shape] += 1
    shares = Counter(basis(reply) for reply in different.values())
    for name in ("text", "enhanced_status", "reply_code", "nothing"):
        print(f"{name:16} {shares[name]:5} {shares[name] / len(different):6.1%}")
    for shape, times in often.most_common():
        if basis(different[shape]) != "text" and options.most > 0:
            options.most -= 1
            print(f"{times:5} {basis(different[shape]):15} {different[shape][0][:200]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
