"""What nodes of different schema versions know of keyspaces, and where they differ.

Every coordinator places replicas by the schema that it knows itself. A change of the schema may not reach nodes of
another major release (3.11 and 4.0 exchange no schema; 4.1 and 5.0 in its default compatibility mode do). So during an
upgrade of Cassandra an ALTER KEYSPACE or a CREATE KEYSPACE may hold for the coordinators of one release only. The ring
that was read shows one of the schemas.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ringcheck.core.consistency import NETWORK_TOPOLOGY
from ringcheck.core.findings import noted
from ringcheck.core.ring import Replication
from ringcheck.core.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ringcheck.core.evidence import Evidence
    from ringcheck.core.findings import Finding
    from ringcheck.core.schema_report import KeyspaceReport, SchemaReport
    from ringcheck.core.selection import Scope


def differing(reports: Sequence[SchemaReport]) -> dict[str, bool]:
    """The keyspaces that the nodes of these reports do not know alike, by name, and whether that is certain.

    It is not certain if a replication is not reported, and the ranges could not be compared either.
    """
    reports = [report for report in reports if report.asked is not None]
    known: dict[str, list[KeyspaceReport]] = defaultdict(list)
    for report in reports:
        for keyspace in report.keyspaces:
            known[keyspace.name].append(keyspace)
    found: dict[str, bool] = {}
    for name, keyspaces in sorted(known.items()):
        factors = {_canonical(keyspace.replication) for keyspace in keyspaces}
        same = {keyspace.same_ranges for keyspace in keyspaces}
        if len(keyspaces) < len(reports) or len(factors - {None}) > 1 or False in same:
            found[name] = True
        elif None in factors and None in same:
            found[name] = False
    return found


def _canonical(text: str | None) -> object:
    """A value that is equal for replications that place the same replicas: a factor of 0 is none."""
    if text is None:
        return None
    replication = Replication.parse(text)
    options = dict(replication.options)
    if replication.strategy == NETWORK_TOPOLOGY:
        options = {name: factor for name, factor in options.items() if factor.replicas}
    elif "replication_factor" in options:  # the only option that counts
        options = {"replication_factor": options["replication_factor"]}
    return replication.strategy, tuple(sorted(options.items()))


def of_schemas(scope: Scope) -> Iterator[Finding]:
    """What the coordinators that count do not know alike of the keyspaces that are judged, and what is not known."""
    evidence = scope.evidence
    reports = _counting(evidence)
    for report in reports:
        if report.asked is None:
            yield _unread(evidence, report.nodes, report.reason or "not asked")
    covered = {report.version for report in reports}
    versions = {view.schema_version for view in evidence.usable if view.schema_version}
    if len(versions) > 1 and versions - covered:
        unasked = [view.observer for view in evidence.usable if view.schema_version in versions - covered]
        yield _unread(evidence, unasked, "the snapshot does not have the keyspaces of their schema version")
    for name, certain in differing(reports).items():
        if scope.judges(name):
            yield _disagreement(name, reports) if certain else _uncertain(name, reports)


def _counting(evidence: Evidence) -> list[SchemaReport]:
    """The report of the ring's source, and those of the schema versions of coordinators with a usable view."""
    usable = {view.observer for view in evidence.usable}
    return [report for report in evidence.snapshot.schemas if report.of_ring or usable.intersection(report.nodes)]


def _unread(evidence: Evidence, nodes: Iterable[str], reason: str) -> Finding:
    names = sorted(nodes)
    who = f"{listed(names)} {'replicates' if len(names) == 1 else 'replicate'}" if names else "some nodes replicate"
    subject = names[0] if names else evidence.snapshot.cluster
    return noted("replication_unread", subject, f"not known how {who} keyspaces: {reason}")


def _uncertain(name: str, reports: Sequence[SchemaReport]) -> Finding:
    nodes = [node for report in reports if not report.of_ring for node in report.nodes]
    text = f"{name}: not known whether {listed(sorted(nodes))} place its replicas like the ring that was read"
    return noted("replication_unread", name, text)


def _disagreement(name: str, reports: Sequence[SchemaReport]) -> Finding:
    nodes_of: dict[str, list[str]] = defaultdict(list)
    for report in reports:
        if report.asked is not None:
            nodes_of[_known_as(name, report)] += report.nodes or (report.asked,)
    parts = [f"{text} {listed(sorted(nodes))}" for text, nodes in nodes_of.items()]
    return noted("replication_disagreement", name, f"{name}: {'; '.join(parts)}")


def _known_as(name: str, report: SchemaReport) -> str:
    """What the nodes of a report know of a keyspace, as the beginning of a phrase that ends with their names."""
    keyspace = next((keyspace for keyspace in report.keyspaces if keyspace.name == name), None)
    if keyspace is None:
        return "unknown to"
    if keyspace.replication is not None:
        return f"{keyspace.replication} by"
    return "other replicas by" if keyspace.same_ranges is False else "the replicas of the ring by"
