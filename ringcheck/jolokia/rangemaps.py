"""Maps by token range and by token: ranges with their replicas, pending ranges, tokens by owner."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from ringcheck.core.ring import Pending
from ringcheck.core.spans import Spans
from ringcheck.errors import DataError
from ringcheck.http.replies import document
from ringcheck.jolokia.endpoints import CANONICAL, endpoint
from ringcheck.jolokia.outcomes import mapping, outcome, shortened, strings, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.http.replies import Reply

_TOKENS = re.compile(r"\[(-?\d+), (-?\d+)\]")


def tokens_of_key(key: str) -> tuple[int, int]:
    """Start and end of a range from its key `[start, end]`.

    Raises:
        DataError: if they are no whole numbers: order-preserving partitioners put keys of any text there.
    """
    found = _TOKENS.fullmatch(key)
    if not found:
        raise DataError(f"{shortened(key)} is no token range")
    return int(found[1]), int(found[2])


class Places(dict[str, int]):
    """Node index by any text that a node's endpoint is written as."""

    def __init__(self, index_of: Callable[[str], int]) -> None:
        """Prepare.

        Args:
            index_of: index of a canonical endpoint; raises DataError for a stranger.
        """
        super().__init__()
        self._index_of = index_of

    def __missing__(self, written: str) -> int:
        place = self[written] = self._index_of(endpoint(written))
        return place


def pending(value: object, places: Places, what: str) -> tuple[Pending, ...]:
    """Ranges in movement and the nodes that gain them.

    Raises:
        DataError: if it is something else.
    """
    found = []
    for key, gaining in mapping(value, what).items():
        start, end = tokens_of_key(key)
        found.append(Pending(start, end, tuple([places[item] for item in strings(gaining, what)])))
    return tuple(sorted(found, key=lambda item: (item.end, item.start)))


def range_rows(reply: Reply, places: Places, nodes: int) -> Spans:
    """The ranges of a ring from the reply to one getRangeToEndpoint(WithPort)Map.

    Args:
        reply: to that request.
        places: of the members.
        nodes: how many members there are.

    Raises:
        SourceError: if the reply is cut off, no JSON, or forbidden.
        DataError: if it holds an error, or something else than lists of members by token range.
    """
    found = Spans(nodes)

    def take(key: str, replicas: Any) -> None:  # noqa: ANN401 - decoded JSON
        start, end = tokens_of_key(key)
        if not isinstance(replicas, list):
            strings(replicas, key)  # raises
        found.add(start, end, [places[item] for item in replicas])

    _entries(reply, take, "the range map")
    return found


def token_counts(reply: Reply) -> Counter[str]:
    """How many tokens each endpoint has, from the reply to TokenToEndpoint(WithPort)Map, joining nodes included.

    Raises:
        SourceError: if the reply is cut off, no JSON, or forbidden.
        DataError: if it holds an error, or something else than endpoints.
    """
    found: Counter[str] = Counter()

    def take(_: str, owner: Any) -> None:  # noqa: ANN401 - decoded JSON
        found[CANONICAL[text(owner, "an owner")]] += 1

    _entries(reply, take, "the token map")
    return found


def _entries(reply: Reply, take: Callable[[str, Any], None], what: str) -> None:
    """Hand on each entry of the map that is the value of a reply; large replies are never held as a whole.

    What was taken counts for nothing if this raises: the error may stand behind the entries.
    """
    if not reply.whole:
        from ringcheck.jolokia.stream import entries  # noqa: PLC0415 - ijson costs 21 ms, small clusters never need it

        entries(reply, take, what)
        return
    for key, value in mapping(outcome(document(reply)).get(what), what).items():
        take(key, strings(value, what) if isinstance(value, list) else value)
