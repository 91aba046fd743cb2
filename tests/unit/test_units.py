"""systemd/: what the units allow, and that they mean the same users, folders and sockets as we do.

The scores are systemd-analyze's own (0 best, 10 worst), without a running systemd.
"""

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from posttrail import config, run
from query.httpd.facts import Door

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
SOCKETS = sorted(path.name for path in UNITS.glob("*.socket"))
EXAMPLES = sorted(path.name for path in (UNITS / "examples").iterdir())
WORST = {"milterd": 0.3, "trackd": 0.3, "queryd": 0.3, "traced": 1.0, "hookd": 1.0}
DEFAULT = config.Config()

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze (package systemd)"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="files are given away by root only")

Unit = dict[str, list[str]]


def unit(name: str) -> Unit:
    """A unit file's values by key: systemd.syntax(7), lists and all."""
    found: Unit = {}
    for line in (UNITS / name).read_text("utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def service(program: str) -> Unit:
    return unit(f"posttrail-{program}.service")


def words(found: Unit, key: str) -> list[str]:
    return [word.lstrip("-") for value in found.get(key, []) for word in value.split()]


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def table(name: str) -> list[list[str]]:
    """The lines of sysusers.d(5), tmpfiles.d(5)."""
    lines = (UNITS / name).read_text("utf-8").splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def constant(module: str, name: str) -> float:
    """A number of a daemon, without importing what only it needs."""
    for node in ast.parse((ROOT / module).read_text("utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value:
            return float(ast.literal_eval(node.value))
    raise AssertionError(f"no {name} in {module}")


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_exposes_little(name: str) -> None:
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", UNITS / name],
        capture_output=True, text=True, timeout=60, check=True, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    score = re.search(r"exposure level for \S+: ([\d.]+)", said.stdout)
    assert score
    program = name.removeprefix("posttrail-").removesuffix(".service")
    assert float(score[1]) <= WORST[program]


@needs_systemd
def test_systemd_finds_nothing_to_say_about_the_units(tmp_path: Path) -> None:
    names = [*SERVICES, *SOCKETS]
    sources = [UNITS / name for name in names]
    sources += [path for path in (UNITS / "examples").iterdir() if path.suffix == ".socket"]
    for source in sources:
        text = re.sub(
            r"^ExecStart=\S+", "ExecStart=/bin/true", source.read_text("utf-8"), flags=re.M
        )
        (tmp_path / source.name).write_text(text)
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / each.name) for each in sources)],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )  # fmt: skip
    assert [line for line in said.stderr.splitlines() if "posttrail" in line] == []
    assert said.returncode == 0


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_runs_its_program_and_proves_that_it_lives(name: str) -> None:
    found = unit(name)
    assert found["ExecStart"] == [f"/usr/bin/{name.removesuffix('.service')}"]
    assert found["Type"] == ["notify"]
    assert found["NotifyAccess"] == ["main"]
    assert found["Restart"] == ["always"]
    assert set(map(int, words(found, "RestartPreventExitStatus"))) == run.FINAL
    assert int(found["StartLimitBurst"][0]) > 60 / seconds(found["RestartSec"][0])
    assert found["LimitCORE"] == ["0"]
    assert "MemoryMax" in found
    assert "TasksMax" in found


@pytest.mark.parametrize(
    ("program", "patience_s"),
    [
        (
            "milterd",
            constant("milterd/main.py", "STALLED_S")
            + constant("milterd/main.py", "TURN_S")
            + constant("milterd/main.py", "ANSWER_S"),
        ),
        (
            "trackd",
            constant("milterd/track/main.py", "STALLED_S")
            + constant("milterd/track/main.py", "GAUGES_S"),
        ),
        (
            "queryd",
            constant("query/httpd/pulse.py", "TURN_S")
            + constant("query/httpd/pulse.py", "ANSWER_S"),
        ),
        (
            "traced",
            constant("query/trace/serve.py", "STUCK_S")
            + constant("query/trace/serve.py", "TURN_S"),
        ),
        ("hookd", constant("query/hooks/main.py", "TURN_S") + 30.0),  # what a big look may take
    ],
)
def test_the_watchdog_waits_longer_than_a_daemon_that_works_takes(
    program: str, patience_s: float
) -> None:
    assert seconds(service(program)["WatchdogSec"][0]) >= 1.2 * patience_s


@pytest.mark.parametrize(
    ("program", "needs_s"),
    [
        (
            "milterd",
            constant("milterd/main.py", "ANSWER_S")
            + constant("milterd/main.py", "END_TRANSACTIONS_S")
            + constant("milterd/main.py", "END_QUEUE_S"),
        ),
        ("queryd", constant("query/httpd/main.py", "DRAIN_S")),
        ("traced", constant("query/trace/serve.py", "STOP_S")),
        ("hookd", constant("query/hooks/main.py", "STOP_S")),
    ],
)
def test_a_daemon_has_the_time_to_stop_that_it_takes(program: str, needs_s: float) -> None:
    assert seconds(service(program)["TimeoutStopSec"][0]) > needs_s


def test_users_and_groups_are_those_of_the_design() -> None:
    who = {
        program: (words(found, "User"), words(found, "Group"), words(found, "SupplementaryGroups"))
        for program in WORST
        for found in [service(program)]
    }
    query = DEFAULT.journal.group
    assert who == {
        "milterd": (["posttrail"], ["posttrail"], []),
        "trackd": (["posttrail"], [query], ["adm", "systemd-journal"]),
        "queryd": (["posttrail-query"], [query], []),
        "traced": (["posttrail-traced"], ["posttrail-run"], []),
        "hookd": (["posttrail-hooks"], ["posttrail-hooks"], []),
    }
    assert service("traced")["DynamicUser"] == ["yes"]


def test_sysusers_makes_every_user_and_group_that_is_named() -> None:
    made = {line[1] for line in table("posttrail.sysusers") if line[0] in "ug"}
    of_others = {"adm", "systemd-journal", "postfix", "root"}
    dynamic = {"posttrail-traced"}
    named = {name for line in table("posttrail.tmpfiles") for name in line[3:5]}
    for name in [*SERVICES, *SOCKETS]:
        for key in ("User", "Group", "SupplementaryGroups", "SocketUser", "SocketGroup"):
            named |= set(words(unit(name), key))
    assert named - of_others - dynamic <= made
    assert DEFAULT.query.admin_group in made


def test_the_hooks_user_reads_the_journal_and_leaves_gauges() -> None:
    groups = {
        line[2] for line in table("posttrail.sysusers") if line[:2] == ["m", "posttrail-hooks"]
    }
    assert groups == {DEFAULT.journal.group, "posttrail-run"}


def test_folders_have_owner_group_and_mode_of_the_design() -> None:
    folders = {line[1]: line[2:5] for line in table("posttrail.tmpfiles")}
    query = DEFAULT.journal.group
    assert folders == {
        str(DEFAULT.run.directory): ["1775", "posttrail", "posttrail-run"],
        str(DEFAULT.journal.directory.parent): ["0750", "posttrail", query],
        str(DEFAULT.milter.spool): ["0750", "posttrail", "posttrail"],
        str(DEFAULT.journal.directory): ["0750", "posttrail", query],
        str(DEFAULT.query.state.parent): ["0700", "posttrail-query", "posttrail-query"],
        str(DEFAULT.hookd.state.parent): ["0700", "posttrail-hooks", "posttrail-hooks"],
        str(Path(DEFAULT.milter.socket.removeprefix("unix:")).parent): [
            "2750",
            "posttrail",
            "postfix",
        ],
    }


def within(path: Path, folders: list[str]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


@pytest.mark.parametrize(
    ("program", "written", "hidden"),
    [
        (
            "milterd",
            [DEFAULT.milter.spool, Path(DEFAULT.milter.socket.removeprefix("unix:"))],
            [DEFAULT.journal.directory, DEFAULT.query.state],
        ),
        (
            "trackd",
            [DEFAULT.journal.directory, DEFAULT.control_socket, DEFAULT.log.syslog_spool],
            [DEFAULT.query.state],
        ),
        (
            "queryd",
            [DEFAULT.journal.directory],
            [DEFAULT.milter.spool, DEFAULT.log.syslog_spool],
        ),
        ("traced", [], [DEFAULT.journal.directory, DEFAULT.milter.spool, DEFAULT.query.state]),
        (
            "hookd",
            [DEFAULT.journal.directory],
            [DEFAULT.milter.spool, DEFAULT.log.syslog_spool, DEFAULT.query.state],
        ),
    ],
)
def test_a_service_writes_where_the_configuration_says_and_sees_no_more_than_it_must(
    program: str, written: list[Path], hidden: list[Path]
) -> None:
    found = service(program)
    may = words(found, "ReadWritePaths") + words(found, "BindPaths")
    shut = words(found, "InaccessiblePaths")
    assert found["ProtectSystem"] == ["strict"]
    for path in [*written, DEFAULT.run.directory]:
        assert within(path, may), path
        assert not within(path, shut), path
    for path in hidden:
        assert within(path, shut), path


@pytest.mark.parametrize(
    ("program", "state"), [("queryd", DEFAULT.query.state), ("hookd", DEFAULT.hookd.state)]
)
def test_who_keeps_state_has_a_folder_of_its_own(program: str, state: Path) -> None:
    found = service(program)
    assert [f"/var/lib/{name}" for name in words(found, "StateDirectory")] == [str(state.parent)]
    assert found["StateDirectoryMode"] == ["0700"]


def test_hooks_are_told_to_nobody_before_somebody_says_so() -> None:
    others = [unit(name) for name in [*SERVICES, *SOCKETS] if name != "posttrail-hookd.service"]
    assert not any(
        "hookd" in word for found in others for words in found.values() for word in words
    )


def test_the_sockets_are_those_of_the_configuration() -> None:
    query, trace = unit("posttrail-queryd.socket"), unit("posttrail-traced.socket")
    assert query["ListenStream"] == [str(DEFAULT.query.socket)]
    assert query["SocketGroup"] == [DEFAULT.query.admin_group]
    assert trace["ListenStream"] == [str(DEFAULT.trace.socket)]
    assert trace["SocketGroup"] == [DEFAULT.journal.group]
    assert query["SocketMode"] == trace["SocketMode"] == ["0660"]


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name.endswith(".socket")])
def test_queryd_knows_the_sockets_of_the_examples(name: str) -> None:
    found = unit(f"examples/{name}")
    assert found["Service"] == ["posttrail-queryd.service"]
    assert found["FileDescriptorName"][0] in {Door.PROXY.value, Door.TCP.value, Door.METRICS.value}


@needs_systemd
@needs_root
def test_users_and_folders_can_be_made(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\npostfix:x:105:105::/:/bin/false\n")
    (etc / "group").write_text("root:x:0:\npostfix:x:105:\n")
    for program, name in (("sysusers", "sysusers"), ("tmpfiles", "tmpfiles")):
        create = ["--create"] if program == "tmpfiles" else []
        subprocess.run(
            [f"systemd-{program}", *create, f"--root={tmp_path}", UNITS / f"posttrail.{name}"],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
    uids = {
        line.split(":")[0]: int(line.split(":")[2])
        for line in (etc / "passwd").read_text().split()[1:]
        if line.count(":") > 2
    }
    gids = {
        line.split(":")[0]: int(line.split(":")[2]) for line in (etc / "group").read_text().split()
    }
    for _, path, mode, user, group, *_ in table("posttrail.tmpfiles"):
        made = (tmp_path / path[1:]).stat()
        assert (oct(made.st_mode & 0o7777), made.st_uid, made.st_gid) == (
            oct(int(mode, 8)), uids[user], gids[group],
        )  # fmt: skip
