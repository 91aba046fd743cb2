"""Who may do what: owner, group and mode as the kernel decides, held against the kernel itself."""

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from query.doctor import access
from query.doctor.access import ENTER, READ, WRITE, Account, Entry, barred, entry, may, way

ALICE = Account("alice", 1001, frozenset({1001, 50}))


def file(mode: int, uid: int = 0, gid: int = 0, *, acl: bool = False) -> Entry:
    return Entry(path="/x", kind="file", mode=mode, uid=uid, gid=gid, acl=acl)


@pytest.mark.parametrize(
    ("seen", "want", "expected"),
    [
        (file(0o640, gid=50), READ, True),
        (file(0o640, gid=50), READ | WRITE, False),
        (file(0o640, gid=51), READ, False),
        (file(0o604, gid=50), READ, False),  # the group's bits hold for its members alone
        (file(0o077, uid=1001), READ, False),  # and the owner's for the owner
        (file(0o400, uid=1001), READ, True),
        (file(0o644), READ, True),
        (file(0o640, gid=51, acl=True), READ, None),
        (file(0o644, gid=51, acl=True), READ, True),
        (file(0o640, gid=50, acl=True), READ, None),  # the mask stands where the group's bits were
    ],
)
def test_owner_then_group_then_others(seen: Entry, want: int, expected: bool | None) -> None:
    assert may(seen, ALICE, want) is expected


def test_root_may_everything() -> None:
    assert may(file(0), Account("root", 0, frozenset({0})), READ | WRITE) is True


def test_the_first_closed_folder_bars() -> None:
    def folder(path: str, mode: int) -> Entry:
        return Entry(path=path, kind="folder", mode=mode)

    open_, closed = folder("/a", 0o755), folder("/a/b", 0o750)
    assert barred([open_, closed, folder("/a/b/c", 0o700)], ALICE) == closed
    assert barred([open_], ALICE) is None


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that every user may enter; pytest's own are root's alone."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_kernel_says_the_same(open_folder: Path) -> None:
    uid, gid = 31001, 31050
    cases = []
    for number, (mode, owner, group) in enumerate(
        product((0o600, 0o640, 0o604, 0o040, 0o666), (0, uid), (0, gid))
    ):
        path = open_folder / str(number)
        path.touch()
        os.chown(path, owner, group)
        path.chmod(mode)
        cases.append(path)
    script = "import os,sys; print(*(int(os.access(p, os.R_OK)) for p in sys.argv[1:]))"
    said = subprocess.run(
        [sys.executable, "-c", script, *map(str, cases)],
        user=uid, group=gid, extra_groups=[], capture_output=True, text=True, check=True, cwd="/",
    ).stdout.split()  # fmt: skip
    account = Account("x", uid, frozenset({gid}))
    assert [bool(int(word)) for word in said] == [may(entry(path), account, READ) for path in cases]
    assert set(said) == {"0", "1"}


def test_the_way_to_a_path_is_every_folder_above_it() -> None:
    assert [each.path for each in way(Path("/usr/lib/x"))] == ["/", "/usr", "/usr/lib"]
    assert all(each.kind == "folder" for each in way(Path("/usr/lib/x")))


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    assert entry(tmp_path / "nothing").kind == "missing"
    assert not entry(tmp_path / "nothing").there
    assert entry(tmp_path).kind == "folder"


def test_the_account_of_a_process_is_that_of_its_files() -> None:
    status = "Name:\tx\nUid:\t5\t5\t5\t31007\nGid:\t6\t6\t6\t31008\nGroups:\t4 31009 \n"
    assert access.account_of(status) == Account("31007", 31007, frozenset({31008, 4, 31009}))
    assert access.account_of("Name:\tx\n") is None
    own = access.running(os.getpid())
    assert own is not None
    assert own.uid == os.geteuid()


def test_an_unknown_user_has_no_account() -> None:
    assert access.account("no-such-user-here") is None
    root = access.account("root", ("no-such-group-here",))
    assert root is not None
    assert root.uid == 0


def test_entering_is_a_right_of_its_own() -> None:
    assert may(Entry(path="/d", kind="folder", mode=0o750), ALICE, ENTER) is False
