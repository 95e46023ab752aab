"""The description of the API: it is valid and complete, and a running agent conforms to it for any request.

`make api` sends more random requests, and different ones in each run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringcheck.agent import bodies, evictions, fleetlock, observed, preflight, web
from ringcheck.agent.evictions import Evictions
from ringcheck.agent.fleetlock import FleetLock
from ringcheck.agent.log import Log
from ringcheck.agent.openapi import PATH, description
from ringcheck.agent.operations import Answer, Operation
from ringcheck.agent.routes import OPERATIONS, ROUTES
from ringcheck.core.reasons import REASONS
from tests.agent.watched import NAME, World, watched
from tests.conftest import examples
from tests.docs import routes_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hypothesis.strategies import DataObject as Draw
    from schemathesis import Case
    from schemathesis.schemas import APIOperation, BaseSchema
    from starlette.routing import BaseRoute

EXAMPLES = 6  # for each operation, valid and invalid ones
# A stream does not end, so it can't be tested here; test_web.py reads it.
ASKED = [operation for operation in OPERATIONS if operation.path != "/events"]
CHOOSING = [operation for operation in ASKED if operation.strict and (operation.parameters or operation.body)]
# Checks that some requests can't pass. Only the cluster knows which datacenters it has; and schemathesis does not
# understand the `prefixItems` of a snapshot, which test_web.py checks.
BEYOND: dict[str, Callable[[Case[Any]], bool]] = {
    "positive_data_acceptance": lambda case: "dc" in (case.query or {}),
    "response_schema_conformance": lambda case: case.path.endswith("/snapshot"),
}
HOST, SECRET = "host-1", "0123456789abcdef"
SECTIONS: dict[str, Any] = {
    "observed": {"window": "1h"},
    "fleetlock": {"group": "orders", "nodes": {HOST: "127.0.0.1"}},
    "kubernetes": {"namespaces": ["cassandra"], "pods": ["cassandra-*"]},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An agent with every route; where several readings must be safe, they follow each other at once."""
    folder = tmp_path_factory.mktemp("openapi")
    with pytest.MonkeyPatch.context() as patch, watched(folder, **SECTIONS) as plain:
        patch.setattr(preflight, "BETWEEN", 0.0)
        lock = FleetLock(plain.agent, Log(), sleep=lambda _: None)
        with web.serve(plain.agent, "127.0.0.1:0", more=more(plain, lock)) as served:
            yield World(plain.cluster, plain.agent, served)


def more(world: World, lock: FleetLock) -> list[BaseRoute]:
    agent, log = world.agent, Log()
    return [*fleetlock.routes(agent, log, lock), *evictions.routes(Evictions(agent, lock), agent, log)]


@pytest.fixture(scope="module")
def described(world: World) -> BaseSchema:
    """The served description as schemathesis reads it, with the formats that JSON Schema does not define."""
    import schemathesis

    schemathesis.openapi.format("printable", st.text(st.characters(exclude_categories=["C", "Z"])))
    schemathesis.openapi.format(
        "moment", st.sampled_from(["90m", "7d", "2026-01-31", "2026-01-31T12:00:00Z", "1769860800"])
    )
    return schemathesis.openapi.from_url(world.url(PATH))


@pytest.mark.slow
def test_the_description_is_valid(world: World) -> None:
    """It is valid OpenAPI 3.1, and equals what the table generates."""
    from openapi_spec_validator import OpenAPIV31SpecValidator

    served = world.get(PATH).json()
    OpenAPIV31SpecValidator(served).validate()
    assert served["openapi"].startswith("3.1.")
    assert served == description(OPERATIONS)


def test_every_route_is_in_the_table(world: World) -> None:
    """This includes routes that are created together with the service; the table lists no route that does not exist."""
    lock = FleetLock(world.agent, Log())
    made: list[Any] = [*ROUTES, *more(world, lock)]
    routed = [(route.path, method) for route in made for method in route.methods - {"HEAD"}]
    assert sorted(routed) == sorted((operation.path, operation.method) for operation in OPERATIONS)


def test_the_docs_list_the_table() -> None:
    """`make docs` was run after the last change: it writes the list in docs/web.md."""
    page = (Path(__file__).parents[2] / "docs" / "web.md").read_text()
    assert routes_table() in page


def test_bodies_have_the_fields_that_handlers_know() -> None:
    """The parsers of requests have rules of their own, so the two are compared."""
    assert {name for body in bodies.PREFLIGHT["anyOf"] for name in body["properties"]} == set(preflight.FIELDS)
    row = bodies.OBSERVED["properties"]["counts"]["items"]
    assert set(row["properties"]) == set(observed.FIELDS)
    codes = bodies.PREFLIGHT["anyOf"][0]["properties"]["allow"]["items"]["enum"]
    assert codes == sorted(REASONS)


def test_equal_names_have_equal_schemas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Definitions of different documents become one component only if they are the same."""
    monkeypatch.setitem(bodies.ANSWERS, "severity", {"type": "string"})
    answer = Answer("x", {"application/json": {"$ref": "verdict-1"}})
    with pytest.raises(AssertionError, match="two schemas define severity"):
        description([Operation(path="/x", contents="x", answers={200: answer})])


def random_case(world: World, operation: APIOperation[Any, Any, Any, Any], wanted: Operation, data: Draw) -> Case[Any]:
    """A random request; its path usually names something that exists."""
    known = {"cluster": NAME, "node": world.address(0), "name": "page.css", "secret": SECRET}
    names = re.findall(r"{(\w+)}", wanted.path)
    path = {name: known[name] for name in names} if data.draw(st.integers(0, 3)) else None
    return data.draw(operation.as_strategy(path_parameters=path))


def ask(world: World, case: Case[Any], *left_out: str) -> None:
    """Send a request, and compare the response with the description.

    503 is an answer here: it is not known. 500 is a bug.
    """
    from schemathesis.checks import CHECKS

    excluded: Any = [CHECKS.get_one(name) for name in ("not_a_server_error", *left_out)]
    checks: Any = CHECKS.get_all()
    response = case.call_and_validate(base_url=world.served.url, checks=checks, excluded_checks=excluded)
    assert response.status_code != 500


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ASKED, ids=lambda operation: f"{operation.method} {operation.path}")
def test_the_agent_answers_as_described(world: World, described: BaseSchema, wanted: Operation) -> None:
    """Answers to valid requests have the described status, media type and body; so do answers to other methods."""
    operation = described[wanted.path][wanted.method]

    @settings(max_examples=examples(EXAMPLES), suppress_health_check=list(HealthCheck))
    @given(st.data())
    def answers(data: Draw) -> None:
        case = random_case(world, operation, wanted, data)
        left_out = [name for name, applies in BEYOND.items() if applies(case)]
        ask(world, case, *left_out)

    answers()


@pytest.mark.slow
@pytest.mark.parametrize("wanted", CHOOSING, ids=lambda operation: f"{operation.method} {operation.path}")
def test_the_agent_refuses_what_is_not_described(world: World, described: BaseSchema, wanted: Operation) -> None:
    """Parameters and bodies that do not conform to the description are refused."""
    from schemathesis import GenerationMode

    operation = described[wanted.path][wanted.method]
    path = {"cluster": NAME, "node": world.address(0)}

    @settings(max_examples=examples(EXAMPLES), suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(GenerationMode.NEGATIVE, path_parameters=path))
    def answers(case: Case[Any]) -> None:
        ask(world, case)

    answers()
