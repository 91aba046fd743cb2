"""Lines that nobody wrote: seeds with bytes, fields and halves changed. The same seed, the same lines."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

from tests.fuzz.seeds import Seed

LONGEST: Final = 70_000  # beyond MAX_LINE
_GROWS: Final = 400  # one line in so many grows to tens of thousands of bytes

SEPARATORS: Final = (b" ", b", ", b": ", b"; ", b"=", b"<", b">", b"(", b")", b"[", b"]", b'"')
TOKENS: Final = (
    b"", b" ", b"  ", b">", b"<", b'"', b'\\"', b"\\", b", ", b"; ", b": ", b"=", b"(", b")", b"[", b"]:", b"@",
    b"<>", b"to=<", b"from=<", b", orig_to=<", b", relay=", b", status=", b", status=sent (", b"status=bounced (x)",
    b", dsn=2.0.0", b", delay=", b"NOQUEUE", b"removed", b"queued as AB12", b"message-id=<", b"client=", b"reject: ",
    b"stat=Sent", b" => ", b" <= ", b" ** ", b" == ", b"Completed", b"msgid=<", b"sieve: ", b"message repeated 3 times: [ ",
    b"-1", b"0", b"99999999999999999999", b"1e9", b"4294967296", b"#012", b"#011", b"??", b"\0", b"\r", b"\x1b]0;x\x07",
    b"\xe2\x80\xae", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x93\xa8", b"Feb 29 ", b"Feb 30 ", b"24:00:60",
    b"+99:99", b"2026-13-45T99:99:99", b"-", b"/", b"::", b"[[", b"{", b"}", b"\\n", b"%s%n", b"'", b"`",
)  # fmt: skip


def lines(seeds: Sequence[Seed], count: int, seed: int) -> Iterator[Seed]:
    """``count`` changed lines."""
    chance = Random(seed)
    pick, changes = chance.choice, (_byte, _byte, _field, _field, _splice, _insert, _cut, _repeat)
    for number in range(count):
        form, line = pick(seeds)
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            line = pick(changes)(line, chance, seeds)
        if number % _GROWS == 0:
            line = _grow(line, chance)
        yield form, line[:LONGEST]


def _byte(line: bytes, chance: Random, _seeds: Sequence[Seed]) -> bytes:
    if not line:
        return line
    at = chance.randrange(len(line))
    return line[:at] + bytes((chance.randrange(256),)) + line[at + 1 :]


def _insert(line: bytes, chance: Random, _seeds: Sequence[Seed]) -> bytes:
    at = chance.randrange(len(line) + 1)
    return line[:at] + chance.choice(TOKENS) + line[at:]


def _cut(line: bytes, chance: Random, _seeds: Sequence[Seed]) -> bytes:
    begin, end = sorted(chance.randrange(len(line) + 1) for _ in range(2))
    return line[:begin] + line[end:] if chance.random() < 0.7 else line[:end]


def _field(line: bytes, chance: Random, seeds: Sequence[Seed]) -> bytes:
    """One field goes, comes twice, changes places, or becomes another line's."""
    separator = chance.choice(SEPARATORS)
    parts = line.split(separator)
    at, other = chance.randrange(len(parts)), chance.randrange(len(parts))
    how = chance.randrange(4)
    if how == 0:
        del parts[at]
    elif how == 1:
        parts.insert(other, parts[at])
    elif how == 2:
        parts[at], parts[other] = parts[other], parts[at]
    else:
        parts[at] = chance.choice(chance.choice(seeds)[1].split(separator))
    return separator.join(parts)


def _splice(line: bytes, chance: Random, seeds: Sequence[Seed]) -> bytes:
    """The beginning of one line and the end of another."""
    other = chance.choice(seeds)[1]
    return line[: chance.randrange(len(line) + 1)] + other[chance.randrange(len(other) + 1) :]


def _repeat(line: bytes, chance: Random, _seeds: Sequence[Seed]) -> bytes:
    begin = chance.randrange(len(line) + 1)
    piece = line[begin : begin + chance.choice((1, 2, 8, 40))]
    return line[:begin] + piece * chance.choice((2, 3, 20)) + line[begin:]


def _grow(line: bytes, chance: Random) -> bytes:
    """Tens of thousands of bytes of one piece, somewhere in the line."""
    begin = chance.randrange(len(line) + 1)
    piece = line[begin : begin + chance.choice((1, 1, 2, 5, 30, 200))] or chance.choice(TOKENS[1:])
    return line[:begin] + piece * (chance.randrange(2_000, LONGEST) // len(piece)) + line[begin:]
