"""The requests of one poll: which agents were asked, and what each answered in time.

Owns the waiting; does not interpret reports. An agent that has never answered may not exist, since one node can name
thousands of addresses. So few of these are asked at first, and more as others answer.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from ringcheck.core.endpoint import canonical
from ringcheck.errors import DataError, RingcheckError, SourceError
from ringcheck.jolokia.membership import AgentReport
from ringcheck.jolokia.node_report import NodeReport
from ringcheck.jolokia.proxy import ProxyError, check, place

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence

    from ringcheck.jolokia.asking import Asking, Started
    from ringcheck.jolokia.endpoint import JolokiaEndpoint
    from ringcheck.jolokia.membership import ClusterSession, ContactPoint, ReportOrError

_GRACE = 0.25  # seconds that other contact points have after the first one that knows members
_SHOWN = 3  # errors in one message
MOST_NEVER_ANSWERED = (
    64  # never-answering agents that may be asked without an answer; two more for each that answers now
)


class FanOut:
    """Asks many agents at once, and keeps what each answered."""

    def __init__(self, session: ClusterSession) -> None:
        """Prepare; nothing is asked.

        Args:
            session: sends the requests, and knows which requests of earlier polls still run.

        Attributes:
            answers: report or error by agent. After `gather` every agent that was asked has one.
        """
        self.answers: dict[JolokiaEndpoint, ReportOrError] = {}
        self._session = session
        self._started: dict[JolokiaEndpoint, Started[NodeReport]] = {}
        self._taken: dict[JolokiaEndpoint, Started[NodeReport]] = {}
        self._queue: dict[JolokiaEndpoint, Callable[[], None]] = {}  # agents that never answered, and what asks each
        self._never_answered: list[
            JolokiaEndpoint
        ] = []  # those that were asked, and the contact points of a first poll

    def start(
        self,
        agents: Iterable[JolokiaEndpoint],
        until: float,
        members_of: frozenset[JolokiaEndpoint] = frozenset(),
        *,
        again: bool = False,
    ) -> None:
        """Begin to ask agents.

        Args:
            agents: to ask; those that were asked in this poll already are left out. Those that have never answered are
                queued in this order, and `gather` asks them.
            until: clock time at which the answer must be there.
            members_of: agents that are also asked for the members that they know.
            again: ask also agents that have answered in this poll. If the second answer does not come, the first
                one stays.
        """
        for agent in agents:
            ask = partial(self._refresh, agent, until, members=agent in members_of)
            if again or (agent not in self._started and agent not in self.answers):
                if agent.process is None:
                    self._queue.setdefault(agent, ask)
                else:
                    ask()

    def _refresh(self, agent: JolokiaEndpoint, until: float, *, members: bool) -> None:
        self._submit(agent, agent.refresh(until, members=members), until)

    def _submit(self, agent: JolokiaEndpoint, work: Coroutine[Any, Any, NodeReport], until: float) -> None:
        earlier = self._session.busy.get(agent)
        if earlier and not earlier.done():
            work.close()
            self.answers.setdefault(
                agent, SourceError(f"{place(agent.url)}: an earlier request is still not answered", "unreachable")
            )
        else:
            started = self._session.asking.start(self._in_time(agent, work, until))
            self._session.busy[agent] = self._started[agent] = started

    async def _in_time(self, agent: JolokiaEndpoint, work: Coroutine[Any, Any, NodeReport], until: float) -> NodeReport:
        """Do the work. After the deadline the error has the same text as in `gather`, which may see it first."""
        try:
            return await work
        except SourceError as error:
            if error.kind == "unreachable" and self._session.clock() >= until:
                raise _silent(agent) from error
            raise

    async def gather(self, until: float) -> None:
        """Wait for all answers until a clock time; an agent that has not answered by then gets an error."""
        await self._work_off(until)
        await self._session.asking.wait(self._started.values(), max(0.0, until - self._session.clock()))
        self._take(self._started)
        for agent in self._started:
            if agent not in self.answers:
                self.answers[agent] = _silent(agent)
        for agent in self._queue:
            text = f"{place(agent.url)}: not asked, because too many others that have never answered do not answer now"
            self.answers.setdefault(agent, SourceError(text, "unreachable"))
        self._queue.clear()

    async def _work_off(self, until: float) -> None:
        """Ask the agents of the queue, as long as enough others answer."""
        while self._queue and (left := until - self._session.clock()) > 0:
            self._take(self._started)
            room = self._room()
            for agent in [*islice(self._queue, room)]:
                self._never_answered.append(agent)
                self._queue.pop(agent)()
            asked = [self._started[agent] for agent in self._never_answered if agent in self._started]
            waiting = [started for started in asked if not started.done()]
            if not room and not waiting:
                return
            if self._queue and waiting:
                await self._session.asking.wait(waiting, left, first=True)

    def _room(self) -> int:
        """How many more agents that have never answered may be asked now."""
        heard = sum(isinstance(self.answers.get(agent), NodeReport) for agent in self._never_answered)
        return max(0, MOST_NEVER_ANSWERED + 2 * heard - (len(self._never_answered) - heard))

    def _take(self, agents: Iterable[JolokiaEndpoint]) -> None:
        """Keep the answers that have come in since the last call; an error does not replace a report."""
        for agent in agents:
            started = self._started[agent]
            if started.done() and self._taken.get(agent) is not started:
                self._taken[agent] = started
                answer = _answer(started, agent)
                if isinstance(answer, NodeReport) or agent not in self.answers:
                    self.answers[agent] = answer

    def reports(self) -> Iterator[AgentReport]:
        """The agents that answered with a report, in the order of their answers."""
        for agent, answer in self.answers.items():
            if isinstance(answer, NodeReport):
                yield AgentReport(agent, answer)

    async def check_proxy(self, until: float) -> None:
        """Check that the proxy, if there is one, can ask the nodes.

        Raises:
            ProxyError: if it can't.
        """
        url = self._session.settings.proxy
        if url is None:
            return
        try:
            version = await self._session.asking.post(url, {"type": "version"}, until)
        except SourceError as error:
            raise ProxyError.of(error) from None
        check(version, url)

    async def look_up_names(self, until: float) -> None:
        """Resolve the host names of `nodes` until a clock time; a name that is not resolved by then names no node."""
        session = self._session
        names = session.settings.host_names()
        started = {name: session.asking.start(session.asking.addresses(name)) for name in names}
        await session.asking.wait(started.values(), max(0.0, until - session.clock()))
        for name, work in started.items():
            with suppress(OSError, UnicodeError):
                if work.done():
                    session.named |= dict.fromkeys(map(canonical, work.result()), names[name])

    async def introduce(self, contacts: Iterable[ContactPoint], until: float) -> None:
        """Ask contact points for everything; ends soon after the first one that knows members has answered."""
        for contact in contacts:
            self._never_answered.append(contact.agent)
            self._submit(contact.agent, _introduction(contact, self._session.asking, until), until)
        waiting = list(self._started.values())
        while waiting and (left := until - self._session.clock()) > 0:
            await self._session.asking.wait(waiting, left, first=True)
            done = [started for started in waiting if started.done()]
            waiting = [started for started in waiting if not started.done()]
            self._take(self._started)
            if any(report.host_ids for _, report in self.reports()):
                until = min(until, self._session.clock() + (_GRACE if done else 0.0))

    def silence(self) -> RingcheckError:
        """The error of a poll in which no agent answered; it quotes the first errors."""
        answers = [self.answers.get(agent) for agent in {**self._started, **self.answers}]  # in the order of asking
        errors = [answer for answer in answers if isinstance(answer, RingcheckError)]
        quoted = "; ".join(dict.fromkeys(str(error) for error in errors[:_SHOWN]))
        more = f" and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
        text = f"no node answered: {quoted}{more}"
        if not all(isinstance(error, SourceError) for error in errors):
            return DataError(text)
        return self._silence(text, [error for error in errors if isinstance(error, SourceError)])

    @staticmethod
    def _silence(text: str, errors: Sequence[SourceError]) -> SourceError:
        """One error for all errors, with the kind and the symptom that they share."""
        kinds = {error.kind for error in errors}
        symptoms = list(dict.fromkeys(error.symptom for error in errors if error.symptom))
        kind = ProxyError if errors and all(isinstance(error, ProxyError) for error in errors) else SourceError
        return kind(text, kinds.pop() if len(kinds) == 1 else "error", symptoms[0] if symptoms else "")


def _silent(agent: JolokiaEndpoint) -> SourceError:
    return SourceError(f"{place(agent.url)}: no answer in time", "unreachable", "silent")


async def _introduction(contact: ContactPoint, asking: Asking, until: float) -> NodeReport:
    """Resolve the host name of a contact point, then ask its agent for everything."""
    with suppress(OSError, UnicodeError):
        addresses = await asking.addresses(contact.host)
        contact.ips = frozenset(map(canonical, addresses))
    return await contact.agent.introduce(until)


def _answer(started: Started[NodeReport], agent: JolokiaEndpoint) -> ReportOrError:
    """The report, or ringcheck's own error with the agent's place; any other exception is a bug and is raised."""
    error = started.exception()  # `result` would raise it, and so tie it to this frame, which has `started`
    if isinstance(error, ProxyError):
        return error
    if isinstance(error, SourceError):
        return SourceError(_located(error, agent), error.kind, error.symptom)
    if isinstance(error, DataError):
        return DataError(_located(error, agent))
    return started.result()


def _located(error: RingcheckError, agent: JolokiaEndpoint) -> str:
    where, text = place(agent.url), str(error)
    return text if text.startswith(where) else f"{where}: {text}"
