"""The outcome of each request in Jolokia's reply, and the shapes that its value may have. Believes nothing.

HTTP 200 is not success: each item has its own `status`, one Error inside a bulk turns the whole answer into one object,
limits of an agent cut lists without a word. Whatever is not exactly as expected is a `DataError` of one line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ringcheck.errors import DataError, DeniedError, SourceError
from ringcheck.http.replies import LONGEST_TEXT, printable
from ringcheck.jolokia.refusals import reason

OK, FORBIDDEN, NOT_FOUND, THROWN = 200, 403, 404, 500  # `status` of an item


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request.

    Attributes:
        status: Jolokia's: 200, 400, 403, 404 or 500.
        value: decoded JSON, if the status is 200.
        error: one line, otherwise.
        error_type: Java class of the exception, otherwise.
    """

    status: int
    value: Any = None
    error: str = ""
    error_type: str = ""

    def get(self, what: str) -> Any:  # noqa: ANN401 - decoded JSON; the functions below judge its shape
        """The value.

        Raises:
            SourceError: if the agent's policy forbids it.
            DataError: if there is none for another reason.
        """
        if self.status == OK:
            return self.value
        if self.status == FORBIDDEN:
            raise SourceError(f"{what}: {self.refusal}", "denied")
        raise DataError(f"{what}: {self.error or self.error_type or f'status {self.status}'}")

    @property
    def refusal(self) -> str:
        """Why it was refused, in the agent's own words where it has some."""
        said = reason(self.error, self.error_type)
        return f"the agent refuses: {said}" if said else "the agent's access policy forbids it"


def outcome(reply: object) -> Outcome:
    """The outcome of one request.

    Raises:
        DataError: if the reply is not an object with a status, or claims success without a value.
    """
    if not isinstance(reply, dict) or not isinstance(status := reply.get("status"), int):
        raise DataError(f"not an answer of Jolokia: {shortened(reply)}")
    if status == OK:
        if "value" not in reply:
            raise DataError("the answer has no value")
        return Outcome(status, reply["value"])
    return Outcome(status, None, shortened(reply.get("error") or ""), str(reply.get("error_type") or ""))


def outcomes(reply: object, count: int) -> list[Outcome] | None:
    """The outcomes of a bulk request, in the order of its items.

    Up to Jolokia 2.3 one operation that throws an Error turns the answer to the whole bulk into one object.

    Returns:
        None if that happened: the items are to be asked one by one.

    Raises:
        DeniedError: if the bulk was refused as a whole.
        DataError: if the reply is none of these, or does not answer every request.
    """
    if isinstance(reply, dict):
        whole = outcome(reply)
        if whole.status == FORBIDDEN:
            raise DeniedError(whole.refusal)
        if whole.status != THROWN:
            raise DataError(f"one answer to {count} requests: {whole.error or f'status {whole.status}'}")
        return None
    if not isinstance(reply, list):
        raise DataError(f"not an answer of Jolokia: {shortened(reply)}")
    if len(reply) != count:
        raise DataError(f"{len(reply)} answers to {count} requests")
    return [outcome(item) for item in reply]


def is_missing_mbean(outcome: Outcome) -> bool:
    """Whether the MBean itself is not there; an attribute that it lacks is 404 too."""
    return outcome.status == NOT_FOUND and "InstanceNotFound" in outcome.error_type


def shortened(value: object) -> str:
    """One line of something that a node said."""
    line = printable(str(value))
    return line if len(line) <= LONGEST_TEXT else f"{line[:LONGEST_TEXT]}..."


def text(value: object, what: str) -> str:
    """A string.

    Raises:
        DataError: if it is none.
    """
    if not isinstance(value, str):
        raise DataError(f"{what} is no text: {shortened(value)}")
    return value


def flag(value: object, what: str) -> bool:
    """A boolean.

    Raises:
        DataError: if it is none.
    """
    if not isinstance(value, bool):
        raise DataError(f"{what} is neither true nor false: {shortened(value)}")
    return value


def number(value: object, what: str) -> int:
    """An integer, which agents 2.x may be set to write as text (`serializeLong`).

    Raises:
        DataError: if it is none.
    """
    if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"{what} is no number: {shortened(value)}")
    return value


def strings(value: object, what: str) -> list[str]:
    """A list of strings that no limit of the agent has spoilt.

    Raises:
        DataError: if it is something else.
    """
    if not isinstance(value, list):
        raise DataError(f"{what} is no list: {shortened(value)}{spoilt(value)}")
    for item in value:
        if not isinstance(item, str):
            raise DataError(f"{what} has {shortened(item)} in place of text")
    return value


def mapping(value: object, what: str) -> dict[str, Any]:
    """An object.

    Raises:
        DataError: if it is something else.
    """
    if not isinstance(value, dict):
        raise DataError(f"{what} is no map: {shortened(value)}{spoilt(value)}")
    return value


def spoilt(value: object) -> str:
    """What an agent's limits leave in place of a list or map."""
    if value == "[Object limit exceeded]":
        return " (the agent's maxObjects cut it off)"
    return " (the agent's maxDepth made it text)" if isinstance(value, str) and value[:1] in {"[", "{"} else ""
