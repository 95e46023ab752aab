"""What a node reports of its own configuration: how clients log in to it, and its datacenter and rack.

Each node has a configuration of its own, so no node can answer for another: `auth_read_consistency_level` and the
authenticator may be changed on one node after the other, and a file of the snitch may differ on one of them. How
clients log in is asked within the request that a node gets in each poll: at first and after a restart, until the node
    has reported everything, and later once in a while. After the ring was read, nodes are asked where they place
    themselves
and, in a small cluster, all other nodes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ringcheck.core.ring import Problem
from ringcheck.core.words import listed
from ringcheck.http.replies import LONGEST_TEXT, printable
from ringcheck.jolokia import mbeans, outcomes
from ringcheck.jolokia.topology import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.ring import Node
    from ringcheck.jolokia.mbeans import Request
    from ringcheck.jolokia.node_report import NodeReport
    from ringcheck.jolokia.outcomes import Outcome
    from ringcheck.jolokia.topology import Location

_LONGEST_NAME = 255  # characters of a datacenter or rack; Cassandra sets no limit
_UNKNOWN = frozenset({"UNKNOWN_DC", "UNKNOWN_RACK"})  # GossipingPropertyFileSnitch's names for an unknown node

REQUESTS: Mapping[str, Request] = {mbean: mbeans.read(mbean, attribute) for mbean, attribute, _ in mbeans.LOGINS}
_FINAL = frozenset({outcomes.OK, outcomes.FORBIDDEN, outcomes.NOT_FOUND})
_AT_ONCE = 3  # polls
EVERY = 20  # polls after which a node is asked again, since some settings can be changed over JMX


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSettings:
    """How clients log in to a node.

    Attributes:
        authenticates: whether its clients must log in; true also if an access policy hides it, None before 3.4.
        auth_read_level: consistency level at which it reads system_auth for logins; None if unknown.
    """

    authenticates: bool | None = None
    auth_read_level: str | None = None


class Logins:
    """How clients log in to one node, by its answers so far.

    The MBeans that show it appear while a node starts, some of them only with the first login. So an MBean that is
    missing says little at first: what the process before showed stays true for a while.

    Attributes:
        known: the settings; None if the node was not asked while it served clients.
    """

    __slots__ = ("_age", "_complete", "_polls", "_renewed", "known")

    def __init__(self) -> None:
        self.known: OwnSettings | None = None
        self._complete = False
        self._age = 0  # polls since the last answer
        self._polls = 0  # for which its process has served clients
        self._renewed = False

    @property
    def due(self) -> bool:
        """Whether it is time to ask: while something is missing in each of the first polls, later once in a while."""
        return self._age > EVERY or self.urgent

    @property
    def urgent(self) -> bool:
        """Whether a process that has only served clients for a short time has not reported everything."""
        return not self._complete and self._polls <= EVERY

    def count(self) -> None:
        """Count a poll."""
        self._age += 1
        self._polls += 1

    def renew(self) -> None:
        """Note that the node has another process."""
        self._complete, self._polls, self._renewed = False, 0, self.known is not None

    def take(self, answers: Mapping[str, Outcome], report: NodeReport) -> None:
        """Take the outcomes of `REQUESTS`; those of a node that serves no clients say nothing."""
        self._age = 0
        if not report.native_transport_running:
            self._polls = 0
            return
        found = own_settings(answers, report.release)
        young = self._renewed and self._polls <= EVERY
        if young and self.known and self.known.authenticates and not found.authenticates:
            found = replace(found, authenticates=True)
        levelled = mbeans.release(report.release) < mbeans.AUTH_LEVEL or found.auth_read_level is not None
        self._complete = levelled or not found.authenticates
        if found != self.known:
            self.known = found


class Places:
    """Where one node's process places nodes, by its answers so far.

    Attributes:
        known: locations by host id; (None, None) where the node does not report it.
    """

    __slots__ = ("_tries", "known")

    def __init__(self) -> None:
        self.known: dict[str, Location] = {}
        self._tries = 0  # polls in which something was missing

    def due(self, targets: Iterable[str]) -> bool:
        """Whether it is time to ask about these host ids: a few times at once, and then once in a while."""
        if self.known.keys() >= set(targets):
            self._tries = 0
            return False
        self._tries += 1
        return self._tries <= _AT_ONCE or self._tries % EVERY == 0

    def take(self, targets: Iterable[str], answers: Sequence[Outcome]) -> None:
        """Take the outcomes of `mbeans.locations`; where the snitch threw, the node is asked again."""
        for host_id, pair in zip(targets, zip(answers[::2], answers[1::2], strict=True), strict=True):
            if all(answer.status in _FINAL for answer in pair):
                self.known[host_id] = snitch_name(pair[0].value), snitch_name(pair[1].value)


def own_settings(answers: Mapping[str, Outcome], release: str | None) -> OwnSettings:
    """The settings in the outcomes of `REQUESTS`.

    Args:
        answers: outcome by the names of `REQUESTS`.
        release: ReleaseVersion of the node; older releases lack some of the MBeans.
    """
    known = mbeans.release(release)
    logins = [answers[mbean] for mbean, _, since in mbeans.LOGINS if known >= since]
    return OwnSettings(
        authenticates=not all(map(outcomes.is_missing_mbean, logins)) if logins else None,
        auth_read_level=_level(answers[mbeans.AUTH_PROPERTIES].value) if known >= mbeans.AUTH_LEVEL else None,
    )


def _level(reported: object) -> str | None:
    return printable(reported)[:LONGEST_TEXT] if isinstance(reported, str) else None


def authenticates(settings: Iterable[OwnSettings]) -> bool | None:
    """Whether clients must log in to some node; assumed for releases that do not report it; None if none was asked."""
    answers = {one.authenticates for one in settings}
    return answers != {False} if answers else None


def auth_read_level(settings: Iterable[OwnSettings]) -> str | None:
    """The level at which most nodes read system_auth, for those that do not report it; None if none does."""
    levels = Counter(one.auth_read_level for one in settings if one.auth_read_level is not None)
    return max(levels, key=lambda level: (levels[level], level), default=None)


# Locations


def snitch_name(reported: object) -> str | None:
    """A datacenter or rack as a snitch names it; None if it is not a text, or too long, since the node chose it."""
    return reported if isinstance(reported, str) and len(reported) <= _LONGEST_NAME else None


def location_name(reported: object) -> str | None:
    """A datacenter or rack; None if the snitch does not know it."""
    name = snitch_name(reported)
    return None if name in _UNKNOWN else name


def differs(place: Location, other: Location) -> bool:
    """Whether two locations of a node contradict each other; what is not known contradicts nothing.

    A snitch that does not know a node that it must know says so by a name, which is a location like any other: by it
    the node's coordinators place replicas.
    """
    return any(one and two and one != two for one, two in zip(place, other, strict=True))


def located_otherwise(nodes: Iterable[Node], placed: Iterable[tuple[str, str, Location]]) -> Iterator[Problem]:
    """A problem for each node that some nodes place elsewhere than the node does from which the ring was read.

    Args:
        nodes: as the ring has them.
        placed: who places which node where, both by address.
    """
    ring = {node.address: (node.datacenter, node.rack) for node in nodes}
    observers: dict[tuple[str, Location], list[str]] = defaultdict(list)
    for observer, address, place in placed:
        if differs(place, ring.get(address, NOWHERE)):
            observers[address, place].append(observer)
    for (address, place), names in observers.items():
        verb = "places" if len(names) == 1 else "place"
        whom = "itself" if names == [address] else address
        text = f"{listed(names)} {verb} {whom} in {_written(place)}, and the ring that was read has it in "
        yield Problem("location_disagreement", address, f"{text}{_written(ring[address])}")


def _written(place: Location) -> str:
    datacenter, rack = place
    return printable(f"{datacenter or 'an unknown datacenter'}, {rack or 'an unknown rack'}")
