"""The world in which a rolling restart really runs: Jolokia, CQL ports, processes, clocks."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ringcheck.core.endpoint import ip_of
from ringcheck.errors import DataError, SourceError
from ringcheck.restart import commands, readiness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ringcheck.core.ring import Snapshot
    from ringcheck.core.source import NodeControl
    from ringcheck.restart.commands import Ended

CQL_PORT = 9042
_ASK = 5.0  # seconds for one small question


class RealWorld:
    """As `World` of runner.py says."""

    def __init__(
        self,
        poll: Callable[[], Snapshot],
        control: NodeControl,
        interrupts: Callable[[], int],
        cql_port: int | None = None,
        *,
        cql: bool = True,
    ) -> None:
        """Prepare; nothing is asked.

        Args:
            poll: makes a fresh snapshot.
            control: asks single nodes.
            interrupts: how often the operator has asked to stop.
            cql_port: where clients connect, instead of what gossip tells, or 9042.
            cql: whether CQL ports are checked.
        """
        self.poll = poll
        self.interrupts = interrupts
        self.clock = time.monotonic
        self.sleep = time.sleep
        self._control = control
        self._port = cql_port
        self._cql = cql

    def started_at(self, address: str, host_id: str | None) -> int:
        """As `Control.started_at`."""
        return self._control.started_at(address, host_id, _ASK)

    def drain(self, address: str, host_id: str | None, seconds: float) -> None:
        """As `Control.drain`."""
        self._control.drain(address, host_id, seconds)

    def clients_of(self, addresses: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Where the clients of nodes connect: as gossip tells, otherwise at the node's address and the usual port."""
        if not self._cql:
            return {}
        told: dict[str, tuple[str, int | None]] = {}
        for address in addresses:
            with suppress(SourceError, DataError):
                told = self._control.client_addresses(address, _ASK)
                break
        found = {one: told.get(one, (ip_of(one), None)) for one in addresses}
        return {one: (host, self._port or port or CQL_PORT) for one, (host, port) in found.items()}

    def run(self, words: tuple[str, ...], seconds: float, started: Callable[[int], None]) -> Ended:
        """As `run` of commands.py."""
        return commands.run(words, seconds, started)

    def birth(self, pid: int) -> int | None:
        """As `birth` of commands.py."""
        return commands.birth(pid)

    @staticmethod
    def answers_cql(host: str, port: int) -> bool:
        """As `answers_cql` of readiness.py."""
        return readiness.answers_cql(host, port, _ASK)

    @staticmethod
    def utc() -> str:
        """Now."""
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
