"""Find the line of a container's log inside of what its runtime put around it.

Formats::

    STAMP LINE                       docker logs -t
    STAMP stdout|stderr F|P LINE     Kubernetes' CRI, podman
    NAME  | LINE                     docker compose logs
    {"log":"LINE\\n","stream":...}    Docker's json-file

A whole syslog line as the text of another one is milterd.lines.syslog's business, which asks
here about lines without a header only. Raises nothing.
"""

import json
from typing import Final

_STREAMS: Final = (b" stdout ", b" stderr ")
_NAME: Final = 80  # no longer names before a bar


def unwrap(line: bytes) -> bytes:
    """The line inside; b"" where nothing known is around one."""
    if line.startswith(b'{"log":"'):
        return _of_json(line)
    stamp, _, rest = line.partition(b" ")
    if len(stamp) >= 19 and stamp[4:5] + stamp[7:8] == b"--" and stamp[10:11] == b"T":
        for stream in _STREAMS:
            if line.startswith(stream, len(stamp)):
                return rest[9:] if rest[7:9] in (b"F ", b"P ") else rest[7:]
        return rest
    name, bar, rest = line.partition(b" | ")
    if bar and len(name) <= _NAME and _is_name(name.rstrip(b" ")):
        return rest
    return b""


def _is_name(word: bytes) -> bool:
    """Could a container have it?"""
    return word.translate(None, b"-_.").isalnum()


def _of_json(line: bytes) -> bytes:
    try:
        log = json.loads(line)["log"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return b""
    # JSON can name halves of surrogate pairs, which no UTF-8 has.
    return log.encode("utf-8", "backslashreplace").rstrip(b"\r\n") if isinstance(log, str) else b""
