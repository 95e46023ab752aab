"""What a restart asks of one node beside the polls: since when it runs, where its clients go, and to drain.

The collector never uses this: `drain` is the one thing that ringcheck does to a node. Whoever answers is asked first
who it is: nodes may share an address, and a URL may lead to another one than it seems.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ringcheck.core.endpoint import has_port, ip_of, split
from ringcheck.errors import DataError, GoneError, SourceError
from ringcheck.http.urls import shown
from ringcheck.jolokia import endpoints, gossip, mbeans, outcomes
from ringcheck.jolokia.client import Client, Requests
from ringcheck.jolokia.settings import host_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.jolokia.mbeans import Request
    from ringcheck.jolokia.outcomes import Outcome
    from ringcheck.jolokia.settings import JolokiaSettings

_HOST_ID = "LocalHostId"
_ANY = {"0.0.0.0", "::"}  # noqa: S104 - what must not be taken for an address


class Control:
    """Asks nodes by their address; safe to use from several threads."""

    def __init__(self, settings: JolokiaSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is asked.

        Args:
            settings: where the agents are.
            clock: monotonic seconds.
        """
        self._settings = settings
        self._clock = clock
        self._client = Client(Requests(settings), clock)
        self._agents: dict[tuple[str, str], str] = {}  # where a node, by address and host id, answered last

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def started_at(self, address: str, host_id: str | None, seconds: float) -> int:
        """When the node's JVM was started, in epoch milliseconds by the node's own clock.

        The gossip generation would not do: it also rises when gossip is switched off and on.

        Raises:
            GoneError: if nothing listens where it is.
            SourceError: if it does not answer in time, or forbids it.
            DataError: if the answer is none, or another node's.
        """
        ends = self._clock() + seconds
        url = self._agent(address, host_id, ends)
        value = self._ask(url, mbeans.read(mbeans.RUNTIME, mbeans.START_TIME), ends).get(mbeans.START_TIME)
        return outcomes.number(value, mbeans.START_TIME)

    def drain(self, address: str, host_id: str | None, seconds: float) -> None:
        """Drain the node: it stops serving, tells its peers so, and flushes. Sent once, and to no other node.

        Raises:
            SourceError: if it refuses or does not answer in time; what it did is then not known.
            DataError: if it fails, or another node would have been drained.
        """
        ends = self._clock() + seconds
        url = self._agent(address, host_id, ends)
        reply = self._client.exec_once(url, mbeans.drain(), ends)
        outcomes.outcome(reply).get(mbeans.DRAIN)

    def client_addresses(self, address: str, seconds: float) -> dict[str, tuple[str, int | None]]:
        """Where each node's clients connect: host, and port from 4.0 on; as one node knows it by gossip.

        Nodes whose addresses can't be read, or stand for every address of a host, are left out.

        Raises:
            SourceError: if it does not answer in time.
            DataError: if the answer is none.
        """
        shared = has_port(address)  # nodes that share an address are told apart by their ports
        name = mbeans.STATES_WITH_PORT if shared else mbeans.STATES
        url = self._settings.url_of(ip_of(address))
        states = self._ask(url, mbeans.read(mbeans.FAILURE_DETECTOR, name), self._clock() + seconds).get(name)
        found: dict[str, tuple[str, int | None]] = {}
        for state in ("RPC_ADDRESS", "NATIVE_ADDRESS_AND_PORT"):
            for node, written in gossip.gossiped(states, state).items():
                with suppress(DataError):
                    found[node] = split(endpoints.endpoint(written))
        return {node: (host, port) for node, (host, port) in found.items() if host not in _ANY}

    def _agent(self, address: str, host_id: str | None, ends: float) -> str:
        """The URL where the node itself answers now: where it did last, or `url` leads, or a contact point.

        Raises:
            GoneError: if nothing listens there.
            SourceError: if its agent can't be asked who it is.
            DataError: if who it is can't be told, or others answer alone.
        """
        if not host_id:
            raise DataError(f"the host id of {address} is not known, so that another node could answer for it")
        usual = self._settings.url_of(ip_of(address))
        contacts = map(self._settings.url_of_contact, self._settings.contact_points)
        failure: DataError | SourceError | None = None
        for url in dict.fromkeys([self._agents.get((address, host_id), usual), usual, *contacts]):
            try:
                self._verify(url, address, host_id, ends)
            except (DataError, SourceError) as error:
                gone = _refused(error) and self._its_own(url, address, host_id)
                failure = failure or (GoneError(str(error), "unreachable") if gone else error)
            else:
                self._agents[address, host_id] = url
                return url
        assert failure is not None  # noqa: S101 - there is one URL at least
        raise failure

    def _its_own(self, url: str, address: str, host_id: str) -> bool:
        """Whether no other listens there: at its address and, where nodes share one, where it has answered before."""
        shared = has_port(address)
        return host_of(url) == ip_of(address) and (not shared or self._agents.get((address, host_id)) == url)

    def _verify(self, url: str, address: str, host_id: str, ends: float) -> None:
        """Whether this node answers there, and no other."""
        name = _HOST_ID
        found = outcomes.text(self._ask(url, mbeans.read(mbeans.STORAGE_SERVICE, name), ends).get(name), name)
        if found != host_id:
            raise DataError(f"{shown(url)} answers for host id {found}, and {address} is {host_id}: see `jolokia: url`")

    def _ask(self, url: str, request: Request, ends: float) -> Outcome:
        return outcomes.outcome(self._client.post(url, request, ends))


def _refused(error: BaseException) -> bool:
    """Whether a connection was refused; what timed out, was reset or is a proxy's answer may be a process still."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ConnectionRefusedError):
        cause = cause.__cause__
    return cause is not None
