"""All evidence of the levels that one cluster's clients use: of its nodes' counters, a proxy and a Prometheus."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ringcheck.core.consistency import Level
from ringcheck.core.levels import kind_of, observed
from ringcheck.core.observed import PATIENCE, LevelChange, Observed, Used
from ringcheck.core.usage import COUNTERS, Evidence, clock_set, merged, resumed
from ringcheck.core.usage_values import plain, read_plain
from ringcheck.core.words import listed
from ringcheck.errors import cut, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ringcheck.core.levels import Following
    from ringcheck.core.usage import Seen
    from ringcheck.core.uses import Use

PROXY, PROMETHEUS = "proxy", "prometheus"
CURRENT = "levels"  # the levels in use, kept with the sources: a change is a difference from these
PROXY_SECONDS = 3600.0  # the longest time between two reports of a proxy that does not count as a gap
LONGEST = 64  # characters of a name in a text
_NONE = Evidence()


def proxy_named(reporter: str) -> str:
    """The source of a proxy: several that report different queries have a name each, and one may have none."""
    return f"{PROXY} {reporter}" if reporter else PROXY


def is_proxy(source: str) -> bool:
    """Whether a source is a proxy, of whatever name."""
    return kind_of(source) == PROXY


def expected_sources(interval: float) -> tuple[str, ...]:
    """The sources that are configured: if one of them has shown nothing, evidence is missing.

    Args:
        interval: between two queries to Prometheus, in seconds; 0 if none is configured.
    """
    return (COUNTERS, PROMETHEUS) if interval else (COUNTERS,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What is known of the levels in use.

    Attributes:
        evidence: by source.
        current: the levels in use when they were found last; None if they never were.
        keyspaces: of the cluster; empty if they are not known.
    """

    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    current: Observed | None = None
    keyspaces: frozenset[str] = frozenset()

    def of(self, source: str) -> Evidence:
        """The evidence of a source; empty if it has shown nothing."""
        return self.evidence.get(source, _NONE)

    def with_source(self, source: str, evidence: Evidence) -> Sources:
        """The sources with other evidence of one of them."""
        return replace(self, evidence={**self.evidence, source: evidence})

    def with_current(self, current: Observed) -> Sources:
        """The sources with other levels in use."""
        return replace(self, current=current)

    def resumed(self, at: float) -> Sources:
        """The same in a new process that begins at a time."""
        return replace(self, evidence={name: resumed(found, at) for name, found in self.evidence.items()})

    def clock_set(self, at: float) -> Sources:
        """The same after the clock was set to a time."""
        return replace(self, evidence={name: clock_set(found, at) for name, found in self.evidence.items()})

    def followed_by(self, later: Sources) -> Sources:
        """The evidence of both; the levels in use are those of the earlier sources, until they are found anew."""
        names = dict.fromkeys((*self.evidence, *later.evidence))
        evidence = {name: merged(self.of(name), later.of(name)) for name in names}
        keyspaces = later.keyspaces or self.keyspaces
        return Sources(evidence=evidence, current=self.current or later.current, keyspaces=keyspaces)

    @staticmethod
    def patience(interval: float) -> dict[str, float]:
        """By source, the longest time between two readings that does not count as a gap, in seconds.

        Args:
            interval: between two queries to Prometheus, in seconds.
        """
        return {COUNTERS: PATIENCE, PROXY: PROXY_SECONDS, PROMETHEUS: max(PATIENCE, 3 * interval)}

    def observed(
        self,
        at: float,
        following: Following,
        datacenters: Sequence[str],
        interval: float,
    ) -> Observed:
        """The levels in use.

        Args:
            at: seconds of Unix time.
            following: window, and what counts as used.
            datacenters: of the cluster.
            interval: between two queries to Prometheus, in seconds; 0 if none is configured.
        """
        named = {name: self.of(name) for name in dict.fromkeys((*expected_sources(interval), *self.evidence))}
        others = [name for name, evidence in named.items() if name != COUNTERS and evidence.uses]
        if others and self.of(COUNTERS).never:
            del named[COUNTERS]
        for name in list(named):
            ends = is_proxy(name) or (name == PROMETHEUS and not interval)
            if ends and self._is_gone(name, at, following.window):
                del named[name]
        # Nodes report their own datacenter: what only they name is one that was removed.
        named |= {name: self._located(named[name], datacenters) for name in named if name != COUNTERS}
        patience = self.patience(interval) | {name: PROXY_SECONDS for name in named if is_proxy(name)}
        known = any(_shows(evidence, at, following.window) for evidence in named.values())
        return replace(observed(named, at, following, datacenters, patience), known=known)

    def _located(self, evidence: Evidence, datacenters: Sequence[str]) -> Evidence:
        """The evidence with an empty name for each datacenter and keyspace that the cluster does not have, and a gap.

        The name may be written differently: then the queries may be of any datacenter, or keyspace.
        """
        strange: dict[str, set[str]] = {"datacenter": set(), "keyspace": set()}
        uses: dict[Use, Seen] = {}
        for use, seen in evidence.uses.items():
            found = use
            if use.datacenter and datacenters and use.datacenter not in datacenters:
                strange["datacenter"].add(use.datacenter)
                found = found._replace(datacenter="")
            if self.keyspaces and use.keyspace not in self.keyspaces and not _own(use.keyspace):
                strange["keyspace"].add(use.keyspace)
                found = found._replace(keyspace="")
            uses[found] = seen.together(uses[found]) if found in uses else seen
        gaps = [
            f"the cluster has no {kind} {listed([cut(printable(name), LONGEST) for name in sorted(names)])}"
            for kind, names in strange.items()
            if names
        ]
        return replace(evidence, uses=uses, gaps=(*evidence.gaps, *gaps)) if gaps else evidence

    def _is_gone(self, source: str, at: float, window: float) -> bool:
        """Whether a source no longer reports, and the counters show everything that it could show.

        In that case nodes counted all queries of the window, and these count for every keyspace.
        """
        evidence, counters = self.of(source), self.of(COUNTERS)
        if evidence.at is None:
            return not evidence.uses
        return at - evidence.at >= window and counters.whole(at, window) and at >= counters.hold

    def plain(self) -> dict[str, dict[str, object]]:
        """All of it as plain values, by source."""
        found = {name: plain(evidence) for name, evidence in self.evidence.items()}
        return found | ({CURRENT: self.plain_current()} if self.current else {})

    def plain_current(self) -> dict[str, object]:
        """The levels in use as plain values."""
        seen = self.current or Observed(keyspaces={})
        return {
            "keyspaces": {name: [list(used) for used in uses] for name, uses in seen.keyspaces.items()},
            "datacenters": list(seen.datacenters),
            "names": sorted(self.keyspaces),
            "begun": sorted(seen.begun),
            "changes": [[change.keyspace, change.was, change.now, change.at] for change in seen.changes],
        }


def _own(keyspace: str) -> bool:
    """Whether no replica of clients' data is needed: the name is missing, or that of a keyspace of Cassandra."""
    return keyspace in {"", "system"} or keyspace.startswith("system_")


def _shows(evidence: Evidence, at: float, window: float) -> bool:
    """Whether a source shows anything of the window: queries, or some time in which it would have shown them."""
    last = evidence.at
    return last is not None and at - last < window and (bool(evidence.uses) or evidence.known(last, window) > 0)


def read_sources(documents: Mapping[str, object]) -> Sources:
    """The sources from plain values, as `plain` and `plain_current` make them; other documents are left out.

    Evidence that is left out counts as missing, and missing evidence never lowers a level.
    """
    evidence: dict[str, Evidence] = {}
    current, keyspaces = None, frozenset[str]()
    for name, document in documents.items():
        try:
            if not isinstance(document, dict):
                raise TypeError("not a mapping")  # noqa: TRY301 - as the others below
            if name == CURRENT:
                current, keyspaces = _current(document), frozenset(map(str, document.get("names", [])))
            else:
                evidence[name] = read_plain(document)
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
    return Sources(evidence=evidence, current=current, keyspaces=keyspaces)


def _current(values: Mapping[str, dict]) -> Observed:  # type: ignore[type-arg]  # of whatever JSON has there
    return Observed(
        keyspaces={
            str(name): tuple(Used(str(datacenter), Level(level)) for datacenter, level in uses)
            for name, uses in values["keyspaces"].items()
        },
        datacenters=tuple(map(str, values["datacenters"])),
        changes=tuple(
            LevelChange(keyspace=str(name), was=str(was), now=str(now), at=float(at))
            for name, was, now, at in values["changes"]
        ),
        begun=frozenset(map(str, values.get("begun", []))),
    )
