"""Findings keep their promise, and the manual page has every check."""

import re
from pathlib import Path

import pytest

from query.doctor.examine import RUN
from query.doctor.finding import ROOT, Check, Finding, Seen, State
from query.doctor.names import FAMILIES, checks

MAN = Path(__file__).resolve().parents[4] / "docs" / "man" / "posttrail.1"
THIS = Check("milter", "milter-socket")
SEEN = Seen("/a", "socket")


@pytest.mark.parametrize("state", [State.WARNING, State.PROBLEM])
def test_what_is_wrong_names_the_command_that_mends_it(state: State) -> None:
    with pytest.raises(ValueError, match="milter-socket"):
        Finding(
            family="milter", check="milter-socket", state=state, said="it is wrong", seen=(SEEN,)
        )


@pytest.mark.parametrize("state", [State.OK, State.UNCHECKED])
def test_what_is_not_wrong_has_nothing_to_mend(state: State) -> None:
    with pytest.raises(ValueError, match="milter-socket"):
        Finding(
            family="milter", check="milter-socket", state=state, said="fine", seen=(SEEN,),
            mend=("rm x",),
        )  # fmt: skip


@pytest.mark.parametrize("state", [State.OK, State.WARNING, State.PROBLEM])
def test_what_is_said_has_evidence(state: State) -> None:
    mend = ("one",) if state is not State.OK else ()
    with pytest.raises(ValueError, match="no evidence"):
        Finding(family="milter", check="milter-socket", state=state, said="so", mend=mend)


def test_one_command_and_several_are_kept_in_their_order() -> None:
    assert THIS.warning("slow", SEEN, mend="one").mend == ("one",)
    found = THIS.problem("gone", Seen("/a", "missing"), mend=["one", "two"])
    assert found.mend == ("one", "two")
    assert found.seen == (("/a", "missing"),)


def test_only_what_was_not_checked_for_lack_of_rights_needs_root() -> None:
    assert THIS.unchecked(f"hidden: {ROOT}").needs_root
    assert not THIS.unchecked("no mail server here").needs_root
    assert not THIS.ok(f"well, {ROOT}", SEEN).needs_root


def test_every_family_has_a_runner_and_every_check_another_name() -> None:
    assert list(RUN) == list(FAMILIES)
    names = [each.name for family in FAMILIES for each in checks(family)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_manual_page_has_the_checks_of_a_family_and_no_others(family: str) -> None:
    page = MAN.read_text("utf-8").replace("\\-", "-")
    section = page.partition("\n.SS doctor")[2].partition("\n.SS ")[0]
    listed = section.partition("The checks:")[2]
    found = re.search(rf"^\.B {family}\n(.*?)(?=^\.TP|\Z)", listed, re.MULTILINE | re.DOTALL)
    assert found is not None
    named = [name for line in re.findall(r"^\.IR (.*)$", found[1], re.M)
             for name in re.findall(r"[a-z]+(?:-[a-z]+)*", line)]  # fmt: skip
    assert named == [each.name for each in checks(family)]
