"""Reads maps by token range or token: ranges with their replicas, pending ranges, owners of tokens."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from ringcheck.core.ring import Pending
from ringcheck.core.spans import Spans
from ringcheck.errors import DataError
from ringcheck.http.replies import document
from ringcheck.jolokia.endpoints import CANONICAL, check_number, endpoint
from ringcheck.jolokia.outcomes import mapping, outcome, shortened, strings, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.http.replies import Reply

_TOKENS = re.compile(r"\[(-?[0-9]{1,39}), (-?[0-9]{1,39})\]")  # 2**127 has 39 digits


def tokens_of_key(key: str) -> tuple[int, int]:
    """Start and end of a range from its key `[start, end]`.

    Raises:
        DataError: if they are not integers. Tokens of order-preserving partitioners are keys of any text.
    """
    match = _TOKENS.fullmatch(key)
    if not match:
        raise DataError(f"{shortened(key)} is not a token range")
    return int(match[1]), int(match[2])


class NodeIndexes(dict[str, int]):
    """Index of a node by its endpoint in any form; each text is looked up once."""

    def __init__(self, index_of: Callable[[str], int]) -> None:
        """Prepare.

        Args:
            index_of: index of a canonical endpoint; raises DataError for an unknown one.
        """
        super().__init__()
        self._index_of = index_of

    def __missing__(self, written: str) -> int:
        if len(self) >= CANONICAL.LIMIT:
            self.clear()
        index = self[written] = self._index_of(endpoint(written))
        return index


def pending(value: object, indexes: NodeIndexes, what: str) -> tuple[Pending, ...]:
    """Pending ranges and the nodes that gain them, sorted.

    Args:
        value: of getPendingRangeToEndpoint(WithPort)Map.
        indexes: of the members.
        what: for messages.

    Raises:
        DataError: if it is not a map of lists of members by token range.
    """
    ranges = []
    for key, gaining in mapping(value, what).items():
        start, end = tokens_of_key(key)
        replicas = tuple([indexes[written] for written in strings(gaining, what)])
        if replicas:  # 6.0 keeps the ranges of a node that has joined, with no node that gains them
            ranges.append(Pending(start, end, replicas))
    return tuple(sorted(ranges, key=lambda gained: (gained.end, gained.start)))


def range_rows(reply: Reply, indexes: NodeIndexes, nodes: int) -> Spans:
    """The ranges of a ring from the reply to one getRangeToEndpoint(WithPort)Map.

    Args:
        reply: to that request.
        indexes: of the members.
        nodes: how many members there are.

    Raises:
        SourceError: if the reply is cut off, not JSON, or forbidden.
        DataError: if the reply reports an error, or is not a map of lists of members by token range.
    """
    spans = Spans(nodes)

    def take(key: str, replicas: Any) -> None:  # noqa: ANN401 - decoded JSON
        start, end = tokens_of_key(key)
        if not isinstance(replicas, list):
            strings(replicas, shortened(key))  # raises
        if len(replicas) > nodes:
            raise DataError(f"{shortened(key)} has {len(replicas)} replicas, but there are {nodes} nodes")
        spans.add(start, end, [indexes[written] for written in replicas])

    _entries(reply, take, "the range map")
    return spans


def token_counts(reply: Reply) -> Counter[str]:
    """Number of tokens by endpoint, from the reply to TokenToEndpoint(WithPort)Map; joining nodes are included.

    Raises:
        SourceError: if the reply is cut off, not JSON, or forbidden.
        DataError: if the reply reports an error, or is not a map of endpoints by token.
    """
    counts: Counter[str] = Counter()

    def take(_: str, owner: Any) -> None:  # noqa: ANN401 - decoded JSON
        counts[CANONICAL[text(owner, "an owner")]] += 1
        check_number(len(counts))

    _entries(reply, take, "the token map")
    return counts


def _entries(reply: Reply, take: Callable[[str, Any], None], what: str) -> None:
    """Call a function for each entry of the map that is the value of a reply; a large reply is never in memory at once.

    If this raises, all entries must be discarded: an error can follow them in the reply.
    """
    if not reply.whole:
        from ringcheck.jolokia.stream import entries  # noqa: PLC0415 - ijson costs 21 ms, and small clusters do not need it

        entries(reply, take, what)
        return
    for key, value in mapping(outcome(document(reply)).get(what), what).items():
        take(key, strings(value, what) if isinstance(value, list) else value)
