"""What one node says of itself and of the others: attributes of StorageService as one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ringcheck.core.ring import COORDINATING
from ringcheck.errors import DataError
from ringcheck.jolokia import mbeans
from ringcheck.jolokia.endpoints import endpoints, host_ids, owners
from ringcheck.jolokia.outcomes import OK, THROWN, Outcome, flag, is_missing_mbean, number, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What one node says of itself and of the others.

    Attributes:
        with_port: whether endpoints are written with their ports.
        mode: OperationMode; None before StorageService is registered, and then nothing else is known.
        host_ids: host id by endpoint, if it was asked for.
        owners: endpoints that own tokens, if it was asked for and could say.
    """

    with_port: bool = False
    cluster: str | None = None
    host_id: str | None = None
    release: str | None = None
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
    host_ids: Mapping[str, str] | None = field(default=None, repr=False)
    owners: frozenset[str] | None = field(default=None, repr=False)


def node_report(found: Mapping[str, Outcome], same: dict[frozenset[str], frozenset[str]]) -> NodeReport:
    """A node's own words, from attributes of StorageService.

    Args:
        found: outcomes by attribute.
        same: sets seen so far: a thousand nodes list the same thousand endpoints, and share one set for it.

    Raises:
        SourceError: if the agent's policy forbids one that is needed.
        DataError: if one that is needed is missing or has another shape.
    """
    mode = _of(found, "OperationMode")
    if is_missing_mbean(mode):
        return NodeReport()  # Jolokia answers before Cassandra has registered its MBeans
    found = _as_far_as_it_is(found, mode)
    with_port = all(name in found and found[name].status == OK for name in mbeans.LISTS_WITH_PORT)
    sets = []
    for name in mbeans.lists_of(with_port):
        listed = endpoints(_of(found, name).get(name), name)
        sets.append(same.setdefault(listed, listed))
    told = {name: _of(found, name).get(name) for name in (*mbeans.STATE, "ClusterName", "ReleaseVersion")}
    if told["OperationMode"] in COORDINATING:
        text(told["LocalHostId"], "LocalHostId")  # null while a node starts, and only then
    told |= {name: found[name].value for name in (*mbeans.EXTRA, "PartitionerName") if name in found}
    return NodeReport(
        with_port=with_port,
        cluster=text(told["ClusterName"], "ClusterName"),
        host_id=_optional(text, told, "LocalHostId"),
        release=text(told["ReleaseVersion"], "ReleaseVersion"),
        partitioner=_optional(text, told, "PartitionerName"),
        mode=text(told["OperationMode"], "OperationMode"),
        gossip_running=flag(told["GossipRunning"], "GossipRunning"),
        native_transport_running=flag(told["NativeTransportRunning"], "NativeTransportRunning"),
        generation=_optional(number, told, "CurrentGenerationNumber"),
        schema_version=_optional(text, told, "SchemaVersion"),
        **dict(zip(("live", "unreachable", "joining", "leaving", "moving"), sets, strict=True)),
        host_ids=_host_ids(found, with_port),
        owners=_owners(found, with_port, same),
    )


def _as_far_as_it_is(found: Mapping[str, Outcome], mode: Outcome) -> Mapping[str, Outcome]:
    """The outcomes; where the node does not coordinate, what it can't tell is left empty.

    While it starts, parts of Cassandra are not there yet and throw (2.2: LocalHostId, all: CurrentGenerationNumber).
    """
    if mode.status != OK or text(mode.value, "OperationMode") in COORDINATING:
        return found
    empty = {name: Outcome(OK, []) for name in (*mbeans.LISTS, *mbeans.LISTS_WITH_PORT)}
    empty |= {name: Outcome(OK, {}) for name in (mbeans.HOST_IDS, mbeans.HOST_IDS_WITH_PORT)}
    empty |= dict.fromkeys(("GossipRunning", "NativeTransportRunning"), Outcome(OK, value=False))
    empty["LocalHostId"] = Outcome(OK)
    return {name: empty.get(name, one) if one.status == THROWN else one for name, one in found.items()}


def _of(found: Mapping[str, Outcome], name: str) -> Outcome:
    if name not in found:
        raise DataError(f"{name} is missing from the answer")
    return found[name]


def _optional(shape: Callable[[object, str], T], told: Mapping[str, object], name: str) -> T | None:
    value = told.get(name)
    return None if value is None else shape(value, name)


def _host_ids(found: Mapping[str, Outcome], with_port: bool) -> dict[str, str] | None:  # noqa: FBT001 - which of two
    name = mbeans.HOST_IDS_WITH_PORT if with_port else mbeans.HOST_IDS
    return host_ids(found[name].get(name), name) if name in found else None


def _owners(
    found: Mapping[str, Outcome],
    with_port: bool,  # noqa: FBT001 - which of two
    same: dict[frozenset[str], frozenset[str]],
) -> frozenset[str] | None:
    name = mbeans.OWNERSHIP_WITH_PORT if with_port else mbeans.OWNERSHIP
    if name not in found or found[name].status != OK:
        return None
    told = owners(found[name].value, name)
    return same.setdefault(told, told)
