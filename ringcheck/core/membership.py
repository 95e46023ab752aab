"""Who is a member of the cluster, by what all nodes say together.

A node's identity is its host id; an endpoint is where it is. Members are, over all testimonies that count, the owners
of tokens and the nodes that join, leave, move or are being replaced. A token owner whose host id nobody knows is a
member under its endpoint. An endpoint that owns nothing and is in no movement is no member: it is nobody if no
testimony lists it as live, and a node that only coordinates if one does.

No testimony is better than another, and their order does not matter. The address that a node gives itself is the one
that is shown, else the one that most testimonies give.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from ringcheck.core.endpoint import has_port, ip_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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
    """What one node that counts says of the members; endpoints are canonical text.

    Attributes:
        own: its own host id.
        host_ids: host id by endpoint, for all that it knows; None if it was not asked.
        owners: endpoints that own tokens; None if it was not asked or can't say.
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
        address: its name, the address; with its port only if members share the address.
        endpoint: its address, with the port if a testimony tells ports.
        host_id: None if no testimony knows it.
        owns: whether it owns tokens, by any testimony; None if no testimony can say.
    """

    address: str
    endpoint: str
    host_id: str | None
    owns: bool | None = None


class Directory:
    """Finds the node that an endpoint in a node's lists means."""

    def __init__(self, nodes: Sequence[Named]) -> None:
        ids = Counter(node.host_id for node in nodes if node.host_id)
        self._by_host_id = {
            node.host_id: index for index, node in enumerate(nodes) if node.host_id and ids[node.host_id] == 1
        }
        self._by_text: dict[str, int] = {}
        sharing: dict[str, list[int]] = defaultdict(list)
        for index, node in enumerate(nodes):
            sharing[ip_of(node.endpoint or node.address)].append(index)
            self._by_text.setdefault(node.address, index)
        self._by_text |= {node.endpoint: index for index, node in enumerate(nodes) if node.endpoint}
        self._by_ip = {ip: indexes[0] for ip, indexes in sharing.items() if len(indexes) == 1}
        # Of a node that only releases before 4.0 name, the port is not known.
        self._portless = {ip: index for ip, index in self._by_ip.items() if _port_unknown(nodes[index])}

    def index_of(self, endpoint: str, host_ids: Mapping[str, str]) -> int | None:
        """The node that is meant by an endpoint; None for an endpoint that is no node's.

        Args:
            endpoint: canonical, as a node lists it.
            host_ids: host id by endpoint, as the same node knows it; may leave out what it knows as all do.
        """
        meant = self._by_host_id.get(host_ids.get(endpoint, ""))
        if meant is not None:
            return meant
        found = self._by_text.get(endpoint)
        if found is not None:
            return found
        # Releases before 4.0 tell no port; an endpoint with another port is another instance.
        return self._portless.get(ip_of(endpoint)) if has_port(endpoint) else self._by_ip.get(endpoint)


def _port_unknown(node: Named) -> bool:
    return not has_port(node.endpoint or node.address)


_NO_HOST_IDS: Mapping[str, str] = {}


class Roster:
    """The members, from all testimonies."""

    def __init__(self, testimonies: Sequence[Testimony]) -> None:
        self._testimonies = testimonies
        self._endpoints = self._by_host_id()
        found: list[tuple[str, str | None]] = [
            (endpoint, host_id) for host_id, places in self._endpoints.items() for endpoint in places
        ]
        named = Directory(_members(found))
        found += [(endpoint, None) for endpoint in self._without_host_id(named)]
        judged = _members(found)
        owning = self._owning(Directory(judged), len(judged))
        kept = [
            (member.endpoint, member.host_id, owns)
            for member, owns in zip(judged, owning, strict=True)
            if owns is not False or self._is_around(member)
        ]
        self.members = _named(kept)
        self.directory = Directory(self.members)

    def _by_host_id(self) -> dict[str, tuple[str, ...]]:
        """Where each host id is: one endpoint, or several if several nodes have that host id.

        They do if one testimony has it at several endpoints, or nodes with it give themselves different endpoints.
        """
        said: dict[str, Counter[str]] = defaultdict(Counter)
        own: dict[str, set[str]] = defaultdict(set)
        doubled: dict[str, set[str]] = defaultdict(set)
        for one in self._testimonies:
            places: dict[str, list[str]] = defaultdict(list)
            for endpoint, host_id in (one.host_ids or {}).items():
                said[host_id][endpoint] += 1
                places[host_id].append(endpoint)
            own[one.own or ""].update(places.get(one.own or "", ()))
            for host_id, endpoints in places.items():
                doubled[host_id].update(endpoints if len(endpoints) > 1 else ())
        for host_id, given in own.items():
            doubled[host_id].update(given if host_id and len(given) > 1 else ())
        return {
            host_id: tuple(sorted(doubled[host_id])) or (_where(counts, own[host_id]),)
            for host_id, counts in sorted(said.items())
        }

    def _without_host_id(self, named: Directory) -> list[str]:
        """Endpoints that own tokens, move or are live, and whose host id nobody knows."""
        found: set[str] = set()
        for lists, host_ids in self._distinct_lists():
            found.update(one for one in lists if named.index_of(one, host_ids) is None)
        with_port = {ip_of(one) for one in found if has_port(one)}
        return sorted(one for one in found if has_port(one) or one not in with_port)

    def _distinct_lists(self) -> Iterator[tuple[frozenset[str], Mapping[str, str]]]:
        """Endpoints that are nodes, as testimonies that say the same say it."""
        seen: dict[tuple[int, ...], tuple[frozenset[str], Mapping[str, str]]] = {}
        for one in self._testimonies:
            key = (id(one.host_ids), id(one.owners), id(one.live), id(one.moving))
            if key not in seen:
                lists = one.live | one.moving | (one.owners or frozenset())
                seen[key] = lists, one.host_ids or _NO_HOST_IDS
        return iter(seen.values())

    def _owning(self, directory: Directory, count: int) -> list[bool | None]:
        """Whether each member owns tokens: if one testimony says so; not, if those that know it say it does not."""
        found: list[bool | None] = [None] * count
        unsure: set[int] = set()
        for one in {(id(one.host_ids), id(one.owners)): one for one in self._testimonies}.values():
            host_ids = one.host_ids or _NO_HOST_IDS
            known = {directory.index_of(endpoint, host_ids) for endpoint in host_ids}
            if one.owners is None:
                unsure.update(index for index in known if index is not None)
                continue
            for index in {directory.index_of(endpoint, host_ids) for endpoint in one.owners} - {None}:
                found[index] = True  # type: ignore[index]
            for index, owns in enumerate(found):
                found[index] = owns or (False if owns is None and one.owners else owns)
        return [None if owns is False and index in unsure else owns for index, owns in enumerate(found)]

    def _is_around(self, member: Member) -> bool:
        """Whether a node that owns nothing is in a movement or listed as live."""
        lists = chain.from_iterable((one.live, one.moving) for one in self._testimonies)
        texts = {member.endpoint, ip_of(member.endpoint)} if not has_port(member.endpoint) else {member.endpoint}
        meant = any(not texts.isdisjoint(one) for one in {id(one): one for one in lists}.values())
        return meant or any(
            host_id == member.host_id and (endpoint in one.live or endpoint in one.moving)
            for one in self._testimonies
            for endpoint, host_id in (one.host_ids or {}).items()
            if member.host_id
        )

    def index_of(self, endpoint: str, host_ids: Mapping[str, str] | None) -> int | None:
        """The member that is meant by an endpoint, as `Directory.index_of`."""
        return self.directory.index_of(endpoint, host_ids or _NO_HOST_IDS)

    def itself(self, host_id: str | None, host_ids: Mapping[str, str] | None) -> int | None:
        """The member that a node is which answers with a host id, by the endpoint that it gives itself if need be."""
        found = self.directory.index_of("", {"": host_id or ""})
        if found is not None:
            return found
        own = (endpoint for endpoint, other in (host_ids or {}).items() if host_id and other == host_id)
        places = (self.directory.index_of(endpoint, _NO_HOST_IDS) for endpoint in sorted(own))
        return next((index for index in places if index is not None), None)

    def known_otherwise(self, host_ids: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
        """The pairs of endpoint and host id that a testimony has otherwise than the members are, sorted."""
        here = {member.endpoint: member.host_id for member in self.members}
        plain = {ip_of(member.endpoint): member.host_id for member in self.members}
        return tuple(
            sorted(
                (endpoint, host_id)
                for endpoint, host_id in (host_ids or {}).items()
                if here.get(endpoint) != host_id and (has_port(endpoint) or plain.get(endpoint) != host_id)
            )
        )

    def strangers_to(self, one: Testimony) -> frozenset[str]:
        """Addresses of the token owners that a testimony does not know as members, in any of its lists."""
        host_ids = one.host_ids
        if host_ids is None:
            return frozenset()
        lists = (host_ids, one.owners or (), one.live, one.unreachable, one.moving)
        known = {self.index_of(endpoint, host_ids) for endpoint in chain.from_iterable(lists)}
        return frozenset(
            member.address
            for index, member in enumerate(self.members)
            if index not in known and (member.owns or member.owns is None)
        )

    def unexplained(self, one: Testimony) -> bool:
        """Whether a testimony's lists name a live or moving endpoint that is no member, or lack a member."""
        host_ids = one.host_ids or _NO_HOST_IDS
        listed = {self.index_of(endpoint, host_ids) for endpoint in one.live | one.moving}
        if None in listed:
            return True
        known = listed.union(self.index_of(endpoint, host_ids) for endpoint in one.unreachable)
        return len(known - {None}) < len(self.members) or None in known


def _where(said: Mapping[str, int], own: Iterable[str]) -> str:
    """The endpoint of a node: that which it gives itself, else that which most testimonies give."""
    first = sorted(own) or sorted(said, key=lambda endpoint: (-said[endpoint], not has_port(endpoint), endpoint))
    chosen = first[0]
    # The same with a port, if the testimony that was chosen is of a release that tells none.
    with_port = sorted(one for one in said if ip_of(one) == chosen and has_port(one))
    return with_port[0] if with_port and not has_port(chosen) else chosen


def _members(found: Iterable[tuple[str, str | None]]) -> tuple[Member, ...]:
    return tuple(Member(address=endpoint, endpoint=endpoint, host_id=host_id) for endpoint, host_id in found)


def _named(found: Sequence[tuple[str, str | None, bool | None]]) -> tuple[Member, ...]:
    """Members with their names, sorted: addresses, with the port only if members share one."""
    ips = Counter(ip_of(endpoint) for endpoint, _, _ in found)
    members = [
        Member(
            address=endpoint if ips[ip_of(endpoint)] > 1 else ip_of(endpoint),
            endpoint=endpoint,
            host_id=host_id,
            owns=owns,
        )
        for endpoint, host_id, owns in found
    ]
    return tuple(sorted(members, key=lambda member: (by_address(member.endpoint), member.host_id or "")))


def by_address(endpoint: str) -> tuple[int, int, str]:
    """A key that sorts endpoints as addresses: IPv4 before IPv6, numbers as numbers."""
    ip = ip_address(ip_of(endpoint))
    return ip.version, int(ip), endpoint
