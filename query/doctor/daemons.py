"""Do the programs run, and are they of this release?

A daemon that has a lock holds it while it lives; all write their gauges every 5 s. posttrail-traced
may sleep: its socket wakes it. /proc/net/unix says who listens without waking anybody. Raises
nothing.
"""

import json
import os
import socket
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

import posttrail
from posttrail import __version__
from query.doctor import access
from query.doctor.finding import Finding, Seen
from query.doctor.holders import holder
from query.doctor.names import check
from query.doctor.place import Place

FRESH_S: Final = 30.0
TIMEOUT_S: Final = 3.0
_LISTENING: Final = 0x10000  # __SO_ACCEPTCON of the kernel's <linux/net.h>
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What was seen of one."""

    name: str
    gauges_s: float | None = None  # age of its file
    pid: int | None = None  # who holds its lock
    lock: str = ""
    socket: str = ""
    listens: bool | None = None  # None: its socket may not be looked at
    answer: str = ""  # to a question
    version: str = ""
    started_us: int | None = None

    @property
    def runs(self) -> bool:
        """Is there a living process?"""
        return self.pid is not None or (self.gauges_s is not None and self.gauges_s < FRESH_S)


def gather(place: Place) -> dict[str, Program]:
    """Look at all of them."""
    run, query = place.config.run.directory, place.config.query.socket
    locks = {
        "milterd": place.config.milter.spool / "LOCK",
        "trackd": place.journal / "LOCK",
        "hookd": place.config.hookd.state.parent / "lock",
    }
    found = {}
    for name, lock in locks.items():
        pid = holder(lock)
        found[name] = Program(
            name=name,
            gauges_s=_age(run / f"{name}.prom", place.now_us),
            pid=pid,
            lock=str(lock),
            started_us=started(pid) if pid else None,
        )
    ready, version = asked(query)
    found["queryd"] = Program(
        name="queryd",
        gauges_s=_age(run / "queryd.prom", place.now_us),
        socket=str(query),
        listens=listens(query),
        answer=ready,
        version=version,
    )
    traced = place.config.trace.socket
    found["traced"] = Program(
        name="traced",
        gauges_s=_age(run / "traced.prom", place.now_us),
        socket=str(traced),
        listens=listens(traced),
    )
    return found


def listens(path: Path) -> bool | None:
    """Does somebody listen at a Unix socket? None where we may not look."""
    kind = access.entry(path).kind
    if kind != "socket":
        return None if kind == "hidden" else False
    try:
        text = Path("/proc/net/unix").read_text(errors="replace")
    except OSError:
        text = ""
    if listening(text, str(path)):
        return True
    with socket.socket(socket.AF_UNIX) as probe:  # in a network of its own
        probe.settimeout(TIMEOUT_S)
        try:
            probe.connect(os.fspath(path))
        except PermissionError:
            return None
        except OSError:
            return False
    return True


def listening(text: str, path: str) -> bool:
    """Is there a listening socket of that path in the text of /proc/net/unix?"""
    for line in text.splitlines()[1:]:
        words = line.split(None, 7)
        if len(words) == 8 and words[7] == path and int(words[3], 16) & _LISTENING:
            return True
    return False


def asked(path: Path) -> tuple[str, str]:
    """What posttrail-queryd says at /readyz ("200", "503 ...", a reason), and its version."""
    try:
        code, body = _get(path, "/readyz")
        if code != 200:
            return f"{code} {body.decode('utf-8', 'replace')[:200]}", ""
        _, body = _get(path, "/openapi.json")
        return str(code), str(json.loads(body)["info"]["version"])
    except PermissionError:
        return "Permission denied", ""
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__, ""


def _get(path: Path, what: str) -> tuple[int, bytes]:
    connection = HTTPConnection("posttrail", timeout=TIMEOUT_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(TIMEOUT_S)
        connection.sock.connect(os.fspath(path))
        connection.request("GET", what)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def started(pid: int) -> int | None:
    """When a process began, UTC microseconds (proc(5): /proc/PID/stat and btime)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        boot = Path("/proc/stat").read_text()
    except OSError:
        return None
    return started_of(stat, boot, _TICKS)


def started_of(stat: str, boot: str, ticks: int) -> int | None:
    """The same from the texts."""
    since = next((line.split()[1] for line in boot.splitlines() if line.startswith("btime")), "")
    words = stat.rpartition(")")[2].split()
    if not since.isdecimal() or len(words) < 20:
        return None
    return int(since) * 1_000_000 + int(words[19]) * 1_000_000 // ticks


def run(place: Place) -> list[Finding]:
    """The checks of this family."""
    found = gather(place)
    return [
        *(lives(found[name], place) for name in ("milterd", "trackd")),
        answers(found["queryd"], place),
        wakes(found["traced"], place),
        tells(found["hookd"], place),
        versions(found, _installed_us()),
    ]


def lives(seen: Program, place: Place) -> Finding:
    """Does a daemon with a lock run?"""
    this, name = check(seen.name), f"posttrail-{seen.name}"
    told = [Seen(seen.lock, f"held by process {seen.pid}" if seen.pid else "held by nobody")]
    told.append(Seen(f"{seen.name}.prom", _old(seen.gauges_s)))
    if not seen.runs:
        if access.entry(Path(seen.lock)).kind == "hidden" and seen.gauges_s is None:
            return this.unchecked(f"the lock of {name} may not be looked at: run as root", *told)
        return this.problem(f"{name} does not run", *told, mend=_start(seen.name))
    if seen.gauges_s is None:
        return this.warning(
            f"{name} runs and leaves no gauges",
            *told,
            mend=("systemd-tmpfiles --create posttrail.conf", place.restart(seen.name)),
        )
    if seen.gauges_s >= FRESH_S:
        return this.problem(
            f"{name} hangs: its gauges are old", *told, mend=place.restart(seen.name)
        )
    return this.ok(f"{name} runs", *told)


def answers(seen: Program, place: Place) -> Finding:
    """Does posttrail-queryd answer?"""
    this, told = check("queryd"), Seen(seen.socket, seen.answer or "no answer")
    if seen.answer == "200":
        return this.ok("posttrail-queryd answers, and reads the journal", told)
    if seen.listens is None or seen.answer == "Permission denied":
        group = place.config.query.admin_group
        return this.unchecked(f"only the group {group} may ask posttrail-queryd: run as root", told)
    if not seen.listens:
        return this.problem(
            "posttrail-queryd does not run: there is no page, and no report for others",
            told,
            mend="systemctl enable --now posttrail-queryd.socket",
        )
    return this.problem(
        "posttrail-queryd cannot read the journal", told,
        mend=("posttrail check", place.restart("queryd")),
    )  # fmt: skip


def wakes(seen: Program, place: Place) -> Finding:
    """Is posttrail-traced there, or woken when it is asked?"""
    this = check("traced")
    if not place.mta:
        return this.unchecked("there is no mail server to trace")
    told = Seen(
        seen.socket, {True: "listens", False: "nobody listens", None: "hidden"}[seen.listens]
    )
    if seen.listens:
        return this.ok("posttrail-traced answers, or is woken by its socket", told)
    if seen.listens is None:
        return this.unchecked(
            "the socket of posttrail-traced may not be looked at: run as root", told
        )
    return this.warning(
        "posttrail-traced does not run: traces are made by who asks",
        told,
        mend="systemctl enable --now posttrail-traced.socket",
    )


def tells(seen: Program, place: Place) -> Finding:
    """Does posttrail-hookd run, where there is somebody to tell?"""
    if not place.config.hooks:
        return check("hookd").ok("posttrail-hookd need not run", Seen("hooks", "none"))
    return lives(seen, place)


def versions(found: dict[str, Program], installed_us: int) -> Finding:
    """Are those that run of the release that is installed?"""
    this = check("versions")
    told, old = [Seen("installed", __version__)], []
    for seen in found.values():
        if seen.version and seen.version != __version__:
            old.append(seen.name)
            told.append(Seen(f"posttrail-{seen.name}", f"runs {seen.version}"))
        elif seen.started_us is not None and seen.started_us < installed_us:
            old.append(seen.name)
            told.append(
                Seen(f"posttrail-{seen.name}", "was started before this release was installed")
            )
    if old:
        names = " ".join(f"posttrail-{name}" for name in old)
        return this.warning(
            "programs still run that an upgrade has replaced",
            *told,
            mend=f"systemctl restart {names}",
        )
    if not any(seen.version or seen.started_us for seen in found.values()):
        return this.unchecked("none of the programs can be asked", *told)
    return this.ok("the programs that run are of this release", *told)


def _installed_us() -> int:
    """When this release was put here: its package's folder changed."""
    try:
        place = Path(posttrail.__file__).parent
        return max(place.stat().st_ctime_ns, Path(posttrail.__file__).stat().st_ctime_ns) // 1000
    except OSError:
        return 0


def _start(name: str) -> str:
    return f"systemctl enable --now posttrail-{name}"


def _age(path: Path, now_us: int) -> float | None:
    try:
        return max(0.0, now_us / 1e6 - path.stat().st_mtime)
    except OSError:
        return None


def _old(age_s: float | None) -> str:
    return "not there" if age_s is None else f"{age_s:.0f} s old"
