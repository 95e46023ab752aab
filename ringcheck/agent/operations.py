"""The operations of the agent's API, from which routing, OpenAPI and docs are made: one value for each method.

Owns the type of these values, and refuses parameters that would have no effect; `routes.py` has the table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from starlette.exceptions import HTTPException
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    Handler: TypeAlias = Callable[[Request], Response] | Callable[[Request], Awaitable[Response]]

Schema: TypeAlias = "Mapping[str, Any]"
"""A JSON Schema. `{"$ref": "verdict-1"}` is the schema of a document, `{"$ref": "error"}` one of `bodies.py`."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the query of a request.

    Attributes:
        name: its name in the query.
        text: what it does.
        schema: JSON Schema of one value.
        repeats: whether it may be given several times.
        required: whether it must be given.
    """

    name: str
    text: str
    schema: Schema = field(default_factory=lambda: {"type": "string"})
    repeats: bool = False
    required: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The responses of one status.

    Attributes:
        text: when this status is used.
        content: schema by media type; empty for a response without a body.
    """

    text: str
    content: Mapping[str, Schema] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operation:
    """One method of one path.

    Attributes:
        path: with placeholders in braces.
        contents: what it answers, in Markdown; links are relative to `docs/`.
        answers: by status, without those that every request may get.
        handler: answers it; None if the handler is made with the service (FleetLock and the admission webhook).
        method: GET, which implies HEAD, or POST.
        parameters: of the query.
        strict: whether unknown parameters are refused.
        body: schema of the JSON body of a POST.
        headers: of the request, by name, each with its schema.
        topic: group of the operation, for people.
        secret: whether a secret in the path replaces a user.
    """

    path: str
    contents: str
    answers: Mapping[int, Answer]
    handler: Handler | None = None
    method: str = "GET"
    parameters: tuple[Parameter, ...] = ()
    strict: bool = True
    body: Schema | None = None
    headers: Mapping[str, Schema] = field(default_factory=dict)
    topic: str = "clusters"
    secret: bool = False

    def route(self) -> Route:
        """The route, which refuses unknown parameters if the operation is strict."""
        assert self.handler  # noqa: S101 - others are routed where they are made
        handler = _strict(self.handler, self.parameters) if self.strict else self.handler
        return Route(self.path, handler, methods=[self.method])


def _strict(handler: Handler, parameters: tuple[Parameter, ...]) -> Handler:
    if iscoroutinefunction(handler):

        @wraps(handler)
        async def checked_later(request: Request) -> Response:
            _require_parameters(request, parameters)
            return cast("Response", await handler(request))

        return checked_later

    @wraps(handler)
    def checked(request: Request) -> Response:
        _require_parameters(request, parameters)
        return cast("Response", handler(request))

    return checked


def _require_parameters(request: Request, parameters: tuple[Parameter, ...]) -> None:
    """Refuse unknown query parameters, and a second value for one that takes only one: they would be ignored silently.

    Raises:
        HTTPException: 400 with the known ones.
    """
    known = {parameter.name: parameter for parameter in parameters}
    names = [name for name, _ in request.query_params.multi_items()]
    if unknown := sorted(set(names) - known.keys()):
        raise HTTPException(400, f"there is no parameter {unknown[0]!r} here (known: {', '.join(known) or 'none'})")
    if twice := sorted(name for name in set(names) if names.count(name) > 1 and not known[name].repeats):
        raise HTTPException(400, f"the parameter {twice[0]!r} can be given once only")
