"""The OpenAPI document and the application keep to each other; nothing that is sent is a 5xx."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis import checks
from schemathesis.specs.openapi import checks as conformance
from starlette.types import Message, Receive, Scope, Send

from journal.records import Status
from query.httpd import openapi
from tests.unit.query.conftest import NOON_US, Shelf, row
from tests.unit.query.httpd.conftest import ROOT, Asked, service, traced_at
from tests.unit.query.test_show import EVENTS, ROWS

OPERATIONS = [
    (path, method)
    for path, methods in sorted(openapi.document()["paths"].items())
    for method in methods
]
VARIED = [
    (path, method)
    for path, method in OPERATIONS
    if openapi.document()["paths"][path][method].get("parameters") != []
]
"""Those with parameters or a body; the others have one request each."""
SHORT = 300
LONG = 5000
CHECKS = [
    checks.not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_schema_conformance,
]


class Leaving(Asked):
    """A client of streams that has seen enough once the answer has begun."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = False

        async def leave() -> Message:
            nonlocal asked
            if asked and scope["path"] == "/v1/events":
                return {"type": "http.disconnect"}
            asked = True
            return await receive()

        await super().__call__(scope, leave, send)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    directory = tmp_path_factory.mktemp("schema")
    shelf = Shelf(directory / "journal")
    shelf.put(*ROWS, events=EVENTS)
    for number, status in enumerate(Status):
        shelf.put(row(status=status), at_us=NOON_US + number * 1_000_000)
    shelf.close()
    made = service(directory, shelf.directory)
    with traced_at(directory / "traced.sock"):
        yield Leaving(made, ROOT)
    made.keeper.close()


def sent(app: Asked, path: str, method: str, count: int) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operation: Any = schema[path][method.upper()]

    @hypothesis_settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=count < 100,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def every(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    every()


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_what_is_sent_is_answered_as_the_document_says(app: Asked, path: str, method: str) -> None:
    before = app.service.answered.copy()
    sent(app, path, method, -(-SHORT // len(VARIED)))
    answered = sum((app.service.answered - before).values())
    assert answered >= (SHORT // len(VARIED) if (path, method) in VARIED else 1)
    assert app.service.answered["5xx"] == 0


@pytest.mark.soak
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_5000_requests_have_no_5xx(app: Asked, path: str, method: str) -> None:
    sent(app, path, method, -(-LONG // len(VARIED)))
