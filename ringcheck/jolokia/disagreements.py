"""What the reports of one poll disagree about: which nodes are members, and which process has a host id. Pure."""

from __future__ import annotations

from collections import defaultdict
from math import isclose
from typing import TYPE_CHECKING, NamedTuple

from ringcheck.core.endpoint import ip_of, order
from ringcheck.core.ring import Problem
from ringcheck.core.words import listed
from ringcheck.jolokia.proxy import place
from ringcheck.jolokia.testimony import believable, serving, testimony

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.membership import Member, Testimony
    from ringcheck.jolokia.endpoint import JolokiaEndpoint
    from ringcheck.jolokia.membership import AgentReport, MemberReport, Membership

_NEVER_BELIEVED = frozenset({None, "DECOMMISSIONED"})  # modes of nodes that know no ring yet, or only a past one


def unknown_to_some(membership: Membership, reports: Iterable[MemberReport]) -> Iterator[Problem]:
    """A problem for each set of token owners that some serving nodes do not know as members.

    Nodes that any of them lists as joining, leaving or moving are left out: gossip about them is under way.
    """
    testimonies = [(member, testimony(agent, report)) for member, agent, report in reports if serving(report)]
    moving = _moving(membership, (statement for _, statement in testimonies))
    unknown: dict[tuple[int, ...], frozenset[str]] = {}
    observers: dict[frozenset[str], list[str]] = defaultdict(list)
    for member, statement in testimonies:
        key = (id(statement.host_ids), id(statement.owners), id(statement.live), id(statement.unreachable))
        if key not in unknown:
            unknown[key] = membership.roster.strangers_to(statement) - moving
        if unknown[key]:
            observers[unknown[key]].append(member.address)
    for addresses, names in observers.items():
        yield Problem("membership_disagreement", names[0], _do_not_know(names, addresses))


def known_to_idle_nodes(membership: Membership, reports: Iterable[MemberReport]) -> Iterator[Problem]:
    """A problem for each set of token owners known only to nodes whose reports on the members do not count.

    Such a node is drained, starts, or has gossip switched off. Either the owners have left since, or the other nodes
    have lost them. A node that has left the ring itself is not believed. An owner that the other nodes know without
    tokens, for example as joining, makes the ring that they report doubtful.
    """
    observers: dict[frozenset[str], list[Member]] = defaultdict(list)
    denied: dict[str, list[str]] = defaultdict(list)
    idle_reports = (item for item in reports if not believable(item.report) and item.report.mode not in _NEVER_BELIEVED)
    for member, agent, report in idle_reports:
        statement = testimony(agent, report)
        observers[membership.roster.owners_beyond(statement)].append(member)
        for address in membership.roster.owners_denied(statement):
            denied[address].append(member.address)
    for address, names in denied.items():
        text = f"{_know(names)} {address} as a token owner, and no node whose report counts does"
        yield Problem("ring_behind", address, text)
    observers.pop(frozenset(), None)
    for endpoints, idle in observers.items():
        names = [member.address for member in idle]
        known = listed(sorted(map(ip_of, endpoints), key=order))
        what = "a member" if len(endpoints) == 1 else "members"
        text = f"{_know(names)} {known} as {what}, and no node whose report counts does"
        yield Problem("unconfirmed_member", names[0], text)


def live_but_down(membership: Membership, reports: Iterable[MemberReport]) -> Iterator[Problem]:
    """A problem for each member that serving nodes list as live, though their failure detectors have it down."""
    observers: dict[int, list[str]] = defaultdict(list)
    for member, agent, report in reports:
        if report.live_but_down and serving(report):
            for index in {membership.roster.index_of(one, agent.host_ids) for one in report.live_but_down} - {None}:
                observers[index].append(member.address)  # type: ignore[index]
    for index, names in sorted(observers.items()):
        address = membership.members[index].address
        verb, whose = ("lists", "its failure detector has") if len(names) == 1 else ("list", "their detectors have")
        text = f"{listed(names)} {verb} {address} as live, but {whose} it down: no query from there reaches it"
        yield Problem("live_but_down", address, text)


def different_tokens(membership: Membership, reports: Iterable[MemberReport]) -> Iterator[Problem]:
    """A problem for each set of serving nodes that give members other shares of the ring than most nodes do.

    The shares follow from the tokens of all nodes, and these change when a node sees a movement end. So only nodes that
    list the same movements are compared.
    """
    alike: dict[object, list[MemberReport]] = defaultdict(list)
    for item in reports:
        if serving(item.report):
            alike[_movements(membership, item)].append(item)
    for group in alike.values():
        yield from _different(membership, _camps(membership, group))


def _movements(membership: Membership, item: MemberReport) -> object:
    """The members that a node lists as joining, leaving and moving; by index."""
    lists = item.report.joining, item.report.leaving, item.report.moving
    host_ids = item.agent.host_ids
    return tuple([frozenset(membership.roster.index_of(one, host_ids) for one in some) for some in lists])


def _different(membership: Membership, camps: Sequence[_Camp]) -> Iterator[Problem]:
    """A problem for each set of nodes but the largest."""
    for camp in camps[1:]:
        believed = camps[0].shares
        index = _differing(camp.shares, believed)[0]
        names = [member.address for member in camp.members]
        text = (
            f"{listed(names)} {'gives' if len(names) == 1 else 'give'} {membership.members[index].address} "
            f"{camp.shares.get(index, 0):.2%} of the ring, and {camps[0].members[0].address} gives it "
            f"{believed.get(index, 0):.2%}: they know different tokens"
        )
        yield Problem("token_disagreement", names[0], text)


class _Camp(NamedTuple):
    """Nodes that give the members the same shares of the ring; the shares by index of member."""

    shares: Mapping[int, float]
    members: list[Member]


def _camps(membership: Membership, reports: Iterable[MemberReport]) -> list[_Camp]:
    """Nodes by the shares that they give, the largest number of nodes first; empty if all give the same.

    Those that do not know all token owners are left out: `unknown_to_some`.
    """
    by_shares: dict[tuple[int, int], tuple[MemberReport, list[Member]]] = {}
    for item in reports:
        if item.agent.shares and item.agent.host_ids is not None:
            key = id(item.agent.shares), id(item.agent.host_ids)
            by_shares.setdefault(key, (item, []))[1].append(item.member)
    if len(by_shares) == 1:  # as usual
        return []
    camps: list[_Camp] = []
    for (_, agent, report), members in by_shares.values():
        if membership.roster.strangers_to(testimony(agent, report)):
            continue
        shares = _by_index(membership, agent)
        same = (one for one in camps if not _differing(one.shares, shares))
        camp = next(same, None)
        if camp is None:
            camps.append(_Camp(shares, members))
        else:
            camp.members.extend(members)
    for camp in camps:
        camp.members.sort(key=lambda member: order(member.endpoint))
    return sorted(camps, key=lambda camp: (-len(camp.members), order(camp.members[0].endpoint)))


def _by_index(membership: Membership, agent: JolokiaEndpoint) -> dict[int, float]:
    """The shares that a node gives, by index of member; it may know a member under several endpoints."""
    shares: dict[int, float] = defaultdict(float)
    for endpoint, share in (agent.shares or {}).items():
        index = membership.roster.index_of(endpoint, agent.host_ids)
        if index is not None:
            shares[index] += share
    return dict(shares)


def _differing(some: Mapping[int, float], others: Mapping[int, float]) -> list[int]:
    """The members to which two nodes give different shares; Cassandra adds up a node's ranges as 32-bit floats."""
    return [
        index
        for index in sorted({*some, *others})
        if not isclose(some.get(index, 0.0), others.get(index, 0.0), rel_tol=1e-4, abs_tol=1e-9)
    ]


def unconfirmed_addresses(
    membership: Membership,
    reports: Sequence[MemberReport],
    agents_at: Callable[[str], Collection[JolokiaEndpoint]],
) -> Iterator[Problem]:
    """A problem for each member whose address nothing of its own confirms, and which a node knows without a host id.

    That node means the token owner at the address. Whether this is the member, only other nodes say; after two nodes
    have swapped their addresses, they may be wrong.

    Args:
        membership: the members.
        reports: that they gave of themselves.
        agents_at: agents that can only be at an endpoint.
    """
    observers: dict[Member, list[str]] = defaultdict(list)
    nameless: dict[tuple[int, ...], list[Member]] = {}
    for member, agent, report in reports:
        statement = testimony(agent, report)
        key = (id(statement.host_ids), id(statement.owners), id(statement.live))
        if key not in nameless:
            nameless[key] = _without_host_id(membership, statement)
        for owner in nameless[key] if believable(report) else ():
            observers[owner].append(member.address)
    for member, agent, report in reports:
        if member in observers and (
            _gives_itself(member, testimony(agent, report)) or agent in agents_at(member.endpoint)
        ):
            del observers[member]
    for member, names in observers.items():
        text = f"{_know(names)} {member.address} without its host id, and the node does not confirm its address"
        yield Problem("unconfirmed_address", member.address, text)


def _gives_itself(member: Member, statement: Testimony) -> bool:
    """Whether a node gives itself the endpoint at which it is a member; releases before 4.0 leave out the port."""
    host_ids = statement.host_ids or {}
    return member.host_id in {host_ids.get(member.endpoint), host_ids.get(ip_of(member.endpoint))} - {None}


def _without_host_id(membership: Membership, statement: Testimony) -> list[Member]:
    """The members with a host id that a testimony has as token owners without one."""
    if statement.host_ids is None:
        return []
    owners = statement.live if statement.owners is None else statement.owners
    indexes = {membership.roster.index_of(endpoint, {}) for endpoint in owners - statement.host_ids.keys()}
    return [member for index, member in enumerate(membership.members) if index in indexes and member.host_id]


def _moving(membership: Membership, testimonies: Iterable[Testimony]) -> frozenset[str]:
    """Addresses of the members that a testimony lists as joining, leaving or moving."""
    indexes = {
        membership.roster.index_of(endpoint, statement.host_ids)
        for statement in testimonies
        for endpoint in statement.moving
    }
    return frozenset(membership.members[index].address for index in indexes if index is not None)


def answering_twice(membership: Membership, reports: Iterable[AgentReport]) -> Iterator[Problem]:
    """A problem for each host id with which two processes answer, each at a URL of its own."""
    agents: dict[str, dict[object, JolokiaEndpoint]] = defaultdict(dict)
    for agent, report in reports:
        if report.host_id and report.generation is not None and report.cluster == membership.cluster:
            agents[report.host_id].setdefault(report.generation, agent)
    addresses = {member.host_id: member.address for member in membership.members}
    for host_id, by_generation in sorted(agents.items()):
        if len(by_generation) > 1:
            subject = addresses.get(host_id, membership.cluster)
            yield Problem("duplicate_host_id", subject, _answer_twice(host_id, by_generation.values()))


def _know(observers: Sequence[str]) -> str:
    return f"{listed(observers)} {'knows' if len(observers) == 1 else 'know'}"


def _do_not_know(observers: Sequence[str], members: Iterable[str]) -> str:
    names = sorted(members, key=order)
    verb = "does" if len(observers) == 1 else "do"
    return f"{listed(observers)} {verb} not know {listed(names)} as {'a member' if len(names) == 1 else 'members'}"


def _answer_twice(host_id: str, agents: Iterable[JolokiaEndpoint]) -> str:
    urls = sorted(place(agent.url) for agent in agents)
    return f"{' and '.join(urls[:2])} both answer as host id {host_id}"
