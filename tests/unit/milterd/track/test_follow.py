"""Followed files lose and double no line, whatever is done to them and to the follower."""

import gzip
import itertools
import json
import os
import random
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from milterd.lines.syslog import MAX_LINE
from milterd.track.follow import Follower
from milterd.track.generations import older_generations


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "mail.log"
    file.touch()
    return file


def add(path: Path, *lines: bytes) -> None:
    with open(path, "ab") as file:
        for line in lines:
            file.write(line + b"\n")


def drain(follower: Follower) -> list[bytes]:
    """All lines until there are no more."""
    found: list[bytes] = []
    for _ in range(100):
        lines, _ = follower.read()
        found += lines
        if not lines and follower.caught_up:
            return found
    raise AssertionError("it never catches up")


def rename(path: Path) -> None:
    """Rotate as logrotate does with ``create``: shift all, move, make anew."""
    shift(path)
    os.rename(path, path.parent / f"{path.name}.1")
    path.touch()


def copytruncate(path: Path) -> None:
    shift(path)
    shutil.copyfile(path, path.parent / f"{path.name}.1")
    os.truncate(path, 0)


def shift(path: Path) -> None:
    for old in reversed(older_generations(path)):
        number, _, packed = old.name.removeprefix(path.name + ".").partition(".")
        name = f"{path.name}.{int(number) + 1}" + (f".{packed}" if packed else "")
        os.rename(old, path.parent / name)


def pack(old: Path) -> None:
    packed = old.parent / (old.name + ".gz")
    part = old.parent / "part"
    part.write_bytes(gzip.compress(old.read_bytes()))
    shutil.copystat(old, part)
    os.rename(part, packed)
    os.unlink(old)


def test_whole_lines_and_a_position_to_go_on_from(path: Path) -> None:
    add(path, b"one", b"two")
    first = Follower(path)
    lines, position = first.read()
    assert (lines, first.caught_up) == ([b"one", b"two"], True)
    add(path, b"three")
    second = Follower(path, position=position)
    assert second.read()[0] == [b"three"]
    assert first.read()[0] == [b"three"]
    assert first.gaps() == second.gaps() == []


def test_half_a_line_waits_for_its_newline(path: Path) -> None:
    follower = Follower(path)
    for piece, expected in [(b"on", []), (b"e", []), (b"\ntw", [b"one"]), (b"o\n", [b"two"])]:
        with open(path, "ab") as file:
            file.write(piece)
        lines, position = follower.read()
        assert lines == expected
        assert follower.caught_up
        assert Follower(path, position=position).read()[0] == []


def test_the_position_moves_only_over_what_was_returned(path: Path) -> None:
    add(path, *(b"%05d" % number for number in range(1000)))
    position = None
    found = []
    while True:
        lines, position = Follower(path, position=position).read(100)
        assert len(lines) <= 17
        if not lines:
            break
        found += lines
    assert found == [b"%05d" % number for number in range(1000)]


def test_a_small_limit_is_not_caught_up(path: Path) -> None:
    add(path, b"one", b"two")
    follower = Follower(path)
    assert (follower.read(4)[0], follower.caught_up) == ([b"one"], False)
    assert (follower.read(100)[0], follower.caught_up) == ([b"two"], True)


def test_rename_and_create(path: Path) -> None:
    follower = Follower(path)
    for number in range(6):
        add(path, b"%d a" % number)
        if number % 2:
            assert drain(follower)
        rename(path)
    assert not follower.gaps()
    add(path, b"end")
    assert drain(follower) == [b"end"]


def test_a_late_writer_on_the_renamed_file_is_heard(path: Path) -> None:
    add(path, b"one")
    follower = Follower(path, quiet_s=5, clock=(clock := Clock()))
    drain(follower)
    with open(path, "ab", 0) as late:
        rename(path)
        add(path, b"new")
        assert drain(follower) == [b"new"]
        late.write(b"late\n")
        lines, position = follower.read()
        assert lines == [b"late"]
        late.write(b"later\n")
        assert drain(Follower(path, position=position)) == [b"later"]
        clock.now += 4
        assert drain(follower) == [b"later"]
        clock.now += 6
        follower.read()
        late.write(b"much too late\n")
        assert drain(follower) == []


def test_no_file_between_rename_and_create(path: Path) -> None:
    add(path, b"one")
    follower = Follower(path)
    position = follower.read()[1]
    os.rename(path, path.parent / "mail.log.1")
    add(path.parent / "mail.log.1", b"two")
    again = Follower(path, position=position)
    assert drain(follower) == drain(again) == [b"two"]
    add(path, b"three")
    assert drain(follower) == drain(again) == [b"three"]
    assert follower.gaps() == again.gaps() == []


def test_nothing_there_at_all_is_no_gap(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "mail.log")
    lines, position = follower.read()
    assert lines == []
    add(tmp_path / "mail.log", b"one")
    assert drain(follower) == [b"one"]
    assert drain(Follower(tmp_path / "mail.log", position=position)) == [b"one"]
    assert follower.gaps() == []


@pytest.mark.parametrize("generations", [1, 3])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("rotate", [rename, copytruncate])
def test_on_start_the_chain_is_walked_back_to_the_position(
    path: Path, rotate: Callable[[Path], None], packed: bool, generations: int
) -> None:
    add(path, b"0 read", b"0 left")
    position = Follower(path).read(8)[1]
    for number in range(generations):
        add(path, b"%d end" % number)
        rotate(path)
        add(path, b"%d begin" % (number + 1))
    if packed:
        for old in older_generations(path)[1:] or older_generations(path):
            pack(old)
    follower = Follower(path, position=position)
    expected = [b"0 left", b"0 end"]
    for number in range(1, generations):
        expected += [b"%d begin" % number, b"%d end" % number]
    assert drain(follower) == [*expected, b"%d begin" % generations]
    known = not packed or generations == 1  # else it looks like rename, create and gzip
    torn = generations if rotate is copytruncate and known else 0
    assert [gap.reason for gap in follower.gaps()] == ["truncated"] * torn


def test_an_empty_file_that_was_packed_meanwhile_is_no_gap(path: Path) -> None:
    follower = Follower(path)
    assert follower.read()[0] == []
    for line in (b"one", b"two"):
        rename(path)
        add(path, line)
    pack(path.parent / "mail.log.2")
    assert drain(follower) == [b"one", b"two"]
    assert follower.gaps() == []


def test_copytruncate_finishes_the_copy_first_and_is_a_gap(path: Path) -> None:
    add(path, b"one")
    follower = Follower(path, now_us=lambda: 77)
    drain(follower)
    add(path, b"two")
    copytruncate(path)
    add(path, b"three")
    assert drain(follower) == [b"two", b"three"]
    assert follower.gaps() == [("truncated", 77)]
    copytruncate(path)
    add(path, b"four " + b"x" * 5000)  # longer than what was read of the one before
    assert drain(follower) == [b"four " + b"x" * 5000]
    assert follower.gaps() == [("truncated", 77)]


def test_the_gap_of_a_copytruncate_comes_with_the_end_of_the_copy(path: Path) -> None:
    add(path, *(b"%03d" % number for number in range(100)))
    first = Follower(path)
    assert first.read(4)[0] == [b"000"]
    copytruncate(path)
    add(path, b"100")
    position = first.position
    told = []
    for number in range(1, 101):
        follower = Follower(path, position=position)  # killed after each commit
        lines, position = follower.read(4)
        told += [(number, gap.reason) for gap in follower.gaps()]
        assert lines == [b"%03d" % number]
    assert told == [(99, "truncated")]


@pytest.mark.parametrize("read", [True, False])
def test_a_copytruncate_before_the_first_line_was_read_is_a_gap(path: Path, read: bool) -> None:
    follower = Follower(path)
    if read:
        assert follower.read()[0] == []
    add(path, b"one")
    copytruncate(path)
    add(path, b"two")
    again = Follower(path, position=follower.position)
    for one in (follower, again):
        assert drain(one) == [b"one", b"two"]
        assert [gap.reason for gap in one.gaps()] == ["truncated"]


def test_a_log_that_is_cut_is_known_to_be_through_any_number_of_rotations(path: Path) -> None:
    add(path, b"0")
    follower = Follower(path)
    drain(follower)
    copytruncate(path)
    add(path, b"1")
    assert drain(follower) == [b"1"]
    assert [gap.reason for gap in follower.gaps()] == ["truncated"]
    for number in (2, 3):
        copytruncate(path)
        add(path, b"%d" % number)
        pack(path.parent / "mail.log.1")
    again = Follower(path, position=follower.position)
    assert drain(again) == [b"2", b"3"]
    assert [gap.reason for gap in again.gaps()] == ["truncated"] * 2


def test_truncation_without_a_copy_is_a_gap(path: Path) -> None:
    add(path, b"one", b"two")
    follower = Follower(path, now_us=lambda: 77)
    drain(follower)
    os.truncate(path, 0)
    add(path, b"three")
    assert drain(follower) == [b"three"]
    assert follower.gaps() == [("truncated", 77)]
    assert follower.gaps() == []


def test_a_writer_that_goes_on_at_its_old_offset_leaves_nul_bytes(path: Path) -> None:
    with open(path, "wb", 0) as writer:  # not for appending
        writer.write(b"one\n")
        follower = Follower(path)
        drain(follower)
        copytruncate(path)
        writer.write(b"two\n")
        assert drain(follower) == [b"two"]
    assert [gap.reason for gap in follower.gaps()] == ["truncated"]


def test_a_position_that_is_rotated_away_is_a_gap(path: Path) -> None:
    add(path, b"one", b"lost")
    position = Follower(path).read(4)[1]
    rename(path)
    os.unlink(path.parent / "mail.log.1")
    add(path, b"two")
    follower = Follower(path, position=position)
    assert drain(follower) == [b"two"]
    assert [gap.reason for gap in follower.gaps()] == ["rotated_away"]
    assert drain(Follower(path, position=follower.position)) == []


def test_an_inode_that_is_used_again_is_another_file(path: Path) -> None:
    add(path, b"one", b"two")
    position = Follower(path).read()[1]
    inode = path.stat().st_ino
    text = path.read_bytes()
    path.write_bytes(b"")  # the same inode, another content, as after unlink and create
    add(path, b"three", b"four", b"five")
    assert path.stat().st_ino == inode
    (path.parent / "mail.log.1").write_bytes(text + b"rest\n")
    follower = Follower(path, position=position)
    assert drain(follower) == [b"rest", b"three", b"four", b"five"]
    assert [gap.reason for gap in follower.gaps()] == ["truncated"]  # as it is after copytruncate


def test_nul_runs_are_skipped_and_long_lines_cut(path: Path) -> None:
    path.write_bytes(b"\0" * 3_000_000 + b"one\n" + b"x" * 300_000)
    follower = Follower(path)
    position = None
    found: list[bytes] = []
    for _ in range(20):
        lines, position = follower.read(100_000)
        found += lines
    with open(path, "ab") as file:
        file.write(b"x" * 300_000 + b"\ntwo\n")
    found += drain(Follower(path, position=position))
    assert [line[:3] for line in found] == [b"one", b"xxx", b"two"]
    assert len(found[1]) == MAX_LINE + 1


def test_a_spool_is_read_from_its_oldest_segment(tmp_path: Path) -> None:
    for name, line in [("00000001.seg", b"one"), ("00000002.seg", b"two"), ("current", b"three")]:
        add(tmp_path / name, line)
    current = tmp_path / "current"
    follower = Follower(current, older=lambda: sorted(tmp_path.glob("*.seg"), reverse=True))
    assert drain(follower) == [b"one", b"two", b"three"]
    add(current, b"four")
    os.rename(current, tmp_path / "00000003.seg")
    add(current, b"five")
    assert drain(follower) == [b"four", b"five"]


def test_a_log_is_begun_where_it_is_unless_its_history_is_asked_for(path: Path) -> None:
    add(path.parent / "mail.log.1", b"old")
    os.utime(path.parent / "mail.log.1", (1_600_000_000, 1_600_000_000))
    add(path, b"new")
    assert drain(Follower(path)) == [b"new"]
    assert drain(Follower(path, history=True)) == [b"old", b"new"]


@pytest.mark.parametrize("position", [b"", b"{", b"{}", b"[]", b'{"files": [[1]]}'])
def test_a_foreign_position_is_refused(path: Path, position: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Follower(path, position=position)


def test_a_position_is_json(path: Path) -> None:
    add(path, b"one")
    assert json.loads(Follower(path).read()[1])["v"] == 1


def test_generations_are_listed_newest_first(tmp_path: Path) -> None:
    names = ["mail.log", "mail.log.1", "mail.log.2", "mail.log.2.gz", "mail.log.10.xz"]
    names += ["mail.log-20261102", "mail.log-20261101.gz", "mail.log.err", "mail.login", "x.1"]
    for age, name in enumerate(reversed(names)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, ns=(0, (age + 1) * 10**9))
    assert [old.name for old in older_generations(tmp_path / "mail.log")] == [
        "mail.log.1", "mail.log.2", "mail.log.10.xz", "mail.log-20261102", "mail.log-20261101.gz",
    ]  # fmt: skip


class Storm(threading.Thread):
    """Writes numbered lines and rotates the file after every few."""

    def __init__(self, path: Path, how: str, *, rotations: int, seed: int) -> None:
        super().__init__()
        self.path = path
        self.how = how
        self.rotations = rotations
        self.random = random.Random(seed)
        self.numbers = itertools.count()
        self.done = threading.Event()

    def run(self) -> None:
        file = open(self.path, "ab", 0)  # noqa: SIM115 - reopened as a daemon does
        for _ in range(self.rotations):
            for _ in range(self.random.randrange(60)):
                self.write(file.fileno())
            if self.how == "copytruncate":
                copytruncate(self.path)
                continue
            rename(self.path)
            for _ in range(3 if self.how == "late" else 0):
                self.write(file.fileno())
            file.close()
            file = open(self.path, "ab", 0)  # noqa: SIM115
            if self.how == "gz" and (old := self.path.parent / "mail.log.2").exists():
                pack(old)
        file.close()
        self.done.set()

    def write(self, descriptor: int) -> None:
        """One line, now and then in two halves."""
        line = b"Nov 23 18:30:01 mx postfix/qmgr[1]: %08d: removed\n" % next(self.numbers)
        cut = self.random.choice([len(line), len(line), 20])
        os.write(descriptor, line[:cut])
        if cut < len(line):
            os.write(descriptor, line[cut:])


def through_the_storm(path: Path, storm: Storm, *, rebuild: float, limit: int) -> Iterator[bytes]:
    """What is committed while the follower is thrown away again and again."""
    chance = random.Random(rebuild)
    follower = Follower(path)
    position = follower.position
    storm.start()
    while True:
        was_done = storm.done.is_set()
        lines, new_position = follower.read(limit)
        torn = {gap.reason for gap in follower.gaps()}
        assert torn <= ({"truncated"} if storm.how == "copytruncate" else set())
        if chance.random() < rebuild:  # killed before the commit
            follower.close()
            follower = Follower(path, position=position)
            continue
        position = new_position
        yield from lines
        if chance.random() < rebuild:  # and after it
            follower.close()
            follower = Follower(path, position=position)
        elif was_done and not lines and follower.caught_up:
            follower.close()
            return


@pytest.mark.parametrize("rebuild", [0.0, 0.2])
@pytest.mark.parametrize("limit", [1 << 20, 3000])
@pytest.mark.parametrize("how", ["rename", "late", "gz", "copytruncate"])
def test_a_rotation_storm_loses_and_doubles_nothing(
    path: Path, how: str, limit: int, rebuild: float
) -> None:
    storm = Storm(path, how, rotations=40, seed=limit)
    found = Counter(through_the_storm(path, storm, rebuild=rebuild, limit=limit))
    storm.join()
    written = next(storm.numbers)
    assert written > 500
    expected = {b"Nov 23 18:30:01 mx postfix/qmgr[1]: %08d: removed" % n for n in range(written)}
    assert set(found) == expected
    assert found.total() == written


@pytest.mark.parametrize("packed", [False, True])
def test_a_line_may_be_as_long_as_the_caller_says(path: Path, packed: bool) -> None:
    first = Follower(path, max_line=1 << 20)
    first.read()
    position = first.position
    lines = [b"a" * 300_000, b"b", b"c" * (1 << 20), b"d" * 700_000, b"e"]
    add(path, *lines)
    if packed:
        with gzip.open(f"{path}.1.gz", "wb") as file:
            file.write(path.read_bytes())
        path.unlink()
        path.touch()
    follower = Follower(path, max_line=1 << 20, position=position)
    found, _ = follower.read(1000)
    assert found == lines[:1]  # whole, though more than was asked for
    assert found + drain(follower) == lines


def test_a_line_longer_than_the_caller_says_is_cut(path: Path) -> None:
    follower = Follower(path, max_line=200_000)
    add(path, b"a", b"b" * 500_000, b"c")
    assert drain(follower) == [b"a", b"b" * 200_001, b"c"]


def test_a_long_line_waits_for_its_newline(path: Path) -> None:
    follower = Follower(path, max_line=1 << 20)
    with open(path, "ab") as file:
        file.write(b"a" * 300_000)
    assert follower.read()[0] == []
    add(path, b"")
    assert drain(follower) == [b"a" * 300_000]


def test_generations_named_in_two_ways_are_ordered_by_their_times(tmp_path: Path) -> None:
    names = ["mail.log.1", "mail.log.2", "mail.log.20261123-205151.gz", "mail.log.3"]
    for age, name in enumerate(names):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, ns=(0, (age + 1) * 10**9))
    found = [path.name for path in older_generations(tmp_path / "mail.log")]
    assert found == names[::-1]
