"""Compares the nodes that a node lists as live with its failure detector, which decides what its queries get. Pure.

LiveNodes has the endpoints that gossip keeps as live; a coordinator asks `FailureDetector.isAlive`. They differ after
a peer has restarted before it was seen down. Then the detector has it down until it answers an echo
(`Gossiper.handleMajorStateChange`, `markAlive`), but it stays in LiveNodes. If no answer comes, because no connection
to the peer can be made or because it has died again, it stays there for good: `Gossiper.convict` passes over a node
that is down already. Queries get Unavailable, and `nodetool status` shows UN. (Seen on 5.0.8.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ringcheck.core.ring import COORDINATING
from ringcheck.jolokia import mbeans
from ringcheck.jolokia.endpoints import CANONICAL
from ringcheck.jolokia.outcomes import mapping

if TYPE_CHECKING:
    from ringcheck.jolokia.mbeans import Request
    from ringcheck.jolokia.node_report import NodeReport

_DOWN = "DOWN"


def differs(report: NodeReport) -> bool:
    """Whether a node's failure detector has another number of nodes down than the node lists as unreachable.

    Nodes that have left may be the cause too: the detector has them for days.
    """
    return report.mode in COORDINATING and report.down not in {None, len(report.unreachable)}


def states(report: NodeReport) -> Request:
    """The request for the state of each endpoint."""
    name = mbeans.SIMPLE_STATES_WITH_PORT if report.with_port else mbeans.SIMPLE_STATES
    return mbeans.read(mbeans.FAILURE_DETECTOR, name)


def corrected(report: NodeReport, told: object, shared: dict[frozenset[str], frozenset[str]]) -> NodeReport:
    """The report with the live nodes that are down for the failure detector among the unreachable ones.

    Args:
        report: of the node.
        told: the state by endpoint, as it answered `states`.
        shared: sets of earlier reports, as for `node_report`.

    Raises:
        DataError: if that is no map by endpoint.
    """
    down = {CANONICAL[key] for key, state in mapping(told, mbeans.SIMPLE_STATES).items() if state == _DOWN}
    silent = report.live & down
    if not silent:
        return report
    live, unreachable = report.live - silent, report.unreachable | silent
    return replace(
        report,
        live=shared.setdefault(live, live),
        unreachable=shared.setdefault(unreachable, unreachable),
        live_but_down=shared.setdefault(silent, silent),
    )
