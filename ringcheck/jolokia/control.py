"""What a restart asks of one node beside the polls: since when it runs, where its clients go, and to drain.

The collector never uses this: `drain` is the one thing that ringcheck does to a node.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ringcheck.jolokia import decode, mbeans
from ringcheck.jolokia.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.jolokia.client import Settings
    from ringcheck.jolokia.decode import Outcome
    from ringcheck.jolokia.mbeans import Request

_ANY = {"0.0.0.0", "::"}  # noqa: S104 - what must not be taken for an address


class Control:
    """Asks nodes by their address; safe to use from several threads."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is asked.

        Args:
            settings: where the agents are.
            clock: monotonic seconds.
        """
        self._settings = settings
        self._clock = clock
        self._client = Client(settings, clock=clock)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def started_at(self, address: str, seconds: float) -> int:
        """When the node's JVM was started, in epoch milliseconds by the node's own clock.

        The gossip generation would not do: it also rises when gossip is switched off and on.

        Raises:
            SourceError: if it does not answer in time, or forbids it.
            DataError: if the answer is none.
        """
        value = self._ask(address, mbeans.read(mbeans.RUNTIME, mbeans.START_TIME), seconds).get(mbeans.START_TIME)
        return decode.number(value, mbeans.START_TIME)

    def drain(self, address: str, seconds: float) -> None:
        """Drain the node: it stops serving, tells its peers so, and flushes. Sent once.

        Raises:
            SourceError: if it refuses or does not answer in time; what it did is then not known.
            DataError: if it fails.
        """
        reply = self._client.exec_once(self._url(address), mbeans.drain(), self._clock() + seconds)
        decode.outcome(reply).get(mbeans.DRAIN)

    def client_addresses(self, address: str, seconds: float) -> dict[str, tuple[str, int | None]]:
        """Where each node's clients connect: host, and port from 4.0 on; as one node knows it by gossip.

        Raises:
            SourceError: if it does not answer in time.
            DataError: if the answer is none.
        """
        shared = decode.ip_of(address) != address  # nodes that share an address are told apart by their ports
        name = mbeans.STATES_WITH_PORT if shared else mbeans.STATES
        states = self._ask(address, mbeans.read(mbeans.FAILURE_DETECTOR, name), seconds).get(name)
        found: dict[str, tuple[str, int | None]] = {}
        found |= {one: (host, None) for one, host in decode.gossiped(states, "RPC_ADDRESS").items()}
        found |= {one: _split(text) for one, text in decode.gossiped(states, "NATIVE_ADDRESS_AND_PORT").items()}
        return {one: (host, port) for one, (host, port) in found.items() if host not in _ANY}

    def _url(self, address: str) -> str:
        return self._settings.url_of(decode.ip_of(address))

    def _ask(self, address: str, request: Request, seconds: float) -> Outcome:
        reply = self._client.post(self._url(address), request, self._clock() + seconds)
        return decode.outcome(reply)


def _split(text: str) -> tuple[str, int | None]:
    """Host and port of `10.0.0.1:9042` or `[::1]:9042`."""
    written = decode.endpoint(text)
    port = written.rpartition(":")[2]
    return decode.ip_of(written), int(port) if decode.ip_of(written) != written else None
