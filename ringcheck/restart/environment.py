"""What a rolling restart needs from outside: polls, nodes, CQL ports, commands and clocks.

`Environment` is the protocol, which tests implement themselves. `LiveEnvironment` is the real one.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ringcheck.core.endpoint import ip_of
from ringcheck.errors import DataError, SourceError
from ringcheck.restart import commands, readiness

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Protocol

    from ringcheck.core.client_errors import ClientCounters
    from ringcheck.core.ring import Node, Snapshot
    from ringcheck.core.source import NodeControl
    from ringcheck.restart.commands import CommandResult

    class Environment(Protocol):
        """Everything that a run reads from outside, and does there."""

        def poll(self) -> Snapshot:
            """A fresh snapshot; raises RingcheckError if there is none."""

        def started_at(self, address: str, host_id: str | None) -> int:
            """As `NodeControl.started_at`."""

        def drain(self, address: str, host_id: str | None, seconds: float) -> None:
            """As `NodeControl.drain`."""

        def clients_of(self, addresses: Sequence[str]) -> dict[str, tuple[str, int]]:
            """Host and port to which clients of these nodes connect, by the node's address."""

        def answers_cql(self, host: str, port: int) -> bool:
            """As `answers_cql` of readiness.py."""

        def run(self, words: tuple[str, ...], seconds: float, started: Callable[[int], None]) -> CommandResult:
            """As `run` of commands.py."""

        def birth(self, pid: int) -> int | None:
            """As `birth` of commands.py."""

        def client_counters(self, nodes: Mapping[str, Node]) -> tuple[dict[str, ClientCounters], dict[str, str]]:
            """What nodes have counted of their clients' requests, by key; and why others can't be read, by address."""

        def confirm(self, question: str) -> bool:
            """The operator's answer."""

        def clock(self) -> float:
            """Monotonic seconds."""

        def sleep(self, seconds: float) -> None:
            """Wait."""

        def utc(self) -> str:
            """The time now, `2026-01-31T23:59:59Z`."""

        def time_of_day(self) -> int:
            """Minutes since midnight, local time."""

        def interrupts(self) -> int:
            """How often the operator has asked the run to stop."""


CQL_PORT = 9042
_AT_ONCE = 16  # number of nodes that are asked for their counters at the same time
_TIMEOUT = 10.0  # seconds for one small question, which through a JMX proxy takes two or three requests


class LiveEnvironment:
    """The `Environment` of a real run."""

    def __init__(
        self,
        poll: Callable[[], Snapshot],
        control: NodeControl,
        interrupts: Callable[[], int],
        cql_port: int | None = None,
        *,
        cql: bool = True,
        confirm: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Set up; no node is asked yet.

        Args:
            poll: makes a fresh snapshot.
            control: asks single nodes.
            interrupts: how often the operator has asked the run to stop.
            cql_port: where clients connect; None for the port that gossip reports, or else 9042.
            cql: whether CQL ports are checked.
            confirm: asks the operator, for `--step`.
        """
        self.poll = poll
        self.interrupts = interrupts
        self.confirm = confirm
        self.clock = time.monotonic
        self.sleep = time.sleep
        self._control = control
        self._port = cql_port
        self._cql = cql

    def started_at(self, address: str, host_id: str | None) -> int:
        """As `NodeControl.started_at`."""
        return self._control.started_at(address, host_id, _TIMEOUT)

    def drain(self, address: str, host_id: str | None, seconds: float) -> None:
        """As `NodeControl.drain`."""
        self._control.drain(address, host_id, seconds)

    def clients_of(self, addresses: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Where the clients of nodes connect, by gossip; otherwise the node's own address and the default port.

        Empty if CQL ports are not to be checked.
        """
        if not self._cql:
            return {}
        reported = self._reported_clients(addresses)
        clients = {address: reported.get(address, (ip_of(address), None)) for address in addresses}
        return {address: (host, self._port or port or CQL_PORT) for address, (host, port) in clients.items()}

    def _reported_clients(self, addresses: Sequence[str]) -> dict[str, tuple[str, int | None]]:
        """What the first of some nodes that answers knows by gossip; empty if none does."""
        for address in addresses:
            with suppress(SourceError, DataError):
                return self._control.client_addresses(address, _TIMEOUT)
        return {}

    def client_counters(self, nodes: Mapping[str, Node]) -> tuple[dict[str, ClientCounters], dict[str, str]]:
        """What nodes have counted of their clients' requests, by key; and why others can't be read, by address."""
        read: dict[str, ClientCounters] = {}
        problems: dict[str, str] = {}

        def ask(key: str) -> None:
            node = nodes[key]
            try:
                read[key] = self._control.client_counters(node.address, node.host_id, _TIMEOUT)
            except (SourceError, DataError) as error:
                problems[node.address] = str(error)

        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(ask, nodes))
        return read, problems

    def run(self, words: tuple[str, ...], seconds: float, started: Callable[[int], None]) -> CommandResult:
        """As `run` of commands.py."""
        return commands.run(words, seconds, started)

    def birth(self, pid: int) -> int | None:
        """As `birth` of commands.py."""
        return commands.birth(pid)

    @staticmethod
    def answers_cql(host: str, port: int) -> bool:
        """As `answers_cql` of readiness.py."""
        return readiness.answers_cql(host, port, _TIMEOUT)

    @staticmethod
    def utc() -> str:
        """The time now, `2026-01-31T23:59:59Z`."""
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @staticmethod
    def time_of_day() -> int:
        """Minutes since midnight, local time."""
        now = datetime.now().astimezone()
        return now.hour * 60 + now.minute
