"""What one node reports of itself and of the others: attributes of StorageService and StorageProxy as one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ringcheck.core.metadata import MetadataReport
from ringcheck.core.ring import COORDINATING
from ringcheck.errors import DataError
from ringcheck.jolokia import mbeans
from ringcheck.jolokia.endpoints import check_number, endpoints, host_ids, owners, shares
from ringcheck.jolokia.outcomes import OK, THROWN, Outcome, flag, is_missing_mbean, mapping, number, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What one node reports of itself and of the others. Endpoints are canonical text.

    Attributes:
        with_port: whether endpoints are written with their ports.
        cluster: ClusterName.
        host_id: its own host id; None while it starts.
        release: ReleaseVersion.
        paxos_variant: PaxosVariant; None if it is not reported.
        partitioner: class name; None if it was not asked for.
        mode: OperationMode; None before StorageService is registered, and then nothing else is known.
        gossip_running: whether it gossips.
        native_transport_running: whether it serves clients.
        generation: of its gossip state; None if unknown.
        schema_version: UUID text of its schema; None if unknown.
        live: endpoints that it lists as live, and that its failure detector has up.
        unreachable: endpoints that it lists as unreachable, and `live_but_down`.
        live_but_down: endpoints that it lists as live, though its failure detector has them down.
        down: how many endpoints its failure detector has down, former members included; None if it is not reported.
        joining: endpoints that it sees joining the ring.
        leaving: endpoints that it sees leaving the ring.
        moving: endpoints that it sees moving.
        host_ids: host id by endpoint; None if it was not asked for.
        owners: endpoints that own tokens; None if it was not asked for or is not reported.
        shares: share of the ring by endpoint, which follows from the tokens that each of them owns; None likewise.
        metadata: what it knows of the cluster metadata service; None before 6.0, or if it can't be read.
    """

    with_port: bool = False
    cluster: str | None = None
    host_id: str | None = None
    release: str | None = None
    paxos_variant: str | None = None
    partitioner: str | None = None
    mode: str | None = None
    gossip_running: bool | None = None
    native_transport_running: bool | None = None
    generation: int | None = None
    schema_version: str | None = None
    live: frozenset[str] = frozenset()
    unreachable: frozenset[str] = frozenset()
    joining: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()
    moving: frozenset[str] = frozenset()
    live_but_down: frozenset[str] = frozenset()
    down: int | None = None
    host_ids: Mapping[str, str] | None = field(default=None, repr=False)
    owners: frozenset[str] | None = field(default=None, repr=False)
    shares: Mapping[str, float] | None = field(default=None, repr=False)
    metadata: MetadataReport | None = None


def node_report(answers: Mapping[str, Outcome], shared: dict[frozenset[str], frozenset[str]]) -> NodeReport:
    """A node's report, from attributes of StorageService.

    Args:
        answers: outcome by attribute; those of other MBeans, and `describeCMS`, may be missing.
        shared: sets of earlier reports; equal sets become the same object, since a thousand nodes list the same
            thousand endpoints. New sets are added.

    Raises:
        SourceError: if the agent's policy forbids an attribute that is needed.
        DataError: if an attribute that is needed is missing or has another shape.
    """
    mode = _of(answers, "OperationMode")
    if is_missing_mbean(mode):
        return NodeReport()  # Jolokia answers before Cassandra has registered its MBeans
    answers = _without_errors_of_a_start(answers, mode)
    with_port = all(name in answers and answers[name].status == OK for name in mbeans.LISTS_WITH_PORT)
    lists = _lists(answers, with_port, shared)
    values = {name: _of(answers, name).get(name) for name in (*mbeans.STATE, "ClusterName", "ReleaseVersion")}
    if values["OperationMode"] in COORDINATING:
        text(values["LocalHostId"], "LocalHostId")  # null only while a node starts
    optional = (*mbeans.EXTRA, "PartitionerName", mbeans.PAXOS_VARIANT)
    values |= {name: answers[name].value for name in optional if name in answers}
    ids, owning = _host_ids(answers, with_port), _owners(answers, with_port, shared)
    check_number(len(frozenset().union(*lists.values(), ids or (), owning or ())))
    return NodeReport(
        with_port=with_port,
        cluster=text(values["ClusterName"], "ClusterName"),
        host_id=_optional(text, values, "LocalHostId"),
        release=text(values["ReleaseVersion"], "ReleaseVersion"),
        paxos_variant=_optional(text, values, mbeans.PAXOS_VARIANT),
        partitioner=_optional(text, values, "PartitionerName"),
        mode=text(values["OperationMode"], "OperationMode"),
        gossip_running=flag(values["GossipRunning"], "GossipRunning"),
        native_transport_running=flag(values["NativeTransportRunning"], "NativeTransportRunning"),
        generation=_optional(number, values, "CurrentGenerationNumber"),
        schema_version=_optional(text, values, "SchemaVersion"),
        **lists,
        down=_down(answers),
        host_ids=ids,
        owners=owning,
        shares=_shares(answers, with_port),
        metadata=_metadata(answers, shared),
    )


def _lists(
    answers: Mapping[str, Outcome],
    with_port: bool,  # noqa: FBT001 - which of two
    shared: dict[frozenset[str], frozenset[str]],
) -> dict[str, frozenset[str]]:
    """The five lists of endpoints, by attribute of `NodeReport`."""
    lists: dict[str, frozenset[str]] = {}
    attributes = ("live", "unreachable", "joining", "leaving", "moving")
    for attribute, name in zip(attributes, mbeans.lists_of(with_port), strict=True):
        listed = endpoints(_of(answers, name).get(name), name)
        lists[attribute] = shared.setdefault(listed, listed)
    return lists


def _without_errors_of_a_start(answers: Mapping[str, Outcome], mode: Outcome) -> Mapping[str, Outcome]:
    """The outcomes; if the node does not coordinate, attributes that throw are empty.

    While a node starts, parts of Cassandra do not exist yet and throw (2.2: LocalHostId, all:
    CurrentGenerationNumber).
    """
    if mode.status != OK or text(mode.value, "OperationMode") in COORDINATING:
        return answers
    empty = {name: Outcome(status=OK, value=[]) for name in (*mbeans.LISTS, *mbeans.LISTS_WITH_PORT)}
    empty |= {name: Outcome(status=OK, value={}) for name in (mbeans.HOST_IDS, mbeans.HOST_IDS_WITH_PORT)}
    empty |= dict.fromkeys(("GossipRunning", "NativeTransportRunning"), Outcome(status=OK, value=False))
    empty["LocalHostId"] = Outcome(status=OK)
    return {
        name: empty.get(name, outcome) if outcome.status == THROWN else outcome for name, outcome in answers.items()
    }


def _of(answers: Mapping[str, Outcome], name: str) -> Outcome:
    if name not in answers:
        raise DataError(f"{name} is missing from the answer")
    return answers[name]


def _optional(shape: Callable[[object, str], T], values: Mapping[str, object], name: str) -> T | None:
    value = values.get(name)
    return None if value is None else shape(value, name)


def _down(answers: Mapping[str, Outcome]) -> int | None:
    outcome = answers.get(mbeans.DOWN_COUNT)
    return number(outcome.value, mbeans.DOWN_COUNT) if outcome and outcome.status == OK else None


def _host_ids(answers: Mapping[str, Outcome], with_port: bool) -> dict[str, str] | None:  # noqa: FBT001 - which of two
    name = mbeans.HOST_IDS_WITH_PORT if with_port else mbeans.HOST_IDS
    return host_ids(answers[name].get(name), name) if name in answers else None


def _owners(
    answers: Mapping[str, Outcome],
    with_port: bool,  # noqa: FBT001 - which of two
    shared: dict[frozenset[str], frozenset[str]],
) -> frozenset[str] | None:
    name, answer = _ownership(answers, with_port)
    if answer is None:
        return None
    owning = owners(answer.value, name)
    return shared.setdefault(owning, owning)


def _shares(answers: Mapping[str, Outcome], with_port: bool) -> dict[str, float] | None:  # noqa: FBT001 - which of two
    name, answer = _ownership(answers, with_port)
    return None if answer is None else shares(answer.value, name)


def _ownership(answers: Mapping[str, Outcome], with_port: bool) -> tuple[str, Outcome | None]:  # noqa: FBT001 - which of two
    """The attribute with the owners of tokens, and its outcome; None if it was not asked for or failed."""
    name = mbeans.OWNERSHIP_WITH_PORT if with_port else mbeans.OWNERSHIP
    answer = answers.get(name)
    return name, answer if answer and answer.status == OK else None


def _metadata(answers: Mapping[str, Outcome], shared: dict[frozenset[str], frozenset[str]]) -> MetadataReport | None:
    """What the node reports of the cluster metadata service; None if it reports nothing, or in another form than 6.0.

    An unknown form must not make the node's view unusable: clients do not depend on this part of it.
    """
    outcome = answers.get(mbeans.DESCRIBE_METADATA)
    if outcome is None or outcome.status != OK:
        return None
    try:
        return _described(mapping(outcome.value, mbeans.DESCRIBE_METADATA), shared)
    except DataError:
        return None


def _described(values: Mapping[str, object], shared: dict[frozenset[str], frozenset[str]]) -> MetadataReport:
    """The report in a map of `describeCMS`, whose members are one text: `/10.0.0.1:7000,/10.0.0.2:7000`."""
    names = [name for name in text(values.get("MEMBERS"), "MEMBERS").split(",") if name]
    members = endpoints(names, "MEMBERS")
    return MetadataReport(
        members=shared.setdefault(members, members),
        epoch=_optional(number, values, "EPOCH"),
        state=_optional(text, values, "SERVICE_STATE"),
        migrating=_stated(values, "IS_MIGRATING"),
        paused=_stated(values, "COMMITS_PAUSED"),
        needs_reconfiguration=_stated(values, "NEEDS_RECONFIGURATION"),
    )


def _stated(values: Mapping[str, object], name: str) -> bool | None:
    """A boolean that is written as text; None if it is not there."""
    value = values.get(name)
    return None if value is None else flag({"true": True, "false": False}.get(str(value), value), name)
