"""posttrail-hookd: tells other programs what became of mail, by webhook or by a command.

    posttrail-hookd [--config FILE] [--log-level LEVEL]

The main thread reads the journal and fills the outbox; each hook has threads that empty it.

Exit codes: 0 stopped by a signal; 64 usage; 66 no such configuration; 69 the state cannot be made;
75 already running, or the journal was replaced (start again); 77 no permission; 78 configuration,
or no hook in it.

Log messages: "ready" (info), "journal cannot be read, hooks wait" (warning), "hooks go on" (info),
"gauges cannot be written" (warning), "a call does not end" (warning), and those of ``look`` and
``postman``.
"""

import faulthandler
import logging
import time
from pathlib import Path
from typing import Final

from journal import keys
from journal.store import DamagedStoreError
from posttrail import daemon
from posttrail.config import Config
from posttrail.durable import make_directory
from posttrail.errors import ConfigError, PosttrailError, TryAgainError, UnavailableError
from query.hooks import secret, state, wanted
from query.hooks.look import Look, clock_us
from query.hooks.postman import Postman
from query.hooks.quiet import Quiet
from query.httpd.keeper import Keeper
from query.httpd.marker import Marker

log = logging.getLogger(__name__)

TICK_S: Final = 0.25
FAILED_S: Final = 1.0
TURN_S: Final = 5.0
QUIET_S: Final = 30.0
FORGET_S: Final = 3600.0
STUCK_S: Final = 90.0
"""How long a call may take beyond its time limit: the resolver has one of its own."""
STOP_S: Final = 10.0
DEAD_US: Final = 7 * keys.DAY_US
"""How long calls that were given up are kept."""


def main() -> None:
    """The program."""
    daemon.program("posttrail-hookd", "Tell other programs what became of mail.", run)


def run(settings: Config) -> None:
    """From the lock to the last call."""
    faulthandler.enable()
    hooks = wanted.of_config(settings)
    if not hooks:
        raise ConfigError("no [[hooks]] in the configuration: there is nobody to tell")
    for each in hooks:
        if each.hook.secret_file and each.hook.url:
            secret.read(Path(each.hook.secret_file))
    folder = settings.hookd.state.parent
    try:
        make_directory(folder, 0o700)
    except OSError as error:
        raise UnavailableError(f"{folder}: {error.strerror}") from None
    with daemon.lock_file(folder / "lock"):
        Hookd(settings, hooks, daemon.Stop()).run()


class Hookd:
    """The life of the program."""

    def __init__(self, settings: Config, hooks: list[wanted.Wanted], stop: daemon.Stop) -> None:
        self._stop = stop
        self._directory = settings.journal.directory
        self._prom = settings.run.directory / "hookd.prom"
        self._hooks = {each.name: each for each in hooks}
        folder = settings.hookd.state.parent
        self._keeper = Keeper(self._directory, Marker(folder / "touching", self._directory))
        self._state = state.open_state(settings.hookd.state)
        self._state.read(lambda _: None)  # makes the file
        self._look = Look(hooks, self._state, settings.mta.queue_lifetime_days)
        self._quiet = Quiet(hooks, self._state)
        self._postmen: dict[str, Postman] = {}
        self._failing = False
        self._no_gauges = False
        self._behind = 0
        self._due = {"turn": 0.0, "quiet": 0.0, "forget": 0.0}

    def run(self) -> None:
        """Until a signal, or until the journal is another one."""
        daemon.notify("READY=1")
        log.info("ready hooks=%s", ",".join(self._hooks))
        wait_s = 0.0
        try:
            while not self._stop.wait(wait_s):
                wait_s = self._step()
                if self._keeper.is_replaced():
                    raise TryAgainError("the journal was replaced; start again")
        finally:
            daemon.notify("STOPPING=1")
            for postman in self._postmen.values():
                postman.stop()
            until = time.monotonic() + STOP_S
            for postman in self._postmen.values():
                postman.join(until)
        self._keeper.close()
        self._state.close()

    def _step(self) -> float:
        """One look; how long to wait until the next."""
        wait_s = TICK_S
        try:
            wait_s = 0.0 if self._read() else TICK_S
            self._report(None)
        except PosttrailError as error:
            if isinstance(error, DamagedStoreError):
                self._keeper.damaged(error)
            self._report(error)
            wait_s = FAILED_S
        if self._is_due("turn", TURN_S):
            self._turn()
        return wait_s

    def _read(self) -> bool:
        reader = self._keeper.local().reader
        now_us = clock_us()
        if not self._look.is_begun:
            self._look.begin(reader, self._directory, now_us=now_us)
        more = self._look.tick(reader, self._directory, now_us=now_us)
        self._start_postmen()
        last = reader.last_change()
        self._behind = max((last - place.cursor for place in self._look.places), default=0)
        if not more and self._is_due("quiet", QUIET_S):
            self._quiet.tick(reader, self._look.places, key=self._keeper.key, now_us=now_us)
        if self._is_due("forget", FORGET_S) and self._look.forget(now_us=now_us, dead_us=DEAD_US):
            self._due["forget"] = 0.0
        for postman in self._postmen.values():
            postman.wake.set()
        return more

    def _start_postmen(self) -> None:
        for place in self._look.places:
            if place.name not in self._postmen:
                postman = Postman(self._hooks[place.name].hook, place.number, self._state)
                self._postmen[place.name] = postman
                postman.start()

    def _turn(self) -> None:
        """The watchdog's proof: we look, and no thread is stuck in a call. Then the gauges."""
        stuck = [name for name, each in self._postmen.items() if each.stuck_s() > STUCK_S]
        if stuck:
            log.warning("a call does not end names=%s", ",".join(stuck))
        else:
            daemon.notify("WATCHDOG=1")
        self._keeper.turn()
        try:
            daemon.write_prom(self._prom, self._gauges())
            self._no_gauges = False
        except (OSError, PosttrailError) as error:
            if not self._no_gauges:
                log.warning("gauges cannot be written path=%s error=%s", self._prom, error)
            self._no_gauges = True

    def _gauges(self) -> dict[str, float]:
        postmen = self._postmen.values()
        waiting, dead, oldest_us = self._state.read(state.figures)
        age_s = 0.0 if oldest_us is None else max(0.0, (clock_us() - oldest_us) / 1e6)
        return {
            'posttrail_hookd_calls_total{outcome="taken"}': float(
                sum(each.taken for each in postmen)
            ),
            'posttrail_hookd_calls_total{outcome="failed"}': float(
                sum(each.failed for each in postmen)
            ),
            'posttrail_hookd_calls_total{outcome="given_up"}': float(
                sum(each.dead for each in postmen)
            ),
            "posttrail_hookd_waiting": float(waiting),
            "posttrail_hookd_dead": float(dead),
            "posttrail_hookd_oldest_seconds": age_s,
            "posttrail_hookd_off": float(sum(place.off for place in self._look.places)),
            "posttrail_hookd_changes_behind": float(max(0, self._behind)),
            "posttrail_hookd_written_seconds": time.time(),
        }

    def _is_due(self, what: str, seconds: float) -> bool:
        now = time.monotonic()
        if now < self._due[what]:
            return False
        self._due[what] = now + seconds
        return True

    def _report(self, error: PosttrailError | None) -> None:
        if error is not None and not self._failing:
            log.warning("journal cannot be read, hooks wait error=%s", error)
        elif error is None and self._failing:
            log.info("hooks go on")
        self._failing = error is not None


if __name__ == "__main__":
    main()
