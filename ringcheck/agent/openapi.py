"""The OpenAPI 3.1 description of the API, made from the table of routes and the JSON Schemas of the documents."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

import ringcheck
from ringcheck.agent import bodies
from ringcheck.agent.answers import dump
from ringcheck.agent.guard import FLEETLOCK
from ringcheck.documents.json_schemas import json_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from starlette.requests import Request

    from ringcheck.agent.operations import Answer, Operation, Parameter, Schema

PATH = "/api/v1/openapi.json"
_TOPICS = {
    "clusters": "What is known of the clusters",
    "gate": "May nodes stop now; only 200 means yes",
    "levels": "The consistency levels that clients use",
    "monitoring": "For monitoring the agent itself",
    "pages": "Pages for people",
    "protocols": "What hosts and Kubernetes ask before they stop a node",
}
_PATHS = {
    "cluster": "Name of a cluster in the configuration",
    "node": "Address or host id of a node",
    "name": "Name of a file",
    "secret": "Content of `admission_secret_file`",
}
_ABOUT = """The API of `ringcheck agent`. See `docs/web.md`.

A path that does not exist answers 404, and a method that a path does not have answers 405 with `Allow`; both with the
error document. HEAD is answered wherever GET is. GET changes nothing."""
_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/error"}}}
_RETRY = {"Retry-After": {"description": "Seconds after which to ask again", "schema": {"type": "integer"}}}

# Responses that any request may get before its handler is called.
_COMMON = {
    400: "The request is malformed: its Host header, a parameter or the body",
    421: "The Host header names another service",
    429: "Too many passwords are being checked",
    500: "A bug in ringcheck",
    503: "The host of the agent has run out of memory, descriptors or threads",
}
_LOGIN = {401: "A user and its password are required"}
_FORGED = {
    403: "Without users in web_config only clients on this host may POST, and pages of another origin never",
    413: "The body is too large",
    415: "Content-Type is not application/json",
}


def openapi(request: Request) -> Response:
    """`/api/v1/openapi.json`."""
    return Response(_dumped(request.app.state.operations), media_type="application/json")


@lru_cache(maxsize=1)
def _dumped(operations: tuple[Operation, ...]) -> bytes:
    return dump(description(operations))


def description(operations: Iterable[Operation]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of some operations."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        item = paths.setdefault(operation.path, _path_item(operation.path))
        item[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ringcheck agent",
            "version": ringcheck.__version__,
            "summary": "Ring health of Apache Cassandra clusters, and whether nodes may stop now",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"user": []}, {"certificate": []}],
        "tags": [{"name": name, "description": text} for name, text in _TOPICS.items()],
        "paths": paths,
        "components": {
            "schemas": _schemas(operations),
            "securitySchemes": {
                "user": {"type": "http", "scheme": "basic", "description": "A user of `web_config`"},
                "certificate": {"type": "mutualTLS", "description": "A client certificate, as `web_config` asks for"},
            },
        },
    }


def _path_item(path: str) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", path)
    return {"parameters": [_placed(name, "path", _PATHS[name], {"type": "string", "minLength": 1}) for name in names]}


def _placed(name: str, where: str, text: str, schema: Schema, *, required: bool = True) -> dict[str, Any]:
    return {"name": name, "in": where, "description": text, "required": required, "schema": dict(schema)}


def _described(operation: Operation) -> dict[str, Any]:
    parameters = [
        *map(_query, operation.parameters),
        *(_placed(name, "header", "Marks the protocol", schema) for name, schema in operation.headers.items()),
    ]
    described: dict[str, Any] = {
        "operationId": _identifier(operation),
        "summary": _plain(operation.contents),
        "tags": [operation.topic],
        "parameters": parameters,
        "responses": {str(status): response for status, response in sorted(_responses(operation).items())},
    }
    if operation.secret:
        described["security"] = [{}]
    if operation.body:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": operation.body}}}
    return described


def _identifier(operation: Operation) -> str:
    """`get_clusters_cluster_health`."""
    words = re.findall(r"\w+", operation.path.removeprefix("/api/v1"))
    return "_".join([operation.method.lower(), *words]) or "get"


def _plain(markdown: str) -> str:
    """Text without its links, which do not work outside the docs."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", markdown)


def _query(parameter: Parameter) -> dict[str, Any]:
    schema = {"type": "array", "items": dict(parameter.schema)} if parameter.repeats else parameter.schema
    return _placed(parameter.name, "query", parameter.text, schema, required=False)


def _responses(operation: Operation) -> dict[int, dict[str, Any]]:
    error = _common_error(operation)
    common = _COMMON | ({} if operation.secret else _LOGIN) | (_FORGED if operation.method == "POST" else {})
    responses: dict[int, dict[str, Any]] = {
        status: {"description": text, "content": error} for status, text in common.items()
    }
    for status, answer in operation.answers.items():
        responses[status] = _response(answer, responses.get(status))
    for status in (429, 503):
        responses[status] = {**responses[status], "headers": _RETRY}
    return responses


def _response(answer: Answer, common: Mapping[str, Any] | None) -> dict[str, Any]:
    """A response; if any request may get its status, the content of that response is included."""
    content = {kind: {"schema": _pointed(schema)} for kind, schema in answer.content.items()}
    if not common:
        return {"description": answer.text, "content": content} if content else {"description": answer.text}
    merged = {**common["content"], **content}
    for kind in common["content"].keys() & content.keys():
        ours, theirs = content[kind]["schema"], common["content"][kind]["schema"]
        merged[kind] = {"schema": ours if ours == theirs else {"anyOf": [ours, theirs]}}
    return {"description": f"{answer.text}. {common['description']}", "content": merged}


def _common_error(operation: Operation) -> dict[str, Any]:
    """The content of responses to requests that no handler sees."""
    if operation.path.startswith(FLEETLOCK):
        return {"application/json": {"schema": {"$ref": "#/components/schemas/fleetlock"}}}
    return {**_ERROR, "text/html": {"schema": {"type": "string"}}} if operation.topic == "pages" else _ERROR


# Schemas


def _pointed(schema: Any) -> Any:  # noqa: ANN401 - a part of a schema
    """A schema whose `$ref`s point to components: `verdict-1` and `#/$defs/level` become such pointers."""
    if isinstance(schema, dict):
        return {
            key: f"#/components/schemas/{_component(value)}" if key == "$ref" else _pointed(value)
            for key, value in schema.items()
        }
    return list(map(_pointed, schema)) if isinstance(schema, list) else schema


def _component(reference: str) -> str:
    return reference.removeprefix("#/$defs/").removesuffix("-1")


def _schemas(operations: Iterable[Operation]) -> dict[str, Any]:
    """The components: answers, documents that operations refer to, and the definitions of these."""
    names = {
        name for operation in operations for answer in operation.answers.values() for name in _schema_names(answer)
    }
    schemas = {name: _pointed(schema) for name, schema in bodies.ANSWERS.items()}
    for name in sorted(names - schemas.keys()):
        document = json_schema(name)
        definitions = document.pop("$defs", {})
        own = {key: value for key, value in document.items() if key not in {"$schema", "$id"}}
        for component, schema in {**definitions, name: own}.items():
            made = _pointed(schema)
            known = schemas.setdefault(_component(component), made)
            if known != made:
                raise AssertionError(f"two schemas define {component}, in different ways")
    return schemas


def _schema_names(answer: Answer) -> Iterator[str]:
    """The names to which the schemas of an answer refer."""
    for schema in answer.content.values():
        for part in (schema, *schema.get("anyOf", ())):
            if "$ref" in part:
                yield part["$ref"]
