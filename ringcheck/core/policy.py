"""Which keyspaces matter at which levels, and how loudly.

Owns severities, Nagios ranges, rules and the default policy. Knows nothing of where rules are written down.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import Enum
from fnmatch import fnmatchcase
from functools import cache, total_ordering
from typing import TYPE_CHECKING

from ringcheck.core.consistency import Level, release
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ringcheck.core.health import LevelHealth
    from ringcheck.core.observed import Observed


@total_ordering
class Severity(Enum):
    """OK < WARNING < UNKNOWN < CRITICAL: a gap does not hide a known outage, and a warning does not hide a gap.

    The value is the exit code of Nagios plugins, whose order is different.
    """

    OK = 0
    WARNING = 1
    UNKNOWN = 3
    CRITICAL = 2

    @property
    def exit_code(self) -> int:
        """Exit code of a plugin."""
        return self.value

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Severity):
            return NotImplemented
        return _ORDER[self] < _ORDER[other]


_ORDER = {severity: rank for rank, severity in enumerate(Severity)}


# Plain numbers only: float() accepts 'nan' and 'inf' too, and no value is outside those. A lone ':' is not a threshold.
_NUMBER = r"-?[0-9]+(?:\.[0-9]*)?|-?\.[0-9]+"
_RANGE = re.compile(rf"(@?)(?=.*[0-9~])(?:(~|{_NUMBER})?:)?({_NUMBER})?")


@dataclass(frozen=True, slots=True)
class NagiosRange:
    """A threshold as the Nagios plugin guidelines write it, `[@][start:]end`.

    Attributes:
        start: None is minus infinity.
        end: None is infinity.
        inside: alert inside the range (`@`) instead of outside.
    """

    start: float | None
    end: float | None
    inside: bool = False

    @classmethod
    def parse(cls, text: str) -> NagiosRange:
        """A range from its text; the caller removes a percent sign.

        Raises:
            UsageError: if the text is not a range.
        """
        parts = _RANGE.fullmatch(text.strip())
        if not parts:
            raise UsageError(f"{text!r} is not a Nagios range such as '10', '5:' or '@1:3'")
        inside, first, second = parts.groups()
        start = None if first == "~" else float(first or 0)
        end = float(second) if second else None
        if start is not None and end is not None and start > end:
            raise UsageError(f"{text!r} is not a Nagios range such as '10', '5:' or '@1:3'")
        return cls(start, end, bool(inside))

    def alerts(self, value: float) -> bool:
        """Whether a value raises the alert."""
        within = (self.start is None or value >= self.start) and (self.end is None or value <= self.end)
        return within is self.inside

    def __str__(self) -> str:
        start = "~:" if self.start is None else f"{_plain(self.start)}:" if self.start or self.end is None else ""
        return f"{'@' if self.inside else ''}{start}{'' if self.end is None else _plain(self.end)}"


def _plain(number: float) -> str:
    """All digits of a number: Nagios reads no exponents."""
    return f"{number:.10f}".rstrip("0").rstrip(".")


NONE_ALLOWED = NagiosRange(0, 0)


@dataclass(frozen=True, slots=True)
class Threshold:
    """A level, and how much of a keyspace may be unavailable at it.

    Attributes:
        level: the consistency level that must be served.
        ranges: bounds the number of unavailable ranges; None for no bound.
        share: bounds their share of the token space in percent; None for no bound. Without both bounds nothing may be
            unavailable.
        clients: for a LOCAL level, the client datacenters that it applies to; empty for all.
    """

    level: Level
    ranges: NagiosRange | None = NONE_ALLOWED
    share: NagiosRange | None = None
    clients: tuple[str, ...] = ()

    def watches(self, level: Level, client: str | None) -> bool:
        """Whether the threshold is about a level, for the clients of a datacenter (None for levels that have none)."""
        return self.level is level and (client is None or not self.clients or client in self.clients)

    def alerts(self, health: LevelHealth) -> bool:
        """Whether an outage exceeds the bounds; structurally unavailable ranges do not count as an outage."""
        if not health.outage or (self.ranges is None and self.share is None):
            return health.outage > 0
        share = health.outage_share * 100
        return bool((self.ranges and self.ranges.alerts(health.outage)) or (self.share and self.share.alerts(share)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What must hold for the keyspaces that a pattern names.

    Attributes:
        keyspaces: shell patterns.
        critical: the page tier.
        warning: the ticket tier.
        warning_failures_left: warn if at most this many node failures separate a keyspace from losing its critical
            level.
        ignore: leave these keyspaces out.
        by_cassandra: whether only Cassandra reads these keyspaces, at this rule's level: the gate checks no other.
        logins: whether the levels at which Cassandra reads system_auth for logins are among its thresholds.
        others: further thresholds, with their severities: clients can use levels that do not include each other.
        auto: the tiers, `critical` and `warning`, whose levels follow the queries. Their thresholds here are those that
            hold as long as nothing is known of the queries.
        tiers: its thresholds, each with the severity of its loss.
    """

    keyspaces: tuple[str, ...]
    critical: Threshold | None = None
    warning: Threshold | None = None
    warning_failures_left: int | None = None
    ignore: bool = False
    by_cassandra: bool = False
    logins: bool = False
    others: tuple[tuple[Severity, Threshold], ...] = ()
    auto: frozenset[str] = frozenset()
    tiers: tuple[tuple[Severity, Threshold], ...] = field(init=False, repr=False, compare=False)
    _at: dict[object, list[tuple[Severity, Threshold]]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        second = Severity.CRITICAL if self.by_cassandra else Severity.WARNING
        both = ((Severity.CRITICAL, self.critical), (second, self.warning))
        tiers = (*((severity, threshold) for severity, threshold in both if threshold), *self.others)
        object.__setattr__(self, "tiers", tiers)

    def matches(self, keyspace: str) -> bool:
        """Whether a pattern names the keyspace."""
        return any(fnmatchcase(keyspace, pattern) for pattern in self.keyspaces)

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels that it watches."""
        return tuple(dict.fromkeys(threshold.level for _, threshold in self.tiers))

    def at(self, level: Level, client: str | None) -> list[tuple[Severity, Threshold]]:
        """Its thresholds at a level for the clients of a datacenter, the loudest first."""
        found = self._at.get((level, client))
        if found is None:
            here = [(severity, threshold) for severity, threshold in self.tiers if threshold.watches(level, client)]
            found = self._at[level, client] = sorted(here, key=lambda tier: tier[0], reverse=True)
        return found


def without_local(rule: Rule) -> Rule:
    """The rule without LOCAL levels, for keyspaces that have no clients in the datacenter that is judged."""
    critical, warning = (
        None if threshold and threshold.level.local else threshold for threshold in (rule.critical, rule.warning)
    )
    others = tuple([tier for tier in rule.others if not tier[1].level.local])
    return replace(rule, critical=critical, warning=warning, others=others)


DEFAULT = Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_ONE), warning=Threshold(Level.LOCAL_QUORUM))
AUTH_KEYSPACE = "system_auth"
LEFT_OUT = Rule(keyspaces=("system_traces", "system_distributed*"), ignore=True)


@cache  # one rule for each combination of levels
def auth_rule(*levels: Level) -> Rule:
    """The rule for system_auth if clients log in: logins fail if it can't be read at Cassandra's level for that.

    Coordinators may read it at different levels. All these levels are watched; the loss of any is CRITICAL.
    """
    first, second, *others = map(Threshold, levels if len(levels) > 1 else levels * 2)
    return Rule(
        keyspaces=(AUTH_KEYSPACE,),
        critical=first,
        warning=second,
        by_cassandra=True,
        logins=True,
        others=tuple((Severity.CRITICAL, threshold) for threshold in others),
    )


def auth_level(reported: str | None, releases: Iterable[str | None]) -> Level | None:
    """The level at which Cassandra reads system_auth when a client logs in.

    `auth_read_consistency_level`, LOCAL_QUORUM by default, since 4.1 (CASSANDRA-12988); LOCAL_ONE before. Only the user
    `cassandra` is read at QUORUM, on every release (`CassandraRoleManager.consistencyForRoleRead`).

    Args:
        reported: the level as a node reports it; None if no node does.
        releases: ReleaseVersion of the nodes; None if unknown.

    Returns:
        The level; None if the reported one is not known, or nothing can be read at it.
    """
    if reported is not None:
        level = Level.__members__.get(reported)
        return level if level and level not in {Level.ANY, Level.LOCAL_ALL} else None
    known = [release(text) for text in releases if text]
    return Level.LOCAL_ONE if known and max(known) < (4, 1) else Level.LOCAL_QUORUM


def auth_levels(reported: Iterable[str], releases: Collection[str]) -> tuple[Level, ...]:
    """The levels at which the coordinators of a cluster read system_auth: each node has a configuration of its own.

    Coordinators before 4.1 read it at LOCAL_ONE. A level that is not known counts as LOCAL_QUORUM.

    Args:
        reported: the levels that nodes report.
        releases: ReleaseVersion of the nodes, as far as they are known.
    """
    found: set[Level | None] = {auth_level(text, ()) or Level.LOCAL_QUORUM for text in reported} or {
        auth_level(None, releases)
    }
    older = any(release(text) < (4, 1) for text in releases)
    others = [level for level in Level if level in found and level is not Level.LOCAL_ONE]
    return (*others, Level.LOCAL_ONE) if older or Level.LOCAL_ONE in found else tuple(others)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the owners of a cluster want to be alerted about.

    Attributes:
        rules: the first that matches a keyspace wins; a keyspace without a match gets the default.
        client_datacenters: datacenters with clients; empty for all that hold replicas of the keyspace.
        authenticates: whether clients log in; None to follow what the nodes show.
        auto_datacenters: whether `client_datacenters` follow the queries.
        observed: the levels in use; None if nothing is known of them.
        unobserved: why nothing is known of them; empty if they are known, or nothing depends on them.
    """

    rules: tuple[Rule, ...] = ()
    client_datacenters: tuple[str, ...] = ()
    authenticates: bool | None = None
    auto_datacenters: bool = False
    observed: Observed | None = None
    unobserved: str = ""

    @property
    def follows(self) -> bool:
        """Whether anything in it follows the queries."""
        return self.auto_datacenters or any(rule.auto for rule in self.rules)

    @property
    def blind(self) -> bool:
        """Whether something depends on the levels in use, and nothing is known of them."""
        return not self.observed.known if self.observed else self.follows or bool(self.unobserved)

    def rule(self, keyspace: str, *, authenticates: bool, named: bool = False, auth: Rule | None = None) -> Rule:
        """The rule for a keyspace.

        Args:
            keyspace: its name.
            authenticates: whether clients must log in, for which Cassandra reads system_auth.
            named: whether the keyspace was asked for by name: then no rule leaves it out, and it is judged even if it
                is one of Cassandra's own.
            auth: the rule for system_auth, by the levels at which Cassandra reads it; None for LOCAL_QUORUM.
        """
        matching = (rule for rule in self.rules if rule.matches(keyspace) and not (named and rule.ignore))
        first = next(matching, DEFAULT)
        # A rule for "*" is meant for the team's keyspaces; Cassandra's own follow only a rule that names them.
        logins = (auth or auth_rule(Level.LOCAL_QUORUM)) if keyspace == AUTH_KEYSPACE and authenticates else None
        if any(pattern != "*" and fnmatchcase(keyspace, pattern) for pattern in first.keyspaces):
            # A pattern such as "s*" matches it by accident: then logins keep their levels too.
            meant = any(pattern.startswith("system") and fnmatchcase(keyspace, pattern) for pattern in first.keyspaces)
            if logins is None or first.ignore or (meant and not first.auto):
                return first
            # Queries can't show the level of logins, because their reads are left out: `auto` keeps it too.
            louder = not meant or "critical" in first.auto
            tiers = [(severity if louder else Severity.WARNING, threshold) for severity, threshold in logins.tiers]
            return replace(first, others=(*first.others, *tiers), logins=True)
        if logins:
            return logins
        if named:
            return first
        return LEFT_OUT if keyspace == AUTH_KEYSPACE or LEFT_OUT.matches(keyspace) else first
