"""From what Jolokia says to values: pure, and it believes nothing.

Owns the shapes of replies, of both Jolokia lines and of all releases; knows nothing of HTTP or of what to ask. HTTP 200
is not success: each item has its own `status`, one Error inside a bulk turns the whole answer into one object, limits
of an agent cut lists without a word. Whatever is not exactly as expected is a `DataError` of one line.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar

from ringcheck.core.ring import COORDINATING, Pending, Spans
from ringcheck.errors import DataError, DeniedError, SourceError
from ringcheck.http.replies import LONGEST_TEXT, document, printable, reason
from ringcheck.jolokia import mbeans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ringcheck.http.replies import Reply

T = TypeVar("T")

OK, FORBIDDEN, NOT_FOUND, THROWN = 200, 403, 404, 500  # `status` of an item
_WITH_PORT = re.compile(r"(?:\[([^]]+)\]|([^:]+)):(\d{1,5})")
_RELEASE = re.compile(r"\d+\.\d+")
_TOKENS = re.compile(r"\[(-?\d+), (-?\d+)\]")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request.

    Attributes:
        status: Jolokia's: 200, 400, 403, 404 or 500.
        value: decoded JSON, if the status is 200.
        error: one line, otherwise.
        error_type: Java class of the exception, otherwise.
    """

    status: int
    value: Any = None
    error: str = ""
    error_type: str = ""

    def get(self, what: str) -> Any:  # noqa: ANN401 - decoded JSON; the functions below judge its shape
        """The value.

        Raises:
            SourceError: if the agent's policy forbids it.
            DataError: if there is none for another reason.
        """
        if self.status == OK:
            return self.value
        if self.status == FORBIDDEN:
            raise SourceError(f"{what}: {self.refusal}", "denied")
        raise DataError(f"{what}: {self.error or self.error_type or f'status {self.status}'}")

    @property
    def refusal(self) -> str:
        """Why it was refused, in the agent's own words where it has some."""
        said = reason(self.error, self.error_type)
        return f"the agent refuses: {said}" if said else "the agent's access policy forbids it"


def outcome(reply: object) -> Outcome:
    """The outcome of one request.

    Raises:
        DataError: if the reply is not an object with a status, or claims success without a value.
    """
    if not isinstance(reply, dict) or not isinstance(status := reply.get("status"), int):
        raise DataError(f"not an answer of Jolokia: {_short(reply)}")
    if status == OK:
        if "value" not in reply:
            raise DataError("the answer has no value")
        return Outcome(status, reply["value"])
    return Outcome(status, None, _short(reply.get("error") or ""), str(reply.get("error_type") or ""))


def outcomes(reply: object, count: int) -> list[Outcome] | None:
    """The outcomes of a bulk request, in the order of its items.

    Up to Jolokia 2.3 one operation that throws an Error turns the answer to the whole bulk into one object.

    Returns:
        None if that happened: the items are to be asked one by one.

    Raises:
        DeniedError: if the bulk was refused as a whole.
        DataError: if the reply is none of these, or does not answer every request.
    """
    if isinstance(reply, dict):
        whole = outcome(reply)
        if whole.status == FORBIDDEN:
            raise DeniedError(whole.refusal)
        if whole.status != THROWN:
            raise DataError(f"one answer to {count} requests: {whole.error or f'status {whole.status}'}")
        return None
    if not isinstance(reply, list):
        raise DataError(f"not an answer of Jolokia: {_short(reply)}")
    if len(reply) != count:
        raise DataError(f"{len(reply)} answers to {count} requests")
    return [outcome(item) for item in reply]


def is_missing_mbean(outcome: Outcome) -> bool:
    """Whether the MBean itself is not there; an attribute that it lacks is 404 too."""
    return outcome.status == NOT_FOUND and "InstanceNotFound" in outcome.error_type


def _short(value: object) -> str:
    """One line of something that a node said."""
    line = printable(str(value))
    return line if len(line) <= LONGEST_TEXT else f"{line[:LONGEST_TEXT]}..."


def text(value: object, what: str) -> str:
    """A string.

    Raises:
        DataError: if it is none.
    """
    if not isinstance(value, str):
        raise DataError(f"{what} is no text: {_short(value)}")
    return value


def flag(value: object, what: str) -> bool:
    """A boolean.

    Raises:
        DataError: if it is none.
    """
    if not isinstance(value, bool):
        raise DataError(f"{what} is neither true nor false: {_short(value)}")
    return value


def number(value: object, what: str) -> int:
    """An integer, which agents 2.x may be set to write as text (`serializeLong`).

    Raises:
        DataError: if it is none.
    """
    if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"{what} is no number: {_short(value)}")
    return value


def strings(value: object, what: str) -> list[str]:
    """A list of strings that no limit of the agent has spoilt.

    Raises:
        DataError: if it is something else.
    """
    if not isinstance(value, list):
        raise DataError(f"{what} is no list: {_short(value)}{_spoilt(value)}")
    for item in value:
        if not isinstance(item, str):
            raise DataError(f"{what} has {_short(item)} in place of text")
    return value


def mapping(value: object, what: str) -> dict[str, Any]:
    """An object.

    Raises:
        DataError: if it is something else.
    """
    if not isinstance(value, dict):
        raise DataError(f"{what} is no map: {_short(value)}{_spoilt(value)}")
    return value


def _spoilt(value: object) -> str:
    """What an agent's limits leave in place of a list or map."""
    if value == "[Object limit exceeded]":
        return " (the agent's maxObjects cut it off)"
    return " (the agent's maxDepth made it text)" if isinstance(value, str) and value[:1] in {"[", "{"} else ""


def endpoint(value: object) -> str:
    """`ip`, or `ip:port` with IPv6 in brackets, canonical, of any way in which Cassandra or Jolokia write one.

    `10.0.0.1`, `/10.0.0.1`, `host/10.0.0.1`, `10.0.0.1:7000`, `[2001:db8:0:0:0:0:0:1]:7000`, an InetAddress as bean
    (Jolokia up to 2.3) or as `{"address": ...}` (2.6). An IPv6 zone is the node's own and is dropped.

    Raises:
        DataError: if it is none of them.
    """
    if isinstance(value, dict):
        value = value.get("hostAddress") or value.get("address")
    written = str(value).rpartition("/")[2]
    try:
        return _ip(written)
    except ValueError:
        pass
    found = _WITH_PORT.fullmatch(written)
    try:
        if found:
            ip, port = _ip(found[1] or found[2]), int(found[3])
            return f"[{ip}]:{port}" if found[1] else f"{ip}:{port}"
    except ValueError:
        pass
    raise DataError(f"{_short(value)} is no address{_spoilt(value)}")


def _ip(written: str) -> str:
    return str(ip_address(written.partition("%")[0]))


class _Endpoints(dict[str, str]):
    """Canonical endpoints by their text: a thousand nodes write the same thousand texts at every poll."""

    LIMIT = 16384

    def __missing__(self, written: str) -> str:
        if len(self) >= self.LIMIT:
            self.clear()
        found = self[written] = endpoint(written)
        return found


_ENDPOINTS = _Endpoints()


def endpoints(value: object, what: str) -> frozenset[str]:
    """A list of nodes as canonical endpoints.

    Raises:
        DataError: if it is no list of them.
    """
    try:
        return frozenset(map(_ENDPOINTS.__getitem__, strings(value, what)))
    except DataError as error:
        raise DataError(f"{what}: {error}") from None


def host_ids(value: object, what: str) -> dict[str, str]:
    """Host id by endpoint.

    Raises:
        DataError: if it is something else.
    """
    return {_ENDPOINTS[key]: text(host_id, what) for key, host_id in mapping(value, what).items()}


def owners(value: object, what: str) -> frozenset[str]:
    """The endpoints that own tokens, from `Ownership` or `OwnershipWithPort`: a share of the ring by endpoint.

    Raises:
        DataError: if it is something else.
    """
    return frozenset(_ENDPOINTS[key] for key in mapping(value, what))


def tokens_of_key(key: str) -> tuple[int, int]:
    """Start and end of a range from its key `[start, end]`.

    Raises:
        DataError: if they are no whole numbers: order-preserving partitioners put keys of any text there.
    """
    found = _TOKENS.fullmatch(key)
    if not found:
        raise DataError(f"{_short(key)} is no token range")
    return int(found[1]), int(found[2])


@dataclass(frozen=True, slots=True)
class Reading:
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


def reading(found: Mapping[str, Outcome], same: dict[frozenset[str], frozenset[str]]) -> Reading:
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
        return Reading()  # Jolokia answers before Cassandra has registered its MBeans
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
    return Reading(
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


class Places(dict[str, int]):
    """Node index by any text that a node's endpoint is written as."""

    def __init__(self, index_of: Callable[[str], int]) -> None:
        """Prepare.

        Args:
            index_of: index of a canonical endpoint; raises DataError for a stranger.
        """
        super().__init__()
        self._index_of = index_of

    def __missing__(self, written: str) -> int:
        place = self[written] = self._index_of(endpoint(written))
        return place


def pending(value: object, places: Places, what: str) -> tuple[Pending, ...]:
    """Ranges in movement and the nodes that gain them.

    Raises:
        DataError: if it is something else.
    """
    found = []
    for key, gaining in mapping(value, what).items():
        start, end = tokens_of_key(key)
        found.append(Pending(start, end, tuple([places[item] for item in strings(gaining, what)])))
    return tuple(sorted(found, key=lambda item: (item.end, item.start)))


def gossiped(value: object, name: str) -> dict[str, str]:
    """An ApplicationState by endpoint, from AllEndpointStates.

    That has blocks of an endpoint line and indented lines: `NAME:version:value`, or `NAME:value` up to Cassandra 2.1
    and on ScyllaDB. A value that is not certain is left out: where both forms could be meant, where blocks of one
    endpoint differ, and in a block whose endpoint can't be read.

    Raises:
        DataError: if it is no text.
    """
    blocks = list(_blocks(text(value, mbeans.STATES)))
    everywhere = frozenset().union(*(_forms(states) for _, states in blocks))
    found: dict[str, set[str]] = defaultdict(set)
    for owner, states in blocks:
        for written in states.get(name, ()):
            one = _unversioned(name, written, _forms(states) or everywhere)
            if owner and one is not None:
                found[owner].add(one)
    return {owner: values.pop() for owner, values in found.items() if len(values) == 1}


# Values of these never begin with a number and a colon: they show whether a version stands before each value.
_TELLING = ("RELEASE_VERSION", "SCHEMA", "HOST_ID", "LOAD", "STATUS", "STATUS_WITH_PORT", "NET_VERSION", "SEVERITY")
_STATE = re.compile(r"\s+([A-Z][A-Z0-9_]*):(.*)")
_VERSION = re.compile(r"\d+:")


def _blocks(states: str) -> Iterator[tuple[str | None, dict[str, list[str]]]]:
    """Endpoint (None if unreadable) and states by name, as they are written, of each block."""
    owner, found = None, defaultdict[str, list[str]](list)
    for line in states.split("\n"):
        if line[:1].strip():
            yield owner, found
            owner, found = _endpoint_or_none(line.strip()), defaultdict(list)
        elif state := _STATE.fullmatch(line):
            found[state[1]].append(state[2].strip())
    yield owner, found


def _endpoint_or_none(written: str) -> str | None:
    with suppress(DataError):
        return endpoint(written)
    return None


def _forms(states: Mapping[str, Sequence[str]]) -> frozenset[bool]:
    """Whether values have versions before them: both answers if they contradict each other, none if nothing shows."""
    return frozenset(bool(_VERSION.match(written)) for name in _TELLING for written in states.get(name, ()))


def _unversioned(name: str, written: str, forms: frozenset[bool]) -> str | None:
    """The value of a state without its version; None if that can't be told."""
    version = _VERSION.match(written)
    if not version:
        return written
    if name in _TELLING or forms == {True}:
        return written[version.end() :]
    # `2001:db8::1` may be an address, or version 2001 of another one.
    ambiguous = bool(forms) or _endpoint_or_none(written) is not None
    return written if forms == {False} else None if ambiguous else written[version.end() :]


def gossiped_releases(value: object) -> dict[str, str]:
    """Release by endpoint, from AllEndpointStates; endpoints whose release can't be read are left out.

    Raises:
        DataError: if it is no text.
    """
    return {owner: found for owner, found in gossiped(value, "RELEASE_VERSION").items() if _RELEASE.match(found)}


def range_rows(reply: Reply, places: Places, nodes: int) -> Spans:
    """The ranges of a ring from the reply to one getRangeToEndpoint(WithPort)Map.

    Args:
        reply: to that request.
        places: of the members.
        nodes: how many members there are.

    Raises:
        SourceError: if the reply is cut off, no JSON, or forbidden.
        DataError: if it holds an error, or something else than lists of members by token range.
    """
    found = Spans(nodes)

    def take(key: str, replicas: Any) -> None:  # noqa: ANN401 - decoded JSON
        start, end = tokens_of_key(key)
        if not isinstance(replicas, list):
            strings(replicas, key)  # raises
        found.add(start, end, [places[item] for item in replicas])

    _entries(reply, take, "the range map")
    return found


def token_counts(reply: Reply) -> Counter[str]:
    """How many tokens each endpoint has, from the reply to TokenToEndpoint(WithPort)Map, joining nodes included.

    Raises:
        SourceError: if the reply is cut off, no JSON, or forbidden.
        DataError: if it holds an error, or something else than endpoints.
    """
    found: Counter[str] = Counter()

    def take(_: str, owner: Any) -> None:  # noqa: ANN401 - decoded JSON
        found[_ENDPOINTS[text(owner, "an owner")]] += 1

    _entries(reply, take, "the token map")
    return found


def _entries(reply: Reply, take: Callable[[str, Any], None], what: str) -> None:
    """Hand on each entry of the map that is the value of a reply; large replies are never held as a whole.

    What was taken counts for nothing if this raises: the error may stand behind the entries.
    """
    if not reply.whole:
        from ringcheck.jolokia.stream import entries  # noqa: PLC0415 - ijson costs 21 ms, small clusters never need it

        entries(reply, take, what)
        return
    for key, value in mapping(outcome(document(reply)).get(what), what).items():
        take(key, strings(value, what) if isinstance(value, list) else value)
