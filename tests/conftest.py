"""What every test has: a warning in the log that the test did not announce fails it.

``settled``     one Postfix, milter and tracker for the whole session, all mails settled.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Literal

import pytest

from posttrail.demo.stage import Stage, folder
from tests.settled import settled_stage

ExpectedLog = Callable[[str], None]


@pytest.fixture
def expected_log(request: pytest.FixtureRequest) -> ExpectedLog:
    """Announces a text that this test makes the program log at warning or above.

    The test fails when such a text does not come, and when another one does.
    """
    announced: list[str] = []
    request.node.stash[_ANNOUNCED] = announced
    return announced.append


@pytest.fixture(autouse=True)
def _no_unexpected_log(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    yield
    announced = request.node.stash.get(_ANNOUNCED, [])
    logged = [
        record.getMessage()
        for phase in PHASES
        for record in caplog.get_records(phase)
        if record.levelno >= logging.WARNING and record.name.split(".")[0] in _OURS
    ]
    unexpected = [text for text in logged if not any(word in text for word in announced)]
    missing = [word for word in announced if not any(word in text for text in logged)]
    assert not unexpected, f"logged but not announced: {unexpected}"
    assert not missing, f"announced but not logged: {missing}"


@pytest.fixture(scope="session")
def settled() -> Iterator[Stage]:
    with folder(None, keep=False) as directory, settled_stage(directory) as running:
        yield running


PHASES: tuple[Literal["setup"], Literal["call"]] = ("setup", "call")
_ANNOUNCED = pytest.StashKey[list[str]]()
_OURS = {"posttrail", "journal", "milterd", "query"}
