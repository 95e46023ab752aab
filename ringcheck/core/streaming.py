"""Streams of nodes as reasons of the gate: a stop aborts a repair or a rebuild of hours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.reasons import reason
from ringcheck.core.words import counted, listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.evidence import Evidence
    from ringcheck.core.reasons import Reason

UNREAD = "streams_unread"  # the problem of a node that did not say whether it is streaming, though it may


def may_stream(evidence: Evidence) -> frozenset[int]:
    """Indexes of the nodes that stream or, because their answer is missing, may stream."""
    nodes = evidence.snapshot.nodes
    unread = _unread(evidence) - evidence.surely_down
    return unread | {index for index, node in enumerate(nodes) if node.streams}


def streaming_reasons(evidence: Evidence, candidates: frozenset[int], *, recorded: bool) -> Iterator[Reason]:
    """The reasons, notes included, that streams are for the stop of candidates.

    Args:
        evidence: of a snapshot that has streams, unless it is a recorded one.
        candidates: indexes of the nodes that are to stop.
        recorded: whether the snapshot is a recorded one without streams.
    """
    nodes = evidence.snapshot.nodes
    for name in evidence.names(index for index in candidates if nodes[index].streams):
        text = f"{name} is streaming (repair, bootstrap, rebuild or decommission): a stop would interrupt that"
        yield reason("streaming", name, text, lifts_when=f"{name} has no more streams")
    up = candidates - evidence.surely_down
    unread = _unread(evidence)
    for problem in evidence.snapshot.problems:
        if problem.code == UNREAD and evidence.snapshot.index.get(problem.subject) in up:
            yield reason("streams_unread", problem.subject, problem.summary)
    silent = evidence.names(index for index in up - unread if nodes[index].streams is None)
    if silent and not recorded:
        text = f"not known whether {listed(silent)} {'is' if len(silent) == 1 else 'are'} streaming"
        yield reason("streaming", silent[0], text, blocks=False, lifts_when="CurrentStreams can be read there")
    others = evidence.names(index for index, node in enumerate(nodes) if node.streams and index not in candidates)
    if others:
        text = f"{counted(len(others), 'other node')} streaming: {listed(others)}"
        yield reason("streaming", others[0], text, blocks=False)


def _unread(evidence: Evidence) -> frozenset[int]:
    """Indexes of the nodes whose answer about their streams failed or came late."""
    index = evidence.snapshot.index
    subjects = {problem.subject for problem in evidence.snapshot.problems if problem.code == UNREAD}
    return frozenset(index[subject] for subject in subjects & index.keys())
