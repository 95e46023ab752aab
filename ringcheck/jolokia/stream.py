"""Reads the map in a reply of tens of megabytes, entry by entry.

For the 40 MB of 262,144 ranges `json.loads` needs 206 MiB; this needs 9 MiB besides the result. The envelope is checked
as strictly as that of a small reply. `status` may follow the value, so no entry may be used before the end.
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

# A range for each token: 4,096 nodes with 256 tokens each. The largest clusters that are tested have a quarter of that.
ENTRIES = 2**20
# Replicas of a range: EverywhereStrategy makes all nodes replicas.
ITEMS = 4096
# Characters of a string. An endpoint has some 50, with its host name 300. A key is as long as a partition key if the
# partitioner preserves order; such a map is to be read to its end, so that the partitioner is named as the reason.
CHARACTERS = 2**16
# Values outside the map: the answer repeats the request, which has some 20.
OUTSIDE = 1000

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
        # Only numbers of machine size: Python refuses to convert longer ones, on which ijson's C code crashes (3.6.0).
        _envelope(ijson.basic_parse(_Chunks(reply, what), buf_size=CHUNK, use_float=True), take, what)
    except ijson.IncompleteJSONError:
        cut = f"the JSON of the answer is broken or cut off after {reply.bytes_read} bytes"
        raise SourceError(f"{shown(reply.url)}: {cut}") from None
    except (ijson.JSONError, UnicodeDecodeError):  # the latter for the second half of a surrogate pair alone
        raise SourceError(f"{shown(reply.url)}: the answer is not JSON") from None


class _Chunks:
    """The reply as ijson reads it, without endless strings.

    ijson copies what it has of a string with each further chunk: 60 MiB took 14 seconds of CPU.
    """

    LONGEST = 6 * CHARACTERS  # bytes: a character may be written as `\\u0041`

    def __init__(self, reply: Reply, what: str) -> None:
        self._reply = reply
        self._what = what
        self._within = False  # whether a string continues in the next chunk
        self._run = 0  # bytes that it has so far
        self._escape = b""  # the backslash at the end of the last chunk, if it escapes the next chunk's first byte

    def read(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            SourceError: as `Reply.read`.
            DataError: if a string is too long.
        """
        part = self._reply.read(size)
        if part:
            bare = (self._escape + part).replace(rb"\\", b"")
            self._escape = b"\\" if bare.endswith(b"\\") else b""
            bare = bare.replace(rb"\"", b"")
            last = bare.rfind(b'"')
            self._within ^= bare.count(b'"') % 2 == 1
            self._run = 0 if not self._within else self._run + len(part) if last < 0 else len(bare) - last
            if self._run > self.LONGEST:
                raise DataError(f"{self._what}: the answer has a text of more than {CHARACTERS} characters")
        return part


def _envelope(events: Events, take: Callable[[str, Any], None], what: str) -> None:
    """Read the outer object; its other values are small."""
    outside = _limited(events, what)
    if next(events, ("", None))[0] != "start_map":
        raise DataError(f"{what}: not a reply of Jolokia")
    rest: dict[str, Any] = {}
    for event, key in outside:
        if event == "end_map":
            break
        if key in rest:
            raise DataError(f"{what}: the answer has {key} twice")
        first, value = next(outside)
        if key == "value" and first == "start_map":
            _map(events, take, what)
            rest[key] = {}
        else:
            rest[key] = _any(first, value, outside)
    for _ in outside:  # nothing may follow; ijson raises if it does
        pass
    mapping(outcome(rest).get(what), what)


def _limited(events: Events, what: str) -> Events:
    """The events outside the map: few, and with short strings."""
    for count, (event, value) in enumerate(events):
        if count > OUTSIDE or (isinstance(value, str) and len(value) > CHARACTERS):
            raise DataError(f"{what}: the answer has too much text outside the value")
        yield event, value


def _map(events: Events, take: Callable[[str, Any], None], what: str) -> None:  # noqa: C901 - a call costs time here
    """Read the entries up to the end of the map. This loop runs a million times."""
    key = ""
    items: list[str] | None = None
    entries = 0
    for event, value in events:
        if event == "string":
            if len(value) > CHARACTERS:
                raise DataError(f"{what}: an entry has {len(value)} characters, which is refused")
            if items is None:
                take(key, value)
            else:
                items.append(value)
                if len(items) > ITEMS:
                    raise DataError(f"{what}: an entry has more than {ITEMS} items, which is refused")
        elif event == "map_key":
            if entries == ENTRIES or len(value) > CHARACTERS:
                how = f"more than {ENTRIES} entries" if entries == ENTRIES else f"a key of {len(value)} characters"
                raise DataError(f"{what} has {how}, which is refused")
            entries += 1
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
