"""The outcome of each request in a reply of Jolokia, and checks of the shape of its value.

HTTP 200 does not mean success. Each item of a reply has its own `status`, one Error in a bulk turns the whole reply
into one object, and the limits of an agent cut lists silently. Anything unexpected raises a `DataError` of one line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ringcheck.errors import DataError, DeniedError, SourceError
from ringcheck.http.replies import LONGEST_TEXT, printable
from ringcheck.jolokia.proxy import node_failure
from ringcheck.jolokia.refusals import reason

# Characters of a name, an endpoint, a release or a replication. Names of keyspaces have 222 at most; only a replication
# can be long, with a factor for each of many datacenters.
CHARACTERS = 4096
_LONG = re.compile(r"-?[0-9]{1,19}")

OK, FORBIDDEN, NOT_FOUND, THROWN = 200, 403, 404, 500  # `status` of an item


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of one request.

    Attributes:
        status: of Jolokia: 200, 400, 403, 404 or 500.
        value: decoded JSON; None if the status is not 200.
        error: one line; empty if the status is 200.
        error_type: Java class of the exception; empty if there is none.
    """

    status: int
    value: Any = None
    error: str = ""
    error_type: str = ""

    def get(self, what: str) -> Any:  # noqa: ANN401 - decoded JSON; the functions below judge its shape
        """The value.

        Raises:
            SourceError: if the agent's policy forbids it.
            DataError: if there is no value for another reason.
        """
        if self.status == OK:
            return self.value
        if self.status == FORBIDDEN:
            raise SourceError(f"{what}: {self.refusal}", "denied")
        raise DataError(f"{what}: {self.error or self.error_type or f'status {self.status}'}")

    @property
    def refusal(self) -> str:
        """Why the request was refused: the agent's own text, if it gave one."""
        text = reason(self.error, self.error_type)
        return f"the agent refuses: {text}" if text else "the agent's access policy forbids it"


def outcome(reply: object) -> Outcome:
    """The outcome of one request.

    Raises:
        SourceError: if a proxy reports that it could not ask the node.
        DataError: if the reply is not an object with a status, or claims success without a value.
    """
    if not isinstance(reply, dict) or type(status := reply.get("status")) is not int:
        raise DataError(f"not a reply of Jolokia: {shortened(reply)}")
    if status == OK:
        if "value" not in reply:
            raise DataError("the answer has no value")
        return Outcome(status=status, value=reply["value"])
    if failure := node_failure(status, reply.get("error"), reply.get("error_type")):
        raise failure
    error = shortened(reply.get("error") or "")
    return Outcome(status=status, error=error, error_type=shortened(reply.get("error_type") or ""))


def outcomes(reply: object, count: int) -> list[Outcome] | None:
    """The outcomes of a bulk request, in the order of its requests.

    Up to Jolokia 2.4 one operation that throws an Error turns the reply to the whole bulk into one object.

    Returns:
        None if that happened: then the requests must be sent one by one.

    Raises:
        DeniedError: if the whole bulk was refused.
        SourceError: if a proxy could not ask the node.
        DataError: if the reply has another shape, or does not answer every request.
    """
    if isinstance(reply, dict):
        whole = outcome(reply)
        if whole.status == FORBIDDEN:
            raise DeniedError(whole.refusal)
        if whole.status != THROWN:
            raise DataError(f"one answer to {count} requests: {whole.error or f'status {whole.status}'}")
        return None
    if not isinstance(reply, list):
        raise DataError(f"not a reply of Jolokia: {shortened(reply)}")
    if len(reply) != count:
        raise DataError(f"{len(reply)} answers to {count} requests")
    return [outcome(item) for item in reply]


def is_missing_mbean(outcome: Outcome) -> bool:
    """Whether the MBean itself does not exist; a missing attribute has status 404 too."""
    return outcome.status == NOT_FOUND and "InstanceNotFound" in outcome.error_type


def shortened(value: object) -> str:
    """A value of a reply as one line of limited length, for messages."""
    line = printable((value if isinstance(value, str) else str(value))[: 4 * LONGEST_TEXT])
    return line if len(line) <= LONGEST_TEXT else f"{line[:LONGEST_TEXT]}..."


def text(value: object, what: str, most: int | None = CHARACTERS) -> str:
    """A value that must be a string of at most `most` characters.

    Raises:
        DataError: if it is not; the message begins with `what`.
    """
    if not isinstance(value, str):
        raise DataError(f"{what} is not a text: {shortened(value)}")
    if most is not None and len(value) > most:
        raise DataError(f"{what} is a text of {len(value)} characters: {shortened(value)}")
    return value


def flag(value: object, what: str) -> bool:
    """A value that must be a boolean.

    Raises:
        DataError: if it is not.
    """
    if not isinstance(value, bool):
        raise DataError(f"{what} is neither true nor false: {shortened(value)}")
    return value


def number(value: object, what: str) -> int:
    """A value that must be a Java long; agents 2.x can be configured to write it as text (`serializeLong`).

    Raises:
        DataError: if it is not.
    """
    if isinstance(value, str) and _LONG.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise DataError(f"{what} is not a number: {shortened(value)}")
    return value


def strings(value: object, what: str) -> list[str]:
    """A value that must be a list of strings.

    Raises:
        DataError: if it is not; the message names the limit of the agent that replaced a list or a part of it.
    """
    if not isinstance(value, list):
        raise DataError(f"{what} is not a list: {shortened(value)}{limit_note(value)}")
    for item in value:
        if not isinstance(item, str):
            raise DataError(f"{what} has {shortened(item)} in place of text")
        if len(item) > CHARACTERS:
            raise DataError(f"{what} has a text of {len(item)} characters: {shortened(item)}")
    return value


def mapping(value: object, what: str) -> dict[str, Any]:
    """A value that must be a JSON object.

    Raises:
        DataError: if it is not; the message names the limit of the agent that replaced it.
    """
    if not isinstance(value, dict):
        raise DataError(f"{what} is not a map: {shortened(value)}{limit_note(value)}")
    return value


def limit_note(value: object) -> str:
    """The agent's limit that put this value in place of a list or map, as the end of a message; empty if none did."""
    if value == "[Object limit exceeded]":
        return " (the agent's maxObjects cut it off)"
    return " (the agent's maxDepth made it text)" if isinstance(value, str) and value[:1] in {"[", "{"} else ""
