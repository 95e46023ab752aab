"""The last step of `doctor`: whether the Jolokia agents of a node's peers can be asked from this host."""

from __future__ import annotations

import time
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ringcheck.core.endpoint import ip_of
from ringcheck.core.words import counted, listed
from ringcheck.errors import DataError, SourceError
from ringcheck.http.threads import WorkerThreads
from ringcheck.http.urls import address_of
from ringcheck.jolokia import gossip, mbeans, outcomes
from ringcheck.jolokia.endpoints import endpoint, endpoints, host_ids
from ringcheck.jolokia.reaching import StepError
from ringcheck.jolokia.settings import is_jmx, jmx_end

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringcheck.jolokia.client import Client
    from ringcheck.jolokia.permissions import Permissions
    from ringcheck.jolokia.settings import JolokiaSettings

_PATIENCE = 3.0  # seconds for each agent
_OTHER_ADDRESSES = ("RPC_ADDRESS", "NATIVE_ADDRESS_AND_PORT", "INTERNAL_IP")
_FIXES = {
    "refused": "start the agent on each, bound to the address by which the nodes know it (host= of -javaagent)",
    "silent": "let {asker} connect to port {port} of every node: a firewall drops the packets, or the agents hang",
    "other": "set `jolokia: {{url: ...}}` so that it leads to each node's own agent; {url} is built for {peer}",
    "error": "ask that host: ringcheck doctor -u {url}",
    "elsewhere": "bind the agents to the addresses of gossip (host={peer} in -javaagent)",
}


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why a peer's agent can't be asked: a key of `_FIXES`, and one line."""

    kind: str
    text: str


class Peers:
    """Asks every live peer of one node for its host id."""

    def __init__(self, client: Client, settings: JolokiaSettings, node: Permissions, ends: float) -> None:
        """Prepare; nothing is sent.

        Args:
            client: sends the requests.
            settings: where the agents are.
            node: asks the node itself.
            ends: monotonic time at which all of it must be over.
        """
        self._client = client
        self._settings = settings
        self._node = node
        self._ends = ends

    def reach(self) -> str:
        """How many peers answer.

        Raises:
            StepError: if a peer does not answer, or if peers are not asked.
            SourceError, DataError: if the node's own lists can't be read.
        """
        if self._settings.views != "all":
            raise StepError("with `views: contact_points` peers are not asked", status="skipped")
        ids, live = self._known()
        peers = {peer: ids[peer] for peer in sorted(live) if peer in ids and ids[peer] != self._node.host_id}
        if not peers:
            return "the node sees no other node up"
        troubles = {peer: trouble for peer, trouble in self._asked(peers).items() if trouble}
        if troubles:
            raise self._fault(troubles, len(peers), ids)
        return f"{counted(len(peers), 'peer')} that the node sees up {'answers' if len(peers) == 1 else 'answer'} here"

    def _known(self) -> tuple[Mapping[str, str], frozenset[str]]:
        """Host ids by endpoint, and the live endpoints, as the node has them."""
        with_port = self._node.release >= mbeans.WITH_PORT
        ids_name = mbeans.HOST_IDS_WITH_PORT if with_port else mbeans.HOST_IDS
        live_name = mbeans.lists_of(with_port)[0]
        ids, live = (self._node.ask(mbeans.read(mbeans.STORAGE_SERVICE, name)) for name in (ids_name, live_name))
        if outcomes.FORBIDDEN in {ids.status, live.status}:
            raise StepError("the access policy denies the lists of nodes: see `check`", status="skipped")
        return host_ids(ids.get(ids_name), ids_name), endpoints(live.get(live_name), live_name)

    def _asked(self, peers: Mapping[str, str]) -> Mapping[str, _Trouble | None]:
        """The trouble with each peer, None for one that answers."""
        workers = WorkerThreads()
        asked = {
            peer: workers.submit(partial(self._trouble, self._location(peer, host_id), host_id))
            for peer, host_id in peers.items()
        }
        wait(asked.values(), max(0.0, self._ends - time.monotonic()))
        workers.close()
        late = _Trouble("silent", "not asked in time")
        return {peer: future.result() if future.done() else late for peer, future in asked.items()}

    def _location(self, peer: str, host_id: str) -> str:
        return self._settings.listed(peer, host_id) or self._settings.url_of(ip_of(peer))

    def _trouble(self, url: str, host_id: str) -> _Trouble | None:
        """Why the agent at a URL is not that of the node with a host id; None if it is."""
        request = mbeans.read(mbeans.STORAGE_SERVICE, "LocalHostId")
        try:
            ends = min(self._ends, time.monotonic() + _PATIENCE)
            answered = outcomes.outcome(self._client.post(url, request, ends)).get("LocalHostId")
        except SourceError as error:
            return _Trouble(_kind(error), str(error))
        except DataError as error:
            return _Trouble("error", f"{url}: {error}")
        return None if answered == host_id else _Trouble("other", f"{url} answers for another node")

    def _fault(self, troubles: Mapping[str, _Trouble], count: int, ids: Mapping[str, str]) -> StepError:
        """The fault, by what is wrong with the first peer that can't be asked."""
        peer, trouble = next(iter(troubles.items()))
        addresses = list(dict.fromkeys(map(ip_of, troubles)))  # the port of an endpoint is not that of its agent
        text = f"{len(troubles)} of {counted(count, 'peer')} can't be asked from here ({listed(addresses)})"
        kind, found = trouble.kind, trouble.text
        if kind in {"refused", "silent"} and (elsewhere := self._elsewhere(peer, ids[peer])):
            kind, found = "elsewhere", f"the agent of {ip_of(peer)} listens on {elsewhere}"
        url = self._location(peer, ids[peer])
        asker, port = ("the proxy", jmx_end(url)[1]) if is_jmx(url) else ("this host", address_of(url).port)
        return StepError(f"{text}: {found}", _FIXES[kind].format(url=url, peer=ip_of(peer), asker=asker, port=port))

    def _elsewhere(self, peer: str, host_id: str) -> str | None:
        """Another address of a peer, known by gossip, at which its agent answers; None if there is none."""
        name = mbeans.STATES_WITH_PORT if self._node.release >= mbeans.WITH_PORT else mbeans.STATES
        value = self._node.ask(mbeans.read(mbeans.FAILURE_DETECTOR, name)).value
        for state in _OTHER_ADDRESSES:
            with suppress(DataError):
                other = ip_of(endpoint(gossip.gossiped(value, state).get(peer)))
                if other != ip_of(peer) and self._trouble(self._settings.url_of(other), host_id) is None:
                    return other
        return None


def _kind(error: SourceError) -> str:
    """What kind of trouble an error is."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return "refused"
        if isinstance(cause, TimeoutError):
            return "silent"
        cause = cause.__cause__
    return "silent" if error.kind == "unreachable" else "error"
