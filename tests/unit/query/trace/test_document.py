"""A trace as JSON: it keeps to its schema, comes back as it was, and what is no trace is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from posttrail.errors import DataError
from posttrail.text import HOSTILE
from query.trace import document
from query.trace.tree import Host, Node, Outcome, Question, Source, Step, Trace, Verdict, judged

SCHEMA = json.loads(
    (Path(__file__).resolve().parents[4] / "docs" / "schema" / "trace.json").read_text("utf-8")
)
Draft202012Validator.check_schema(SCHEMA)
VALIDATOR = Draft202012Validator(SCHEMA)

byte = st.integers(0xDC80, 0xDCFF).map(chr)  # of text that is no UTF-8
text = st.text(max_size=4) | st.lists(byte | st.sampled_from("a@\n\x1b\u202e"), max_size=4).map(
    "".join
)
maybe = st.none() | text
hosts = st.builds(
    Host, name=text, name_unicode=maybe, addresses=st.lists(text, max_size=2).map(tuple),
    port=st.integers(0, 65535), preference=st.none() | st.integers(0, 65535), fallback=st.booleans(),
    secure=st.none() | st.booleans(), tlsa=st.lists(text, max_size=1).map(tuple), trouble=maybe,
)  # fmt: skip
outcomes = st.builds(
    Outcome, time=text, status=text, reason=text, relay=maybe, folder=maybe, id=text
)


def nodes(children: st.SearchStrategy[tuple[Node, ...]]) -> st.SearchStrategy[Node]:
    return st.builds(
        Node, address=text, step=st.sampled_from(Step), verdict=st.sampled_from(Verdict),
        source=st.sampled_from(Source), table=maybe, key=maybe, value=maybe, as_of=maybe,
        address_class=maybe, transport=maybe, nexthop=maybe, router=maybe, mailbox=maybe,
        command=maybe, enhanced_status=maybe, text=text, differs=maybe,
        hosts=st.lists(hosts, max_size=2).map(tuple), notes=st.lists(text, max_size=2).map(tuple),
        history=st.lists(outcomes, max_size=2).map(tuple),
        children=children,
    )  # fmt: skip


traces = st.builds(
    Trace,
    question=st.builds(
        Question,
        address=text,
        sender=maybe,
        entry=st.sampled_from(("smtp", "submission", "pickup")),
    ),
    mta=text,
    as_of=text,
    root=nodes(st.lists(nodes(st.just(())), max_size=2).map(tuple)),
    warnings=st.lists(text, max_size=2).map(tuple),
)
PLAIN = Trace(
    question=Question(address="va@valias.test"),
    mta="postfix 3.7.11",
    as_of="2026-11-23T15:00:00Z",
    root=judged(
        Node(
            address="va@valias.test", step=Step.VIRTUAL_ALIAS, table="hash:/etc/postfix/virtual",
            key="va@valias.test",
            children=(
                Node(
                    address="box@vbox.test", step=Step.DELIVER, source=Source.MTA,
                    router="virtual_user", text="virtual_user to local delivery",
                ),
                Node(
                    address="ext@plain.test", step=Step.DELIVER, verdict=Verdict.TEMPORARY,
                    hosts=(Host(name="mx1.plain.test", addresses=("192.0.2.1",), preference=10),),
                ),
            ),
        )
    ),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(traces)
def test_every_document_fits_the_schema_and_comes_back(trace: Trace) -> None:
    line = document.line(trace)
    assert line.endswith("\n")
    assert HOSTILE.search(line[:-1]) is None
    VALIDATOR.validate(json.loads(line))
    assert document.parse(line.encode()) == trace


def test_the_document_is_that_of_the_contract() -> None:
    made = document.document(PLAIN)
    assert made["verdict"] == "temporary"  # of the worse child
    assert made["source"] == "mta+computed"
    assert made["root"]["table"] == "hash:/etc/postfix/virtual"
    first, second = made["root"]["children"]
    assert first["text"] == "virtual_user to local delivery"
    assert "hosts" not in first
    assert second["hosts"][0]["ip"] == ["192.0.2.1"]
    assert second["hosts"][0]["mx"] == 10


def test_history_counts_as_a_source() -> None:
    outcome = Outcome(time="t", status="s", reason="r", relay=None, folder=None, id="i")
    root = Node(address="a@b.test", step=Step.DELIVER, history=(outcome,))
    assert document.document(replace(PLAIN, root=root))["source"] == "computed+history"


@pytest.mark.parametrize("field", ["address", "mta", "as_of", "entry", "warnings", "root"])
def test_a_document_that_lacks_a_field_or_has_another_kind_is_refused(field: str) -> None:
    made = document.document(PLAIN)
    for bad in ({**made, field: 7}, {k: v for k, v in made.items() if k != field}):
        with pytest.raises(DataError):
            document.trace(bad)


@pytest.mark.parametrize("bad", ["", "[", "[]", "null", '"x"', "[" * 100_000, "{}"])
def test_what_is_no_trace_is_refused(bad: str) -> None:
    with pytest.raises(DataError):
        document.parse(bad)


def test_a_tree_without_end_is_refused() -> None:
    made = document.document(PLAIN)
    node = dict(made["root"], children=[])
    for _ in range(document.DEEPEST + 1):
        node = dict(node, children=[node])
    with pytest.raises(DataError):
        document.trace({**made, "root": node})
