"""Real servers for the tests: a private Postfix, and posttrail beside it.

Every test in this folder gets the marker ``integration`` and is skipped without root.

``plain_lab``   Postfix and sinks, no milter; all mails of the demonstration have met their fate.
``make_stage``  a new Postfix, milter and tracker for one test that breaks them.
``parts``       the same for one test, in processes that it may stop and start.
``settled``     one Postfix, milter and tracker for the whole session, all mails settled
                (tests/conftest.py: the browser looks at the same).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from posttrail.demo import mails
from posttrail.demo.lab import Lab
from posttrail.demo.sinks import Sinks
from posttrail.demo.stage import Stage, folder, stage
from tests.integration.parts import Parts, postfix_and_parts
from tests.waiting import wait_until

HERE = Path(__file__).parent
MakeStage = Callable[[], Stage]
Until = Callable[[Callable[[], bool]], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    without_root = pytest.mark.skip(reason="a private Postfix needs root")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)
            if os.geteuid() != 0:
                item.add_marker(without_root)


@pytest.fixture(scope="session")
def until() -> Until:
    """``wait_until``, for tests that watch a program from outside."""
    return wait_until


@pytest.fixture(scope="session")
def plain_lab() -> Iterator[Lab]:
    with (
        folder(None, keep=False) as directory,
        Sinks() as sinks,
        Lab(directory, sinks=sinks.ports, milter=False) as lab,
    ):
        mails.send_all(lab)
        wait_until(lambda: lab.deferred(mails.GREYLISTED) is not None)
        lab.flush(lab.deferred(mails.GREYLISTED) or "")
        wait_until(lambda: _quiet(lab))
        yield lab


def _quiet(lab: Lab) -> bool:
    moving = any(entry["queue_name"] in {"active", "incoming"} for entry in lab.pending())
    return not moving and lab.deferred(mails.GREYLISTED) is None


@pytest.fixture
def make_stage() -> Iterator[MakeStage]:
    with ExitStack() as stack:

        def make() -> Stage:
            return stack.enter_context(stage(stack.enter_context(folder(None, keep=False))))

        yield make


@pytest.fixture
def parts() -> Iterator[Parts]:
    """Postfix, milter and tracker in processes of their own, all running."""
    with postfix_and_parts() as made:
        made.start_milterd()
        made.start_trackd()
        made.lab.start()
        yield made
