"""Fields of a document: how they are written and read, with errors that name the place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from ringcheck.core.endpoint import canonical
from ringcheck.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ringcheck.core.ring import Range

Json = dict[str, Any]


def address(text: str, where: str = "") -> str:
    """An address, or `ip:port`, in canonical form; host names are none.

    Raises:
        DataError: if it is no address.
    """
    try:
        return canonical(text)
    except ValueError:
        raise DataError(f"{where}: {text!r} is no address") from None


def parse_document(text: str | bytes, source: str, schema: str) -> Json:
    """A JSON document, which must be of a schema.

    Args:
        text: JSON.
        source: where it came from, for errors.
        schema: value that its field `schema` must have.

    Raises:
        DataError: if it is no JSON object, or of another schema.
    """
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source} is no JSON document: {error}") from None
    found = parsed.get("schema") if isinstance(parsed, dict) else None
    if found != schema:
        raise DataError(f"{source} has schema {found!r}; this release reads {schema!r}")
    return cast("Json", parsed)


def required(one: Mapping[str, Any], field: str, kind: type[Any], where: str) -> Any:  # noqa: ANN401 - JSON
    """A field that must be there, and of a kind.

    Raises:
        DataError: if it is missing or of another kind; names the place.
    """
    place = f"{where}.{field}".lstrip(".")
    if not isinstance(one, dict) or field not in one:
        raise DataError(f"{place} is missing")
    value = one[field]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise DataError(f"{place} is {json.dumps(value)[:40]}, not {_KINDS[kind]}")
    return value


_KINDS = {str: "text", int: "a number", bool: "true or false", list: "a list", dict: "an object"}


def optional(one: Mapping[str, Any], field: str, kind: type[Any], where: str) -> Any:  # noqa: ANN401 - JSON
    """A field's value, or None where it is missing or null.

    Raises:
        DataError: if it is of another kind; names the place.
    """
    return None if one.get(field) is None else required(one, field, kind, where)


def objects(one: Json, field: str, where: str, *, optional: bool = False) -> Iterable[tuple[int, Json]]:
    """The objects of a list field, each with its index.

    Raises:
        DataError: if the field is no list, or one of its items no object; names the place.
    """
    place = f"{where}.{field}".lstrip(".")
    for at, item in enumerate(required(one, field, list, where) if field in one or not optional else ()):
        if not isinstance(item, dict):
            raise DataError(f"{place}[{at}] is not an object")
        yield at, item


def addresses(one: Json, field: str, where: str) -> frozenset[str]:
    """A field that lists addresses; empty where it is missing or null.

    Raises:
        DataError: if it does not; names the place.
    """
    place = f"{where}.{field}"
    texts = optional(one, field, list, where) or []
    if not all(isinstance(text, str) for text in texts):
        raise DataError(f"{place} is not a list of addresses")
    return frozenset(address(text, place) for text in texts)


def one_of(one: Json, field: str, values: Iterable[Any], where: str) -> Any:  # noqa: ANN401 - one of the values
    """A text field that has one of some values.

    Raises:
        DataError: if it has not; names the place.
    """
    value = required(one, field, str, where)
    if value not in values:
        raise DataError(f"{where}.{field} is {value!r}, not one of {', '.join(values)}")
    return value


def token_texts(span: Range) -> list[str]:
    """Start and end of a range in decimal text."""
    return [str(span[0]), str(span[1])]
