"""What a rolling restart asks single nodes for: start time, clients' addresses, clients' errors, and a drain.

Polls never use this: `drain` is the only thing that ringcheck does to a node. Every agent is first asked for its host
id, because nodes can share an address and a URL can lead to another node than expected.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from socket import SOCK_STREAM, getaddrinfo
from typing import TYPE_CHECKING

from ringcheck.core.endpoint import canonical, ip_of
from ringcheck.errors import DataError, GoneError, SourceError
from ringcheck.jolokia import client_errors, endpoints, gossip, mbeans, outcomes
from ringcheck.jolokia.client import Client, Requests
from ringcheck.jolokia.proxy import RefusedByNodeError, place
from ringcheck.jolokia.settings import host_of, is_jmx, jmx_end

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ringcheck.core.client_errors import ClientCounters
    from ringcheck.jolokia.mbeans import Request
    from ringcheck.jolokia.outcomes import Outcome
    from ringcheck.jolokia.settings import JolokiaSettings

_HOST_ID = "LocalHostId"
_ANY = {"0.0.0.0", "::"}  # noqa: S104 - not the address of a node


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
        self._agents: dict[tuple[str, str], str] = {}  # where a node answered last, by address and host id
        self._guard = threading.Lock()
        self._by_name: dict[str, str] | None = None

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def started_at(self, address: str, host_id: str | None, seconds: float) -> int:
        """When the node's JVM was started, in epoch milliseconds by the node's own clock.

        The gossip generation is not a substitute: it also rises when gossip is switched off and on.

        Raises:
            GoneError: if nothing listens at the node's address.
            SourceError: if it does not answer in time, or forbids it.
            DataError: if the answer can't be used, or another node gave it.
        """
        ends = self._clock() + seconds
        url = self._agent(address, host_id, ends)
        value = self._ask(url, mbeans.read(mbeans.RUNTIME, mbeans.START_TIME), ends).get(mbeans.START_TIME)
        return outcomes.number(value, mbeans.START_TIME)

    def drain(self, address: str, host_id: str | None, seconds: float) -> None:
        """Drain the node: it stops serving clients, announces that to its peers, and flushes.

        The request is sent once, after the agent has answered with the node's host id.

        Raises:
            SourceError: if it refuses or does not answer in time; it is then not known what it has done.
            DataError: if draining fails, or the agent is another node's.
        """
        ends = self._clock() + seconds
        url = self._agent(address, host_id, ends)
        reply = self._client.exec_once(url, mbeans.drain(), ends)
        outcomes.outcome(reply).get(mbeans.DRAIN)

    def client_addresses(self, address: str, seconds: float) -> dict[str, tuple[str, int | None]]:
        """Where the clients of each node connect, by endpoint: host, and port from 4.0 on, as one node knows by gossip.

        A node is left out if its address can't be read or is a wildcard.

        Raises:
            SourceError: if the node does not answer in time.
            DataError: if the answer can't be used.
        """
        shared = ip_of(address) != address  # nodes that share an address differ by their ports
        name = mbeans.STATES_WITH_PORT if shared else mbeans.STATES
        answered = (url for (at, _), url in self._agents.items() if at == address)
        url = next(answered, None) or self._usual(address, None)
        reply = self._client.stream(url, mbeans.read(mbeans.FAILURE_DETECTOR, name), self._clock() + seconds)
        states = outcomes.outcome(reply).get(name)
        addresses: dict[str, tuple[str, int | None]] = {}
        for state in ("RPC_ADDRESS", "NATIVE_ADDRESS_AND_PORT"):
            for node, written in gossip.gossiped(states, state).items():
                with suppress(DataError):
                    addresses[node] = _split(written)
        return {node: (host, port) for node, (host, port) in addresses.items() if host not in _ANY}

    def client_counters(self, address: str, host_id: str | None, seconds: float) -> ClientCounters:
        """What the node has counted of its clients' requests since its process started.

        Raises:
            SourceError: if it does not answer in time, or forbids it.
            DataError: if the answer can't be used, or another node gave it.
        """
        ends = self._clock() + seconds
        url = self._agent(address, host_id, ends)
        requests = client_errors.requests()
        answers = outcomes.outcomes(self._client.post(url, requests, ends), len(requests))
        return client_errors.counters(answers or [self._ask(url, request, ends) for request in requests])

    def _agent(self, address: str, host_id: str | None, ends: float) -> str:
        """The URL at which the node itself answers now: the last one, the configured `url`, or a contact point.

        Raises:
            GoneError: if nothing listens at the node's address.
            SourceError: if no agent can be asked for its host id.
            DataError: if the host id is not known, or only other nodes answer.
        """
        if not host_id:
            raise DataError(f"the host id of {address} is not known: another node could answer for it")
        usual = self._usual(address, host_id)
        contacts = map(self._settings.url_of_contact, self._settings.contact_points)
        failure: DataError | SourceError | None = None
        for url in dict.fromkeys([self._agents.get((address, host_id), usual), usual, *contacts]):
            try:
                self._verify(url, address, host_id, ends)
            except (DataError, SourceError) as error:
                gone = _refused(error, url) and self._is_its_own(url, address, host_id)
                failure = failure or (GoneError(str(error), "unreachable") if gone else error)
            else:
                self._agents[address, host_id] = url
                return url
        assert failure is not None  # noqa: S101 - there is one URL at least
        raise failure

    def _usual(self, address: str, host_id: str | None) -> str:
        """The location of a node by `nodes`, or else by the template."""
        settings, ip = self._settings, ip_of(address)
        return settings.listed(address, host_id) or self._named().get(ip) or settings.url_of(ip)

    def _named(self) -> Mapping[str, str]:
        """The locations that `nodes` has for host names, by the addresses of these names at the first call."""
        with self._guard:
            if self._by_name is None:
                self._by_name = {}
                for name, location in self._settings.host_names().items():
                    with suppress(OSError, UnicodeError, ValueError):
                        ips = [canonical(str(entry[4][0])) for entry in getaddrinfo(name, None, type=SOCK_STREAM)]
                        self._by_name |= dict.fromkeys(ips, location)
            return self._by_name

    def _is_its_own(self, url: str, address: str, host_id: str) -> bool:
        """Whether only this node can listen at a URL.

        The host of the URL must be the node's address; if nodes share the address, the node must have answered there.
        """
        shared = ip_of(address) != address
        return host_of(url) == ip_of(address) and (not shared or self._agents.get((address, host_id)) == url)

    def _verify(self, url: str, address: str, host_id: str, ends: float) -> None:
        """Check that the agent at a URL is this node's.

        Raises:
            SourceError: if it can't be asked.
            DataError: if it is another node's.
        """
        name = _HOST_ID
        answered = outcomes.text(self._ask(url, mbeans.read(mbeans.STORAGE_SERVICE, name), ends).get(name), name)
        if answered != host_id:
            key = "jmx" if is_jmx(url) else "url"
            text = f"{place(url)} answers for host id {answered}, but {address} has {host_id}"
            raise DataError(f"{text}: see `jolokia: {key}` and `nodes`")

    def _ask(self, url: str, request: Request, ends: float) -> Outcome:
        reply = self._client.post(url, request, ends)
        try:
            return outcomes.outcome(reply)
        except RefusedByNodeError as error:
            raise RefusedByNodeError(error.host, f"{place(url)}: {error}") from None
        except SourceError as error:
            raise SourceError(f"{place(url)}: {error}", error.kind, error.symptom) from error


def _refused(error: BaseException, url: str) -> bool:
    """Whether a node refused a connection. After a timeout, a reset or a proxy's answer its process may still run.

    With a Jolokia proxy, only the proxy's report counts: a connection that is refused to us is one to the proxy.
    """
    if is_jmx(url):
        return isinstance(error, RefusedByNodeError) and error.host == jmx_end(url)[0]
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ConnectionRefusedError):
        cause = cause.__cause__
    return cause is not None


def _split(text: str) -> tuple[str, int | None]:
    """Host and port of `10.0.0.1:9042` or `[::1]:9042`."""
    endpoint = endpoints.endpoint(text)
    port = endpoint.rpartition(":")[2]
    return ip_of(endpoint), int(port) if ip_of(endpoint) != endpoint else None
