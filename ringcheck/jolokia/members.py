"""Who the members of a cluster are, what each is called, and whose word may be used.

Pure. Owns the names of nodes (an address where it is unique, else address and port) and the rules by which a node's
own view is believed; knows nothing of how it was read.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias

from ringcheck.core.ring import COORDINATING, Node, View
from ringcheck.errors import RingcheckError, SourceError
from ringcheck.jolokia.decode import ip_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ringcheck.core.ring import JolokiaState
    from ringcheck.jolokia.decode import Reading

Answer: TypeAlias = "Reading | RingcheckError"

_NAMED = 3  # addresses in a message
_SETS = 256  # sets of names that are kept for sharing


class Names:
    """What nodes are called: the address, with the port only where two nodes share one (4.0+)."""

    def __init__(self, endpoints: Iterable[str]) -> None:
        """Learn who shares an address.

        Args:
            endpoints: canonical, of all members.
        """
        ips = [ip_of(endpoint) for endpoint in set(endpoints)]
        self.shared = frozenset(ip for ip in ips if ips.count(ip) > 1) if len(set(ips)) < len(ips) else frozenset()
        self._known: dict[frozenset[str], frozenset[str]] = {}

    def one(self, endpoint: str) -> str:
        """The name of an endpoint."""
        ip = ip_of(endpoint)
        return endpoint if ip in self.shared else ip

    def all(self, endpoints: frozenset[str]) -> frozenset[str]:
        """The names of a set of endpoints; equal sets share one."""
        found = self._known.get(endpoints)
        if found is None:
            if len(self._known) > _SETS:
                self._known.clear()
            found = self._known[endpoints] = frozenset(map(self.one, endpoints))
        return found


def by_address(name: str) -> tuple[int, int, str]:
    """A key that sorts names as addresses."""
    ip = ip_address(ip_of(name))
    return ip.version, int(ip), name


@dataclass(frozen=True, slots=True)
class Member:
    """A node that the cluster knows.

    Attributes:
        name: see `Names`.
        endpoint: as the source of the membership writes it.
        host_id: None for a node that is in gossip only, such as a replacement before it takes over.
    """

    name: str
    endpoint: str
    host_id: str | None


def members_of(guide: Reading, names: Names) -> tuple[Member, ...]:
    """All members that a node knows of, sorted by address.

    A node that has left is listed as unreachable for days if its process was still there for a while (seen on 5.0.8):
    who is nothing but unreachable is no member.

    Args:
        guide: its reading, with host ids.
        names: what to call them.
    """
    ids = dict(guide.host_ids or {})
    for endpoint in (*guide.live, *guide.joining):
        ids.setdefault(endpoint, "")
    found: dict[str, Member] = {}
    for endpoint, host_id in ids.items():
        name = names.one(endpoint)
        if name not in found or host_id:
            found[name] = Member(name, endpoint, host_id or None)
    return tuple(sorted(found.values(), key=lambda member: by_address(member.name)))


def refusal(reading: Reading) -> str | None:
    """Why a node's view must not be used, by what it says of itself alone."""
    if reading.mode is None:
        return "starting: StorageService is not registered yet"
    if reading.mode not in COORDINATING:
        return reading.mode.lower().replace("_", " ")
    if not reading.gossip_running:
        return "gossip is off: its view is frozen"
    return None


def unsettled(reading: Reading, name: str, names: Names, members: frozenset[str]) -> str | None:
    """Why a view is not complete yet: a node that has just started has not heard of all."""
    live, unreachable = names.all(reading.live), names.all(reading.unreachable)
    missing = members - live - unreachable - {name}
    if missing and live <= {name}:
        return "starting: it sees only itself so far"
    if missing:
        return f"not settled: {listed(missing)} in neither of its lists"
    return None if name in live else "it does not list itself as live"


def listed(found: Iterable[str]) -> str:
    """A few names with their verb: `10.0.0.1 is`, `10.0.0.1, 10.0.0.2 and 7 more are`."""
    sorted_ = sorted(found, key=by_address)
    if len(sorted_) == 1:
        return f"{sorted_[0]} is"
    head, more = sorted_[:_NAMED], len(sorted_) - _NAMED
    return f"{', '.join(head)} and {more} more are" if more > 0 else f"{', '.join(head[:-1])} and {head[-1]} are"


def view_of(reading: Reading, name: str, names: Names, members: frozenset[str]) -> View:
    """A node's view, discarded with its reason where it must not be believed."""
    reason = refusal(reading) or unsettled(reading, name, names, members)
    if not reason and not reading.native_transport_running:
        reason = "native transport is off: it serves no clients"
    return View(
        name,
        "discarded" if reason else "ok",
        reason,
        names.all(reading.live),
        names.all(reading.unreachable),
        names.all(reading.joining),
        names.all(reading.leaving),
        names.all(reading.moving),
        reading.schema_version,
    )


def unheard(name: str, error: RingcheckError) -> View:
    """The view of a node that could not be asked or made no sense."""
    return View(name, "unreachable", str(error))


def state_of(error: RingcheckError) -> JolokiaState:
    """What an error says about a node's Jolokia."""
    kind = error.kind if isinstance(error, SourceError) else "error"
    states: Mapping[str, JolokiaState] = {"unreachable": "unreachable", "denied": "denied"}
    return states.get(kind, "error")


def node_of(member: Member, reading: Reading, place: tuple[str | None, str | None], tokens: int | None) -> Node:
    """A node that answered."""
    return Node(
        member.name,
        member.host_id or reading.host_id,
        *place,
        reading.release,
        reading.mode,
        reading.gossip_running,
        reading.native_transport_running,
        reading.generation,
        "ok",
        tokens,
    )
