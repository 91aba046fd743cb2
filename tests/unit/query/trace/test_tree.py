"""query.trace.tree: a parent is as bad as its worst child."""

from query.trace.tree import Node, Step, Verdict, ends, judged, worst


def leaf(address: str, verdict: Verdict) -> Node:
    return Node(address=address, step=Step.DELIVER, verdict=verdict)


def test_nothing_is_no_trouble() -> None:
    assert worst(()) is Verdict.OK


def test_a_refusal_at_the_door_outweighs_what_would_come_later() -> None:
    assert worst(reversed(Verdict)) is Verdict.REJECTED_AT_SMTP


def test_a_parent_is_as_bad_as_its_worst_child_at_any_depth() -> None:
    deep = Node(
        address="a@example.com",
        step=Step.VIRTUAL_ALIAS,
        children=(
            leaf("b@example.com", Verdict.OK),
            Node(
                address="c@example.com",
                step=Step.LOCAL_ALIAS,
                children=(leaf("d@example.net", Verdict.TEMPORARY),),
            ),
        ),
    )
    tree = judged(deep)
    assert tree.verdict is Verdict.TEMPORARY
    assert [node.verdict for node in ends(tree)] == [Verdict.OK, Verdict.TEMPORARY]
    assert [node.address for node in ends(tree)] == ["b@example.com", "d@example.net"]
