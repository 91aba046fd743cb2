"""No statement that others make of their logs is contradicted, unless we argue why."""

import pytest

from tests.score.main import CORPORA, checks_of, folders, told, wrong

pytestmark = pytest.mark.skipif(
    not CORPORA.is_dir(), reason="no corpora: name their folder in POSTTRAIL_CORPORA"
)


@pytest.mark.parametrize("folder", folders() if CORPORA.is_dir() else [])
def test_what_a_source_states_is_what_we_say(folder: str) -> None:
    found = list(checks_of(folder))
    assert found
    assert not wrong(found), "\n".join(told(folder, check) for check in wrong(found))
