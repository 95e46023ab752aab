"""Reads the map in a reply of tens of megabytes, entry by entry.

For the 40 MB of 262,144 ranges `json.loads` needs 206 MiB; this needs 9 besides the result. The envelope is checked as
strictly as that of a small reply. `status` may follow the value, so that no entry may be used before the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import ijson

from ringcheck.errors import DataError, SourceError
from ringcheck.http.replies import CHUNK
from ringcheck.http.urls import shown
from ringcheck.jolokia.outcomes import mapping, outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.http.replies import Reply

Events: TypeAlias = "Iterator[tuple[str, Any]]"

_OPENING, _CLOSING = {"start_map", "start_array"}, {"end_map", "end_array"}


def entries(reply: Reply, take: Callable[[str, Any], None], what: str) -> None:
    """Call a function for each entry of the map that is the value of a reply. If this raises, discard all entries.

    Args:
        reply: to one request.
        take: called with each key and its value, which is a string or a list of strings.
        what: for messages.

    Raises:
        SourceError: if the reply is cut off or not JSON, or the agent's policy forbids the request.
        DataError: if the reply reports an error, or its value is not such a map.
    """
    try:
        _envelope(ijson.basic_parse(reply, buf_size=CHUNK), take, what)
    except ijson.IncompleteJSONError:
        cut = f"the JSON of the answer is broken or cut off after {reply.bytes_read} bytes"
        raise SourceError(f"{shown(reply.url)}: {cut}") from None
    except ijson.JSONError:
        raise SourceError(f"{shown(reply.url)}: the answer is not JSON") from None


def _envelope(events: Events, take: Callable[[str, Any], None], what: str) -> None:
    """Read the outer object; its other values are small."""
    if next(events, ("", None))[0] != "start_map":
        raise DataError(f"{what}: not a reply of Jolokia")
    rest: dict[str, Any] = {}
    for event, key in events:
        if event == "end_map":
            break
        if key in rest:
            raise DataError(f"{what}: the answer has {key} twice")
        first, value = next(events)
        if key == "value" and first == "start_map":
            _map(events, take, what)
            rest[key] = {}
        else:
            rest[key] = _any(first, value, events)
    for _ in events:  # nothing may follow; ijson raises if it does
        pass
    mapping(outcome(rest).get(what), what)


def _map(events: Events, take: Callable[[str, Any], None], what: str) -> None:
    """Read the entries up to the end of the map. This loop runs a million times."""
    key = ""
    items: list[str] | None = None
    for event, value in events:
        if event == "string":
            if items is None:
                take(key, value)
            else:
                items.append(value)
        elif event == "map_key":
            key = value
        elif event == "start_array" and items is None:
            items = []
        elif event == "end_array":
            take(key, items)
            items = None
        elif event == "end_map":
            return
        else:
            raise DataError(f"{what}: {key} is neither a string nor a list of strings")


def _any(event: str, value: Any, events: Events) -> Any:  # noqa: ANN401 - any JSON value
    """A value; objects and lists come out empty, since only simple values are needed."""
    if event not in _OPENING:
        return value
    depth = 1
    while depth:
        inner = next(events)[0]
        depth += (inner in _OPENING) - (inner in _CLOSING)
    return {} if event == "start_map" else []
