"""The Jolokia agent of one node: how it must be asked, and what it reported last.

Owns the fall-backs from one kind of request to the next; does not know clusters.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache, partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

from ringcheck.errors import DataError, DeniedError, RingcheckError, SourceError
from ringcheck.http.replies import document, parsed
from ringcheck.jolokia import detector, mbeans, node_report, outcomes, own_settings
from ringcheck.jolokia.client import RefusedError
from ringcheck.jolokia.counters import NAMES, REQUESTS, Counters
from ringcheck.jolokia.own_settings import Logins, Places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ringcheck.http.replies import Reply
    from ringcheck.jolokia.asking import Asking
    from ringcheck.jolokia.mbeans import Request
    from ringcheck.jolokia.node_report import NodeReport
    from ringcheck.jolokia.outcomes import Outcome

T = TypeVar("T")

_TIMESTAMP = re.compile(rb'"timestamp":\d+')
_MISSING = {outcomes.FORBIDDEN, outcomes.NOT_FOUND}
_FEW = 64  # sets and maps that a cluster may keep although no node reports them any more
_ALWAYS = ("ClusterName", "ReleaseVersion", *mbeans.STATE)


_POLLS = 16  # after so many polls a node is asked again whom its failure detector has down, though nothing changed

# What is not reported by StorageService: the request, and the first release that has it.
_BESIDE = {
    mbeans.DOWN_COUNT: (mbeans.read(mbeans.FAILURE_DETECTOR, mbeans.DOWN_COUNT), mbeans.OLDEST),
    mbeans.PAXOS_VARIANT: (mbeans.read(mbeans.STORAGE_PROXY, mbeans.PAXOS_VARIANT), mbeans.WITH_PAXOS_VARIANT),
    mbeans.DESCRIBE_METADATA: (mbeans.metadata(), mbeans.METADATA),
}
_ASKED = {name: request for name, (request, _) in _BESIDE.items()} | dict(own_settings.REQUESTS) | dict(REQUESTS)


def _attributes(with_port: bool, extra: tuple[str, ...]) -> Request:  # noqa: FBT001 - which of two names
    return mbeans.read(mbeans.STORAGE_SERVICE, (*_ALWAYS, *extra, *mbeans.lists_of(with_port)))


@lru_cache(maxsize=64)
def _liveness(with_port: bool, extra: tuple[str, ...], beside: tuple[str, ...]) -> bytes:  # noqa: FBT001 - which of two names
    """The request of a steady poll, encoded once for all nodes that get the same.

    That is one `read` of a few attributes; a bulk request if the node reports more in other MBeans.
    """
    request = _attributes(with_port, extra)
    payload = [request, *(_ASKED[name] for name in beside)] if beside else request
    return json.dumps(payload, separators=(",", ":")).encode()


class SharedValues:
    """Keeps one object for all equal sets or maps that the nodes of a cluster report.

    Attributes:
        counting: whether the present poll reads the nodes' counters of client requests.
    """

    def __init__(self) -> None:
        self.counting = False
        self.sets: dict[frozenset[str], frozenset[str]] = {}
        self._maps: dict[frozenset[tuple[str, object]], Mapping[str, Any]] = {}
        self._most = _FEW

    def map(self, reported: Mapping[str, T]) -> Mapping[str, T]:
        """The map, or an equal one that was reported before."""
        return self._maps.setdefault(frozenset(reported.items()), reported)

    def trim(self, agents: Iterable[JolokiaEndpoint]) -> None:
        """Forget the sets and maps that are not in the last reports of these agents, once there may be many of them."""
        if len(self.sets) + len(self._maps) <= self._most:
            return
        used = {id(value) for agent in agents for value in agent.reported()}
        self.sets = {key: value for key, value in self.sets.items() if id(value) in used}
        self._maps = {key: value for key, value in self._maps.items() if id(value) in used}
        self._most = 2 * (len(self.sets) + len(self._maps)) + _FEW


class JolokiaEndpoint:
    """Asks the agent at one URL. Not for use by two threads at once."""

    def __init__(self, url: str, asking: Asking, shared: SharedValues) -> None:
        """Prepare; nothing is sent.

        Args:
            url: of the agent.
            asking: sends the requests.
            shared: sets and maps of the cluster.

        Attributes:
            process: host id and generation of the node's last report; None if it has not answered.
            host_ids: host id by endpoint of its last report that had them; None if it was not asked.
            owners: endpoints that own tokens, likewise; None if it was not asked or does not report them.
            shares: share of the ring by endpoint, likewise.
            counters: of client requests, as they were when they were last asked for.
            logins: how clients log in to it.
            places: where its present process places nodes.
        """
        self.url = url
        self.process: tuple[str | None, int | None] | None = None
        self.host_ids: Mapping[str, str] | None = None
        self.owners: frozenset[str] | None = None
        self.shares: Mapping[str, float] | None = None
        self.counters = Counters()
        self.logins = Logins()
        self.places = Places()
        self._asking = asking
        self._shared = shared
        self._with_port = False
        self._extra: tuple[str, ...] = mbeans.EXTRA
        self._reports_owners = True
        self._owners_forbidden = False
        self._beside: tuple[str, ...] = ()
        self._introduced_as: str | None = None
        self._digest = b""
        self._last: NodeReport | None = None
        self._explained: tuple[object, int] = (None, 0)
        self._singly = False

    def expect(self, other: JolokiaEndpoint) -> None:
        """Begin with the kind of request that worked for another node: most have the same release.

        If an access policy forbids the other node to report who owns tokens, this node may still allow it.
        """
        if self._last is None and self.host_ids is None:
            self._with_port = other._with_port
            self._beside = other._beside
            self._reports_owners = other._reports_owners or other._owners_forbidden

    async def introduce(self, deadline: float) -> NodeReport:
        """A report with everything about the node and the members that it knows, for a node of any release.

        Raises:
            SourceError: if it can't be asked or forbids it.
            DataError: if its answer can't be used.
        """
        requests = [*mbeans.reads(mbeans.INTRODUCTION), *(request for request, _ in _BESIDE.values())]
        counters = self._counters()
        requests += [_ASKED[name] for name in (*own_settings.REQUESTS, *counters)]
        names = (*mbeans.INTRODUCTION, *_BESIDE, *own_settings.REQUESTS, *counters)
        answers = dict(zip(names, await self.bulk(requests, deadline), strict=True))
        report = node_report.node_report(answers, self._shared.sets)
        if report.mode is not None:  # a JVM that has only begun to start has no attributes yet, but will have them
            self._extra = tuple(name for name in mbeans.EXTRA if answers[name].status not in _MISSING)
            self._with_port = report.with_port
            self._beside = tuple(name for name in _BESIDE if answers[name].status in {outcomes.OK, outcomes.THROWN})
            self._introduced_as = report.release
            self._reports_owners = report.owners is not None
            owning = (mbeans.OWNERSHIP, mbeans.OWNERSHIP_WITH_PORT)
            self._owners_forbidden = any(answers[name].status == outcomes.FORBIDDEN for name in owning)
            if counters:
                self.counters.take(answers)
        self._remembered(report)
        self.logins.take(answers, report)
        return await self._checked(report, deadline)

    async def _checked(self, report: NodeReport, deadline: float) -> NodeReport:
        """The report; if its failure detector may have live nodes down, they are unreachable in it.

        Whom the detector has down is asked again only after a change, if the answer was that all of them are known.
        """
        if not detector.differs(report):
            return report
        lists, polls = (report.down, report.live, report.unreachable), self._explained[1] + 1
        if self._explained[0] == lists and polls < _POLLS:
            self._explained = lists, polls
            return report
        answer = await self.ask(detector.states(report), deadline)
        if answer.status in _MISSING:  # as with an access policy that allows only the number
            told = report
        else:
            told = detector.corrected(report, answer.get(mbeans.SIMPLE_STATES), self._shared.sets)
        self._explained = (lists, 0) if told is report else (None, 0)
        return told

    def _counters(self) -> tuple[str, ...]:
        """The counters to ask for in this poll; the last answer is forgotten."""
        if not self._shared.counting:
            return ()
        self.counters.begin()
        return self.counters.names

    def _remembered(self, report: NodeReport) -> NodeReport:
        """The report as it is; its host ids and owners are kept for later reports without them."""
        process = report.host_id, report.generation
        if process != self.process:
            self._explained, self._singly = (None, 0), False
            self.counters.names = NAMES  # another release may have more
            self.logins.renew()
            self.places = Places()
        self.process = process
        if report.host_ids is not None:
            before, self.host_ids = self.host_ids, self._shared.map(report.host_ids)
            # A node that does not report owners may have been read as a source of the ring, which shows them too.
            unchanged = before is self.host_ids and not self._reports_owners
            self.owners = self.owners if report.owners is None and unchanged else report.owners
            self.shares = None if report.shares is None else self._shared.map(report.shares)
        return report

    def reported(self) -> Iterator[object]:
        """The sets and maps of its last report, some of which may be None."""
        yield from (self.host_ids, self.owners, self.shares)
        if self._last:
            yield from (self._last.live, self._last.unreachable)
            yield from (self._last.joining, self._last.leaving, self._last.moving)

    def forget_members(self) -> None:
        """Forget what it reported of the members in an earlier poll: it may be out of date."""
        self.host_ids = self.owners = self.shares = None

    async def refresh(self, deadline: float, *, members: bool = False) -> NodeReport:
        """A report of the node's state and view: one request, as long as the same request works.

        An agent, or a proxy before it, that does not answer several requests at once is asked one by one.

        Args:
            deadline: clock time at which it must be over.
            members: also ask for the members that it knows.

        Raises:
            DeniedError: if it refuses the whole request, not only an attribute.
            SourceError: if it can't be asked or forbids it.
            DataError: if its answer can't be used.
        """
        names = (*self._extra, *(self._about_members() if members else ()))
        self.logins.count()
        logins = self.logins.due if members else self.logins.urgent
        more = (*(own_settings.REQUESTS if logins else ()), *self._counters())
        try:
            report = await self._steady(names, more, deadline)
        except RefusedError:
            if not self._beside and not more:
                raise
            report, self._singly = None, True
        except SourceError:
            # The next answer may come from a newer process with another access policy.
            self._extra, self._introduced_as = mbeans.EXTRA, None
            raise
        # One attribute that is missing, denied or throws fails the whole request. Single requests show which one it is.
        if report is None or self._may_report_more(report):
            return await self.introduce(deadline)
        restarted = not logins and self.logins.urgent and report.native_transport_running
        return await (self.introduce(deadline) if restarted else self._checked(report, deadline))

    async def _steady(self, names: tuple[str, ...], more: tuple[str, ...], deadline: float) -> NodeReport | None:
        """The report of a steady poll, with what is asked now and then; None if an attribute failed."""
        if self._singly:
            attributes = await self.ask(_attributes(self._with_port, names), deadline)
            beside = {name: await self.ask(_ASKED[name], deadline) for name in (*self._beside, *more)}
            self._digest, self._last = b"", self._taken(attributes, beside, more)
            return self._last
        payload = _liveness(self._with_port, names, (*self._beside, *more))
        decode = partial(self._extended, more) if more else self._decoded
        report: NodeReport | None = await self._asking.post(self.url, payload, deadline, decode)
        return report

    def _may_report_more(self, report: NodeReport) -> bool:
        """Whether a node was asked as one of an older release, as can happen in a mixed cluster."""
        if report.release == self._introduced_as:
            return False
        release = mbeans.release(report.release)
        unasked = [since for name, (_, since) in _BESIDE.items() if name not in self._beside]
        return any(release >= since for since in [*unasked, *([] if self._with_port else [mbeans.WITH_PORT])])

    def _about_members(self) -> tuple[str, ...]:
        if self._with_port:
            names = ("PartitionerName", mbeans.HOST_IDS_WITH_PORT, mbeans.OWNERSHIP_WITH_PORT)
        else:
            names = ("PartitionerName", mbeans.HOST_IDS, mbeans.OWNERSHIP)
        return names if self._reports_owners else names[:-1]

    async def attributes(self, names: Sequence[str], deadline: float) -> dict[str, Outcome]:
        """Outcome by attribute of StorageService; one that fails does not affect the others.

        Raises:
            SourceError: if it can't be asked.
            DataError: if its answer can't be used.
        """
        return dict(zip(names, await self.bulk(mbeans.reads(names), deadline), strict=True))

    async def bulk(self, requests: Sequence[Request], deadline: float, *, values: int | None = None) -> list[Outcome]:
        """The outcome of each request, sent in pieces of limited size; singly if the agent can't answer a piece.

        Args:
            requests: any number.
            deadline: clock time at which all must be answered.
            values: how many values a reply may have if it may be large; None for small replies.

        Raises:
            DeniedError: if it refuses a whole piece.
            SourceError: if it can't be asked.
            DataError: if its answer can't be used.
        """
        pieces = [requests[start : start + mbeans.CHUNK] for start in range(0, len(requests), mbeans.CHUNK)]
        return [outcome for piece in pieces for outcome in await self._piece(piece, deadline, values)]

    async def _piece(self, requests: Sequence[Request], deadline: float, values: int | None) -> list[Outcome]:
        try:
            answers = outcomes.outcomes(await self._sent(list(requests), deadline, values), len(requests))
        except RefusedError:
            answers = None
        return [await self.ask(request, deadline, values) for request in requests] if answers is None else answers

    async def _sent(self, payload: object, deadline: float, values: int | None) -> Any:  # noqa: ANN401 - decoded JSON
        if values is None:
            return await self._asking.post(self.url, payload, deadline)
        return await self._asking.stream(self.url, payload, deadline, partial(document, values=values))

    async def ask(self, request: Request, deadline: float, values: int | None = None) -> Outcome:
        """The outcome of one request; `values` as for `bulk`.

        Raises:
            SourceError: if it can't be asked.
            DataError: if its answer can't be used.
        """
        try:
            return outcomes.outcome(await self._sent(request, deadline, values))
        except RefusedError as error:
            return outcomes.Outcome(status=400, error=str(error))

    async def locate(self, targets: Mapping[str, str], report: NodeReport, deadline: float) -> None:
        """Ask where it places nodes, and how clients log in if that is due; only if it is settled.

        What it does not answer is not known.

        Args:
            targets: the text by which it finds a node, by host id.
            report: its last one.
            deadline: clock time at which it must be over.
        """
        logins = own_settings.REQUESTS if self.logins.due else {}
        requests = [*mbeans.locations(targets.values()), *logins.values()]
        try:
            answers = await self.bulk(requests, deadline)
        except DeniedError as error:
            answers = [outcomes.Outcome(status=outcomes.FORBIDDEN, error=str(error))] * len(requests)
        except (SourceError, DataError):
            return
        self.places.take(targets, answers[: 2 * len(targets)])
        if logins:
            self.logins.take(dict(zip(logins, answers[2 * len(targets) :], strict=True)), report)

    async def streams(self, deadline: float) -> int | RingcheckError:
        """Number of streams that it sends or receives, counted up to a few; the error if it can't be read."""
        try:
            value = (await self.ask(mbeans.streams(), deadline)).get(mbeans.STREAMS)
        except RingcheckError as error:
            return error
        return len(value) if isinstance(value, list) else DataError(f"{mbeans.STREAMS} is not a list")

    async def stream(self, request: Request, deadline: float, decoder: Callable[[Reply], Any]) -> Any:  # noqa: ANN401 - what the decoder makes
        """The result of a decoder for one request whose reply may be large.

        Raises:
            SourceError: if it can't be asked.
            DataError: if its answer can't be used.
        """
        return await self._asking.stream(self.url, request, deadline, decoder)

    def _decoded(self, reply: Reply) -> NodeReport | None:
        """The report of a reply, the same object if only the timestamp has changed; None if an attribute failed."""
        body = reply.all()
        digest = blake2b(_TIMESTAMP.sub(b"", body), digest_size=16).digest()
        if digest == self._digest and self._last:
            return self._last
        report = self._made(*_answers(parsed(body, reply.url), self._beside))
        if report is not None:
            self._digest, self._last = digest, report
        return report

    def _extended(self, more: tuple[str, ...], reply: Reply) -> NodeReport | None:
        """As `_decoded`, for a reply with settings or counters, unlike the replies before and after it."""
        return self._taken(*_answers(parsed(reply.all(), reply.url), (*self._beside, *more)), more)

    def _taken(self, answer: Outcome, beside: Mapping[str, Outcome], more: tuple[str, ...]) -> NodeReport | None:
        """The report of these outcomes, the last one if it is equal; None if an attribute failed."""
        report = self._made(answer, {name: beside[name] for name in self._beside if name in beside})
        if report is None or not beside:
            return report
        counters = {name: beside[name] for name in more if name in REQUESTS}
        if counters:
            self.counters.take(counters)
        if len(counters) < len(more):
            self.logins.take(beside, report)
        return self._last if report == self._last else report

    def _made(self, answer: Outcome, beside: Mapping[str, Outcome]) -> NodeReport | None:
        if answer.status == outcomes.FORBIDDEN and not self._names_an_attribute(answer.error):
            raise DeniedError(answer.refusal)
        if answer.status != outcomes.OK:
            return None
        values = outcomes.mapping(answer.value, "the answer")
        answers = {name: outcomes.Outcome(status=outcomes.OK, value=value) for name, value in values.items()}
        return self._remembered(node_report.node_report({**answers, **beside}, self._shared.sets))

    def _names_an_attribute(self, error: str) -> bool:
        """Whether a refusal may concern a single attribute: it names an attribute, or has no text."""
        asked = (*_ALWAYS, *self._extra, *mbeans.lists_of(self._with_port), *self._about_members())
        return not error or any(name in error for name in asked)


def _answers(reply: object, beside: tuple[str, ...]) -> tuple[Outcome, dict[str, Outcome]]:
    """The outcome of the attributes in the reply of a steady poll, and by name the outcomes of the other requests.

    Raises:
        DataError: if it is not a reply of Jolokia.
    """
    if not isinstance(reply, list):
        return outcomes.outcome(reply), {}
    attributes, *others = outcomes.outcomes(reply, 1 + len(beside)) or [outcomes.outcome(reply)] * (1 + len(beside))
    return attributes, dict(zip(beside, others, strict=True))
