"""One round of questions: who was asked in a poll, and what came back in time.

Owns the waiting; knows nothing of what answers mean.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ringcheck.core.endpoint import canonical
from ringcheck.errors import DataError, RingcheckError, SourceError
from ringcheck.http.urls import shown
from ringcheck.jolokia.node_report import NodeReport

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator

    from ringcheck.jolokia.asking import Asking, Started
    from ringcheck.jolokia.endpoint import JolokiaEndpoint
    from ringcheck.jolokia.membership import Answer, Contact, Home

_GRACE = 0.25  # seconds that other contact points have after the first that knows members
_SHOWN = 3  # errors in one message


class Round:
    """Asks agents once each, in threads; whoever is silent at the end has an error for an answer."""

    def __init__(self, home: Home) -> None:
        """Prepare.

        Args:
            home: where the threads are, and who still owes an answer to an earlier round.
        """
        self.answers: dict[JolokiaEndpoint, Answer] = {}
        self._home = home
        self._started: dict[JolokiaEndpoint, Started[NodeReport]] = {}
        self._taken: dict[JolokiaEndpoint, Started[NodeReport]] = {}

    def start(
        self,
        agents: Iterable[JolokiaEndpoint],
        until: float,
        members_of: frozenset[JolokiaEndpoint] = frozenset(),
        *,
        again: bool = False,
    ) -> None:
        """Ask agents, each in a thread.

        Args:
            agents: to be asked; those that were asked in this poll already are left out.
            until: clock time at which it must be over.
            members_of: those that are also asked for the members that they know.
            again: ask also those that have answered in this poll; an answer that does not come leaves the first one.
        """
        for agent in agents:
            if again or (agent not in self._started and agent not in self.answers):
                self._submit(agent, agent.refresh(until, members=agent in members_of), until)

    def _submit(self, agent: JolokiaEndpoint, work: Coroutine[Any, Any, NodeReport], until: float) -> None:
        earlier = self._home.busy.get(agent)
        if earlier and not earlier.done():
            work.close()
            self.answers.setdefault(
                agent, SourceError(f"{shown(agent.url)}: an earlier request is still not answered", "unreachable")
            )
        else:
            self._home.busy[agent] = self._started[agent] = self._home.asking.start(self._in_time(agent, work, until))

    async def _in_time(self, agent: JolokiaEndpoint, work: Coroutine[Any, Any, NodeReport], until: float) -> NodeReport:
        """Do it; whose time is over has one reason, whether the thread or the one who waits for it sees it first."""
        try:
            return await work
        except SourceError as error:
            if error.kind == "unreachable" and self._home.clock() >= until:
                raise _silent(agent) from error
            raise

    async def gather(self, until: float) -> None:
        """Take what comes in before a time; whoever has not answered then is silent."""
        await self._home.asking.wait(self._started.values(), max(0.0, until - self._home.clock()))
        self._take(self._started)
        for agent in self._started:
            self.answers.setdefault(agent, _silent(agent))

    def _take(self, agents: Iterable[JolokiaEndpoint]) -> None:
        """Note what is there."""
        for agent in agents:
            future = self._started[agent]
            if future.done() and self._taken.get(agent) is not future:
                self._taken[agent] = future
                answer = _answer(future, agent)
                if isinstance(answer, NodeReport) or agent not in self.answers:
                    self.answers[agent] = answer

    def readings(self) -> Iterator[tuple[JolokiaEndpoint, NodeReport]]:
        """Who answered, and what."""
        for agent, answer in self.answers.items():
            if isinstance(answer, NodeReport):
                yield agent, answer

    async def meet(self, contacts: Iterable[Contact], until: float) -> None:
        """Let contact points introduce themselves, until one has told members and the others had a moment too."""
        for contact in contacts:
            self._submit(contact.agent, _meet(contact, self._home.asking, until), until)
        waiting = list(self._started.values())
        while waiting and (left := until - self._home.clock()) > 0:
            await self._home.asking.wait(waiting, left, first=True)
            done = [work for work in waiting if work.done()]
            waiting = [work for work in waiting if not work.done()]
            self._take(self._started)
            if any(told.host_ids for _, told in self.readings()):
                until = min(until, self._home.clock() + (_GRACE if done else 0.0))

    def silence(self) -> RingcheckError:
        """Why there is nothing to say."""
        answers = [self.answers.get(agent) for agent in {**self._started, **self.answers}]  # in the order of asking
        errors = [answer for answer in answers if isinstance(answer, RingcheckError)]
        told = "; ".join(dict.fromkeys(str(error) for error in errors[:_SHOWN]))
        text = f"nobody answered: {told}{f' and {len(errors) - _SHOWN} more' if len(errors) > _SHOWN else ''}"
        broken = [error for error in errors if not isinstance(error, SourceError)]
        if broken:
            return DataError(text)
        kinds = {error.kind for error in errors if isinstance(error, SourceError)}
        return SourceError(text, kinds.pop() if len(kinds) == 1 else "error")


def _silent(agent: JolokiaEndpoint) -> SourceError:
    return SourceError(f"{shown(agent.url)}: no answer in time", "unreachable")


async def _meet(contact: Contact, asking: Asking, until: float) -> NodeReport:
    """Look up a contact point, then let it introduce itself."""
    with suppress(OSError, UnicodeError):
        found = await asking.addresses(contact.host)
        contact.ips = frozenset(map(canonical, found))
    return await contact.agent.introduce(until)


def _answer(future: Started[NodeReport], agent: JolokiaEndpoint) -> Answer:
    """What a thread brought back; anything but ringcheck's own errors is a bug and is raised."""
    try:
        return future.result()
    except SourceError as error:
        return SourceError(_located(error, agent), error.kind)
    except DataError as error:
        return DataError(_located(error, agent))


def _located(error: RingcheckError, agent: JolokiaEndpoint) -> str:
    where, text = shown(agent.url), str(error)
    return text if text.startswith(where) else f"{where}: {text}"
