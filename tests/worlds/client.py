"""Replaces ringcheck's client: asks the agents of a world without a network.

It owns which agent answers at a URL, and how a request to it ends.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ringcheck.core.source import RequestCounts
from ringcheck.errors import SourceError
from ringcheck.http.replies import Reply, document
from tests.worlds.jolokia import Answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from ringcheck.jolokia.settings import JolokiaSettings
    from tests.worlds.cluster import Node
    from tests.worlds.world import World


REFUSALS = {
    "silent": ("no answer in time", "unreachable"),
    "late": ("an earlier request is still not answered", "unreachable"),
    "refuses": ("HTTP 403: forbidden", "denied"),
    "broken": ("answered HTML instead of JSON", "error"),
}


class InProcess:
    """Replaces `ringcheck.jolokia.client.Client`: asks the agents of a world.

    Attributes:
        asked: how many requests each node got.
    """

    def __init__(
        self,
        world: World,
        settings: JolokiaSettings,
        order: Callable[[int], Random | None] = lambda _: None,
        pause: Callable[[int], None] | None = None,
    ) -> None:
        """Prepare.

        Args:
            world: whose agents answer; may be changed between polls.
            settings: kept for callers that read them.
            order: random generators by the number of a node; they shuffle what has no order in its answers.
            pause: called with the number of a node before it answers.
        """
        self.settings = settings
        self.counts = RequestCounts()
        self.asked: Counter[int] = Counter()
        self.world = world
        self._order = order
        self._pause = pause
        self._answers: dict[tuple[int, int], Answers] = {}

    def post(self, url: str, payload: object, deadline: float, decode: Callable[[Reply], Any] = document) -> Any:
        """Ask an agent.

        Raises:
            SourceError: if no agent is there, or it does not answer.
        """
        del deadline
        parts = urlsplit(url)
        world, node = self._who(parts.hostname or "", parts.port or 0)
        if node is None or not node.running:
            raise SourceError(f"{url}: connection refused", "unreachable")
        if node.agent != "answers":
            raise SourceError(f"{url}: {REFUSALS[node.agent][0]}", REFUSALS[node.agent][1])
        if self._pause:
            self._pause(node.number)
        asked = json.loads(payload) if isinstance(payload, (bytes, str)) else payload
        answer = self._answers_of(world, node).answered(asked)
        if decode is document:  # what would be read from the text as which this would be written
            return answer
        body = json.dumps(answer).encode()
        return decode(Reply(io.BytesIO(body), url, self.settings.max_bytes))  # type: ignore[arg-type]

    stream = post

    def _who(self, host: str, port: int) -> tuple[World, Node | None]:
        """The node whose agent is at a URL, and the world at the time when it answers."""
        node = self.world.at(host, port)
        world = self.world
        if world.change == "during" and world.before and node:
            self.asked[node.number] += 1
            if self.asked[node.number] <= world.patience.get(node.number, 0):
                world = world.before
                node = world.at(host, port)
        return world, node

    def _answers_of(self, world: World, node: Node) -> Answers:
        key = id(world), node.number
        if key not in self._answers:
            self._answers[key] = Answers(world, node, self._order(node.number))
        return self._answers[key]

    def forget(self, urls: Iterable[str]) -> None:
        """Like `Client.forget`, but there are no connections to close."""

    def close(self) -> None:
        """Do nothing: no connection is open."""
