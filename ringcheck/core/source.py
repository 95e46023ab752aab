"""What a source of snapshots must do. It only reports what nodes say; core decides who is a member and who is up.

`ringcheck.sources` opens the source that a cluster's configuration names. Each kind of source is a package of its own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ringcheck.core.client_errors import ClientCounters
    from ringcheck.core.ring import Snapshot


@dataclass(slots=True)
class RequestCounts:
    """Requests that a source has sent since its start.

    Attributes:
        requests: by outcome: ok, unreachable, denied or error.
        bytes: decoded bytes of all answers.
    """

    requests: Counter[str] = field(default_factory=Counter)
    bytes: int = 0


class Source(Protocol):
    """Polls one cluster. Not for use by two threads at once."""

    @property
    def counts(self) -> RequestCounts:
        """Requests since the start."""

    def poll(self, deadline_seconds: float, *, streams: bool = False) -> Snapshot:
        """The cluster as it is now.

        Args:
            deadline_seconds: the poll returns after this time at the latest, with what has come in.
            streams: ask every node for its streams too, for the gate.

        Raises:
            SourceError: if no node answered, or none could report the ring.
            DataError: if the answers contradict each other: two clusters, a host id twice, an unknown partitioner.
        """

    def close(self) -> None:
        """Close all connections; requests in flight end by themselves."""


class LoopSource(Protocol):
    """A source on an event loop, which its polls never block. For use on that loop only, one poll at a time."""

    @property
    def counts(self) -> RequestCounts:
        """Requests since the start."""

    async def poll(self, deadline_seconds: float, *, streams: bool = False) -> Snapshot:
        """As `Source.poll`."""

    def close(self) -> None:
        """As `Source.close`."""


class NodeControl(Protocol):
    """What a rolling restart needs from single nodes, in addition to polls. Safe to use from several threads."""

    def started_at(self, address: str, host_id: str | None, seconds: float) -> int:
        """When the node's process was started, in epoch milliseconds by the node's own clock.

        Raises:
            GoneError: if nothing listens there any more.
            SourceError: if it does not answer in time, or refuses.
            DataError: if the answer can't be used, or is another node's.
        """

    def drain(self, address: str, host_id: str | None, seconds: float) -> None:
        """Drain the node: it stops serving, announces that to its peers, and flushes. Sent once, to this node only.

        Raises:
            SourceError: if it refuses or does not answer in time; whether it drained is then not known.
            DataError: if the drain fails, or another node answers at that address; that one is not drained.
        """

    def client_addresses(self, address: str, seconds: float) -> dict[str, tuple[str, int | None]]:
        """Where the clients of each node connect, as one node knows it by gossip: host and, from 4.0 on, port.

        Raises:
            SourceError: if it does not answer in time.
            DataError: if the answer can't be used.
        """

    def client_counters(self, address: str, host_id: str | None, seconds: float) -> ClientCounters:
        """What the node has counted of its clients' requests since its process started.

        Raises:
            SourceError: if it does not answer in time, or refuses.
            DataError: if the answer can't be used, or is another node's.
        """

    def close(self) -> None:
        """Close all connections."""
