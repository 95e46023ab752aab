"""Who is a member of the cluster, according to all nodes together.

A node's identity is its host id; an endpoint is where it is. A testimony is what one node reports about the members.
Members are the owners of tokens and the nodes that join, leave, move or are being replaced, according to any testimony
that counts. A token owner whose host id no testimony knows is a member under its endpoint. An endpoint that owns no
tokens and is in no movement is left out if no testimony lists it as live; otherwise it is a node that only coordinates.

No testimony is better than another, and their order does not matter. The address shown is the one that a node gives
itself, otherwise the one that most testimonies give.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from ringcheck.core.endpoint import has_port, ip_of, order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.ring import Node

    class Named(Protocol):
        """A node or a member."""

        @property
        def address(self) -> str:
            """Its name."""

        @property
        def endpoint(self) -> str | None:
            """Where it is, with its port if that is known."""

        @property
        def host_id(self) -> str | None:
            """Its identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """What one node that counts reports about the members; endpoints are canonical text.

    Attributes:
        own: its own host id.
        host_ids: host id by endpoint, for all nodes that it knows; None if it was not asked.
        owners: endpoints that own tokens; None if it was not asked or does not know.
        live: endpoints that it lists as live.
        unreachable: endpoints that it lists as unreachable.
        moving: endpoints that it lists as joining, leaving or moving.
    """

    own: str | None
    host_ids: Mapping[str, str] | None
    owners: frozenset[str] | None
    live: frozenset[str]
    unreachable: frozenset[str]
    moving: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node that the cluster knows.

    Attributes:
        address: its name: the address, with its port only if members share the address.
        endpoint: its address, with the port if a testimony has it.
        host_id: None if no testimony knows it.
        owns: whether it owns tokens, according to any testimony; None if no testimony knows.
    """

    address: str
    endpoint: str
    host_id: str | None
    owns: bool | None = None

    @property
    def identity(self) -> str:
        """Its host id, or its endpoint if no testimony knows its host id."""
        return self.host_id or self.endpoint


class Directory:
    """Finds the node that an endpoint in the lists of another node means."""

    def __init__(self, nodes: Sequence[Named]) -> None:
        ids = Counter(node.host_id for node in nodes if node.host_id)
        self._by_host_id = {
            node.host_id: index for index, node in enumerate(nodes) if node.host_id and ids[node.host_id] == 1
        }
        self._by_text: dict[str, int] = {}
        for index, node in enumerate(nodes):
            self._by_text.setdefault(node.address, index)
        self._by_text |= {node.endpoint: index for index, node in enumerate(nodes) if node.endpoint}
        self._nodes = nodes

    @cached_property
    def _by_ip(self) -> dict[str, int]:
        """The only node at an address; most endpoints are found without it."""
        ips = [ip_of(node.endpoint or node.address) for node in self._nodes]
        numbers = Counter(ips)
        return {ip: index for index, ip in enumerate(ips) if numbers[ip] == 1}

    @cached_property
    def _portless(self) -> dict[str, int]:
        """Those whose port is not known, because only releases before 4.0 name them."""
        return {ip: index for ip, index in self._by_ip.items() if _port_unknown(self._nodes[index])}

    def index_of(self, endpoint: str, host_ids: Mapping[str, str]) -> int | None:
        """The index of the node that an endpoint means; None if it means no node.

        Args:
            endpoint: canonical, as a node lists it.
            host_ids: host id by endpoint, as the same node knows it; pairs that all nodes agree on may be left out.
        """
        by_host_id = self._by_host_id.get(host_ids.get(endpoint, ""))
        if by_host_id is not None:
            return by_host_id
        by_text = self._by_text.get(endpoint)
        if by_text is not None:
            return by_text
        # Releases before 4.0 report no port; an endpoint with another port is another instance.
        return self._portless.get(ip_of(endpoint)) if has_port(endpoint) else self._by_ip.get(endpoint)


def _port_unknown(node: Named) -> bool:
    return not has_port(node.endpoint or node.address)


_NO_HOST_IDS: Mapping[str, str] = {}


class Roster:
    """The members of the cluster, from all testimonies.

    Attributes:
        members: sorted by address.
        directory: finds them by endpoint.
    """

    def __init__(self, testimonies: Sequence[Testimony]) -> None:
        self._testimonies = testimonies
        self._endpoints = self._by_host_id()
        # By identity: most nodes of a large cluster share one map.
        self._otherwise: dict[int, tuple[Mapping[str, str], tuple[tuple[str, str], ...]]] = {}
        pairs: list[tuple[str, str | None]] = [
            (endpoint, host_id) for host_id, endpoints in self._endpoints.items() for endpoint in endpoints
        ]
        identified = Directory(_members(pairs))
        pairs += [(endpoint, None) for endpoint in self._without_host_id(identified)]
        candidates = _members(pairs)
        owning = self._owning(Directory(candidates), len(candidates))
        kept = [
            (member.endpoint, member.host_id, owns)
            for member, owns in zip(candidates, owning, strict=True)
            if owns is not False or self._is_around(member)
        ]
        self.members = _named(kept)
        self.directory = Directory(self.members)

    def _by_host_id(self) -> dict[str, tuple[str, ...]]:
        """The endpoint of each host id; several endpoints if several nodes have the same host id.

        That is so if one testimony has a host id at several endpoints, or if nodes with it give themselves different
        endpoints.
        """
        votes: dict[str, Counter[str]] = defaultdict(Counter)
        own: dict[str, set[str]] = defaultdict(set)
        doubled: dict[str, set[str]] = defaultdict(set)
        for host_ids, observers in self._distinct_maps():
            endpoints_of: dict[str, list[str]] = defaultdict(list)
            for endpoint, host_id in host_ids.items():
                votes[host_id][endpoint] += len(observers)
                endpoints_of[host_id].append(endpoint)
            for observer in observers:
                own[observer].update(endpoints_of.get(observer, ()))
            for host_id, endpoints in endpoints_of.items():
                doubled[host_id].update(endpoints if len(endpoints) > 1 else ())
        for host_id, given in own.items():
            doubled[host_id].update(given if host_id and len(given) > 1 else ())
        return {
            host_id: tuple(sorted(doubled[host_id])) or (_elected(counts, own[host_id]),)
            for host_id, counts in sorted(votes.items())
        }

    def _distinct_maps(self) -> Iterator[tuple[Mapping[str, str], list[str]]]:
        """Each map of host ids, with the host ids of the nodes whose testimonies have it; equal ones once."""
        distinct: dict[int, tuple[Mapping[str, str], list[str]]] = {}
        for testimony in self._testimonies:
            host_ids = _NO_HOST_IDS if testimony.host_ids is None else testimony.host_ids
            distinct.setdefault(id(host_ids), (host_ids, []))[1].append(testimony.own or "")
        return iter(distinct.values())

    def _without_host_id(self, identified: Directory) -> list[str]:
        """Endpoints that own tokens, move or are live, and that mean none of the nodes with a host id."""
        unknown: set[str] = set()
        for lists, host_ids in self._distinct_lists():
            unknown.update(endpoint for endpoint in lists if identified.index_of(endpoint, host_ids) is None)
        with_port = {ip_of(endpoint) for endpoint in unknown if has_port(endpoint)}
        return sorted(endpoint for endpoint in unknown if has_port(endpoint) or endpoint not in with_port)

    def _distinct_lists(self) -> Iterator[tuple[frozenset[str], Mapping[str, str]]]:
        """The endpoints that own tokens, move or are live, with the host ids of the same testimony; equal ones once."""
        distinct: dict[tuple[object, ...], tuple[frozenset[str], Mapping[str, str]]] = {}
        for testimony in self._testimonies:
            lists = (testimony.host_ids, testimony.owners, testimony.live)
            key = (*map(id, lists), testimony.moving)  # sources share equal values of the large ones
            if key not in distinct:
                endpoints = testimony.live | testimony.moving | (testimony.owners or frozenset())
                distinct[key] = endpoints, testimony.host_ids or _NO_HOST_IDS
        return iter(distinct.values())

    def _owning(self, directory: Directory, count: int) -> list[bool | None]:
        """Whether each member owns tokens: True if any testimony lists it as an owner.

        False if testimonies with owners don't list it; None if one that knows the member can't list owners.
        """
        owning: list[bool | None] = [None] * count
        unsure: set[int] = set()
        distinct = {(id(testimony.host_ids), id(testimony.owners)): testimony for testimony in self._testimonies}
        for testimony in distinct.values():
            host_ids = testimony.host_ids or _NO_HOST_IDS
            if testimony.owners is None:
                known = (directory.index_of(endpoint, host_ids) for endpoint in host_ids)
                unsure.update(index for index in known if index is not None)
                continue
            for index in {directory.index_of(endpoint, host_ids) for endpoint in testimony.owners} - {None}:
                owning[index] = True  # type: ignore[index]
            for index, owns in enumerate(owning):
                owning[index] = owns or (False if owns is None and testimony.owners else owns)
        return [None if owns is False and index in unsure else owns for index, owns in enumerate(owning)]

    def _is_around(self, member: Member) -> bool:
        """Whether a node that owns nothing is in a movement or listed as live."""
        lists = chain.from_iterable((testimony.live, testimony.moving) for testimony in self._testimonies)
        distinct = {id(endpoints): endpoints for endpoints in lists}
        if any(member.endpoint in endpoints for endpoints in distinct.values()):
            return True
        return any(
            host_id == member.host_id and (endpoint in testimony.live or endpoint in testimony.moving)
            for testimony in self._testimonies
            for endpoint, host_id in (testimony.host_ids or {}).items()
            if member.host_id
        )

    def index_of(self, endpoint: str, host_ids: Mapping[str, str] | None) -> int | None:
        """The index of the member that an endpoint means, as `Directory.index_of`."""
        return self.directory.index_of(endpoint, host_ids or _NO_HOST_IDS)

    def index_of_host_id(self, host_id: str | None, host_ids: Mapping[str, str] | None) -> int | None:
        """The index of the member with this host id, or else of the member at the endpoint that it reports for itself.

        None if it is not a member.
        """
        by_host_id = self.directory.index_of("", {"": host_id or ""})
        if by_host_id is not None:
            return by_host_id
        own = (endpoint for endpoint, other in (host_ids or {}).items() if host_id and other == host_id)
        indexes = (self.directory.index_of(endpoint, _NO_HOST_IDS) for endpoint in sorted(own))
        return next((index for index in indexes if index is not None), None)

    def known_otherwise(self, host_ids: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
        """The (endpoint, host id) pairs of a testimony that differ from those of the members, sorted."""
        if host_ids is None:
            return ()
        known = self._otherwise.get(id(host_ids))
        if known is None or known[0] is not host_ids:
            by_ip = {ip: members[-1].host_id for ip, members in self.at_ip.items()}
            by_endpoint = {member.endpoint: member.host_id for member in self.members}
            pairs = [
                (endpoint, host_id)
                for endpoint, host_id in host_ids.items()
                if by_endpoint.get(endpoint) != host_id and (has_port(endpoint) or by_ip.get(endpoint) != host_id)
            ]
            known = self._otherwise[id(host_ids)] = host_ids, tuple(sorted(pairs))
        return known[1]

    @cached_property
    def at_ip(self) -> Mapping[str, tuple[Member, ...]]:
        """The members by IP address: several of them if their ports differ."""
        members: dict[str, tuple[Member, ...]] = {}
        for member in self.members:
            ip = ip_of(member.endpoint)
            members[ip] = (*members.get(ip, ()), member)
        return members

    def strangers_to(self, testimony: Testimony) -> frozenset[str]:
        """Addresses of the token owners that a testimony does not know as members.

        A node knows a member by its host id, by its tokens or by its movement. That gossip reaches an endpoint does
        not make it a member: the node places no replica on it.
        """
        host_ids = testimony.host_ids
        if host_ids is None:
            return frozenset()
        lists = (host_ids, testimony.owners or (), testimony.moving)
        known = {self.index_of(endpoint, host_ids) for endpoint in chain.from_iterable(lists)}
        return frozenset(
            member.address
            for index, member in enumerate(self.members)
            if index not in known and (member.owns or member.owns is None)
        )

    def owners_beyond(self, testimony: Testimony) -> frozenset[str]:
        """Token owners by a testimony that are not members; if it lists no owners, all its endpoints with a host id."""
        host_ids = testimony.host_ids or _NO_HOST_IDS
        owners = host_ids if testimony.owners is None else testimony.owners
        return frozenset(endpoint for endpoint in owners if self.index_of(endpoint, host_ids) is None)

    def owners_denied(self, testimony: Testimony) -> list[str]:
        """Addresses of the members that own tokens by this testimony, and none by those that count."""
        host_ids = testimony.host_ids or _NO_HOST_IDS
        indexes = {self.index_of(endpoint, host_ids) for endpoint in testimony.owners or ()}
        return [one.address for index, one in enumerate(self.members) if index in indexes and one.owns is False]

    def unexplained(self, testimony: Testimony) -> bool:
        """Whether a testimony lists an endpoint that is not a member, or does not list every member."""
        host_ids = testimony.host_ids or _NO_HOST_IDS
        listed = {self.index_of(endpoint, host_ids) for endpoint in testimony.live | testimony.moving}
        if None in listed:
            return True
        known = listed.union(self.index_of(endpoint, host_ids) for endpoint in testimony.unreachable)
        return len(known - {None}) < len(self.members) or None in known


def _elected(votes: Mapping[str, int], own: Iterable[str]) -> str:
    """The endpoint of a node: the one that it gives itself, otherwise the one that most testimonies give."""
    first = sorted(own) or sorted(votes, key=lambda endpoint: (-votes[endpoint], not has_port(endpoint), endpoint))
    elected = first[0]
    if has_port(elected):
        return elected
    # The testimony may be from a release that reports no ports; another one may have the port.
    with_port = sorted(endpoint for endpoint in votes if ip_of(endpoint) == elected and has_port(endpoint))
    return with_port[0] if with_port else elected


def _members(pairs: Iterable[tuple[str, str | None]]) -> tuple[Member, ...]:
    return tuple(Member(address=endpoint, endpoint=endpoint, host_id=host_id) for endpoint, host_id in pairs)


def _named(kept: Sequence[tuple[str, str | None, bool | None]]) -> tuple[Member, ...]:
    """Members with their names, sorted by address; a name has a port only if members share the address."""
    ips = Counter(ip_of(endpoint) for endpoint, _, _ in kept)
    members = [
        Member(
            address=endpoint if ips[ip_of(endpoint)] > 1 else ip_of(endpoint),
            endpoint=endpoint,
            host_id=host_id,
            owns=owns,
        )
        for endpoint, host_id, owns in kept
    ]
    return tuple(sorted(members, key=lambda member: (order(member.endpoint), member.host_id or "")))


def claimed_twice(nodes: Sequence[Node]) -> dict[tuple[str, str], tuple[int, ...]]:
    """Host ids and addresses that several nodes claim: (`host id` or `address`, value) and the nodes' indexes.

    Nodes can share an address only if their ports differ. If one of them is known without its port, the address does
    not say which node it means.
    """
    portless = {node.address for node in nodes if not has_port(node.address)}
    addresses = [ip if (ip := ip_of(node.address)) in portless else node.address for node in nodes]
    host_ids = [node.host_id for node in nodes if node.host_id]
    if len(set(addresses)) == len(addresses) and len(set(host_ids)) == len(host_ids):  # as in almost every cluster
        return {}
    claims: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, (node, address) in enumerate(zip(nodes, addresses, strict=True)):
        claims["address", address].append(index)
        if node.host_id:
            claims["host id", node.host_id].append(index)
    return {claim: tuple(claiming) for claim, claiming in claims.items() if len(claiming) > 1}
