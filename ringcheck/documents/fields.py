"""Objects of a JSON document, read field by field: every error names the path of what is wrong."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from ringcheck.core.endpoint import canonical
from ringcheck.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ringcheck.core.ring import Range

Json = dict[str, Any]

T = TypeVar("T")

LONGEST_TEXT = 16384  # characters of a name, an address or a sentence
_KINDS = {str: "text", int: "a number", bool: "true or false", list: "a list", dict: "an object"}


class Fields:
    """An object of a document and its path, such as `rings[2]`; the path of the document itself is empty."""

    def __init__(self, values: Json, path: str = "") -> None:
        """Read nothing yet."""
        self.values = values
        self.path = path

    def at(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{name}".lstrip(".")

    def required(self, name: str, kind: type[Any]) -> Any:  # noqa: ANN401 - JSON
        """The value of a field.

        Raises:
            DataError: if it is missing or not of this kind.
        """
        if not isinstance(self.values, dict) or name not in self.values:
            raise DataError(f"{self.at(name)} is missing")
        value = self.values[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise DataError(f"{self.at(name)} is {shown(value)}, not {_KINDS[kind]}")
        if kind is str and len(value) > LONGEST_TEXT:
            raise DataError(f"{self.at(name)} has {len(value)} characters, and at most {LONGEST_TEXT} are read")
        if kind is int and not -(2**63) <= value < 2**63:
            raise DataError(f"{self.at(name)} is {shown(value)}, which does not fit in 64 bits")
        return value

    def require(self, *names: str) -> None:
        """Check that there are such fields, null or not.

        Raises:
            DataError: if one is missing.
        """
        for name in names:
            if name not in self.values:
                raise DataError(f"{self.at(name)} is missing")

    def optional(self, name: str, kind: type[Any]) -> Any:  # noqa: ANN401 - JSON
        """The value of a field; None if it is missing or null.

        Raises:
            DataError: if it is not of this kind.
        """
        return None if self.values.get(name) is None else self.required(name, kind)

    def choice(self, name: str, values: Iterable[T]) -> T:
        """The value of a text field that has one of these values.

        Raises:
            DataError: if it is missing or has another value.
        """
        text, known = self.required(name, str), list(values)
        if text not in known:
            raise DataError(f"{self.at(name)} is {shown(text)}, not one of {', '.join(map(str, known))}")
        return known[known.index(text)]

    def objects(self, name: str, *, optional: bool = False) -> Iterator[Fields]:
        """The objects of a list; none if the field is optional and missing.

        Raises:
            DataError: if it is not a list of objects.
        """
        rows = () if optional and name not in self.values else self.required(name, list)
        for index, row in enumerate(rows):
            path = f"{self.at(name)}[{index}]"
            if not isinstance(row, dict):
                raise DataError(f"{path} is not an object")
            yield Fields(row, path)

    def texts(self, *names: str) -> tuple[str, ...]:
        """The values of several text fields.

        Raises:
            DataError: if one is missing or not text.
        """
        return tuple(self.required(name, str) for name in names)

    def address(self, name: str) -> str:
        """The value of a field that holds an address.

        Raises:
            DataError: if it is missing or not an address.
        """
        return address(self.required(name, str), self.at(name))

    def addresses(self, name: str) -> frozenset[str]:
        """The values of a field that lists addresses; empty if it is missing or null.

        Raises:
            DataError: if it is not a list of addresses.
        """
        texts, path = self.optional(name, list) or [], self.at(name)
        if not set(map(type, texts)) <= {str}:
            raise DataError(f"{path} is not a list of addresses")
        try:
            return _canonical(frozenset(texts))
        except ValueError:
            return frozenset(address(text, path) for text in texts)  # raises for the first text that is not an address


@lru_cache(maxsize=32)
def _canonical(texts: frozenset[str]) -> frozenset[str]:
    """Addresses in canonical form. A thousand views of a cluster list the same thousand."""
    return frozenset(map(canonical, texts))


def shown(value: Any) -> str:  # noqa: ANN401 - JSON
    """A value in short form, for a message: only the first characters of a text, and no content of a list."""
    most = 40
    if isinstance(value, dict | list):
        return _KINDS[type(value)]
    if isinstance(value, str) and len(value) > most:
        return f"{value[:most]!r}..."
    return repr(value) if isinstance(value, str) else json.dumps(value)[:most]


def address(text: str, path: str = "") -> str:
    """An IP address, or `ip:port`, in canonical form. Host names are not accepted.

    Args:
        text: the address.
        path: its path in the document, for the error.

    Raises:
        DataError: if it is not an address.
    """
    try:
        return canonical(text)
    except ValueError:
        raise DataError(f"{path}: {shown(text)} is not an address") from None


def parse_document(text: str | bytes, source: str, schema: str) -> Fields:
    """The fields of a document.

    Args:
        text: JSON.
        source: a file or URL, for errors.
        schema: the required value of the field `schema`.

    Raises:
        DataError: if it is not a JSON object, or has another schema.
    """
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source} is not a JSON document: {_no_json(error, text)}") from None
    declared = parsed.get("schema") if isinstance(parsed, dict) else None
    if declared is None:
        raise DataError(f"{source} is no {schema!r} document: it has no field `schema`")
    if declared != schema:
        raise DataError(f"{source} has schema {shown(declared)}; this release reads {schema!r}")
    return Fields(parsed)


def _no_json(error: ValueError | RecursionError, text: str | bytes) -> str:
    if not text.strip():
        return "it is empty"
    if isinstance(error, json.JSONDecodeError):
        return f"wrong or cut off at line {error.lineno}, column {error.colno}"
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else "it is nested too deeply or has huge numbers"


def token_texts(span: Range) -> list[str]:
    """Start and end of a range as decimal text."""
    return [str(span[0]), str(span[1])]
