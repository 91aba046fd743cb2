"""Bad input, missing permission, and a disk that is full: the code, the stream, one sentence."""

import grp
import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from posttrail.run import program
from tests.integration.parts import Load, Parts, client, postfix_and_parts, settled
from tests.integration.test_import_beside import write_log
from tests.waiting import wait_until

NOBODY = 65534
ROOT = Path(__file__).parents[2]


def called(
    name: str, *arguments: object, user: int | None = None
) -> subprocess.CompletedProcess[str]:
    """A program run to its end; as another user without any group where one is given."""
    return subprocess.run(
        (program(name), *map(str, arguments)),
        capture_output=True,
        text=True,
        timeout=60,
        env={key: value for key, value in os.environ.items() if "POSTTRAIL" not in key},
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )


def is_sentence(text: str, name: str = "posttrail") -> bool:
    """Whether it is one line of words from that program."""
    return text.startswith(f"{name}: ") and text.count("\n") == 1 and "Traceback" not in text


# -- what cannot be meant -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "code", "named"),
    [
        ("posttrail", ["frobnicate"], 64, "frobnicate"),
        ("posttrail", ["import", "--frobnicate"], 64, "--frobnicate"),
        ("posttrail", ["import"], 64, "FILE"),
        ("posttrail", ["import", "--timezone", "Mars/Base", "/dev/null"], 64, "Mars/Base"),
        ("posttrail", ["import", "/nonexistent"], 66, "/nonexistent"),
        ("posttrail", ["import", "/"], 66, "/: Is a directory"),
        ("posttrail", ["--config", "/nonexistent", "report"], 66, "/nonexistent"),
        ("posttrail", ["--socket", "/run/x.sock", "report"], 69, "/run/x.sock"),
        ("posttrail-trackd", ["--frobnicate"], 64, "--frobnicate"),
        ("posttrail-trackd", ["--config", "/nonexistent"], 66, "/nonexistent"),
        ("posttrail-milterd", ["--frobnicate"], 64, "--frobnicate"),
        ("posttrail-milterd", ["--config", "/nonexistent"], 66, "/nonexistent"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    name: str, arguments: Sequence[str], code: int, named: str, tmp_path: Path
) -> None:
    before = ["--journal", tmp_path / "journal"] if "import" in arguments else []
    done = called(name, *before, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert is_sentence(done.stderr, name)
    assert named in done.stderr


@pytest.mark.parametrize("name", ["posttrail", "posttrail-trackd", "posttrail-milterd"])
def test_an_unknown_key_is_named_by_every_program(name: str, tmp_path: Path) -> None:
    file = tmp_path / "posttrail.toml"
    file.write_text("[milter]\ncolour = 'blue'\n")
    done = called(name, "--config", file, *(["report"] if name == "posttrail" else []))
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == f"{name}: {file}: unknown key milter.colour\n"


# -- what is no mail log ------------------------------------------------------------------

OTHERS = "".join(
    f"2026-11-20T10:00:{second:02}.000000+00:00 mx.example.com {tag}: hello\n"
    for second, tag in enumerate(["cron[1]", "sshd[22]", "kernel", "cups"])
)
QUIET = (
    "2026-11-20T10:00:00.000000+00:00 mx.example.com postfix/master[9]: daemon started\n"
    "2026-11-20T10:00:00.000000+00:00 mx.example.com postfix/anvil[9]: statistics: max 1\n"
)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("root:x:0\nbin:x:1\n", "not a mail log: 2 of 2 lines not understood, the first: root:x:0"),
        ("\x1b[2J\n", r"not a mail log: 1 of 1 lines not understood, the first: \x1b[2J"),
        (
            OTHERS,
            "not a mail log: 4 of 4 lines not understood, the first: " + OTHERS.partition("\n")[0],
        ),
        ("", "empty, not one line of a mail log"),
    ],
)
def test_a_file_that_is_no_mail_log_is_told_from_one(
    tmp_path: Path, content: str, sentence: str
) -> None:
    file = tmp_path / "some.log"
    file.write_text(content)
    done = called("posttrail", "--journal", tmp_path / "journal", "import", file)
    assert done.returncode == 65
    assert done.stderr == f"posttrail: {file}: {sentence}\n"
    assert "messages    0 new" in done.stdout


def test_a_quiet_day_of_a_mail_log_is_none_of_that(tmp_path: Path) -> None:
    file = tmp_path / "quiet.log"
    file.write_text(QUIET + OTHERS)
    done = called("posttrail", "--journal", tmp_path / "journal", "import", file)
    assert (done.returncode, done.stderr) == (0, "")


def test_one_bad_file_among_good_ones_keeps_none_from_being_imported(tmp_path: Path) -> None:
    good = write_log(tmp_path / "good.log", "good", 10)
    bad = tmp_path / "bad.log"
    bad.write_text("nothing\n")
    done = called("posttrail", "--journal", tmp_path / "journal", "import", bad, good)
    assert done.returncode == 65
    assert str(bad) in done.stderr
    assert str(good) not in done.stderr
    assert "rows        10 new" in done.stdout


@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_truncated_gz_is_imported_as_far_as_it_goes(tmp_path: Path, part: float) -> None:
    packed = gzip.compress(write_log(tmp_path / "whole.log", "whole", 2000).read_bytes())
    file = tmp_path / "cut.gz"
    file.write_bytes(packed[: int(len(packed) * part)])
    journal = tmp_path / "journal"
    done = called("posttrail", "--journal", journal, "import", "--format", "json", file)
    assert done.returncode == 65
    size = file.stat().st_size
    assert done.stderr == f"posttrail: {file}: compressed data ends early at byte {size}\n"
    rows = json.loads(done.stdout)["rows"]
    assert 2000 * part * 0.5 < rows < 2000
    report = called("posttrail", "--journal", journal, "report", "--limit", "all")
    assert report.returncode == 0
    assert "whole0@example.net" in report.stdout


# -- the journal --------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal with a few messages."""
    log = write_log(tmp_path / "mail.log", "some", 5)
    directory = tmp_path / "journal"
    assert called("posttrail", "--journal", directory, "import", log).returncode == 0
    return directory


def configured(tmp_path: Path, journal: Path) -> Path:
    file = tmp_path / "posttrail.toml"
    file.write_text(
        f"[journal]\ndirectory = '{journal}'\n[milter]\nspool = '{tmp_path}/spool'\n"
        f"socket = 'unix:{tmp_path}/milter.sock'\n"
        f"[log]\nfiles = ['{tmp_path}/mail.log']\n[run]\ndirectory = '{tmp_path}'\n"
    )
    return file


def state_of(directory: Path) -> dict[str, tuple[bytes, int]]:
    """All files below a directory: content and time of the last change."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    "verb", ["import", "report", "show", "stats", "coverage", "check", "trackd"]
)
def test_a_journal_of_a_newer_format_is_left_alone(
    journal: Path, tmp_path: Path, verb: str
) -> None:
    (journal / "FORMAT").write_text("posttrail-journal 99\n")
    before = state_of(journal)
    if verb == "trackd":
        done = called("posttrail-trackd", "--config", configured(tmp_path, journal))
    else:
        arguments = {"import": str(tmp_path / "mail.log"), "show": "0123456789abc"}
        more = [arguments[verb]] if verb in arguments else []
        done = called("posttrail", "--journal", journal, verb, *more)
    assert (done.returncode, done.stdout) == (78, "")
    assert is_sentence(done.stderr, "posttrail-trackd" if verb == "trackd" else "posttrail")
    assert "journal format 99 is newer than this release, which reads up to 1" in done.stderr
    assert state_of(journal) == before


reachable = pytest.mark.skipif(
    not all(parent.stat().st_mode & 0o001 for parent in (ROOT, *ROOT.parents)),
    reason="only root may enter this checkout",
)


@contextmanager
def nobodys_folder() -> Iterator[Path]:
    """A folder that the user nobody may enter, and write to."""
    directory = Path("/tmp/posttrail-nobody")
    directory.mkdir()
    try:
        directory.chmod(0o755)
        os.chown(directory, NOBODY, NOBODY)
        yield directory
    finally:
        shutil.rmtree(directory)


@reachable
@pytest.mark.parametrize("verb", ["import", "report", "stats", "coverage", "check"])
def test_without_permission_the_group_is_named(verb: str) -> None:
    with nobodys_folder() as directory:
        log = write_log(directory / "mail.log", "some", 5)
        journal = directory / "journal"
        config = directory / "posttrail.toml"
        config.write_text(f"[journal]\ndirectory = '{journal}'\ngroup = 'adm'\n")
        assert called("posttrail", "--config", config, "import", log).returncode == 0
        more = [log] if verb == "import" else []
        done = called("posttrail", "--config", config, verb, *more, user=NOBODY)
    assert (done.returncode, done.stdout) == (77, "")
    assert is_sentence(done.stderr)
    assert "join the group adm" in done.stderr
    assert str(journal) in done.stderr


@reachable
def test_the_tracker_without_permission_names_the_group() -> None:
    with nobodys_folder() as directory:
        config = configured(directory, directory / "journal")
        (directory / "journal").mkdir(mode=0o750)
        done = called("posttrail-trackd", "--config", config, user=NOBODY)
    assert (done.returncode, done.stdout) == (77, "")
    said = done.stderr.splitlines(keepends=True)[-1]
    assert is_sentence(said, "posttrail-trackd")
    assert "join the group" in said


@reachable
def test_the_milter_without_permission_on_its_socket_names_the_group() -> None:
    with nobodys_folder() as directory:
        config = directory / "posttrail.toml"
        (directory / "mta").mkdir(mode=0o750)
        os.chown(directory / "mta", 0, grp.getgrnam("postfix").gr_gid)
        config.write_text(
            f"[milter]\nspool = '{directory}/spool'\nsocket = 'unix:{directory}/mta/m.sock'\n"
        )
        done = called("posttrail-milterd", "--config", config, user=NOBODY)
    assert (done.returncode, done.stdout) == (77, "")
    assert is_sentence(done.stderr, "posttrail-milterd")
    assert "join the group postfix" in done.stderr


@reachable
def test_the_tracker_without_permission_on_its_socket_names_the_group() -> None:
    with nobodys_folder() as directory:
        config = configured(directory, directory / "journal")
        (directory / "run").mkdir(mode=0o750)
        os.chown(directory / "run", 0, grp.getgrnam("adm").gr_gid)
        text = config.read_text().partition("[run]")[0]
        config.write_text(f"{text}[run]\ncontrol = '{directory}/run/control.sock'\n")
        done = called("posttrail-trackd", "--config", config, user=NOBODY)
    assert (done.returncode, done.stdout) == (77, "")
    assert "join the group adm" in done.stderr
    assert "Traceback" not in done.stderr


@reachable
def test_an_import_by_anybody_into_a_journal_of_his_own_says_nothing_odd() -> None:
    with nobodys_folder() as directory:
        log = write_log(directory / "mail.log", "some", 5)
        config = directory / "posttrail.toml"
        config.write_text("[journal]\ngroup = 'adm'\n")
        options = ("--config", config, "--journal", directory / "journal")
        done = called("posttrail", *options, "import", log, user=NOBODY)
    assert (done.returncode, done.stderr) == (0, "")
    assert "rows        5 new" in done.stdout


def test_a_log_that_is_too_old_for_nobody_is_imported(tmp_path: Path) -> None:
    log = write_log(tmp_path / "old.log", "old", 5, age=timedelta(days=400))
    done = called("posttrail", "--journal", tmp_path / "journal", "import", log)
    assert (done.returncode, done.stderr) == (0, "")


# -- the disk -----------------------------------------------------------------------------


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A file system of its own; skipped where this machine does not let us mount one."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "posttrail-test", place],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def on_small_disk() -> Iterator[Parts]:
    """All prepared; spool and journal are on a small disk, nothing runs yet."""
    with postfix_and_parts(state=lambda place: small_disk(place / "state", "12m")) as made:
        yield made


def fill(disk: Path) -> Path:
    """Leave no room at all."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return filler


def test_a_full_disk_costs_no_mail_and_no_row(on_small_disk: Parts) -> None:
    parts = on_small_disk
    parts.start_milterd()
    parts.start_trackd()
    parts.lab.start()
    with Load(parts.lab, "full") as load:
        load.more(20)
        filler = fill(parts.state)
        load.more(50)
        wait_until(lambda: "spool cannot be written" in parts.milterd.words())
        wait_until(lambda: "disk full" in parts.trackd.words())
        load.more(20)
        filler.unlink()
        wait_until(lambda: "spool can be written again" in parts.milterd.words())
        wait_until(lambda: "disk has room again" in parts.trackd.words())
        load.more(20)
    assert load.refused == []
    rows = settled(parts, load.sent, seen=load.sent)
    assert {tuple(row["sources"]) for row in rows} == {("milter", "log")}
    assert parts.trackd.is_running()
    assert parts.milterd.is_running()
    assert "Traceback" not in parts.trackd.words() + parts.milterd.words()
    assert parts.posttrail("check").returncode == 0


def test_what_starts_on_a_full_disk_recovers_by_itself(on_small_disk: Parts) -> None:
    parts = on_small_disk
    parts.start_milterd()
    parts.start_trackd()
    parts.lab.start()
    with Load(parts.lab, "restart") as load:
        load.more(20)
        filler = fill(parts.state)
        parts.trackd.kill()
        parts.milterd.kill()
        parts.both.start()  # as an operator would: both under posttrail run
        load.more(50)
        wait_until(lambda: "disk full" in parts.both.words() or "No space" in parts.both.words())
        filler.unlink()
        load.more(20)
    assert load.refused == []
    settled(parts, load.sent)
    assert parts.both.is_running()
    assert "Traceback" not in parts.both.words()
    assert list((parts.state / "journal").glob("bad-*")) == []
    assert parts.posttrail("check").returncode == 0


def test_a_read_only_state_directory_costs_no_mail(on_small_disk: Parts) -> None:
    parts = on_small_disk
    remount(parts.state, "ro")
    parts.both.start()
    parts.lab.start()
    with client(parts.lab) as smtp:
        smtp.sendmail("a@example.org", ["anyone@void.example"], "Message-ID: <r@x>\r\n\r\nx\r\n")
    wait_until(lambda: parts.both.words().count("Read-only file system") >= 2)
    assert "posttrail-milterd: " in parts.both.words()
    assert "posttrail-trackd: " in parts.both.words()
    remount(parts.state, "rw")
    wait_until(lambda: len(parts.rows_of("anyone@void.example")) == 1)
    assert parts.both.is_running()
    assert "Traceback" not in parts.both.words()


def remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", place], check=True)


@pytest.mark.parametrize("room_kib", [0, 8, 64, 80, 88, 160])
def test_an_import_on_a_full_disk_says_so_and_harms_nothing(tmp_path: Path, room_kib: int) -> None:
    log = write_log(tmp_path / "mail.log", "some", 50)
    with small_disk(tmp_path / "disk", "4m") as disk:
        filler = fill(disk)
        os.truncate(filler, filler.stat().st_size - (room_kib << 10))
        done = called("posttrail", "--journal", disk / "journal", "import", log)
        assert (done.returncode, done.stdout) == (75, "")
        assert is_sentence(done.stderr)
        assert "no space left" in done.stderr.lower()
        filler.unlink()
        again = called("posttrail", "--journal", disk / "journal", "import", log)
        assert (again.returncode, again.stderr) == (0, "")
        assert "rows        50 new" in again.stdout
        assert list((disk / "journal").glob("bad-*")) == []
