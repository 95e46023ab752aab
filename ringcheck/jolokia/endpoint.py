"""One node's Jolokia agent: how it is asked, and what it said last.

Owns the fall-backs from one way of asking to the next; knows nothing of clusters.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from ringcheck.errors import DeniedError, RingcheckError, SourceError
from ringcheck.http.replies import parsed
from ringcheck.jolokia import mbeans, node_report, outcomes
from ringcheck.jolokia.client import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ringcheck.http.replies import Reply
    from ringcheck.jolokia.asking import Asking
    from ringcheck.jolokia.mbeans import Request
    from ringcheck.jolokia.node_report import NodeReport
    from ringcheck.jolokia.outcomes import Outcome

_TIMESTAMP = re.compile(rb'"timestamp":\d+')
_MISSING = {outcomes.FORBIDDEN, outcomes.NOT_FOUND}
_ALWAYS = ("ClusterName", "ReleaseVersion", *mbeans.STATE)


@lru_cache(maxsize=64)
def _liveness(with_port: bool, extra: tuple[str, ...]) -> bytes:  # noqa: FBT001 - which of two names
    """The request of a steady poll: one `read` of few attributes, the same bytes for all nodes alike."""
    request = mbeans.read(mbeans.STORAGE_SERVICE, (*_ALWAYS, *extra, *mbeans.lists_of(with_port)))
    return json.dumps(request, separators=(",", ":")).encode()


class SharedValues:
    """Equal sets and maps that many nodes of a cluster report, each kept once."""

    def __init__(self) -> None:
        self.sets: dict[frozenset[str], frozenset[str]] = {}
        self._maps: dict[frozenset[tuple[str, str]], Mapping[str, str]] = {}

    def map(self, found: Mapping[str, str]) -> Mapping[str, str]:
        """The map, or an equal one that was there before."""
        return self._maps.setdefault(frozenset(found.items()), found)

    def trim(self, most: int) -> None:
        """Forget all if there are more than so many: they come again as they are reported."""
        if len(self.sets) > most:
            self.sets.clear()
        if len(self._maps) > most:
            self._maps.clear()


class JolokiaEndpoint:
    """Asks one URL; not for use by two threads at once."""

    def __init__(self, url: str, asking: Asking, shared: SharedValues) -> None:
        """Prepare; nothing is sent.

        Args:
            url: of the agent.
            asking: sends.
            shared: of the cluster.

        Attributes:
            process: host id and generation, as the node said last; None if it has not answered.
            host_ids: host id by endpoint, as the node said last; None if it was not asked.
            owners: endpoints that own tokens, as it said last; None if it was not asked or can't say.
        """
        self.url = url
        self.process: tuple[str | None, int | None] | None = None
        self.host_ids: Mapping[str, str] | None = None
        self.owners: frozenset[str] | None = None
        self._asking = asking
        self._shared = shared
        self._with_port = False
        self._extra: tuple[str, ...] = mbeans.EXTRA
        self._tells_owners = True
        self._introduced = False
        self._digest = b""
        self._last: NodeReport | None = None

    def expect(self, other: JolokiaEndpoint) -> None:
        """Ask as a node of the same cluster could be asked: most have the same release and access policy."""
        if self._last is None and self.host_ids is None:
            self._with_port = other._with_port
            self._tells_owners = other._tells_owners

    async def introduce(self, deadline: float) -> NodeReport:
        """Everything about the node and the members that it knows, whatever its release.

        Raises:
            SourceError: if it can't be asked or forbids it.
            DataError: if its answer can't be used.
        """
        found = await self.attributes(mbeans.INTRODUCTION, deadline)
        told = node_report.node_report(found, self._shared.sets)
        if told.mode is not None:  # a JVM that has only begun to start has nothing yet: that says nothing of later
            self._extra = tuple(name for name in mbeans.EXTRA if found[name].status not in _MISSING)
            self._with_port = told.with_port
            self._introduced = True
            self._tells_owners = told.owners is not None
        return self._remembered(told)

    def _remembered(self, told: NodeReport) -> NodeReport:
        """A reading; what it says of members is kept for later ones that were not asked for them."""
        self.process = told.host_id, told.generation
        if told.host_ids is not None:
            before, self.host_ids = self.host_ids, self._shared.map(told.host_ids)
            # Who owns tokens may have been learned otherwise, from a node that can't say it so.
            unchanged = before is self.host_ids and not self._tells_owners
            self.owners = self.owners if told.owners is None and unchanged else told.owners
        return told

    async def refresh(self, deadline: float, *, members: bool = False) -> NodeReport:
        """Its state and its view, in one request where nothing has changed in how it can be asked.

        Args:
            deadline: when it must be over.
            members: ask for the members that it knows as well.

        Raises:
            DeniedError: if it refuses not only one of the attributes.
            SourceError: if it can't be asked or forbids it.
            DataError: if its answer can't be used.
        """
        payload = _liveness(self._with_port, (*self._extra, *(self._about_members() if members else ())))
        try:
            told: NodeReport | None = await self._asking.post(self.url, payload, deadline, self._decoded)
        except SourceError:
            self._extra = mbeans.EXTRA  # whoever answers next may be a newer process, under another access policy
            raise
        # One attribute that is missing, denied or throws fails them all: ask for each alone, and learn which.
        return await self.introduce(deadline) if told is None or self._may_tell_ports(told) else told

    def _may_tell_ports(self, told: NodeReport) -> bool:
        """Whether a node was asked without ports that can tell them: in a mixed cluster not all are alike."""
        return not self._with_port and not self._introduced and mbeans.release(told.release) >= mbeans.WITH_PORT

    def _about_members(self) -> tuple[str, ...]:
        if self._with_port:
            names = ("PartitionerName", mbeans.HOST_IDS_WITH_PORT, mbeans.OWNERSHIP_WITH_PORT)
        else:
            names = ("PartitionerName", mbeans.HOST_IDS, mbeans.OWNERSHIP)
        return names if self._tells_owners else names[:-1]

    async def attributes(self, names: Sequence[str], deadline: float) -> dict[str, Outcome]:
        """Attributes of StorageService, each failing alone.

        Raises:
            SourceError: if it can't be asked.
            DataError: if its answer can't be used.
        """
        return dict(zip(names, await self.bulk(mbeans.reads(names), deadline), strict=True))

    async def bulk(self, requests: Sequence[Request], deadline: float) -> list[Outcome]:
        """The outcome of each request, in bounded pieces; one by one where the agent can't answer a piece.

        Raises:
            DeniedError: if it refuses a piece as a whole.
            SourceError: if it can't be asked.
            DataError: if its answer can't be used.
        """
        pieces = [requests[start : start + mbeans.CHUNK] for start in range(0, len(requests), mbeans.CHUNK)]
        return [found for piece in pieces for found in await self._piece(piece, deadline)]

    async def _piece(self, requests: Sequence[Request], deadline: float) -> list[Outcome]:
        try:
            reply = await self._asking.post(self.url, list(requests), deadline)
            found = outcomes.outcomes(reply, len(requests))
        except RefusedError:
            found = None
        return [await self.ask(request, deadline) for request in requests] if found is None else found

    async def ask(self, request: Request, deadline: float) -> Outcome:
        """The outcome of one request.

        Raises:
            SourceError: if it can't be asked.
            DataError: if its answer can't be used.
        """
        try:
            return outcomes.outcome(await self._asking.post(self.url, request, deadline))
        except RefusedError as error:
            return outcomes.Outcome(400, error=str(error))

    async def streams(self, deadline: float) -> int | None:
        """How many streams it sends or receives; None where it can't say, or an older access policy forbids it."""
        try:
            value = (await self.ask(mbeans.streams(), deadline)).get(mbeans.STREAMS)
        except RingcheckError:
            return None
        return len(value) if isinstance(value, list) else None

    async def stream(self, request: Request, deadline: float, decoder: Callable[[Reply], Any]) -> Any:  # noqa: ANN401 - what the decoder makes
        """One request whose reply may be large."""
        return await self._asking.stream(self.url, request, deadline, decoder)

    def _decoded(self, reply: Reply) -> NodeReport | None:
        """A reading; the last one where the answer differs by its timestamp alone; None if not all was answered."""
        body = reply.all()
        digest = blake2b(_TIMESTAMP.sub(b"", body), digest_size=16).digest()
        if digest == self._digest and self._last:
            return self._last
        answer = outcomes.outcome(parsed(body, reply.url))
        if answer.status == outcomes.FORBIDDEN and not self._names_an_attribute(answer.error):
            raise DeniedError(answer.refusal)
        if answer.status != outcomes.OK:
            return None
        values = outcomes.mapping(answer.value, "the answer")
        found = {name: outcomes.Outcome(outcomes.OK, value) for name, value in values.items()}
        told = self._remembered(node_report.node_report(found, self._shared.sets))
        self._digest, self._last = digest, told
        return told

    def _names_an_attribute(self, error: str) -> bool:
        """Whether a refusal may be of one attribute: it names one, or nothing at all."""
        asked = (*_ALWAYS, *self._extra, *mbeans.lists_of(self._with_port), *self._about_members())
        return not error or any(name in error for name in asked)
