"""Determines which levels clients use, from the evidence of all sources, and the rules that follow from them.

All levels that were seen in the window are in use, for each keyspace if a source distinguishes keyspaces, and for the
clients of each datacenter. All of them are watched, also those that are served whenever a stricter one is: if the
stricter one can never be served, its loss is not an outage and would hide theirs. Only texts for people leave them out.
Queries that only a source without keyspaces (the nodes' counters) shows may belong to any keyspace, so they count for
all keyspaces. The default levels apply in every datacenter without evidence or with range scans, whose level is not
counted, and in all datacenters as long as part of the window is not known.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ringcheck.core.consistency import Level
from ringcheck.core.observed import EVERY, PATIENCE, WEEK, LevelChange, Observed, Used
from ringcheck.core.policy import NONE_ALLOWED, Severity, Threshold
from ringcheck.core.usage import part_length

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.policy import Policy, Rule
    from ringcheck.core.usage import Evidence
    from ringcheck.core.uses import Use

EXPLAINED = 0.95  # share of a level's queries: if keyspaces are known for fewer, any keyspace may use the level
CHANGED = 86400.0  # seconds for which a change is a finding
NONE = "none"

# The levels whose loss is an outage only if a level is lost or can never be served, with any strategy. SERIAL levels
# count the participants of a Paxos round in their own way, and QUORUM and LOCAL_QUORUM do not include each other. A
# write at ONE counts pending nodes of all datacenters, so it can fail when a write at LOCAL_ONE succeeds. Only
# NetworkTopologyStrategy has a quorum in each datacenter: with others EACH_QUORUM is QUORUM.
WEAKER: Mapping[Level, frozenset[Level]] = {
    Level.ANY: frozenset(),
    Level.ONE: frozenset(),
    Level.TWO: frozenset({Level.ONE}),
    Level.THREE: frozenset({Level.ONE, Level.TWO}),
    Level.LOCAL_ONE: frozenset(),
    Level.LOCAL_QUORUM: frozenset({Level.LOCAL_ONE}),
    Level.LOCAL_SERIAL: frozenset({Level.LOCAL_ONE}),
    Level.LOCAL_ALL: frozenset({Level.LOCAL_ONE}),
    Level.QUORUM: frozenset({Level.ONE}),
    Level.SERIAL: frozenset({Level.ONE}),
    Level.EACH_QUORUM: frozenset({Level.ONE, Level.QUORUM}),
    Level.ALL: frozenset(
        {Level.ONE, Level.QUORUM, Level.LOCAL_ONE, Level.LOCAL_QUORUM, Level.EACH_QUORUM, Level.LOCAL_ALL}
    ),
}
_ABOVE = {
    Level.ONE: Level.LOCAL_QUORUM,
    Level.LOCAL_ONE: Level.LOCAL_QUORUM,
    Level.LOCAL_QUORUM: Level.LOCAL_ALL,
    Level.LOCAL_SERIAL: Level.LOCAL_ALL,
}


def above(level: Level) -> Level | None:
    """The level one step above, which warns before a level is lost; None above ALL and LOCAL_ALL."""
    return None if level in {Level.ALL, Level.LOCAL_ALL} else _ABOVE.get(level, Level.ALL)


def warns_first(warning: Threshold, critical: Threshold) -> bool:
    """Whether a warning can come before the critical threshold of the same keyspaces is exceeded.

    False if its level is lost only together with the critical one, or after it, and no range may be lost at that.
    """
    if warning == critical:
        return False
    bounded = critical.ranges != NONE_ALLOWED or critical.share is not None
    return bounded or not (warning.level is critical.level or warning.level in WEAKER[critical.level])


def strictest(used: Iterable[Used]) -> tuple[Used, ...]:
    """The levels that none of the others includes, sorted; for texts, never to decide what is watched."""
    distinct = sorted(set(used))
    return tuple(one for one in distinct if not any(_includes(other, one) for other in distinct if other != one))


def _includes(other: Used, one: Used) -> bool:
    """Whether a level is served only if another one is; levels without a datacenter are judged for all.

    ONE is also included in the other levels of its datacenter: drivers' control connections read at ONE everywhere.
    """
    if other.level is one.level:
        return not other.datacenter and bool(one.datacenter)
    if one.level is Level.ONE and other.datacenter in {"", one.datacenter}:
        return True
    here = not other.level.local or other.datacenter in {"", one.datacenter}
    return here and one.level in WEAKER[other.level]


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """How levels follow the queries.

    Attributes:
        window: seconds that evidence lasts.
        least: a level counts as used if the window has at least this many queries at it; while part of the window is
            not known, one query is enough.
    """

    window: float = WEEK
    least: int = 1


def observed(
    sources: Mapping[str, Evidence],
    at: float,
    following: Following,
    datacenters: Sequence[str],
    patience: Mapping[str, float] | None = None,
) -> Observed:
    """The levels in use by the evidence of all sources.

    Args:
        sources: evidence by the name of its source; those that are configured and have shown nothing yet are empty.
        at: seconds of Unix time.
        following: the window, and how many queries make a level count as used.
        datacenters: of the cluster.
        patience: by source, the longest time between two readings that is not a gap; PATIENCE for the others.
    """
    missing = {name: found for name, found in _missing(sources, at, following.window, patience or {}) if found}
    totals = {name: _totals(found, 1 if name in missing else following.least) for name, found in sources.items()}
    uses = _by_keyspace(totals.values())
    general = _used(uses.pop("", []))
    unexplained = {used for used in general if not _explained(used, sources, at, following.window)}
    keyspaces = {name: tuple(sorted({*_used(uses[name]), *unexplained})) for name in sorted(uses)}
    keyspaces[EVERY] = tuple(sorted(general))
    unclear = tuple(f"{name}: {text}" for name, text in missing.items())
    scans = {name for evidence in sources.values() for name in evidence.scans}
    named = {use.datacenter for found in totals.values() for use in found} | scans
    clients = () if unclear or "" in named else tuple(sorted(named.intersection(datacenters)))
    return Observed(
        keyspaces=keyspaces,
        datacenters=tuple(datacenters),
        clients=clients,
        scanned=tuple(name for name in datacenters if name in scans or "" in scans),
        unclear=unclear,
    )


def _totals(evidence: Evidence, least: int) -> dict[Use, int]:
    """Queries by use. A use is left out if its reads and writes together are fewer than `least`."""
    together: Counter[tuple[str, str, Level]] = Counter()
    for use, seen in evidence.uses.items():
        together[use[:3]] += max(1, seen.total)  # a use that is kept because evidence is missing counts as used
    return {use: seen.total for use, seen in evidence.uses.items() if together[use[:3]] >= least}


def _by_keyspace(totals: Iterable[Mapping[Use, int]]) -> dict[str, list[Use]]:
    uses: defaultdict[str, list[Use]] = defaultdict(list)
    for found in totals:
        for use in found:
            uses[use.keyspace].append(use)
    return dict(uses)


def _used(uses: Iterable[Use]) -> set[Used]:
    return {Used(use.datacenter, use.level) for use in uses}


def _explained(used: Used, sources: Mapping[str, Evidence], at: float, window: float) -> bool:
    """Whether the queries at a level without a keyspace are those that another source has by keyspace."""
    length = part_length(window)
    for name, evidence in sources.items():
        others = [other for other_name, other in sources.items() if kind_of(other_name) != kind_of(name)]
        named = {use.datacenter for other in others for use in other.uses if use.keyspace and use.level is used.level}
        where = "" if "" in named else used.datacenter  # else a query would explain one of each datacenter
        whole = _by_part(evidence, Used(where, used.level), named=False)
        if not whole:
            continue
        counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
        for other_name, other in sources.items():
            if kind_of(other_name) != kind_of(name):  # proxies see different queries, which add up
                counts[kind_of(other_name)].update(_by_part(other, Used(where, used.level), named=True))
        recent = [{part: n for part, n in found.items() if part > at - window - length} for found in counts.values()]
        most = max((_comparable(found, whole, evidence.known_span(window), length) for found in recent), default=0)
        if most < EXPLAINED * max(1, whole.total()):
            return False
    return True


def kind_of(source: str) -> str:
    """The source without the name of a proxy."""
    return source.partition(" ")[0]


def _by_part(evidence: Evidence, used: Used, *, named: bool) -> Counter[int]:
    """Queries with or without a keyspace by the start of the part of the window, 0 for those that left it."""
    found: Counter[int] = Counter()
    for use, seen in evidence.uses.items():
        here = not used.datacenter or use.datacenter in {"", used.datacenter}
        if use.level is used.level and bool(use.keyspace) is named and here:
            found.update(dict(seen.counts) or {0: 0})
    return found


def _comparable(named: Mapping[int, int], whole: Mapping[int, int], known: tuple[float, float], length: int) -> int:
    """How many of the queries that are known by keyspace can be among those of a source with this known span.

    Before the span that source may have missed some: no other queries of that time can stand for what it counted.
    """
    begin, end = known
    within = sum(count for start, count in named.items() if begin <= start and start + length <= end)
    before = sum(min(count, whole.get(start, 0)) for start, count in named.items() if start + length <= min(begin, end))
    return within + before


def _missing(
    sources: Mapping[str, Evidence], at: float, window: float, patience: Mapping[str, float]
) -> Iterator[tuple[str, str]]:
    for name, evidence in sources.items():
        yield name, evidence.missing(at, window, patience.get(name, PATIENCE))


def with_observed(policy: Policy, seen: Observed | None, why: str = "") -> Policy:
    """The policy with the levels in use, and the client datacenters if these follow the queries too.

    Args:
        policy: of a cluster.
        seen: the levels in use; None if nothing is known of them.
        why: why nothing is known of them; empty if nothing depends on them.
    """
    if seen is None:
        return replace(policy, unobserved=why)
    clients = seen.clients if policy.auto_datacenters else policy.client_datacenters
    return replace(policy, observed=seen, client_datacenters=clients)


# Changes


def changed(before: Observed | None, after: Observed, at: float) -> Observed:
    """The levels in use, with the changes since `before` and those earlier changes that are still shown.

    The first level that is seen of a keyspace is not a change, unless a whole window without any came before.
    """
    begun = frozenset(name for name, used in after.keyspaces.items() if used or not after.unclear)
    if before is None:
        return replace(after, begun=begun)
    news = [change for change in before.changes if at - change.at < CHANGED]
    for keyspace in sorted({*before.keyspaces, *after.keyspaces}):
        was, now = (in_words(observed.of(keyspace)) for observed in (before, after))
        if was != now and (was != NONE or before.begun & {keyspace, EVERY}):
            news = [change for change in news if change.keyspace != keyspace]
            news.append(LevelChange(keyspace=keyspace, was=was, now=now, at=at))
    return replace(after, changes=tuple(news), begun=before.begun | begun)


def in_words(used: Iterable[Used]) -> str:
    """`LOCAL_QUORUM in dc1, QUORUM`; `none` if nothing is used."""
    places: defaultdict[Level, list[str]] = defaultdict(list)
    for one in strictest(used):
        places[one.level].append(one.datacenter if one.level.local else "")
    here = {level: ", ".join(filter(None, names)) for level, names in places.items()}
    parts = [f"{level} in {names}" if names else str(level) for level, names in here.items()]
    return ", ".join(parts) or NONE


# Rules


def followed(rule: Rule, keyspace: str, seen: Observed | None) -> Rule:
    """The rule with the levels in use in place of `auto`; its default levels if nothing is known of them."""
    if not rule.auto or seen is None:
        return rule
    used = seen.of(keyspace)
    unsure = seen.datacenters if seen.unclear else seen.scanned
    idle = [name for name in seen.datacenters if name in unsure or not _serves(used, name)]
    critical = _thresholds(used, idle, rule.critical) if "critical" in rule.auto else _fixed(rule.critical)
    steps = [Used(one.datacenter, level) for one in used if (level := above(one.level))]
    warning = _thresholds(steps, idle, rule.warning) if "warning" in rule.auto else _fixed(rule.warning)
    warning = [threshold for threshold in warning if not _watched(threshold, critical)]
    others = [(Severity.CRITICAL, threshold) for threshold in critical[1:]]
    others += [(Severity.WARNING, threshold) for threshold in warning[1:]]
    first, second = (tier[0] if tier else None for tier in (critical, warning))
    return replace(rule, critical=first, warning=second, others=(*rule.others, *others), auto=frozenset())


def _serves(used: Collection[Used], datacenter: str) -> bool:
    """Whether clients of a datacenter use a level, as far as is known; ONE alone may be that of control connections."""
    return any(one.datacenter in {"", datacenter} and one.level is not Level.ONE for one in used)


def _fixed(threshold: Threshold | None) -> list[Threshold]:
    return [threshold] if threshold else []


def _thresholds(used: Iterable[Used], idle: Iterable[str], default: Threshold | None) -> list[Threshold]:
    """A threshold for each level, the strictest first; the idle datacenters have the default level too."""
    assert default  # noqa: S101 - a tier that follows the queries has a default level
    every = {*used, *(Used(name, default.level) for name in idle)}
    clients: defaultdict[Level, set[str]] = defaultdict(set)
    for one in every or (Used("", default.level),):
        clients[one.level].add(one.datacenter)
    order = sorted(clients, key=lambda level: (-len(WEAKER[level]), level))
    return [replace(default, level=level, clients=_clients(level, clients[level])) for level in order]


def _clients(level: Level, datacenters: set[str]) -> tuple[str, ...]:
    return () if "" in datacenters or not level.local else tuple(sorted(datacenters))


def _watched(threshold: Threshold, others: Iterable[Threshold]) -> bool:
    """Whether other thresholds watch the same level for the same clients."""
    same = [other for other in others if other.level is threshold.level]
    return any(not other.clients or _within(threshold.clients, other.clients) for other in same)


def _within(names: tuple[str, ...], others: tuple[str, ...]) -> bool:
    return bool(names) and set(names) <= set(others)
